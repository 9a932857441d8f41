"""A head's score as a sum over pairs of parts of what its query and its key read.

1. With the LayerNorm scale σ of a position frozen at its value, what a head reads there is a sum:
   with w_i everything that earlier modules wrote, g and β the LayerNorm's gain and bias,

       x̂ = Σ_i g ⊙ centre(w_i) / σ + β.

   *Parts* are the embeddings, every earlier head's write, every earlier MLP (or some of its neurons
   and the rest together), the output biases together, and β. With a dictionary of what the head
   reads they are its features f_i d_i, some apart and the rest together, its bias, and the
   *error*, what it does not reconstruct; so nothing is lost.
2. The event's *score* is s(prediction, k) less the mean of s(prediction, ·) over the rival keys;
   what is equal for all keys does nothing, so β and b_K on the key side fall out. It is bilinear
   (Elhage et al. 2021, *A Mathematical Framework for Transformer Circuits*):

       score = Σ_ij (W_Q u_i) · (W_K v_j) / √d_head,

   u_i parts of the query's state and, as one more, W_Q u = b_Q; v_j parts of the key's state less
   the mean of the same parts over rivals. The terms sum to the head's own score, which is checked.
3. *Control*: the same terms with *queries for other keys*, the same program with each other key in
   turn in the place of the one asked for, their mean; what comes before it is the same. A term
   that is as large with these (late writes are preferred, say) does not match.
4. *Change* between two checkpoints: the score is a function of four things, the query's state, the
   key's state, W_Q (with b_Q) and W_K. Shares are averaged over all orders in which the four change
   (Shapley 1953; :mod:`circuit.experiments.shapley`) and leave no remainder. LayerNorm's gain, bias
   and frozen scale belong to the states.
5. Neurons or features that are told apart are those whose terms, over everything on the other side,
   lie farthest from the control at the last checkpoint, on the events that choose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.errors import AnalysisError, MismatchError
from circuit.estimates import EXCESS, SHARE, Estimates, estimates, require_sum
from circuit.evidence import by_control, verdict
from circuit.experiments.shapley import Sets, shares
from circuit.landmarks import held_from
from circuit.model.nodes import input_sites
from circuit.model.sites import canonical_site, head_name
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, centre, look
from circuit.scalars.features import Dictionary
from circuit.scalars.routing import Head, prediction_scores
from circuit.statistics import halves
from circuit.task.events import ReadEvents

QUERIES = "queries for other keys"
RIVALS = {"support_value": "value_distractors", "support_key": "key_distractors"}
CAUSES = ("query's state", "key's state", "W_Q", "W_K")
TOGETHER, SCORE, OTHERS, ERROR = "together", "score", "all others", "error"
LN_BIAS, QUERY_BIAS = "ln1.bias", "attn.b_Q"
STRONGEST, LARGEST, APART = "strongest", "largest", "apart"
REST, SHARED = " rest", "term" + SHARE
SUMS: Mapping[str, Callable[[str], bool]] = {
    "the dictionary's error": ERROR.__eq__,
    "what is not told apart": lambda part: part.endswith(REST),
}
_CHUNK = 16  # events whose features are in memory at once

Members = Mapping[str, Sequence[int]]
"""Neurons or features that are told apart, by the name of their group."""


class Group(NamedTuple):
    """Amounts of fixed directions: an MLP's neurons, or a dictionary's features."""

    name: str
    member: str
    amounts: Float[Tensor, "E F"]
    directions: Float[Tensor, "F d"]


class State(NamedTuple):
    """What a head reads, as a sum: parts by name, and groups that are sums themselves."""

    parts: Mapping[str, Float[Tensor, "E d"]]
    groups: Sequence[Group]

    def apart(self, members: Members) -> tuple[list[str], Float[Tensor, "E P d"]]:
        """Names and states of all parts, members told apart from the rest of their group."""
        named = dict(self.parts)
        for group in self.groups:
            told = list(members.get(group.name, ()))
            kept = group.amounts.clone()
            kept[:, told] = 0
            named[f"{group.name}{REST}" if told else group.name] = kept @ group.directions
            for one in told:
                named[f"{group.member}{one}"] = group.amounts[:, [one]] * group.directions[one]
        return list(named), torch.stack(list(named.values()), 1)


def read_state(
    seen: Seen, layer: int, at: Float[Tensor, "E T"], dictionary: Dictionary | None = None
) -> State:
    """What heads of a layer read, summed over positions with weights (step 1).

    Args:
        seen: a pass with the sites of :func:`wanted`.
        at: weights of the positions: one-hot for one of them, or a difference of means.

    Raises:
        MismatchError: the dictionary is of states that heads of this layer do not read.
    """
    name, params = f"layer_{layer}", seen.params
    gain, scale = params[f"{name}.ln1.gain"], seen.sites[f"{name}_ln1_scale"][..., 0]
    frozen = at / scale

    def normed(written: Tensor) -> Tensor:
        return gain * centre(written)

    def pooled(states: Float[Tensor, "E T d"]) -> Float[Tensor, "E d"]:
        return (frozen[:, None] @ states)[:, 0]

    bias = {LN_BIAS: at.sum(1)[:, None] * params[f"{name}.ln1.bias"]}
    if dictionary is not None:
        stream, normalised = input_sites(layer)
        site = canonical_site(dictionary.stage, seen.decoder.settings.n_layers)
        width = seen.decoder.settings.d_model
        if site not in (stream, normalised) or dictionary.width != width:
            raise MismatchError(
                f"the dictionary is of states at {site}, of width {dictionary.width}",
                where=f"what heads of layer {layer} read",
                expected=f"a dictionary of {stream} or {normalised}, of width {width}",
                do="name another dictionary, or a head of another layer",
            )
        weights, norm = (at, _same) if site == normalised else (frozen, normed)
        chunks = zip(weights.split(_CHUNK), seen.sites[site].split(_CHUNK), strict=True)
        parts = [((w[:, None] @ dictionary.encode(x))[:, 0], w[:, None] @ x) for w, x in chunks]
        amounts, whole = torch.cat([f for f, _ in parts]), torch.cat([x for _, x in parts])[:, 0]
        directions = dictionary.W_dec.to(amounts)
        constant = weights.sum(1)[:, None] * dictionary.b_dec.to(amounts)
        missed = norm(whole - amounts @ directions - constant)
        own = {"dictionary bias": norm(constant), ERROR: missed}
        group = Group("feature", "feature ", amounts, norm(directions))
        return State(own | ({} if site == normalised else bias), [group])
    tokens, length = params["embedding.token"][seen.events.tokens], at.shape[1]
    found = {
        "token": normed(pooled(tokens)),
        "position": normed(frozen @ params["embedding.position"][:length]),
    }
    groups, biases = [], torch.zeros_like(gain)
    for below in range(layer):
        z = torch.einsum("et,ethk->ehk", frozen, seen.sites[f"layer_{below}_z"])
        for h, w_out in enumerate(params[f"layer_{below}.attn.W_O"]):
            found[head_name((below, h))] = normed(z[:, h] @ w_out)
        neurons = pooled(seen.sites[f"layer_{below}_neurons"])
        w_out = normed(params[f"layer_{below}.mlp.W_out"])
        groups.append(Group(f"L{below}MLP", f"L{below}N", neurons, w_out))
        biases = biases + params[f"layer_{below}.attn.b_O"] + params[f"layer_{below}.mlp.b_out"]
    if layer:
        found["output biases"] = frozen.sum(1)[:, None] * normed(biases)
    return State(found | bias, groups)


def _same(states: Tensor) -> Tensor:
    return states


def wanted(layer: int, dictionary: Dictionary | None = None) -> frozenset[str]:
    """Sites that a pass must leave for :func:`read_state`, and for the head's own score."""
    inner = {f"layer_{n}_{site}" for n in range(layer) for site in ("z", "neurons")}
    read = {f"layer_{layer}_ln1_scale", f"layer_{layer}_attn_input"}
    return frozenset(read | (inner if dictionary is None else {*input_sites(layer)}))


class Sides(NamedTuple):
    """Parts of both sides at one checkpoint, and the head's two matrices."""

    query: Float[Tensor, "E P d"]
    key: Float[Tensor, "E K d"]
    w_q: Float[Tensor, "k d"]
    b_q: Float[Tensor, " k"]
    w_k: Float[Tensor, "k d"]

    @property
    def terms(self) -> Float[Tensor, "E P+1 K"]:
        """The pairs' terms in score units; b_Q is the last part of the query."""
        bias = self.b_q.expand(len(self.query), 1, -1)
        queries = torch.cat([self.query @ self.w_q.T, bias], 1)
        return queries @ (self.key @ self.w_k.T).transpose(1, 2) / math.sqrt(len(self.b_q))


@dataclass(frozen=True)
class Looked:
    """How a head's score is taken apart, the same at every checkpoint.

    ``role`` is the right key's; ``dictionary`` None takes what modules wrote.
    """

    decoder: Decoder
    theta: Callable[[int], Float[Tensor, " P"]]
    events: ReadEvents
    value_ids: range
    key_ids: range
    head: Head
    role: str = "support_value"
    dictionary: Dictionary | None = None

    @torch.no_grad()
    def states(self, step: int) -> tuple[Seen, State, State, State]:
        """A pass in float64; what the head reads as its query, as queries for other keys, and as
        the right key over its rivals.
        """
        theta, layer, at = self.theta(step).double(), self.head[0], self._mask("prediction")
        sites = wanted(layer, self.dictionary)

        def read(events: ReadEvents) -> tuple[Seen, State]:
            seen = look(self.decoder, theta, events, self.value_ids, sites)
            return seen, read_state(seen, layer, at, self.dictionary)

        seen, query = read(self.events)
        others = [read(events)[1] for events in self.asking_others()]
        key = read_state(seen, layer, self.contrast, self.dictionary)
        # Equal for all keys, so that what is left of it is rounding.
        kept = {name: part for name, part in key.parts.items() if name != LN_BIAS}
        return seen, query, _mean(others), key._replace(parts=kept)

    def asking_others(self) -> Iterator[ReadEvents]:
        """The events with every other key in turn in the place of the one asked for.

        Raises:
            AnalysisError: there is no other key.
        """
        ids, asked = self.key_ids, self.events.query_key_id
        if len(ids) < 2:
            raise AnalysisError(
                "the benchmark has one key, so there is no other to ask for",
                where=f"the control: {QUERIES}",
                expected="at least two keys",
                do="raise n_keys of the benchmark",
            )
        for turn in range(1, len(ids)):
            other = (asked - ids.start + turn) % len(ids) + ids.start
            tokens = self.events.tokens.clone()
            tokens[torch.arange(len(other)), self.events.prediction] = other
            yield replace(self.events, tokens=tokens)

    def _mask(self, role: str) -> Float[Tensor, "E T"]:
        return self.events.role_mask(role).double()

    @property
    def contrast(self) -> Float[Tensor, "E T"]:
        """Weights of keys in the score: the right one less the mean over rivals."""
        rivals = self._mask(RIVALS[self.role])
        return self._mask(self.role) - rivals / rivals.sum(1, keepdim=True)

    @torch.no_grad()
    def sides(
        self, step: int, members: tuple[Members, Members]
    ) -> tuple[list[str], list[str], dict[str, Sides]]:
        """Names of the parts of query and key, and both sides; those of the control by its name.

        Raises:
            AnalysisError: terms do not sum to the head's own score.
        """
        seen, own, others, right = self.states(step)
        (queries, query), (_, other) = own.apart(members[0]), others.apart(members[0])
        keys, key = right.apart(members[1])
        found = Sides(query, key, *self.matrices(seen))
        whole = (prediction_scores(seen, self.head) * self.contrast).sum(1)
        require_sum(found.terms.flatten(1).numpy(), whole.numpy(), f"step {step}, score's terms")
        return [*queries, QUERY_BIAS], keys, {"": found, QUERIES: found._replace(query=other)}

    def matrices(self, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
        """W_Q, b_Q and W_K of the head."""
        layer, h = self.head
        w, b = seen.params[f"layer_{layer}.attn.W_QKV"], seen.params[f"layer_{layer}.attn.b_QKV"]
        return w[0, h], b[0, h], w[1, h]

    @torch.no_grad()
    def members(self, step: int, count: int) -> tuple[Members, Members]:
        """Neurons or features that are told apart on either side (step 5), ``count`` on each."""
        seen, query, others, key = self.states(step)
        w_q, _, w_k = self.matrices(seen)
        # What the query has beyond those for other keys, of which b_Q is the same.
        beyond = State(
            {name: part - others.parts[name] for name, part in query.parts.items()},
            [
                own._replace(amounts=own.amounts - other.amounts)
                for own, other in zip(query.groups, others.groups, strict=True)
            ],
        )
        asked, found = (state.apart({})[1].sum(1) for state in (beyond, key))
        chosen = halves(len(self.events))[0]

        def told(state: State, towards: Float[Tensor, "E d"]) -> Members:
            sizes: dict[tuple[str, int], float] = {}
            for group in state.groups:
                terms = (group.amounts * (towards @ group.directions.T))[chosen].mean(0).abs()
                sizes |= {(group.name, one): size for one, size in enumerate(terms.tolist())}
            largest = sorted(sizes, key=lambda one: -sizes[one])[:count]
            names = [group.name for group in state.groups]
            return {name: sorted(one for of, one in largest if of == name) for name in names}

        return told(beyond, found @ w_k.T @ w_q), told(key, asked @ w_q.T @ w_k)


def _mean(states: Sequence[State]) -> State:
    """The mean of states that differ in amounts only."""
    first = states[0]
    return State(
        {
            name: torch.stack([state.parts[name] for state in states]).mean(0)
            for name in first.parts
        },
        [
            group._replace(amounts=torch.stack([s.groups[i].amounts for s in states]).mean(0))
            for i, group in enumerate(first.groups)
        ],
    )


class Found(NamedTuple):
    """Tables of :func:`qk_features`."""

    rows: pd.DataFrame
    pairs: pd.DataFrame
    changes: pd.DataFrame


@torch.no_grad()
def qk_features(looked: Looked, steps: Sequence[int], count: int, top: int) -> Found:
    """Terms of a head's score at every step, and what changed them between steps.

    Args:
        steps: at least two checkpoints, in order.
        count: neurons or features told apart on either side.
        top: pairs followed over all steps: the largest at the last step, and the *strongest* match,
            farthest above its control of those told apart; both on the events that choose.

    Returns:
        Estimates by ``pair`` (of parts ``query`` and ``key``) and ``told``, in score units, whose
        excesses hold all numbers of a table at one step at once:

        - ``pairs``, at the first and the last step, in halves: ``term`` and ``term_share`` of every
          pair (``told`` as ``apart`` where neither part is what is left of something), of the
          score, and of the sums of all terms that hold what is left (``SUMS``);
        - ``rows``: ``term`` of the pairs followed, of all others and of the score at every step;
          ``growth`` from the first to the last step by ``cause``, in halves; and from which step on
          a pair lies above its control (``appears``);
        - ``changes``: what each interval added, by ``cause``; its end is ``stop``.

    Raises:
        AnalysisError: terms do not sum to the head's own score.
    """
    members = looked.members(steps[-1], count)
    queries, keys, last = looked.sides(steps[-1], members)
    chosen = halves(len(looked.events))[0]
    labels = [(f"{q} × {k}", q, k) for q in queries for k in keys]

    own, control = (one.terms.flatten(1)[chosen].mean(0) for one in last.values())
    named = torch.tensor([not any(map(_unnamed, pair)) for _, *pair in labels])
    strongest = int((own - control).where(named, -math.inf).argmax())
    shown = own.abs().argsort(descending=True, stable=True)[:top].tolist()
    shown = [strongest, *(pair for pair in shown if pair != strongest)]
    about = [
        dict(zip(("pair", "query", "key"), labels[pair], strict=True), told=told)
        for pair, told in zip(shown, [STRONGEST, *[LARGEST] * len(shown)], strict=False)
    ]
    about += [{"pair": one, "query": "", "key": "", "told": one} for one in (OTHERS, SCORE)]

    def followed(sides: Sides) -> Float[Tensor, "E R"]:
        terms = sides.terms.flatten(1)
        whole = terms.sum(1, keepdim=True)
        kept = terms[:, shown]
        return torch.cat([kept, whole - kept.sum(1, keepdim=True), whole], 1)

    rows, pairs, changes = [], [], []
    growth: dict[str, Tensor] = {}
    before: dict[str, Sides] = {}
    for step, earlier in zip(steps, [None, *steps], strict=False):
        now = last if step == steps[-1] else looked.sides(step, members)[2]
        rows.append(_terms(step, about, {name: followed(one) for name, one in now.items()}))
        if step in (steps[0], steps[-1]):
            pairs.append(_every_pair(step, labels, now))
        if earlier is not None:
            parts = {name: _causes(before[name], one, followed) for name, one in now.items()}
            table = Estimates(earlier, {"change": "score"})
            changes.append(_by_cause(table, "change", about, parts).assign(stop=step))
            growth = {name: growth.get(name, 0) + one for name, one in parts.items()}
        before = now
    table = Estimates(steps[-1], {"growth": "score"}, halves=True, families=1)
    rows = [*rows, _by_cause(table, "growth", about, growth), _appearance(pd.concat(rows))]
    return Found(
        pd.concat(rows, ignore_index=True).fillna({"cause": ""}),
        pd.concat(pairs, ignore_index=True),
        pd.concat(changes, ignore_index=True),
    )


def _causes(
    before: Sides, after: Sides, followed: Callable[[Sides], Float[Tensor, "E R"]]
) -> Float[Tensor, "4 E R"]:
    """Shares of the four causes in the change of what is followed (step 4)."""

    def value(sets: Sets) -> dict[tuple[int, ...], Float[Tensor, "E R"]]:
        found = {}
        for one in sets:
            query, key, of_queries, of_keys = (after if later else before for later in one)
            found[one] = followed(
                Sides(query.query, key.key, of_queries.w_q, of_queries.b_q, of_keys.w_k)
            )
        return found

    return shares(value, len(CAUSES), len(after.query), 0, 0)


def _terms(
    step: int, about: Sequence[Mapping[str, str]], found: Mapping[str, Tensor]
) -> pd.DataFrame:
    """Rows of what is followed at one step."""
    table = Estimates(step, {"term": "score"}, families=1)
    for against, values in found.items():
        for keys, column in zip(about, values.T.numpy(), strict=True):
            table.add(column, "term", against, **keys)
    table.excess(QUERIES)
    return table.frame()


def _every_pair(
    step: int, labels: Sequence[tuple[str, str, str]], found: Mapping[str, Sides]
) -> pd.DataFrame:
    """Rows of all pairs at one step, with sums."""
    table = Estimates(step, {"term": "score"}, halves=True, families=1)
    sums = {name: [any(map(of, pair)) for _, *pair in labels] for name, of in SUMS.items()}
    for against, sides in found.items():
        terms = sides.terms.flatten(1)
        columns = {
            (*label, "" if any(map(_unnamed, label[1:])) else APART): column
            for label, column in zip(labels, terms.T.numpy(), strict=True)
        }
        columns[SCORE, "", "", SCORE] = terms.sum(1).numpy()
        for name, some in sums.items():
            if any(some):
                columns[name, "", "", "sum"] = terms[:, some].sum(1).numpy()
        for label, column in columns.items():
            keys = dict(zip(("pair", "query", "key", "told"), label, strict=True))
            table.add(column, "term", against, **keys)
    table.excess(QUERIES)
    table.share_of(pair=SCORE, against="")
    none = [name for name, some in sums.items() if not any(some)]
    nothing = pd.DataFrame({"pair": none, "query": "", "key": "", "told": "sum"})
    absent = estimates(nothing, "share", measure=SHARED, mean=np.nan, step=step)
    return pd.concat([table.frame(), absent], ignore_index=True)


def _unnamed(part: str) -> bool:
    """Whether a part is what is left of something: no pair with it is the one looked for."""
    return part == ERROR or part.endswith(REST)


def _by_cause(
    table: Estimates, measure: str, about: Sequence[Mapping[str, str]], found: Mapping[str, Tensor]
) -> pd.DataFrame:
    """Rows of what changed, by cause and together."""
    for against, parts in found.items():
        whole = torch.cat([parts, parts.sum(0, keepdim=True)])
        for cause, values in zip((*CAUSES, TOGETHER), whole, strict=True):
            for keys, column in zip(about, values.T.numpy(), strict=True):
                table.add(column, measure, against, **keys, cause=cause)
    table.excess(QUERIES)
    return table.frame()


def _appearance(rows: pd.DataFrame) -> pd.DataFrame:
    """From which step on what is followed lies above its control."""
    found = []
    keys = ["pair", "query", "key", "told"]
    for key, one in rows[rows["measure"] == "term"].groupby(keys, sort=False):
        came = {step: by_control(at) for step, at in one.groupby("step")}
        shown = {step: verdict(at[""], (), at[EXCESS]) == "shown" for step, at in came.items()}
        found.append((*key, held_from(shown)))
    table = pd.DataFrame(found, columns=[*keys, "mean"])
    return estimates(table, "step", step=int(rows["step"].max()), measure="appears")

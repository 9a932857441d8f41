"""The value code: what a state says about the value to be answered, and in how many directions.

1. *Events* are the last reads of some programs (:func:`code_reads`). The support value is the
   answer, so there are two labels: the answer and the key asked for. Every event has *another
   write*, drawn from those to other keys, whose value and key are the control that knows the
   program but not the read.
2. *Read*, at every stage and role: accuracy of the nearest centroid (by Euclidean distance; the
   event's program is left out of its own centroid), the share of centred variance that lies
   between centroids, and of the logit lens (the state through the final LayerNorm and the
   unembedding, values only) its accuracy and its margin. Controls: labels permuted over programs,
   as a band of draws that holds all numbers of a checkpoint at once, and the label of another
   write, paired.
3. *The code* are the directions in which centroids of answers differ most, fitted to programs with
   even numbers: eigenvectors of the scatter between centroids less what is there by chance, which
   is (groups − 1) / (programs − groups) of the scatter within. Without that, few programs an answer
   make directions of whatever varies most. On the other programs the top r of them are removed, or
   nothing else is kept, of the state's deviation from the fitted mean, and the model goes on. A
   *share* of the readout (the soft margin) is of what losing the whole deviation costs, the *rank*
   the fewest directions (of those asked) from which on it stays at a level. Control: codes of
   permuted answers. There is nothing to share out where that loss is not shown to cost any, or the
   model's readout not to be larger for the answer than for the value of another write.
4. *By construction*: the token at a role names its label itself; the last stage of the prediction
   position is the model's own answer; behind the last attention removal must do harm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import SHARE, Estimates, estimates, over
from circuit.evidence import Estimate, by_control, shown_from, verdict
from circuit.experiments.changes import Where, replace
from circuit.experiments.edits import AtSites
from circuit.experiments.interventions import CHANGES
from circuit.experiments.trial import LIKE_LENGTHS, READOUT, Trial, is_readout
from circuit.landmarks import stays_from
from circuit.measures.states.scatter import group_means
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, look, pick
from circuit.scalars.behaviour import soft_margin
from circuit.scalars.value import value_logits
from circuit.statistics import bootstrap_mean, draws, halves, interval_of_found, told
from circuit.task.events import ReadEvents, read_events
from circuit.task.vocabulary import Vocabulary

ANSWER, KEY = "answer", "query_key"
CENTROID, BETWEEN, LENS, LENS_MARGIN = (
    "centroid_accuracy",
    "between_share",
    "lens_accuracy",
    "lens_margin",
)
UNITS = {CENTROID: "share", BETWEEN: "share", LENS: "share", LENS_MARGIN: "logit"}
PERMUTED, WRITE = "permuted labels", "another write"
OVER_WRITE = over(WRITE)
READABLE, RANK, READ = "readable_from", "rank", "readout"
TOKEN = "the token"
"""What the key ``by_construction`` says, as :data:`READOUT` does, of what must be (step 4)."""
LEVELS = (0.5, 0.9, 0.99)


class CodeReads(NamedTuple):
    """Events, one a program, and the position of the value of another write in each."""

    events: ReadEvents
    other: Int[Tensor, " E"]


class Code(NamedTuple):
    """Directions in which centroids differ most, in descending order, about the mean state."""

    mean: Float[Tensor, " d"]
    basis: Float[Tensor, "d r"]

    @classmethod
    def of(
        cls, states: Float[Tensor, "N d"], label: Int[Tensor, " N"], rank: int | None = None
    ) -> Code:
        """The top ``rank`` directions (None: all of the space) for labels from 0."""
        found = group_means(states[None], label[None], int(label.max()) + 1)
        about, groups = states - states.mean(0), int((found.sizes > 0).sum())
        between = found.scatter[0]
        within = (about.T @ about - between) / max(len(states) - groups, 1)
        apart = between - (groups - 1) * within
        return cls(states.mean(0), torch.linalg.eigh(apart).eigenvectors.flip(1)[:, :rank])

    def __call__(self, states: Float[Tensor, "... d"]) -> Float[Tensor, "... r"]:
        """Coordinates of states in it."""
        return (states - self.mean) @ self.basis

    def both(self, halves: Sequence[Float[Tensor, "... d"]]) -> tuple[Tensor, Tensor]:
        """Coordinates of states that fit and of those that test."""
        fit, test = halves
        return self(fit), self(test)

    def states(self, coordinates: Float[Tensor, "... r"]) -> Float[Tensor, "... d"]:
        """The states with these coordinates that deviate from the mean in nothing else."""
        return self.mean + coordinates @ self.basis.T


def code_reads(programs: pd.DataFrame, vocabulary: Vocabulary, seed: int) -> CodeReads:
    """The last reads of programs that wrote another key before, each with such a write.

    Raises:
        AnalysisError: there are fewer than 16.
    """
    events = read_events(programs, vocabulary, "last")
    of_key = events.tokens.roll(1, 1) != events.query_key_id[:, None]
    others = events.value_distractors & of_key & (events.tokens != events.answer[:, None])
    drawn = torch.rand(others.shape, generator=torch.Generator().manual_seed(seed))
    kept = others.any(1).nonzero()[:, 0]
    if len(kept) < 16:
        raise AnalysisError(
            f"{len(kept)} of {len(events)} programs write another key before their last read",
            where="programs of a value code",
            expected="at least 16, half of which fit the code",
            do="take more programs, or a split with more active keys",
        )
    other = torch.where(others, drawn, -1).argmax(1)
    return CodeReads(events.select(kept), other[kept])


def seen_stages(
    decoder: Decoder, theta: Float[Tensor, " P"], reads: CodeReads, value_ids: range
) -> Seen:
    """A pass that leaves every stage of the stream."""
    sites = frozenset(stages(decoder.settings.n_layers))
    with torch.no_grad():
        return look(decoder, theta.detach(), reads.events, value_ids, sites)


def of_half(seen: Seen, half: int) -> Seen:
    """The pass as if over the events that fit (0) or test (1) alone."""
    index = torch.from_numpy(halves(len(seen.events))[half])
    sites = {name: states[index] for name, states in seen.sites.items()}
    return seen._replace(events=seen.events.select(index), sites=sites)


def state(seen: Seen, site: str, role: str) -> Float[Tensor, "E d"]:
    """States at a role that is one position, float64."""
    return pick(seen.sites[site], seen.events.role_position(role)).double()


def value_code(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    reads: CodeReads,
    value_ids: range,
    at: Sequence[tuple[str, str]],
    edited: Sequence[tuple[str, str]],
    ranked: Sequence[int],
    ranks: Sequence[int],
    random_draws: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Steps 2 and 3 of the module at every step.

    Args:
        at: sites with roles where codes are read.
        edited: where they are removed and kept, at the steps ``ranked``.
        ranks: ascending.
        random_draws: permutations of labels.

    Returns:
        Estimates by site, role, label and by_construction: numbers of ``UNITS``, and
        ``readable_from``, a step. By edit, site, role, rank (a number; 0 where it is none) and
        level: the share of the readout, and at every level the ``rank``, in directions.
    """
    rng = np.random.default_rng(seed)
    first, keys = value_ids.start, reads.events.query_key_id
    answer = reads.events.answer - first
    other = pick(reads.events.tokens, reads.other) - first
    order = torch.from_numpy(np.stack([rng.permutation(len(answer)) for _ in range(random_draws)]))
    labels = {
        ANSWER: torch.cat([answer[None], other[None], answer[order]]),
        KEY: torch.cat([keys[None], pick(reads.events.tokens, reads.other - 1)[None], keys[order]]),
    }
    rows, curves = [], []
    for step in steps:
        seen = seen_stages(decoder, theta(step), reads, value_ids)
        rows.append(_read(step, seen, at, labels))
        fit, trial = of_half(seen, 0), Trial(of_half(seen, 1), LIKE_LENGTHS)
        written = (other + first)[torch.from_numpy(halves(len(other))[1])]
        curves += [
            _removed(step, fit, trial, written, place, ranks, random_draws, seed)
            for place in (edited if step in ranked else ())
        ]
    rows.append(_readable_from(pd.concat(rows)))
    return pd.concat(rows, ignore_index=True), pd.concat(curves, ignore_index=True)


def leave_one_out(
    states: Float[Tensor, "N d"], labels: Int[Tensor, "B N"]
) -> tuple[Bool[Tensor, "B N"], Float[Tensor, " B"], Float[Tensor, " N"]]:
    """Whether the nearest centroid is the own one, the state itself left out of that; the share of
    variance between centroids; and of the first labelling that share's values by state (their mean
    is it, and over resamples it is to first order).
    """
    found = group_means(states[None], labels, int(labels.max()) + 1)
    x = states - states.mean(0)
    squares = found.means.square().sum(-1)
    distance = squares.masked_fill(found.sizes == 0, torch.inf)[:, None] - 2 * x @ found.means.mT
    n = found.sizes.gather(1, labels)
    own = distance.gather(2, labels[..., None])[..., 0]
    total = x.square().sum(-1)
    # |x − m′|² with m′ = (n m − x) / (n − 1), less |x|² as all distances here are.
    left = torch.where(n > 1, (n / (n - 1)).square() * (own + total) - total, torch.inf)
    distance.scatter_(2, labels[..., None], left[..., None])
    share = found.between / found.total
    within = (x - found.means[0, labels[0]]).square().sum(-1)
    values = share[0] + (total - within - share[0] * total) * len(x) / found.total[0]
    return distance.argmin(-1) == labels, share, values


def lens(seen: Seen, states: Float[Tensor, "E d"]) -> Float[Tensor, "E values"]:
    """Value logits of states of the stream, float64."""
    normed = seen.decoder.final_norm(seen.params, states.to(seen.params["final_norm.gain"]))
    return value_logits(seen, normed).double()


def _read(
    step: int, seen: Seen, at: Sequence[tuple[str, str]], labels: Mapping[str, Int[Tensor, "B N"]]
) -> pd.DataFrame:
    rows = Estimates(step, UNITS, "programs", families=1, shares=(CENTROID, LENS))
    for site, role in at:
        states = state(seen, site, role)
        logits = lens(seen, states)
        top = logits.topk(2).values
        for label, every in labels.items():
            named = {"prediction": KEY, "support_key": KEY, "support_value": ANSWER}.get(role)
            built = TOKEN if named == label else ""
            if label == ANSWER and is_readout(site, role, seen.decoder.settings, "MLP"):
                built = READOUT
            hits, share, values = leave_one_out(states, every)
            spread = share[:, None].expand(hits.shape).clone()
            spread[0] = values
            spread[1] = leave_one_out(states, every[1:2])[2]
            found = {CENTROID: hits.double(), BETWEEN: spread}
            if label == ANSWER:
                own = logits.gather(1, every.T).T
                rival = torch.where(own == top[:, 0], top[:, 1], top[:, 0])
                found |= {LENS: (own > rival).double(), LENS_MARGIN: own - rival}
            where = {"site": site, "role": role, "label": label, "by_construction": built}
            for measure, numbers in found.items():
                columns = numbers.numpy()
                rows.add(columns[0], measure, **where)
                rows.add(columns[1], measure, WRITE, **where)
                rows.add_draws(columns[2:], measure, PERMUTED, **where)
    rows.excesses(WRITE)
    return rows.frame()


def _readable_from(rows: pd.DataFrame) -> pd.DataFrame:
    """From which step on the answer stays shown to be readable at every place; missing if never."""
    asked = rows[(rows["measure"] == CENTROID) & (rows["label"] == ANSWER)]
    places = asked.groupby(["site", "role", "label", "by_construction"], sort=False)
    table = places.apply(shown_from, None).rename("mean").reset_index()
    return estimates(table, "step", step=int(rows["step"].max()), measure=READABLE)


def _removed(
    step: int,
    fit: Seen,
    trial: Trial,
    other: Int[Tensor, " E"],
    place: tuple[str, str],
    ranks: Sequence[int],
    random_draws: int,
    seed: int,
) -> pd.DataFrame:
    """Step 3 of the module at one place; ``other`` are the values of other writes."""
    (site, role), clean = place, trial.clean
    where, states = Where(site, clean.events.role_mask(role)), state(fit, site, role)
    answer, scalars = fit.events.answer - fit.value_ids.start, {READ: soft_margin()}
    base = trial.unedited(scalars)[READ]

    def effects(label: Int[Tensor, " F"]) -> dict[tuple[str, int], Float[np.ndarray, " E"]]:
        code = Code.of(states, label)
        changes = {
            (edit, rank): change(code.basis[:, :rank], code.mean)
            for edit, change in CHANGES.items()
            for rank in ranks
        }
        changes["remove", 0] = replace(code.mean)
        edits = {name: AtSites(((where, change),)) for name, change in changes.items()}
        left = {name: values[READ] for (name, _), values in trial.run(edits, scalars).items()}
        damaged = left["remove", 0]
        return {
            name: values - damaged if name[0] == "keep" else base - values
            for name, values in left.items()
        }

    rng = np.random.default_rng(seed)
    own = effects(answer)
    drawn = [effects(answer[rng.permutation(len(answer))]) for _ in range(random_draws)]
    built = READOUT if is_readout(site, role, clean.decoder.settings) else ""
    rows = Estimates(step, {READ: "logit"}, "programs", families=1)
    for (edit, rank), values in own.items():
        keys = {"edit": edit, "site": site, "role": role, "rank": str(rank), "level": ""}
        keys["by_construction"] = built
        rows.add(values, READ, **keys)
        if rank:
            rows.add_draws(np.stack([one[edit, rank] for one in drawn]), READ, PERMUTED, **keys)
    rows.share_of(rank="0")
    frame = rows.frame()
    shares = frame[(frame["measure"] == READ + SHARE) & (frame["rank"] != "0")].copy()
    wrong = clean._replace(events=dataclasses.replace(clean.events, answer=other))
    told_apart = bootstrap_mean(base - scalars[READ](wrong).double().numpy())
    lost = by_control(frame[(frame["measure"] == READ) & (frame["rank"] == "0")])[""]
    if not verdict(lost) == verdict(Estimate(**dataclasses.asdict(told_apart))) == "shown":
        shares[["mean", "low", "high"]] = np.nan
    return pd.concat([shares, _ranks(shares, own, ranks)], ignore_index=True).astype({"rank": int})


def _ranks(
    shares: pd.DataFrame,
    own: Mapping[tuple[str, int], Float[np.ndarray, " E"]],
    ranks: Sequence[int],
) -> pd.DataFrame:
    """Fewest directions from which on the share stays at every level; missing without shares."""
    whole, same = own["remove", 0], shares.iloc[0]
    weights, number = draws(len(whole)), np.append(np.array(ranks, dtype=float), np.nan)
    rows = []
    for edit in CHANGES:
        some = weights @ np.stack([own[edit, rank] for rank in ranks], 1)
        for level in LEVELS:
            found: tuple[Any, ...] = (np.nan,) * 3
            if np.isfinite(same["mean"]):
                held = some / (weights @ whole)[:, None] >= level
                found = told(number[stays_from(held)], interval_of_found)
            rows.append((edit, f"{level:.0%}", *found))
    table = pd.DataFrame(rows, columns=["edit", "level", "mean", "low", "high"])
    fixed = {key: same[key] for key in ("site", "role", "by_construction", "step", "count")}
    return estimates(table.assign(**fixed, rank="0"), "directions", "programs", measure=RANK)

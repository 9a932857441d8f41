"""What changed the answer between checkpoints: sums that are exact, with nothing fitted.

1. At the prediction position a logit is x · r · ρ + b: x the sum of all writes, r what reads a
   write (the unembedding's row times the final LayerNorm's gain, centred), ρ one over its scale and
   b the path of its bias. Between two checkpoints, with bars for the mean of both ends,

       Δ(x · r · ρ) = Σ_writes Δwrite · r̄ ρ̄  +  x̄ · Δr ρ̄  +  mean(x · r) Δρ ,

   without remainder: every component's direct write under a readout and a scale frozen midway, what
   the ``readout`` changed by itself, and the ``scale``'s own term. With the bias' path they sum to
   the change of the logit, and so do their differences to that of a margin over a fixed rival.
2. With w_s and w_t the best wrong tokens at source S and target T,

       Δmoving = Δfixed_source + [w_s(T) − w_t(T)] = Δfixed_target + [w_s(S) − w_t(S)] ,

   again without remainder. The first bracket is the part ``branch switch`` of the moving margin:
   0 in rows whose rival stays, never positive in those that switch, and no predictor of anything.
3. Control of every part: the same for the answers of other programs, in the mean, each over the
   best token that is neither it nor the right one. What raises values that are frequent, and what
   a rival loses because it was picked as the best, leave no excess over it.
4. The same change as a line integral over parameters (:mod:`circuit.attribution.engine`), along the
   chords between neighbouring checkpoints: what the parameters of every head's W_QK and W_OV, of
   MLPs and of all else moved it by. What the quadrature misses is a row.

Everything is float64; sums are checked against the model's own logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.attribution.engine import Engine
from circuit.errors import AnalysisError
from circuit.estimates import Estimates, estimates
from circuit.experiments.donors import OTHERS, require_other_answers
from circuit.measures.paths.direct import ATTENTION, BIASES, EMBEDDING, MLP, path_sites, writers
from circuit.model.transformer import Decoder
from circuit.scalars.base import Branched, Scalar, best_other, centre, look, pick
from circuit.scalars.behaviour import answer_logits, answer_margin, correct_value_logit, soft_margin
from circuit.scalars.evaluate import Evaluator
from circuit.statistics import draws, interval_of_found, told
from circuit.task.events import ReadEvents

TARGETS = ("answer_margin", "correct_value_logit")
READOUT, SCALE, SWITCH = "readout", "scale", "branch switch"
PART, CHANGE, MISSED, INTEGRAL = "part", "change", "missed", "line_integral"
INTEGRATED, OF_HEAD = "integrated", "line_integral_of_head"
ALL, STAYS, SWITCHES = "all", "rival stays", "rival switches"
MOVING, FIXED_SOURCE, FIXED_TARGET = "moving", "fixed_source", "fixed_target"
AT_TARGET, AT_SOURCE, SOFT = "switch_at_target", "switch_at_source", "soft"
BRANCHES = (MOVING, FIXED_SOURCE, AT_TARGET, FIXED_TARGET, AT_SOURCE, SOFT)
RESIDUAL, OF_MOVEMENT = "residual", "residual_of_movement"
SLICES = ("among", "rival", "lag", "keys")
"""Columns of ``Changes.branches`` that tell rows apart."""
_EXACT = 1e-9
Theta = Callable[[int], Float[Tensor, " P"]]


class Changes(NamedTuple):
    """What the I intervals between neighbouring checkpoints changed, event by event, in logits.

    Attributes:
        steps: the I + 1 checkpoints.
        parts, kinds: the N summands and what each is; heads and MLPs come in the model's order.
        values: by interval, event, target (``TARGETS``), own answer or ``OTHERS``, and part.
        branches: a row for each interval and event: ``BRANCHES``, and ``SLICES``, among them
            ``rival``: what the best wrong token at the interval's first state is.
        writes: change of every component's write towards the answer less the mean of all other
            values, as the interval's *first* state reads it: no number of the target is in it.
        state: change of the final stage's state.
        missed: the largest miss of any sum.
    """

    steps: tuple[int, ...]
    parts: tuple[str, ...]
    kinds: tuple[str, ...]
    values: Float[np.ndarray, "I E 2 2 N"]
    branches: pd.DataFrame
    writes: Float[np.ndarray, "I E C"]
    state: Float[np.ndarray, "I E d"]
    missed: float

    @property
    def components(self) -> tuple[str, ...]:
        """Heads and MLPs, the columns of ``writes``."""
        named = zip(self.parts, self.kinds, strict=True)
        return tuple(part for part, kind in named if kind in (ATTENTION, MLP))


class _State(NamedTuple):
    """One checkpoint at the prediction position; ``writes`` by writer."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    writes: Float[Tensor, "E P d"]
    unembedding: Float[Tensor, "V d"]
    gain: Float[Tensor, " d"]
    bias: Float[Tensor, " d"]
    inverse: Float[Tensor, " E"]
    logits: Float[Tensor, "E V"]
    soft: Float[Tensor, " E"]

    def read(self, tokens: Float[Tensor, "E R V"]) -> Float[Tensor, "E R d"]:
        """What reads these combinations of logits off a write, but for the scale."""
        return centre(self.gain * (tokens @ self.unembedding))


def margin_changes(
    decoder: Decoder,
    theta: Theta,
    steps: Sequence[int],
    events: ReadEvents,
    value_ids: range,
) -> Changes:
    """Both identities over every interval between neighbouring steps.

    One forward pass a checkpoint.

    Raises:
        AnalysisError: there are fewer than three events, or all have the same answer; or a sum
            misses what the model says by more than float64 rounds.
    """
    require_other_answers(events)
    with torch.no_grad():
        states = (_state(decoder, theta(step), events, value_ids) for step in steps)
        found = [
            _interval(ends, *two, events, value_ids)
            for ends, two in zip(pairwise(steps), pairwise(states), strict=True)
        ]
    return Changes(
        tuple(steps),
        found[0].parts,
        found[0].kinds,
        np.concatenate([one.values for one in found]),
        pd.concat([one.branches for one in found], ignore_index=True),
        np.concatenate([one.writes for one in found]),
        np.concatenate([one.state for one in found]),
        max(one.missed for one in found),
    )


def _state(
    decoder: Decoder, theta: Float[Tensor, " P"], events: ReadEvents, value_ids: range
) -> _State:
    sites = path_sites(decoder.settings.n_layers) | {"final_norm"}
    seen = look(decoder, theta.double(), events, value_ids, sites)
    names, kinds, _, writes = zip(*writers(seen, events.prediction), strict=True)
    params = seen.params
    return _State(
        names,
        kinds,
        torch.stack(writes, 1),
        params["embedding.token"],
        params["final_norm.gain"],
        params["final_norm.bias"],
        1 / pick(seen.sites["final_norm_scale"], events.prediction).squeeze(-1),
        answer_logits(seen),
        soft_margin()(seen),
    )


def _interval(
    steps: tuple[int, int], first: _State, last: _State, events: ReadEvents, value_ids: range
) -> Changes:
    """The changes of one interval."""
    width = first.logits.shape[1]
    one = torch.eye(width, dtype=torch.float64)
    right, none = one[events.answer], torch.zeros_like(first.logits)
    rivals = [_best_wrong(state.logits, events.answer) for state in (first, last)]
    differs = (events.answer[:, None] != events.answer).double()
    others = differs / differs.sum(1, keepdim=True) @ right
    # The rival of each of the others' answers is the best that is neither it nor the right one.
    taken = [others.gather(1, best) for best, _ in rivals]
    away = [(1 - p) * one[best[:, 0]] + p * one[next_[:, 0]] for p, (best, next_) in zip(
        taken, rivals, strict=True)]  # fmt: skip
    source, target = (one[best[:, 0]] for best, _ in rivals)
    # [E, target and own or others, V]
    both = torch.stack([right - source, others - away[0], right, others], 1)
    switch = torch.stack([source - target, away[0] - away[1], none, none], 1)

    reads = first.read(both), last.read(both)
    rho, read = (first.inverse + last.inverse)[:, None] / 2, (reads[0] + reads[1]) / 2
    wholes = first.writes.sum(1), last.writes.sum(1)
    unscaled = [torch.einsum("erd,ed->er", r, x) for r, x in zip(reads, wholes, strict=True)]
    written = torch.einsum("erd,epd->erp", read, last.writes - first.writes) * rho[..., None]
    mean_state = (wholes[0] + wholes[1]) / 2
    parts = {
        READOUT: torch.einsum("erd,ed->er", reads[1] - reads[0], mean_state) * rho,
        SCALE: (unscaled[0] + unscaled[1]) / 2 * (last.inverse - first.inverse)[:, None],
        SWITCH: (switch @ last.logits[..., None])[..., 0],
    }
    final_bias = both @ (last.unembedding @ last.bias - first.unembedding @ first.bias)

    kinds = np.array(first.kinds)
    keep = np.isin(kinds, (ATTENTION, MLP)).nonzero()[0].tolist()
    sums = {kind: written[..., kinds == kind].sum(-1) for kind in (EMBEDDING, BIASES)}
    sums[BIASES] = sums[BIASES] + final_bias
    columns = [*written[..., keep].unbind(-1), *sums.values(), *parts.values()]
    values = torch.stack(columns, -1)
    change = (both @ (last.logits - first.logits)[..., None])[..., 0] + parts[SWITCH]
    missed = float((values.sum(-1) - change).abs().max())
    if missed > _EXACT * (1 + float(values.abs().sum(-1).max())):
        raise AnalysisError(
            f"parts miss the change of the logits by {missed:.3g} logit",
            where="closure: the identity at the frozen LayerNorm scale",
            expected=f"at most {_EXACT:g} of the parts' sizes: they sum to it exactly",
            do="compare the model's writes (circuit.measures.paths.direct) with its forward pass",
        )
    value = torch.zeros(width, dtype=torch.float64)
    value[value_ids.start : value_ids.stop] = 1
    towards = right - (value - right) / (len(value_ids) - 1)
    before = first.read(towards[:, None])[:, 0] * first.inverse[:, None]
    writes = torch.einsum("ed,epd->ep", before, (last.writes - first.writes)[:, keep])
    rows = _branches(first, last, [best[:, 0] for best, _ in rivals], events, value_ids)
    return Changes(
        steps,
        (*(first.names[place] for place in keep), *sums, *parts),
        (*(first.kinds[place] for place in keep), *sums, *parts),
        values.unflatten(1, (2, 2))[None].numpy(),
        rows.assign(start=steps[0], stop=steps[1]),
        writes[None].numpy(),
        (wholes[1] - wholes[0])[None].numpy(),
        missed,
    )


def _best_wrong(
    logits: Float[Tensor, "E V"], answer: Int[Tensor, " E"]
) -> tuple[Int[Tensor, "E 1"], Int[Tensor, "E 1"]]:
    """The best wrong token of every event, and the next."""
    best, next_ = logits.scatter(1, answer[:, None], -torch.inf).topk(2, 1).indices.split(1, 1)
    return best, next_


def _branches(
    first: _State,
    last: _State,
    rivals: Sequence[Int[Tensor, " E"]],
    events: ReadEvents,
    value_ids: range,
) -> pd.DataFrame:
    """Step 2 of the module, event by event, and what the first rival is."""
    source, target = rivals
    right, w_s, w_t = (
        (pick(first.logits, token), pick(last.logits, token))
        for token in (events.answer, source, target)
    )
    gained = right[1] - right[0]
    found = {
        MOVING: gained - (w_t[1] - w_s[0]),
        FIXED_SOURCE: gained - (w_s[1] - w_s[0]),
        AT_TARGET: w_s[1] - w_t[1],
        FIXED_TARGET: gained - (w_t[1] - w_t[0]),
        AT_SOURCE: w_s[0] - w_t[0],
        SOFT: last.soft - first.soft,
    }
    frame = pd.DataFrame({name: values.numpy() for name, values in found.items()})
    among = np.where((source != target).numpy(), SWITCHES, STAYS)
    return frame.assign(
        event=range(len(frame)),
        among=among,
        rival=_named(source, events, value_ids),
        lag=[f"query lag {lag}" for lag in events.writes_since_support.tolist()],
        keys=[f"{keys} active keys" for keys in events.active_keys.tolist()],
    )


def _named(rival: Int[Tensor, " E"], events: ReadEvents, value_ids: range) -> list[str]:
    """What every event's wrong token is in its program."""
    same = events.tokens == rival[:, None]
    stale = (same & events.stale_value).any(1)
    written = (same & events.value_distractors).any(1)
    value = (rival >= value_ids.start) & (rival < value_ids.stop)
    names = ("rival no value", "rival not written", "rival another key's", "rival stale")
    return [names[n] for n in (value.long() + (value & written) + (value & stale)).tolist()]


def part_rows(changes: Changes) -> pd.DataFrame:
    """Sums over the window of every part, its control and excess, and the largest miss (step 3).

    Returns:
        Estimates by ``outcome`` (a target) and ``part``: ``part``, and ``change``, the whole, with
        intervals over events; those of the excesses hold all numbers of a target at once.
        ``missed`` is exact.
    """
    step = changes.steps[-1]
    missed = pd.DataFrame([{"outcome": "", "part": "", "measure": MISSED, "mean": changes.missed}])
    frames = [estimates(missed, unit="logit", noun="events", step=step)]
    for target, total in zip(TARGETS, changes.values.sum(0).swapaxes(0, 1), strict=True):
        rows = Estimates(step, {PART: "logit", CHANGE: "logit"}, families=1)
        for against, values in (("", total[:, 0]), (OTHERS, total[:, 1])):
            for part, each in zip(changes.parts, values.T, strict=True):
                rows.add(each, PART, against, outcome=target, part=part)
            rows.add(values.sum(1), CHANGE, against, outcome=target, part="")
        rows.excess(OTHERS)
        frames.append(rows.frame())
    return pd.concat(frames, ignore_index=True)


def interval_rows(changes: Changes, lead: str) -> pd.DataFrame:
    """What every interval changed, by groups of parts: the head ``lead`` by itself, others by kind.

    Returns:
        Estimates by ``outcome``, ``part`` and ``stop``: ``part``, and ``change``, the whole.
    """
    groups = {ATTENTION: "other heads", MLP: "MLPs"}
    called = [
        part if part == lead else groups.get(kind, part)
        for part, kind in zip(changes.parts, changes.kinds, strict=True)
    ]
    names = list(dict.fromkeys(called))
    member = np.array([[name == one for one in names] for name in called], dtype=np.float64)
    frames = []
    for (start, stop), each in zip(pairwise(changes.steps), changes.values, strict=True):
        rows = Estimates(start, {PART: "logit", CHANGE: "logit"})
        for target, values in zip(TARGETS, each[:, :, 0].swapaxes(0, 1), strict=True):
            for part, column in zip(names, (values @ member).T, strict=True):
                rows.add(column, PART, outcome=target, part=part)
            rows.add(values.sum(1), CHANGE, outcome=target, part="")
        frames.append(rows.frame().assign(stop=stop))
    return estimates(pd.concat(frames))


def branch_rows(changes: Changes) -> pd.DataFrame:
    """Step 2 over all rows (an event over an interval), those that stay and those that switch.

    Returns:
        Estimates by ``among`` of ``BRANCHES``, in the mean over rows, and of ``rows``, the share of
        all; resampled are events, with all their rows. Of no rows there is no number.
    """
    table, frames = changes.branches, []
    count = table["event"].nunique()
    for among in (ALL, STAYS, SWITCHES):
        mine = (table["among"] == among) | (among == ALL)
        columns = table[list(BRANCHES)].assign(rows=1.0) * mine.to_numpy()[:, None]
        drawn = draws(count) @ columns.groupby(table["event"]).sum().to_numpy()
        means, rows = drawn[:, :-1], drawn[:, -1:]
        none = np.full_like(means, np.nan)  # a resample without such rows
        means = np.divide(means, rows, out=none, where=rows > 0)
        numbers = told(np.hstack([means, rows / len(table)]), interval_of_found)
        found = dict(zip(("mean", "low", "high"), numbers, strict=True))
        about = {"measure": [*BRANCHES, "rows"], "among": among, "count": int(mine.sum())}
        frames.append(pd.DataFrame({**about, **found}))
    rows = pd.concat(frames, ignore_index=True)
    unit = {**dict.fromkeys(BRANCHES, "logit"), "rows": "share"}
    return estimates(rows, unit=unit, noun="changes", step=changes.steps[-1])


def along_parameters(
    decoder: Decoder,
    theta: Theta,
    steps: Sequence[int],
    events: ReadEvents,
    value_ids: range,
    rule: str,
) -> pd.DataFrame:
    """The line integral of both targets and of the soft margin over parameters (step 4).

    One gradient of every target at each node of the path rule ``rule``, and two at an interval's
    end.

    Returns:
        Estimates by ``outcome``, ``head`` and ``part`` (``QK`` and ``OV`` of every head, other
        modules, ``branch switch`` and ``residual``) of ``line_integral``; of
        ``line_integral_of_head``, both parts of a head; of ``integrated``, the sum of all; and of
        ``residual_of_movement``, the residual's size as a share of the sum of the sizes of all
        intervals' changes. Exact, of one trajectory on these events, so without interval.
    """

    def rivals(at: Float[Tensor, " P"]) -> Tensor:
        seen = look(decoder, at, events, value_ids, frozenset({"final_norm"}))
        return best_other(answer_logits(seen), events.answer)

    scalars: dict[str, Scalar] = {
        "answer_margin": Branched(answer_margin, rivals),
        "correct_value_logit": correct_value_logit(),
        "soft_margin": soft_margin(),
    }
    engine = Engine(decoder.layout, Evaluator(decoder, events, value_ids), scalars, [rule])
    labels = decoder.layout.groups("head_projection").map(_route)
    names, frames = list(dict.fromkeys(labels)), []
    member = torch.tensor([[label == name for name in names] for label in labels]).double()
    sums = torch.zeros(len(scalars), len(names) + 2, dtype=torch.float64)
    growth, movement = sums.new_zeros(2, len(scalars))
    for start, stop in pairwise(steps):
        ends = theta(start), theta(stop)
        step = engine.step(*ends, (ends[1].double() - ends[0].double())[None])
        moved, switch = step.atoms[:, 0] @ member, step.rebound["branch_switch"]
        sums += torch.column_stack([moved, switch, step.residual(rule, 1)])
        growth += step.growth
        movement += step.growth.abs()
    left = (sums[:, -1].abs() / movement).tolist()
    parts = pd.DataFrame([*names, ("", SWITCH), ("", RESIDUAL)], columns=["head", "part"])
    for outcome, each, *whole in zip(scalars, sums.numpy(), growth.tolist(), left, strict=True):
        rows = parts.assign(mean=each, measure=INTEGRAL)
        heads = rows[rows["head"] != ""].groupby("head", as_index=False, sort=False)["mean"].sum()
        wholes = pd.DataFrame({"measure": [INTEGRATED, OF_MOVEMENT], "mean": whole})
        both = [rows, heads.assign(measure=OF_HEAD), wholes]
        frames.append(pd.concat(both, ignore_index=True).assign(outcome=outcome))
    rows = pd.concat(frames, ignore_index=True).fillna({"head": "", "part": ""})
    unit = {**dict.fromkeys((INTEGRAL, OF_HEAD, INTEGRATED), "logit"), OF_MOVEMENT: "share"}
    return estimates(rows, unit=unit, step=steps[-1])


def _route(group: str) -> tuple[str, str]:
    """Head, and the part of its maps that parameters belong to; of others the module."""
    head, _, projection = group.partition(".")
    kinds = {"q": "QK", "k": "QK", "v": "OV", "o": "OV"}
    return (head, kinds[projection]) if projection in kinds else ("", group)

"""Whether a linear map carries the value from where it is written to where it is answered.

1. Events and codes are those of :mod:`circuit.measures.states.value_code`: programs with even
   numbers fit codes and maps, those with odd numbers test them. The *source code* is that of the
   answer at ``support_value``, the *target code* that at ``prediction``, at one stage each.
2. The *map* is ridge regression with an intercept to the target code: from the source code
   (``source``), from the whole state at ``prediction`` one stage before the target (``context``),
   or from ``both``. Every input is divided by its root mean square. The penalty is the one of
   ``PENALTIES`` with the least squared error when each program is left out, which is e / (1 − h)
   for an error e and its leverage h.
3. Scores, on programs that test: R² of the target code, about the fitted mean; how often its
   nearest centroid (of target codes) is the answer's; how often the logit lens of the mean state
   with nothing but it names the answer.
4. *Transfer rescue*: the target code is removed from the state, what a map predicts is put in its
   place, and the model goes on. The rescued fraction of an outcome is
   mean(S_repaired − S_damaged) / mean(S_clean − S_damaged).
5. Nulls, each with a map of its own: ``permuted values`` (a program's target code is one of another
   value, values exchanged as groups), ``another write`` (the code at the value of a write to
   another key), ``key code`` (directions in which centroids of keys differ), ``mean code`` (no
   map); of the source alone, ``random subspaces`` of its states that hold as much energy as the
   code. Beside them the ``true code``, 1 by construction, and the answer's ``centroid``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.estimates import SHARE, Estimates, estimates
from circuit.evidence import by_control, shown_from, verdict
from circuit.experiments.changes import Where, replace
from circuit.experiments.edits import AtSites
from circuit.experiments.interventions import centroids
from circuit.experiments.subspaces import energy_matched
from circuit.experiments.trial import LIKE_LENGTHS, READOUT, Trial, is_readout
from circuit.measures.states.value_code import (
    CENTROID,
    LENS,
    WRITE,
    Code,
    CodeReads,
    lens,
    of_half,
    seen_stages,
    state,
)
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars import behaviour
from circuit.scalars.base import Measure, Seen, pick
from circuit.statistics import halves

VARIANTS = {"source": ("source",), "context": ("context",), "both": ("source", "context")}
VALUES, SUBSPACES, KEYS = "permuted values", "random subspaces of the same energy", "key code"
MEAN, TRUE, CENTRE = "mean code", "true code", "centroid"
R2, RESCUED, LOST, CARRIES = "R2", "rescued", "lost", "carried_from"
PENALTIES = tuple(10.0**power for power in np.arange(-2, 5, 0.5))
OUTCOMES: dict[str, Measure] = {
    "answer_margin": behaviour.answer_margin(None),
    "soft_margin": behaviour.soft_margin(),
    "correct_value_logit": behaviour.correct_value_logit(),
    "negative_answer_loss": behaviour.negative_answer_loss(),
    "correct": behaviour.answered_right(),
}
_CODE = "code"


def ridge(
    x: Float[Tensor, "n k"], targets: Float[Tensor, "B n r"], new: Float[Tensor, "m k"]
) -> Float[Tensor, "B m r"]:
    """What B ridge regressions predict, each with the penalty of step 2."""
    mean, about = x.mean(0), targets.mean(1, keepdim=True)
    u, s, vh = torch.linalg.svd(x - mean, full_matrices=False)
    along, left = u.T @ (targets - about), targets - about
    shrink = s.square() / (s.square() + torch.tensor(PENALTIES, dtype=s.dtype)[:, None])
    leverage = 1 / len(x) + shrink @ u.square().T
    errors = torch.stack(
        [
            ((left - u @ (by[:, None] * along)) / (1 - h)[:, None]).square().sum((1, 2))
            for by, h in zip(shrink, leverage, strict=True)
        ]
    )
    best = shrink[errors.argmin(0)]
    weights = vh.T @ ((best / s.clamp(min=torch.finfo(s.dtype).tiny))[:, :, None] * along)
    predicted: Tensor = (new - mean) @ weights + about
    return predicted


def value_transfer(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    reads: CodeReads,
    value_ids: range,
    source: str,
    target: str,
    rank: int,
    outcomes: Sequence[str],
    told: str,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Maps, scores and rescue at every step.

    Args:
        source, target: stages; the target is not the first.
        rank: directions of either code.
        outcomes: of ``OUTCOMES``.
        told: the one whose rescue has a landmark.
        draws: of each null that is drawn.

    Returns:
        Estimates by ``variant``, ``outcome`` and ``by_construction``: ``R2``,
        ``centroid_accuracy``, ``lens_accuracy``; ``rescued``, the fraction of an outcome, missing
        where removing the target code is not shown to cost any; that cost, as ``lost`` of the
        variant ``whole``; and ``carried_from``, the step from which on the rescue
        stays shown.
    """
    every = stages(decoder.settings.n_layers)
    before, fit_and_test, rows = every[every.index(target) - 1], halves(len(reads.other)), []
    for step in steps:
        seen = seen_stages(decoder, theta(step), reads, value_ids)
        parts = [(of_half(seen, i), reads.other[half]) for i, half in enumerate(fit_and_test)]
        maps = _Maps(parts, source, before, target, rank, draws, seed)
        rows += [_scores(step, maps), _rescue(step, maps, outcomes)]
    frame = pd.concat(rows, ignore_index=True)
    frame = pd.concat([frame, _carried_from(frame, told)]).fillna({"outcome": ""})
    built = is_readout(target, "prediction", decoder.settings, "MLP")
    return estimates(frame.assign(by_construction=READOUT if built else ""))


class _Maps:
    """The target code of a checkpoint, and what every map and null predicts of it for the tests.

    Attributes:
        predicted: by variant and control (empty: the map itself) [draws, tests, r].
        truth: the target code of the programs that test.
        centroids: of every label at the target, with the target code's coordinates.
    """

    def __init__(
        self,
        halves: Sequence[tuple[Seen, Int[Tensor, " E"]]],
        source: str,
        before: str,
        target: str,
        rank: int,
        draws: int,
        seed: int,
    ) -> None:
        (fit, _), (self.test, _) = halves
        self.site, first = target, fit.value_ids.start
        answer = fit.events.answer - first
        written = [state(seen, source, "support_value") for seen, _ in halves]
        others = [pick(seen.sites[source], other).double() for seen, other in halves]
        context = [state(seen, before, "prediction") for seen, _ in halves]
        answered = [state(seen, target, "prediction") for seen, _ in halves]
        self.code, own = Code.of(answered[0], answer, rank), Code.of(written[0], answer, rank)
        keys = fit.events.query_key_id
        by_key = Code.of(written[0], keys, len(keys.unique()) - 1)
        generator, about = torch.Generator().manual_seed(seed), written[0] - own.mean
        spread = about.T @ about / len(about)
        random = [
            own._replace(basis=energy_matched(spread, own.basis, generator)) for _ in range(draws)
        ]
        sources: dict[str, list[tuple[Tensor, ...]]] = {
            "": [own.both(written)],
            WRITE: [own.both(others)],
            KEYS: [by_key.both(written)],
            SUBSPACES: [code.both(written) for code in random],
        }
        mean = context[0].mean(0)
        around = context[0] - mean, context[1] - mean
        coordinates, self.truth = self.code.both(answered)
        permuted = coordinates[exchanged_values(answer, draws, seed)]
        everywhere = torch.ones(len(answer), 1, dtype=torch.bool)
        self.centroids = centroids(coordinates[:, None], everywhere, answer, len(fit.value_ids))
        self.predicted: dict[tuple[str, str], Tensor] = {}
        for variant, parts in VARIANTS.items():
            known = {"": sources[""]} if variant == "context" else sources
            for against, pairs in known.items():
                if against == SUBSPACES and variant != "source":
                    continue
                used = ({"source": pair, "context": around} for pair in pairs)
                inputs = [_joined([one[part] for part in parts]) for one in used]
                if not against:
                    self.predicted[variant, VALUES] = ridge(inputs[0][0], permuted, inputs[0][1])
                found = [ridge(x, coordinates[None], new) for x, new in inputs]
                self.predicted[variant, against] = torch.cat(found)
        right = self.centroids[self.test.events.answer - first]
        for variant, code in ((TRUE, self.truth), (CENTRE, right), (MEAN, 0 * self.truth)):
            self.predicted[variant, ""] = code[None]


def exchanged_values(answer: Int[Tensor, " E"], draws: int, seed: int) -> Int[Tensor, "draws E"]:
    """For every event one of another value: values go round in a random cycle, as groups."""
    rng, found = np.random.default_rng(seed), []
    values, of = np.unique(answer.numpy(), return_inverse=True)
    members = [np.flatnonzero(of == value) for value in range(len(values))]
    for _ in range(draws):
        cycle = rng.permutation(len(values))
        after = np.empty_like(cycle)
        after[cycle] = np.roll(cycle, 1)
        found.append([rng.choice(members[after[value]]) for value in of])
    return torch.from_numpy(np.array(found))


def _joined(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    """Inputs side by side, each divided by its root mean square over the programs that fit."""
    scales = [fit.square().mean().sqrt().clamp(min=torch.finfo(fit.dtype).tiny) for fit, _ in parts]
    x, new = (
        torch.cat([pair[i] / scale for pair, scale in zip(parts, scales, strict=True)], 1)
        for i in (0, 1)
    )
    return x, new


def _scores(step: int, maps: _Maps) -> pd.DataFrame:
    """Step 3 of the module."""
    both = {CENTROID: "share", LENS: "share"}
    rows = Estimates(step, both, "programs", families=1, shares=both)
    right = maps.test.events.answer - maps.test.value_ids.start
    for (variant, against), code in maps.predicted.items():
        apart = torch.cdist(code, maps.centroids.expand(len(code), -1, -1))
        named = lens(maps.test, maps.code.states(code)).argmax(-1)
        for measure, guess in ((CENTROID, apart.argmin(-1)), (LENS, named)):
            hits = (guess == right).double().numpy()
            rows.add_draws(hits, measure, against, variant=variant)
    rows.excesses(WRITE, KEYS)
    return rows.frame()


def _rescue(step: int, maps: _Maps, outcomes: Sequence[str]) -> pd.DataFrame:
    """R² and step 4 of the module; both are ratios of means."""
    trial = Trial(maps.test, LIKE_LENGTHS)
    scalars = {name: OUTCOMES[name] for name in outcomes}
    where = Where(maps.site, maps.test.events.role_mask("prediction"))
    units = {_CODE: "squared state unit", **{name: one.unit for name, one in scalars.items()}}
    rows = Estimates(step, units, "programs", families=1)

    def left(codes: Float[Tensor, "K E r"]) -> dict[str, Float[np.ndarray, "K E"]]:
        """Outcomes with these in the place of the target code."""
        put = (replace(maps.code.states(code)[:, None], maps.code.basis) for code in codes)
        found = [trial.run({"": AtSites(((where, one),))}, scalars)["", ""] for one in put]
        return {name: np.stack([values[name] for values in found]) for name in scalars}

    base, damaged = trial.unedited(scalars), left(maps.predicted[MEAN, ""])
    size = maps.truth.square().sum(-1)
    rows.add(size.numpy(), _CODE, variant="whole")
    for name in scalars:
        rows.add(base[name] - damaged[name][0], name, variant="whole")
    for (variant, against), code in maps.predicted.items():
        explained = size - (maps.truth - code).square().sum(-1)
        rows.add_draws(explained.numpy(), _CODE, against, variant=variant)
        for name, values in left(code).items():
            rows.add_draws(values - damaged[name], name, against, variant=variant)
    rows.excesses(WRITE, KEYS)
    rows.share_of(variant="whole")
    frame = rows.frame()
    code, whole = frame["measure"].str.startswith(_CODE), frame["variant"] == "whole"
    for name, lost in frame[whole].groupby("measure"):
        if verdict(by_control(lost)[""]) != "shown":  # where it costs nothing, nothing is rescued
            frame.loc[frame["measure"] == f"{name}{SHARE}", ["mean", "low", "high"]] = np.nan
    share = frame["measure"].str.endswith(SHARE)
    outcome = frame["measure"].str.removesuffix(SHARE).mask(code, "")
    measure = np.select([code, share], [R2, RESCUED], LOST)
    found = frame.assign(outcome=outcome, measure=measure)
    return found[(share & ~whole) | (whole & ~share & ~code)]


def _carried_from(rows: pd.DataFrame, told: str) -> pd.DataFrame:
    """From which step on the rescue from the source stays shown; missing where it does not."""
    asked = (rows["measure"] == RESCUED) & (rows["outcome"] == told) & (rows["variant"] == "source")
    asked &= ~rows["against"].str.endswith(SUBSPACES)  # of these it is another question
    table = pd.DataFrame([{"variant": "source", "outcome": told, "measure": CARRIES}])
    return estimates(table, "step", step=rows["step"].max(), mean=shown_from(rows[asked]))

"""What carries a window's change of behaviour: parts of one end put into the other.

1. One pass at the window's first checkpoint (the *source*) and one at its last (the *target*) over
   the same events give the answer margin at both ends, and the stream at every stage.
2. Every part (the states at a stage and role, or a parameter group's weights) goes into the other
   end, in both directions:

   - target into source: does the part *bring* the change? effect = S_patched − S_source;
   - source into target: does its absence *take it away*? effect = S_target − S_patched.

   So a positive effect means that the part carries the change, in both. Its *share* is
   mean effect / mean change, the change being S_target − S_source; all of the target in the source
   gives 1 exactly, in both directions.
3. S is the answer margin: against the best wrong token of each state (its sign says whether the
   answer is right), and against the one token that was best wrong at the source (linear in the
   logits). Whether the answer is right is measured beside them.
4. Every transplant has its control: states of another event, or a change of the same size in a
   random direction, which also does harm. What a group's weights carry beyond that is its *excess*.
   Shares of single parts need not sum to 1 (parts act through one another, and the margin is not
   linear); the sum over the groups of a grouping is given beside them.
5. Means and shares have bootstrap intervals over events, the change drawn with the effect. Where
   the change's own interval holds 0, there is nothing to share out, and shares are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from circuit.experiments.edits import Patched, Weights
from circuit.experiments.trial import ANSWER, Trial, Values
from circuit.experiments.weights import shuffled_change, weight_parts
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import Measure, Scalar, Seen, best_other, margin
from circuit.scalars.behaviour import answer_logits
from circuit.statistics import halves_and_all, interval, resamples
from circuit.task.events import ReadEvents

MEASURES = {"answer_margin": "logit", "answer_margin_fixed_source": "logit", "correct": "1"}
DIRECTIONS = ("target_into_source", "source_into_target")
KEYS = ("direction", "kind", "donor", "grouping", "group", "stage", "role", "measure")
UNITS = {
    **dict.fromkeys(("effect", "effect_low", "effect_high"), "unit of the measure"),
    **dict.fromkeys(("fraction", "low", "high"), "share"),
    "count": "1",
}
EVENT_UNITS = {"step": "step", "event": "id", "value": "unit of the measure"}
SUM = "sum of groups"


class Comparison(NamedTuple):
    """What the two ends and their mixtures answer.

    ``rows``: the columns of ``KEYS``, half, effect, effect_low, effect_high, fraction, low, high,
    count. ``kind`` is ``activation``, ``weight`` or ``change`` (the change itself); ``donor`` is
    ``matched``, ``control`` or, for weights, ``excess`` (their difference).
    ``events``: step, measure, event, value.
    """

    rows: pd.DataFrame
    events: pd.DataFrame


def compare_ends(
    decoder: Decoder,
    thetas: tuple[Float[Tensor, " P"], Float[Tensor, " P"]],
    steps: tuple[int, int],
    events: ReadEvents,
    value_ids: range,
    roles: Sequence[str],
    groupings: Sequence[str],
    seed: int = 0,
) -> Comparison:
    """Transplant every part in both directions; see the module.

    Args:
        thetas: parameters of the source and of the target.
        steps: their steps.
        roles: whose positions take the other end's states, one role at a time.
        groupings: parameter groupings whose groups take the other end's weights.
        seed: of the shuffled changes.
    """
    sites = stages(decoder.settings.n_layers)
    trials = [Trial.of(decoder, theta, events, value_ids, sites) for theta in thetas]
    outcomes = _outcomes(best_other(answer_logits(trials[0].clean), events.answer))
    bases = [trial.unedited(outcomes) for trial in trials]
    effects: dict[tuple[str, ...], np.ndarray] = {}
    for direction, receiver, sign in zip(DIRECTIONS, (0, 1), (1, -1), strict=True):
        trial, donor = trials[receiver], trials[1 - receiver]
        theta, other = thetas[receiver].detach(), thetas[1 - receiver].detach()
        mixed = _with_states(trial, donor.clean, outcomes, roles)
        mixed |= _with_weights(trial, theta, other, outcomes, groupings, seed)
        for key, values in mixed.items():
            for measure, value in values.items():
                effects[direction, *key, measure] = sign * (value - bases[receiver][measure])
    changes = {measure: bases[1][measure] - bases[0][measure] for measure in MEASURES}
    effects |= _sums(effects)
    effects |= _excess(effects)
    frames = [
        _half_rows(effects, changes, half, chosen)
        for half, chosen in halves_and_all(len(events)).items()
    ]
    return Comparison(pd.concat(frames, ignore_index=True), _event_rows(steps, bases, events))


def _outcomes(rival: Int[Tensor, " E"]) -> dict[str, Scalar]:
    """Every measure of ``MEASURES``, in float64; ``rival`` is the fixed one."""

    def over(rival: Int[Tensor, " E"] | None) -> Callable[[Seen], Float[Tensor, " E"]]:
        return lambda seen: margin(answer_logits(seen).double(), seen.events.answer, rival)

    def correct(seen: Seen) -> Float[Tensor, " E"]:
        return (answer_logits(seen).argmax(-1) == seen.events.answer).double()

    functions = over(None), over(rival), correct
    return {
        name: Measure(unit, ANSWER, function)
        for (name, unit), function in zip(MEASURES.items(), functions, strict=True)
    }


def _with_states(
    trial: Trial, donor: Seen, outcomes: Mapping[str, Scalar], roles: Sequence[str]
) -> dict[tuple[str, ...], Values]:
    """The donor's states at every stage and role: by kind, donor, grouping, group, stage, role."""
    edits = {
        (stage, role): Patched(stage, donor.sites[stage], role)
        for stage in stages(donor.decoder.settings.n_layers)
        for role in roles
    }
    controls = {"control": lambda edit: edit.of_other_events(donor.events)}
    return {
        ("activation", control or "matched", "", "", *place): values
        for (place, control), values in trial.run(edits, outcomes, controls).items()
    }


def _with_weights(
    trial: Trial,
    theta: Float[Tensor, " P"],
    donor: Float[Tensor, " P"],
    outcomes: Mapping[str, Scalar],
    groupings: Sequence[str],
    seed: int,
) -> dict[tuple[str, ...], Values]:
    """The donor's parameters in every group, by the same names."""
    layout = trial.clean.decoder.layout
    parts = weight_parts(layout, ("whole", *groupings))
    shuffled = shuffled_change(layout, theta, donor, seed)
    # Groupings share groups, such as an MLP: each is run once.
    edits = {part.atoms.tobytes(): Weights(layout, part, theta, donor) for part in parts}
    controls = {"control": lambda edit: replace(edit, donor=shuffled)}
    found = trial.run(edits, outcomes, controls)
    return {
        ("weight", control or "matched", part.grouping, part.group, "", ""): found[
            part.atoms.tobytes(), control
        ]
        for part in parts
        for control in ("", *controls)
    }


def _sums(effects: Mapping[tuple[str, ...], np.ndarray]) -> dict[tuple[str, ...], np.ndarray]:
    """Effects summed over the groups of every grouping, which together are all parameters."""
    sums: dict[tuple[str, ...], np.ndarray] = {}
    for key, effect in effects.items():
        direction, kind, donor, grouping, _, *rest = key
        if kind == "weight" and grouping != "whole":
            name = (direction, kind, donor, grouping, SUM, *rest)
            sums[name] = sums.get(name, 0.0) + effect
    return sums


def _excess(effects: Mapping[tuple[str, ...], np.ndarray]) -> dict[tuple[str, ...], np.ndarray]:
    """What weights carry beyond a change of the same size in a random direction."""
    excess = {}
    for (direction, kind, donor, *rest), effect in effects.items():
        if kind == "weight" and donor == "matched":
            control = effects[direction, kind, "control", *rest]
            excess[direction, kind, "excess", *rest] = effect - control
    return excess


def _half_rows(
    effects: Mapping[tuple[str, ...], np.ndarray],
    changes: Mapping[str, np.ndarray],
    half: str,
    events: Int[np.ndarray, " n"],
) -> pd.DataFrame:
    """Mean effects and shares of some of the events, with their intervals."""
    drawn = resamples(len(events), 0) / len(events)
    frames = []
    for measure, values in changes.items():
        change = values[events]
        names = [key for key in effects if key[-1] == measure]
        columns = np.stack([change, *(effects[key][events] for key in names)], axis=1)
        mean, again = columns.mean(0), drawn @ columns
        low, high = interval(again)
        share = np.full((3, len(mean)), np.nan)
        if not low[0] <= 0 <= high[0]:
            share = np.stack([mean / mean[0], *interval(again / again[:, :1])])
        frame = pd.DataFrame([("", "change", *[""] * 5, measure), *names], columns=list(KEYS))
        frames.append(
            frame.assign(
                half=half, effect=mean, effect_low=low, effect_high=high,
                fraction=share[0], low=share[1], high=share[2], count=len(events),
            )
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def _event_rows(
    steps: tuple[int, int], bases: Sequence[Mapping[str, np.ndarray]], events: ReadEvents
) -> pd.DataFrame:
    """Every measure at both ends, per event."""
    frames = [
        pd.DataFrame(
            {"step": step, "measure": measure, "event": range(len(events)), "value": values}
        )
        for step, base in zip(steps, bases, strict=True)
        for measure, values in base.items()
    ]
    return pd.concat(frames, ignore_index=True)

"""What carries a window's change of behaviour: parts of one end put into the other.

1. One pass at the window's first checkpoint (the *source*) and one at its last (the *target*) over
   the same events give the answer margin at both ends, and the stream at every stage.
2. Every part (the states at a stage and role, or a parameter group's weights) goes into the other
   end, in both directions: the target's part into the source, does it *bring* the change? The
   source's into the target, does its absence *take it away*? effect = S(receiver with the donor's
   part) − S(receiver), signed so that > 0 carries the change. Its *share* is the mean effect over
   the mean change S_target − S_source; all of one end in the other gives 1, in both directions.
3. S is the answer margin: against the best wrong token of each state (its sign says whether the
   answer is right), and against the one token that was best wrong at the source (linear in the
   logits). Whether the answer is right is measured beside them.
4. Controls: the states of another event, or a change of the same size in a random direction. Both
   also do harm. What a group's weights carry beyond the random change is their excess. Another
   event's states carry another answer, so they take away more than the change.
5. Shares of single parts need not sum to 1 (parts act through one another, and the margin is not
   linear); the sum over the groups of a grouping is given beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from circuit.estimates import Estimates, estimates
from circuit.experiments.edits import Patched, Weights, shuffled_change, weight_parts
from circuit.experiments.trial import ANSWER, Trial, Values
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import Measure, Scalar, Seen, best_other, margin
from circuit.scalars.behaviour import answer_logits, answered_right
from circuit.statistics import bootstrap_means
from circuit.task.events import ReadEvents

MEASURES = {"answer_margin": "logit", "answer_margin_fixed_source": "logit", "correct": "share"}
EVENT_UNITS = {"step": "step", "event": "id", "value": "unit of the measure"}
BRINGS, TAKES = "brings", "takes_away"
BOTH = {BRINGS: (0, 1), TAKES: (1, -1)}
"""Direction → which end receives, and the sign of what carries the change."""
ANOTHER, RANDOM = "the same states of another event", "a random change of the same size"
SUM = "sum of groups"
WHOLE = "whole"


def compare_ends(
    decoder: Decoder,
    thetas: tuple[Float[Tensor, " P"], Float[Tensor, " P"]],
    steps: tuple[int, int],
    events: ReadEvents,
    value_ids: range,
    roles: Sequence[str],
    groupings: Sequence[str],
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Transplant every part in both directions; see the module.

    Args:
        thetas: parameters of the source and of the target.
        steps: their steps.
        roles: whose positions take the other end's states, one role at a time.
        groupings: parameter groupings whose groups take the other end's weights.
        seed: of the shuffled changes.

    Returns:
        Estimates by direction (``change`` of the change itself), what (``states``, ``weights``),
        grouping, part, stage, role; and both ends' step, measure, event, value.
    """
    sites = stages(decoder.settings.n_layers)
    trials = [Trial.of(decoder, theta, events, value_ids, sites) for theta in thetas]
    outcomes = _outcomes(best_other(answer_logits(trials[0].clean), events.answer))
    ends = [trial.unedited(outcomes) for trial in trials]
    # One table a measure: what is resampled together is part of the numbers' last digits.
    tables = {
        name: Estimates(steps[1], {name: unit}, halves=True) for name, unit in MEASURES.items()
    }
    for name, table in tables.items():
        table.add(ends[1][name] - ends[0][name], name, direction="change")
    for direction, (into, sign) in BOTH.items():
        trial, donor = trials[into], trials[1 - into].clean
        theta, other = thetas[into].detach(), thetas[1 - into].detach()
        states = _with_states(trial, donor, outcomes, roles)
        weights = _with_weights(trial, theta, other, outcomes, groupings, seed)
        for part in (states, weights):
            for keys, values in part:
                for name, table in tables.items():
                    effect = sign * (values[name] - ends[into][name])
                    table.add(effect, name, direction=direction, **keys)
    for table in tables.values():
        table.sums("part", SUM, ("direction", "grouping"), what="weights")
        table.excess(RANDOM)
        table.share_of(direction="change")
    rows = [table.frame() for table in tables.values()]
    rows += [_end_rows(step, end) for step, end in zip(steps, ends, strict=True)]
    return pd.concat(rows, ignore_index=True).fillna(dict.fromkeys(_KEYS, "")), _event_rows(
        steps, ends
    )


_KEYS = ("direction", "what", "grouping", "part", "stage", "role")


def _outcomes(rival: Int[Tensor, " E"]) -> dict[str, Scalar]:
    """Every measure of ``MEASURES``, in float64; ``rival`` is the fixed one."""

    def over(rival: Int[Tensor, " E"] | None) -> Callable[[Seen], Float[Tensor, " E"]]:
        return lambda seen: margin(answer_logits(seen).double(), seen.events.answer, rival)

    functions: list[Callable[[Seen], Tensor]] = [over(None), over(rival), answered_right()]
    return {
        name: Measure(unit, ANSWER, function)
        for (name, unit), function in zip(MEASURES.items(), functions, strict=True)
    }


def _with_states(
    trial: Trial, donor: Seen, outcomes: Mapping[str, Scalar], roles: Sequence[str]
) -> Iterator[tuple[dict[str, str], Values]]:
    """Keys and values with the donor's states, and another event's, at every stage and role."""
    edits = {
        (stage, role): Patched(stage, donor.sites[stage], role)
        for stage in stages(donor.decoder.settings.n_layers)
        for role in roles
    }
    controls = {ANOTHER: lambda edit: edit.of_other_events(donor.events)}
    for ((stage, role), control), values in trial.run(edits, outcomes, controls).items():
        part = f"the state at {role}, {stage}"
        yield (
            {"what": "states", "part": part, "stage": stage, "role": role, "against": control},
            values,
        )


def _with_weights(
    trial: Trial,
    theta: Float[Tensor, " P"],
    donor: Float[Tensor, " P"],
    outcomes: Mapping[str, Scalar],
    groupings: Sequence[str],
    seed: int,
) -> Iterator[tuple[dict[str, str], Values]]:
    """The same with the donor's parameters, and a random change's, in every group."""
    layout = trial.clean.decoder.layout
    parts = weight_parts(layout, (WHOLE, *groupings))
    shuffled = shuffled_change(layout, theta, donor, seed)
    # Groupings share groups, such as an MLP: each is run once.
    edits = {part.atoms.tobytes(): Weights(layout, part, theta, donor) for part in parts}
    controls = {RANDOM: lambda edit: replace(edit, donor=shuffled)}
    found = trial.run(edits, outcomes, controls)
    for part in parts:
        what = "all weights" if part.grouping == WHOLE else "weights"
        keys = {"what": what, "grouping": part.grouping, "part": part.group}
        for control in ("", *controls):
            yield {**keys, "against": control}, found[part.atoms.tobytes(), control]


def _end_rows(step: int, end: Values) -> pd.DataFrame:
    """Every measure at one end."""
    mean, low, high = bootstrap_means(
        np.stack(list(end.values()), axis=1), shares=[name == "correct" for name in end]
    )
    frame = pd.DataFrame(
        {"what": "end", "measure": list(end), "mean": mean, "low": low, "high": high}
    )
    count = len(next(iter(end.values())))
    return estimates(frame, unit=MEASURES, noun="events", step=step, count=count)


def _event_rows(steps: tuple[int, int], ends: Sequence[Values]) -> pd.DataFrame:
    """Every measure at both ends, per event."""
    frames = [
        pd.DataFrame({"step": step, "measure": name, "event": range(len(values)), "value": values})
        for step, end in zip(steps, ends, strict=True)
        for name, values in end.items()
    ]
    return pd.concat(frames, ignore_index=True)

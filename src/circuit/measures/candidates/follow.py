"""Candidates in one frame: how strong each is, how it changed, whether training pushes it, and why.

A *candidate* is a route or a family of features, by its scalar. ``head: every`` stands for one
candidate per head of the model, ``families`` for one per family that a dictionary's analysis found.

1. At every checkpoint of the window, one forward pass over the events gives the value of every
   candidate on every event: its *strength*, and its *change* since the window's start (paired).
2. At some of them, spread over the window, each candidate's gradient is compared with the descent
   direction of the loss (:mod:`circuit.measures.candidates.descent`), on programs of the training
   split and of the analysis' own split, under every objective: *alignment* and *push*.
3. Between those, :mod:`circuit.measures.candidates.gradient_link` tells what built each candidate,
   what its own parameters' updates did to the loss, and how candidates interfere.
4. :mod:`circuit.measures.candidates.ranking` ranks them by what they did in the window, and
   :mod:`circuit.measures.candidates.phases` tells when each rose, fell or rested, in what order.

Forward passes: one per checkpoint over the events, one per chunk of programs, objective and split
where gradients are taken, and what forward mode takes. Backward passes: one per candidate and one
per chunk there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.config.scalar import DictionaryFamilies, Route
from circuit.estimates import estimates
from circuit.measures.candidates.descent import (
    Pushes,
    align,
    descended,
    loss_gradient,
    run_batches,
)
from circuit.measures.candidates.gradient_link import drives, interference, own_parameters
from circuit.measures.candidates.registry import expand, found_families
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import Evaluator
from circuit.scalars.features import Dictionary
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import bootstrap_means, told
from circuit.training.batches import Batch
from circuit.training.records import RunRecord

TRAINED_ON, NEW = "trained on", "not trained on"
"""What programs of a split are to the run (the key ``programs``)."""
Batches = Mapping[str, Mapping[str, Sequence[Batch]]]
"""Chunks of programs by split and objective."""


class Followed(NamedTuple):
    """What the candidates did: estimates by candidate, split, programs and objective (``strength``
    and ``change`` over events, ``alignment`` and ``push`` over chunks of programs, and what
    :mod:`circuit.measures.candidates.gradient_link` tells); their values by step, the candidates in
    their given order; and how many backward passes that took.
    """

    rows: pd.DataFrame
    values: dict[int, Float[np.ndarray, "S E"]]
    backward: int


class CandidatesAsked(Pushes, Protocol):
    """Which candidates, and where their gradients are taken; the settings of ``candidates``."""

    candidates: dict[str, Route]
    families: DictionaryFamilies | None
    checkpoints: int

    @property
    def compared_at(self) -> Sequence[str]: ...


def spread(steps: Sequence[int], most: int) -> list[int]:
    """At most ``most`` of the steps, evenly spread, the first and the last among them."""
    places = np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int)
    return [steps[i] for i in dict.fromkeys(places.tolist())]


def follow_run(
    record: RunRecord,
    decoder: Decoder,
    settings: CandidatesAsked,
    window: tuple[int, int],
    dictionaries: Mapping[str, Dictionary] | None = None,
) -> tuple[Followed, pd.DataFrame]:
    """The candidates of a finished run; see the module.

    Args:
        decoder: the run's model, or one that computes the same and counts.
        dictionaries: those of features that candidates name.

    Returns:
        What they did; and what they are: candidate, group (its name in the settings), unit.
    """
    events, every = record.probes(settings.split), record.manifest.steps
    dictionaries = dictionaries or {}
    named = {**settings.candidates, **found_families(settings.families, dictionaries)}
    specs, groups = expand(named, decoder.settings)
    measured = (decoder, events, record.value_ids)
    context = ScalarContext(
        *measured, {}, record.theta, window, every[-1], dictionaries=dictionaries
    )
    scalars = {name: build_scalar(spec, context) for name, spec in specs.items()}
    trained = record.manifest.recipe.train_split
    names = dict.fromkeys((trained, settings.split))
    batches = {name: run_batches(record, name, settings) for name in names}
    steps = [step for step in every if window[0] <= step <= window[1]]
    at = spread(steps, settings.checkpoints)
    compared = [{"first": at[0], "last": at[-1]}[one] for one in settings.compared_at]
    own = own_parameters(specs.values(), decoder.layout, dictionaries)
    where = (Evaluator(*measured), record.theta, steps, at, compared)
    frame = follow(*where, scalars, own, batches, trained)
    about = [(name, groups[name], spec.unit) for name, spec in specs.items()]
    return frame, pd.DataFrame(about, columns=["candidate", "group", "unit"])


def follow(
    evaluator: Evaluator,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    at: Sequence[int],
    compared: Sequence[int],
    scalars: Mapping[str, Scalar],
    own: Float[Tensor, "S P"],
    batches: Batches,
    train_split: str,
) -> Followed:
    """Measure every candidate at every step of the window, and its gradient at some.

    Args:
        own: 1 for each candidate's own parameters, else 0.
    """
    values: dict[int, Float[np.ndarray, "S E"]] = {}
    frames, backward, intervals = [], 0, list(pairwise(at))
    utilities: dict[tuple[str, str], dict[tuple[int, int], Any]] = {}
    lots = [(split, name, one) for split, by in batches.items() for name, one in by.items()]
    events = {"count": len(evaluator.events), "noun": "events"}

    def add(ends: object, measure: str | list[str], step: int, **about: Any) -> None:
        mean, low, high = np.asarray(ends)
        names = list(scalars) * (len(mean) // len(scalars))
        table = {"candidate": names, **dict.fromkeys(_KEYS, ""), **about}
        numbers = {"measure": measure, "mean": mean, "low": low, "high": high}
        frames.append(pd.DataFrame({**table, "step": step, **numbers}))

    for step in steps:
        parameters = theta(step)
        if step in at:
            found = evaluator(parameters, scalars)
            now, backward = found.values, backward + len(scalars)
            inside = found.gradients * own
            moved = {e: own * (theta(e[1]) - theta(e[0])) for e in intervals if step in e}
            for split, objective, chunks in lots:
                loss = loss_gradient(evaluator.decoder, parameters, chunks)
                useful = utilities.setdefault((split, objective), dict.fromkeys(intervals, 0))
                useful |= {e: useful[e] + descended(loss, by) / 2 for e, by in moved.items()}
                backward += len(chunks)
                about = _about(split, train_split, objective, len(chunks))
                for measure, ends in align(found.gradients, loss)._asdict().items():
                    add(ends, measure, step, **about)
                add(align(inside, loss, within=own).alignment, "own_alignment", step, **about)
            if step in compared:
                where = (evaluator, parameters, scalars, found.gradients)
                pairs = interference(*where, len(loss.targets))
                backward += len(scalars) * len(loss.targets)
                frames.append(pairs.assign(step=step))
        else:
            now = evaluator.values(parameters, scalars)
        values[step] = now.double().numpy()
        both = np.concatenate([values[step], values[step] - values[steps[0]]])
        measures = np.repeat(["strength", "change"], len(scalars)).tolist()
        add(bootstrap_means(both.T), measures, step, **events)

    def add_sums(
        measure: str, each: Sequence[Any], told_as: Callable[[Any], Any], **about: Any
    ) -> None:
        """A number of every interval, at its first step, and of the window, at its last."""
        for (start, stop), one in zip(intervals, each, strict=True):
            add(told_as(one), f"{measure}_between", start, stop=str(stop), **about)
        add(told_as(sum(each[1:], each[0])), measure, steps[-1], **about)

    built = drives(evaluator, theta, intervals, scalars)
    add_sums("built", [one.drive.T for one in built], bootstrap_means, part="drive", **events)
    for part in ("rebinding", "residual"):
        add_sums("built", [getattr(one, part) for one in built], _exact, part=part)
    for split, objective, chunks in lots:
        about = _about(split, train_split, objective, len(chunks))
        add_sums("utility", list(utilities[split, objective].values()), told, **about)
    rows = pd.concat(frames, ignore_index=True)
    rows = rows.fillna(dict.fromkeys((*_KEYS, "other", "against"), ""))
    unit = rows["candidate"].map({name: scalar.unit for name, scalar in scalars.items()})
    rows["unit"] = unit.where(rows["measure"] != "push", unit + " per learning rate")
    for measure, of_measure in _UNITS.items():
        rows.loc[rows["measure"] == measure, "unit"] = of_measure
    return Followed(estimates(rows), values, backward)


_KEYS = ("split", "programs", "objective", "part", "stop")
_UNITS = {
    **dict.fromkeys(("alignment", "own_alignment", "interference"), "cosine"),
    **dict.fromkeys(("utility", "utility_between"), "nat per target"),
}


def _about(split: str, train_split: str, objective: str, chunks: int) -> dict[str, Any]:
    programs = TRAINED_ON if split == train_split else NEW
    about = {"split": split, "programs": programs, "objective": objective}
    return {**about, "count": chunks, "noun": "chunks of programs"}


def _exact(numbers: Float[np.ndarray, " S"]) -> Float[np.ndarray, "3 S"]:
    """What was averaged over no draw of anything: no interval."""
    return np.stack([numbers, *np.full((2, len(numbers)), np.nan)])

"""Growth of scalars over consecutive intervals, attributed and gathered into tidy tables.

What an analysis asks for is made here: its scalars, on its events, and what gathers their growth.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.attribution.engine import Engine, StepAttribution
from circuit.attribution.products import Grouping, grouped
from circuit.config.attribution import GROWTH, RESIDUAL, Requested, RequestedOfFeatures
from circuit.config.terms import CHECKPOINT_DIFFERENCE
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import Evaluator, scalar_values
from circuit.scalars.features import Dictionary, each_feature
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import halves
from circuit.task.events import ReadEvents
from circuit.training.records import RunRecord

Part = tuple[str, str]
"""Component of an update, and data group; this is empty where no data are told apart."""
WHOLE: tuple[Part, ...] = ((CHECKPOINT_DIFFERENCE, ""),)
"""The one part of an interval whose steps are not looked at."""


@dataclass
class Growth:
    """Attributes the growth of scalars over every interval and sums it over the stretch.

    Args:
        parts: what updates are split into, of which the first ``summands`` sum to the update.
        per_step: groupings kept for every interval.
        summed: groupings kept as one sum over the stretch (for fine ones, such as neurons).
        checkpoints: steps at whose states the value of every event is kept.
    """

    engine: Engine
    parts: Sequence[Part]
    summands: int
    per_step: Mapping[str, Grouping]
    summed: Mapping[str, Grouping]
    checkpoints: Collection[int]
    _steps: list[int] = field(default_factory=list)
    _seen: list[StepAttribution] = field(default_factory=list)
    _events: list[pd.DataFrame] = field(default_factory=list)
    _total: Tensor | None = None

    def __post_init__(self) -> None:
        self._groups: dict[str, list[np.ndarray]] = {name: [] for name in self.per_step}

    def attribute(
        self,
        interval: tuple[int, int],
        before: Float[Tensor, " P"],
        after: Float[Tensor, " P"],
        updates: Float[Tensor, "C P"],
    ) -> None:
        """Attribute an interval of any length, whose update has these parts."""
        result = self.engine.step(before, after, updates)
        first, last = interval
        if not self._steps:
            self._note_events(first, result.before)
        if last in self.checkpoints:
            self._note_events(last, result.after)
        summands = result.atoms[:, : self.summands]
        for name, grouping in self.per_step.items():
            self._groups[name].append(grouping.sum(summands).numpy())
        self._total = summands.clone() if self._total is None else self._total.add_(summands)
        self._steps.append(first)
        # Atoms are the bulk of a step's result and are summed by now. A view would keep them.
        self._seen.append(result._replace(atoms=result.atoms.new_empty(0)))

    def _note_events(self, step: int, values: Float[Tensor, "S E"]) -> None:
        for name, row in zip(self.engine.scalars, values.double().numpy(), strict=True):
            self._events.append(
                pd.DataFrame({"step": step, "scalar": name, "event": range(len(row)), "value": row})
            )

    def tables(self) -> dict[str, pd.DataFrame]:
        """``rows``, ``values``, ``groups``, ``summed_groups`` and ``events``.

        ``rows`` has every part of every update, comparators among them, and the residual, by path
        rule; and what binding anew booked: no part of an update, the same under every rule.
        """
        assert self._total is not None
        axes: dict[str, Sequence[object]]
        axes = {"step": self._steps, "scalar": tuple(self.engine.scalars)}
        rows = []
        for rule in self.engine.rules:
            given = np.stack([s.by_rule[rule].numpy() for s in self._seen])
            rest = np.stack([s.residual(rule, self.summands).numpy() for s in self._seen])
            cube = np.concatenate([given, rest[:, :, None]], axis=2)
            named = {**axes, "part": [*self.parts, (RESIDUAL, "")]}
            rows.append(_long(cube, named).assign(path_rule=rule))
        for number, (name, scalar) in enumerate(self.engine.scalars.items()):
            for term in scalar.terms:
                booked = [float(s.rebound[term][number]) for s in self._seen]
                frame = pd.DataFrame({"step": self._steps, "attribution": booked})
                frame = frame.assign(scalar=name, component=term, data_group="")
                rows += [frame.assign(path_rule=rule) for rule in self.engine.rules]
        before, after = (
            np.stack([getattr(s, end).double().mean(-1).numpy() for s in self._seen])
            for end in ("before", "after")
        )
        values = {"before": before, "after": after, "growth": after - before}
        groups, summed = [], []
        of_groups = {**axes, "part": self.parts[: self.summands]}
        of_stretch = {"scalar": axes["scalar"], "part": of_groups["part"]}
        for name, each in self.per_step.items():
            found = _long(np.stack(self._groups[name]), {**of_groups, "group": each.groups})
            groups.append(found.assign(grouping=name))
        for name, each in {**self.per_step, **self.summed}.items():
            cube = each.sum(self._total).numpy()
            found = _long(cube, {**of_stretch, "group": each.groups})
            summed.append(found.assign(grouping=name))
        frames = {"rows": rows, "groups": groups, "summed_groups": summed, "events": self._events}
        columns = {name: torch.from_numpy(numbers) for name, numbers in values.items()}
        return {
            "values": _tidy(axes, **columns),
            **{name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()},
        }


@dataclass
class StretchSums:
    """The same summed over a stretch, for so many scalars that rows of every step would be many.

    Args:
        engine: one that splits parts over events.
        told: the scalars of which the parts of every event are kept.
    """

    engine: Engine
    parts: Sequence[Part]
    summands: int
    told: Sequence[str]
    _span: tuple[int, int] | None = None
    _sums: dict[str, Tensor] = field(default_factory=dict)
    _events: Tensor = field(default_factory=lambda: torch.zeros(()))
    _terms: tuple[str, ...] = ()

    def attribute(
        self,
        interval: tuple[int, int],
        before: Float[Tensor, " P"],
        after: Float[Tensor, " P"],
        updates: Float[Tensor, "C P"],
    ) -> None:
        """Attribute an interval, whose update has these parts."""
        result = self.engine.step(before, after, updates)
        self._span, self._terms = ((self._span or interval)[0], interval[1]), tuple(result.rebound)
        place = {name: row for row, name in enumerate(self.engine.scalars)}
        rows = [place[name] for name in self.told]
        change = result.after.double() - result.before.double()
        self._events = self._events + torch.cat([result.events, change[:, None]], 1)[rows]
        for rule in self.engine.rules:
            rest = result.residual(rule, self.summands)
            booked = (*result.by_rule[rule].T, *result.rebound.values(), rest, result.growth)
            found = torch.stack(booked)
            self._sums[rule] = self._sums.get(rule, 0) + torch.stack([found, found.abs()])

    def tables(self) -> dict[str, pd.DataFrame]:
        """``sums``: of every part, term, the residual and growth; ``event_parts`` of told scalars.

        ``attribution`` is a sum over the stretch's intervals, ``sizes`` that of their sizes.
        """
        assert self._span is not None
        span = dict(zip(("step", "stop"), self._span, strict=True))
        parts = [name for name, _ in self.parts]
        axes: dict[str, Sequence[object]] = {
            "component": [*parts, *self._terms, RESIDUAL, GROWTH],
            "scalar": list(self.engine.scalars),
        }
        sums = [
            _tidy(axes, attribution=net, sizes=sizes).assign(path_rule=rule)
            for rule, (net, sizes) in self._sums.items()
        ]
        cube = self._events
        axes = {"scalar": self.told, "component": [*parts, GROWTH], "event": range(cube.shape[-1])}
        return {
            "sums": pd.concat(sums, ignore_index=True).assign(**span),
            "event_parts": _tidy(axes, attribution=cube).assign(**span),
        }


def _tidy(axes: Mapping[str, Sequence[object]], **cubes: Tensor) -> pd.DataFrame:
    """Tidy rows of arrays whose axes are columns."""
    index = pd.MultiIndex.from_product(axes.values(), names=[*axes])
    columns = {name: cube.numpy().ravel() for name, cube in cubes.items()}
    return pd.DataFrame(columns, index=index).reset_index()


def _long(cube: np.ndarray, axes: Mapping[str, Sequence[object]]) -> pd.DataFrame:
    """Attributions as tidy rows: an axis of the array is a column, ``part`` becomes two."""
    parts = axes["part"]
    places = {**axes, "part": range(len(parts))}
    frame = _tidy(places, attribution=torch.from_numpy(cube))
    at = frame.pop("part").to_numpy()
    components, groups = (np.array(column, dtype=object) for column in zip(*parts, strict=True))
    return frame.assign(component=components[at], data_group=groups[at])


class Asked(NamedTuple):
    """The scalars of an analysis, the events that they are of, and the heads that it selected."""

    scalars: dict[str, Scalar]
    events: ReadEvents
    heads: dict[str, str]


def asked_scalars(
    settings: Requested,
    record: RunRecord,
    selection: Mapping[str, Any],
    dictionaries: Mapping[str, Dictionary],
) -> Asked:
    """What an analysis attributes, on probe events of the half that did not choose the heads.

    Attributing on the other half would count the choice's luck as growth. ``selection`` is the
    content of the ``heads.json`` that roles of heads refer to.
    """
    probes = record.probes(settings.split)
    _, confirming = halves(len(probes))
    events = probes.select(torch.from_numpy(confirming[: settings.events])).crop()
    heads = {role: selection[role] for role in ("winner", "runner_up", "bottom")}
    assert not isinstance(settings.window, str)  # the plan resolves names
    context = ScalarContext(
        record.decoder,
        events,
        record.value_ids,
        heads,
        record.theta,
        settings.window,
        record.manifest.steps[-1],
        dictionaries,
    )
    every = each_feature(settings.scalars, dictionaries)
    scalars = {name: build_scalar(s, context) for name, s in every.items()}
    return Asked(scalars, events, heads)


def growth_of(
    settings: Requested,
    record: RunRecord,
    asked: Asked,
    parts: Sequence[Part] = WHOLE,
    summands: int = len(WHOLE),
) -> Growth:
    """What gathers the growth of an analysis' scalars over updates of these parts."""
    layout = record.decoder.layout
    per_step, summed = (
        grouped(layout, names, settings.groupings, asked.heads)
        for names in (settings.groups, settings.summed_groups)
    )
    evaluate = Evaluator(record.decoder, asked.events, record.value_ids)
    split = {*settings.groups, *settings.summed_groups} != {"whole"}
    wanted: Literal["atoms", "sums"] = "atoms" if split else "sums"
    engine = Engine(layout, evaluate, asked.scalars, settings.rules, wanted)
    return Growth(engine, parts, summands, per_step, summed, record.manifest.steps)


def sums_of(
    settings: RequestedOfFeatures,
    record: RunRecord,
    asked: Asked,
    parts: Sequence[Part],
    summands: int,
) -> tuple[StretchSums, Growth]:
    """What sums up the growth of many scalars, and that of the told ones by parameter groups.

    Told are the ``top`` that grew most over the window on events of the half that chooses; so what
    is told of them, on the other half, counts no luck.
    """
    assert not isinstance(settings.window, str)  # the plan resolves names
    probes = record.probes(settings.split)
    choosing, _ = halves(len(probes))
    events = probes.select(torch.from_numpy(choosing[: settings.events])).crop()
    first, last = (
        scalar_values(record.decoder, record.theta(step), events, record.value_ids, asked.scalars)
        for step in settings.window
    )
    grown = (last.double() - first.double()).mean(-1)
    largest = grown.sort(descending=True, stable=True).indices[: settings.top].tolist()
    names = list(asked.scalars)
    told = {names[row]: asked.scalars[names[row]] for row in largest}
    evaluate = Evaluator(record.decoder, asked.events, record.value_ids)
    engine = Engine(record.decoder.layout, evaluate, asked.scalars, settings.rules, "events")
    return (
        StretchSums(engine, parts, summands, list(told)),
        growth_of(settings, record, asked._replace(scalars=told), parts, summands),
    )

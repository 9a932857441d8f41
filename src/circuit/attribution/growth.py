"""Growth of scalars over consecutive intervals, attributed and gathered into tidy tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.attribution.engine import Engine, StepAttribution
from circuit.attribution.products import Grouping
from circuit.attribution.sources import Part


class Growth:
    """Attributes the growth of scalars over every interval and sums it over the stretch.

    Args:
        engine: the attribution of one interval.
        parts: what updates are split into.
        summands: how many of the parts, the first ones, sum to the update.
        per_step: groupings kept for every interval.
        summed: groupings kept as one sum over the stretch (for fine ones, such as neurons).
        checkpoints: steps at whose states the value of every event is kept.
    """

    def __init__(
        self,
        engine: Engine,
        parts: Sequence[Part],
        summands: int,
        per_step: Mapping[str, Grouping],
        summed: Mapping[str, Grouping],
        checkpoints: Sequence[int],
    ) -> None:
        self.engine, self.parts, self.summands = engine, parts, summands
        self._per_step, self._summed = per_step, summed
        self._checkpoints = set(checkpoints)
        self._steps: list[int] = []
        self._seen: list[StepAttribution] = []
        self._groups: dict[str, list[np.ndarray]] = {name: [] for name in per_step}
        self._total: torch.Tensor | None = None
        self._events: list[pd.DataFrame] = []

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
        if last in self._checkpoints:
            self._note_events(last, result.after)
        summands = result.atoms[:, : self.summands]
        for name, grouping in self._per_step.items():
            self._groups[name].append(grouping.sum(summands).numpy())
        self._total = summands.clone() if self._total is None else self._total.add_(summands)
        self._steps.append(first)
        # Atoms are the bulk of a step's result and are summed by now. A view would keep them.
        self._seen.append(result._replace(atoms=result.atoms.new_empty(0)))

    def _note_events(self, step: int, values: torch.Tensor) -> None:
        for name, row in zip(self.engine.scalars, values.double().numpy(), strict=True):
            self._events.append(
                pd.DataFrame({"step": step, "scalar": name, "event": range(len(row)), "value": row})
            )

    def tables(self) -> dict[str, pd.DataFrame]:
        """``rows``, ``values``, ``groups``, ``summed_groups`` and ``events``."""
        return {
            "rows": pd.concat([self._part_rows(), self._term_rows()], ignore_index=True),
            "values": self._value_rows(),
            "groups": self._group_rows(),
            "summed_groups": self._summed_rows(),
            "events": pd.concat(self._events, ignore_index=True),
        }

    def _part_rows(self) -> pd.DataFrame:
        """Every part of every update, comparators among them, and the residual, by path rule."""
        frames = []
        for rule in self.engine.rules:
            parts = np.stack([s.by_rule[rule].numpy() for s in self._seen])
            rest = np.stack([s.residual(rule, self.summands).numpy() for s in self._seen])
            cube = np.concatenate([parts, rest[:, :, None]], axis=2)
            labels = [*self.parts, ("residual", "")]
            frames.append(_long(cube, labels, self._axes).assign(path_rule=rule))
        return pd.concat(frames, ignore_index=True)

    def _term_rows(self) -> pd.DataFrame:
        """What binding anew booked: no part of an update, and the same under every path rule."""
        frames = []
        for number, (name, scalar) in enumerate(self.engine.scalars.items()):
            for term in scalar.terms:
                found = [float(s.rebound[term][number]) for s in self._seen]
                frame = pd.DataFrame({"step": self._steps, "attribution": found})
                for rule in self.engine.rules:
                    labels = {"scalar": name, "component": term, "data_group": ""}
                    frames.append(frame.assign(**labels, path_rule=rule))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def _value_rows(self) -> pd.DataFrame:
        before = np.stack([s.before.double().mean(-1).numpy() for s in self._seen])
        after = np.stack([s.after.double().mean(-1).numpy() for s in self._seen])
        index = pd.MultiIndex.from_product(self._axes.values(), names=[*self._axes])
        values = {"before": before.ravel(), "after": after.ravel()}
        frame = pd.DataFrame({**values, "growth": (after - before).ravel()}, index=index)
        return frame.reset_index()

    def _group_rows(self) -> pd.DataFrame:
        frames = [
            _long(
                np.stack(self._groups[name]), self._summands, {**self._axes, "group": each.groups}
            ).assign(grouping=name)
            for name, each in self._per_step.items()
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def _summed_rows(self) -> pd.DataFrame:
        assert self._total is not None
        stretch = {**self._axes, "step": self._steps[:1]}
        frames = [
            _long(
                each.sum(self._total).numpy()[None],
                self._summands,
                {**stretch, "group": each.groups},
            ).assign(grouping=name)
            for name, each in {**self._per_step, **self._summed}.items()
        ]
        return pd.concat(frames, ignore_index=True).drop(columns="step")

    @property
    def _axes(self) -> dict[str, Sequence[object]]:
        return {"step": self._steps, "scalar": tuple(self.engine.scalars)}

    @property
    def _summands(self) -> Sequence[Part]:
        return self.parts[: self.summands]


def _long(
    cube: np.ndarray, parts: Sequence[Part], axes: Mapping[str, Sequence[object]]
) -> pd.DataFrame:
    """Attributions as tidy rows.

    Args:
        cube: axes of the array: those of ``axes`` in order, parts of the update in third place.
        axes: labels of all axes but that of the parts.
    """
    names = [*axes]
    labels = [*axes.values()]
    index = pd.MultiIndex.from_product(
        [*labels[:2], range(len(parts)), *labels[2:]], names=[*names[:2], "part", *names[2:]]
    )
    frame = pd.DataFrame({"attribution": cube.ravel()}, index=index).reset_index()
    at = frame.pop("part").to_numpy()
    components, groups = (np.array(column, dtype=object) for column in zip(*parts, strict=True))
    return frame.assign(component=components[at], data_group=groups[at])

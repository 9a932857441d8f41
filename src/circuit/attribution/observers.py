"""What looks at a replayed stretch: the optimizer trace and the update attribution.

An observer sees every step as it passes and ends with tidy tables. One replay feeds them all; none
keeps a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from circuit.attribution.engine import Engine, StepAttribution
from circuit.attribution.products import Grouping
from circuit.config.terms import COMPARATORS, COMPONENTS
from circuit.training.loop import metrics_row
from circuit.training.replay import ReplayedStep


class Observer(Protocol):
    """Sees steps in order; ``tables`` gives what it gathered."""

    def see(self, step: ReplayedStep) -> None: ...

    def tables(self) -> dict[str, pd.DataFrame]: ...


class TraceObserver:
    """One row a step: loss, rate, gradient, update and component norms; batch rows; top tensors."""

    def __init__(self, top_parameters: int) -> None:
        self.top_parameters = top_parameters
        self._rows: list[dict[str, float]] = []
        self._batches: list[pd.DataFrame] = []
        self._top: list[pd.DataFrame] = []

    def see(self, step: ReplayedStep) -> None:
        """Note one step."""
        parts = step.components
        norms = {f"{n}_norm": float(getattr(parts, n).norm()) for n in COMPONENTS}
        row = metrics_row(step.trajectory, step.step, step.taken)
        self._rows.append({**row, "update_norm": float(parts.update.norm()), **norms})
        rows = step.taken.batch.rows
        self._batches.append(pd.DataFrame({"step": np.full(len(rows), step.step), "row": rows}))
        if self.top_parameters:
            self._top.append(self._largest(step))

    def tables(self) -> dict[str, pd.DataFrame]:
        """``rows``, ``batches`` and ``top_parameters``."""
        empty = pd.DataFrame(
            {
                "step": pd.Series(dtype="int64"),
                "rank": pd.Series(dtype="int64"),
                "parameter": pd.Series(dtype="str"),
                "update_norm": pd.Series(dtype="float64"),
                "parameter_norm": pd.Series(dtype="float64"),
            }
        )
        return {
            "rows": pd.DataFrame(self._rows),
            "batches": pd.concat(self._batches, ignore_index=True),
            "top_parameters": pd.concat(self._top, ignore_index=True) if self._top else empty,
        }

    def _largest(self, step: ReplayedStep) -> pd.DataFrame:
        layout = step.trajectory.decoder.layout
        moved = {n: float(v.norm()) for n, v in layout.views(step.components.update).items()}
        size = {n: float(v.norm()) for n, v in layout.views(step.before.theta).items()}
        top = sorted(moved, key=lambda n: -moved[n])[: self.top_parameters]
        return pd.DataFrame(
            {
                "step": step.step,
                "rank": range(1, len(top) + 1),
                "parameter": top,
                "update_norm": [moved[n] for n in top],
                "parameter_norm": [size[n] for n in top],
            }
        )


class AttributionObserver:
    """Attributes the growth of scalars at every step and sums it over the stretch.

    Args:
        engine: the attribution of one step.
        per_step: groupings kept for every step.
        summed: groupings kept as one sum over the stretch (for fine ones, such as neurons).
        checkpoints: steps at whose states the value of every event is kept.
    """

    def __init__(
        self,
        engine: Engine,
        per_step: Mapping[str, Grouping],
        summed: Mapping[str, Grouping],
        checkpoints: Sequence[int],
    ) -> None:
        self.engine = engine
        self._per_step, self._summed = per_step, summed
        self._checkpoints = set(checkpoints)
        self._steps: list[int] = []
        self._seen: list[StepAttribution] = []
        self._groups: dict[str, list[np.ndarray]] = {name: [] for name in per_step}
        self._total: torch.Tensor | None = None
        self._events: list[pd.DataFrame] = []

    def see(self, step: ReplayedStep) -> None:
        """Attribute one step."""
        others = step.comparators
        updates = torch.cat(
            [step.components.stacked(), torch.stack([others[name] for name in COMPARATORS])]
        )
        result = self.engine.step(step.before.theta, step.after.theta, updates)
        if not self._steps:
            self._note_events(step.step, result.before)
        if step.step + 1 in self._checkpoints:
            self._note_events(step.step + 1, result.after)
        summands = result.atoms[:, : len(COMPONENTS)]
        for name, grouping in self._per_step.items():
            self._groups[name].append(grouping.sum(summands).numpy())
        self._total = summands if self._total is None else self._total + summands
        self._steps.append(step.step)
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
            "rows": self._component_rows(),
            "values": self._value_rows(),
            "groups": self._group_rows(),
            "summed_groups": self._summed_rows(),
            "events": pd.concat(self._events, ignore_index=True),
        }

    def _component_rows(self) -> pd.DataFrame:
        names = (*COMPONENTS, "residual", *COMPARATORS)
        frames = []
        for rule in self.engine.rules:
            values = np.stack([s.by_rule[rule].numpy() for s in self._seen])
            rest = np.stack([s.residual(rule, len(COMPONENTS)).numpy() for s in self._seen])
            split = len(COMPONENTS)
            cube = np.concatenate(
                [values[:, :, :split], rest[:, :, None], values[:, :, split:]], axis=2
            )
            frames.append(
                _long(
                    cube, "attribution", step=self._steps, scalar=self._scalars, component=names
                ).assign(path_rule=rule)
            )
        return pd.concat(frames, ignore_index=True)

    def _value_rows(self) -> pd.DataFrame:
        before = np.stack([s.before.double().mean(-1).numpy() for s in self._seen])
        after = np.stack([s.after.double().mean(-1).numpy() for s in self._seen])
        frame = _long(before, "before", step=self._steps, scalar=self._scalars)
        return frame.assign(after=after.ravel(), growth=(after - before).ravel())

    def _group_rows(self) -> pd.DataFrame:
        return _stacked(
            ("step", "scalar", "component", "group", "attribution", "grouping"),
            [
                _long(
                    np.stack(self._groups[name]),
                    "attribution",
                    step=self._steps,
                    scalar=self._scalars,
                    component=COMPONENTS,
                    group=grouping.groups,
                ).assign(grouping=name)
                for name, grouping in self._per_step.items()
            ],
        )

    def _summed_rows(self) -> pd.DataFrame:
        assert self._total is not None
        every = {**self._per_step, **self._summed}
        return _stacked(
            ("scalar", "component", "group", "attribution", "grouping"),
            [
                _long(
                    grouping.sum(self._total).numpy(),
                    "attribution",
                    scalar=self._scalars,
                    component=COMPONENTS,
                    group=grouping.groups,
                ).assign(grouping=name)
                for name, grouping in every.items()
            ],
        )

    @property
    def _scalars(self) -> tuple[str, ...]:
        return tuple(self.engine.scalars)


def _stacked(columns: Sequence[str], frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Frames below one another; with none, an empty frame whose columns have their types."""
    kinds = {"step": "int64", "attribution": "float64"}
    empty = pd.DataFrame({name: pd.Series(dtype=kinds.get(name, "str")) for name in columns})
    return pd.concat(frames, ignore_index=True) if frames else empty


def _long(cube: np.ndarray, value: str, **axes: Sequence[object]) -> pd.DataFrame:
    """A dense array as tidy rows; the keyword arguments label its axes in order."""
    index = pd.MultiIndex.from_product(list(axes.values()), names=list(axes))
    return pd.DataFrame({value: cube.ravel()}, index=index).reset_index()

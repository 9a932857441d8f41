"""A window's attribution as estimates, gathered from the jobs that looked at it.

1. Of every interval: the scalar before and after, its growth, and what every part contributed.
   Parts are components of the update, terms of scalars that bind anew, and the closure residual;
   they sum to the growth.
2. Of the window: the same sums, growth with its interval over events, and the *movement*, the sum
   of the sizes of all intervals' changes, which growth may fall far short of. Residuals of single
   intervals may cancel, so the sum of their sizes is told too. Both are told of the movement.
3. ``raw_sgd`` and ``clipped_sgd`` are what plain gradient steps from the same states would have
   contributed: controls of the update, never summands.

The key ``asked`` tells the scalar that was asked about ``first`` from the others (``also``), and
from those for which a figure has no room (``further``). No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from circuit.attribution.tables import gather
from circuit.config.attribution import Attribution
from circuit.config.terms import COMPARATORS, REBINDINGS, REST
from circuit.estimates import estimates
from circuit.statistics import Mean, bootstrap_mean

WHOLE = "whole"
"""All components of an update together."""
RESIDUAL = "residual"
SHARES = ("residual_of_movement", "residual_sizes_of_movement")
FIRST, ALSO, FURTHER = "first", "also", "further"
DRAWN = 6
"""Scalars that a figure has room for."""
WHOLE_MODEL = "model"
"""In place of a head, where a scalar has none."""


class Window:
    """The tables of :class:`circuit.attribution.growth.Growth` over a window, as estimates.

    Args:
        given: files of the window's jobs by the name of their table, in step order.
        analysis: whose rows are meant.
        settings: of that analysis, its window in steps.
        heads: the heads that a scan chose.
    """

    def __init__(
        self,
        given: Mapping[str, Iterable[str]],
        analysis: str,
        settings: Attribution,
        window: tuple[int, int],
        heads: Mapping[str, Any],
    ) -> None:
        names = ("components", "values", "groups", "summed_groups", "events")
        raw = {name: gather(given[name], analysis) for name in names}
        self.components, self.values, self.events = (
            raw[name] for name in ("components", "values", "events")
        )
        self.groups, self.summed_groups = raw["groups"], sum_groups(raw["summed_groups"])
        self.first, self.last = window
        self.top = settings.top_groups
        self.labels = pd.DataFrame(
            {
                "scalar": name,
                "head": heads.get(scalar.head, scalar.head) if scalar.head else WHOLE_MODEL,
                "asked": FIRST if number == 0 else ALSO if number < DRAWN else FURTHER,
                "unit": scalar.unit,
            }
            for number, (name, scalar) in enumerate(settings.scalars.items())
        )

    def labelled(self, rows: pd.DataFrame, **fixed: Any) -> pd.DataFrame:
        """Estimates of rows that name a scalar, in its unit where they have none of their own."""
        labels = self.labels.rename(columns={"unit": "own"})
        rows = rows.merge(labels, on="scalar", how="left").fillna({"head": "", "asked": ""})
        own = rows.pop("own")
        rows["unit"] = rows["unit"].fillna(own) if "unit" in rows else own
        if "data_group" in rows and not rows["data_group"].any():
            rows = rows.drop(columns="data_group")
        keys = ["scalar", "head", "asked"]
        return estimates(rows[[*keys, *rows.columns.drop(keys)]], **fixed)

    def intervals(self) -> pd.DataFrame:
        """Estimates of every interval; keys scalar, component, data_group, path_rule, stop."""
        begins = self.values["step"].unique()
        stops = dict(zip(begins, [*begins[1:], self.last], strict=True))
        parts = _parts(self.components.rename(columns={"attribution": "mean"}))
        values = self.values.melt(["step", "scalar"], var_name="measure", value_name="mean")
        rows = pd.concat([parts, values]).fillna(dict.fromkeys(_KEYS, ""))
        return self.labelled(rows.assign(stop=rows["step"].map(stops)))

    def sums(self) -> pd.DataFrame:
        """Estimates of the window; keys scalar, component, data_group, path_rule."""
        keys = ["scalar", "path_rule", "component", "data_group"]
        found = self.components.groupby(keys, sort=False)["attribution"].sum().reset_index()
        parts = _parts(found.rename(columns={"attribution": "mean"}))
        every = [parts, self._ends(), self._residuals()]
        rows = pd.concat(every).fillna(dict.fromkeys(_KEYS, ""))
        return self.labelled(rows, step=self.last)

    def _ends(self) -> pd.DataFrame:
        """Growth and movement of every scalar."""
        changes = self.values.groupby("scalar", sort=False)["growth"]
        growth = changes.sum().rename("mean").reset_index().assign(measure="growth")
        spans = [event_growth(self.events, s, (self.first, self.last)) for s in growth["scalar"]]
        growth = growth.assign(
            low=[s.low for s in spans],
            high=[s.high for s in spans],
            count=[s.count for s in spans],
            noun="events",
        )
        movement = changes.agg(lambda change: change.abs().sum()).rename("mean").reset_index()
        return pd.concat([growth, movement.assign(measure="movement")])

    def _residuals(self) -> pd.DataFrame:
        """What no part explains, of the movement: of the window, and summed over intervals."""
        rest = self.components[self.components["component"] == RESIDUAL]
        found = rest.groupby(["scalar", "path_rule"], sort=False)["attribution"].agg(
            net="sum", residual_sizes=lambda each: each.abs().sum()
        )
        moved = self.values.groupby("scalar")["growth"].agg(lambda change: change.abs().sum())
        of = moved.loc[found.index.get_level_values("scalar")].to_numpy()
        for name, size in (
            ("residual_of_movement", found.pop("net").abs().to_numpy()),
            ("residual_sizes_of_movement", found["residual_sizes"].to_numpy()),
        ):
            # Nothing left of no movement is nothing; anything else is without bound.
            without = np.where(size == 0, 0.0, np.inf)
            found[name] = np.divide(size, of, out=without, where=of > 0)
        rows = found.reset_index().melt(
            ["scalar", "path_rule"], var_name="measure", value_name="mean"
        )
        return rows.assign(unit=rows["measure"].map(dict.fromkeys(SHARES, "share")))

    def largest_groups(self) -> pd.DataFrame:
        """Estimates of the largest parameter groups and the exact rest, by component and whole.

        Keys scalar, component, data_group, group, grouping, groups (how many a row stands for);
        ``asked`` is empty but for the first grouping.
        """
        told = top_groups(self.summed_groups, self.top).rename(columns={"attribution": "mean"})
        keys = ["scalar", "grouping", "group", "groups"]
        whole = told.groupby(keys, sort=False, as_index=False)["mean"].sum()
        rows = pd.concat([told, whole.assign(component=WHOLE)]).fillna({"data_group": ""})
        rows = self.labelled(rows, measure="contribution", step=self.last)
        first = rows["grouping"] == rows["grouping"].iloc[0]
        return rows.assign(asked=rows["asked"].where(first, ""))


_KEYS = ("component", "data_group", "path_rule", "against")


def _parts(rows: pd.DataFrame) -> pd.DataFrame:
    """Contributions of components, and of all together, beside what comparators would have given.

    Where an update is split over data, what belongs to no data is a group named as its component,
    and each group has all its components together; else those of the update alone are summed.
    """
    compared = rows["component"].isin(COMPARATORS)
    split = rows["data_group"].any()
    rows = rows.assign(
        measure="contribution",
        against=rows["component"].where(compared, ""),
        component=rows["component"].mask(compared, WHOLE),
        data_group=rows["data_group"].mask(rows["data_group"] == "", rows["component"])
        if split
        else "",
    )
    if not compared.any():
        return rows
    summed = rows[~compared]
    if not split:
        summed = summed[~summed["component"].isin([RESIDUAL, *REBINDINGS])]
    kept = ("step", "scalar", "path_rule", "data_group", "measure", "against")
    keys = [name for name in kept if name in rows]
    whole = summed.groupby(keys, sort=False)["mean"].sum().reset_index()
    return pd.concat([rows, whole.assign(component=WHOLE)])


def sum_groups(every: pd.DataFrame) -> pd.DataFrame:
    """Group sums of consecutive stretches added up."""
    keys = ["scalar", "component", "data_group", "group", "grouping"]
    return every.groupby(keys, sort=False, as_index=False)["attribution"].sum()


def top_groups(summed: pd.DataFrame, k: int) -> pd.DataFrame:
    """The ``k`` groups of every scalar and grouping that contribute most, and all others together.

    A group's contribution is the sum over its rows, that is over the parts of the update. Groups
    come in falling order of its size. Last is the group ``rest``, to which a list's own ``rest``
    always belongs, so the rows of a scalar and grouping still sum to the whole.

    Args:
        summed: rows of scalar, component, group, grouping, attribution, and data_group where the
            update is split over data; summands of the update only.

    Returns:
        The same columns, and ``groups``: how many groups a row stands for.
    """
    every = summed.groupby(["scalar", "grouping"], sort=False)
    return pd.concat([_top(part, k) for _, part in every], ignore_index=True)


def _top(part: pd.DataFrame, k: int) -> pd.DataFrame:
    """The top groups of one scalar and grouping, and their rest."""
    sizes = part.groupby("group", sort=False)["attribution"].sum().abs().drop(REST, errors="ignore")
    top = sizes.sort_values(ascending=False, kind="stable").index[:k]
    told = part.assign(group=part["group"].where(part["group"].isin(top), REST))
    keys = [name for name in part.columns if name != "attribution"]
    sums = told.groupby(keys, sort=False, as_index=False)["attribution"].sum()
    place = {name: number for number, name in enumerate((*top, REST))}
    sums = sums.sort_values("group", key=lambda names: names.map(place), kind="stable")
    others = part["group"].nunique() - len(top)
    groups = np.where(sums["group"] == REST, others, 1)
    return sums.assign(groups=groups)[[*part.columns, "groups"]]


def event_growth(events: pd.DataFrame, scalar: str, window: tuple[int, int]) -> Mean:
    """Growth of a scalar over a window with its interval over events."""
    chosen = events[events["scalar"] == scalar].drop_duplicates(["step", "event"])
    table = chosen.pivot(index="event", columns="step", values="value")
    return bootstrap_mean((table[window[1]] - table[window[0]]).to_numpy(dtype=np.float64))

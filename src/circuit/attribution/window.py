"""A window's attribution as estimates, gathered from the jobs that looked at it.

1. Of every interval: the scalar before and after, its growth, and what every part contributed.
   Parts are components of the update, terms of scalars that bind anew, and the closure residual;
   they sum to the growth.
2. Of the window: the same sums, growth with its interval over events, and the *movement*, the sum
   of the sizes of all intervals' changes, which growth may fall far short of. Residuals of single
   intervals may cancel, so the sum of their sizes is told too. Both are told of the movement.
3. ``raw_sgd`` and ``clipped_sgd`` are what plain gradient steps from the same states would have
   contributed: controls of the update, never summands.
4. Of groups of data (:func:`group_rows`), of their contributions under the main path rule, current
   gradient and momentum together: ``share`` is a group's contribution over the sum of the sizes of
   all groups' contributions; groups may pull against each other, and then shares of the growth
   would be without bound. ``per_target`` is that over the group's share of targets: ±1 where a
   target of the group moves the scalar as much as the average target. ``memory`` is what all groups
   gave through either component, and what belongs to no group. ``left_of_sizes`` is what is left of
   the groups' sizes when they are summed. ``apart`` is how far the smallest and the largest of
   random buckets lie apart: what chance does.

The key ``asked`` tells the scalar that was asked about ``first`` from the others (``also``), and
from those for which a figure has no room (``further``). No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.attribution.tables import gather
from circuit.config.attribution import RESIDUAL, Attribution
from circuit.config.terms import BEFORE_WINDOW, COMPARATORS, COMPONENTS, REST
from circuit.estimates import estimates, require_sum
from circuit.statistics import Mean, bootstrap_mean

WHOLE = "whole"
"""All components of an update together."""
_MEMORIES = ("current_gradient", "momentum")
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
        analysis: whose rows are meant; ``settings`` are its, and ``heads`` those a scan chose.
    """

    def __init__(
        self,
        given: Mapping[str, Iterable[str]],
        analysis: str,
        settings: Attribution,
        window: tuple[int, int],
        heads: Mapping[str, Any],
    ) -> None:
        self.components, self.values, self.events, self.groups, summed = (
            gather(given[name], analysis)
            for name in ("components", "values", "events", "groups", "summed_groups")
        )
        self.summed_groups = sum_groups(summed)
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
        """Estimates of the window; keys scalar, component, data_group, path_rule.

        Raises:
            AnalysisError: what is booked of a scalar does not sum to its growth.
        """
        keys = ["scalar", "path_rule", "component", "data_group"]
        found = self.components.groupby(keys, sort=False)["attribution"].sum().reset_index()
        parts = _parts(found.rename(columns={"attribution": "mean"}))
        changes = self.values.groupby("scalar", sort=False)["growth"]
        summands = found[~found["component"].isin(COMPARATORS)]
        for (scalar, rule), part in summands.groupby(["scalar", "path_rule"], sort=False):
            whole = changes.get_group(scalar).sum()
            require_sum(part["attribution"].to_numpy(), whole, f"growth of {scalar} by {rule}")
        growth = changes.sum().rename("mean").reset_index().assign(measure="growth", noun="events")
        spans = [event_growth(self.events, s, (self.first, self.last)) for s in growth["scalar"]]
        for end in ("low", "high", "count"):
            growth[end] = [getattr(span, end) for span in spans]
        moved = changes.agg(lambda change: change.abs().sum())
        movement = moved.rename("mean").reset_index().assign(measure="movement")
        rows = pd.concat([parts, growth, movement, self._residuals(moved)])
        return self.labelled(rows.fillna(dict.fromkeys(_KEYS, "")), step=self.last)

    def _residuals(self, moved: pd.Series) -> pd.DataFrame:
        """What no part explains, of the movement: of the window, and summed over intervals."""
        rest = self.components[self.components["component"] == RESIDUAL]
        found = rest.groupby(["scalar", "path_rule"], sort=False)["attribution"].agg(
            net="sum", residual_sizes=lambda each: each.abs().sum()
        )
        of = moved.loc[found.index.get_level_values("scalar")].to_numpy()
        for name, size in zip(SHARES, (found.pop("net"), found["residual_sizes"]), strict=True):
            found[name] = of_movement(size.to_numpy(), of)
        keys = ["scalar", "path_rule"]
        rows = found.reset_index().melt(keys, var_name="measure", value_name="mean")
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
        summed = summed[summed["component"].isin(COMPONENTS)]
    kept = ("step", "scalar", "path_rule", "data_group", "measure", "against")
    keys = [name for name in kept if name in rows]
    whole = summed.groupby(keys, sort=False)["mean"].sum().reset_index()
    return pd.concat([rows, whole.assign(component=WHOLE)])


def of_movement(
    left: Float[np.ndarray, "*k"], movement: Float[np.ndarray, "*k"]
) -> Float[np.ndarray, "*k"]:
    """The size of what is left as a share of the movement."""
    size = np.abs(left)
    # Nothing left of no movement is nothing; anything else is without bound.
    without = np.where(size == 0, 0.0, np.inf)
    share: Float[np.ndarray, "*k"] = np.divide(size, movement, out=without, where=movement > 0)
    return share


def sum_groups(every: pd.DataFrame) -> pd.DataFrame:
    """Group sums of consecutive stretches added up."""
    keys = ["scalar", "component", "data_group", "group", "grouping"]
    return every.groupby(keys, sort=False, as_index=False)["attribution"].sum()


def top_groups(summed: pd.DataFrame, k: int) -> pd.DataFrame:
    """The ``k`` groups of every scalar and grouping that contribute most, and all others together.

    A group's contribution is the sum over its rows, that is over the parts of the update. Groups
    come in falling order of its size. Last is the group ``rest``, to which a list's own ``rest``
    always belongs, so the rows of a scalar and grouping still sum to the whole. The column
    ``groups`` says how many groups a row stands for.

    Args:
        summed: rows of scalar, component, group, grouping, attribution, and data_group where the
            update is split over data; summands of the update only.
    """
    keys = [name for name in summed.columns if name != "attribution"]
    found = []
    for _, part in summed.groupby(["scalar", "grouping"], sort=False):
        sizes = part.groupby("group", sort=False)["attribution"].sum().abs()
        sizes = sizes.drop(REST, errors="ignore").sort_values(ascending=False, kind="stable")
        top = sizes.index[:k]
        told = part.assign(group=part["group"].where(part["group"].isin(top), REST))
        sums = told.groupby(keys, sort=False, as_index=False)["attribution"].sum()
        place = {name: number for number, name in enumerate((*top, REST))}
        sums = sums.sort_values("group", key=lambda names, of=place: names.map(of), kind="stable")
        others = part["group"].nunique() - len(top)
        sums["groups"] = np.where(sums["group"] == REST, others, 1)
        found.append(sums[[*part.columns, "groups"]])
    return pd.concat(found, ignore_index=True)


def event_growth(events: pd.DataFrame, scalar: str, window: tuple[int, int]) -> Mean:
    """Growth of a scalar over a window with its interval over events."""
    chosen = events[events["scalar"] == scalar].drop_duplicates(["step", "event"])
    table = chosen.pivot(index="event", columns="step", values="value")
    return bootstrap_mean((table[window[1]] - table[window[0]]).to_numpy(dtype=np.float64))


def group_rows(
    sums: pd.DataFrame, path_rule: str, targets: pd.DataFrame, by_chance: bool
) -> pd.DataFrame:
    """What every group of data gave to a window's ``sums``, beside its number of targets.

    ``targets`` are estimates of ``share_of_targets``, to be averaged over checkpoints; groups that
    are random buckets come ``by_chance``.
    """
    main = sums[(sums["measure"] == "contribution") & (sums["against"] == "")]
    main = main[main["path_rule"] == path_rule]
    of_data = main["component"].isin(_MEMORIES) & (main["data_group"] != BEFORE_WINDOW)
    own = main[main["data_group"].isin(main.loc[of_data, "data_group"])]
    each = own[own["component"] == WHOLE].set_index(["scalar", "data_group"])["mean"]
    whole = each.abs().groupby("scalar", sort=False).sum()
    share = each / whole.where(whole > 0)
    known = targets.groupby("data_group", sort=False)["mean"].mean()
    of = known.reindex(each.index.get_level_values("data_group")).to_numpy()
    spread = each.groupby("scalar", sort=False)
    # By component, but for what came before the window.
    named = main["component"].mask(main["data_group"] == BEFORE_WINDOW, BEFORE_WINDOW)
    memory = main[main["component"] != WHOLE].assign(component=named)
    memory = memory.groupby(["scalar", "component"], sort=False)["mean"].sum()
    parts = [
        _measured(share, "share", unit="share"),
        _measured(pd.Series(of, each.index), "share_of_targets", unit="share"),
        _measured(share / of, "per_target", unit="1"),
        _measured(spread.sum().abs() / whole.where(whole > 0), "left_of_sizes", unit="share"),
        _measured(memory, "memory"),
    ]
    if by_chance:
        parts.append(_measured(spread.max() - spread.min(), "apart"))
    defaults = {"component": "", "data_group": "", "against": ""}
    return pd.concat(parts).fillna(defaults).assign(path_rule=path_rule).dropna(subset="mean")


def _measured(values: pd.Series, measure: str, **fixed: str) -> pd.DataFrame:
    return values.rename("mean").reset_index().assign(measure=measure, **fixed)

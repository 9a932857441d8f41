"""Window sums of an attribution to data: what every group gave, beside its number of targets.

Of the groups' contributions under the main path rule, current gradient and momentum together:

- ``share`` is a group's contribution over the sum of the sizes of all groups' contributions; groups
  may pull against each other, and then shares of the growth would be without bound.
- ``per_target`` is that over the group's share of targets: ±1 where a target of the group moves the
  scalar as much as the average target.
- ``memory`` is what all groups gave through either component, and what belongs to no group.
- ``left_of_sizes`` is what is left of the groups' sizes when they are summed.
- ``apart`` is how far the smallest and the largest of random buckets lie apart: what chance does.
"""

from __future__ import annotations

import pandas as pd

from circuit.attribution.window import WHOLE

MEMORIES = ("current_gradient", "momentum")
BEFORE_WINDOW = "before_window"
"""Gradients from before the window are no group."""


def group_rows(
    sums: pd.DataFrame, path_rule: str, targets: pd.DataFrame, by_chance: bool
) -> pd.DataFrame:
    """Rows of scalar, component, data_group, path_rule, measure, mean and unit, as in the module.

    Args:
        sums: of :meth:`circuit.attribution.window.Window.sums`.
        path_rule: the main one.
        targets: estimates of ``share_of_targets`` by group, averaged over checkpoints.
        by_chance: the groups are random buckets.
    """
    main = sums[(sums["measure"] == "contribution") & (sums["path_rule"] == path_rule)]
    main = main[main["against"] == ""]
    of_data = main["component"].isin(MEMORIES) & (main["data_group"] != BEFORE_WINDOW)
    own = main[main["data_group"].isin(main.loc[of_data, "data_group"])]
    each = own[own["component"] == WHOLE].set_index(["scalar", "data_group"])["mean"]
    whole = each.abs().groupby("scalar", sort=False).sum()
    share = each / whole.where(whole > 0)
    known = targets.groupby("data_group", sort=False)["mean"].mean()
    of = known.reindex(each.index.get_level_values("data_group")).to_numpy()
    net, spread = each.groupby("scalar", sort=False).sum(), each.groupby("scalar", sort=False)
    # By component, but for what came before the window.
    named = main["component"].mask(main["data_group"] == BEFORE_WINDOW, BEFORE_WINDOW)
    memory = main[main["component"] != WHOLE].assign(component=named)
    memory = memory.groupby(["scalar", "component"], sort=False)["mean"].sum()
    parts = [
        _rows(share, "share", unit="share"),
        _rows(pd.Series(of, each.index), "share_of_targets", unit="share"),
        _rows(share / of, "per_target", unit="1"),
        _rows(net.abs() / whole.where(whole > 0), "left_of_sizes", unit="share"),
        _rows(memory, "memory"),
    ]
    if by_chance:
        parts.append(_rows(spread.max() - spread.min(), "apart"))
    defaults = {"component": "", "data_group": "", "against": ""}
    return pd.concat(parts).fillna(defaults).assign(path_rule=path_rule).dropna(subset="mean")


def _rows(values: pd.Series, measure: str, **fixed: str) -> pd.DataFrame:
    return values.rename("mean").reset_index().assign(measure=measure, **fixed)

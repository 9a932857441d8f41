"""Window sums of an attribution to data: what every group gave, through which memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from circuit.config.terms import COMPARATORS

MEMORIES = ("current_gradient", "momentum")
BEFORE_WINDOW = "before_window"
TOTAL = "total"


def group_sums(rows: pd.DataFrame) -> pd.DataFrame:
    """Contribution of every data group to every scalar over some steps.

    Args:
        rows: of one path rule: step, scalar, component, data_group, attribution.

    Returns:
        Columns scalar, data_group, ``current_gradient``, ``momentum`` and ``total``, in the order
        of the rows; gradients from before the window are no group.
    """
    kept = rows[rows["component"].isin(MEMORIES) & (rows["data_group"] != BEFORE_WINDOW)]
    table = kept.pivot_table(
        index=["scalar", "data_group"],
        columns="component",
        values="attribution",
        aggfunc="sum",
        sort=False,
    ).reindex(columns=list(MEMORIES), fill_value=0.0)
    return table.assign(total=table.sum(axis=1)).reset_index().rename_axis(columns=None)


def other_sums(rows: pd.DataFrame) -> pd.DataFrame:
    """Whatever else sums to the growth: columns scalar, term, total.

    Terms are ``before_window``, the components that belong to no data, the terms of bases and
    rivals that changed, and the residual.
    """
    kept = rows[~rows["component"].isin(COMPARATORS)]
    apart = kept[~kept["component"].isin(MEMORIES) | (kept["data_group"] == BEFORE_WINDOW)]
    earlier = apart["data_group"] == BEFORE_WINDOW
    term = apart["component"].mask(earlier, BEFORE_WINDOW)
    sums = apart.assign(term=term).groupby(["scalar", "term"], sort=False)["attribution"].sum()
    return sums.reset_index().rename(columns={"attribution": TOTAL})


def data_order(groups: pd.DataFrame, scalar: str, most: int) -> tuple[list[str], list[str]]:
    """The groups of a scalar that are told one by one, largest first, and all others.

    Args:
        groups: of :func:`group_sums`.
    """
    own = groups[groups["scalar"] == scalar].set_index("data_group")[TOTAL]
    ordered = list(own.abs().sort_values(ascending=False, kind="stable").index)
    if len(ordered) <= most + 1:  # one that is left over can as well be told
        return ordered, []
    return ordered[:most], ordered[most:]


def rest_name(others: Sequence[str]) -> str:
    """What the groups that are not told one by one are called."""
    return f"rest ({len(others)} groups)"


def cumulative(
    rows: pd.DataFrame, scalar: str, told: Sequence[str], others: Sequence[str]
) -> pd.DataFrame:
    """Running sums of a scalar by step: a column per group that is told, their rest, all else.

    The columns sum to the growth: ``terms`` holds everything of :func:`other_sums`.
    """
    own = rows[(rows["scalar"] == scalar) & ~rows["component"].isin(COMPARATORS)]
    data = own["component"].isin(MEMORIES) & (own["data_group"] != BEFORE_WINDOW)
    names: Mapping[str, str] = {g: g for g in told} | dict.fromkeys(others, rest_name(others))
    label = own["data_group"].map(names).where(data, "terms")
    table = own.assign(label=label).pivot_table(
        index="step", columns="label", values="attribution", aggfunc="sum"
    )
    columns = [*told, *([rest_name(others)] if others else []), "terms"]
    return table.reindex(columns=columns, fill_value=0.0).fillna(0.0).sort_index().cumsum()


def data_table(rows: pd.DataFrame, first_order: pd.DataFrame) -> pd.DataFrame:
    """Groups of every scalar, largest first, with their shares, and comparators.

    ``share`` is a group's contribution over the sum of the sizes of all groups' contributions:
    groups may pull against each other, and then shares of the growth would be without bound.
    ``per_target`` is that over the share of targets: ±1 where a target of the group moves the
    scalar as much as the average target.

    Args:
        rows: of one path rule.
        first_order: rows with the measure ``share_of_targets``, which is averaged over checkpoints.
    """
    table = group_sums(rows)
    keys = pd.MultiIndex.from_frame(table[["scalar", "data_group"]])
    for name in COMPARATORS:
        sums = (
            rows[rows["component"] == name].groupby(["scalar", "data_group"])["attribution"].sum()
        )
        table[name] = sums.reindex(keys).to_numpy()
    size = table[TOTAL].abs()
    whole = size.groupby(table["scalar"]).transform("sum")
    table["share"] = table[TOTAL] / whole.where(whole > 0)
    targets = first_order[first_order["measure"] == "share_of_targets"]
    known = targets.groupby("data_group")["mean"].mean()
    table["share_of_targets"] = table["data_group"].map(known).astype("float64")
    table["per_target"] = table["share"] / table["share_of_targets"]
    place = {scalar: number for number, scalar in enumerate(dict.fromkeys(table["scalar"]))}
    ranked = table.assign(place=table["scalar"].map(place), size=size)
    ranked = ranked.sort_values(["place", "size"], ascending=[True, False], kind="stable")
    return ranked.drop(columns=["place", "size"]).reset_index(drop=True)

"""The tables of an attribution to data, and what its groupings and terms are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from circuit.attribution.window import WindowSum
from circuit.reports.data_sums import BEFORE_WINDOW
from circuit.reports.document import Table
from circuit.reports.growth_words import SUMMANDS
from circuit.statistics import Mean

_UNIT = "unit of the scalar"
_GROUPS = 12  # groups per scalar in the report; all are in the rows
_SCALARS = 3
_GROUP_UNITS = {
    **dict.fromkeys(("current_gradient", "momentum", "total", "raw_sgd", "clipped_sgd"), _UNIT),
    "share": "share",
    "share_of_targets": "share",
    "per_target": "1",
}
_PUSH_UNITS = {**dict.fromkeys(("mean", "low", "high"), "unit of the measure"), "count": "1"}
_REMOVAL_UNITS = {
    **dict.fromkeys(("attributed", "actual_held", "predicted", "actual"), _UNIT),
    "parameters_missed_held": "share",
    "parameters_missed": "share",
}
MEANING = {
    "token": "the kind of token that was predicted",
    "query_key": "the key that an answer's read asks for",
    "answer_value": "the value of an answer",
    "lag": "the writes between an answer's read and its support write",
    "active_keys": "how many keys are active in an answer's program",
    "tokens_since_support": "the distance from an answer's read to its support value",
    "slot_after_write": "the write after which an answer's read stands",
    "sample": "random buckets of programs",
    "supports_opposes": "whether a program's own gradient raised the first scalar at its step",
}
"""What the data are told apart by, as people say it."""


@dataclass(frozen=True)
class DataFindings:
    """What an analysis of kind ``data_attribution`` found over its window.

    Attributes:
        sums: the window's sums of every scalar under every path rule.
        rows: step, scalar, path_rule, component, data_group, attribution.
        growths: growth of every scalar with its interval over events.
        first_order: rows of :func:`circuit.attribution.first_order.first_order`, all checkpoints.
        removal: rows of :func:`circuit.attribution.removal.removal_oracle`.
    """

    sums: Sequence[WindowSum]
    rows: pd.DataFrame
    growths: Mapping[str, Mean]
    first_order: pd.DataFrame
    removal: pd.DataFrame


def tables(
    found: DataFindings, groups: pd.DataFrame, terms: pd.DataFrame, lead: str, data: str
) -> list[Table]:
    """Groups, what belongs to none, pushes at the window's start, and the removal.

    Args:
        groups: of :func:`circuit.reports.data_sums.data_table`.
        terms: of :func:`circuit.reports.data_sums.other_sums`.
        lead: the scalar whose pushes and removal are shown.
        data: what the data are grouped by.
    """
    first = found.first_order["step"].min()
    start = found.first_order[
        (found.first_order["step"] == first)
        & (found.first_order["scalar"] == lead)
        & found.first_order["measure"].isin(["contribution", "alignment"])
    ]
    start = start.groupby("measure", sort=False).head(_GROUPS)
    least = found.removal[found.removal["share"] == found.removal["share"].min()]
    least = least[least["scalar"] == lead].head(_GROUPS)
    scalars = list(dict.fromkeys(groups["scalar"]))[:_SCALARS]
    shown = groups[groups["scalar"].isin(scalars)].groupby("scalar", sort=False).head(_GROUPS)
    apart = terms.pivot_table(index="scalar", columns="term", values="total", sort=False)
    apart = apart.reset_index().rename_axis(columns=None)
    return [
        Table(
            f"Data by {MEANING[data]}: contributions over the window, largest first; share: of "
            "the sizes of all contributions; per target: that over the share of targets; raw_sgd "
            "and clipped_sgd are comparators, never summands",
            shown,
            _GROUP_UNITS,
        ),
        Table(
            "What else sums to the growth",
            apart,
            dict.fromkeys(apart.columns.drop("scalar"), _UNIT),
        ),
        Table(
            f"First order at step {first:,}: what descending each group's loss would give to "
            f"{lead} (count: programs)",
            start[["data_group", "measure", "unit", "mean", "low", "high", "count"]],
            _PUSH_UNITS,
        ),
        Table(
            f"Removal of a share of {least['share'].iloc[0]:g} from step "
            f"{least['step'].iloc[0]:,}: predicted and actual change of {lead}",
            least[["data_group", *_REMOVAL_UNITS]],
            _REMOVAL_UNITS,
        ),
    ]


def term_words(term: str) -> str:
    """What a term that belongs to no group is called."""
    if term == BEFORE_WINDOW:
        return "gradients from before the window"
    return SUMMANDS.get(term, "closure residual")

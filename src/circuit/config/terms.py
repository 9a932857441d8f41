"""Names and units that settings, tables and reports share; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

COMPONENTS = ("current_gradient", "momentum", "weight_decay", "rounding")
"""Summands of an update, in the order in which they sum to it bit for bit."""

BEFORE_WINDOW = "before_window"
"""In place of a data group: gradients from before the window are none."""

CHECKPOINT_DIFFERENCE = "checkpoint_difference"
"""The one component of an interval between checkpoints whose steps are not looked at."""

COMPARATORS = ("raw_sgd", "clipped_sgd")
"""Updates to compare with; never summands."""

GROUPINGS = (
    "whole",
    "layer",
    "module",
    "head",
    "head_projection",
    "neuron",
    "neuron_part",
    "token",
    "parameter",
    "atom",
)
"""Parameter groupings, from wide to fine (``circuit.model.parameters`` makes them)."""

HEAD_ROLES = ("winner", "runner_up", "bottom")
"""Roles of heads in a selection, which may be named in place of a head."""

NESTED = "/"
"""What joins the parts of a nested grouping, and the names of its groups."""

REST = "rest"
"""The group of what no other group of a list holds."""

METRIC_UNITS = {
    "step": "step",
    "loss": "nat/token",
    "token_accuracy": "1",
    "learning_rate": "1",
    "gradient_norm": "nat/token per parameter unit",
    "clip_coefficient": "1",
}
TRACE_UNITS = {
    **METRIC_UNITS,
    "update_norm": "parameter unit",
    **{f"{name}_norm": "parameter unit" for name in COMPONENTS},
    "row": "id",
    "rank": "1",
    "parameter_norm": "parameter unit",
}
VERIFICATION_UNITS = {"step": "step", "max_abs_difference": "parameter unit"}


def units_of(columns: Iterable[str], units: Mapping[str, str]) -> dict[str, str]:
    """The units of just these columns."""
    return {column: units[column] for column in columns if column in units}

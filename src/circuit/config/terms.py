"""Names and units that settings, tables and reports share; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

COMPONENTS = ("current_gradient", "momentum", "weight_decay", "rounding")
"""Summands of an update, in the order in which they sum to it bit for bit."""

COMPARATORS = ("raw_sgd", "clipped_sgd")
"""Updates to compare with; never summands."""

GROUPINGS = (
    "whole",
    "layer",
    "module",
    "head",
    "head_projection",
    "neuron",
    "token",
    "parameter",
    "atom",
)
"""Parameter groupings (``circuit.model.layout`` makes them)."""

SCALAR_UNITS = {
    "qk_separation": "score",
    "attention_separation": "score",
    "support_attention": "probability",
    "ov_value_margin": "logit",
    "support_mass_ov_value_margin": "logit",
    "qk_ov_product": "score·logit",
    "head_value_margin_dla": "logit",
    "head_margin_dla_fixed_readout": "logit",
    "correct_value_logit": "logit",
    "negative_answer_loss": "nat",
    "answer_margin": "logit",
    "subspace_projection": "squared state unit",
}

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

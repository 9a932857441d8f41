"""What is measured of a head's write, under which conditions, against which outcomes. No torch."""

from __future__ import annotations

from itertools import product

OTHER_VALUES = "values of other events"
"""What an event's own values are compared with."""
CONDITIONS = tuple(product(("real", "forced"), ("real", "shuffled")))
"""(attention, values), in the order in which conditions are stacked."""
SCALARS = {
    "head_value_margin_dla_fixed": "direct logit of the answer over a fixed rival",
    "head_value_margin_dla_moving": "direct logit of the answer over the best other value",
    "head_margin_dla_fixed_readout": "direct logit of the answer over a fixed rival, read through "
    "the last checkpoint's LayerNorm scale",
    "head_value_over_mean_dla": "direct logit of the answer over the mean of all other values",
    "ov_value_margin_fixed": "logit-lens margin over a fixed rival of the OV image of the support "
    "value's state",
    "support_mass_ov_value_margin_fixed": "attention on the support value × logit-lens margin over "
    "a fixed rival of the OV image of its state",
}
"""Measures of a write and what they are, all in logit; ``moving`` chooses a new rival each time."""
MOVING = ("head_value_margin_dla_moving",)
"""Scalars with a rival that is chosen anew at each checkpoint; all others are smooth."""
UNATTENDED = ("ov_value_margin_fixed",)
"""Scalars that do not read attention."""
UNSIZED = ("ov_value_margin_fixed", "support_mass_ov_value_margin_fixed")
"""Scalars whose logit lens normalises the write, so that its size does not count."""
OUTCOMES = {"answer_margin": "logit", "correct_value_logit": "logit", "negative_answer_loss": "nat"}
UNIT = "logit"
MODEL = "model"
"""In the place of a head: the whole model, whose outcomes these are."""
PARTS = ("shuffled", "attention", "values", "elsewhere")
"""Summands of a scalar's growth."""


def setting(scalar: str, head: str, competitor: str) -> str:
    """The scalar as the configuration's ``scalars`` takes it."""
    names = {
        "head_value_over_mean_dla": ("head_value_margin_dla", "mean"),
        "head_value_margin_dla_fixed": ("head_value_margin_dla", competitor),
        "head_value_margin_dla_moving": ("head_value_margin_dla", "moving"),
        "head_margin_dla_fixed_readout": ("head_margin_dla_fixed_readout", competitor),
        "ov_value_margin_fixed": ("ov_value_margin", competitor),
        "support_mass_ov_value_margin_fixed": ("support_mass_ov_value_margin", competitor),
    }
    name, rival = names[scalar]
    return f"{{scalar: {name}, head: {head}, competitor: {rival}}}"

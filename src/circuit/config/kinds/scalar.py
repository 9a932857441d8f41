"""Settings of a scalar S(θ), which several kinds of analysis take."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from circuit.config.base import Frozen
from circuit.config.terms import SCALAR_UNITS

ScalarName = Literal[
    "qk_separation",
    "attention_separation",
    "support_attention",
    "ov_value_margin",
    "support_mass_ov_value_margin",
    "qk_ov_product",
    "head_value_margin_dla",
    "head_margin_dla_fixed_readout",
    "correct_value_logit",
    "negative_answer_loss",
    "answer_margin",
]


class ScalarSettings(Frozen):
    """A scalar S(θ): its name in the registry and the choices it takes.

    ``head`` is ``winner``, ``runner_up``, ``bottom`` (of the analysis' selection) or a name such as
    ``L1H3``. ``rank`` keeps the top singular directions of W_QK; ``basis`` says whose: a checkpoint
    step, ``final`` (the run's last checkpoint), ``own`` (refitted at every θ, part of the function)
    or ``source`` (refitted at each interval's first state and then frozen). ``competitor`` is the
    wrong token of a margin: ``moving``, or fixed at a window's first or last state.
    """

    scalar: ScalarName
    head: str | None = None
    rank: Annotated[int, Field(ge=1)] | None = None
    basis: Literal["own", "source", "final"] | Annotated[int, Field(ge=0)] = "final"
    measure: Literal["scores", "probabilities"] = "scores"
    competitor: Literal["moving", "fixed_source", "fixed_target"] = "moving"

    @property
    def unit(self) -> str:
        """Unit of the scalar's values."""
        if self.scalar == "attention_separation" and self.measure == "probabilities":
            return "probability"
        return SCALAR_UNITS[self.scalar]

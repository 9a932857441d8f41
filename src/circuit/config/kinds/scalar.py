"""Settings of a scalar S(θ), which several kinds of analysis take."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints

from circuit.config.base import Frozen
from circuit.config.kinds.base import RoleName
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
    "subspace_projection",
]
EVERY = "every"
"""As a head: each head of the model in turn, where a kind of analysis takes several routes."""
HEAD_SUBSPACES = ("head_qk_query", "head_qk_key", "head_ov_input", "head_ov_output")
EMBEDDING_SUBSPACES = ("embedding_value_identity", "embedding_key_identity")
SubspaceName = Annotated[
    str,
    StringConstraints(
        pattern=rf"^({'|'.join((*HEAD_SUBSPACES, *EMBEDDING_SUBSPACES))}"
        rf"|pca\(\w+, ({'|'.join(get_args(RoleName))})\))$"
    ),
]
"""A subspace of the residual stream; ``pca(stage, role)`` names the states it is fitted to."""


class ScalarSettings(Frozen):
    """A scalar S(θ): its name in the registry and the choices it takes.

    ``head`` is ``winner``, ``runner_up``, ``bottom`` (of the analysis' selection), a name such as
    ``L1H3`` or, among routes that compete, ``every``. ``rank`` keeps the top singular directions of
    W_QK; ``basis`` says whose: a checkpoint step, ``final`` (the run's last checkpoint), ``own``
    (refitted at every θ, part of the function) or ``source`` (refitted at each interval's first
    state and then frozen). ``competitor`` is the wrong token of a margin: ``moving``, or fixed at a
    window's first or last state.

    ``subspace_projection`` reads the state at a ``stage`` and ``role`` inside the top ``rank``
    directions of a ``subspace`` (of ``head``, where it is a head's) at the checkpoint ``basis``.
    """

    scalar: ScalarName
    head: str | None = None
    rank: Annotated[int, Field(ge=1)] | None = None
    basis: Literal["own", "source", "final"] | Annotated[int, Field(ge=0)] = "final"
    measure: Literal["scores", "probabilities"] = "scores"
    competitor: Literal["moving", "fixed_source", "fixed_target"] = "moving"
    stage: str | None = None
    role: RoleName | None = None
    subspace: SubspaceName | None = None
    reading: Literal["squared_norm", "readout"] = "squared_norm"

    @property
    def unit(self) -> str:
        """Unit of the scalar's values."""
        if self.scalar == "attention_separation" and self.measure == "probabilities":
            return "probability"
        if self.scalar == "subspace_projection" and self.reading == "readout":
            return "logit"
        return SCALAR_UNITS[self.scalar]

    @property
    def pca(self) -> tuple[str, str] | None:
        """Stage and role that a ``pca`` subspace is fitted to; None for any other subspace."""
        if self.subspace is None or not self.subspace.startswith("pca("):
            return None
        stage, _, role = self.subspace.removeprefix("pca(").removesuffix(")").partition(", ")
        return stage, role

    @property
    def of_head(self) -> bool:
        """Whether the directions that ``rank`` counts are those of one head's maps."""
        return self.scalar != "subspace_projection" or self.subspace in HEAD_SUBSPACES

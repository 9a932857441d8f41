"""Settings of a scalar S(θ), which several kinds of analysis take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints

from circuit.config.analysis import RoleName
from circuit.config.base import Count, Frozen, Name, Several
from circuit.config.marks import FinalOrStep, Mark, Ref, Stage

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
    "soft_margin": "logit",
    "subspace_projection": "squared state unit",
    "functional_write": "logit",
    "rescue": "logit",
    "feature_score": "activation",
    "feature_drive": "activation",
}
"""Units of all scalars; out of the reach of training, which a further one must not make stale."""

if TYPE_CHECKING:
    ScalarName = str
else:
    ScalarName = Literal[tuple(SCALAR_UNITS)]
_MAKERS = ("dictionary", "feature_births", "families")
EVERY = "every"
"""As a head: each head of the model in turn, where a kind of analysis takes several routes. As
features: each of a dictionary's by itself, where a kind takes so many scalars."""
FOLLOWING = ("functional_write", "rescue")
"""Scalars that follow a component's write to a stage."""
HEAD_SUBSPACES = ("head_qk_query", "head_qk_key", "head_ov_input", "head_ov_output")
EMBEDDING_SUBSPACES = ("embedding_value_identity", "embedding_key_identity")
SubspaceName = Annotated[
    str,
    StringConstraints(
        pattern=rf"^({'|'.join((*HEAD_SUBSPACES, *EMBEDDING_SUBSPACES))}"
        rf"|pca\(\w+, ({'|'.join(get_args(RoleName))})\))$"
    ),
    Mark("subspace"),
]
"""A subspace of the residual stream; ``pca(stage, role)`` names the states it is fitted to."""

FeatureNumber = Annotated[int, Field(ge=0, le=1_000_000)]
FamilyName = Annotated[
    str, StringConstraints(pattern=rf"^[a-z_]+@({'|'.join(get_args(RoleName))})$")
]
"""Features of a dictionary by what they tell and where, such as ``answer@prediction``."""
Features = Annotated[
    Literal["every"] | FamilyName | Several[FeatureNumber], Mark("features")  # EVERY, spelt out
]


class ScalarSettings(Frozen):
    """A scalar S(θ): its name in the registry and the choices it takes.

    ``head`` is ``winner``, ``runner_up``, ``bottom`` (of the analysis' selection), a name such as
    ``L1H3`` or, among routes that compete, ``every``. ``rank`` keeps the top singular directions of
    W_QK; ``basis`` says whose: a checkpoint step, ``final`` (the run's last checkpoint), ``own``
    (refitted at every θ, part of the function) or ``source`` (refitted at each interval's first
    state and then frozen). ``competitor`` is the wrong token of a margin: ``moving``, fixed at a
    window's first or last state, or the ``mean`` of all wrong ones.

    ``subspace_projection`` reads the state at a ``stage`` and ``role`` inside the top ``rank``
    directions of a ``subspace`` (of ``head``, where it is a head's), whose ``basis`` may move too.

    ``functional_write`` follows the write of ``head``, here an MLP such as ``L0MLP`` too, to a
    ``stage`` and ``role``, as the checkpoint ``basis`` reads it for the ``outcome``: by the
    ``gradient`` at its own state (``local``) or averaged from the state without the write on
    (``integrated``). ``part`` keeps what comes through the residual skip, or through the MLP of the
    stage's layer.

    ``rescue`` is what an ``outcome`` gains as the clean state at a ``stage`` and ``role`` is put
    back into a pass without the write of ``head``.

    ``feature_score`` reads at a ``role`` how active ``features`` of a ``dictionary`` (the name of
    an analysis of kind ``dictionary``, ``feature_births`` or ``families``) are: their numbers, or a
    family that it found. ``feature_drive`` reads what these activations are the positive part of;
    some kinds take ``every`` feature, a scalar each.
    """

    scalar: ScalarName
    head: Annotated[str, Mark("scalar_head")] | None = None
    rank: Annotated[Count, Mark("scalar_rank")] | None = None
    basis: Literal["own", "source"] | FinalOrStep = "final"
    measure: Literal["scores", "probabilities"] = "scores"
    competitor: Literal["moving", "mean", "fixed_source", "fixed_target"] = "moving"
    stage: Stage | None = None
    role: RoleName | None = None
    subspace: SubspaceName | None = None
    reading: Literal["squared_norm", "readout"] = "squared_norm"
    outcome: Literal["correct_value_logit", "answer_margin", "negative_answer_loss"] = (
        "correct_value_logit"
    )
    part: Literal["whole", "skip", "mlp"] = "whole"
    gradient: Literal["local", "integrated"] = "local"
    dictionary: Annotated[Name, Ref(_MAKERS), Mark("dictionary")] | None = None
    features: Features | None = None

    @property
    def unit(self) -> str:
        """Unit of the scalar's values."""
        if self.scalar == "attention_separation" and self.measure == "probabilities":
            return "probability"
        if self.scalar == "subspace_projection" and self.reading == "readout":
            return "logit"
        if self.scalar in FOLLOWING:
            return SCALAR_UNITS[self.outcome]
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


class Route(ScalarSettings):
    """A scalar of one candidate among heads none of which is selected yet."""

    head: Annotated[str, Mark("route_head")] | None = None


class DictionaryFamilies(Frozen):
    """Every family of features that the analysis which made a ``dictionary`` found."""

    dictionary: Annotated[Name, Ref(_MAKERS)]


def dictionary_names(settings: Any) -> list[str]:
    """Names of the dictionaries that scalars anywhere in settings name, in order, each once.

    Args:
        settings: of one analysis or of several, in JSON's types.
    """
    found: set[str] = set()
    parts = settings.values() if isinstance(settings, Mapping) else settings
    for part in parts:
        if isinstance(part, Mapping | list | tuple):
            found.update(dictionary_names(part))
    named = settings.get("dictionary") if isinstance(settings, Mapping) else None
    return sorted({*found, named} if isinstance(named, str) else found)

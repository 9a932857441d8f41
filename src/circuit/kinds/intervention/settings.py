"""Settings of the kind ``intervention``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AtCheckpoints, RoleName, Study
from circuit.config.base import Count, Frozen, Name, Several
from circuit.config.benchmark import PairKind
from circuit.config.marks import Head, HeadScanName, Mark, Neuron, Site, Stage
from circuit.config.names import need, need_scan
from circuit.config.scalar import ScalarSettings
from circuit.errors import ConfigError

Dose = Annotated[float, Field(ge=-100, le=100)]


class Subspace(Frozen):
    """Directions that are removed and kept: the top ``ranks`` of a named subspace."""

    subspace: Literal[
        "embedding_value_identity",
        "embedding_key_identity",
        "head_qk_query",
        "head_qk_key",
        "head_ov_input",
        "head_ov_output",
    ]
    ranks: Several[Annotated[Count, Mark("subspace_rank")]]
    head: Head | None = None


_SUBSPACES = {
    "value_identity": Subspace(subspace="embedding_value_identity", ranks=(1, 4, 16)),
    "key_identity": Subspace(subspace="embedding_key_identity", ranks=(1, 3)),
}
_OUTCOMES = {name: ScalarSettings(scalar=name) for name in ("answer_margin", "soft_margin")}


class Settings(AtCheckpoints):
    """What edits of states do to the answer at some checkpoints, each beside its controls.

    ``pairs`` are the causal variables that are patched, at ``sites`` (``stages``, ``heads.z``,
    ``L1H3.v``, …; ``neurons`` are sets of them, named as ``neurons.NAME``) and ``roles``;
    ``replace`` is what is put in place of states of the ``split``'s probe events there.
    ``subspaces`` are removed and kept, and a value's direction is added in ``doses`` (of the
    state's norm), at ``stages`` and ``roles``; directions are fitted to ``programs`` programs of
    the split. ``draws`` random subspaces of the same energy are a control. ``outcomes`` are
    measured beside the patched contrast; ``outcome`` is the one that the answer and the figures
    speak of, and ``drawn`` are the roles of which there are curves. ``heads`` is the scan whose
    heads these may name.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "ranks", "doses")
    told: ClassVar[frozenset[str]] = frozenset({"outcome", "drawn"})
    kind: Literal["intervention"]
    pairs: Several[PairKind] = ("support_value", "query_key", "recency", "distractor")
    sites: Several[Site] = ("stages",)
    neurons: dict[Name, Several[Neuron]] = Field(default_factory=dict)
    stages: Literal["all"] | Several[Stage] = "all"
    roles: Several[RoleName] = ("prediction", "support_value", "value_distractors")
    replace: Several[Literal["zero", "mean", "resample"]] = ("mean", "resample")
    subspaces: Annotated[dict[Name, Subspace], Field(min_length=1)] = _SUBSPACES
    doses: Several[Dose] = (-0.5, 0.25, 0.5, 1.0, 2.0)
    outcomes: Annotated[dict[Name, ScalarSettings], Field(min_length=1)] = _OUTCOMES
    outcome: Name = "soft_margin"
    drawn: Several[RoleName] = ("prediction", "support_value")
    programs: Annotated[int, Field(ge=16), Mark("programs", ("split",))] = 512
    draws: Annotated[int, Field(ge=20, le=10_000)] = 40
    heads: HeadScanName | None = None

    def check(self, study: Study, where: str) -> None:
        """What is told is measured, and a head's subspace names a head that is known."""
        need(self.outcome, self.outcomes, "outcome", f"{where}.outcome")
        for role in self.drawn:
            need(role, self.roles, "role", f"{where}.drawn")
        scales = [site for site in self.sites if site.endswith(("scale", "scales"))]
        if scales and "zero" in self.replace:
            raise ConfigError(
                what=f"zero in place of {scales[0]}, which a LayerNorm divides by",
                where=f"{where}.replace",
                expected="mean or resample where sites are scales",
                do="leave zero out, or ask for scales in an analysis of their own",
            )
        for name, one in self.subspaces.items():
            if one.subspace.startswith("head_") != (one.head is not None):
                raise ConfigError(
                    what=f"{one.subspace} "
                    + ("takes no head" if one.head else "needs a head, and none is given"),
                    where=f"{where}.subspaces.{name}",
                    expected="a head with a head's subspace, and with no other",
                    do="leave head out" if one.head else "add head",
                )
        named = {
            **{f"outcomes.{name}": one.head for name, one in self.outcomes.items()},
            **{f"subspaces.{name}": one.head for name, one in self.subspaces.items()},
        }
        for place, head in named.items():
            need_scan(head, self.heads, f"{where}.{place}.head")

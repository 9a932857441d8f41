"""Settings of the kind ``rescue``."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from circuit.config.analysis import AtCheckpoints, RoleName, Study
from circuit.config.base import Frozen, Listed, Name, Several
from circuit.config.marks import HeadScanName, Mark, StreamStage
from circuit.config.names import need_scan
from circuit.errors import ConfigError

Identity = Literal["embedding_value_identity", "embedding_key_identity"]
Written = Annotated[str, Mark("written")]
Later = Annotated[str, StringConstraints(pattern=r"^L\d+(H\d+|MLP)$"), Mark("written")]


class Code(Frozen):
    """A subspace of the state at a stage and role, as a source."""

    subspace: Identity
    stage: StreamStage
    role: RoleName


class Settings(AtCheckpoints):
    """Which clean states and writes bring back what the answer loses with a source.

    ``sources`` are heads, MLPs, neurons, patterns of heads (``L1H3.pattern``) or an identity in the
    state at a stage and role; ``ablations`` what stands in for them. Put back are states and writes
    at ``roles``, identities of ``subspaces`` in these states, all later components in every pair
    and in ``groups``. ``draws`` random subspaces and groups are controls, ``orders`` are drawn for
    more than eight later components. The first of ``ablations`` is told. ``heads`` is the scan
    whose heads (``winner``, ``winner.pattern``) sources may name.
    """

    kind: Literal["rescue"]
    sources: Annotated[dict[Name, Several[Written] | Code], Field(min_length=1)]
    ablations: Several[Literal["mean", "resample", "zero"]] = ("resample",)
    roles: Several[RoleName] = ("prediction", "support_value")
    subspaces: Listed[Identity] = ()
    groups: dict[Name, Annotated[Listed[Later], Field(min_length=2)]] = Field(default_factory=dict)
    draws: Annotated[int, Field(ge=20, le=1000)] = 20
    orders: Annotated[int, Field(ge=1, le=1000)] = 8
    heads: HeadScanName | None = None

    def check(self, study: Study, where: str) -> None:
        """Heads that a scan chooses have a scan, and every group comes after some source."""
        for name, source in self.sources.items():
            for member in _names(source):
                need_scan(member.removesuffix(".pattern"), self.heads, f"{where}.sources.{name}")
        first = min(min(map(_place, _names(source))) for source in self.sources.values())
        for name, group in self.groups.items():
            early = [member for member in group if _place(member) <= first]
            if early:
                raise ConfigError(
                    what=f"{early[0]} comes after no source, so nothing of it is lost",
                    where=f"{where}.groups.{name}",
                    expected="heads and MLPs that all come after a source",
                    do="leave it out, or name an earlier source",
                )


def _names(source: tuple[str, ...] | Code) -> tuple[str, ...]:
    return (source.stage,) if isinstance(source, Code) else source


def _place(name: str) -> tuple[int, bool]:
    """The layer and, within it, whether it is behind the attention; of a member or of a stage."""
    found = re.match(r"L(\d+)(MLP|N)?|layer_(\d+)_post_(mlp)?", name)
    layer, after = (found[1] or found[3], found[2] or found[4]) if found else (-1, None)
    return int(layer), after is not None

"""Settings of the kind ``hypothesis_test``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from circuit.config.analysis import AnalysisSettings, RoleName, Study
from circuit.config.base import Count, Frozen, Name, Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import FinalOrStep, HeadScanName, Mark
from circuit.config.names import need, need_scan
from circuit.errors import ConfigError
from circuit.experiments.circuits import Circuit, Subspace
from circuit.kinds.hypothesis_test.criteria import CRITERIA
from circuit.model.nodes import ANSWER, EMBEDDING, INPUTS

_ARROW = " -> "
Share = Annotated[float, Field(gt=0, le=1)]


def _two(edge: str) -> str:
    if re.fullmatch(rf"\w+{_ARROW}\w+(\.[qkv])?", edge) is None:
        raise ValueError(
            f"edge {edge!r} is not of the form SENDER{_ARROW}RECEIVER, such as L0MLP -> L1H2.k"
        )
    return edge


class Carried(Frozen):
    """An edge, and the subspace of the write that it carries; all of it where none is named."""

    edge: Annotated[str, AfterValidator(_two)]
    subspace: Literal["embedding_value_identity", "embedding_key_identity", "head_input"] | None = (
        None
    )
    rank: Annotated[Count, Mark("subspace_rank")] | None = None

    @model_validator(mode="after")
    def _part(self) -> Carried:
        if (self.subspace is None) != (self.rank is None):
            raise ValueError(
                f"edge {self.edge!r} has a subspace without a rank, or a rank without a subspace; "
                "give both, or neither for all of the write"
            )
        if self.subspace == "head_input" and any("." not in reader for _, reader in _pairs(self)):
            raise ValueError(
                f"edge {self.edge!r} ends at no head, so there is no head_input; name another "
                "subspace"
            )
        return self


def _edge(given: Any) -> Any:
    return {"edge": given} if isinstance(given, str) else given


class Stated(Frozen):
    """A circuit: its heads and MLPs with the roles at which they write, and its edges.

    An edge into a head without ``.q``, ``.k`` or ``.v`` feeds all three.
    """

    nodes: Annotated[dict[Name, Several[RoleName]], Field(min_length=1)]
    edges: Several[Annotated[Carried, BeforeValidator(_edge)]]

    def circuit(self, heads: Mapping[str, str]) -> Circuit:
        """With the heads that a scan chose in the place of ``winner``, …."""
        edges = {
            pair: one.subspace and Subspace(one.subspace, one.rank or 0)
            for one in self.edges
            for pair in _pairs(one)
        }
        some = {node: roles for node, roles in self.nodes.items() if "causal_prefix" not in roles}
        return Circuit(edges, some).renamed(heads)

    def check(self, scan: str | None, where: str) -> None:
        """Every edge is between nodes, stated once, and on a way to the answer."""
        for node in self.nodes:
            need_scan(node, scan, f"{where}.nodes")
        seen: dict[tuple[str, str], str] = {}
        for one in self.edges:
            at = f"{where}.edges: {one.edge}"
            sender, _, receiver = one.edge.partition(_ARROW)
            need(sender, (EMBEDDING, *self.nodes), "node", at, "add it to nodes")
            need(receiver.partition(".")[0], (*self.nodes, ANSWER), "node", at, "add it to nodes")
            for pair in _pairs(one):
                if pair in seen:
                    raise ConfigError(
                        f"edge {_ARROW.join(pair)} is stated twice",
                        where=at,
                        expected=f"each edge once; {seen[pair]} has it already",
                        do="take one of the two away",
                    )
                seen[pair] = one.edge
        circuit = self.circuit({})
        lost = [_ARROW.join(edge) for edge in circuit.edges if edge not in circuit.live]
        lost += [node for node in self.nodes if node not in circuit.nodes]
        if lost:
            raise ConfigError(
                f"{lost[0]} is on no way from the embedding to the answer",
                where=where,
                expected="edges that lead from the embedding through every node to the answer",
                do="add the edges that are missing, or take this away",
            )


def _pairs(one: Carried) -> list[tuple[str, str]]:
    sender, _, receiver = one.edge.partition(_ARROW)
    whole = receiver == ANSWER or receiver.endswith("MLP") or "." in receiver
    return [(sender, r) for r in ((receiver,) if whole else [f"{receiver}.{i}" for i in INPUTS])]


_SPLITS: tuple[SplitName, ...] = ("validation_iid", "heldout_pairs", "structural_ood")


class Settings(AnalysisSettings):
    """Whether a circuit is sufficient, necessary, special and minimal at some checkpoints.

    ``circuit`` is stated, or ``found``: what is left of all edges of the last of ``checkpoints``,
    pruned to at most ``size`` on the half of the first of ``splits`` that chooses. ``ablations``
    are what stands in the place of what is damaged; random circuits (``draws``) and damage
    elsewhere (``other_draws``) go with the first. ``sufficient`` and ``needed`` are the shares of
    the answer that must be shown for the circuit to be accepted. ``heads`` is the scan whose heads
    the circuit may name.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "edges", "pruned")
    job_memory_mb: ClassVar[int] = 3000
    kind: Literal["hypothesis_test"]
    circuit: Annotated[
        Stated | None,
        BeforeValidator(lambda given: None if given == "found" else given),
        Mark("circuit"),
    ] = None
    size: Count = 24
    checkpoints: Several[FinalOrStep] = ("final",)
    splits: Several[SplitName] = _SPLITS
    ablations: Several[Literal["resample", "mean"]] = ("resample", "mean")
    sufficient: Share = 0.9
    needed: Share = 0.5
    draws: Annotated[int, Field(ge=20, le=1000)] = 100
    other_draws: Annotated[int, Field(ge=20, le=1000)] = 20
    heads: HeadScanName | None = None
    seed: Seed = 0

    @property
    def criteria(self) -> dict[str, tuple[dict[str, str], float]]:
        """The criteria with their bounds."""
        return {
            name: (where, getattr(self, bound) if bound else 0.0)
            for name, (where, bound) in CRITERIA.items()
        }

    def check(self, study: Study, where: str) -> None:
        """The circuit is one, and heads that a scan chooses have a scan."""
        if self.circuit is not None:
            self.circuit.check(self.heads, f"{where}.circuit")

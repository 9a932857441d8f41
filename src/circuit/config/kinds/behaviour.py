"""Kinds that ask what behaviour is there, when, and what carries its change."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.base import Name
from circuit.config.benchmark import SplitName
from circuit.config.kinds.base import AnalysisSettings, CheckpointWindow, RoleName


class CheckpointSweep(AnalysisSettings):
    """Every checkpoint: behaviour, what the residual stream holds, what each component does.

    ``birth_threshold`` is the accuracy from which the answer counts as learned; ``thresholds`` are
    flagged at every checkpoint. The first split's reads (of ``programs`` programs) feed the linear
    probes: programs with even numbers fit them, odd ones score them; ``probe_ridge`` is the
    penalty, on states of unit root mean square deviation. The probe events feed lens, drift,
    localisation and ablation; ``reference`` is the checkpoint that drift is measured to,
    ``ablation`` what a component's write is replaced by.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "stages", "components")
    figures: ClassVar[tuple[str, ...]] = (
        "learning_curve",
        "slices",
        "coarse",
        "probes",
        "lens",
        "drift",
        "localisation",
        "ablations",
    )
    kind: Literal["checkpoint_sweep"]
    splits: tuple[SplitName, ...] = ("validation_iid", "heldout_pairs")
    best_by: SplitName = "heldout_pairs"
    programs: Annotated[int, Field(ge=4)] = 256
    birth_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    thresholds: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.25, 0.5, 0.75, 0.9)
    probe_ridge: Annotated[float, Field(gt=0)] = 1.0
    reference: Literal["final"] | Annotated[int, Field(ge=0)] = "final"
    ablation: Literal["zero", "mean"] = "mean"


class FullEvaluation(AnalysisSettings):
    """Every program of every split at one checkpoint."""

    figures: ClassVar[tuple[str, ...]] = ("splits",)
    kind: Literal["full_evaluation"]
    checkpoint: Literal["best", "final"] | Annotated[int, Field(ge=0)] = "best"
    sweep: Name
    best_by: SplitName = "heldout_pairs"
    splits: tuple[SplitName, ...] = (
        "validation_iid",
        "test_iid",
        "heldout_pairs",
        "structural_ood",
        "counterfactual",
    )


class ReferenceModel(AnalysisSettings):
    """Choose the study's reference model over completed runs, held-out-aware.

    Among checkpoints whose ``validation_split`` accuracy is at least ``floor``, the one with the
    highest ``heldout_split`` accuracy wins; ties go to the earlier step, then to the run's name. If
    none reaches the floor, the highest validation accuracy wins and the file says so.
    """

    scope: ClassVar[Literal["run", "study"]] = "study"
    records: ClassVar[tuple[str, ...]] = ("choice",)
    kind: Literal["reference_model"]
    sweep: Name
    validation_split: SplitName = "validation_iid"
    heldout_split: SplitName = "heldout_pairs"
    floor: Annotated[float, Field(ge=0, le=1)] = 0.9


class BirthWindows(AnalysisSettings):
    """When things were born, from a sweep's tables; merged into windows that have names.

    Births are read off by threshold and by change point, with an interval; beside them the largest
    jumps, drops of drift and the step from which the rank order of heads stays. Births that overlap
    are merged. A later analysis names a window as ``ANALYSIS.WINDOW``: ``main`` holds most
    evidence, ``window_1``, ``window_2``, … are all merged windows in order of time, and every
    single piece of evidence has a window under its own name, such as ``accuracy``: from where its
    change began to where it was over. ``threshold`` is the accuracy that counts as born,
    ``bootstrap`` the number of curves drawn for an interval.
    """

    records: ClassVar[tuple[str, ...]] = ("windows",)
    figures: ClassVar[tuple[str, ...]] = ("timeline",)
    kind: Literal["birth_windows"]
    sweep: Name
    split: SplitName = "validation_iid"
    heldout_split: SplitName = "heldout_pairs"
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    stable_rank_correlation: Annotated[float, Field(gt=0, le=1)] = 0.8
    bootstrap: Annotated[int, Field(ge=20)] = 200
    seed: Annotated[int, Field(ge=0)] = 0


class BirthWindowCompare(AnalysisSettings):
    """What carries a window's change: activations and weights put from one end into the other.

    Both directions are measured: the target's part put into the source model (does it bring the
    behaviour?) and the source's into the target model (does its absence take it away?). ``roles``
    are the positions whose states are exchanged, ``groups`` the groupings whose weights are;
    ``seed`` draws the changes of the same size that weights are compared with.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "events")
    figures: ClassVar[tuple[str, ...]] = ("activations", "weights")
    kind: Literal["birth_window_compare"]
    window: CheckpointWindow
    split: SplitName = "validation_iid"
    roles: tuple[RoleName, ...] = ("prediction", "support_value", "causal_prefix")
    groups: tuple[Literal["layer", "module", "head", "head_projection"], ...] = (
        "module",
        "head",
        "head_projection",
    )
    seed: Annotated[int, Field(ge=0)] = 0

"""Settings of every kind of analysis, one model per kind.

An analysis is a named block of YAML with a ``kind``; adding one of an existing kind is YAML only.
``scope`` says where its folder lies: in a run's folder (once per run listed in ``runs``) or in the
study's folder (once, over the runs listed). ``tables``, ``records`` and ``figures`` name the files
that every analysis of the kind leaves beside its ``report.json`` and ``report.md``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from circuit.config.base import Frozen, Name
from circuit.config.benchmark import SplitName
from circuit.config.terms import GROUPINGS, SCALAR_UNITS

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
PathRule = Literal["left", "trapezoid", "simpson"]
Window = Name | tuple[int, int]
Runs = Literal["all"] | tuple[Name, ...]


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


class _Analysis(Frozen):
    scope: ClassVar[Literal["run", "study"]] = "run"
    tables: ClassVar[tuple[str, ...]] = ("rows",)
    records: ClassVar[tuple[str, ...]] = ()
    figures: ClassVar[tuple[str, ...]] = ()
    runs: Runs = "all"

    @classmethod
    def files(cls) -> dict[str, str]:
        """What every analysis of this kind leaves in its folder: output name → file name."""
        return {
            **{table: f"{table}.parquet" for table in cls.tables},
            **{record: f"{record}.json" for record in cls.records},
            "report_json": "report.json",
            "report_md": "report.md",
            **{figure: f"{figure}.svg" for figure in cls.figures},
        }


class CheckpointSweep(_Analysis):
    """Behaviour at every checkpoint: accuracy per split and slice, margin, entropy, q, r, w."""

    figures: ClassVar[tuple[str, ...]] = ("learning_curve", "slices", "coarse")
    kind: Literal["checkpoint_sweep"]
    splits: tuple[SplitName, ...] = ("validation_iid", "heldout_pairs")
    best_by: SplitName = "heldout_pairs"
    programs: Annotated[int, Field(ge=1)] = 256
    birth_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


class FullEvaluation(_Analysis):
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


class ReferenceModel(_Analysis):
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


class HeadScan(_Analysis):
    """QK separation of every head at every checkpoint; chooses winner, runner-up and bottom.

    ``criterion`` is the growth that is ranked: of full-score separation, or of the rank-limited one
    in each checkpoint's own basis. Selection uses half the events, confirmation the other half.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "events")
    records: ClassVar[tuple[str, ...]] = ("selection",)
    figures: ClassVar[tuple[str, ...]] = ("separation", "heads")
    kind: Literal["head_scan"]
    split: SplitName = "validation_iid"
    rank: Annotated[int, Field(ge=1)] = 4
    criterion: Literal["qk_separation", "qk_separation_rank"] = "qk_separation"
    window: Window | None = None


class AttentionGeometry(_Analysis):
    """Where one head looks from the prediction position, at every checkpoint."""

    tables: ClassVar[tuple[str, ...]] = ("rows", "patterns_table")
    figures: ClassVar[tuple[str, ...]] = ("patterns", "roles")
    kind: Literal["attention_geometry"]
    selection: Name
    split: SplitName = "validation_iid"
    head: str = "winner"
    pictures: Annotated[int, Field(ge=1, le=12)] = 4


class OptimizerTrace(_Analysis):
    """One row per replayed step: loss, rate, gradient and update norms, components, batch ids."""

    tables: ClassVar[tuple[str, ...]] = ("rows", "batches", "top_parameters")
    figures: ClassVar[tuple[str, ...]] = ("trace", "components")
    kind: Literal["optimizer_trace"]
    window: Window
    top_parameters: Annotated[int, Field(ge=0)] = 5


class UpdateAttribution(_Analysis):
    """Growth of scalars attributed to update components and parameter groups, step by step.

    ``path_rule`` is the rule that is split over groups; ``comparators`` are other rules shown
    beside it. ``groups`` are kept for every step, ``summed_groups`` (fine ones, such as neurons) as
    sums over the window. A window is marked whose residual exceeds ``residual_bound`` of its
    growth.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "values", "groups", "summed_groups", "events")
    figures: ClassVar[tuple[str, ...]] = ("growth", "parameter_groups", "residual")
    kind: Literal["update_attribution"]
    window: Window
    selection: Name
    scalars: dict[Name, ScalarSettings]
    split: SplitName = "validation_iid"
    events: Annotated[int, Field(ge=2)] = 48
    path_rule: PathRule = "trapezoid"
    comparators: tuple[PathRule, ...] = ("left",)
    groups: tuple[str, ...] = ("head_projection",)
    summed_groups: tuple[str, ...] = ()
    residual_bound: Annotated[float, Field(gt=0)] = 0.01

    @model_validator(mode="after")
    def _something_to_attribute(self) -> UpdateAttribution:
        if not self.scalars:
            raise ValueError("scalars is empty; name at least one scalar")
        if not self.groups:
            raise ValueError("groups is empty; name at least one grouping, such as module")
        for name in (*self.groups, *self.summed_groups):
            if name not in GROUPINGS:
                raise ValueError(f"unknown grouping {name!r}; there are {', '.join(GROUPINGS)}")
        return self

    @property
    def rules(self) -> tuple[PathRule, ...]:
        """The main rule, then its comparators, each once."""
        return tuple(dict.fromkeys((self.path_rule, *self.comparators)))


class Closure(_Analysis):
    """How much of behaviour's change between checkpoints the change of route scalars explains."""

    tables: ClassVar[tuple[str, ...]] = ("rows", "coefficients", "scores")
    figures: ClassVar[tuple[str, ...]] = ("closure",)
    kind: Literal["closure"]
    selection: Name
    window: Window
    outcomes: dict[Name, ScalarSettings]
    routes: dict[Name, ScalarSettings]
    split: SplitName = "validation_iid"
    folds: Annotated[int, Field(ge=2)] = 5
    seed: Annotated[int, Field(ge=0)] = 0


class CrossSeed(_Analysis):
    """The route's growth and its component shares over runs that differ in their seed."""

    scope: ClassVar[Literal["run", "study"]] = "study"
    figures: ClassVar[tuple[str, ...]] = ("seeds",)
    kind: Literal["cross_seed"]
    sweep: Name
    scan: Name
    attribution: Name
    scalar: Name
    seed: Annotated[int, Field(ge=0)] = 0


Analysis = Annotated[
    CheckpointSweep
    | FullEvaluation
    | ReferenceModel
    | HeadScan
    | AttentionGeometry
    | OptimizerTrace
    | UpdateAttribution
    | Closure
    | CrossSeed,
    Field(discriminator="kind"),
]
KINDS: dict[str, type[_Analysis]] = {
    "checkpoint_sweep": CheckpointSweep,
    "full_evaluation": FullEvaluation,
    "reference_model": ReferenceModel,
    "head_scan": HeadScan,
    "attention_geometry": AttentionGeometry,
    "optimizer_trace": OptimizerTrace,
    "update_attribution": UpdateAttribution,
    "closure": Closure,
    "cross_seed": CrossSeed,
}

"""What the settings of every kind of analysis have: its runs, the files it leaves, its needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import AfterValidator, BeforeValidator, Field, Strict, StringConstraints

from circuit.config.base import Frozen, Name, Seed, Several, Steps, differ
from circuit.config.benchmark import SplitName
from circuit.config.marks import FinalOrStep, Mark


def _known_beforehand(window: Any) -> Any:
    if finder(window):
        raise ValueError(
            f"window {window!r} is found by an analysis, but the steps of this kind must be known "
            "before anything runs; name a window of the study, or give two checkpoint steps"
        )
    return window


Window = Annotated[Name | Steps, BeforeValidator(_known_beforehand), Mark("window")]
"""A window of the study by its name, or its first and last step."""
MeasuredWindow = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\.[a-z0-9_]+$")]
"""A window that an analysis of kind ``birth_windows`` found: its name, a dot, the window's name."""
CheckpointWindow = Annotated[Name | Steps | MeasuredWindow, Mark("window")]
"""The window of a kind that looks at checkpoints only, so what a run showed may choose it."""
RoleName = Literal[
    "prediction",
    "query_key",
    "support_op",
    "support_key",
    "support_value",
    "stale_value",
    "value_distractors",
    "key_distractors",
    "prior_answers",
    "causal_prefix",
]
StateRole = Literal["prediction", "support_op", "support_key", "support_value"]
"""Roles that are one position of a read."""
Runs = Annotated[
    Literal["all"] | Annotated[tuple[Name, ...], Strict(False)],
    AfterValidator(differ),
    Mark("runs"),
    Field(json_schema_extra={"uniqueItems": True}),
]


class Study(Protocol):
    """What an analysis may ask of the study that it stands in: its other analyses, by name."""

    @property
    def analyses(self) -> Mapping[str, Any]: ...


class AnalysisSettings(Frozen):
    """Settings that every kind has.

    ``scope`` says where an analysis' folder lies: in a run's folder (once per run listed in
    ``runs``) or in the study's folder (once, over the runs listed; ``compares_runs`` is False where
    it looks at data only). ``tables``, ``records`` and ``tensors`` name the files that measuring
    leaves. ``torch`` says whether it uses tensors, ``reads_dictionaries`` whether its scalars may
    name a dictionary of features, ``takes_every_feature`` whether they may ask for each of its
    features, ``trains`` whether it replays training itself, which takes the
    run's threads. ``least_heads`` is how many heads a model must have. ``told`` are the settings
    that only its view reads, so that changing one measures nothing anew. ``job_memory_mb`` and
    ``job_minutes`` are what measuring needs at most at reference size, for schedulers.
    """

    scope: ClassVar[Literal["run", "study"]] = "run"
    compares_runs: ClassVar[bool] = True
    tables: ClassVar[tuple[str, ...]] = ("rows",)
    records: ClassVar[tuple[str, ...]] = ()
    tensors: ClassVar[tuple[str, ...]] = ()
    torch: ClassVar[bool] = True
    reads_dictionaries: ClassVar[bool] = False
    takes_every_feature: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    least_heads: ClassVar[int] = 1
    told: ClassVar[frozenset[str]] = frozenset()
    job_memory_mb: ClassVar[int] = 1500
    job_minutes: ClassVar[int] = 60
    kind: str
    runs: Runs = "all"

    @property
    def replays(self) -> bool:
        """Whether jobs that replay its window's training steps look at them for it."""
        return False

    @classmethod
    def asked(cls) -> set[str]:
        """Settings that the jobs that look at its window are told."""
        return set(cls.model_fields) - {"runs"}

    def check(self, study: Study, where: str) -> None:
        """What the types of single settings cannot say, once the names they mention are known.

        Raises:
            ConfigError: naming the field below ``where``, the analysis' place.
        """

    @classmethod
    def measured_files(cls) -> dict[str, str]:
        """What measuring leaves in an analysis' folder: output name → file name."""
        return {
            **{table: f"{table}.parquet" for table in cls.tables},
            **{record: f"{record}.json" for record in cls.records},
            **{tensor: f"{tensor}.safetensors" for tensor in cls.tensors},
            "measured": "measured.json",
        }


class AtCheckpoints(AnalysisSettings):
    """Settings of a kind that looks at events of one split at some checkpoints, the last of which
    is told; what it draws at random, it draws from ``seed``.
    """

    job_memory_mb: ClassVar[int] = 4000
    split: SplitName = "validation_iid"
    checkpoints: Several[FinalOrStep] = ("final",)
    seed: Seed = 0


def finder(window: Any) -> str | None:
    """The analysis that finds a window, or None where the steps stand in the configuration."""
    return window.partition(".")[0] if isinstance(window, str) and "." in window else None

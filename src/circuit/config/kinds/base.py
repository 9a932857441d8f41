"""What the settings of every kind of analysis have: a scope, the files it leaves, its runs."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, StringConstraints

from circuit.config.base import Frozen, Name


def _known_beforehand(window: Any) -> Any:
    if finder(window):
        raise ValueError(
            f"window {window!r} is found by an analysis, but the steps of this kind must be known "
            "before anything runs; name a window of the study, or give two checkpoint steps"
        )
    return window


_Steps = Name | tuple[int, int]
Window = Annotated[_Steps, BeforeValidator(_known_beforehand)]
"""A window of the study by its name, or its first and last step."""
MeasuredWindow = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\.[a-z0-9_]+$")]
"""A window that an analysis of kind ``birth_windows`` found: its name, a dot, the window's name."""
CheckpointWindow = _Steps | MeasuredWindow
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
Runs = Literal["all"] | tuple[Name, ...]


class AnalysisSettings(Frozen):
    """Settings that every kind has.

    ``scope`` says where an analysis' folder lies: in a run's folder (once per run listed in
    ``runs``) or in the study's folder (once, over the runs listed). ``tables``, ``records``,
    ``tensors``, ``pages`` and ``figures`` name the files that it leaves beside ``report.json`` and
    ``report.md``.
    """

    scope: ClassVar[Literal["run", "study"]] = "run"
    tables: ClassVar[tuple[str, ...]] = ("rows",)
    records: ClassVar[tuple[str, ...]] = ()
    tensors: ClassVar[tuple[str, ...]] = ()
    pages: ClassVar[tuple[str, ...]] = ()
    figures: ClassVar[tuple[str, ...]] = ()
    runs: Runs = "all"

    @classmethod
    def files(cls) -> dict[str, str]:
        """What every analysis of this kind leaves in its folder: output name → file name."""
        return {
            **{table: f"{table}.parquet" for table in cls.tables},
            **{record: f"{record}.json" for record in cls.records},
            **{tensor: f"{tensor}.safetensors" for tensor in cls.tensors},
            **{page: f"{page}.html" for page in cls.pages},
            "report_json": "report.json",
            "report_md": "report.md",
            **{figure: f"{figure}.svg" for figure in cls.figures},
        }


def finder(window: Any) -> str | None:
    """The analysis that finds a window, or None where the steps stand in the configuration."""
    return window.partition(".")[0] if isinstance(window, str) and "." in window else None

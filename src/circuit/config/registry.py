"""Every kind of analysis by its name: the folders of ``circuit.kinds`` that have settings.

An analysis is a named block of YAML with a ``kind``; adding one of an existing kind is YAML only.
No script may reach this module, or a new field of one kind would make every artifact stale: each
imports its own kind's settings by name.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from circuit.config.analysis import AnalysisSettings
from circuit.errors import ConfigError

_FOLDER = Path(__file__).parents[1] / "kinds"
KINDS: dict[str, type[AnalysisSettings]] = {
    file.parent.name: import_module(f"circuit.kinds.{file.parent.name}.settings").Settings
    for file in sorted(_FOLDER.glob("*/settings.py"))
}
VIEWS: dict[str, Any] = {
    file.parent.name: import_module(f"circuit.kinds.{file.parent.name}.view")
    for file in sorted(_FOLDER.glob("*/view.py"))
}
"""What there is to see of every kind, as data (:mod:`circuit.reports.viewing`)."""
if TYPE_CHECKING:
    Analysis = AnalysisSettings
else:
    Analysis = Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")]  # noqa: UP007


def files(kind: str) -> dict[str, str]:
    """What every analysis of a kind leaves in its folder: output name → file name.

    A figure may be called as what it draws is, so what the view makes is named ``view.{name}``.
    """
    viewed = {f"view.{name}": file for name, file in view_files(kind).items()}
    return {**KINDS[kind].measured_files(), **viewed}


def view_files(kind: str) -> dict[str, str]:
    """What the view of a kind makes: its report and figures.

    Raises:
        ConfigError: nothing says what there is to see of the kind.
    """
    if kind not in VIEWS:
        raise ConfigError(
            what=f"kind {kind!r} has no view",
            where=_FOLDER / kind,
            expected="a file view.py beside its settings.py",
            do="write it, as docs/extending.md shows",
        )
    figures = {view.name: view.file for view in VIEWS[kind].VIEWS}
    return {"report_json": "report.json", "report_md": "report.md", **figures}

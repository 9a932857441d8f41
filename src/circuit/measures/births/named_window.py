"""The steps of a window, whether they stand in the configuration or were found by an analysis."""

from __future__ import annotations

from pathlib import Path

from circuit.artifacts import read_json
from circuit.config.analysis import CheckpointWindow
from circuit.errors import AnalysisError


def window_steps(window: CheckpointWindow, windows: str | Path | None) -> tuple[int, int]:
    """First and last checkpoint step of a window.

    Args:
        window: two steps, or the name ``ANALYSIS.WINDOW`` of a measured window.
        windows: the ``windows.json`` of that analysis; None where the steps are given.

    Raises:
        AnalysisError: the analysis found no window of this name.
    """
    if not isinstance(window, str):
        return window
    name = window.rpartition(".")[2]
    found = read_json(windows)["windows"] if windows is not None else {}
    if name not in found:
        raise AnalysisError(
            what=f"there is no window {window!r} in this run",
            where=windows or "the analysis' settings",
            expected=f"one of {', '.join(found) or 'no window at all'}",
            do="name one of these, or give two checkpoint steps",
        )
    return found[name]["start"], found[name]["stop"]

"""A window by its steps, or by the name under which an analysis found it."""

from pathlib import Path

import pytest

from circuit.artifacts import write_json
from circuit.errors import AnalysisError
from circuit.measures.births.named_window import window_steps


@pytest.fixture
def windows(tmp_path: Path) -> Path:
    found = {"main": {"start": 500, "stop": 800}, "accuracy": {"start": 600, "stop": 700}}
    write_json(tmp_path / "windows.json", {"windows": found})
    return tmp_path / "windows.json"


def test_steps_are_themselves() -> None:
    assert window_steps((100, 300), None) == (100, 300)


def test_a_name_is_looked_up(windows: Path) -> None:
    assert window_steps("births.main", windows) == (500, 800)
    assert window_steps("births.accuracy", windows) == (600, 700)


def test_a_window_that_was_not_found_is_refused(windows: Path) -> None:
    with pytest.raises(AnalysisError, match=r"no window 'births.q'.*one of accuracy, main"):
        window_steps("births.q", windows)

"""Every figure: valid, self-contained, deterministic, and saying what it shows."""

import hashlib
import importlib
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import report_frames as frames

from circuit.reports import (
    figures_closure,
)

DRAW: dict[str, Callable[[Path], None]] = {
    "seeds": lambda p: figures_closure.seeds(frames.seeds(), p),
}
SAYS = {
    "seeds": ["n = 3 runs", "growth (score)", "share of the winner", "birth", "mean"],
}


# Newer kinds bring their figures in files of their own: each has a DRAW and a SAYS.
for _file in sorted(Path(__file__).parent.glob("figures_of_*.py")):
    _more = importlib.import_module(_file.stem)
    assert not DRAW.keys() & _more.DRAW.keys()
    DRAW |= _more.DRAW
    SAYS |= _more.SAYS


def svg(draw: Callable[[Path], None], path: Path) -> str:
    draw(path)
    return path.read_text()


@pytest.mark.parametrize("name", DRAW)
def test_figure_is_valid_self_contained_and_says_what_it_shows(name, tmp_path):
    text = svg(DRAW[name], tmp_path / f"{name}.svg")
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for shown in SAYS[name]:
        assert shown in text, shown
    for element in root.iter():
        for key, value in element.attrib.items():
            if key.endswith("href"):
                assert value.startswith(("#", "data:image/png;base64,")), value
    assert "None" not in text
    assert ">nan<" not in text


def test_every_configured_figure_is_drawn_here():
    from circuit.config.registry import KINDS

    assert {figure for kind in KINDS.values() for figure in kind.figures} == set(DRAW)


def test_bytes_do_not_depend_on_the_process(tmp_path):
    code = "from test_figures import digests; print(digests())"
    found = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "DRAW_IN": str(tmp_path / seed)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(done.stdout)
    assert found[0] == found[1]
    assert found[0].count(":") == len(DRAW)


def digests() -> dict[str, str]:
    """Draw all figures; called in other processes."""
    folder = Path(os.environ["DRAW_IN"])
    return {
        name: hashlib.sha256(svg(draw, folder / f"{name}.svg").encode()).hexdigest()
        for name, draw in DRAW.items()
    }


def test_short_traces_are_drawn_step_by_step(tmp_path):
    text = svg(lambda p: figures_training.trace(frames.trace(100), p), tmp_path / "a.svg")
    assert "one point per step" in text


def test_a_run_that_was_never_born_is_named_in_the_figure_of_seeds(tmp_path):
    rows = frames.seeds()
    rows = rows[~((rows["measure"] == "birth_step") & (rows["seed"] == 11))]
    assert "not born" in svg(lambda p: figures_closure.seeds(rows, p), tmp_path / "a.svg")

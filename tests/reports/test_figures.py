"""Every figure: valid, self-contained, deterministic, and saying what it shows."""

import hashlib
import importlib
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import report_frames as frames

from circuit.errors import AnalysisError
from circuit.reports import (
    figures_behaviour,
    figures_closure,
    figures_heads,
)

DRAW: dict[str, Callable[[Path], None]] = {
    "learning_curve": lambda p: figures_behaviour.learning_curve(frames.sweep(), 700, 0.5, p),
    "slices": lambda p: figures_behaviour.slices(frames.sweep(), p),
    "coarse": lambda p: figures_behaviour.coarse(frames.sweep(), p),
    "splits": lambda p: figures_behaviour.splits(frames.evaluation(), p),
    "separation": lambda p: figures_heads.separation(frames.head_scan(), frames.ROLES, p),
    "head_map": lambda p: figures_heads.heads(frames.head_scan(), frames.ROLES, p),
    "seeds": lambda p: figures_closure.seeds(frames.seeds(), p),
}
SAYS = {
    "learning_curve": [
        "answer accuracy (% of reads)",
        "training step",
        "n = 1,204 reads",
        "95% intervals over programs",
        "birth: step 700",
        "threshold 50%",
        "validation_iid",
        "heldout_pairs",
    ],
    "slices": [
        "on validation_iid by slice",
        "tokens since support",
        "over programs; n = 172–602 reads",
    ],
    "coarse": [
        "attention (probability)",
        "margin (logit)",
        "n = 415 events",
        "q: to the query key",
    ],
    "splits": [
        "at step 1,500",
        "over programs",
        "n = 2,317",
        "41.2%",
        "(logit)",
        "over values only",
    ],
    "separation": ["QK separation (score)", "L1H2 winner", "L0H3 bottom", "n = 415 events"],
    "head_map": ["QK separation (score)", "L1H0  runner up", "18 checkpoints", "White is zero"],
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


def test_a_run_without_birth_says_so(tmp_path):
    def draw(path):
        figures_behaviour.learning_curve(frames.sweep(), None, 0.5, path)

    text = svg(draw, tmp_path / "a.svg")
    assert "No birth: accuracy never stays at 50%." in text
    assert "birth: step" not in text


def test_slices_shows_the_first_split_only(tmp_path):
    sweep = frames.sweep()
    other = sweep.copy()
    other.loc[other["split"] == "heldout_pairs", "mean"] = 0.0
    first = svg(lambda p: figures_behaviour.slices(sweep, p), tmp_path / "a.svg")
    assert svg(lambda p: figures_behaviour.slices(other, p), tmp_path / "b.svg") == first


def test_rows_without_slices_are_refused(tmp_path):
    sweep = frames.sweep()
    with pytest.raises(AnalysisError, match="have no slices"):
        figures_behaviour.slices(sweep[sweep["slice"] == "all"], tmp_path / "a.svg")


def test_splits_takes_the_last_of_several_steps(tmp_path):
    last = frames.evaluation()
    both = pd.concat([last.assign(step=100, mean=0.0), last])
    one = svg(lambda p: figures_behaviour.splits(last, p), tmp_path / "a.svg")
    assert svg(lambda p: figures_behaviour.splits(both, p), tmp_path / "b.svg") == one
    bare = last.drop(columns="step")
    assert "at step" not in svg(lambda p: figures_behaviour.splits(bare, p), tmp_path / "c.svg")


@pytest.mark.parametrize("draw", [figures_heads.separation, figures_heads.heads])
def test_heads_are_drawn_from_all_events_not_from_a_half(draw, tmp_path):
    rows = frames.head_scan()
    changed = rows.copy()
    changed.loc[changed["half"] != "all", "mean"] = 99.0
    first = svg(lambda p: draw(rows, frames.ROLES, p), tmp_path / "a.svg")
    assert svg(lambda p: draw(changed, frames.ROLES, p), tmp_path / "b.svg") == first
    assert "model" not in first


def test_short_traces_are_drawn_step_by_step(tmp_path):
    text = svg(lambda p: figures_training.trace(frames.trace(100), p), tmp_path / "a.svg")
    assert "one point per step" in text


def test_a_run_that_was_never_born_is_named_in_the_figure_of_seeds(tmp_path):
    rows = frames.seeds()
    rows = rows[~((rows["measure"] == "birth_step") & (rows["seed"] == 11))]
    assert "not born" in svg(lambda p: figures_closure.seeds(rows, p), tmp_path / "a.svg")

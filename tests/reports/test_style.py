"""The shared look: colours everyone can tell apart, bytes that depend on the drawing alone."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from circuit.reports import style

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)

SHOWN_ROLES = (
    "support_value",
    "stale_value",
    "value_distractors",
    "query_key",
    "key_distractors",
    "prior_answers",
)


def lab(colour: str, deficiency: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(DEFICIENCIES[deficiency] @ linear, 0, 1)
    xyz = xyz / (TO_XYZ @ np.ones(3))
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
@pytest.mark.parametrize(
    "colours",
    [
        {k: v for k, v in style.COMPONENT_COLOURS.items() if "sgd" not in k},
        style.ROLE_COLOURS,
        style.SPLIT_COLOURS,
        {k: style.ATTENTION_ROLE_COLOURS[k] for k in SHOWN_ROLES},
    ],
    ids=["components", "roles", "splits", "attention"],
)
def test_colours_stay_apart_with_any_colour_vision(colours, deficiency):
    for one, other in itertools.combinations(colours, 2):
        distance = np.linalg.norm(lab(colours[one], deficiency) - lab(colours[other], deficiency))
        assert distance > 15, f"{one} and {other} look alike under {deficiency}: {distance:.1f}"


def draw(path: Path) -> bytes:
    with style.picture(path, "A title", "first line\nn = 3 events") as body:
        ax = body.add_subplot()
        ax.plot([0, 5, 10], [0.0, 0.5, 1.0], label="a < b & c")
        style.step_axis(ax)
        style.share_axis(ax, "share (%)")
        style.side_legend(ax, "kind")
    return path.read_bytes()


def test_same_drawing_same_bytes_no_date_and_text_in_the_readers_font(tmp_path):
    first = draw(tmp_path / "a.svg")
    assert first == draw(tmp_path / "b.svg")
    text = first.decode()
    assert "dc:date" not in text
    assert "matplotlib.org" not in text
    for shown in ("A title", "first line", "n = 3 events", "a &lt; b &amp; c", "training step"):
        assert shown in text
    assert "Helvetica, Arial, 'DejaVu Sans', sans-serif" in text


def test_a_readers_own_matplotlib_settings_change_nothing(tmp_path):
    plain = draw(tmp_path / "a.svg")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert draw(tmp_path / "b.svg") == plain


def test_drawing_leaves_global_settings_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    draw(tmp_path / "a.svg")
    assert dict(matplotlib.rcParams) == before


def test_a_failed_drawing_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), style.picture(tmp_path / "a.svg", "t", "n"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_save_svg_names_any_figure_and_shortens_paths_but_no_text(tmp_path):
    figure = Figure()
    figure.add_subplot(title="p = 0.123456").plot([1, 2])
    style.save_svg(figure, tmp_path / "a.svg", "mine")
    text = (tmp_path / "a.svg").read_text()
    assert "<title>mine</title>" in text
    assert "p = 0.123456" in text
    assert not re.search(r' d="[^"]*\.\d{3}', text)


@pytest.mark.parametrize(
    ("steps", "most", "kept"),
    [([3, 1, 2], 5, [1, 2, 3]), (range(100), 5, [0, 25, 50, 74, 99]), ([7], 1, [7])],
)
def test_thinning_keeps_both_ends(steps, most, kept):
    assert style.thinned(steps, most) == kept


def test_ticks_count_back_from_the_last():
    assert style.every_nth(18, 12) == [1, 3, 5, 7, 9, 11, 13, 15, 17]
    assert style.every_nth(3, 12) == [0, 1, 2]


def test_counts_say_what_was_counted():
    assert style.counts(pd.Series([415, 415]), "events") == "n = 415 events"
    assert style.counts(pd.Series([96, 2315]), "reads") == "n = 96–2,315 reads"


def test_reports_start_without_torch():
    modules = ["document", "page", "viewing", "draw"]
    script = "import sys\n" + "".join(f"import circuit.reports.{name}\n" for name in modules)
    script += "print([m for m in ('torch', 'matplotlib.pyplot', 'scipy') if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_bytes_do_not_depend_on_what_lies_far_below_a_pixel(tmp_path):
    """A layout's last digits differ between processes, and matplotlib names clip paths by them."""

    def drawn(name, shift):
        figure = Figure()
        ax = figure.add_axes((0.1, 0.1 + shift, 0.8, 0.8))
        ax.plot([0, 1], [0, 2])
        style.save_svg(figure, tmp_path / name, "mine")
        return (tmp_path / name).read_text()

    kept = [drawn("a.svg", 0.0), drawn("b.svg", 1e-14)]
    assert kept[0] == kept[1]
    assert "clipPath id=" in kept[0]

"""The look that all figures share, and how they reach the disk.

1. :func:`picture` opens a blank figure with a title and a note (what the bands are, how many
   observations) above a body that the caller fills, and saves it when the block ends.
2. :func:`save_svg` writes bytes that depend on nothing but what was drawn: no date, no version, no
   random ids, and a layout measured with the one font that comes with matplotlib.

Text stays text (searchable, editable, small). It is measured in DejaVu Sans and shown in the
reader's Helvetica or Arial where there is one; both are narrower, so nothing that fits here
overlaps there.

Figures are made without pyplot: no display is looked for, and nothing is left open.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FuncFormatter, MaxNLocator

from circuit.artifacts import write_text

INK, SOFT, FAINT, GRID = "#1a1a1a", "#5f6368", "#b8bcc2", "#e6e8eb"

COMPONENT_COLOURS = {
    "current_gradient": "#0072b2", "momentum": "#e69f00", "weight_decay": "#009e73",
    "rounding": "#9aa0a6", "checkpoint_difference": "#6633ff", "basis_motion": "#ff99ff",
    "rank_cut_jump": "#cc0033", "branch_switch": "#660066", "residual": "#d55e00",
    "raw_sgd": "#cc79a7", "clipped_sgd": "#56b4e9",
}  # fmt: skip
ROLE_COLOURS = {"winner": "#332288", "runner_up": "#44aa99", "bottom": "#aa3355"}
SPLIT_COLOURS = {
    "train": "#5f6368", "validation_iid": "#0072b2", "test_iid": "#56b4e9",
    "heldout_pairs": "#d55e00", "structural_ood": "#cc79a7", "counterfactual": "#009e73",
    "probes": "#e69f00",
}  # fmt: skip
ATTENTION_ROLE_COLOURS = {
    "support_value": "#332288", "stale_value": "#aa4499", "value_distractors": "#8c2d04",
    "query_key": "#d98a00", "key_distractors": "#5aa9d6", "prior_answers": "#117733",
    "support_key": "#44aa99", "support_op": "#999933", "other": "#b8bcc2",
}  # fmt: skip
SPARE_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#aa4499", "#e69f00",
    "#56b4e9", "#5f6368", "#882255", "#999933", "#332288",
)  # fmt: skip

SEQUENTIAL = LinearSegmentedColormap.from_list(
    "attention", ["#ffffff", "#d8dcf0", "#9aa6d8", "#5a62b3", "#332288", "#1b1147"]
)
DIVERGING = "RdBu"

_ACRONYMS = {
    "ce": "CE",
    "dla": "DLA",
    "kl": "KL",
    "mlp": "MLP",
    "ov": "OV",
    "pca": "PCA",
    "qk": "QK",
    "r2": "R²",
}
_LONG = re.compile(r"(\.\d\d)\d+")
_MEASURED, _SHOWN = "'DejaVu Sans'", "'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans'"
_STYLE: dict[str, Any] = {
    "axes.axisbelow": True, "axes.grid": True, "axes.grid.axis": "y",
    "axes.edgecolor": SOFT, "axes.labelcolor": INK, "axes.labelsize": 8.5, "axes.linewidth": 0.7,
    "axes.spines.right": False, "axes.spines.top": False,
    "axes.titlelocation": "left", "axes.titlepad": 7, "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.06, "figure.constrained_layout.w_pad": 0.06,
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8.5,
    "grid.color": GRID, "grid.linewidth": 0.7, "image.interpolation": "none",
    "legend.borderaxespad": 0, "legend.fontsize": 8, "legend.frameon": False,
    "legend.handlelength": 1.8, "legend.title_fontsize": 8,
    "lines.linewidth": 1.5, "lines.markersize": 4, "lines.solid_capstyle": "round",
    "savefig.facecolor": "white", "text.color": INK,
    "xtick.color": SOFT, "xtick.labelcolor": INK, "xtick.labelsize": 8,
    "ytick.color": SOFT, "ytick.labelcolor": INK, "ytick.labelsize": 8,
}  # fmt: skip


@contextmanager
def picture(
    path: str | os.PathLike[str],
    title: str,
    note: str,
    *,
    width: float = 8.0,
    height: float = 3.6,
) -> Iterator[SubFigure]:
    """Yield the empty body of a figure; on leaving the block the figure is saved to ``path``.

    Args:
        note: what stands under the title: number of observations, what bands mean. Line breaks
            stay; lines that are too long for the figure are broken.
        width, height: of the whole figure in inches, header included.
    """
    titles, lines, above = header(title, note, width)
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=(width, height), dpi=72, layout="constrained")
        grid = figure.add_gridspec(2, 1, height_ratios=[above, height - above])
        head, body = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
        left, top = 0.08 / width, 1 - 0.08 / above
        for i, line in enumerate(titles):
            head.text(left, top - 0.19 * i / above, line, weight="bold", size=10.5, va="top")
        for i, line in enumerate(lines):
            y = top - (0.06 + 0.19 * len(titles) + 0.155 * i) / above
            head.text(left, y, line, size=8, color=SOFT, va="top")
        yield body
        save_svg(figure, path, title)


def header(title: str, note: str, width: float) -> tuple[list[str], list[str], float]:
    """The lines of title and note, and how high they are in inches."""
    titles = wrapped(title, width - 0.16, 10.5, "bold")
    lines = [part for line in note.split("\n") for part in wrapped(line, width - 0.16, 8)]
    return titles, lines, 0.15 + 0.19 * len(titles) + 0.155 * len(lines)


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text in inches."""
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    width, _, _ = TextToPath().get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def wrapped(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """The text in lines that fit a width in inches."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and text_width(longer, size, weight) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def save_svg(figure: Figure, path: str | os.PathLike[str], title: str) -> None:
    """Write a figure as SVG, whole or not at all; the same drawing gives the same bytes.

    Args:
        title: the file's accessible name.
    """
    # Saving would draw the figure twice, once for the layout alone.
    if (layout := figure.get_layout_engine()) is not None:
        FigureCanvasSVG(figure)
        layout.execute(figure)
        figure.set_layout_engine(None)
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None, "Title": title}
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "circuit-formation"}):
        figure.savefig(buffer, format="svg", dpi=100, metadata=metadata)
    text = buffer.getvalue().decode().replace(_MEASURED, _SHOWN)
    # Clip paths are named by digits of the layout that are far below a pixel, and differ.
    for number, name in enumerate(re.findall(r'<clipPath id="(\w+)"', text)):
        text = text.replace(name, f"clip{number}")
    # A hundredth of a point is finer than any screen or printer; it halves the file.
    places = r' (d|x|y|x1|x2|y1|y2|width|height)="[^"]*"|translate\([^)]*\)'
    write_text(path, re.sub(places, lambda found: _LONG.sub(r"\1", found[0]), text))


def side_legend(ax: Axes, title: str | None = None, **options: Any) -> None:
    """Put the legend to the right of the axes, where it hides no data."""
    place = {"loc": "upper left", "bbox_to_anchor": (1.015, 1.0)}
    ax.legend(title=title, alignment="left", **place, **options)


def bare(ax: Axes) -> None:
    """Take away grid, ticks and frame: for maps and matrices."""
    ax.grid(visible=False)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)


def colour_bar(image: ScalarMappable, axes: Sequence[Axes], label: str, **options: Any) -> Colorbar:
    """A bar right of the axes that says what a map's colours mean."""
    bar = axes[0].figure.colorbar(image, ax=axes, **{"pad": 0.015, **options})
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar


def role_legend(ax: Axes, roles: Iterable[str], columns: int, **place: Any) -> None:
    """Say on empty axes which role each colour of a token stands for."""
    ax.set_axis_off()
    for role in [role for role in ATTENTION_ROLE_COLOURS if role in set(roles)]:
        ax.plot([], [], "s", color=role_colour(role), markersize=5, label=words(role))
    look = {"alignment": "left", "handlelength": 0.8, "columnspacing": 1.4, "fontsize": 7.5}
    ax.legend(ncols=columns, title="colour of tokens: role", **look, **place)


def role_colour(role: str) -> str:
    """Colour of a token by its role."""
    return SOFT if role == "other" else ATTENTION_ROLE_COLOURS.get(role, INK)


def step_axis(ax: Axes, label: str = "training step", ticks: int = 7) -> None:
    """Name the horizontal axis and write its steps with thousands separators."""
    ax.set_xlabel(label)
    ax.margins(x=0.015)
    ax.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))


def share_axis(ax: Axes, label: str, axis: str = "y", whole: bool = True) -> None:
    """Show shares as percent; ``whole`` fixes the range to 0..100%."""
    ax.set(**{f"{axis}label": label})
    in_percent(getattr(ax, f"{axis}axis"))
    if whole:
        ax.set(**{f"{axis}lim": (-0.03, 1.03)})


def in_percent(axis: Axis) -> None:
    """Write an axis' shares as percent."""
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.4g}%".replace("-", "−")))


def zero_line(ax: Axes, axis: str = "y") -> None:
    """Mark zero, where signs change."""
    (ax.axhline if axis == "y" else ax.axvline)(0, color=SOFT, linewidth=0.8, zorder=1)


def counts(values: pd.Series, noun: str) -> str:
    """``n = 2,315 reads``, or ``n = 80–96 reads`` where counts differ."""
    low, high = int(values.min()), int(values.max())
    return f"n = {low:,} {noun}" if low == high else f"n = {low:,}–{high:,} {noun}"


def readable_on(colour: str) -> str:
    """Dark or white, whichever stands out on a colour."""
    red, green, blue = to_rgb(colour)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def spare_colour(number: int) -> str:
    """A colour for the so manieth of things that no palette knows."""
    return SPARE_COLOURS[number % len(SPARE_COLOURS)]


def words(name: str) -> str:
    """A name from code as people write it; parameters keep theirs."""
    if "." in name or name.startswith("W_"):
        return name
    return " ".join(_ACRONYMS.get(word, word) for word in name.split("_"))


def every_nth(count: int, most: int) -> list[int]:
    """Evenly spaced places out of ``count``, at most ``most``, counted back from the last."""
    stride = -(-count // most)
    return list(range(count - 1, -1, -stride))[::-1]


def thinned(steps: Sequence[int], most: int) -> list[int]:
    """At most ``most`` of the steps, evenly spread, the first and the last among them."""
    ordered = sorted(set(steps))
    places = np.linspace(0, len(ordered) - 1, min(most, len(ordered))).round().astype(int)
    return [ordered[i] for i in places]

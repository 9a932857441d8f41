"""Figures of example gradients: what makes reads push alike, and which groups oppose which."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from circuit.reports.example_numbers import SHARED
from circuit.reports.style import (
    DIVERGING,
    FAINT,
    INK,
    SEQUENTIAL,
    SOFT,
    counts,
    need,
    picture,
    thinned,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_MOST = 3  # checkpoints drawn
_CELLS = 96  # of a heat map's side
_DRAWN = 30  # edges of a graph
_LABELS = 12  # nodes of a graph that all have their name
_GRAPHS = {
    "query_key": "query keys",
    "answer_value": "answer values",
    "split": "splits",
    "route": "supporters of routes",
}
_BAND = ("mean", "low", "high")


def relations(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw the mean cosine of pairs with and without each relation, and the difference.

    Args:
        rows: of :func:`circuit.attribution.gradient_relations.relation_rows`, with their step.
    """
    need(rows, ("step", "relation", "which", "measure", "reads", *_BAND), "relations of reads")
    cosine = rows[rows["measure"] == "cosine"]
    steps = thinned(cosine["step"].tolist(), _MOST)
    names = [name for name in SHARED if name in set(cosine["relation"])]
    at = cosine.set_index(["step", "relation", "which"]).sort_index()
    every = counts(cosine.loc[cosine["relation"] == "all", "reads"], "reads")
    note = (
        f"Cosine of two reads' loss gradients, means over pairs of {every}. Lines: 95% intervals "
        "over resampled reads, those of differences hold\nfor all relations at once. Grey: 95% of "
        "the differences with labels shuffled over reads. Supported route: by these gradients."
    )
    height = 1.5 + 0.17 * max(len(names), 1) * (len(steps) + 1)
    with picture(path, "Which reads push the parameters alike", note, height=height) as body:
        left, right = body.subplots(1, 2, sharey=True, width_ratios=[1, 1])
        shades = {step: SEQUENTIAL(0.4 + 0.6 * i / len(steps)) for i, step in enumerate(steps)}
        for y, name in enumerate(names):
            for i, step in enumerate(steps):
                if (step, name, "difference") in at.index:
                    here = y + 0.72 * ((i + 0.5) / len(steps) - 0.5)
                    _pair(left, right, at.loc[(step, name)], here, shades[step])
        left.set_yticks(range(len(names)), [words(name) for name in names])
        left.set_ylim(len(names) - 0.4, -0.6)
        left.set_title("Pairs that share it (filled) and pairs that do not")
        right.set_title("Difference (filled), net of the others (hollow)")
        for ax in (left, right):
            ax.set_xlabel("mean cosine of gradients" if ax is left else "difference of cosines")
            ax.grid(axis="y", visible=False)
            ax.grid(axis="x", visible=True)
            ax.tick_params(axis="y", length=0)
            zero_line(ax, "x")
        handles = [Line2D([], [], color=shades[s], marker="o", label=f"step {s:,}") for s in steps]
        handles.append(Patch(color=FAINT, label="shuffled"))
        right.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.015, 1.0))


def gradient_matrix(
    cosines: Mapping[int, Float[np.ndarray, "N N"]], reads: pd.DataFrame, path: StrPath
) -> None:
    """Draw the matrices of cosines, reads ordered by query key, then lag, averaged in cells.

    Args:
        cosines: by step; ``reads``: step, query_key, lag, split of every read, in their order.
    """
    need(reads, ("step", "query_key", "lag", "split"), "the matrix of gradients")
    steps = thinned(list(cosines), _MOST)
    one = reads[reads["step"] == steps[0]].reset_index(drop=True)
    # Reads of one split stand together, and a stable order keeps them so.
    order = one.sort_values(["query_key", "lag"], kind="stable").index.to_numpy()
    cell, keys = _cells(one.loc[order, ["query_key", "lag"]])
    maps = {step: _averaged(cosines[step][np.ix_(order, order)], cell) for step in steps}
    side = len(one) / (cell.max() + 1)
    limit = float(np.quantile(np.abs(np.concatenate([m.ravel() for m in maps.values()])), 0.99))
    note = (
        f"n = {len(one):,} reads by query key (labels), within it by lag from least to most, then "
        f"by split ({', '.join(dict.fromkeys(one['split']))}).\nA cell is the mean over some "
        f"{side:.0f} × {side:.0f} pairs, without a read's pair with itself. Blue: alike; red: "
        "opposed; colours end at the 99% quantile."
    )
    with picture(
        path,
        "Cosine of two reads' gradients, by query key and lag",
        note,
        height=1.15 + 6.9 / max(len(steps), 2),
    ) as body:
        axes = body.subplots(1, len(steps), squeeze=False)[0]
        ends = np.cumsum(keys.to_numpy())
        for ax, step in zip(axes, steps, strict=True):
            image = ax.imshow(maps[step], cmap=DIVERGING, norm=Normalize(-limit or -1, limit or 1))
            for end in ends[:-1]:
                ax.axhline(end - 0.5, color=INK, linewidth=0.5)
                ax.axvline(end - 0.5, color=INK, linewidth=0.5)
            middles = ends - keys.to_numpy() / 2 - 0.5
            ax.set_xticks(middles, keys.index)
            ax.set_yticks(middles, keys.index if ax is axes[0] else [""] * len(keys))
            ax.set_title(f"Step {step:,}")
            ax.grid(visible=False)
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
        axes[0].set_ylabel("query key")
        axes[0].set_xlabel("query key")
        _colour_bar(body, image, list(axes), "cosine")


def conflict_graph(conflicts: pd.DataFrame, path: StrPath) -> None:
    """Draw groups of reads as nodes and their mean cosines as edges, per checkpoint.

    Args:
        conflicts: of :func:`circuit.attribution.gradient_relations.conflict_rows`, with their step.
    """
    need(conflicts, ("step", "relation", "group", "other", "pairs", *_BAND), "the conflict graph")
    steps = thinned(conflicts["step"].tolist(), _MOST)
    kinds = [name for name in _GRAPHS if (conflicts["relation"] == name).any()]
    need(conflicts[conflicts["relation"].isin(kinds)], ("step",), "the conflict graph")
    note = (
        "Edges: mean cosine of a read's gradient with one of the other group; nodes: within the "
        "group. Dotted: the 95% interval (of all edges\nof a graph at once) holds 0. Of graphs "
        f"with more than {_DRAWN} edges, the {_DRAWN} largest whose interval does not."
    )
    tall = [1.0 if _nodes(conflicts[conflicts["relation"] == k]) > 2 else 0.42 for k in kinds]
    height = 0.75 + 2.4 * sum(tall)
    with picture(path, "Groups of reads that push alike or oppose", note, height=height) as body:
        axes = body.subplots(len(kinds), len(steps), squeeze=False, height_ratios=tall)
        for line, kind in zip(axes, kinds, strict=True):
            part = conflicts[conflicts["relation"] == kind]
            limit = float(part["mean"].abs().quantile(0.98)) or 1.0
            norm = Normalize(-limit, limit)
            for ax, step in zip(line, steps, strict=True):
                ax.set_title(f"{_GRAPHS[kind].capitalize()}, step {step:,}")
                _graph(ax, part[part["step"] == step], norm)
            _colour_bar(body, ScalarMappable(norm, DIVERGING), list(line), "mean cosine")


def _pair(left: Axes, right: Axes, at: pd.DataFrame, y: float, colour: tuple[float, ...]) -> None:
    """One relation at one checkpoint: both means; their difference, its control, and net."""
    control = at.loc["shuffled"]
    right.barh(
        y, control["high"] - control["low"], left=control["low"], height=0.2, color=FAINT, zorder=1
    )
    for ax, which, face, shift in (
        (left, "same", colour, 0.0),
        (left, "different", "white", 0.0),
        (right, "difference", colour, -0.05),
        (right, "net", "white", 0.05),
    ):
        if which in at.index:
            row = at.loc[which]
            ax.hlines(y + shift, row["low"], row["high"], color=colour, linewidth=1.2, zorder=2)
            ax.plot(row["mean"], y + shift, "o", color=colour, markerfacecolor=face, zorder=3)


def _cells(ordered: pd.DataFrame) -> tuple[np.ndarray, pd.Series]:
    """The cell of every read, none across two keys or lags; and the number of cells per key."""
    size = max(1, -(-len(ordered) // _CELLS))
    inside = ordered.groupby(["query_key", "lag"], sort=False).cumcount() // size
    parts = pd.DataFrame({**ordered, "part": inside})
    cell = parts.groupby(["query_key", "lag", "part"], sort=False).ngroup()
    return cell.to_numpy(), cell.groupby(ordered["query_key"]).nunique()


def _averaged(matrix: Float[np.ndarray, "N N"], cell: np.ndarray) -> Float[np.ndarray, "c c"]:
    """Means over cells without the diagonal; a cell of one read's own pair is 0."""
    n, number = len(matrix), cell.max() + 1
    member = np.zeros((number, n))
    member[cell, np.arange(n)] = 1
    other = 1 - np.eye(n)
    pairs = member @ other @ member.T
    sums: Float[np.ndarray, "c c"] = member @ (matrix * other) @ member.T / np.maximum(pairs, 1)
    return sums


def _nodes(edges: pd.DataFrame) -> int:
    return len({*edges["group"], *edges["other"]})


def _graph(ax: Axes, edges: pd.DataFrame, norm: Normalize) -> None:
    """Nodes on a circle; lines between them by their mean cosine."""
    ax.set_axis_off()
    ax.set_aspect("equal")
    nodes = sorted({*edges["group"], *edges["other"]})
    few, start = len(nodes) <= _LABELS, np.pi if len(nodes) == 2 else np.pi / 2
    angle = start - 2 * np.pi * np.arange(len(nodes)) / max(len(nodes), 1)
    place = {n: (np.cos(a), np.sin(a)) for n, a in zip(nodes, angle, strict=True)}
    colours = ScalarMappable(norm, DIVERGING)
    between = edges["group"] != edges["other"]
    lines = edges[between]
    if len(lines) > _DRAWN:
        lines = lines[(lines["low"] > 0) | (lines["high"] < 0)]
        lines = lines.loc[lines["mean"].abs().nlargest(_DRAWN).index]
    for row in lines.itertuples():
        ends = np.array([place[row.group], place[row.other]]).T
        strength = min(abs(row.mean) / norm.vmax, 1)
        dashes = (0, (1, 1.5)) if row.low <= 0 <= row.high else "-"
        ax.plot(*ends, color=SOFT, linewidth=0.9, linestyle=dashes, zorder=2)
        if dashes == "-":
            ax.plot(*ends, color=SOFT, linewidth=1.6 + 3 * strength, zorder=2)
            ax.plot(*ends, color=colours.to_rgba(row.mean), linewidth=0.8 + 3 * strength, zorder=2)
    if lines.empty and between.any():
        none = f"none of {between.sum()}\nintervals\nleaves out 0"
        ax.text(0, 0, none, ha="center", va="center", fontsize=7, color=SOFT)
    within = edges[~between].set_index("group")["mean"]
    named = nodes if few else {*lines["group"], *lines["other"]}
    for node, (x, y) in place.items():
        face = colours.to_rgba(within[node]) if node in within.index else "white"
        ax.scatter(
            x, y, s=110 if few else 32, color=[face], edgecolor=SOFT, linewidth=0.8, zorder=3
        )
        if node in named:
            at = (x, y + 0.3) if len(nodes) == 2 else (1.24 * x, 1.24 * y)
            ax.text(*at, words(node), ha="center", va="center", fontsize=7.5 if few else 5.5)
    ax.set_xlim(-1.6, 1.6)
    ax.set_ylim(*((-0.4, 0.5) if len(nodes) == 2 else (-1.4, 1.4)))


def _colour_bar(body: SubFigure, image: ScalarMappable, axes: Sequence[Axes], label: str) -> None:
    bar = body.colorbar(image, ax=axes, pad=0.015, aspect=18, shrink=0.8)
    bar.set_label(label)
    bar.outline.set_visible(False)

"""The circuit drawn: nodes from the embedding to the answer, edges as wide as their effect.

Columns follow the model's order, so whatever writes stands left of whatever reads it. Colours are
the verdicts that ``circuit.json`` holds; nothing is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from circuit.artifacts import read_json
from circuit.reports.quantities import format_value
from circuit.reports.style import FAINT, INK, SOFT, picture

RAISES, LOWERS = "#2166ac", "#b2182b"
_WIDEST, _LARGEST = 7.0, 24.0  # points: an edge's line, a node's diameter
_SMALLEST = 5.0  # points: a node is seen whatever its effect
_PANELS = 6
_LABELLED = 5  # edges whose effect is written beside them
Place = tuple[float, float]


def circuit_at_last(circuit: str, path: str) -> None:
    """The last checkpoint of a ``circuit.json``, with names and the largest effects."""
    content = read_json(circuit)
    last = content["checkpoints"][-1]
    unit, control = content["unit"], content["control"]
    note = (
        f"Width: |effect| on the answer in {unit}, of nodes by ablation, of edges by frozen paths. "
        f"Numbers: effects. Control: {control}, 95% intervals of all excesses at once."
    )
    title = f"The circuit at step {last['step']:,}"
    with picture(path, title, note, width=6.25, height=4.4) as body:
        ax = body.subplots()
        scale = _scale([last])
        _draw(ax, last, scale, 1.0, unit)
        lines = [
            Line2D([], [], color=RAISES, linewidth=3, label="raises the answer"),
            Line2D([], [], color=LOWERS, linewidth=3, label="lowers it"),
            Line2D([], [], color=FAINT, linewidth=3, label="not beyond its control"),
        ]
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "ncols": 3}
        ax.legend(handles=lines, fontsize=8, columnspacing=1.6, **place)


def circuit_over_training(circuit: str, path: str) -> None:
    """Some checkpoints of a ``circuit.json``, the first and the last among them, on one scale."""
    content = read_json(circuit)
    chosen = spread(content["checkpoints"], _PANELS)
    note = (
        f"Width: |effect| on the answer in {content['unit']}, one scale for all; blue raises it, "
        "red lowers it, grey is not beyond its control."
    )
    with picture(path, "The circuit as it forms", note, width=8.0, height=2.3) as body:
        axes = body.subplots(1, len(chosen), squeeze=False)[0]
        scale = _scale(chosen)
        for ax, at in zip(axes, chosen, strict=True):
            _draw(ax, at, scale, 0.45)
            ax.set_title(f"step {at['step']:,}", fontsize=8.5)


def spread(checkpoints: Sequence[Any], most: int) -> list[Any]:
    """At most so many checkpoints, evenly spread over their steps: the one next to each place."""
    first, last = checkpoints[0]["step"], checkpoints[-1]["step"]
    places = [first + (last - first) * i / (most - 1) for i in range(most)]
    nearest = [min(checkpoints, key=lambda at: abs(at["step"] - place)) for place in places]
    return list({at["step"]: at for at in nearest}.values())


def layout(nodes: Sequence[str]) -> dict[str, Place]:
    """Where each node stands: columns in the model's order, heads of a layer below one another."""
    heads = [re.fullmatch(r"L(\d+)H(\d+)", name) for name in nodes]
    most = max(int(head[2]) for head in heads if head)
    found: dict[str, Place] = {}
    for name, head in zip(nodes, heads, strict=True):
        if head:
            found[name] = 1.0 + 2 * int(head[1]), -float(head[2])
        elif mlp := re.fullmatch(r"L(\d+)MLP", name):
            # Below the heads, so that no edge from head to head runs through one.
            found[name] = 2.0 + 2 * int(mlp[1]), -most - 1.2
        else:
            found[name] = 0.0, -most / 2
    found[nodes[-1]] = 1 + max(x for x, _ in found.values()), -most / 2
    return found


def _scale(checkpoints: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The largest |effect| of nodes and of edges, to which widths are relative."""
    return {
        part: max(abs(one["effect"]["mean"]) for at in checkpoints for one in at[part]) or 1.0
        for part in ("nodes", "edges")
    }


def _colour(part: Mapping[str, Any]) -> str:
    return {"shown": RAISES, "opposite": LOWERS, "open": FAINT}[part["verdict"]]


def _draw(
    ax: Axes, at: Mapping[str, Any], scale: Mapping[str, float], size: float, unit: str = ""
) -> None:
    """One checkpoint; with a unit, nodes have names and the largest numbers are written."""
    places = layout([node["source"] for node in at["nodes"]])
    order = sorted(at["edges"], key=lambda e: (e["verdict"] != "open", -abs(e["effect"]["mean"])))
    seen = [edge for edge in order if edge["verdict"] != "open"]
    for z, edge in enumerate(order):
        share = abs(edge["effect"]["mean"]) / scale["edges"]
        start, end = places[edge["source"]], places[edge["target"]]
        bend = _bend(start, end)
        line = FancyArrowPatch(
            start,
            end,
            arrowstyle="-",
            connectionstyle=f"arc3,rad={bend}",
            linewidth=max(0.4, _WIDEST * share) * (size if size == 1 else 0.6),
            color=_colour(edge),
            alpha=0.85 if edge["verdict"] != "open" else 0.55,
            shrinkA=0,
            shrinkB=0,
            zorder=1 + z / 1000,
        )
        ax.add_patch(line)
        if unit and edge in seen[:_LABELLED]:
            (x0, y0), (x1, y1) = start, end
            # Half-way along the quadratic curve that arc3 draws.
            x = (x0 + x1) / 2 + bend * (y1 - y0) / 2
            y = (y0 + y1) / 2 - bend * (x1 - x0) / 2
            _number(ax, edge, unit, (x, y), (0, 0))
    for node in at["nodes"]:
        x, y = places[node["source"]]
        share = abs(node["effect"]["mean"]) / scale["nodes"]
        across = size * (_SMALLEST + (_LARGEST - _SMALLEST) * share)
        ax.plot(
            x, y, "o", markersize=across, color=_colour(node), markeredgecolor="white", zorder=3
        )
        if unit:
            beside = {"textcoords": "offset points", "ha": "center", "zorder": 5}
            colour = INK if node["verdict"] != "open" else SOFT
            ax.annotate(
                node["source"],
                (x, y),
                (0, across / 2 + 2),
                fontsize=8,
                weight="bold",
                color=colour,
                va="bottom",
                **beside,
            )
            _number(ax, node, unit, (x, y), (0, -across / 2 - 6))
    xs, ys = zip(*places.values(), strict=True)
    ax.set(xlim=(min(xs) - 0.45, max(xs) + 0.45), ylim=(min(ys) - 0.75, max(ys) + 0.7))
    ax.set_axis_off()


def _bend(start: Place, end: Place) -> float:
    """Edges past a column are bent, so that they do not lie on one another."""
    (x0, y0), (x1, y1) = start, end
    return 0.0 if x1 - x0 <= 1 else 0.18


def _number(
    ax: Axes, part: Mapping[str, Any], unit: str, at: Place, offset: tuple[float, float]
) -> None:
    effect = part["effect"]
    told = format_value(effect["mean"], unit, effect["low"], effect["high"])
    ax.annotate(
        told.removesuffix(f" {unit}"),
        at,
        offset,
        textcoords="offset points",
        fontsize=7,
        color=_colour(part) if part["verdict"] != "open" else SOFT,
        ha="center",
        va="center",
        zorder=4,
        bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )

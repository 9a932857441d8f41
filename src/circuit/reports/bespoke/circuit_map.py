"""The circuit drawn: nodes from the embedding to the answer, edges as wide as their effect.

Columns follow the model's order, so whatever writes stands left of whatever reads it. Colours are
the verdicts that ``circuit.json`` holds; nothing is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import hypot
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from circuit.artifacts import read_json
from circuit.reports.quantities import format_value
from circuit.reports.style import FAINT, INK, SOFT, picture

RAISES, LOWERS = "#2166ac", "#b2182b"
_THINNEST, _WIDEST = 0.5, 7.0  # points: an edge's line
_SMALLEST, _LARGEST = 5.0, 24.0  # points: a node's diameter; it is seen whatever its effect
_BEND = 0.3  # of an edge's length, in columns
_PANELS = 6
_LABELLED = 5  # edges whose effect is written beside them
_LOOKS = (0, (2.2, 0.9))  # dashes, in widths: edges into queries and keys
_APART = {"q": 0.5, "k": -0.5, "v": 0.0}  # how far edges into one head bend from each other
Place = tuple[float, float]


def circuit_at_last(circuit: str, path: str) -> None:
    """The last checkpoint of a ``circuit.json``, with names and the largest effects."""
    content = read_json(circuit)
    last = content["checkpoints"][-1]
    unit, controls = content["unit"], " and ".join(last["edges"][0]["controls"])
    note = (
        f"Width: |effect| on the answer in {unit}; numbers: the largest, into a query (q), key (k) "
        f"or value (v). Controls: {controls}; 95% intervals of all excesses at once."
    )
    title = f"The circuit at step {last['step']:,}"
    with picture(path, title, note, width=6.25, height=4.4) as body:
        ax = body.subplots()
        scale = _scale([last])
        _draw(ax, last, scale, 1.0, unit)
        lines = [
            Line2D([], [], color=RAISES, linewidth=3, label="raises the answer"),
            Line2D([], [], color=LOWERS, linewidth=3, label="lowers it"),
            Line2D([], [], color=FAINT, linewidth=3, label="not beyond its controls"),
            Line2D([], [], color=SOFT, linewidth=1.5, linestyle=_LOOKS, label="into queries, keys"),
        ]
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "ncols": 4}
        ax.legend(handles=lines, fontsize=8, columnspacing=1.3, **place)


def circuit_over_training(circuit: str, path: str) -> None:
    """Some checkpoints of a ``circuit.json``, the first and the last among them, on one scale."""
    content = read_json(circuit)
    chosen = spread(content["checkpoints"], _PANELS)
    note = (
        f"Width: |effect| on the answer in {content['unit']}, one scale for all; blue raises it, "
        "red lowers it, grey is not beyond its controls; dashed: into queries and keys."
    )
    with picture(path, "The circuit as it forms", note, width=8.0, height=2.2) as body:
        axes = body.subplots(1, len(chosen), squeeze=False)[0]
        scale = _scale(chosen)
        for ax, at in zip(axes, chosen, strict=True):
            _draw(ax, at, scale, 0.6)
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
    xs, ys = zip(*places.values(), strict=True)
    ax.set(xlim=(min(xs) - 0.45, max(xs) + 0.45), ylim=(min(ys) - 0.75, max(ys) + 0.7))
    ax.set_axis_off()
    # What is not beyond its control lies below, and the largest on top.
    order = sorted(at["edges"], key=lambda e: (e["verdict"] != "open", abs(e["effect"]["mean"])))
    labelled = [edge for edge in order if edge["verdict"] != "open"][-_LABELLED:] if unit else []
    for z, edge in enumerate(order):
        share = abs(edge["effect"]["mean"]) / scale["edges"]
        target, _, read = edge["target"].partition(".")
        (x0, y0), (x1, y1) = places[edge["source"]], places[target]
        # Bent downwards where it goes past a column, and to one side where a head reads twice, so
        # that no edge lies on another.
        down, aside = _BEND * (x1 - x0) if x1 - x0 > 1 else 0, _APART.get(read, 0)
        length = hypot(x1 - x0, y1 - y0)
        bend = (
            (x0 + x1) / 2 - aside * (y1 - y0) / length,
            (y0 + y1) / 2 + aside * (x1 - x0) / length - down,
        )
        curve = Path([(x0, y0), bend, (x1, y1)], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        look = {"linewidth": size * max(_THINNEST, _WIDEST * share), "edgecolor": _colour(edge)}
        look |= {"alpha": 0.35 if edge["verdict"] == "open" else 0.85, "zorder": 1 + z / 1000}
        look |= {"linestyle": _LOOKS if read in ("q", "k") else "solid", "capstyle": "butt"}
        ax.add_patch(PathPatch(curve, facecolor="none", **look))
        if edge in labelled:
            middle = (x0 + 2 * bend[0] + x1) / 4, (y0 + 2 * bend[1] + y1) / 4
            _write(ax, f"{read} {_told(edge, unit)}".strip(), edge, middle)
    for node in at["nodes"]:
        place = places[node["source"]]
        share = abs(node["effect"]["mean"]) / scale["nodes"]
        across = size * (_SMALLEST + (_LARGEST - _SMALLEST) * share)
        ax.plot(*place, "o", markersize=across, color=_colour(node), mec="white", zorder=3)
        if unit:
            named: dict[str, Any] = {"fontsize": 8, "weight": "bold", "dark": True}
            _write(ax, node["source"], node, place, across / 2 + 7, **named)
            _write(ax, _told(node, unit), node, place, -across / 2 - 6)


def _told(part: Mapping[str, Any], unit: str) -> str:
    """Its effect, in the digits that its interval allows; the note says the unit."""
    effect = part["effect"]
    return format_value(effect["mean"], unit, effect["low"], effect["high"])[: -len(unit) - 1]


def _write(
    ax: Axes,
    text: str,
    part: Mapping[str, Any],
    at: Sequence[float],
    above: float = 0,
    dark: bool = False,
    **look: Any,
) -> None:
    """A word or number of a part on white, so many points above a place."""
    colour = SOFT if part["verdict"] == "open" else INK if dark else _colour(part)
    box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    beside = {"textcoords": "offset points", "ha": "center", "va": "center", "zorder": 4}
    look = {"fontsize": 7, "color": colour, "bbox": box, **beside, **look}
    ax.annotate(text, (at[0], at[1]), (0, above), **look)

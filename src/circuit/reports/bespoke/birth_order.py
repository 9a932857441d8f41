"""Predicted places of candidate routes at each cutoff, and the order in which they were born."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from circuit.reports.style import FAINT, SOFT, picture, spare_colour


def birth_order(rows: pd.DataFrame, threshold: float, path: str) -> None:
    """Draw the order that the ranking gives every run's candidates, then the order of births.

    Args:
        rows: estimates of ``predicted_place``, ``birth`` and ``final_strength`` by run and head.
        threshold: at which a route counts as born.
    """
    rows = rows[(rows["threshold"] == threshold) & (rows["head"] != "")]
    by = rows[rows["measure"].isin(("birth", "final_strength"))]
    born = by.pivot(index=["run", "head"], columns="measure", values="mean").reset_index()
    places = rows[rows["measure"] == "predicted_place"].dropna(subset="mean")
    runs, most = list(dict.fromkeys(born["run"])), int(born.groupby("run").size().max())
    cutoffs = sorted(set(places["step"]))
    note = (
        "Lines: the place that the ranking gives a candidate at each cutoff; they end where a "
        "route is born. Right: routes by birth,\nwith its step; grey: never born, in no order. "
        f"n = {len(runs)} runs of up to {most} candidates, one per head."
    )
    down = -(-len(runs) // 3)
    height = 0.9 + down * (0.75 + 0.21 * most)
    with picture(path, "Predicted order and actual order of births", note, height=height) as body:
        axes = body.subplots(down, min(3, len(runs)), squeeze=False).flat
        for ax, run in zip(axes, runs, strict=False):
            _order(ax, places[places["run"] == run], born[born["run"] == run], cutoffs)
            ax.set_title(run)
        for ax in list(axes)[len(runs) :]:
            ax.set_axis_off()


def _order(ax: Axes, places: pd.DataFrame, born: pd.DataFrame, cutoffs: list[int]) -> None:
    """One run: lines of places over cutoffs, and the births at the right."""
    listed = born.sort_values("final_strength", ascending=False).sort_values("birth", kind="stable")
    last, place = len(cutoffs), {step: x for x, step in enumerate(cutoffs)}
    arrived = list(listed.loc[listed["birth"].notna(), "head"])
    colours = {head: spare_colour(i) for i, head in enumerate(arrived)}
    for y, (head, step) in enumerate(zip(listed["head"], listed["birth"], strict=True), 1):
        own = head in colours
        colour = colours.get(head, FAINT)
        line = places[places["head"] == head].sort_values("step")
        if len(line):
            xs, drawn = [place[at] for at in line["step"]], {"color": colour, "zorder": 2 + own}
            width = 1.6 if own else 0.9
            ax.plot(xs, line["mean"], marker="o", markersize=3.5, linewidth=width, **drawn)
            if own:
                ax.plot([xs[-1], last], [line["mean"].iloc[-1], y], linestyle=":", **drawn)
        when = f"{head} · {step:,.0f}" if own else f"{head} · never"
        told = {"color": colour, "weight": "bold"} if own else {"color": SOFT}
        beside = {"textcoords": "offset points", "va": "center", "annotation_clip": False}
        ax.annotate(when, (last, y), (5, 0), fontsize=7, **told, **beside)
    ax.set(xlim=(-0.3, last + 0.05), ylim=(len(listed) + 0.6, 0.4))
    ax.set_xticks(range(last + 1), [*(f"{step:,}" for step in cutoffs), "birth"], fontsize=7)
    ax.set_xlabel("cutoff (training step)", fontsize=7.5)
    ax.set_ylabel("place (1: first)", fontsize=7.5)
    ax.grid(visible=False)

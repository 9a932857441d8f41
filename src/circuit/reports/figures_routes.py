"""Figures of a competition of routes: who grew, and which way the loss pushed."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from circuit.reports.style import (
    ROLE_COLOURS,
    ROLE_LINES,
    SOFT,
    counts,
    interval_line,
    need,
    picture,
    step_axis,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_TOP = 16  # routes drawn
_TITLES = {
    "tokens": "training loss, all tokens",
    "answers": "loss of the answers",
    "shuffled_answers": "control: answers exchanged",
}


def ranked(rows: pd.DataFrame, ranking: pd.DataFrame, train_split: str, path: StrPath) -> None:
    """Draw effect sizes of the routes and, beside them, their alignment at the window's start.

    Args:
        rows: of :class:`circuit.measures.routes.competition.RouteFrame`.
        ranking: of :class:`circuit.measures.routes.ranking.Ranking`.
        train_split: the split whose loss was trained on.
    """
    need(ranking, ("route", "role", "confirmation", "low", "high", "count"), "ranked routes")
    need(rows, ("route", "step", "measure", "split", "objective", "mean", "low", "high"), "routes")
    kept = sorted({*range(min(_TOP, len(ranking))), *np.flatnonzero(ranking["role"] != "")})
    shown = ranking.iloc[kept]
    first, last = rows["step"].min(), rows["step"].max()
    start = rows[(rows["step"] == first) & (rows["measure"] == "alignment")]
    start = start[(start["split"] == train_split) & (start["objective"] == "tokens")]
    chunks = counts(start["count"], "chunks of programs")
    note = (
        f"Change from step {first:,} to {last:,} over the pooled standard deviation over events; "
        f"{counts(ranking['count'], 'events')} that did not choose.\n"
        f"Alignment: cosine of a route's gradient with the descent direction; {chunks}. Lines: 95% "
        f"intervals. {len(shown)} of {len(ranking)} routes."
    )
    title = "Routes by growth, and whether the loss pushed them at the start"
    with picture(path, title, note, height=1.6 + 0.235 * len(shown)) as body:
        left, right = body.subplots(1, 2, sharey=True)
        pushed = start.set_index("route").loc[shown["route"]]
        for y, (row, push) in enumerate(zip(shown.itertuples(), pushed.itertuples(), strict=True)):
            colour = ROLE_COLOURS.get(row.role, SOFT)
            left.barh(y, row.confirmation, height=0.6, color=colour, alpha=0.85, zorder=2)
            left.hlines(y, row.low, row.high, color="black", linewidth=1.1, zorder=3)
            right.hlines(y, push.low, push.high, color=colour, linewidth=2, zorder=2)
            right.plot(push.mean, y, "o", color=colour, markersize=4.5, zorder=3)
        labels = [
            f"{r.route}  ({words(r.role)})" if r.role else r.route for r in shown.itertuples()
        ]
        left.set_yticks(range(len(shown)), labels)
        for tick, role in zip(left.get_yticklabels(), shown["role"], strict=True):
            if role:
                tick.set(color=ROLE_COLOURS[role], fontweight="bold")
        left.invert_yaxis()
        left.set_xlabel("effect size (standard deviations)")
        left.set_title("Growth over the window")
        right.set_xlabel("alignment with training's descent (cosine)")
        right.set_title(f"Push at step {first:,}")
        for ax in (left, right):
            ax.grid(axis="y", visible=False)
            ax.grid(axis="x", visible=True)
            ax.tick_params(axis="y", length=0)
            zero_line(ax, "x")


def alignment(rows: pd.DataFrame, roles: Mapping[str, str], path: StrPath) -> None:
    """Draw the alignment of the chosen routes over the window, per split and objective.

    Args:
        rows: of :class:`circuit.measures.routes.competition.RouteFrame`.
        roles: ``winner``, ``runner_up`` and ``bottom`` → route.
    """
    need(rows, ("route", "step", "measure", "split", "objective", "mean", "low", "high"), "routes")
    aligned = rows[rows["measure"] == "alignment"]
    need(aligned, ("route", "step", "mean"), "alignment of routes")
    splits = list(dict.fromkeys(aligned["split"]))
    objectives = [name for name in _TITLES if name in set(aligned["objective"])]
    note = (
        "Cosine of a route's gradient with the descent direction of a loss: above 0, plain descent "
        "makes the route grow.\nBands: bootstrap 95% intervals over programs; "
        f"{counts(aligned['count'], 'chunks of programs')}."
    )
    title = "Which way the losses push the chosen routes"
    height = 1.5 + 1.75 * len(splits)
    with picture(path, title, note, height=height) as body:
        axes = body.subplots(len(splits), len(objectives), sharex=True, sharey=True, squeeze=False)
        for i, split in enumerate(splits):
            for j, objective in enumerate(objectives):
                part = aligned[(aligned["split"] == split) & (aligned["objective"] == objective)]
                _lines(axes[i, j], part, roles)
                if i == 0:
                    axes[i, j].set_title(_TITLES[objective])
                if i == len(splits) - 1:
                    step_axis(axes[i, j], ticks=4)
            axes[i, 0].set_ylabel(f"{words(split)}\nalignment (cosine)")
        handles = [
            Line2D([], [], color=ROLE_COLOURS[role], linestyle=ROLE_LINES[role]) for role in roles
        ]
        texts = [f"{route} ({words(role)})" for role, route in roles.items()]
        body.legend(handles, texts, loc="outside lower center", ncols=3)


def _lines(ax: Axes, rows: pd.DataFrame, roles: Mapping[str, str]) -> None:
    zero_line(ax)
    for role, route in roles.items():
        part = rows[rows["route"] == route]
        interval_line(ax, part, route, ROLE_COLOURS[role], linestyle=ROLE_LINES[role])

"""Figures of the head scan: which head comes to separate the support value, and when."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from circuit.reports.style import (
    DIVERGING,
    FAINT,
    ROLE_COLOURS,
    ROLE_LINES,
    counts,
    every_nth,
    interval_line,
    need,
    picture,
    share_axis,
    side_legend,
    step_axis,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_COLUMNS = ("step", "head", "measure", "half", "mean", "low", "high", "count")


def separation(rows: pd.DataFrame, roles: Mapping[str, str], path: StrPath) -> None:
    """Draw QK separation of every head over training, the chosen ones with their bands.

    Args:
        roles: ``winner``, ``runner_up`` and ``bottom`` → the head's name.
    """
    need(rows, _COLUMNS, "QK separation of heads")
    every = rows[(rows["half"] == "all") & (rows["head"] != "model")]
    score = every[every["measure"] == "qk_separation"]
    beats = every[every["measure"] == "support_beats_all"]
    note = (
        "Grey: all other heads. Lines: means. Bands: bootstrap 95% intervals over events; "
        f"{counts(score['count'], 'events')} per step."
    )
    with picture(path, "QK separation of every head over training", note, height=5.3) as body:
        upper, lower = body.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        zero_line(upper)
        _lines(upper, score, roles)
        upper.set_ylabel("QK separation (score)")
        upper.set_title("Score of the support value − mean score of value distractors")
        side_legend(upper, "head")
        _lines(lower, beats, roles)
        share_axis(lower, "reads (%)")
        lower.set_title("Reads in which the support value's score beats every distractor's")
        step_axis(lower)


def heads(rows: pd.DataFrame, roles: Mapping[str, str], path: StrPath) -> None:
    """Draw QK separation as a map of heads over checkpoints."""
    need(rows, _COLUMNS, "the map of QK separation")
    chosen = (rows["half"] == "all") & (rows["measure"] == "qk_separation")
    part = rows[chosen & (rows["head"] != "model")]
    table = part.pivot(index="head", columns="step", values="mean").sort_index()
    steps = [int(step) for step in table.columns]
    limit = float(np.nanmax(np.abs(table.to_numpy()))) or 1.0
    note = (
        f"Means over events, {counts(part['count'], 'events')}; one column per checkpoint "
        f"({len(steps)} checkpoints, not to scale in time). White is zero."
    )
    height = 1.35 + 0.27 * len(table)
    with picture(path, "QK separation of every head and checkpoint", note, height=height) as body:
        ax = body.add_subplot()
        image = ax.imshow(
            table.to_numpy(), cmap=DIVERGING, norm=Normalize(-limit, limit), aspect="auto"
        )
        of = {head: role for role, head in roles.items()}
        labels = [f"{head}  {words(of[head])}" if head in of else head for head in table.index]
        ax.set_yticks(range(len(table)), labels)
        for tick, head in zip(ax.get_yticklabels(), table.index, strict=True):
            if head in of:
                tick.set(color=ROLE_COLOURS[of[head]], fontweight="bold")
        shown = every_nth(len(steps), 12)
        ax.set_xticks(shown, [f"{steps[i]:,}" for i in shown])
        ax.set_xlabel("training step of the checkpoint")
        ax.set_yticks(np.arange(0.5, len(table) - 1), minor=True)
        ax.grid(visible=False, which="major")
        ax.grid(axis="y", which="minor", color="white", linewidth=1.2)
        ax.tick_params(which="both", length=0)
        ax.spines[:].set_visible(False)
        bar = body.colorbar(image, ax=ax, pad=0.015, aspect=18)
        bar.set_label("QK separation (score)")
        bar.outline.set_visible(False)


def _lines(ax: Axes, rows: pd.DataFrame, roles: Mapping[str, str]) -> None:
    """One line per head; heads without a role in grey and behind."""
    for head, part in rows.groupby("head"):
        if head not in roles.values():
            line = part.sort_values("step")
            ax.plot(line["step"], line["mean"], color=FAINT, linewidth=0.9, zorder=1.5)
    for role, head in roles.items():
        part = rows[rows["head"] == head]
        label = f"{head} {words(role)}"
        interval_line(ax, part, label, ROLE_COLOURS[role], linestyle=ROLE_LINES[role])

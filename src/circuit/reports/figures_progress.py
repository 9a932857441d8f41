"""Figures of the progress of write scalars: curves, conditions, and what makes one fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from circuit.measures.writes.names import MODEL, OUTCOMES, SCALARS
from circuit.reports.style import (
    FAINT,
    GRID,
    INK,
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

_COLUMNS = ("step", "head", "scalar", "attention", "values", "mean", "low", "high", "count")
_CONDITIONS = {
    ("real", "real"): ("as it is", "#332288", "-"),
    ("forced", "real"): ("attention forced onto the support value", "#d98a00", "-"),
    ("real", "shuffled"): ("values of other events", "#332288", (0, (2, 1.5))),
    ("forced", "shuffled"): ("forced, values of other events", "#d98a00", (0, (2, 1.5))),
}
_PARTS = {
    "attention": "#0072b2",
    "values": "#009e73",
    "elsewhere": "#e69f00",
    "shuffled": "#9aa0a6",
}
_OUTCOMES = dict(zip(OUTCOMES, ("#332288", "#d55e00", "#44aa99"), strict=True))
_SHORT = {
    "head_value_margin_dla_fixed": "DLA margin, fixed rival",
    "head_value_margin_dla_moving": "DLA margin, moving rival",
    "head_margin_dla_fixed_readout": "DLA margin, fixed readout",
    "head_value_over_mean_dla": "DLA over the mean value",
    "ov_value_margin_fixed": "OV lens margin",
    "support_mass_ov_value_margin_fixed": "support mass × OV lens margin",
}


def progress(
    rows: pd.DataFrame, births: pd.DataFrame, roles: Mapping[str, str], path: StrPath
) -> None:
    """Draw every scalar of every head over training, and the model's outcomes below.

    Args:
        births: the first checkpoint from which a curve stays half-way is a vertical line.
        roles: ``winner``, ``runner_up`` and ``bottom`` → the head's name.
    """
    need(rows, _COLUMNS, "the progress of scalars")
    real = rows[(rows["attention"] == "real") & (rows["values"] == "real")]
    note = (
        "Lines: means; grey: all other heads. Bands: bootstrap 95% intervals over events; "
        f"{counts(rows['count'], 'events')} per step.\nDotted: the step from which the winner's "
        "curve, or the outcome's, stays half-way."
    )
    half_way = births[(births["method"] == "threshold") & births["found"]]
    half_way = half_way.set_index(["head", "scalar"])["step"]
    with picture(path, "What every head writes, by six scalars", note, height=9.6) as body:
        axes = body.subplots(4, 2, sharex=True)
        for ax, scalar in zip(axes.flat, SCALARS, strict=False):
            _heads(ax, real[real["scalar"] == scalar], roles)
            _born(ax, half_way.get((roles["winner"], scalar)), SOFT)
            ax.set_title(_SHORT[scalar])
        for ax, names in zip(axes[-1], (list(OUTCOMES)[:2], list(OUTCOMES)[2:]), strict=True):
            _outcomes(ax, real[real["head"] == MODEL], names)
            for name in names:
                _born(ax, half_way.get((MODEL, name)), _OUTCOMES[name])
        for ax in axes[:, 0]:
            ax.set_ylabel("logit")
        axes[-1, 1].set_ylabel("log probability (nat)")
        for ax in axes[-1]:
            step_axis(ax, ticks=5)
        axes[0, 0].legend(loc="upper left", fontsize=7.5)


def progress_conditions(rows: pd.DataFrame, head: str, path: StrPath) -> None:
    """Draw one head's scalars under the four conditions."""
    part = rows[rows["head"] == head]
    need(part, _COLUMNS, "scalars under four conditions")
    note = (
        "Lines: means. Bands: bootstrap 95% intervals over events; "
        f"{counts(part['count'], 'events')} per step.\nThe dashed lines should stay at 0: the "
        "answer is the event's own, the values that are read are not."
    )
    title = f"What {head} writes, with attention and values as they are or not"
    with picture(path, title, note, height=7.4) as body:
        axes = body.subplots(3, 2, sharex=True)
        for ax, scalar in zip(axes.flat, SCALARS, strict=True):
            zero_line(ax)
            lines = part[part["scalar"] == scalar].set_index(["attention", "values"])
            for condition, (label, colour, style) in _CONDITIONS.items():
                line = lines.loc[[condition]]
                interval_line(ax, line, label, colour, linestyle=style, linewidth=1.3)
            ax.set_title(_SHORT[scalar])
        for ax in axes[:, 0]:
            ax.set_ylabel("logit")
        for ax in axes[-1]:
            step_axis(ax, ticks=5)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        body.legend(handles, labels, loc="outside lower center", ncols=2)


def fitness(
    parts: pd.DataFrame,
    correlations: pd.DataFrame,
    verdicts: pd.DataFrame,
    roles: Mapping[str, str],
    follows: float,
    path: StrPath,
) -> None:
    """Draw what growth is made of and how scalars go with outcomes, for winner and bottom control.

    Args:
        follows: the bound above which a correlation's interval has to lie.
    """
    need(parts, ("head", "scalar", "part", "mean", "count"), "parts of growth")
    heads = {head: role for role, head in roles.items() if role in ("bottom", "winner")}
    shown = [head for head in (roles["winner"], roles["bottom"]) if head in heads]
    note = (
        "Left: stacked parts of growth from first to last checkpoint, "
        f"{counts(parts['count'], 'events')}: more attention on the support value, values that say "
        "more there,\nwhat is read elsewhere, and what values of other events give too (shuffled). "
        "Right: correlations with outcomes over checkpoints,\nwith bootstrap 95% intervals over "
        f"events; the dashed bound is {follows:g}. Bold: fit on both halves of the events."
    )
    both = verdicts[verdicts["half"].isin(("selection", "confirmation"))]
    fit = both.groupby(["head", "scalar"])["fit"].all()
    title = f"Which scalar of {' and '.join(shown)} is fit to be attributed"
    with picture(path, title, note, height=2.1 + 2.1 * len(shown)) as body:
        axes = body.subplots(len(shown), 2, squeeze=False, sharex="col", width_ratios=[3, 2])
        for (left, right), head in zip(axes, shown, strict=True):
            _parts(left, parts[parts["head"] == head])
            _correlations(right, correlations[correlations["head"] == head], follows)
            left.set_title(f"{head} {words(heads[head])}", color=ROLE_COLOURS[heads[head]])
            for tick, scalar in zip(left.get_yticklabels(), SCALARS, strict=True):
                is_fit = bool(fit[head, scalar])
                tick.set(fontweight="bold" if is_fit else "normal", color=INK if is_fit else SOFT)
        axes[-1, 0].set_xlabel("growth (logit)")
        axes[-1, 1].set_xlabel("correlation over checkpoints")
        found = [ax.get_legend_handles_labels() for ax in axes[0]]
        handles, labels = ([entry for each in found for entry in each[k]] for k in (0, 1))
        body.legend(handles, labels, loc="outside lower center", ncols=4)


def _heads(ax: Axes, rows: pd.DataFrame, roles: Mapping[str, str]) -> None:
    """One line per head; heads without a role in grey and behind."""
    zero_line(ax)
    for head, part in rows.groupby("head"):
        if head not in roles.values():
            line = part.sort_values("step")
            ax.plot(line["step"], line["mean"], color=FAINT, linewidth=0.9, zorder=1.5)
    for role, head in roles.items():
        label, style = f"{head} {words(role)}", ROLE_LINES[role]
        line = rows[rows["head"] == head]
        interval_line(ax, line, label, ROLE_COLOURS[role], linestyle=style, linewidth=1.3)


def _outcomes(ax: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        interval_line(ax, rows[rows["scalar"] == name], words(name), _OUTCOMES[name], linewidth=1.3)
    ax.set_title("Outcomes of the model")
    ax.legend(loc="lower right" if len(names) == 1 else "upper left", fontsize=7.5)


def _born(ax: Axes, step: float | None, colour: str) -> None:
    if step is not None:
        ax.axvline(step, color=colour, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1)


def _parts(ax: Axes, rows: pd.DataFrame) -> None:
    """Stacked bars: positive parts to the right of zero, negative ones to the left."""
    table = rows.pivot(index="scalar", columns="part", values="mean").loc[list(SCALARS)]
    ax.use_sticky_edges = False  # or a bar's end would be the axes' end, with half a mark on it
    ax.margins(x=0.04)
    places = np.arange(len(table))
    ends = {1: np.zeros(len(table)), -1: np.zeros(len(table))}
    for name, colour in _PARTS.items():
        value = table[name].to_numpy()
        left = np.where(value >= 0, ends[1], ends[-1])
        ax.barh(places, value, left=left, height=0.62, color=colour, label=words(name), linewidth=0)
        ends = {sign: end + np.where(sign * value > 0, value, 0) for sign, end in ends.items()}
    ax.plot(table["growth"], places, "D", color=INK, markersize=4.5, label="growth", zorder=4)
    _rows_axis(ax, [_SHORT[scalar] for scalar in SCALARS])


def _correlations(ax: Axes, rows: pd.DataFrame, follows: float) -> None:
    """One mark per outcome with its interval; missing ones are left out."""
    over = rows[rows["over"] == "checkpoints"].set_index(["scalar", "outcome"])
    for number, (outcome, colour) in enumerate(_OUTCOMES.items()):
        part = over.xs(outcome, level="outcome").loc[list(SCALARS)]
        places = np.arange(len(part)) + 0.2 * (number - 1)
        ax.hlines(places, part["low"], part["high"], color=colour, linewidth=1.2)
        ax.plot(
            part["correlation"], places, "o", color=colour, label=words(outcome), markersize=3.6
        )
    ax.axvline(follows, color=SOFT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    ax.set_xlim(-1.05, 1.05)
    _rows_axis(ax, [""] * len(SCALARS))


def _rows_axis(ax: Axes, labels: Sequence[str]) -> None:
    """One row per scalar, the first at the top."""
    zero_line(ax, "x")
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x", color=GRID)

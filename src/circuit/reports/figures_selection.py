"""Figures of what was foretold: the predicted and the actual order, and how well they agree."""

from __future__ import annotations

import os

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from circuit.measures.replication.foretold import CHANCE, CORRELATION, FIRST_BORN, POOLED
from circuit.measures.replication.selection import BASELINES, RANKING
from circuit.reports.style import (
    DIVERGING,
    FAINT,
    INK,
    SPARE_COLOURS,
    counts,
    need,
    picture,
    share_axis,
    side_legend,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_DARK = 0.6  # correlations beyond this have a ground too dark for dark ink
_COLOURS = {RANKING: INK, **dict(zip(BASELINES, SPARE_COLOURS, strict=False))}


def predicted_order(rows: pd.DataFrame, born: pd.DataFrame, path: StrPath) -> None:
    """Draw the ranking's order of every run's candidates at each cutoff, then the actual order.

    Args:
        rows: run, and the columns of :func:`circuit.measures.replication.selection.predictions`.
        born: run, and the columns of :func:`circuit.measures.replication.selection.births`.
    """
    need(born, ("run", "head", "born", "step", "final"), "the order of births")
    ranked = rows[rows["predictor"] == RANKING] if len(rows) else rows
    runs = list(dict.fromkeys(born["run"]))
    cutoffs = sorted(int(step) for step in set(ranked["step"])) if len(ranked) else []
    most = int(born.groupby("run")["head"].nunique().max())
    note = (
        "Lines: the place that the ranking gives a candidate at each cutoff; they end where a "
        "route is born. Right: routes by birth,\nwith its step; grey: never born, in no order. "
        f"n = {len(runs)} runs of up to {most} candidates, one per head."
    )
    rows_of_axes = -(-len(runs) // 3)
    height = 0.9 + rows_of_axes * (0.75 + 0.21 * most)
    with picture(path, "Predicted order and actual order of births", note, height=height) as body:
        axes = body.subplots(rows_of_axes, min(3, len(runs)), squeeze=False).flat
        for ax, run in zip(axes, runs, strict=False):
            _order(ax, ranked[ranked["run"] == run] if len(ranked) else ranked,
                   born[born["run"] == run], cutoffs)  # fmt: skip
            ax.set_title(run)
        for ax in list(axes)[len(runs) :]:
            ax.set_axis_off()


def _order(ax: Axes, ranked: pd.DataFrame, born: pd.DataFrame, cutoffs: list[int]) -> None:
    """One run: lines of places over cutoffs, and the births at the right."""
    listed = born.sort_values(["born", "step", "final"], ascending=[False, True, False])
    last, place = len(cutoffs), {step: x for x, step in enumerate(cutoffs)}
    arrived = list(listed.loc[listed["born"], "head"])
    colours = {head: SPARE_COLOURS[i % len(SPARE_COLOURS)] for i, head in enumerate(arrived)}
    for y, route in enumerate(listed.itertuples(), 1):
        colour = colours.get(route.head, FAINT)
        line = ranked[ranked["head"] == route.head].sort_values("step") if len(ranked) else ranked
        if len(line):
            xs = [place[int(step)] for step in line["step"]]
            style = {"color": colour, "linewidth": 1.6 if route.born else 0.9}
            ax.plot(
                xs, line["predicted"], marker="o", markersize=3.5, zorder=2 + route.born, **style
            )
            if route.born:
                ends = line["predicted"].iloc[-1], y
                ax.plot([xs[-1], last], ends, linestyle=":", zorder=1, **style)
        when = f"{route.head} · {int(route.step):,}" if route.born else f"{route.head} · never"
        weight, ink = ("bold", colour) if route.born else ("normal", "#5f6368")
        ax.annotate(
            when, (last, y), (5, 0), textcoords="offset points", va="center", fontsize=7,
            color=ink, fontweight=weight, annotation_clip=False,
        )  # fmt: skip
    ax.set_xlim(-0.3, last + 0.05)
    ax.set_ylim(len(listed) + 0.6, 0.4)
    ax.set_xticks(range(last + 1), [*(f"{step:,}" for step in cutoffs), "birth"], fontsize=7)
    ax.set_xlabel("cutoff (training step)", fontsize=7.5)
    ax.set_ylabel("place (1: first)", fontsize=7.5)
    ax.grid(visible=False)


def selection_scores(scored: pd.DataFrame, told: pd.DataFrame, path: StrPath) -> None:
    """Draw rank correlations and hits by cutoff, and what each feature tells by itself.

    Args:
        scored: of :func:`circuit.measures.replication.foretold.scores`.
        told: of :func:`circuit.measures.replication.foretold.verdicts`.
    """
    need(told, ("step", "verdict"), "verdicts on the ranking")
    cutoffs = [int(step) for step in told["step"]]
    pooled = scored[scored["run"] == POOLED]
    runs = scored.loc[scored["run"] != POOLED, "run"].nunique()
    # A feature may be tied at the first cutoffs and so have no correlation: the last knows most.
    known = pooled.sort_values("step", ascending=False, kind="stable")["predictor"]
    others = [name for name in dict.fromkeys(known) if name not in (*_COLOURS, CHANCE)]
    note = (
        f"Means over n = {runs} runs; lines: 95% intervals over runs and their heads "
        "(hits: exact intervals over runs). Grey: 95% range of random orders.\n"
        "Below: each feature by itself, the larger the earlier. Bold: the 95% interval leaves out "
        "0, not corrected for the number of features or cutoffs."
    )
    height = 4.0 + 0.21 * len(others)
    title = "What features from before birth tell about the order of births"
    with picture(path, title, note, height=height) as body:
        upper, lower = body.subfigures(2, 1, height_ratios=[2.6, 0.8 + 0.21 * len(others)])
        left, right = upper.subplots(1, 2)
        _correlations(left, pooled, cutoffs)
        _hits(right, pooled, cutoffs)
        _features(lower.add_subplot(), pooled, others, cutoffs)


def _correlations(ax: Axes, pooled: pd.DataFrame, cutoffs: list[int]) -> None:
    told = pooled[pooled["score"] == CORRELATION]
    chance = told[told["predictor"] == CHANCE]
    for row in chance.itertuples():
        x = cutoffs.index(int(row.step))
        ax.fill_between(
            [x - 0.45, x + 0.45], row.low, row.high, color=FAINT, alpha=0.35, linewidth=0
        )
    zero_line(ax)
    _beside(ax, told, cutoffs)
    ax.set_ylim(-1.05, 1.05)
    ax.set_ylabel("rank correlation")
    ax.set_title("Predicted order with order of births")


def _hits(ax: Axes, pooled: pd.DataFrame, cutoffs: list[int]) -> None:
    told = pooled[pooled["score"] == FIRST_BORN]
    for row in told[told["predictor"] == RANKING].itertuples():
        x = cutoffs.index(int(row.step))
        ax.plot([x - 0.45, x + 0.45], [row.chance] * 2, color=FAINT, linewidth=2, zorder=1)
    _beside(ax, told, cutoffs)
    share_axis(ax, "runs (%)")
    number = counts(told["count"], "runs") if len(told) else "no order to foretell"
    ax.set_title(f"First predicted is first born ({number};\ngrey: drawing a candidate)")
    side_legend(ax)


def _beside(ax: Axes, told: pd.DataFrame, cutoffs: list[int]) -> None:
    """The ranking and the baselines beside each other at every cutoff."""
    for i, (predictor, colour) in enumerate(_COLOURS.items()):
        part = told[told["predictor"] == predictor]
        xs = [
            cutoffs.index(int(step)) + 0.17 * (i - (len(_COLOURS) - 1) / 2) for step in part["step"]
        ]
        ax.vlines(xs, part["low"], part["high"], color=colour, linewidth=1.2, zorder=2)
        marker = "D" if predictor == RANKING else "o"
        ax.plot(
            xs, part["value"], marker, color=colour, markersize=4, label=words(predictor), zorder=3
        )
    ax.set_xticks(range(len(cutoffs)), [f"{step:,}" for step in cutoffs])
    ax.set_xlim(-0.6, len(cutoffs) - 0.4)
    ax.set_xlabel("cutoff (training step)")


def _features(ax: Axes, pooled: pd.DataFrame, others: list[str], cutoffs: list[int]) -> None:
    """Correlations of single features by cutoff; a feature that is tied there has none."""
    told = pooled[(pooled["score"] == CORRELATION) & pooled["predictor"].isin(others)]
    at = told.set_index(["predictor", "step"])
    grid = at["value"].unstack("step").reindex(index=others, columns=cutoffs)
    ax.imshow(grid.to_numpy(), cmap=DIVERGING, norm=Normalize(-1, 1), aspect="auto")
    for row in told.itertuples():
        beyond = row.low > 0 or row.high < 0
        ax.text(
            cutoffs.index(int(row.step)), others.index(row.predictor),
            f"{row.value:+.2f}".replace("-", "−"), ha="center", va="center", fontsize=7,
            color="white" if abs(row.value) > _DARK else INK,
            fontweight="bold" if beyond else "normal",
        )  # fmt: skip
    ax.set_yticks(range(len(others)), [words(name) for name in others], fontsize=7)
    ax.set_xticks(range(len(cutoffs)), [f"{step:,}" for step in cutoffs])
    ax.set_xlabel("cutoff (training step)")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("Rank correlation of each feature by itself with the order of births")

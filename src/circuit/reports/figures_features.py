"""Figures of a shared dictionary: how good it is, when its features live, what they tell."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from circuit.reports.style import (
    FAINT,
    INK,
    SOFT,
    SPARE_COLOURS,
    counts,
    every_nth,
    interval_line,
    need,
    picture,
    share_axis,
    side_legend,
    step_axis,
    words,
)

StrPath = str | os.PathLike[str]
_BAND = ("mean", "low", "high", "count")
_TICKS = 16
SILENT = "silent at the end"


def reconstruction(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw R² of the dictionary and of its baseline, and how many features are active."""
    need(rows, ("step", "measure", *_BAND), "reconstruction")
    curves = {name: rows[rows["measure"] == name] for name in ("r2", "pca_r2", "active_features")}
    note = (
        "On programs that the dictionary was not fitted to; "
        f"{counts(curves['r2']['count'], 'states')}. Bands: bootstrap 95% intervals over programs."
        "\nPrincipal components: as many as features are active on the average state of the "
        "checkpoint. Values below −5% are not drawn."
    )
    with picture(path, "What the dictionary explains of states", note, height=3.7) as body:
        left, right = body.subplots(1, 2)
        interval_line(left, curves["r2"], "dictionary", SPARE_COLOURS[0])
        interval_line(left, curves["pca_r2"], "principal components", SOFT, linestyle=(0, (4, 1.5)))
        share_axis(left, "share of variance (%)")
        left.set_ylim(-0.05, 1.03)
        left.legend(loc="lower right")
        interval_line(right, curves["active_features"], "", SPARE_COLOURS[0])
        right.set_ylabel("features active on a state (1)")
        right.set_ylim(bottom=0)
        for ax in (left, right):
            step_axis(ax, ticks=5)


def feature_births(rows: pd.DataFrame, features: pd.DataFrame, path: StrPath) -> None:
    """Draw how many features are alive, and which are born and gone at every checkpoint."""
    need(features, ("feature", "born", "gone", "role", "label"), "births of features")
    steps = sorted(int(step) for step in rows["step"].unique())
    dead = rows[rows["measure"] == "dead_share"].set_index("step")["mean"]
    never = int(features["born"].isna().sum())
    note = (
        f"n = {len(features):,} features, {never:,} of them never active. Bars up: born, first "
        "active; bars down: gone, never active again.\nColour: what a feature fires on at the "
        "last checkpoint, the label that explains most of its activation."
    )
    kinds = _kinds(features)
    with picture(path, "When features are born", note, height=4.4) as body:
        top, bottom = body.subplots(2, 1, sharex=True, height_ratios=[1, 2])
        alive = [len(features) * (1 - dead[step]) for step in steps]
        top.plot(range(len(steps)), alive, color=INK, marker="o", markersize=2.6)
        top.set_ylabel("active (1)")
        top.set_ylim(bottom=0)
        _bars(bottom, kinds, features["born"], steps, 1)
        _bars(bottom, kinds, features["gone"], steps, -1)
        bottom.axhline(0, color=SOFT, linewidth=0.8)
        bottom.set_ylabel("features (1)")
        shown = every_nth(len(steps), _TICKS)
        bottom.set_xticks(shown, [f"{steps[i]:,}" for i in shown])
        bottom.set_xlabel("checkpoint (training step)")
        side_legend(bottom, "fires on", fontsize=7.5)


def _kinds(features: pd.DataFrame) -> pd.Series:
    """What every feature fires on, in words."""
    role = features["role"].map(lambda name: "" if name == "everywhere" else f" at {words(name)}")
    kinds = features["label"].map(words) + role
    return kinds.where(features["label"] != "", SILENT)


def _bars(ax: Axes, kinds: pd.Series, at: pd.Series, steps: list[int], sign: int) -> None:
    """Stack the features of every kind at the checkpoints where something happens to them."""
    base = np.zeros(len(steps))
    for i, (kind, part) in enumerate(at.groupby(kinds)):
        height = sign * part.value_counts().reindex(steps, fill_value=0).to_numpy()
        colour = FAINT if kind == SILENT else SPARE_COLOURS[i % len(SPARE_COLOURS)]
        label = str(kind) if sign > 0 else None
        ax.bar(range(len(steps)), height, bottom=base, color=colour, label=label, width=0.8)
        base += height


def feature_families(rows: pd.DataFrame, families: pd.DataFrame, path: StrPath) -> None:
    """Draw every family's score over training, beside that of other features."""
    need(rows, ("step", "measure", "family", *_BAND), "families of features")
    need(
        families,
        ("family", "role", "label", "by_token", "share", "shuffled_high", "size"),
        "families",
    )
    part = rows[rows["family"] != ""]
    note = (
        "Mean activation of a family's features at its role, on programs that did not choose them; "
        f"{counts(part['count'], 'states')}.\nBands: bootstrap 95% intervals over programs. Dashed:"
        " all other features that fire there. “Token”: the token itself names the label."
    )
    down = -(-len(families) // 2)
    with picture(
        path, "How active families of features become", note, height=0.9 + 2.35 * down
    ) as body:
        panels = body.subplots(down, 2, sharex=True, squeeze=False)
        for ax, family in zip(panels.flat, families.itertuples(), strict=False):
            here = part[part["family"] == family.family]
            _family(ax, here)
            known = ", token" if family.by_token else ""
            ax.set_title(
                f"{words(family.label)} at {words(family.role)}{known}\n"
                f"{family.size} features, told {family.share:.0%} (shuffled up to "
                f"{family.shuffled_high:.0%})",
                fontsize=8,
            )
        for ax in panels.flat[len(families) :]:
            ax.set_axis_off()
        for ax in panels[-1]:
            step_axis(ax, ticks=5)
        for ax in panels[:, 0]:
            ax.set_ylabel("mean activation")


def _family(ax: Axes, rows: pd.DataFrame) -> None:
    score, control = (rows[rows["measure"] == name] for name in ("score", "score_control"))
    interval_line(ax, score, "family", SPARE_COLOURS[0])
    interval_line(ax, control, "others", SOFT, linestyle=(0, (4, 1.5)), marker=None)
    ax.set_ylim(bottom=0)

"""Figures of a sweep's parts: what each stage holds, and what each component does, over training.

Of the components, those with the largest values at any checkpoint have colours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from circuit.reports.style import (
    FAINT,
    SOFT,
    SPARE_COLOURS,
    counts,
    interval_line,
    need,
    picture,
    share_axis,
    side_legend,
    stage_looks,
    step_axis,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_BANDS = "Lines: means. Bands: bootstrap 95% intervals"
_NUMBERS = ("mean", "low", "high", "count")
_STAGES = ("step", "stage", "role", "target", "measure", *_NUMBERS)
_COMPONENTS = ("step", "component", "role", "measure", *_NUMBERS)
_COLOURED = 6
_PANELS = (
    ("prediction", "answer", "The answer, at prediction"),
    ("prediction", "stale_value", "The latest stale value, at prediction"),
    ("support_value", "query_key", "Whose value it is, at support_value"),
    ("support_value", "latest", "Whether it is the latest, at support_value"),
)


def probes(stages: pd.DataFrame, path: StrPath) -> None:
    """Draw probe accuracy by stage for four labels, with the shuffled controls."""
    need(stages, _STAGES, "linear probes")
    fitted = stages[stages["measure"] == "probe_accuracy"]
    control = stages[stages["measure"] == "probe_control"]
    note = (
        f"{_BANDS} over programs; {counts(fitted['count'], 'reads')} of programs that did not fit "
        "the probe.\nGrey: the same probes fitted on shuffled labels, one line per stage."
    )
    with picture(path, "What linear probes read off each stage", note, height=5.4) as body:
        axes = body.subplots(2, 2, sharex=True, sharey=True)
        for ax, (role, target, title) in zip(axes.flat, _PANELS, strict=True):
            _faint(ax, _of(control, role, target), "stage")
            _by_stage(ax, _of(fitted, role, target))
            ax.set_title(title)
            share_axis(ax, "")
        for ax in axes[:, 0]:
            ax.set_ylabel("probe accuracy (% of reads)")
        for ax in axes[1]:
            step_axis(ax, ticks=4)
        side_legend(axes[0, 1], "after", fontsize=7.5)


def lens(stages: pd.DataFrame, n_values: int, path: StrPath) -> None:
    """Draw accuracy and margin of the logit lens by stage.

    The lens of ``final_norm`` is that of the last layer's end, and is not drawn twice.

    Args:
        n_values: of the vocabulary; a guess among them is right in one of so many.
    """
    need(stages, _STAGES, "the logit lens")
    inner = stages[stages["stage"] != "final_norm"]
    accuracy = inner[inner["measure"] == "lens_accuracy"]
    note = (
        f"{_BANDS} over probe events; {counts(accuracy['count'], 'events')} per step.\n"
        "The state at prediction, through the final LayerNorm, unembedded to values."
    )
    with picture(path, "Logit lens at every stage over training", note, height=5.2) as body:
        upper, lower = body.subplots(2, 1, sharex=True)
        _by_stage(upper, accuracy)
        upper.axhline(1 / n_values, color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        share_axis(upper, "events (%)")
        upper.set_title(f"The right value is the largest (dotted: a guess, 1 in {n_values})")
        side_legend(upper, "after")
        zero_line(lower)
        _by_stage(lower, inner[inner["measure"] == "lens_margin"])
        lower.set_ylabel("margin (logit)")
        lower.set_title("Right value's logit − best other value's")
        step_axis(lower)


def drift(stages: pd.DataFrame, reference: int, path: StrPath) -> None:
    """Draw how far states lie from the previous and from the reference checkpoint's."""
    need(stages, _STAGES, "drift")
    part = stages[stages["measure"].str.startswith("drift")]
    kinds = {
        "drift_previous": "the previous checkpoint's",
        "drift_reference": f"step {reference:,}'s",
    }
    note = (
        f"{_BANDS} over probe events; {counts(part['count'], 'events')} per step. Distance of an "
        "event's state from the\nother checkpoint's, over that state's norm: 0 is unmoved, about "
        "1.4 unrelated at equal norms."
    )
    roles = list(dict.fromkeys(part["role"]))
    with picture(path, "Drift of the residual stream over training", note, height=5.4) as body:
        axes = body.subplots(len(kinds), len(roles), sharex=True, sharey="row", squeeze=False)
        for line, (measure, title) in zip(axes, kinds.items(), strict=True):
            for ax, role in zip(line, roles, strict=True):
                _by_stage(ax, part[(part["measure"] == measure) & (part["role"] == role)])
                ax.set_title(f"{words(role)}, from {title}")
            line[0].set_ylabel("relative distance")
            line[0].set_ylim(bottom=0)
        for ax in axes[-1]:
            step_axis(ax, ticks=4)
        side_legend(axes[0, -1], "after", fontsize=7.5)


def localisation(components: pd.DataFrame, path: StrPath) -> None:
    """Draw every head's attention to the support value and to the query key."""
    need(components, _COMPONENTS, "localisation")
    part = components[components["measure"].str.startswith("attention_")]
    note = (
        f"{_BANDS} over probe events; {counts(part['count'], 'events')} per step. Attention from "
        "the prediction position;\ncoloured: the heads that look at either most at any checkpoint."
    )
    with picture(path, "Where heads look over training", note, height=5.2) as body:
        axes = body.subplots(2, 1, sharex=True, sharey=True)
        colours = _colours(part)
        for ax, role in zip(axes, ("support_value", "query_key"), strict=True):
            _by_component(ax, part[part["measure"] == f"attention_{role}"], colours)
            ax.set_title(f"To the {words(role)}")
            ax.set_ylim(-0.03, 1.03)
            ax.set_ylabel("attention (probability)")
        side_legend(axes[0], "head")
        step_axis(axes[1])


def ablations(components: pd.DataFrame, path: StrPath) -> None:
    """Draw every component's ablation effect, and how stable the order of components is."""
    need(components, _COMPONENTS, "ablation effects")
    effects = components[components["measure"] == "ablation_effect"]
    ranks = components[components["component"] == "heads"]
    note = (
        f"{_BANDS} over probe events; {counts(effects['count'], 'events')} per step.\nPositive: "
        "the component helps. Coloured: those with the largest effects at any checkpoint."
    )
    with picture(path, "What each component is worth over training", note, height=5.6) as body:
        upper, lower = body.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        zero_line(upper)
        _by_component(upper, effects, _colours(effects))
        upper.set_ylabel("ablation effect (logit)")
        upper.set_title("Answer margin − answer margin without the component")
        side_legend(upper, "component")
        zero_line(lower)
        names = {
            "rank_correlation_ablation": "ablation effect",
            "rank_correlation_support": "support attention",
        }
        for (measure, label), colour in zip(names.items(), SPARE_COLOURS, strict=False):
            interval_line(lower, ranks[ranks["measure"] == measure], label, colour)
        lower.set_ylim(-1.05, 1.05)
        lower.set_ylabel("rank correlation")
        lower.set_title("Order of heads, against the previous checkpoint")
        side_legend(lower, "heads by")
        step_axis(lower)


def _of(stages: pd.DataFrame, role: str, target: str) -> pd.DataFrame:
    return stages[(stages["role"] == role) & (stages["target"] == target)]


def _faint(ax: Axes, rows: pd.DataFrame, by: str) -> None:
    """A thin grey line for each value of a column, behind all else."""
    for _, line in rows.sort_values("step").groupby(by):
        ax.plot(line["step"], line["mean"], color=FAINT, linewidth=0.9, zorder=1.5)


def _by_stage(ax: Axes, rows: pd.DataFrame) -> None:
    """One line per stage, in the order of the stream."""
    names = list(dict.fromkeys(rows["stage"]))
    for name, look in stage_looks(names).items():
        interval_line(ax, rows[rows["stage"] == name], words(name), marker=None, **look)


def _colours(rows: pd.DataFrame) -> dict[str, str]:
    """A colour for each of the components with the largest values, the largest first."""
    size = rows["mean"].abs().groupby(rows["component"]).max().sort_values(ascending=False)
    return dict(zip(size.index[:_COLOURED], SPARE_COLOURS, strict=False))


def _by_component(ax: Axes, rows: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """One line per component; those without a colour in grey and behind."""
    _faint(ax, rows[~rows["component"].isin(list(colours))], "component")
    for name, colour in colours.items():
        interval_line(ax, rows[rows["component"] == name], name, colour)

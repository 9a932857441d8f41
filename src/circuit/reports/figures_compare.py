"""Figures of a comparison of a window's two ends: what its states and its weights carry."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import SubFigure
from matplotlib.ticker import FuncFormatter

from circuit.reports.compare_parts import BRINGS, MARGIN, SUM, TAKES, of_kind, told_grouping
from circuit.reports.quantities import format_value
from circuit.reports.style import (
    DIVERGING,
    FAINT,
    INK,
    SOFT,
    counts,
    need,
    picture,
    readable_on,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_COLUMNS = ("direction", "kind", "donor", "measure", "half", "effect", "fraction", "low", "high")
_PANELS = {
    BRINGS: ("brings: target's into source", "#0072b2"),
    TAKES: ("takes away: source's into target", "#d55e00"),
}
_TOP = 14  # groups drawn


def activations(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw what the states at every stage and role carry, in both directions.

    Args:
        rows: of :class:`circuit.experiments.window_compare.Comparison`.
    """
    need(rows, (*_COLUMNS, "stage", "role"), "transplanted states")
    need(of_kind(rows, "activation", TAKES, "matched"), _COLUMNS, "transplanted states")
    shown = _Shown(rows)
    part = of_kind(rows, "activation", TAKES, "matched")
    stages, roles = (list(dict.fromkeys(part[name])) for name in ("stage", "role"))
    note = (
        f"Share of the change of the answer margin ({shown.change}); "
        f"{counts(part['count'], 'events')}.\nIn brackets: with the same states of another event."
    )
    if not shown.shares:
        note = f"The margin did not change ({shown.change}): effects in logits, not shares.\n{note}"
    height = 1.55 + 0.38 * len(stages) + 0.1 * max(map(len, roles))
    with picture(path, "What the states at a stage and role carry", note, height=height) as body:
        limit = 1.0 if shown.shares else shown.largest("activation")
        axes = body.subplots(1, 2, sharey=True)
        for ax, (direction, (title, _)) in zip(axes, _PANELS.items(), strict=True):
            ax.set_title(title)
            table, control = (
                of_kind(rows, "activation", direction, donor)
                .pivot(index="stage", columns="role", values=shown.column)
                .loc[stages, roles]
                .to_numpy()
                for donor in ("matched", "control")
            )
            _map(ax, table, control, shown, limit)
            ax.set_xticks(range(len(roles)), [words(r) for r in roles], rotation=25, ha="right")
            ax.set_yticks(range(len(stages)), [words(s) for s in stages])
        _bar(body, axes, shown, limit)


def weights(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw what the groups of one grouping carry, in both directions, largest excess first."""
    need(rows, (*_COLUMNS, "grouping", "group"), "transplanted weights")
    grouping, shown = told_grouping(rows), _Shown(rows)
    mine = rows[(rows["grouping"] == grouping) & (rows["group"] != SUM)]
    order = of_kind(mine, "weight", TAKES, "excess").sort_values(shown.column, ascending=False)
    groups = list(order["group"].head(_TOP))
    rest = len(order) - len(groups)
    note = (
        f"Bars: share of the change of the answer margin ({shown.change}), with 95% intervals over "
        f"events; {counts(mine['count'][mine['half'] == 'all'], 'events')}.\n"
        "Circles: a change of the same size in a random direction (one draw). Sorted by what bars "
        + "on the right exceed them by"
        + (f"; {rest} further groups left out." if rest > 0 else ".")
    )
    if not shown.shares:
        note = f"The margin did not change ({shown.change}): effects in logits, not shares.\n{note}"
    title = f"What the weights of a group carry (grouping: {words(grouping)})"
    with picture(path, title, note, height=1.75 + 0.26 * len(groups)) as body:
        axes = body.subplots(1, 2, sharey=True)
        for ax, (direction, (name, colour)) in zip(axes, _PANELS.items(), strict=True):
            found = of_kind(mine, "weight", direction, "matched").set_index("group").loc[groups]
            control = of_kind(mine, "weight", direction, "control").set_index("group").loc[groups]
            y = np.arange(len(groups))
            ax.barh(y, found[shown.column], height=0.62, color=colour, alpha=0.85, zorder=2)
            ax.hlines(y, found[shown.low], found[shown.high], color=INK, linewidth=1.2, zorder=3)
            ax.plot(control[shown.column], y, "o", color=SOFT, markerfacecolor="white", zorder=4)
            ax.set_title(name)
            ax.grid(axis="y", visible=False)
            ax.grid(axis="x", visible=True)
            ax.tick_params(axis="y", length=0)
            zero_line(ax, "x")
            if shown.shares:
                ax.axvline(1, color=FAINT, linewidth=0.8, zorder=1)
            ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: shown.text(v)))
            ax.set_xlabel(shown.label)
        axes[0].set_yticks(range(len(groups)), groups)
        axes[0].invert_yaxis()


class _Shown:
    """Shares of the change, or effects in logits where nothing changed."""

    def __init__(self, rows: pd.DataFrame) -> None:
        change = of_kind(rows, "change", "", "")
        need(change, _COLUMNS, "the change that is shared out")
        self.rows, self.shares = rows, bool(change["fraction"].notna().all())
        self.column = "fraction" if self.shares else "effect"
        self.low, self.high = ("low", "high") if self.shares else ("effect_low", "effect_high")
        self.label = "share of the change (%)" if self.shares else "effect (logit)"
        row = change.iloc[0]
        value = row["effect"], "logit", row["effect_low"], row["effect_high"]
        self.change = format_value(*value)

    def largest(self, kind: str) -> float:
        """The largest effect of a kind of part."""
        chosen = (self.rows["kind"] == kind) & (self.rows["measure"] == MARGIN)
        return float(self.rows.loc[chosen, "effect"].abs().max()) or 1.0

    def text(self, value: float) -> str:
        """A value as it stands in a cell or at an axis."""
        rounded = round(value, 2) + 0.0  # no sign before a zero
        return (f"{rounded:.0%}" if self.shares else f"{rounded:g}").replace("-", "−")


def _map(ax: Axes, table: np.ndarray, control: np.ndarray, shown: _Shown, limit: float) -> None:
    """A map of stages by roles with the numbers in its cells."""
    image = ax.imshow(table, cmap=DIVERGING, norm=Normalize(-limit, limit), aspect="auto")
    for i, j in np.ndindex(*table.shape):
        value, other = float(table[i, j]), float(control[i, j])
        ink = readable_on(to_hex(image.cmap(image.norm(value))))
        text = f"{shown.text(value)}\n({shown.text(other)})"
        ax.text(j, i, text, ha="center", va="center", fontsize=7.5, color=ink)
    ax.grid(visible=False)
    ax.set_xticks(np.arange(0.5, table.shape[1] - 1), minor=True)
    ax.set_yticks(np.arange(0.5, table.shape[0] - 1), minor=True)
    ax.grid(which="minor", color="white", linewidth=1.2)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)


def _bar(body: SubFigure, axes: np.ndarray, shown: _Shown, limit: float) -> None:
    mappable = ScalarMappable(Normalize(-limit, limit), DIVERGING)
    bar = body.colorbar(mappable, ax=list(axes), pad=0.015, aspect=22, extend="both")
    bar.set_label(shown.label)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: shown.text(v)))
    bar.outline.set_visible(False)

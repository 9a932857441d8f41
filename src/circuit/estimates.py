"""The one table of estimates: what every kind of analysis leaves, and every reader understands.

One row is one number about the model. Its fixed columns are

==========  =====================================================================================
step        checkpoint step; of a number about a window, its last step; of what one interval of a
            window contributed, the step it begins at (its end is the key ``stop``)
measure     what was measured
against     empty; or the control that the row is; or ``excess``, the paired difference from the
            control (``excess over NAME`` where there are several controls)
half        ``all`` events, or those that choose (``selection``) or confirm (``confirmation``)
unit        of mean, low and high
mean        the number; missing where it is not defined
low, high   its 95% interval (program bootstrap, pair bootstrap, jackknife, draws of a control or
            simultaneous: the kind says which); missing where there is nothing to resample
count       how many were averaged, 0 where nothing was
noun        what was averaged: ``events``, ``programs``, ``reads``, …
==========  =====================================================================================

and its key columns, which say what the number is about (``head``, ``stage``, ``component``, …).
Keys that do not apply are empty text. Per-event values, matrices and dictionaries are files beside.

A number with unit ``step`` is an event in time: a landmark of a curve.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from circuit.errors import AnalysisError
from circuit.statistics import (
    band,
    draws,
    halves_and_all,
    interval,
    resamples,
    share_ends,
    simultaneous_interval,
    told,
)

FIXED = ("step", "measure", "against", "half", "unit", "mean", "low", "high", "count", "noun")
ROW_UNIT = "unit of the row"
UNITS = {"step": "step", **dict.fromkeys(("mean", "low", "high"), ROW_UNIT), "count": "1"}
"""Units of the fixed columns, as :func:`circuit.artifacts.write_rows` wants them."""
EXCESS = "excess"
SHARE = "_share"
"""What the measure of a share is called by, after the measure that is shared out."""
_ROUNDING = 1e-6  # what float32 values may miss, of the sizes that are summed
ALL, SELECTION, CONFIRMATION = "all", "selection", "confirmation"


def over(control: str) -> str:
    """What the excess over one of several controls is called."""
    return f"{EXCESS} over {control}"


def estimates(
    frame: pd.DataFrame,
    unit: str | Mapping[str, str] | None = None,
    noun: str | None = None,
    **fixed: Any,
) -> pd.DataFrame:
    """Rows of the table of estimates from a frame that has some of its columns.

    Columns that are neither fixed nor given are keys and come first, in the frame's order.

    Args:
        unit: one unit, or the unit of every measure; None where the frame has the column.
        noun: what ``count`` counts; None where the frame has the column, or nothing is counted.
        fixed: columns with the same value in every row, such as ``measure="growth"``.

    Raises:
        AnalysisError: a measure has no unit, or a column that has no default is missing.
    """
    rows = frame.assign(**fixed)
    if unit is not None:
        rows["unit"] = unit if isinstance(unit, str) else rows["measure"].map(unit)
    defaults = {"against": "", "half": ALL, "low": np.nan, "high": np.nan, "count": 0}
    defaults["noun"] = noun or ""
    for name, value in defaults.items():
        if name not in rows:
            rows[name] = value
    missing = [name for name in FIXED if name not in rows]
    if missing or rows["unit"].isna().any():
        bare = rows.loc[rows["unit"].isna(), "measure"].unique() if not missing else ()
        raise AnalysisError(
            f"rows lack {', '.join(missing)}" if missing else f"no unit of {', '.join(bare)}",
            where="table of estimates",
            expected=f"the columns {', '.join(FIXED)}",
            do="give them where the rows are made",
        )
    rows["count"] = rows["count"].fillna(0).astype(np.int64)
    rows["noun"] = rows["noun"].fillna("")
    for name in ("mean", "low", "high"):
        rows[name] = rows[name].astype(np.float64)
    keys = [name for name in rows.columns if name not in FIXED]
    return rows[[*keys, *FIXED]].reset_index(drop=True)


def keys_of(rows: pd.DataFrame) -> list[str]:
    """The key columns of a table of estimates."""
    return [name for name in rows.columns if name not in FIXED]


def with_controls(
    frame: pd.DataFrame, controls: Mapping[str, tuple[str | None, ...]]
) -> pd.DataFrame:
    """A frame whose columns hold controls beside an estimate, as rows below one another.

    Args:
        controls: name of a control → its columns for mean, low and high (None where it has none).
            They leave the columns; rows where all of them are missing are left out.
    """
    taken = {column for columns in controls.values() for column in columns if column}
    bare = frame.drop(columns=list(taken))
    parts = [bare.assign(against="")]
    for name, columns in controls.items():
        found = {
            to: frame[column] if column else np.nan
            for to, column in zip(("mean", "low", "high"), columns, strict=True)
        }
        part = bare.assign(against=name, **found)
        parts.append(part[part[["mean", "low", "high"]].notna().any(axis=1)])
    return pd.concat(parts, ignore_index=True)


def require_sum(
    parts: Float[np.ndarray, "... P"], whole: Float[np.ndarray, "..."], what: str
) -> None:
    """Refuse parts that do not sum to the whole that stands in the rows beside them.

    A part that was lost, or that a list of parts forgot, would else make every share another one.

    Raises:
        AnalysisError: they miss it by more than rounding does.
    """
    missed = np.abs(np.sum(parts, -1) - whole)
    within = missed <= _ROUNDING * (np.abs(parts).sum(-1) + np.abs(whole))
    if not within.all():
        at = np.argmin(within)
        raise AnalysisError(
            f"parts sum to {np.sum(parts, -1).flat[at]:.6g}, their whole is "
            f"{np.asarray(whole).flat[at]:.6g}",
            where=what,
            expected="all parts of one whole, and nothing besides",
            do="name every part where the rows are chosen; if they are, the table is not whole: "
            "delete it and let snakemake make it again",
        )


@dataclass(frozen=True)
class Whole:
    """A number and all its parts by name, both as rows have them; ``what`` is it about.

    Raises:
        AnalysisError: the parts do not sum to it.
    """

    size: float
    parts: pd.Series
    what: str

    def __post_init__(self) -> None:
        require_sum(self.parts.to_numpy(), np.asarray(self.size), self.what)

    @property
    def shares(self) -> pd.Series:
        """Every part over the whole; missing where there is nothing to share out."""
        return self.parts / (self.size or np.nan)


@dataclass
class Estimates:
    """Rows made from one value per event: means, halves, controls, excesses and ratios.

    All columns of a table share one set of bootstrap resamples, so what is paired stays paired.
    ``noun`` is what an event is; ``halves`` gives the events that choose and that confirm, too.
    With ``families``, intervals of excesses hold all of the table at once, and those of so many
    tables together. What is added is rounded to ``decimals``, where it holds rounding of a pass
    that excesses would make effects of. Numbers of measures in ``shares`` are yes or no of every
    event: their intervals, but not those of differences, are exact.
    """

    step: int
    unit: Mapping[str, str]
    noun: str = "events"
    halves: bool = False
    seed: int = 0
    families: int = 0
    decimals: int | None = None
    shares: Collection[str] = ()
    _columns: list[tuple[dict[str, str], Float[np.ndarray, " E"]]] = field(default_factory=list)
    _drawn: list[tuple[dict[str, str], Float[np.ndarray, "R E"]]] = field(default_factory=list)
    _whole: Mapping[str, str] = field(default_factory=dict)

    def add(
        self, values: Float[np.ndarray, " E"], measure: str, against: str = "", **keys: str
    ) -> None:
        """Add one number: its value on every event."""
        own = values if self.decimals is None else np.round(values, self.decimals)
        self._columns.append((dict(keys, measure=measure, against=against), np.asarray(own)))

    def add_each(
        self, found: Mapping[str, Float[np.ndarray, " E"]], against: str = "", **keys: str
    ) -> None:
        """Add one number of every measure."""
        for measure, values in found.items():
            self.add(values, measure, against, **keys)

    def add_draws(
        self, values: Float[np.ndarray, "R E"], measure: str, against: str, **keys: str
    ) -> None:
        """Add a control that was drawn R times, for the number with these keys.

        Its row is the band of its draws. The number's excess over it (``excess over CONTROL``) is
        that over every draw, each with every resample: it holds what both leave to chance, and with
        ``families`` all such excesses at once. One draw is a number like others.
        """
        if len(values) == 1:
            return self.add(values[0], measure, against, **keys)
        self._drawn.append((dict(keys, measure=measure, against=against), np.asarray(values)))

    def sums(self, over: str, name: str, among: Sequence[str], **where: str) -> None:
        """Add sums over a key's values, called ``name``, within groups of the keys ``among``.

        Summed are the numbers that have the keys ``where``.
        """
        totals: dict[tuple[str, ...], np.ndarray] = {}
        for keys, values in self._columns:
            if where.items() <= keys.items():
                place = tuple(keys[key] for key in (*among, "measure", "against"))
                totals[place] = totals.get(place, 0.0) + values
        for (*groups, measure, against), values in totals.items():
            named = dict(zip(among, groups, strict=True))
            self.add(values, measure, against, **where, **named, **{over: name})

    def excesses(self, *controls: str) -> None:
        """Add, for each of several controls, the excess over it under a name of its own."""
        for control in controls:
            self.excess(control, over(control))

    def excess(self, control: str, called: str = EXCESS) -> None:
        """Add, for every number that has the control, its paired difference from it."""
        controls = {
            _identity(keys): values for keys, values in self._columns if keys["against"] == control
        }
        for keys, values in list(self._columns):
            other = controls.get(_identity(keys))
            if keys["against"] == "" and other is not None:
                self._columns.append(({**keys, "against": called}, values - other))

    def share_of(self, **whole: str) -> None:
        """Let every number have a row more, its share of the number with these keys.

        A share is a ratio of means; its whole is drawn with it. Where the whole's interval holds 0
        there is nothing to share out, and shares are missing. The share of ``growth`` is called
        ``growth_share``.
        """
        self._whole = whole

    def frame(self) -> pd.DataFrame:
        """The rows, in the order added, all halves of the events after one another."""
        events = len(self._columns[0][1])
        chosen = halves_and_all(events) if self.halves else {ALL: np.arange(events)}
        matrix = np.stack([values for _, values in self._columns], axis=1)
        keys = pd.DataFrame([keys for keys, _ in self._columns]).fillna("")
        parts = []
        for half, part in chosen.items():
            again = resamples(len(part), self.seed) / len(part) @ matrix[part]
            drawn = np.vstack([matrix[part].mean(0), again])
            paired = keys["against"].str.startswith(EXCESS).to_numpy()
            mean, low, high = self._told(drawn, paired)
            exact = keys["measure"].isin(self.shares).to_numpy() & ~paired
            low[exact], high[exact] = share_ends(mean[exact], len(part))
            fixed = {"step": self.step, "half": half}
            same = keys.assign(**fixed, count=len(part), noun=self.noun)
            parts.append(same.assign(mean=mean, low=low, high=high))
            scales = self._scales(drawn, low, high) if self._whole else {}
            if self._whole:
                shares = self._told(self._shares(drawn, scales), paired)
                named = dict(zip(("mean", "low", "high"), shares, strict=True))
                parts.append(same.assign(**named, measure=keys["measure"] + SHARE))
            if self._drawn:
                beside = pd.DataFrame(self._beside_draws(drawn, part, scales))
                parts.append(beside.fillna(dict.fromkeys(keys, "")).assign(**fixed))
        unit = {**self.unit, **{measure + SHARE: "share" for measure in self.unit}}
        return estimates(pd.concat(parts, ignore_index=True), unit=unit)

    def _scales(
        self, drawn: Float[np.ndarray, "r+1 k"], low: Any, high: Any
    ) -> dict[str, Float[np.ndarray, "r+1 1"]]:
        """The whole of every measure that has something to share out."""
        return {
            keys["measure"]: drawn[:, at : at + 1]
            for at, (keys, _) in enumerate(self._columns)
            if self._whole.items() <= keys.items() and not low[at] <= 0 <= high[at]
        }

    def _told(
        self, drawn: Float[np.ndarray, "r+1 k"], paired: Bool[np.ndarray, " k"]
    ) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Value, low and high; those of paired differences hold all at once with ``families``."""
        mean, low, high = told(drawn)
        if self.families:
            ends = simultaneous_interval(drawn[0, paired], drawn[1:, paired], self.families)
            low[paired], high[paired] = ends
        return mean, low, high

    def _shares(
        self, drawn: Float[np.ndarray, "r+1 k"], scales: Mapping[str, Float[np.ndarray, "r+1 1"]]
    ) -> Float[np.ndarray, "r+1 k"]:
        """Every number's share of its measure's whole, over the same draws."""
        shares = np.full(drawn.shape, np.nan)
        for measure, whole in scales.items():
            of = [keys["measure"] == measure for keys, _ in self._columns]
            shares[:, of] = drawn[:, of] / whole
        return shares

    def _beside_draws(
        self,
        drawn: Float[np.ndarray, "r+1 k"],
        part: Int[np.ndarray, " n"],
        scales: Mapping[str, Float[np.ndarray, "r+1 1"]],
    ) -> Iterable[dict[str, Any]]:
        """Bands of drawn controls, and what numbers have over them; shares too."""
        every = enumerate(keys for keys, _ in self._columns)
        own = {_identity(keys): at for at, keys in every if not keys["against"]}
        weights = draws(len(part), self.seed) / len(part)
        for share in ("", SHARE) if self._whole else ("",):
            controls, excesses = [], []
            for keys, values in self._drawn:
                whole = scales.get(keys["measure"], np.nan) if share else 1.0
                control = weights @ values[:, part].T
                controls.append((control / whole)[0])
                excesses.append((drawn[:, [own[_identity(keys)]]] - control) / whole)
            ends = self._over_draws(excesses)
            for (keys, values), control, excess in zip(self._drawn, controls, ends, strict=True):
                for against, told_as, count, noun in (
                    (keys["against"], band(control), len(values), keys["against"]),
                    (over(keys["against"]), excess, len(part), self.noun),
                ):
                    named = dict(zip(("mean", "low", "high"), told_as, strict=True))
                    about = {"measure": keys["measure"] + share, "against": against}
                    yield {**keys, **about, **named, "count": count, "noun": noun}

    def _over_draws(
        self, excesses: Sequence[Float[np.ndarray, "r+1 R"]]
    ) -> list[tuple[float, float, float]]:
        """Mean, low and high of excesses over every draw; they hold all with ``families``."""
        means = np.array([excess[0].mean() for excess in excesses])
        sizes = np.array([excess.shape[1] for excess in excesses])
        low, high = np.empty_like(means), np.empty_like(means)
        for size in np.unique(sizes):  # those that were drawn as often are one family
            (at,) = np.nonzero(sizes == size)
            again = np.stack([excesses[int(i)][1:].ravel() for i in at], axis=1)
            if self.families:
                families = len(np.unique(sizes)) * self.families
                low[at], high[at] = simultaneous_interval(means[at], again, families)
            else:
                low[at], high[at] = interval(again)
        return list(map(tuple, np.stack([means, low, high], axis=1).tolist()))


def _identity(keys: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    return tuple(sorted((name, value) for name, value in keys.items() if name != "against"))

"""The one rule of evidence: when an effect is shown.

Every verdict of every kind comes from :func:`verdict`; no other code compares an interval with a
bound to choose words.

- An effect is ``shown`` where the interval of its paired excess over the control lies above 0.
- Where rows hold no paired excess, it is shown where its interval lies above 0 and above the
  interval of every control.
- It is ``opposite`` on the other side, and else ``open``.

An interval holds what chance would do to a number, so a number that was averaged over something but
has no interval can show nothing. A number that nothing was averaged over (a singular value, a sum)
is exact: its interval is the number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from circuit.estimates import EXCESS, over
from circuit.landmarks import held_from

Verdict = Literal["shown", "opposite", "open"]
VERDICTS: tuple[Verdict, ...] = ("shown", "opposite", "open")


@dataclass(frozen=True)
class Estimate:
    """A number with the interval that chance leaves it; ``count`` is 0 where it is exact."""

    mean: float
    low: float = math.nan
    high: float = math.nan
    count: int = 0

    @property
    def ends(self) -> tuple[float, float]:
        """The interval: the number itself where it is exact; NaN where there is none."""
        if self.count == 0 and math.isnan(self.low):
            return self.mean, self.mean
        return self.low, self.high


def by_control(rows: pd.DataFrame) -> dict[str, Estimate]:
    """A number of the table of estimates, its controls and excesses, by ``against``."""
    numbers = rows[["against", "mean", "low", "high", "count"]]
    return {against: Estimate(*number) for against, *number in numbers.itertuples(index=False)}


def verdict(
    effect: Estimate,
    controls: Sequence[Estimate] = (),
    excess: Estimate | None = None,
    bound: float | None = 0.0,
) -> Verdict:
    """Whether an effect is shown.

    Args:
        effect: the number.
        controls: what it is compared with, unpaired.
        excess: the paired difference from the control, which decides alone where there is one.
        bound: what the effect must lie beyond; None for a quantity whose 0 means nothing (an
            accuracy, a rank), which is then compared with its controls only.
    """
    if excess is not None:
        return _side(excess, [0.0, 0.0])
    ends = [end for control in controls for end in control.ends]
    return _side(effect, ends if bound is None else [*ends, bound])


def agreed(by: Mapping[str, Estimate], bound: float | None = 0.0) -> Verdict:
    """The verdict that holds beside all controls of a number (:func:`by_control`), else ``open``.

    A control with a paired excess of its own decides by that.
    """
    pairs = {over(name): name for name in by} | {EXCESS: ""}
    paired = {pairs[name]: one for name, one in by.items() if name in pairs}
    left = [one for name, one in by.items() if name not in ("", *pairs, *paired)]
    sides = {verdict(by[""], (), one) for one in paired.values()}
    if left or not paired:
        sides.add(verdict(by[""], left, bound=bound))
    return sides.pop() if len(sides) == 1 else "open"


def shown_from(rows: pd.DataFrame, bound: float | None = 0.0) -> float:
    """From which step on a number stays shown beside all its controls; NaN where it does not."""
    steps = rows.groupby("step")
    return held_from({step: agreed(by_control(at), bound) == "shown" for step, at in steps})


def _side(one: Estimate, ends: Sequence[float]) -> Verdict:
    """On which side of all ends the interval lies; comparisons with NaN are false."""
    low, high = one.ends
    if ends and all(low > end for end in ends):
        return "shown"
    if ends and all(high < end for end in ends):
        return "opposite"
    return "open"

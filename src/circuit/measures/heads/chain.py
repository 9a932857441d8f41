"""The retrieval chain of a head: score, mass, value margin, logit, and when each link moved.

1. The links are ``LINKS``, from the score that finds the support value to the logit it gives. Each
   is one value per event and checkpoint; the curve of a link is its mean over events.
2. A link *moved* if its last value exceeds its first beyond the interval of the difference. What
   did not move has no time.
3. ``half_way`` is the step from which the curve stays at or above half-way between its first and
   its last value: after the checkpoint ``half_way_after``, by the checkpoint ``half_way_by``, and
   interpolated linearly between them. Events do not say how far the line is from the truth, so the
   order of two links between the same checkpoints stays open, whatever their intervals.
4. ``jump`` is the pair of neighbouring checkpoints with the largest rise, named by the later one.
5. ``lag`` is a link's half-way step less that of the head's first link to get half-way, the first
   by the curves of all events.

Intervals resample events, all links, checkpoints and heads together, and find every landmark anew,
so a lag's interval is paired. A resample in which a link does not rise has no half-way step and is
left out; ``resamples`` counts those that have one. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.landmarks import half_way_step, largest_jump
from circuit.statistics import bootstrap_means, interval_of_found, resamples, told

LINKS = {
    "score": ("support_value", "qk_separation"),
    "mass": ("support_value", "attention_mass"),
    "support value margin": ("support_value", "ov_value_margin"),
    "attended value margin": ("causal_prefix", "ov_value_margin_attended"),
    "direct logit": ("prediction", "head_value_margin_dla"),
}
"""Role and measure of every link, in the order in which the mechanism uses them."""
MOVE_UNITS = {
    **dict.fromkeys(("first", "last", "change", "change_low", "change_high"), "unit of the link"),
    **dict.fromkeys(("half_way", "half_way_low", "half_way_high"), "step"),
    **dict.fromkeys(("half_way_after", "half_way_by"), "step"),
    **dict.fromkeys(("lag", "lag_low", "lag_high"), "steps"),
    **dict.fromkeys(("jump", "jump_low", "jump_high"), "step"),
    "jump_size": "unit of the link",
    "resamples": "1",
    "count": "1",
}


def chain_moves(
    values: Float[np.ndarray, "H L S E"], steps: Sequence[int], heads: Sequence[str]
) -> pd.DataFrame:
    """When each link of each head moved: one row per head and link.

    Columns: head, link, moved, and those of ``MOVE_UNITS``; count are events. Times are missing
    where a link did not move.

    Args:
        values: every link of ``LINKS`` on every event at every checkpoint.
    """
    count = values.shape[-1]
    at = np.asarray(steps, dtype=np.float64)
    drawn = values @ (resamples(count, 0).T / count)  # [H, L, S, B]
    curves = np.concatenate([values.mean(-1, keepdims=True), drawn], -1).swapaxes(-1, -2)
    frames = []
    for head, links, by_event in zip(heads, curves, values, strict=True):
        change = by_event[:, -1] - by_event[:, 0]
        mean, low, high = bootstrap_means(change.T)
        moved = low > 0
        half = np.where(moved[:, None], half_way_step(links, at), np.nan)
        lag = half - half[np.nanargmin(half[:, 0])] if moved.any() else half
        by = np.clip(np.searchsorted(at, half[:, 0]), 1, len(at) - 1)
        frame = pd.DataFrame(
            {
                "head": head,
                "link": list(LINKS),
                "moved": moved,
                "first": links[:, 0, 0],
                "last": links[:, 0, -1],
                "change": mean,
                "change_low": low,
                "change_high": high,
                **_with_interval("half_way", half),
                "half_way_after": np.where(moved, at[by - 1], np.nan),
                "half_way_by": np.where(moved, at[by], np.nan),
                **_with_interval("lag", lag),
                **_with_interval("jump", np.where(moved[:, None], at[largest_jump(links)], np.nan)),
                "jump_size": np.where(moved, np.diff(links[:, 0], axis=-1).max(-1), np.nan),
                "resamples": np.isfinite(half[:, 1:]).sum(-1),
                "count": count,
            }
        )
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _with_interval(
    name: str, found: Float[np.ndarray, "L B"]
) -> dict[str, Float[np.ndarray, " L"]]:
    """A landmark of the curves, then the interval over those resamples that have it."""
    names = (name, f"{name}_low", f"{name}_high")
    return dict(zip(names, told(found.T, interval_of_found), strict=True))

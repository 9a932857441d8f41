"""The retrieval chain of a head: score, mass, value margin, logit, and when each link moved.

1. The links are ``LINKS``, from the score that finds the support value to the logit it gives. Each
   is one value per event and checkpoint; the curve of a link is its mean over events.
2. ``rise`` is a link's last value less its first. A link *moved* if that lies above 0 with its
   interval. What did not move has no time.
3. ``half_way`` is the step from which the curve stays at or above half-way between its first and
   its last value: after the checkpoint ``half_way_after``, by the checkpoint ``half_way_by``, and
   interpolated linearly between them. Events do not say how far the line is from the truth, so the
   order of two links between the same checkpoints stays open, whatever their intervals.
4. ``jump`` is the pair of neighbouring checkpoints with the largest rise, ``jump_size``, named by
   the later one.
5. ``first_half_way`` is the half-way step of the head's first link to get there, by the curves of
   all events; ``lag`` is that of every other link less it, called ``lag_within_checkpoints`` where
   both lie between the same two.

Intervals resample events, all links, checkpoints and heads together, and find every landmark anew,
so a lag's interval is paired. A resample in which a link does not rise has no half-way step and is
left out; ``resamples_half_way`` are those that have one. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def chain_moves(
    values: Float[np.ndarray, "H L S E"],
    steps: Sequence[int],
    heads: Sequence[str],
    units: Mapping[str, str],
) -> pd.DataFrame:
    """When each link of each head moved: rows of head, link, measure, unit, mean, low, high, count.

    Landmarks are missing where a link did not move: ``half_way`` is not defined, and of the others
    there is no row.

    Args:
        values: every link of ``LINKS`` on every event at every checkpoint.
        units: of every measure.
    """
    count = values.shape[-1]
    at = np.asarray(steps, dtype=np.float64)
    drawn = values @ (resamples(count, 0).T / count)  # [H, L, S, B]
    curves = np.concatenate([values.mean(-1, keepdims=True), drawn], -1).swapaxes(-1, -2)
    link_units = [units[measure] for _, measure in LINKS.values()]
    frames = []
    for head, links, by_event in zip(heads, curves, values, strict=True):
        change = by_event[:, -1] - by_event[:, 0]
        rise = bootstrap_means(change.T)
        moved = rise[1] > 0
        half = np.where(moved[:, None], half_way_step(links, at), np.nan)
        first = int(np.nanargmin(half[:, 0])) if moved.any() else 0
        lag = half - half[first]
        by = np.clip(np.searchsorted(at, half[:, 0]), 1, len(at) - 1)
        jump = np.where(moved[:, None], at[largest_jump(links)], np.nan)
        size = np.where(moved, np.diff(links[:, 0], axis=-1).max(-1), np.nan)
        half_way = told(half.T, interval_of_found)
        found = {
            "rise": (link_units, *rise),
            "half_way": ("step", *half_way),
            "first_half_way": ("step", *half_way),
            "lag": ("steps", *told(lag.T, interval_of_found)),
            "jump": ("step", *told(jump.T, interval_of_found)),
            "half_way_after": ("step", np.where(moved, at[by - 1], np.nan)),
            "half_way_by": ("step", np.where(moved, at[by], np.nan)),
            "jump_size": (link_units, size),
            "resamples_half_way": ("1", np.isfinite(half[:, 1:]).sum(-1)),
        }
        parts = []
        for name, (unit, *numbers) in found.items():
            part = dict(zip(("mean", "low", "high"), numbers, strict=False))
            part |= {"count": count if "low" in part else 0}
            parts.append(pd.DataFrame({"link": list(LINKS), "measure": name, "unit": unit, **part}))
        rows = pd.concat(parts, ignore_index=True)
        lead = rows["link"] == list(LINKS)[first]
        lags, alone = rows["measure"] == "lag", rows["measure"] == "first_half_way"
        same = rows["link"].isin(np.array(list(LINKS))[by == by[first]])
        rows.loc[lags & same, "measure"] = "lag_within_checkpoints"
        kept = rows["mean"].notna() | (rows["measure"] == "half_way") | alone
        frames.append(rows[kept & (lead | ~alone) & ~(lead & lags)].assign(head=head))
    return pd.concat(frames, ignore_index=True).assign(step=steps[-1])

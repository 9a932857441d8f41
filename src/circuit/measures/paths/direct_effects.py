"""What a component writes towards the answer, against what its removal costs.

1. *Direct attribution*: the component's write at the prediction position, less what would stand in
   its place, read by the frozen final LayerNorm and the unembedding
   (:mod:`circuit.measures.paths.direct`).
2. *Ablation effect*: the target with the component minus the target without it, everything after
   it recomputed. Rivals are those of the clean pass, so both measure the same difference of logits.
3. The two agree where a component acts on the logits by itself. An effect that is larger came
   through later components; one that is smaller was compensated by them, or by the LayerNorm.
4. The half of the events that selects chooses the ``top`` components, those with the largest direct
   attribution; the one with the smallest is the ``bottom`` control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import EXCESS, SELECTION
from circuit.experiments.edits import Removed, components
from circuit.experiments.trial import LIKE_LENGTHS, Trial
from circuit.measures.paths.direct import TARGETS, Readout
from circuit.scalars.base import Seen, pick
from circuit.scalars.behaviour import answer_logits
from circuit.scalars.write import Baseline, removed_write
from circuit.statistics import bootstrap_means, correlations, draws, halves_and_all, told

MEASURES = {"ablation_effect": "logit", "sign_agreement": "share", "correlation": "1"}
DIRECT = "direct_attribution"
TOGETHER, EVERY = "top components", "all components"
_CHOOSING = "value_margin"


class DirectAndAblated(NamedTuple):
    """Both measures of every component and event, in logits."""

    direct: Float[np.ndarray, "E R C"]
    effect: Float[np.ndarray, "E R C"]


def direct_attribution(
    seen: Seen, read: Readout, names: Sequence[str], baseline: Baseline
) -> Float[Tensor, "E R C"]:
    """What each component's write adds to each target by itself, in logits (step 1)."""
    at = seen.events.prediction
    removed = [pick(removed_write(seen, name, baseline), at) for name in names]
    return read.direction @ torch.stack(removed, -1)


def direct_and_ablated(
    seen: Seen, read: Readout, top: int, baseline: Baseline
) -> tuple[dict[str, str], dict[str, DirectAndAblated]]:
    """Both measures of all components on each half of the events (step 4).

    Args:
        seen: a pass with the sites of
            :func:`circuit.experiments.edits.removal_sites`, ``final_norm`` and its scale.

    Returns:
        Component → ``top``, ``bottom`` or nothing, by falling direct attribution, and the measures
        in that order, by half.
    """
    every = components(seen.decoder.settings)
    direct = direct_attribution(seen, read, every, baseline).numpy()
    ablated = Trial(seen, LIKE_LENGTHS).passes({name: Removed(name, baseline) for name in every})
    left = torch.stack([read.targets.values(answer_logits(a)) for _, _, a in ablated], -1)
    effect = (read.whole[..., None] - left).numpy()
    parts = halves_and_all(len(seen.events))
    size = np.abs(direct[parts[SELECTION], TARGETS.index(_CHOOSING)].mean(0))
    order = np.argsort(-size, kind="stable").tolist()
    roles = {every[i]: "top" if place < top else "" for place, i in enumerate(order)}
    roles[every[order[-1]]] = "bottom"
    return roles, {
        half: DirectAndAblated(direct[chosen][..., order], effect[chosen][..., order])
        for half, chosen in parts.items()
    }


def comparison(roles: Mapping[str, str], measured: DirectAndAblated) -> pd.DataFrame:
    """Rows of target, path (the component), chosen, measure, against, unit, mean, low, high, count.

    ``ablation_effect`` has its direct attribution as a control and the paired excess over it.
    ``sign_agreement`` is the share of events in which both have the same sign, and ``correlation``
    Pearson's over events. Under the path ``TOGETHER`` they are over the top components'
    means, under ``EVERY`` over all components'. What does not vary has no correlation, and no row.

    Args:
        roles, measured: as :func:`direct_and_ablated` returns them, of one half.
    """
    names, n = list(roles), len(measured.direct)
    agree = np.sign(measured.direct) == np.sign(measured.effect)
    excess = measured.effect - measured.direct
    columns = np.stack([measured.direct, measured.effect, agree.astype(np.float64), excess], 1)
    single = [("ablation_effect", DIRECT), ("ablation_effect", ""), ("sign_agreement", "")]
    places = product([*single, ("ablation_effect", EXCESS)], TARGETS, names)
    labels = [(*one, *place) for one, *place in places]
    singly = pd.DataFrame(labels, columns=["measure", "against", "target", "path"])
    parts = [singly.join(_numbers(bootstrap_means(columns.reshape(n, -1))))]
    top = np.array(list(roles.values())) == "top"
    weights = draws(n) / n
    for r, target in enumerate(TARGETS):
        x, y = measured.direct[:, r], measured.effect[:, r]
        over_events = _numbers(told(_over_events(x, y, weights)))
        parts.append(over_events.assign(path=names, measure="correlation", target=target))
        for path, of in ((TOGETHER, top), (EVERY, slice(None))):
            means = weights @ x[:, of], weights @ y[:, of]
            agree = (np.sign(means[0]) == np.sign(means[1])).mean(1)
            both = _numbers(told(np.stack([agree, correlations(*means)], 1)))
            measures = ["sign_agreement", "correlation"]
            parts.append(both.assign(path=path, measure=measures, target=target))
    rows = pd.concat(parts, ignore_index=True).dropna(subset=["mean", "low"])
    chosen = rows["path"].map({**roles, TOGETHER: "top", EVERY: "all"})
    unit = rows["measure"].map(MEASURES)
    return rows.assign(against=rows["against"].fillna(""), chosen=chosen, unit=unit, count=n)


def _numbers(found: Sequence[Float[np.ndarray, " k"]]) -> pd.DataFrame:
    return pd.DataFrame(dict(zip(("mean", "low", "high"), found, strict=True)))


def _over_events(
    x: Float[np.ndarray, "n k"], y: Float[np.ndarray, "n k"], weights: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, "r k"]:
    """Pearson's correlation over weighted events, column by column."""
    # Centred first: correlations do not change, and the sums of squares keep their digits.
    x, y = x - x.mean(0), y - y.mean(0)
    xm, ym, xy, xx, yy = (weights @ part for part in (x, y, x * y, x * x, y * y))
    spread = np.sqrt(np.maximum(xx - xm * xm, 0) * np.maximum(yy - ym * ym, 0))
    none = np.full_like(spread, np.nan)  # what does not vary
    found: Float[np.ndarray, "r k"] = np.divide(xy - xm * ym, spread, out=none, where=spread > 0)
    return found

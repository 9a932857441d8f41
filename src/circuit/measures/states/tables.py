"""What is kept of one checkpoint: estimates beside their controls, pairs of groups, and planes.

1. All estimates of a checkpoint share one bootstrap: programs are resampled together. A control is
   the mean of its draws with their 2.5% and 97.5% quantiles.
2. A plane is spanned by the top two directions of between-group scatter of the ``SHOWN`` largest
   groups, found in programs with even numbers; shown are states of odd programs, so that groups
   which look apart are apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import estimates
from circuit.measures.states.alignment import axes
from circuit.measures.states.scatter import Groups, group_means
from circuit.statistics import band, bootstrap_means

SHUFFLED, RANDOM = "shuffled labels", "random directions"
SHOWN = 8
PAIR_UNITS = {"step": "step", "distance": "within spread", "shuffled": "within spread"}
PROJECTION_UNITS = {"step": "step", "program": "id", "x": "state unit", "y": "state unit"}
_TIE = 1e-9  # weight of total scatter: what decides where groups leave a direction open


class Cell(NamedTuple):
    """m measures of one thing, by name with their units; ``labels`` identify it: column → value.

    Means of ``columns`` over programs are the measures; ``controls`` are draws of those that make
    sense, by name; ``counts`` says how many states (or what ``noun`` says) are behind each measure.
    """

    labels: Mapping[str, str]
    units: Mapping[str, str]
    columns: Float[np.ndarray, "P m"]
    controls: Mapping[str, Float[np.ndarray, "K m"]]
    counts: Sequence[int]
    noun: str = "states"


def table(cells: Sequence[Cell], step: int) -> pd.DataFrame:
    """Estimates of the cells' measures, and below them those of either control.

    No measure is negative and no share above 1, and so are no ends of intervals. A control has the
    same number of draws in all cells.
    """
    names = pd.DataFrame(
        [
            {**cell.labels, "measure": measure, "unit": unit, "count": count, "noun": cell.noun}
            for cell in cells
            for (measure, unit), count in zip(cell.units.items(), cell.counts, strict=True)
        ]
    )
    mean, *ends = bootstrap_means(np.concatenate([cell.columns for cell in cells], axis=1))
    low, high = np.clip(ends, 0, np.where(names["unit"] == "share", 1.0, np.inf))
    parts = [names.assign(against="", mean=mean, low=low, high=high)]
    for against in (SHUFFLED, RANDOM):
        draws = [cell.controls[against] for cell in cells if against in cell.controls]
        if draws:
            has = [against in cell.controls for cell in cells for _ in cell.units]
            mean, low, high = np.concatenate([band(drawn) for drawn in draws], axis=1)
            beside = names[has].assign(against=against, mean=mean, low=low, high=high)
            parts.append(beside.assign(count=len(draws[0]), noun="draws"))
    return estimates(pd.concat(parts), step=step)


def pair_distances(
    states: Float[Tensor, "N d"], groups: Groups, labels: Mapping[str, Any]
) -> pd.DataFrame:
    """Distance of every pair of group means in within spreads, and its mean over shuffles.

    Columns: the labels, a, b, distance, shuffled.
    """
    n, names = len(groups.names), np.array(groups.names)
    a, b = np.triu_indices(n, 1)
    distance = group_means(states[None], groups.codes[None], n).distances[0].numpy()
    shuffled = group_means(states[None], groups.shuffled, n).distances.mean(0).numpy()
    pairs = {"a": names[a], "b": names[b], "distance": distance, "shuffled": shuffled}
    return pd.DataFrame({**labels, **pairs})


def projected(
    states: Float[Tensor, "N d"], groups: Groups, labels: Mapping[str, Any]
) -> pd.DataFrame:
    """Coordinates of the odd programs' states in the plane of the largest groups.

    Columns: the labels, program, member (the group's name), x, y.
    """
    largest = torch.bincount(groups.codes).argsort(descending=True, stable=True)[:SHOWN]
    shown = torch.isin(groups.codes, largest)
    fitted, drawn = shown & groups.fits, shown & ~groups.fits
    centre = states[fitted].mean(0)
    centred = states[fitted] - centre
    found = group_means(centred[None], groups.codes[fitted][None], len(groups.names))
    means, sizes = found.means[0], found.sizes[0]
    between = (means * sizes[:, None]).T @ means
    top = axes((between + _TIE * centred.T @ centred)[None], min(2, centred.shape[1])).top[0]
    # Of the two directions along an axis, the one whose largest entry is positive.
    plane = top * top.gather(0, top.abs().argmax(0, keepdim=True)).sign()
    x, y = ((states[drawn] - centre) @ plane).T.numpy()
    members = np.array(groups.names)[groups.codes[drawn].numpy()]
    program = groups.program[drawn].numpy()
    return pd.DataFrame({**labels, "program": program, "member": members, "x": x, "y": y})

"""Groups of states seen closely at one checkpoint: distances of pairs, and a plane to look at.

The plane is spanned by the top two directions of between-group scatter of the ``SHOWN`` largest
groups, found in programs with even numbers; shown are states of odd programs, so that groups which
look apart are apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.measures.states.alignment import axes
from circuit.measures.states.scatter import Groups, group_means

SHOWN = 8
PAIR_UNITS = {"step": "step", "distance": "within spread", "shuffled": "within spread"}
PROJECTION_UNITS = {"step": "step", "program": "id", "x": "state unit", "y": "state unit"}
_TIE = 1e-9  # weight of total scatter: what decides where groups leave a direction open


def pair_distances(
    states: Float[Tensor, "N d"], groups: Groups, labels: Mapping[str, Any]
) -> pd.DataFrame:
    """Distance of every pair of group means in within spreads, and its mean over shuffles.

    Columns: the labels, a, b, distance, shuffled.
    """
    n = len(groups.names)
    a, b = np.triu_indices(n, 1)
    names = np.array(groups.names)
    found = {
        "distance": group_means(states[None], groups.codes[None], n).distances[0],
        "shuffled": group_means(states[None], groups.shuffled, n).distances.mean(0),
    }
    values = {name: value.numpy() for name, value in found.items()}
    return pd.DataFrame({**labels, "a": names[a], "b": names[b], **values})


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
    plane = _plane(states[fitted] - centre, groups.codes[fitted], len(groups.names))
    x, y = ((states[drawn] - centre) @ plane).T.numpy()
    members = np.array(groups.names)[groups.codes[drawn].numpy()]
    program = groups.program[drawn].numpy()
    return pd.DataFrame({**labels, "program": program, "member": members, "x": x, "y": y})


def _plane(
    centred: Float[Tensor, "N d"], codes: Int[Tensor, " N"], n_groups: int
) -> Float[Tensor, "d 2"]:
    found = group_means(centred[None], codes[None], n_groups)
    means, sizes = found.means[0], found.sizes[0]
    between = (means * sizes[:, None]).T @ means
    top = axes((between + _TIE * centred.T @ centred)[None], min(2, centred.shape[1])).top[0]
    # Of the two directions along an axis, the one whose largest entry is positive.
    largest = top.abs().argmax(0, keepdim=True)
    plane: Tensor = top * top.gather(0, largest).sign()
    return plane

"""Another state's parameters in one group of a flat vector, and a control of the same size.

Two states of one run share a layout, so one *receives* a parameter group's entries of the other,
the *donor*. The control, a *shuffled change*, moves every atom (one head's projection, a neuron, a
token) as far as between the two states, but in a direction drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.model.layout import Layout
from circuit.model.sites import stages


class WeightPart(NamedTuple):
    """A parameter group: its atoms [A] in the layout's order, and the last stage before it.

    ``stage`` is None where the group changes the embedding itself.
    """

    grouping: str
    group: str
    atoms: Bool[np.ndarray, " A"]
    stage: str | None


def weight_parts(layout: Layout, groupings: Iterable[str]) -> list[WeightPart]:
    """Every group of every grouping, the groups in the order of their first atom."""
    parts = []
    order = [None, *stages(layout.settings.n_layers)]
    before = layout.atoms["parameter"].map(lambda name: order.index(_stage_before(name, layout)))
    for grouping in groupings:
        labels = layout.groups(grouping)
        for group in dict.fromkeys(labels):
            atoms = (labels == group).to_numpy()
            stage = order[int(before[atoms].min())]
            parts.append(WeightPart(grouping, str(group), atoms, stage))
    return parts


def with_part(
    layout: Layout,
    receiver: Float[Tensor, " P"],
    donor: Float[Tensor, " P"],
    atoms: Bool[np.ndarray, " A"],
) -> Float[Tensor, " P"]:
    """The receiver's vector with the donor's entries in some atoms."""
    inside = torch.from_numpy(atoms.copy()).repeat_interleave(_sizes(layout))
    return torch.where(inside, donor, receiver)


def shuffled_change(
    layout: Layout, receiver: Float[Tensor, " P"], donor: Float[Tensor, " P"], seed: int
) -> Float[Tensor, " P"]:
    """The receiver, changed as much as to the donor but in another direction.

    The entries of the change are shuffled inside every atom, so each keeps its size.
    """
    sizes = _sizes(layout)
    atom = torch.arange(len(sizes)).repeat_interleave(sizes).double()
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(layout.size, generator=generator, dtype=torch.float64)
    return receiver + (donor - receiver)[(atom + place).argsort()]


def _sizes(layout: Layout) -> Int[Tensor, " A"]:
    """Parameters of every atom."""
    return torch.from_numpy(layout.atoms["size"].to_numpy(copy=True))


def _stage_before(parameter: str, layout: Layout) -> str | None:
    """The last stage that a parameter has no part in."""
    block, _, rest = parameter.partition(".")
    if block == "embedding":
        return None
    if block == "final_norm":
        return f"layer_{layout.settings.n_layers - 1}_post_mlp"
    if rest.startswith(("ln2", "mlp")):
        return f"{block}_post_attn"
    layer = int(block.removeprefix("layer_"))
    return f"layer_{layer - 1}_post_mlp" if layer else "embedding"

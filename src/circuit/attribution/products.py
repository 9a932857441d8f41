"""Inner products of gradients with updates, split over the atoms of the parameter layout.

<G, Δ> is a sum over parameters, so it splits exactly over any partition of them. Each entry of the
layout holds equally long atoms; one batched product per entry gives every (scalar, component, atom)
at once, and any parameter group is a sum of atoms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.attribution.groupings import NO_HEADS, NO_LISTS, grouping_labels
from circuit.model.layout import Layout
from circuit.model.selectors import Lists


def atom_products(
    layout: Layout, gradients: Float[Tensor, "S P"], updates: Float[Tensor, "C P"]
) -> Float[Tensor, "S C A"]:
    """⟨gradient, update⟩ within every atom, in the updates' precision (float64 in this project)."""
    parts = []
    for entry in layout.entries:
        run = slice(entry.offset, entry.offset + entry.size)
        g = gradients[:, run].to(updates.dtype).view(len(gradients), -1, entry.atom_size)
        d = updates[:, run].view(len(updates), -1, entry.atom_size)
        # [A, S, n] @ [A, n, C]: one small product per atom.
        parts.append(torch.bmm(g.transpose(0, 1), d.permute(1, 2, 0)))
    return torch.cat(parts).permute(1, 2, 0)


class Grouping:
    """A partition of the atoms into named groups.

    Args:
        layout: of the atoms.
        name, custom, heads: what :func:`circuit.attribution.groupings.grouping_labels` takes.
    """

    def __init__(
        self,
        layout: Layout,
        name: str,
        custom: Mapping[str, Lists] = NO_LISTS,
        heads: Mapping[str, str] = NO_HEADS,
    ) -> None:
        labels = grouping_labels(layout, name, custom, heads)
        codes, uniques = labels.factorize()
        self.groups: tuple[str, ...] = tuple(uniques)
        self._codes = torch.from_numpy(np.asarray(codes))

    def sum(self, atoms: Float[Tensor, "... A"]) -> Float[Tensor, "... G"]:
        """Sum atoms within groups."""
        out = torch.zeros(*atoms.shape[:-1], len(self.groups), dtype=atoms.dtype)
        return out.index_add_(-1, self._codes, atoms)


def grouped(
    layout: Layout,
    names: Sequence[str],
    custom: Mapping[str, Lists] = NO_LISTS,
    heads: Mapping[str, str] = NO_HEADS,
) -> dict[str, Grouping]:
    """Groupings by name; arguments as for :class:`Grouping`."""
    return {name: Grouping(layout, name, custom, heads) for name in names}

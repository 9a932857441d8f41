"""Inner products of gradients with updates, split over the atoms of the parameter layout.

<G, Δ> is a sum over parameters, so it splits exactly over any partition of them. Each entry of the
layout holds equally long atoms; one batched product per entry gives every (scalar, component, atom)
at once, and any parameter group is a sum of atoms.

The name of a grouping, as settings have it, is that of a grouping of the layout, of lists of groups
that the settings define (:mod:`circuit.model.selectors`), or *nested*: in
``layer/head/head_projection`` every group of one part is split by the next. Its groups are called
by all their parts, ``layer_1/L1H2/L1H2.q``, so sums over the last part are the sums of the grouping
without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.terms import GROUPINGS, NESTED
from circuit.model.layout import Layout
from circuit.model.parameters import unknown_grouping
from circuit.model.selectors import Lists, Selectors

_NO_LISTS: Mapping[str, Lists] = MappingProxyType({})
_NO_HEADS: Mapping[str, str] = MappingProxyType({})


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


def grouping_labels(
    layout: Layout,
    name: str,
    custom: Mapping[str, Lists] = _NO_LISTS,
    heads: Mapping[str, str] = _NO_HEADS,
) -> pd.Series:
    """Group name of every atom, in a grouping or in several, joined by ``/``.

    ``custom`` are lists of groups by the name of their grouping; ``heads`` are names of heads by
    their role, for selectors such as ``winner.q``.

    Raises:
        AnalysisError: a grouping or a selector is unknown, or a list has an atom in two groups.
    """
    labels = None
    for part in name.split(NESTED):
        if part in custom:
            found = Selectors(layout.atom_list, heads).labels(custom[part])
            finer = pd.Series(found, index=layout.atoms.index)
        elif part in GROUPINGS:
            finer = layout.groups(part)
        else:
            raise unknown_grouping(part, (*GROUPINGS, *custom))
        labels = finer if labels is None else labels + NESTED + finer
    return labels


class Grouping:
    """A partition of the atoms into named groups; arguments as for :func:`grouping_labels`."""

    def __init__(
        self,
        layout: Layout,
        name: str,
        custom: Mapping[str, Lists] = _NO_LISTS,
        heads: Mapping[str, str] = _NO_HEADS,
    ) -> None:
        codes, uniques = grouping_labels(layout, name, custom, heads).factorize()
        self.groups: tuple[str, ...] = tuple(uniques)
        self._codes = torch.from_numpy(np.asarray(codes))

    def sum(self, atoms: Float[Tensor, "... A"]) -> Float[Tensor, "... G"]:
        """Sum atoms within groups; a single group takes what is summed over all atoms too."""
        if len(self.groups) == 1:
            return atoms.sum(-1, keepdim=True)
        out = torch.zeros(*atoms.shape[:-1], len(self.groups), dtype=atoms.dtype)
        return out.index_add_(-1, self._codes, atoms)


def grouped(
    layout: Layout,
    names: Sequence[str],
    custom: Mapping[str, Lists] = _NO_LISTS,
    heads: Mapping[str, str] = _NO_HEADS,
) -> dict[str, Grouping]:
    """Groupings by name; arguments as for :func:`grouping_labels`."""
    return {name: Grouping(layout, name, custom, heads) for name in names}

"""One flat parameter vector and the map of what lies where in it.

Parameters, gradients, Adam moments and update components are all vectors of the same length,
ordered by one :class:`Layout`. The layout knows more than shapes:

1. Every *entry* is a named tensor (``layer_0.attn.W_QKV``) with named axes.
2. Its leading *structural* axes (projection, head, neuron, token, position) come first in memory,
   so one head's query projection, or one neuron's input weights, is a contiguous run.
3. Such a run is an *atom*. Atoms are the finest pieces an attribution is ever split into; any
   coarser parameter group (module, head, layer, neuron ...) is a label per atom, and splitting a
   vector by groups is one segment sum over atoms followed by one sum over labels.

Storing heads first instead of interleaving them in a ``[d_model, d_model]`` matrix costs nothing in
the forward pass (``W_QKV`` is viewed as ``[3 * d_model, d_model]``) and buys this contiguity.
"""

from __future__ import annotations

from functools import cached_property

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.model.parameters import Atom, Entry, atoms_of, entries_of, group_names


class Layout:
    """Names, shapes and atoms of a decoder's flat parameter vector (see the module docstring)."""

    def __init__(self, settings: ModelSettings, vocab_size: int) -> None:
        self.settings = settings
        self.vocab_size = vocab_size
        self.entries: tuple[Entry, ...] = entries_of(settings, vocab_size)
        self.size = sum(entry.size for entry in self.entries)
        self._sizes = [entry.size for entry in self.entries]

    def views(self, flat: Float[Tensor, " P"]) -> dict[str, Tensor]:
        """Split a flat vector ``[P]`` into named tensors sharing its memory.

        One ``split`` carries the whole gradient back: its backward is a single concatenation,
        where slicing entry by entry would add one zero-padded vector per entry.
        """
        parts = torch.split(flat, self._sizes)
        return {e.name: p.view(e.shape) for e, p in zip(self.entries, parts, strict=True)}

    def flatten(self, named: dict[str, Tensor]) -> Float[Tensor, " P"]:
        """Inverse of :meth:`views` (copies)."""
        return torch.cat([named[e.name].reshape(-1) for e in self.entries])

    @cached_property
    def atom_list(self) -> list[Atom]:
        """All atoms in memory order."""
        return atoms_of(self.entries)

    @cached_property
    def atoms(self) -> pd.DataFrame:
        """One row per atom: parameter, module, layer, projection, head, neuron, token, ...

        Columns that do not apply are -1 (integers) or ``""`` (strings). Rows are in memory order.
        """
        return pd.DataFrame(self.atom_list)

    def groups(self, grouping: str) -> pd.Series:
        """Group name of every atom under a grouping (:func:`circuit.model.parameters.group_names`).

        Raises:
            AnalysisError: the grouping is not one of ``GROUPINGS``.
        """
        return pd.Series(group_names(self.atom_list, grouping), index=self.atoms.index)

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

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.config.terms import GROUPINGS
from circuit.errors import AnalysisError, nearest

PROJECTIONS = ("q", "k", "v")


@dataclass(frozen=True)
class Entry:
    """A named tensor of the flat vector.

    ``axes`` names every axis of ``shape``; the first ``structural`` of them enumerate atoms.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    structural: int
    offset: int

    @property
    def size(self) -> int:
        """Number of scalars in the tensor."""
        return prod(self.shape)

    @property
    def atom_shape(self) -> tuple[int, ...]:
        """Extent of the structural axes: the number of atoms is its product."""
        return self.shape[: self.structural]

    @property
    def atom_size(self) -> int:
        """Scalars per atom."""
        return prod(self.shape[self.structural :])


class Layout:
    """Names, shapes and atoms of a decoder's flat parameter vector (see the module docstring)."""

    def __init__(self, settings: ModelSettings, vocab_size: int) -> None:
        s = settings
        self.settings = settings
        self.vocab_size = vocab_size
        entries: list[Entry] = []
        offset = 0

        def add(name: str, structural: int, **axes: int) -> None:
            nonlocal offset
            entry = Entry(name, tuple(axes.values()), tuple(axes), structural, offset)
            entries.append(entry)
            offset += entry.size

        add("embedding.token", 1, token=vocab_size, d_model=s.d_model)
        add("embedding.position", 1, position=s.context, d_model=s.d_model)
        head = {"head": s.n_heads, "d_head": s.d_head}
        for layer in range(s.n_layers):
            at = f"layer_{layer}"
            add(f"{at}.ln1.gain", 0, d_model=s.d_model)
            add(f"{at}.ln1.bias", 0, d_model=s.d_model)
            add(f"{at}.attn.W_QKV", 2, projection=3, **head, d_model=s.d_model)
            add(f"{at}.attn.b_QKV", 2, projection=3, **head)
            add(f"{at}.attn.W_O", 1, **head, d_model=s.d_model)
            add(f"{at}.attn.b_O", 0, d_model=s.d_model)
            add(f"{at}.ln2.gain", 0, d_model=s.d_model)
            add(f"{at}.ln2.bias", 0, d_model=s.d_model)
            add(f"{at}.mlp.W_in", 1, neuron=s.d_ff, d_model=s.d_model)
            add(f"{at}.mlp.b_in", 1, neuron=s.d_ff)
            add(f"{at}.mlp.W_out", 1, neuron=s.d_ff, d_model=s.d_model)
            add(f"{at}.mlp.b_out", 0, d_model=s.d_model)
        add("final_norm.gain", 0, d_model=s.d_model)
        add("final_norm.bias", 0, d_model=s.d_model)
        self.entries: tuple[Entry, ...] = tuple(entries)
        self.size = offset
        self._sizes = [entry.size for entry in entries]

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
    def atoms(self) -> pd.DataFrame:
        """One row per atom: parameter, module, layer, projection, head, neuron, token, ...

        Columns that do not apply are -1 (integers) or ``""`` (strings). Rows are in memory order.
        """
        rows: list[dict[str, object]] = []
        for e in self.entries:
            layer = int(e.name.split(".")[0].removeprefix("layer_")) if "layer_" in e.name else -1
            module = e.name.rsplit(".", 1)[0]
            offset = e.offset
            for index in product(*map(range, e.atom_shape)):
                at = dict(zip(e.axes, index, strict=False))
                projection = PROJECTIONS[at["projection"]] if "projection" in at else ""
                if e.name.endswith("W_O"):
                    projection = "o"
                rows.append(
                    {
                        "parameter": e.name,
                        "module": module,
                        "layer": layer,
                        "head": at.get("head", -1),
                        "projection": projection,
                        "neuron": at.get("neuron", -1),
                        "token": at.get("token", -1),
                        "position": at.get("position", -1),
                        "offset": offset,
                        "size": e.atom_size,
                    }
                )
                offset += e.atom_size
        return pd.DataFrame(rows)

    def groups(self, grouping: str) -> pd.Series:
        """Group name of every atom under a grouping.

        ``head`` gives ``L1H3`` for a head's q, k, v and o together and the module's name for all
        else; ``head_projection`` gives ``L1H3.q``; ``neuron`` gives ``L0N17``; ``token`` the row of
        the token embedding.

        Raises:
            AnalysisError: the grouping is not one of ``GROUPINGS``.
        """
        a = self.atoms
        if grouping == "whole":
            return pd.Series("all", index=a.index)
        if grouping == "layer":
            return (
                a["layer"]
                .map(lambda x: f"layer_{x}" if x >= 0 else "")
                .where(a["layer"] >= 0, a["module"])
            )
        if grouping in ("module", "parameter"):
            return a[grouping]
        if grouping == "atom":
            return a.index.to_series().map(lambda i: f"atom_{i}")
        head = "L" + a["layer"].astype(str) + "H" + a["head"].astype(str)
        if grouping == "head":
            return head.where(a["head"] >= 0, a["module"])
        if grouping == "head_projection":
            return (head + "." + a["projection"]).where(a["head"] >= 0, a["module"])
        if grouping == "neuron":
            neuron = "L" + a["layer"].astype(str) + "N" + a["neuron"].astype(str)
            return neuron.where(a["neuron"] >= 0, a["module"])
        if grouping == "token":
            return ("token_" + a["token"].astype(str)).where(a["token"] >= 0, a["module"])
        raise AnalysisError(
            what=f"unknown parameter grouping {grouping!r}",
            where="groups",
            expected=f"one of {', '.join(GROUPINGS)}",
            do=f"did you mean {nearest(grouping, GROUPINGS)!r}?",
        )

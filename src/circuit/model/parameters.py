"""Names of a decoder's parameters, of their finest pieces, and of groups of these.

1. An *entry* is a named tensor of the flat parameter vector, with named axes.
2. An *atom* is one index of its structural axes (projection, head, neuron, token, position), a
   contiguous run of the vector.
3. A *grouping* gives every atom the name of its group, so it is a partition.

Nothing here needs torch, so that settings which name groups can be checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

from circuit.config.recipe import ModelSettings
from circuit.config.terms import GROUPINGS
from circuit.errors import AnalysisError, nearest

PROJECTIONS = ("q", "k", "v")
_NEURON_PARTS = {"W_in": "in", "b_in": "bias", "W_out": "out"}


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


class Atom(NamedTuple):
    """One index of an entry's structural axes; what does not apply is -1 or ``""``."""

    parameter: str
    module: str
    layer: int
    head: int
    projection: str
    neuron: int
    token: int
    position: int
    offset: int
    size: int


def entries_of(settings: ModelSettings, vocab_size: int) -> tuple[Entry, ...]:
    """A decoder's parameters in memory order."""
    s = settings
    entries: list[Entry] = []

    def add(name: str, structural: int, **axes: int) -> None:
        offset = entries[-1].offset + entries[-1].size if entries else 0
        entries.append(Entry(name, tuple(axes.values()), tuple(axes), structural, offset))

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
    return tuple(entries)


def atoms_of(entries: Iterable[Entry]) -> list[Atom]:
    """All atoms in memory order."""
    atoms: list[Atom] = []
    for e in entries:
        layer = int(e.name.split(".")[0].removeprefix("layer_")) if "layer_" in e.name else -1
        for number, index in enumerate(product(*map(range, e.atom_shape))):
            at = dict(zip(e.axes, index, strict=False))
            projection = PROJECTIONS[at["projection"]] if "projection" in at else ""
            atoms.append(
                Atom(
                    parameter=e.name,
                    module=e.name.rsplit(".", 1)[0],
                    layer=layer,
                    head=at.get("head", -1),
                    projection="o" if e.name.endswith("W_O") else projection,
                    neuron=at.get("neuron", -1),
                    token=at.get("token", -1),
                    position=at.get("position", -1),
                    offset=e.offset + number * e.atom_size,
                    size=e.atom_size,
                )
            )
    return atoms


# Name of an atom's group. Where there is none of the kind it is that of the atom's module.
_GROUP_OF: dict[str, Callable[[Atom], str | None]] = {
    "whole": lambda a: "all",
    "layer": lambda a: f"layer_{a.layer}" if a.layer >= 0 else None,
    "module": lambda a: a.module,
    "head": lambda a: f"L{a.layer}H{a.head}" if a.head >= 0 else None,
    "head_projection": lambda a: f"L{a.layer}H{a.head}.{a.projection}" if a.head >= 0 else None,
    "neuron": lambda a: f"L{a.layer}N{a.neuron}" if a.neuron >= 0 else None,
    "neuron_part": lambda a: (
        f"L{a.layer}N{a.neuron}.{_NEURON_PARTS[a.parameter.rsplit('.', 1)[1]]}"
        if a.neuron >= 0
        else None
    ),
    "token": lambda a: f"token_{a.token}" if a.token >= 0 else None,
    "parameter": lambda a: a.parameter,
}


def group_names(atoms: Sequence[Atom], grouping: str) -> list[str]:
    """Group name of every atom under a grouping.

    ``head`` gives ``L1H3`` for a head's q, k, v and o together and the module's name for all else;
    ``head_projection`` gives ``L1H3.q``; ``neuron`` gives ``L0N17`` and ``neuron_part`` its in-row
    ``L0N17.in``, in-bias ``L0N17.bias`` and out-column ``L0N17.out``; ``token`` the row of the
    token embedding.

    Raises:
        AnalysisError: the grouping is not one of ``GROUPINGS``.
    """
    if grouping == "atom":
        return [f"atom_{number}" for number in range(len(atoms))]
    if grouping not in _GROUP_OF:
        raise unknown_grouping(grouping, GROUPINGS)
    name = _GROUP_OF[grouping]
    return [name(atom) or atom.module for atom in atoms]


def unknown_grouping(grouping: str, valid: Sequence[str]) -> AnalysisError:
    """The error for a grouping that there is not."""
    guess = nearest(grouping, valid)
    return AnalysisError(
        what=f"unknown parameter grouping {grouping!r}",
        where="groups",
        expected=f"one of {', '.join(valid)}",
        do=f"did you mean {guess!r}?" if guess else "name one of these",
    )

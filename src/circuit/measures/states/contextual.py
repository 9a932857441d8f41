"""States sorted by what they should know, and the singular directions that should read it.

1. One pass over whole programs per checkpoint leaves the states at every residual stage, and those
   that the chosen heads read, at every role of every read
   (:mod:`circuit.measures.states.grouped_states`).
2. Separability (:mod:`circuit.measures.states.scatter`) of the groups is measured in the whole
   space at every stage, and projected into the heads' singular subspaces, each where the head reads
   or writes (:mod:`circuit.measures.states.head_views`).
3. There, the subspaces' alignment with group means, PCA axes and static token embeddings is
   measured too.
4. Controls beside every number: shuffled labels, and random subspaces of the same rank. Both are
   the same at every checkpoint.

A token's own identity separates its states without any circuit: keys at ``prediction`` and
``support_key``, values at ``support_value``. All else came from elsewhere in the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.measures.states.alignment import random_subspaces
from circuit.measures.states.control_table import Cell, table
from circuit.measures.states.group_pictures import pair_distances, projected
from circuit.measures.states.grouped_states import Grouping, role_states
from circuit.measures.states.head_views import Look, aligned, places, token_rows
from circuit.measures.states.scatter import MEASURES, program_columns
from circuit.measures.sweep.behaviour import Keep, SplitReads, read_pass
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.routing import Head, require_rank
from circuit.scalars.subspace import head_bases
from circuit.task.vocabulary import Vocabulary

FULL = "full"


class Geometry(NamedTuple):
    """What was found; every table has a column ``step``.

    ``rows``: separability by site, role, group, space, measure. ``alignment``: by head, side, what
    it is compared with, measure. ``pairwise`` and ``projections``: of the first and last checkpoint
    only (:mod:`circuit.measures.states.group_pictures`).
    """

    rows: pd.DataFrame
    alignment: pd.DataFrame
    pairwise: pd.DataFrame
    projections: pd.DataFrame


class GeometryAsked(Grouping, Protocol):
    """The groups, and the subspaces compared with them."""

    @property
    def rank(self) -> int: ...

    @property
    def shrinkage(self) -> float: ...


def contextual_geometry(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Iterable[int],
    split: SplitReads,
    vocabulary: Vocabulary,
    heads: Mapping[str, Head],
    settings: GeometryAsked,
) -> Geometry:
    """Measure separability and alignment at every step.

    Args:
        heads: ``winner``, ``runner_up``, ``bottom`` → head; the first is the one that pairs of
            groups and projections are shown for.

    Raises:
        AnalysisError: the rank is too large for a head, or states form no groups.
    """
    require_rank(decoder, settings.rank)
    steps, rank = list(steps), settings.rank
    where = places(heads, settings.roles)
    by_role = role_states(split, vocabulary, settings)
    read = dict.fromkeys(place.site for place in where)
    sites = tuple(dict.fromkeys((*stages(decoder.settings.n_layers), *read)))
    keep = Keep(sites, torch.stack([getattr(split.reads, role) for role in settings.roles], 1))
    random = random_subspaces(settings.draws, decoder.settings.d_model, rank, settings.seed)
    shown = {place.role: place.site for place in where if place.chosen == next(iter(heads))}
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in Geometry._fields}
    for step in steps:
        flat = theta(step)
        kept = read_pass(decoder, flat, split, keep).states
        params = decoder.layout.views(flat.double())
        states = {
            (site, role): kept[site][known.reads, i].double()
            for site in sites
            for i, (role, known) in enumerate(by_role.items())
        }
        of_heads = {chosen: head_bases(params, head, rank) for chosen, head in heads.items()}
        bases = {place: of_heads[place.chosen][f"head_{place.side}"] for place in where}
        look = Look(states, by_role, bases, random)
        tables["rows"].append(table(_separability(look, settings.shrinkage), step))
        tokens = token_rows(params, vocabulary, read)
        tables["alignment"].append(table(aligned(look, tokens), step))
        if step in (steps[0], steps[-1]):
            for role, site in shown.items():
                for name, groups in by_role[role].groups.items():
                    labels = {"step": step, "site": site, "role": role, "group": name}
                    tables["pairwise"].append(pair_distances(states[site, role], groups, labels))
                    tables["projections"].append(projected(states[site, role], groups, labels))
    return Geometry(**{name: pd.concat(t, ignore_index=True) for name, t in tables.items()})


def _separability(look: Look, shrinkage: float) -> list[Cell]:
    """Separability at every stage in the whole space, and of every place in its subspace."""
    cells = []

    def add(
        at: tuple[str, str],
        space: str,
        seen: Float[Tensor, "N r"],
        outside: Mapping[str, Float[np.ndarray, "K m"]],
    ) -> None:
        for name, groups in look.by_role[at[1]].groups.items():
            cells.append(
                Cell(
                    {"site": at[0], "role": at[1], "group": name, "space": space},
                    MEASURES,
                    program_columns(seen, groups, shrinkage),
                    groups.measures(seen[None], groups.shuffled, shrinkage).numpy(),
                    outside.get(name),
                    groups.counts,
                )
            )

    for (site, role), seen in look.states.items():
        if not site.endswith("_attn_input"):  # the stage before it, LayerNorm'd
            add((site, role), FULL, seen, {})
    for at, here in look.shared.items():
        drawn = look.states[at] @ look.random
        outside = {
            name: groups.measures(drawn, groups.codes[None], shrinkage).numpy()
            for name, groups in look.by_role[at[1]].groups.items()
        }
        for place in here:
            add(at, place.space, look.states[at] @ look.bases[place], outside)
    return cells

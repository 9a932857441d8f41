"""States sorted by what they should know, and the singular directions that should read it.

1. One pass over whole programs per checkpoint leaves the states at every residual stage, and those
   that the chosen heads read, at every role (:mod:`circuit.measures.states.grouped_states`).
2. Separability (:mod:`circuit.measures.states.scatter`) of the groups is measured in the whole
   space at every stage, and projected into the heads' singular subspaces, each where the head reads
   or writes. There, the subspaces' alignment with group means, PCA axes and static token embeddings
   is measured too (:mod:`circuit.measures.states.head_views`).
3. Controls beside every number: shuffled labels, and random subspaces of the same rank. Both are
   the same at every checkpoint.
4. Groups *separate* at a stage from the first checkpoint on from which the probe's interval lies
   above that of shuffled labels and above that of the run's first checkpoint, to the end. They do
   so most clearly from the first stage on whose interval at the last checkpoint reaches that of the
   best stage; since it is picked from all stages, its interval holds all of them at once.

A token's own identity separates its states without any circuit: keys at ``prediction`` and
``support_key``, values at ``support_value``. All else came from elsewhere in the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import estimates
from circuit.landmarks import from_then_on
from circuit.measures.states.alignment import random_subspaces
from circuit.measures.states.grouped_states import Grouping, role_states
from circuit.measures.states.head_views import Look, aligned, places, token_rows
from circuit.measures.states.scatter import MEASURES, program_columns
from circuit.measures.states.tables import (
    RANDOM,
    SHUFFLED,
    Cell,
    pair_distances,
    projected,
    table,
)
from circuit.measures.sweep.behaviour import Keep, SplitReads, read_pass
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.routing import Head, require_rank
from circuit.scalars.subspace import head_bases
from circuit.statistics import resamples, simultaneous_interval
from circuit.task.vocabulary import Vocabulary

TOKEN_GROUPS = {"prediction": "query_key", "support_key": "query_key", "support_value": "answer"}
"""By role, the group that the token there names by itself."""
_PROBE = "probe_accuracy"
_NOWHERE = dict.fromkeys(("head", "chosen", "side", "compared", "matched"), "")


class Geometry(NamedTuple):
    """What was found; every table has a column ``step``.

    ``rows``: estimates by site, role and group. Separability is of the whole space where ``head``
    is empty, else of the subspace of one side of a head; ``compared`` is what that subspace is
    aligned with, ``matched`` whether the side should see the group. ``known_by`` says whether the
    token itself names the group. Of the clearest stage there are ``clearest_probe_accuracy``
    (beside its controls, and at the first checkpoint) and ``separates_from``, a step, and of the
    stage before it ``accuracy_one_stage_before``. ``pairwise`` and ``projections``: of the first
    and last checkpoint only (:mod:`circuit.measures.states.tables`).
    """

    rows: pd.DataFrame
    pairwise: pd.DataFrame
    projections: pd.DataFrame


def contextual_geometry(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Iterable[int],
    split: SplitReads,
    vocabulary: Vocabulary,
    heads: Mapping[str, Head],
    grouping: Grouping,
    rank: int,
    shrinkage: float,
) -> Geometry:
    """Measure separability and alignment at every step.

    Args:
        heads: ``winner``, ``runner_up``, ``bottom`` → head; the first is the one that pairs of
            groups and projections are shown for.

    Raises:
        AnalysisError: the rank is too large for a head, or states form no groups.
    """
    require_rank(decoder, rank)
    steps, where = list(steps), places(heads, grouping.roles)
    by_role = role_states(split, vocabulary, grouping)
    read = dict.fromkeys(place.site for place in where)
    sites = tuple(dict.fromkeys((*stages(decoder.settings.n_layers), *read)))
    keep = Keep(sites, torch.stack([getattr(split.reads, role) for role in grouping.roles], 1))
    random = random_subspaces(grouping.draws, decoder.settings.d_model, rank, grouping.seed)
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
        cells = _separability(look, shrinkage)
        tokens = token_rows(params, vocabulary, read)
        tables["rows"] += [table(cells, step), table(aligned(look, tokens), step)]
        if step in (steps[0], steps[-1]):
            for role, site in shown.items():
                for name, groups in by_role[role].groups.items():
                    labels = {"step": step, "site": site, "role": role, "group": name}
                    tables["pairwise"].append(pair_distances(states[site, role], groups, labels))
                    tables["projections"].append(projected(states[site, role], groups, labels))
    found = {name: pd.concat(t, ignore_index=True) for name, t in tables.items()}
    rows = pd.concat([found["rows"], _clearest(found["rows"], cells)], ignore_index=True)
    for frame in (rows, found["pairwise"], found["projections"]):
        known = frame["role"].map(TOKEN_GROUPS) == frame["group"]
        frame.insert(0, "known_by", np.where(known, "token", "context"))
    return Geometry(**{**found, "rows": rows})


def _clearest(rows: pd.DataFrame, cells: Sequence[Cell]) -> pd.DataFrame:
    """Rows of the clearest stage of every role and group; ``cells`` are of the last checkpoint."""
    probes = rows[(rows["measure"] == _PROBE) & (rows["head"] == "")]
    last, column = int(rows["step"].max()), list(MEASURES).index(_PROBE)
    parts = []
    for (role, group), part in probes.groupby(["role", "group"], sort=False):
        at = {"role": role, "group": group}
        own = [c for c in cells if at.items() <= c.labels.items() and not c.labels["head"]]
        per_program = np.stack([cell.columns[:, column] for cell in own], axis=1)
        mean, sites = per_program.mean(0), [cell.labels["site"] for cell in own]
        drawn = resamples(len(per_program), 0) @ per_program / len(per_program)
        low, high = np.clip(simultaneous_interval(mean, drawn), 0, 1)
        i = int((high >= low[mean.argmax()]).argmax())
        here = part[part["site"] == sites[i]].assign(measure=f"clearest_{_PROBE}")
        told = here["step"].eq(last) & here["against"].eq("")
        here.loc[told, ["low", "high"]] = low[i], high[i]
        start = here["step"].eq(rows["step"].min()) & here["against"].eq("")
        parts.append(here[here["step"].eq(last) | start])
        if i:
            before = part[(part["site"] == sites[i - 1]) & part["step"].eq(last)]
            parts.append(before.assign(measure="accuracy_one_stage_before"))
        named = {**at, **_NOWHERE, "site": sites[i], "measure": "separates_from", "step": last}
        onset = {"mean": _onset(part[part["site"] == sites[i]]), "unit": "step"}
        parts.append(estimates(pd.DataFrame([{**named, **onset}])))
    return pd.concat(parts, ignore_index=True)


def _onset(rows: pd.DataFrame) -> float:
    """Step from which the probe at one stage stays beyond its controls; NaN if it never does."""
    seen = rows[rows["against"] == ""].set_index("step").sort_index()
    chance = rows[rows["against"] == SHUFFLED].set_index("step")["high"]
    beyond = (seen["low"] > chance[seen.index]) & (seen["low"] > seen["high"].iloc[0])
    onset = from_then_on(seen.index.to_numpy(), beyond.to_numpy())
    return np.nan if onset is None else onset


def _separability(look: Look, shrinkage: float) -> list[Cell]:
    """Separability at every stage in the whole space, and of every place in its subspace."""
    seen: list[tuple[dict[str, str], Tensor, dict[str, Tensor]]] = [
        ({"site": site, "role": role}, states, {})
        for (site, role), states in look.states.items()
        if not site.endswith("_attn_input")  # the stage before it, LayerNorm'd
    ]
    for at, here in look.shared.items():
        drawn = look.states[at] @ look.random
        random = {
            name: groups.measures(drawn, groups.codes[None], shrinkage)
            for name, groups in look.by_role[at[1]].groups.items()
        }
        seen += [(place._asdict(), look.states[at] @ look.bases[place], random) for place in here]
    cells = []
    for labels, states, outside in seen:
        for name, groups in look.by_role[labels["role"]].groups.items():
            about = {**_NOWHERE, **labels, "group": name}
            columns = program_columns(states, groups, shrinkage)
            controls = {SHUFFLED: groups.measures(states[None], groups.shuffled, shrinkage).numpy()}
            if outside:
                controls[RANDOM] = outside[name].numpy()
            cells.append(Cell(about, MEASURES, columns, controls, groups.counts))
    return cells

"""After a source is removed: where does what the answer lacks enter again?

1. A *source* is a set of heads, MLPs and neurons, the pattern of a head, or a subspace of the state
   at a stage and role. The *damaged* pass has in its place the mean over the events, another
   event's (one random cycle), or nothing; everything after it is recomputed. Of a pattern the mean
   is that of the same positions, and another event's is the row of its place alike, over the same
   positions of keys and brought to sum 1.
2. The *repaired* pass is the damaged one with one thing more put back as it was in the clean pass:
   the ``state`` at a stage and role, the part of it in a ``subspace``, the ``write`` of one later
   head or MLP at a role, the ``input`` (query, key, value) of one later head, or the writes of a
   ``group`` of later components. *Rescue* is S(repaired) − S(damaged); its *share* is of S(clean) −
   S(damaged), as a ratio of means, and missing where the interval of that holds 0. S is the answer
   of :mod:`circuit.measures.paths.answer`, and events are programs.
3. ``order_averaged`` shares (:mod:`circuit.experiments.shapley`) of all later components, restored
   together; what is left of the damage is what the source does by itself, ``DIRECT``. They sum to
   the damage. ``interaction`` of a group is its rescue minus the sum of its members' single ones.
   Below 0 one alone brings back what the others would bring. Above 0 they need each other.
4. Controls: the same for the answers of other programs; states and writes of another event put back
   (another answer's, the place alike); for groups all other groups of as many components, a band;
   for identities of values those of keys and the other way round, and random subspaces of the same
   energy, a band. Excesses hold all numbers of a checkpoint at once.
5. *By construction*: a state that the damage has not reached gives 0, and one with all of the
   damage (every position that the answer is read from) gives 1. ``miss`` is the largest distance of
   the second from the clean answer: a check, no finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuit.estimates import Estimates, estimates
from circuit.experiments.changes import Change, Where, add, replace
from circuit.experiments.donors import OTHERS, Shuffle, draw_shuffles, random_cycle, stand_in
from circuit.experiments.edits import AtSites, components, write_places
from circuit.experiments.shapley import Sets, shares
from circuit.experiments.subspaces import Subspace, energy_matched
from circuit.experiments.trial import LIKE_LENGTHS, Trial, is_readout
from circuit.measures.paths.answer import add_beside_others, answers
from circuit.model.sites import parse_component, parse_head, sites, stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen
from circuit.scalars.write import component_write, stage_after
from circuit.task.events import ReadEvents

RESCUE, MISS = "rescue", "miss"
WHOLE, STATE, SUBSPACE, WRITE, INPUT = "whole", "state", "subspace", "write", "input"
AVERAGED, GROUP, INTERACTION = "order_averaged", "group", "interaction"
EVERY, DIRECT, TOGETHER = "all later components", "the source by itself", " + "
ANOTHER, ALIKE = "states of another event", "other groups of as many"
RANDOM, IDENTITY = "random subspaces of the same energy", "the other identity"
NONE, ALL = "none of the damage", "all of the damage"
PATTERN = ".pattern"
INSIDE, EVERYWHERE = "causal_prefix", "all positions"
IDENTITIES = ("embedding_value_identity", "embedding_key_identity")
_REACHED = 1e-5  # of the largest entry of a state: far above what a batch's rounding changes
_DECIMALS = 4  # of logits that float32 tells apart
_Changes = tuple[tuple[Where, Change], ...]


class Repair(NamedTuple):
    """What is put back."""

    repair: str
    what: str
    role: str = EVERYWHERE
    subspace: str = ""
    by_construction: str = ""


KEYS = ("source", "ablation", *Repair._fields)


class Source(NamedTuple):
    """What is removed: ``members`` such as L0H1, L0MLP, L0N3, L1H2.pattern, or an identity."""

    members: tuple[str, ...] = ()
    subspace: str = ""
    stage: str = ""
    role: str = ""

    @property
    def components(self) -> set[str]:
        """Heads and MLPs that it is in."""
        return {re.sub(r"N\d+$", "MLP", one.removesuffix(PATTERN)) for one in self.members}


@dataclass(frozen=True, eq=False)
class Damaged:
    """The clean pass, the damaged one (of which trials go on), and the changes between them."""

    clean: Seen
    trial: Trial
    changes: _Changes

    def rescued(self, repairs: Mapping[Any, _Changes]) -> dict[Any, Float[Tensor, "E 2"]]:
        """S(repaired) − S(damaged) of every repair."""
        base = answers(self.trial.clean)
        edits = {label: self._edit(repair) for label, repair in repairs.items()}
        return {label: answers(seen) - base for label, _, seen in self.trial.passes(edits)}

    def _edit(self, repair: _Changes) -> AtSites:
        """Both changes: of the damage what comes behind the repair's beginning."""
        order = sites(self.clean.decoder.settings.n_layers)
        first = min(order.index(where.site) for where, _ in repair)
        behind = [one for one in self.changes if order.index(one[0].site) > first]
        return AtSites((*behind, *repair))

    def later(self, source: Source) -> list[str]:
        """Heads and MLPs that write otherwise in the damaged pass, but for the source's own."""
        passes = self.clean, self.trial.clean
        every = [n for n in components(self.clean.decoder.settings) if n not in source.components]
        writes = {name: [component_write(seen, name) for seen in passes] for name in every}
        return [name for name, both in writes.items() if self.differs(*both).any()]

    def differs(self, before: Float[Tensor, "E T d"], after: Tensor) -> Bool[Tensor, "E T"]:
        """Where two passes differ, before the prediction position and at it."""
        apart = (before - after).abs().amax(-1) > _REACHED * before.abs().max()
        return apart & self.clean.events.causal_prefix

    def construction(self, stage: str, role: str) -> str:
        """What a repair of whole states does by construction (step 5)."""
        events = self.clean.events
        apart = self.differs(self.clean.sites[stage], self.trial.clean.sites[stage])
        if is_readout(stage, "prediction", self.clean.decoder.settings):
            apart &= events.role_mask("prediction")
        inside = events.role_mask(role)
        return NONE if not (apart & inside).any() else "" if (apart & ~inside).any() else ALL

    def places(self, asked: Asked) -> Iterator[tuple[Repair, Where, Float[Tensor, "E T d"]]]:
        """Identities in states where some of the damage is: where that is, and the clean state."""
        every = stages(self.clean.decoder.settings.n_layers)[:-1]
        for stage, role, name in product(every, asked.roles, asked.subspaces):
            if (built := self.construction(stage, role)) != NONE:
                where = Where(stage, self.clean.events.role_mask(role))
                yield Repair(SUBSPACE, stage, role, name, built), where, self.clean.sites[stage]

    def together(
        self, parts: Sequence[str], sets: Sets, seen: Seen | None = None, block: int = 0
    ) -> dict[tuple[int, ...], Float[Tensor, "E 2"]]:
        """S with the clean writes of sets of parts, minus S(damaged).

        Sets that restore the same of the first components share the pass up to there (``seen``,
        which has what is restored before the ``block``-th stage).
        """
        settings, base = self.clean.decoder.settings, answers(self.trial.clean)
        seen = self.trial.clean if seen is None else seen
        order = [stage_after(name, settings) for name in parts]
        every = list(dict.fromkeys(order))
        if block == len(every):
            return dict.fromkeys(sets, answers(seen) - base)
        here, behind = (
            torch.tensor([at in some for at in order])
            for some in (every[block], every[block + 1 :])
        )
        alike: dict[bytes, list[tuple[int, ...]]] = {}
        for one, held in sets.items():
            alike.setdefault((held & here).numpy().tobytes(), []).append(one)
        lost = {
            i: component_write(self.clean, name) - component_write(seen, name)
            for i, name in enumerate(parts)
            if here[i]
        }
        found: dict[tuple[int, ...], Tensor] = {}
        last = {}
        trial, wanted = Trial(seen, self.trial.parts), frozenset(self.trial.clean.sites)
        for labels in alike.values():
            group = {one: sets[one] for one in labels}
            held, left = group[labels[0]], seen
            on = {one: some for one, some in group.items() if (some & behind).any()}
            if (held & here).any():
                given = torch.stack([held[:, i, None, None] * one for i, one in lost.items()])
                edit = self._edit(((Where(every[block]), add(given.sum(0))),))
                if ended := tuple(one for one in labels if one not in on):
                    last[ended] = edit
                if on:
                    ((_, _, left),) = trial.passes({0: edit}, wanted)
            else:
                on = group
            if on:
                found |= self.together(parts, on, left, block + 1)
        for ended, _, left in trial.passes(last):
            found.update(dict.fromkeys(ended, answers(left) - base))
        return found


class Asked(NamedTuple):
    """What is put back: states and writes at ``roles``, of states ``subspaces`` (of
    ``IDENTITIES``), and beside all later components and all pairs of them ``groups`` of heads and
    MLPs, after sources that come before all of these. ``draws`` are of random subspaces and groups,
    ``orders`` of later components, where they are too many for all sets.
    """

    roles: Sequence[str]
    subspaces: Sequence[str] = ()
    groups: Mapping[str, Sequence[str]] = {}
    draws: int = 20
    orders: int = 8
    seed: int = 0


def rescue(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    events: ReadEvents,
    value_ids: range,
    sources: Mapping[str, Source],
    ablations: Sequence[str],
    asked: Asked,
) -> pd.DataFrame:
    """Rescue after every source's removal (``mean``, ``resample``, ``zero``) at every step.

    Returns:
        Estimates by ``KEYS`` of ``rescue`` in logits and of its share, and ``miss``, exact.

    Raises:
        AnalysisError: a part does not exist, there are fewer than three events, or all have the
            same answer.
    """
    patterns = any(PATTERN in one for source in sources.values() for one in source.members)
    kept = r".*_(z|q|k|v|neurons|mlp_write|post_attn|post_mlp" + "|pattern" * patterns + ")"
    every = sites(decoder.settings.n_layers)
    wanted = {site for site in every if re.fullmatch(kept, site)} | {"embedding", "final_norm"}
    cycle = random_cycle(events, asked.seed)
    (another,) = draw_shuffles(events, 1, asked.seed)
    width, tables = decoder.settings.d_model, []
    for step in steps:
        trial = Trial.of(decoder, theta(step), events, value_ids, wanted, LIKE_LENGTHS)
        bases = {
            name: Subspace(name).basis(trial.clean, theta(step), width, fit=True)
            for name in IDENTITIES
        }
        for (name, source), ablation in product(sources.items(), ablations):
            hurt = damaged(trial, source_changes(trial.clean, source, ablation, cycle, bases))
            families = len(sources) * len(ablations)
            table = Estimates(step, {RESCUE: "logit"}, families=families, decimals=_DECIMALS)
            whole = answers(hurt.clean) - answers(hurt.trial.clean)
            _add(table, whole, Repair(WHOLE, "clean state", ""))
            miss, parts = 0.0, hurt.later(source)
            found = hurt.rescued(_repairs(hurt, parts, another, bases, asked))
            for (one, against), values in found.items():
                _add(table, values, one, against)
                if (one.repair, one.role, against) == (STATE, EVERYWHERE, ""):
                    due = whole * (one.by_construction == ALL)
                    miss = max(miss, float((values - due).abs().max()))
            if parts:
                _groups(table, hurt, whole, parts, asked)
            table.excesses(OTHERS, ANOTHER, IDENTITY)
            table.share_of(repair=WHOLE, against="")
            _random(table, hurt, bases, asked)
            exact = pd.DataFrame([{"measure": MISS, "mean": miss, "unit": "logit"}])
            for part in (table.frame(), estimates(exact, step=step)):
                tables.append(part.assign(source=name, ablation=ablation))
    rows = pd.concat(tables, ignore_index=True).fillna(dict.fromkeys(KEYS, ""))
    return estimates(rows)


def damaged(trial: Trial, changes: _Changes) -> Damaged:
    """The pass without a source; ``trial`` has what is put back."""
    clean = trial.clean
    wanted = frozenset(
        site for site in clean.sites if not site.endswith(("_pattern", "_q", "_k", "_v"))
    )
    ((_, _, left),) = trial.passes({"": AtSites(changes)}, wanted)
    return Damaged(clean, Trial(left, trial.parts), changes)


def source_changes(
    clean: Seen,
    source: Source,
    ablation: str,
    cycle: Shuffle,
    bases: Mapping[str, Float[Tensor, "d r"]],
) -> _Changes:
    """What stands in a source's place, and where."""
    inside, settings = clean.events.causal_prefix, clean.decoder.settings
    if source.subspace:
        mask, states = clean.events.role_mask(source.role), clean.sites[source.stage]
        instead = stand_in(ablation, states, mask, cycle)
        return ((Where(source.stage, mask), replace(instead, bases[source.subspace])),)
    plain = [one for one in source.members if not one.endswith(PATTERN)]
    found = [
        (where, replace(stand_in(ablation, clean.sites[where.site], inside, cycle)))
        for where in write_places(plain, settings)
    ]
    for one in (one for one in source.members if one.endswith(PATTERN)):
        layer, head = parse_head(one.removesuffix(PATTERN), settings.n_layers, settings.n_heads)
        rows = clean.sites[f"layer_{layer}_pattern"]
        if ablation == "resample":
            instead = rows[cycle.donor[:, None], :, cycle.position].transpose(1, 2).tril()
            instead = instead / instead.sum(-1, keepdim=True).clamp(min=_REACHED)
        else:
            count = inside.sum(0).clamp(min=1)[:, None]
            instead = (rows * inside[:, None, :, None]).sum(0) / count * (ablation == "mean")
        found.append((Where(f"layer_{layer}_pattern", heads=(head,)), replace(instead)))
    return tuple(found)


def _repairs(
    hurt: Damaged,
    parts: Sequence[str],
    another: Shuffle,
    bases: Mapping[str, Float[Tensor, "d r"]],
    asked: Asked,
) -> dict[tuple[Repair, str], _Changes]:
    """Repairs of states, identities, writes and inputs, beside the controls of each."""
    clean, settings = hurt.clean, hurt.clean.decoder.settings
    found: dict[tuple[Repair, str], _Changes] = {}

    def put(one: Repair, where: Where, changes: Mapping[str, Change]) -> None:
        found.update({(one, against): ((where, change),) for against, change in changes.items()})

    def clean_or(own: Tensor, basis: Float[Tensor, "d r"] | None = None) -> dict[str, Change]:
        return {"": replace(own, basis), ANOTHER: replace(another(own), basis)}

    roles = {role: clean.events.role_mask(role) for role in (*asked.roles, INSIDE)}
    for stage, role in product(stages(settings.n_layers)[:-1], roles):
        built = hurt.construction(stage, role)
        if role == INSIDE or built != NONE:
            one = Repair(STATE, stage, _told(role), "", built)
            put(one, Where(stage, roles[role]), clean_or(clean.sites[stage]))
    for one, where, own in hurt.places(asked):
        (other,) = {*IDENTITIES} - {one.subspace}
        put(
            one, where, {**clean_or(own, bases[one.subspace]), IDENTITY: replace(own, bases[other])}
        )
    for name, role in product(parts, roles):
        write, gone = component_write(clean, name), component_write(hurt.trial.clean, name)
        where = Where(stage_after(name, settings), roles[role])
        # Of the last layer's writes the answer reads one position.
        if role == INSIDE or not is_readout(where.site, INSIDE, settings):
            both = {"": add(write - gone), ANOTHER: add(another(write) - gone)}
            put(Repair(WRITE, name, _told(role)), where, both)
    for name, part in product(parts, "qkv"):
        layer, head = parse_component(name, settings)
        if head is not None:
            where = Where(f"layer_{layer}_{part}", roles[INSIDE], (head,))
            put(Repair(INPUT, f"{name}.{part}"), where, clean_or(clean.sites[where.site]))
    return found


def _groups(
    table: Estimates,
    hurt: Damaged,
    whole: Float[Tensor, "E 2"],
    parts: Sequence[str],
    asked: Asked,
) -> None:
    """Add order-averaged shares, groups beside others as large, and interactions."""
    n, count = len(parts), len(whole)
    known: dict[tuple[int, ...], Tensor] = {}

    def value(sets: Sets) -> dict[tuple[int, ...], Tensor]:
        known.update(hurt.together(parts, sets))
        return known

    def members(names: Sequence[str]) -> tuple[int, ...]:
        return tuple(int(name in names) for name in parts)

    averaged = shares(value, n, count, asked.orders, asked.seed)
    for name, share in zip(parts, averaged, strict=True):
        _add(table, share, Repair(AVERAGED, name))
    _add(table, whole - averaged.sum(0), Repair(AVERAGED, DIRECT))
    named = {TOGETHER.join(pair): members(pair) for pair in combinations(parts, 2)}
    named |= {name: members(some) for name, some in asked.groups.items() if set(some) <= {*parts}}
    named[EVERY] = members(parts)
    rng, wanted = np.random.default_rng(asked.seed), {members((name,)) for name in parts}
    for size in {sum(held) for held in named.values()}:
        wanted |= {members(rng.permutation(parts)[:size].tolist()) for _ in range(asked.draws)}
    wanted |= set(named.values())
    value({one: torch.tensor(one).bool().expand(count, n) for one in sorted(wanted - {*known})})
    for name, held in named.items():
        _add(table, known[held], Repair(GROUP, name))
        alike = [one for one in known if len(one) == n and sum(one) == sum(held) and one != held]
        if alike:
            _add_draws(table, [known[one] for one in alike], ALIKE, Repair(GROUP, name))
        if n > 1:
            single = [known[members((part,))] for part, has in zip(parts, held, strict=True) if has]
            _add(table, known[held] - torch.stack(single).sum(0), Repair(INTERACTION, name))


def _random(
    table: Estimates, hurt: Damaged, bases: Mapping[str, Float[Tensor, "d r"]], asked: Asked
) -> None:
    """Add what random subspaces of the same energy give back."""
    generator = torch.Generator().manual_seed(asked.seed)
    for one, where, own in hurt.places(asked):
        assert where.positions is not None
        spread, basis = own[where.positions].double().T.cov(correction=0), bases[one.subspace]
        repairs = {
            i: ((where, replace(own, energy_matched(spread, basis, generator))),)
            for i in range(asked.draws)
        }
        _add_draws(table, [*hurt.rescued(repairs).values()], RANDOM, one)


def _told(role: str) -> str:
    return EVERYWHERE if role == INSIDE else role


def _add(table: Estimates, values: Float[Tensor, "E 2"], one: Repair, against: str = "") -> None:
    """Add a number and, of one that is no control, the same for the answers of others."""
    if against:
        table.add(values[:, 0].numpy(), RESCUE, against, **one._asdict())
    else:
        add_beside_others(table, values, RESCUE, **one._asdict())


def _add_draws(
    table: Estimates, values: Sequence[Float[Tensor, "E 2"]], against: str, one: Repair
) -> None:
    table.add_draws(torch.stack([*values])[..., 0].numpy(), RESCUE, against, **one._asdict())

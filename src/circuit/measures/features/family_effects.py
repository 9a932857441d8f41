"""What families of features do to the answer, over training, each beside its random control.

1. A family is some features at one *role*, a position of every event. Its *score* is their mean
   activation there. *Ablated*, a feature i is silent: the state x becomes x - f_i d_i. In a
   *sub-patch* features are as they are in another state, at another checkpoint or in a pair's other
   program: x + Σ (f_i' - f_i) d_i. What the dictionary does not reconstruct of x stays as it is.
2. Control: *random features*, sets of as many others that fire at the role, each drawn among those
   ``NEAREST`` to the member that it stands for in the logarithms of firing rate and mean length of
   f_i d_i. They are drawn anew for each set; the excess over them holds the draw.
3. Effects are on the answer's margin over the best wrong answer, of events that did not choose the
   family: S(clean) - S(ablated), S(sub-patched) - S(earlier), and S(clean) - S(patched) of a pair,
   on the logit of the clean answer less that of the other one. Shares are of what the same does
   with all features of the dictionary at the role (``ALL_FEATURES``).
4. A family is *born active* at the checkpoint from which on its score is half its last one, and
   *born useful* at that from which on its ablation is shown to cost more than random features'.
5. *Lineage*: what is left of the score without the write of an earlier component, whose mean stands
   in its place, told beside what the same takes from the score of random features.
6. *Competition* of two families without a common feature: what ablating both costs beyond the sum
   of either. Above 0 they stand in for each other, below 0 they need each other. Their *order
   averaged* costs (:mod:`circuit.experiments.shapley`) share it out equally.

Excesses hold all numbers of one measure at a checkpoint at once. One at a time, 9 of 48 effects of
families of untrained models were shown or opposite, and 8 of 25 of single features; so 2 and 2 are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import Estimates, estimates
from circuit.evidence import agreed, by_control
from circuit.experiments.changes import Where, zero
from circuit.experiments.donors import sets_alike
from circuit.experiments.edits import (
    AtSites,
    Edit,
    NoEmbedding,
    Removed,
    components,
    removal_sites,
)
from circuit.experiments.shapley import Sets, shares
from circuit.experiments.trial import LIKE_LENGTHS, Trial
from circuit.landmarks import half_of_end_step, held_from
from circuit.model.sites import sites, state_site
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar, pick
from circuit.scalars.behaviour import answer_margin
from circuit.scalars.features import Dictionary
from circuit.scalars.write import stage_after
from circuit.task.events import ReadEvents

RANDOM = "random features of the same rate"
ALL_FEATURES = "all features"
EMBEDDING, WHOLE = "embedding", "the whole score"
SCORE, EFFECT, PATCH, PAIR = "score", "effect", "sub_patch", "pair_patch"
MEMBER, LINEAGE = "member_effect", "lineage"
ACTIVE, USEFUL = "born_active", "born_useful"
UNITS = {
    **dict.fromkeys((SCORE, "score_change", LINEAGE), "activation"),
    **dict.fromkeys((EFFECT, "effect_change", PATCH, PAIR, MEMBER), "logit"),
    **dict.fromkeys(("interaction", "order_averaged", "difference"), "logit"),
}
_BOTH = tuple(product((0, 1), repeat=2))
Label = TypeVar("Label", bound=Hashable)
Parts = Iterable[tuple[str, Sequence[int]]]
Values = Float[np.ndarray, " E"]


class Family(NamedTuple):
    """Features at a role, the one that costs most first, and R sets of random ones beside."""

    name: str
    role: str
    members: tuple[int, ...]
    drawn: Int[np.ndarray, "R m"]

    @property
    def sets(self) -> dict[int, Sequence[int]]:
        """Its members as number -1, and random features by the number of their draw."""
        return {-1: self.members, **{i: one.tolist() for i, one in enumerate(self.drawn)}}


@dataclass(frozen=True, eq=False)
class Bench:
    """Events in one state of the model, and what features of a dictionary do there, by role."""

    trial: Trial
    dictionary: Dictionary
    site: str
    active: Mapping[str, Float[Tensor, "E F"]]

    @classmethod
    def of(
        cls,
        decoder: Decoder,
        theta: Float[Tensor, " P"],
        events: ReadEvents,
        value_ids: range,
        dictionary: Dictionary,
        roles: Iterable[str],
    ) -> Bench:
        """Make the clean pass."""
        shape = decoder.settings
        site = state_site(dictionary.stage, shape.n_layers)
        begin = AtSites(((Where(site), zero()),)).stage(shape)
        kept = removal_sites(shape.n_layers) | {site, begin, EMBEDDING}
        trial = Trial.of(decoder, theta, events, value_ids, kept, LIKE_LENGTHS)
        return cls(trial, dictionary, site, {}).reading(dictionary, roles)

    def reading(self, dictionary: Dictionary, roles: Iterable[str]) -> Bench:
        """The same pass with another dictionary of its states."""
        seen = self.trial.clean
        active = {
            role: dictionary.encode(pick(seen.sites[self.site], seen.events.role_position(role)))
            for role in roles
        }
        return Bench(self.trial, dictionary, self.site, active)

    def moved(self, parts: Parts, to: Mapping[str, Float[Tensor, "E F"]] | None = None) -> AtSites:
        """The edit in which some features of roles are as in ``to``, or (None) silent."""
        changes = []
        for role, features in parts:
            chosen = torch.as_tensor(list(features))
            own = self.active[role][:, chosen]
            new = torch.zeros_like(own) if to is None else to[role][:, chosen]
            moved = (new - own) @ self.dictionary.W_dec[chosen].to(own)
            at = self.trial.clean.events.role_position(role)
            changes.append((Where(self.site), partial(_shifted, at, moved)))
        return AtSites(tuple(changes))

    def costs(
        self, edits: Mapping[Label, AtSites], scalar: Scalar | None = None
    ) -> dict[Label, Values]:
        """S(clean) - S(edited), by default of the answer's margin."""
        asked = {"": scalar or answer_margin(None)}
        clean = self.trial.unedited(asked)[""]
        return {label: clean - one[""] for (label, _), one in self.trial.run(edits, asked).items()}

    def beside(
        self,
        families: Sequence[Family],
        to: Mapping[str, Tensor] | None = None,
        scalar: Scalar | None = None,
    ) -> dict[tuple[str, int], Values]:
        """Costs of moving every family's sets by name and draw, and of all features by role."""
        every = range(self.dictionary.size)
        edits = {(role, -1): self.moved([(role, every)], to) for role in self.active}
        for one in families:
            for draw, chosen in one.sets.items():
                edits[one.name, draw] = self.moved([(one.role, chosen)], to)
        return self.costs(edits, scalar)

    def scores(self, families: Sequence[Family]) -> dict[tuple[str, int], Values]:
        """Scores by name and draw."""
        return {
            (one.name, draw): _mean(self.active[one.role], chosen)
            for one in families
            for draw, chosen in one.sets.items()
        }


def _shifted(at: Int[Tensor, " E"], by: Float[Tensor, "E d"], value: Tensor) -> Tensor:
    return value.index_put((torch.arange(len(at)), at), by.to(value), accumulate=True)


def _mean(active: Float[Tensor, "E F"], chosen: Sequence[int]) -> Values:
    found: np.ndarray = active[:, list(chosen)].double().mean(1).numpy()
    return found


class Rates(NamedTuple):
    """How features fire at a role: on which share of states, and the mean length of f_i d_i."""

    rate: Float[np.ndarray, " F"]
    length: Float[np.ndarray, " F"]

    @classmethod
    def of(cls, active: Float[Tensor, "E F"], dictionary: Dictionary) -> Rates:
        """From activations."""
        length = active.double().mean(0) * dictionary.W_dec.double().norm(dim=1)
        return cls((active > 0).double().mean(0).numpy(), length.numpy())

    def firing(self, least: float) -> Bool[np.ndarray, " F"]:
        """Which fire on a share of at least ``least`` of states."""
        return self.rate >= least


def random_features(
    rates: Rates,
    members: Sequence[int],
    least: float,
    draws: int,
    seed: int,
    banned: Sequence[int] = (),
) -> Int[np.ndarray, "R m"]:
    """Step 2 of the module; none of ``banned`` is drawn, nor one twice in a set.

    Raises:
        AnalysisError: fewer other features fire than the family has.
    """
    firing = rates.firing(least)
    firing[[*members, *banned]] = False
    pool = np.flatnonzero(firing)
    if len(pool) < len(members):
        raise AnalysisError(
            f"a family of {len(members)} features has {len(pool)} others to be compared with",
            where="families: features that fire at its role",
            expected="at least as many others as it has itself",
            do="raise agreement, lower families or least_rate, or take a larger dictionary",
        )
    with np.errstate(divide="ignore"):
        place = np.stack([np.log(rates.rate), np.log(rates.length)], 1)
    distance = np.square(place[list(members)][:, None] - place[pool]).sum(-1)
    nearest = pool[distance.argsort(1, kind="stable")].tolist()
    return np.array(sets_alike(nearest, draws, np.random.default_rng(seed)))


def over_training(
    bench_of: Callable[[int], Bench],
    last: Bench,
    steps: Sequence[int],
    earlier: int,
    families: Sequence[Family],
) -> pd.DataFrame:
    """Steps 3 and 4 of the module, on the same events at every checkpoint.

    ``bench_of`` gives states of the model by step, ``last`` is the last one. Estimates of score,
    effect and their ``_change`` from ``earlier`` to the last step, of the sub-patch, of births.
    """
    parts: list[pd.DataFrame] = []
    for step in steps:
        bench = last if step == steps[-1] else bench_of(step)
        found = {SCORE: bench.scores(families), EFFECT: bench.beside(families)}
        if step == earlier:
            found[PATCH] = {k: -v for k, v in bench.beside(families, to=last.active).items()}
            kept = found
        if step == steps[-1]:
            found |= {
                f"{measure}_change": {k: v - kept[measure][k] for k, v in found[measure].items()}
                for measure in (SCORE, EFFECT)
            }
        parts += [_told(step, measure, families, by) for measure, by in found.items()]
    rows = pd.concat(parts, ignore_index=True)
    return pd.concat([rows, _births(rows, families, steps)], ignore_index=True)


def _told(
    step: int,
    measure: str,
    families: Sequence[Family],
    found: Mapping[tuple[str, int], Values],
    noun: str = "programs",
) -> pd.DataFrame:
    """Rows of numbers by name and draw, and their shares of what all features do."""
    parts = []
    for role in dict.fromkeys(one.role for one in families):
        here = [one for one in families if one.role == role]
        rows = Estimates(step, UNITS, noun, families=len({one.role for one in families}))
        if (role, -1) in found:
            rows.add(found[role, -1], measure, family=ALL_FEATURES)
            rows.share_of(family=ALL_FEATURES)
        for one in here:
            rows.add(found[one.name, -1], measure, family=one.name)
            drawn = np.stack([found[one.name, draw] for draw in range(len(one.drawn))])
            rows.add_draws(drawn, measure, RANDOM, family=one.name)
        parts.append(rows.frame().assign(role=role))
    return pd.concat(parts, ignore_index=True)


def _births(rows: pd.DataFrame, families: Sequence[Family], steps: Sequence[int]) -> pd.DataFrame:
    found: list[dict[str, Any]] = []
    for one in families:
        own = rows[rows["family"] == one.name]
        for against in ("", RANDOM):
            score = own[(own["measure"] == SCORE) & (own["against"] == against)]
            ends = (score[name].to_numpy() for name in ("mean", "low", "high"))
            when = half_of_end_step(np.array(steps), *ends)
            found.append({"family": one.name, "measure": ACTIVE, "against": against, "mean": when})
        cost = own[own["measure"] == EFFECT]
        shown = {
            int(step): agreed(by_control(part)) == "shown" for step, part in cost.groupby("step")
        }
        found.append({"family": one.name, "measure": USEFUL, "mean": held_from(shown)})
    frame = pd.DataFrame(found).fillna({"against": ""})
    return estimates(frame, "step", step=steps[-1])


def members(bench: Bench, step: int, families: Sequence[Family]) -> pd.DataFrame:
    """What ablating each member alone costs, beside the features drawn for it."""
    edits = {
        (one.name, place, draw): bench.moved([(one.role, [chosen[place]])])
        for one in families
        for place in range(len(one.members))
        for draw, chosen in one.sets.items()
    }
    costs, rows = bench.costs(edits), Estimates(step, UNITS, "programs", families=1)
    for one in families:
        for place, member in enumerate(one.members):
            keys = {"family": one.name, "member": str(member), "rank": str(place + 1)}
            rows.add(costs[one.name, place, -1], MEMBER, **keys)
            drawn = [costs[one.name, place, draw] for draw in range(len(one.drawn))]
            rows.add_draws(np.stack(drawn), MEMBER, RANDOM, **keys)
    return rows.frame()


def pair_patches(
    clean: Bench, other: Bench, scalar: Scalar, step: int, families: Sequence[Family]
) -> pd.DataFrame:
    """What putting the other program's part into the clean one takes from the contrast."""
    found = clean.beside(families, to=other.active, scalar=scalar)
    return _told(step, PAIR, families, found, noun="pairs")


def lineage(bench: Bench, step: int, families: Sequence[Family]) -> pd.DataFrame:
    """Step 5 of the module, on both halves of the events: S(clean) - S(without the component)."""
    shape = bench.trial.clean.decoder.settings
    order = sites(shape.n_layers)
    edits: dict[str, Edit] = {EMBEDDING: NoEmbedding("mean")}
    for name in components(shape):
        if order.index(stage_after(name, shape)) <= order.index(bench.site):
            edits[name] = Removed(name, "mean")
    scores = {WHOLE: bench.scores(families)}
    for name, _, seen in bench.trial.passes(edits, frozenset({bench.site})):
        moved = Bench(Trial(seen), bench.dictionary, bench.site, {})
        without = moved.reading(bench.dictionary, bench.active).scores(families)
        scores[name] = {key: values - without[key] for key, values in scores[WHOLE].items()}
    parts = []
    for one in families:
        rows = Estimates(step, UNITS, "programs", halves=True, families=len(families))
        rows.share_of(component=WHOLE)
        for name, by in scores.items():
            rows.add(by[one.name, -1], LINEAGE, component=name)
            if name != WHOLE:
                drawn = np.stack([by[one.name, draw] for draw in range(len(one.drawn))])
                rows.add_draws(drawn, LINEAGE, RANDOM, component=name)
        parts.append(rows.frame().assign(family=one.name))
    return pd.concat(parts, ignore_index=True)


def competition(
    bench: Bench,
    step: int,
    families: Sequence[Family],
    rates: Mapping[str, Rates],
    least: float,
    seed: int,
) -> pd.DataFrame:
    """Step 6 of the module for all pairs, and the ``difference`` of what either costs.

    Random features of two families at one role are drawn together, so that none is in both sets.
    """
    pairs = {}
    for one, two in combinations(families, 2):
        pair = one, two
        if one.role == two.role:
            both = (*one.members, *two.members)
            drawn = random_features(rates[one.role], both, least, len(one.drawn), seed)
            parts = np.split(drawn, [len(one.members)], axis=1)
            pair = one._replace(drawn=parts[0]), two._replace(drawn=parts[1])
        pairs[one.name, two.name] = pair
    edits = {
        (*name, draw, which): bench.moved(
            [(f.role, f.sets[draw]) for f, there in zip(pair, which, strict=True) if there]
        )
        for name, pair in pairs.items()
        for draw in pair[0].sets
        for which in _BOTH
        if any(which)
    }
    costs, rows = bench.costs(edits), Estimates(step, UNITS, "programs", families=1)
    none = np.zeros(len(bench.trial.clean.events))
    for name, pair in pairs.items():
        found: dict[tuple[str, str, str], list[Values]] = {}
        for draw in pair[0].sets:
            by = {which: costs.get((*name, draw, which), none) for which in _BOTH}
            for key, values in _between(name, by).items():
                found.setdefault(key, []).append(values)
        for (measure, family, rival), (own, *random) in found.items():
            rows.add(own, measure, family=family, rival=rival)
            rows.add_draws(np.stack(random), measure, RANDOM, family=family, rival=rival)
    return rows.frame() if pairs else pd.DataFrame()


def _between(
    name: tuple[str, str], cost: Mapping[tuple[int, ...], Values]
) -> dict[tuple[str, str, str], Values]:
    """Numbers of two families by measure and their names, from what every set of them costs."""

    def asked(sets: Sets) -> dict[tuple[int, ...], Tensor]:
        return {one: torch.from_numpy(cost[one])[:, None] for one in sets}

    averaged = shares(asked, 2, len(cost[1, 1]), orders=0, seed=0)[..., 0].numpy()
    return {
        ("interaction", *name): cost[1, 1] - cost[1, 0] - cost[0, 1],
        ("difference", *name): cost[1, 0] - cost[0, 1],
        ("order_averaged", *name): averaged[0],
        ("order_averaged", *name[::-1]): averaged[1],
    }

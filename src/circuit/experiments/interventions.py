"""What edits of states do to the answer, at some checkpoints and beside their controls.

1. *Patches.* A pair is two programs that differ in one causal variable: which value (or key) is
   asked for, which is the latest, or a distractor, the null. The corrupted program's state at a
   site and role goes into the clean program's pass. The *contrast* is logit(clean answer) −
   logit(corrupted answer); a distractor leaves the answer, so there it is the value that the
   corruption brings. Controls: another pair's corrupted state, and another pair's *change* of the
   state, which moves it as far, both of pairs whose corruption brings another token.
2. *Replaced states.* Those of a role by nothing, by their mean over the events, or by another
   event's (one random cycle). Controls: as many other positions of the same event, drawn at random,
   and what the same edit does to the answers of other programs (means flatten all logits alike).
3. *Subspaces.* The top directions of a state's deviation from its mean are removed, or nothing else
   is kept. Controls: random subspaces of the same energy, a band of draws, and for the identity of
   values that of keys and the other way round, at the same rank or as many directions as it has.
   Shares are of what removing the whole deviation costs; what keeping gives back is repair.
4. *Doses.* The direction from the mean state of the clean answer to that of the corrupted one is
   added, as long as a dose times the state's norm. It is fitted to other programs. Controls: a
   random direction for each pair, and the direction between two other values (values permuted). The
   off-target divergence is KL(clean ‖ edited) of the tokens that are neither of the two answers.
5. *By construction* edits do what they do where the answer reads nothing else
   (:func:`circuit.experiments.trial.is_readout`), and where embeddings at a role are all that the
   corruption changes (``the corruption``): checks and no findings.

Effect = S(clean) − S(edited) for damage, S(edited) − S(damaged) for repair: larger = what is edited
matters more. Units are programs, shares ratios of means. Intervals of excesses hold all numbers of
a checkpoint at once; those of effects and controls are for one number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from circuit.config.recipe import ModelSettings
from circuit.estimates import Estimates, estimates
from circuit.evidence import shown_from
from circuit.experiments.changes import Change, Where, add, keep, remove, replace
from circuit.experiments.donors import OTHERS, draw_donors, exchanged, of_other_events
from circuit.experiments.edits import AtSites
from circuit.experiments.subspaces import Subspace, energy_matched, other_identity
from circuit.experiments.trial import (
    ANSWER,
    LIKE_LENGTHS,
    READOUT,
    Trial,
    Values,
    is_readout,
    less,
    values_of,
)
from circuit.model.sites import edit_places, site_axes, stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import Measure, Scalar, Seen, margin, pick
from circuit.scalars.behaviour import answer_logits, answered_right
from circuit.task.events import ReadEvents

CONTRAST, CORRECT, DIVERGENCE, APPEARS = "contrast", "correct", "off_target_divergence", "appears"
ANOTHER, CHANGED = "the state of another pair", "the change of another pair"
PLACES = "as many other positions"
_OF = "of others: "
RANDOM, IDENTITY = "random subspaces of the same energy", "the other identity"
DIRECTIONS, PERMUTED = "random directions", "permuted values"
WHOLE, ALL = "whole program", "whole state"
CORRUPTION = "the corruption"
"""What the key ``by_construction`` says, as :data:`READOUT` does, of a check (step 5)."""
TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "rows": ("one edit at one place", {}),
    "ranks": ("one subspace, removed or kept", {"rank": "1"}),
    "doses": ("one dose of a direction", {"dose": "norm of the state"}),
}
"""What a row of each table is, and units of its keys."""
_DECIMALS = 4  # of logits that float32 tells apart
_KEYS = ("edit", "pair", "site", "role", "by_construction")


class Place(NamedTuple):
    """What is edited, as it is asked for and as a pass calls it, and a role."""

    name: str
    where: tuple[Where, ...]
    role: str

    @property
    def site(self) -> str:
        """The first site of it."""
        return self.where[0].site

    def edit(self, mask: Bool[Tensor, "E T"], change: Change) -> AtSites:
        """The edit that makes a change here, at some positions."""
        return AtSites(tuple((w.at(mask), change) for w in self.where))

    def put(self, mask: Bool[Tensor, "E T"], source: Callable[[Where], Tensor]) -> AtSites:
        """The edit that puts states (:func:`states`) here; they are made when it runs."""
        return AtSites(tuple((w.at(mask), partial(_put, source, w)) for w in self.where))


def states(seen: Seen, where: Where) -> Float[Tensor, "E T ..."]:
    """What a pass has at a place, position by position: of the heads meant, or of all.

    A row of attention is by distance from its query, so that another query's can stand for it.
    """
    value = seen.sites[where.site]
    if _attends(where):
        value = value if where.heads is None else value[:, list(where.heads)]
        return value.gather(3, _distance(value)).tril().transpose(1, 2)
    return value if where.heads is None else value[:, :, list(where.heads)]


def _put(source: Callable[[Where], Tensor], where: Where, value: Tensor) -> Tensor:
    """States in the shape of a site; attention before the first token falls on that."""
    found = source(where)
    if _attends(where):
        found = found.expand(len(value), value.shape[-1], *found.shape[-2:]).transpose(1, 2)
        found = torch.zeros_like(found).scatter_add(3, _distance(found), found)
    return replace(found)(value)


def _attends(where: Where) -> bool:
    return "key_position" in site_axes(where.site)


def _distance(rows: Float[Tensor, "E H T T"]) -> Int[Tensor, "E H T T"]:
    """Every query's keys by distance, or its distances by key: its own inverse, at least 0."""
    at = torch.arange(rows.shape[-1])
    return (at[:, None] - at).clamp(min=0).expand(rows.shape)


@dataclass(frozen=True, eq=False)
class Bench:
    """A checkpoint to be edited.

    Args:
        places: every site with every role, of patches and replaced states.
        stages: the same of subspaces and doses, in the stream.
        outcomes: the scalars that are measured on some events.
        families: tables of estimates made of the checkpoint, whose excesses hold together.
        seed: of what is drawn.
    """

    decoder: Decoder
    theta: Float[Tensor, " P"]
    value_ids: range
    step: int
    places: Sequence[Place]
    stages: Sequence[Place]
    outcomes: Callable[[ReadEvents], Mapping[str, Scalar]]
    families: int
    seed: int

    def trial(self, events: ReadEvents, where: Iterable[Place]) -> Trial:
        """A clean pass with what is edited, and the stages that edits go on from."""
        sites = {one.site for place in where for one in place.where}
        sites |= set(stages(self.decoder.settings.n_layers))
        return Trial.of(self.decoder, self.theta, events, self.value_ids, sites, LIKE_LENGTHS)

    def scalars(self, events: ReadEvents) -> dict[str, Scalar]:
        """The outcomes, and whether the answer is right."""
        return {**self.outcomes(events), CORRECT: answered_right()}

    def estimates(self, scalars: Mapping[str, Scalar], noun: str) -> Estimates:
        """An empty table of some scalars."""
        units = {name: scalar.unit for name, scalar in scalars.items()}
        return Estimates(self.step, units, noun, families=self.families, decimals=_DECIMALS)

    def keys(self, at: Place, edit: str) -> dict[str, str]:
        """What rows say of an edit at a place."""
        told = READOUT if is_readout(at.site, at.role, self.decoder.settings) else ""
        return {"edit": edit, "site": at.name, "role": at.role, "by_construction": told}


def places(
    names: Sequence[str],
    roles: Sequence[str],
    settings: ModelSettings,
    neurons: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[Place]:
    """Every place that the names stand for, with every role; see :func:`edit_places`."""
    found = {
        one: tuple(Where(site, heads=heads, entries=entries) for site, heads, entries in spots)
        for name in names
        for one, spots in edit_places(name, settings, neurons).items()
    }
    return [Place(name, where, role) for name, where in found.items() for role in roles]


def patches(bench: Bench, kind: str, clean: ReadEvents, corrupted: ReadEvents) -> pd.DataFrame:
    """Step 1 of the module, for the pairs of one kind; ``whole program`` is the corrupted one."""
    trial, other = (bench.trial(events, bench.places) for events in (clean, corrupted))
    scalars = {CONTRAST: contrast(rivals(clean, corrupted)), **bench.scalars(clean)}
    base, rows = trial.unedited(scalars), bench.estimates(scalars, "pairs")
    whole = values_of(other.clean._replace(events=clean), scalars)
    labels = dict(zip(_KEYS, ("patch", kind, WHOLE, WHOLE, WHOLE), strict=True))
    rows.add_each(less(base, whole), **labels)
    brought = pick(corrupted.tokens, _changed(clean, corrupted))
    donor = draw_donors(brought, torch.Generator().manual_seed(bench.seed))

    def source(role: str, against: str, where: Where) -> Tensor:
        own = states(trial.clean, where) if against == CHANGED else 0.0
        lent = states(other.clean, where) - own
        return own + of_other_events(lent, clean, role, donor) if against else lent

    edits = {
        (at, against): at.put(clean.role_mask(at.role), partial(source, at.role, against))
        for at in bench.places
        for against in ("", ANOTHER, CHANGED)
    }
    differs = clean.tokens != corrupted.tokens
    for ((at, against), _), values in trial.run(edits, scalars).items():
        labels = {"pair": kind, **bench.keys(at, "patch")}
        if at.site == "embedding" and not (differs & ~clean.role_mask(at.role)).any():
            labels["by_construction"] = CORRUPTION
        rows.add_each(less(base, values), against, **labels)
    rows.excesses(CHANGED)
    rows.share_of(site=WHOLE)
    return rows.frame()


def replaced(bench: Bench, whats: Sequence[str], events: ReadEvents) -> pd.DataFrame:
    """Step 2 of the module: ``zero``, ``mean`` or ``resample``."""
    trial, own = bench.trial(events, bench.places), bench.scalars(events)
    generator = torch.Generator().manual_seed(bench.seed)
    answer = events.answer[draw_donors(events.answer, generator)]
    others = dataclasses.replace(events, answer=answer)
    wrong = bench.scalars(others)
    both = {**own, **{_OF + name: _about(others, scalar) for name, scalar in wrong.items()}}
    rows, base = bench.estimates(own, "events"), trial.unedited(both)
    donor = exchanged(len(events), bench.seed)

    def source(what: str, role: str, mask: Tensor, against: str, where: Where) -> Tensor:
        found = states(trial.clean, where)
        if what == "zero":
            return torch.zeros_like(found)
        if what == "mean":
            return found[mask].mean(0)
        if against:
            # The position itself, or the last before the donor's prediction.
            last = events.prediction[donor, None] - 1
            return found[donor[:, None], torch.arange(mask.shape[1]).minimum(last)]
        return of_other_events(found, events, role, donor)

    edits = {}
    for at in bench.places:
        mask = events.role_mask(at.role)
        for against, where in (("", mask), (PLACES, other_positions(events, mask, bench.seed))):
            for what in whats if where.any() else ():
                made = partial(source, what, at.role, where, against)
                edits[what, at, against] = at.put(where, made)
    for ((what, at, against), _), values in trial.run(edits, both).items():
        labels = {"pair": "", **bench.keys(at, what)}
        lost = less(base, values)
        rows.add_each({name: lost[name] for name in own}, against, **labels)
        if not against:
            rows.add_each({name: lost[_OF + name] for name in own}, OTHERS, **labels)
    rows.excesses(PLACES, OTHERS)
    return rows.frame()


def ranks(
    bench: Bench,
    subspaces: Mapping[str, tuple[Subspace, Sequence[int]]],
    draws: int,
    events: ReadEvents,
) -> pd.DataFrame:
    """Step 3 of the module, at every place of the stream; ``rank`` is a number."""
    trial, scalars = bench.trial(events, bench.stages), bench.scalars(events)
    bases: dict[tuple[str, int, str], Tensor] = {}
    for name, (subspace, wanted) in subspaces.items():
        for rank in wanted:
            bases[name, rank, ""] = subspace.basis(trial.clean, bench.theta, rank)
            if other := other_identity(subspace):
                bases[name, rank, IDENTITY] = other.basis(trial.clean, bench.theta, rank, fit=True)
    found = [_ranks_at(bench, at, trial, scalars, bases, draws) for at in bench.stages]
    return pd.concat(found, ignore_index=True).astype({"rank": int})


CHANGES = {"remove": remove, "keep": keep}


def _ranks_at(
    bench: Bench,
    at: Place,
    trial: Trial,
    scalars: Mapping[str, Scalar],
    bases: Mapping[tuple[str, int, str], Float[Tensor, "d r"]],
    draws: int,
) -> pd.DataFrame:
    clean, shape = trial.clean, bench.decoder.settings
    mask = clean.events.role_mask(at.role)
    states = clean.sites[at.site][mask]
    mean, base, rows = states.mean(0), trial.unedited(scalars), bench.estimates(scalars, "events")
    ((_, damaged),) = trial.run({ALL: at.put(mask, lambda _: mean)}, scalars).items()
    labels = {"subspace": ALL, "rank": str(shape.d_model), **bench.keys(at, "remove")}
    rows.add_each(less(base, damaged), **labels)

    def effects(
        bases: Mapping[tuple[str, int, str], Tensor],
    ) -> Iterator[tuple[str, dict[str, str], Values]]:
        """Control, keys and values of every basis removed and kept."""
        edits = {
            (edit, *label): at.edit(mask, change(basis, mean))
            for label, basis in bases.items()
            for edit, change in CHANGES.items()
        }
        for ((edit, name, rank, against), _), values in trial.run(edits, scalars).items():
            found = less(values, damaged) if edit == "keep" else less(base, values)
            yield against, {"subspace": name, "rank": str(rank), **bench.keys(at, edit)}, found

    for against, labels, found in effects(bases):
        rows.add_each(found, against, **labels)
    rows.excesses(IDENTITY)
    rows.share_of(subspace=ALL)
    generator, about = torch.Generator().manual_seed(bench.seed), states.double() - mean.double()
    spread, asked = about.T @ about / len(about), [one for one in bases.items() if not one[0][2]]
    drawn = [
        list(effects({key: energy_matched(spread, basis, generator) for key, basis in asked}))
        for _ in range(draws)
    ]
    for some in zip(*drawn, strict=True):
        for measure in scalars:
            values = np.stack([found[measure] for _, _, found in some])
            rows.add_draws(values, measure, RANDOM, **some[0][1])
    return rows.frame()


def doses(
    bench: Bench,
    sizes: Sequence[float],
    clean: ReadEvents,
    corrupted: ReadEvents,
    fit: ReadEvents,
) -> pd.DataFrame:
    """Step 4 of the module, at every place of the stream; ``dose`` is a number.

    Args:
        fit: events of other programs, to whose states the direction of every value is fitted.
    """
    trial, fitted = (bench.trial(events, bench.stages) for events in (clean, fit))
    rival, first = rivals(clean, corrupted), bench.value_ids.start
    scalars = {CONTRAST: contrast(rival), DIVERGENCE: divergence(trial.clean, rival)}
    base, count = trial.unedited(scalars), len(bench.value_ids)
    generator = torch.Generator().manual_seed(bench.seed)
    permuted, ends = exchanged(count, bench.seed), (clean.answer - first, rival - first)
    parts = []
    for at in bench.stages:
        states, where = fitted.clean.sites[at.site], fit.role_mask(at.role)
        mean = centroids(states, where, fit.answer - first, count)
        towards = {
            "": mean[ends[1]] - mean[ends[0]],
            DIRECTIONS: torch.randn(len(clean), mean.shape[1], generator=generator).to(mean),
            PERMUTED: mean[permuted[ends[1]]] - mean[permuted[ends[0]]],
        }
        size = trial.clean.sites[at.site].norm(dim=-1, keepdim=True)
        edits = {
            (dose, against): at.edit(
                clean.role_mask(at.role), add(dose * size * normalize(way, dim=-1)[:, None])
            )
            for dose in sizes
            for against, way in towards.items()
        }
        rows = bench.estimates(scalars, "pairs")
        for ((dose, against), _), values in trial.run(edits, scalars).items():
            moved = {**less({CONTRAST: base[CONTRAST]}, values), DIVERGENCE: values[DIVERGENCE]}
            rows.add_each(moved, against, **bench.keys(at, "add"), dose=repr(dose))
        rows.excesses(DIRECTIONS, PERMUTED)
        parts.append(rows.frame().astype({"dose": float}))
    return pd.concat(parts, ignore_index=True)


def rivals(clean: ReadEvents, corrupted: ReadEvents) -> Int[Tensor, " E"]:
    """The corrupted answer or, where the answer stays, the value that the corruption brings."""
    brought = pick(corrupted.tokens, _changed(clean, corrupted))
    return torch.where(corrupted.answer != clean.answer, corrupted.answer, brought)


def _changed(clean: ReadEvents, corrupted: ReadEvents) -> Int[Tensor, " E"]:
    """The last position at which a pair's programs differ."""
    differs = clean.tokens != corrupted.tokens
    return (differs * torch.arange(1, differs.shape[1] + 1)).argmax(1)


def contrast(rival: Int[Tensor, " E"]) -> Measure:
    """logit(clean answer) − logit(the other one), float64."""
    return Measure(
        "logit",
        ANSWER,
        lambda seen: margin(answer_logits(seen).double(), seen.events.answer, rival),
    )


def divergence(clean: Seen, rival: Int[Tensor, " E"]) -> Measure:
    """KL(clean ‖ edited) of all tokens but the two answers, float64."""

    def others(seen: Seen) -> Float[Tensor, "E V"]:
        taken = torch.stack([clean.events.answer, rival], 1)
        return answer_logits(seen).double().scatter(1, taken, -torch.inf).log_softmax(-1)

    before = others(clean)

    def value(seen: Seen) -> Float[Tensor, " E"]:
        lost = before.exp() * (before - others(seen))
        return torch.where(before.isfinite(), lost, 0).sum(-1)

    return Measure("nat", ANSWER, value)


def centroids(
    states: Float[Tensor, "E T d"],
    mask: Bool[Tensor, "E T"],
    label: Int[Tensor, " E"],
    count: int,
) -> Float[Tensor, "count d"]:
    """Mean state of every label at a role's positions; that of all states where it has none."""
    of = label[:, None].expand(mask.shape)[mask]
    sums = states.new_zeros(count, states.shape[-1]).index_add(0, of, states[mask])
    number = of.bincount(minlength=count)[:, None]
    return torch.where(number > 0, sums / number.clamp(min=1), states[mask].mean(0))


def other_positions(
    events: ReadEvents, mask: Bool[Tensor, "E T"], seed: int
) -> Bool[Tensor, "E T"]:
    """As many positions before the prediction position, drawn from those that are not marked."""
    generator = torch.Generator().manual_seed(seed)
    free = events.causal_prefix & ~mask & ~events.role_mask("prediction")
    order = torch.where(free, torch.rand(mask.shape, generator=generator), torch.inf)
    return free & (order.argsort(1).argsort(1) < mask.sum(1, keepdim=True))


def _about(events: ReadEvents, scalar: Scalar) -> Measure:
    """The scalar, asked about other events than those of the pass."""
    return Measure(scalar.unit, scalar.sites, lambda seen: scalar(seen._replace(events=events)))


def appearance(rows: pd.DataFrame) -> pd.DataFrame:
    """From which step on the strongest patch of every pair kind at the last step is shown.

    Strongest among places where it is not so by construction; missing where it does not stay.
    """
    found = []
    patched = rows[(rows["edit"] == "patch") & (rows["measure"] == CONTRAST)]
    for _, kind in patched.groupby("pair", sort=False):
        free = kind[(kind["by_construction"] == "") & (kind["against"] == "")]
        last = free[free["step"] == free["step"].max()]
        best = last.loc[last["mean"].idxmax()]
        here = kind[(kind["site"] == best["site"]) & (kind["role"] == best["role"])]
        found.append({**best[list(_KEYS)], "mean": shown_from(here)})
    table = pd.DataFrame(found, columns=[*_KEYS, "mean"])
    return estimates(table, "step", step=int(rows["step"].max()), measure=APPEARS)

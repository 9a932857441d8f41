"""Coalitions of neurons: which serve several candidates, one, or one against another.

A *candidate* is a scalar, for which every neuron has a drive between consecutive checkpoints
(:mod:`circuit.attribution.neuron_drives`).

1. *Sign.* A drive is for (against) a candidate where its excess over random read-outs lies above
   (below) 0: every resample of programs is taken over another draw. Signs are by each neuron's own
   interval; excesses in the table have intervals that hold all at once (studentised maximum).
2. *Class*, on the half of the events that chooses: see :func:`classes`.
3. *Counts* of neurons in each class, and of those that the other half puts there too. Some are
   there by chance, so beside them is what random read-outs come to in the candidates' place, all
   turned alike, judged by the other draws.
4. *Sets* are the neurons of a class with the surest signs (in standard errors) and, for a candidate
   of which none is specific, those with the largest drives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from circuit.attribution.neuron_drives import Drives
from circuit.errors import AnalysisError
from circuit.estimates import CONFIRMATION, EXCESS, SELECTION, estimates
from circuit.evidence import Estimate, verdict
from circuit.statistics import (
    TINY,
    Ends,
    band,
    bootstrap_means,
    halves,
    interval,
    resamples,
    simultaneous_interval,
)

READOUTS = "random read-outs"
POSITIVE, NEGATIVE, CONFLICT = "shared positive", "shared negative", "conflict"
NOTHING, LARGEST = "nothing", "largest for "
_SIGNS = {"shown": 1, "opposite": -1, "open": 0}


class Beyond(NamedTuple):
    """What drives are beyond random read-outs [S, N], its simultaneous interval, the same in
    standard errors, and signs by every one's own interval.
    """

    mean: Float[np.ndarray, "S N"]
    ends: Ends
    errors: Float[np.ndarray, "S N"]
    signs: Int[np.ndarray, "S N"]


def beyond_chance(
    drives: Float[np.ndarray, "S E N"], random: Float[np.ndarray, "K S E N"], seed: int
) -> Beyond:
    """Step 1 of the module, for some events."""
    (scalars, events, neurons), draws = drives.shape, len(random)
    weights, own, control = resamples(events, seed) / events, _flat(drives), random.mean((0, 2))
    values = own.mean(0) - control.ravel()
    resampled = np.empty((len(weights), own.shape[1]))
    for k in range(draws):
        resampled[k::draws] = weights[k::draws] @ (own - _flat(random[k]))
    errors = resampled.std(0)
    still = errors <= TINY * np.abs(values).max(initial=0.0)
    values[still] = resampled[:, still] = 0.0
    told = zip(values, *interval(resampled), strict=True)
    sides = [verdict(Estimate(m), (), Estimate(m, low, high, events)) for m, low, high in told]
    low, high = simultaneous_interval(values, resampled)
    in_errors = np.divide(values, errors, out=np.zeros_like(values), where=~still)
    signs, shape = np.array([_SIGNS[side] for side in sides]), (scalars, neurons)
    ends = low.reshape(shape), high.reshape(shape)
    return Beyond(values.reshape(shape), ends, in_errors.reshape(shape), signs.reshape(shape))


def _flat(of: Float[np.ndarray, "S E N"]) -> Float[np.ndarray, "E SN"]:
    return of.transpose(1, 0, 2).reshape(of.shape[1], -1)


def classes(signs: Int[np.ndarray, "S N"], candidates: Sequence[str]) -> list[str]:
    """The class of every neuron: ``shared positive`` is for several candidates and against none,
    ``shared negative`` the other way round, ``conflict`` for one and against another, ``specific
    to`` (``against``) for (against) one alone; else ``nothing``.
    """
    return [_class(dict(zip(candidates, column, strict=True))) for column in signs.T]


def _class(signs: Mapping[str, int]) -> str:
    serves = [name for name, sign in signs.items() if sign > 0]
    harms = [name for name, sign in signs.items() if sign < 0]
    if serves and harms:
        return CONFLICT
    if len(serves) > 1 or len(harms) > 1:
        return POSITIVE if serves else NEGATIVE
    return f"specific to {serves[0]}" if serves else f"against {harms[0]}" if harms else NOTHING


def every_class(candidates: Sequence[str]) -> list[str]:
    """All classes but ``nothing``, in the order in which they are told."""
    alone = [f"{side} {name}" for side in ("specific to", "against") for name in candidates]
    return [POSITIVE, NEGATIVE, CONFLICT, *alone]


class Coalitions(NamedTuple):
    """Estimates by candidate, group (a class, or a part of the growth), neuron and label, with
    intervals' ends as ``stop``; the neurons of every set, and those that are in no class.
    """

    rows: pd.DataFrame
    sets: dict[str, list[str]]
    untold: list[str]


def coalitions(
    steps: Sequence[int],
    intervals: Sequence[Drives],
    units: Mapping[str, str],
    names: Sequence[str],
    top: int,
    seed: int,
) -> Coalitions:
    """What neurons did for candidates over consecutive intervals; see the module.

    Args:
        units: of every candidate, by its name.
        names: of the neurons.
        top: neurons of a set at most; drives of those are told interval by interval, too.

    Raises:
        AnalysisError: no MLP has a part in any candidate.
    """
    candidates = list(units)
    drives = np.sum([of.neurons.numpy() for of in intervals], axis=0)
    random = np.sum([of.random.numpy() for of in intervals], axis=0)
    if not drives.any():  # no interval at all, where final is named twice
        raise AnalysisError(
            f"no MLP lies before what {' and '.join(candidates)} read, or none moved",
            where="candidates",
            expected="scalars that neurons can change, and checkpoints that differ",
            do="name heads of later layers, or other checkpoints",
        )
    of_half = dict(zip((SELECTION, CONFIRMATION), halves(drives.shape[1]), strict=True))

    def judged(drives: np.ndarray, random: np.ndarray) -> dict[str, Beyond]:
        return {
            half: beyond_chance(drives[:, at], random[:, :, at], seed)
            for half, at in of_half.items()
        }

    found = judged(drives, random)
    by_chance = [judged(random[k], np.delete(random, k, 0)) for k in range(len(random))]
    chosen = classes(found[SELECTION].signs, candidates)
    sets = _sets(found[SELECTION], chosen, candidates, names, top)
    about = pd.DataFrame({"neuron": names, "group": chosen})
    about["label"] = about["neuron"] + " " + about["group"]
    every = pd.concat([about.assign(candidate=one, unit=unit) for one, unit in units.items()])
    last, parts = {"measure": "drive", "step": steps[-1]}, []
    for half, of in found.items():
        at = of_half[half]
        own = bootstrap_means(_flat(drives[:, at]), seed)
        chance = band(random[:, :, at].mean(2).reshape(len(random), -1))
        beyond = [one.ravel() for one in (of.mean, *of.ends)]
        for against, (mean, low, high), count, noun in (
            ("", own, len(at), "events"),
            (READOUTS, chance, len(random), READOUTS),
            (EXCESS, beyond, len(at), "events"),
        ):
            ends = {"mean": mean, "low": low, "high": high, "count": count, "noun": noun}
            parts.append(every.assign(half=half, against=against, **ends, **last))
    parts.append(_counts(found, by_chance, candidates).assign(step=steps[-1]))
    listed = list(dict.fromkeys(name for members in sets.values() for name in members))
    place = [
        candidate * len(names) + names.index(n) for candidate in range(len(units)) for n in listed
    ]
    for (start, stop), one in zip(pairwise(steps), intervals, strict=True):
        mean, low, high = bootstrap_means(_flat(one.neurons.numpy())[:, place], seed)
        some = every.iloc[place].assign(mean=mean, low=low, high=high, measure="interval_drive")
        some = some.assign(count=drives.shape[1], noun="events")
        both = pd.concat([some, _contributions(one, chosen, units)])
        parts.append(both.assign(step=start, stop=str(stop)))
    left = np.sum([of.parts["residual"].abs().numpy() for of in intervals], axis=0)
    moved = np.sum([of.growth.abs().numpy() for of in intervals], axis=0)
    share = np.divide(left, moved, out=np.zeros_like(left), where=moved > 0)
    missed = pd.DataFrame({"candidate": candidates, "mean": share, "unit": "share"})
    parts.append(missed.assign(measure="residual_share", step=steps[-1]))
    blank = dict.fromkeys(("candidate", "group", "neuron", "label", "stop", "against"), "")
    rows = estimates(pd.concat(parts, ignore_index=True).fillna({**blank, "half": "all"}))
    untold = [name for name, group in zip(names, chosen, strict=True) if group == NOTHING]
    return Coalitions(rows, sets, untold)


def _sets(
    of: Beyond, chosen: Sequence[str], candidates: Sequence[str], names: Sequence[str], top: int
) -> dict[str, list[str]]:
    """Step 4 of the module; of a neuron for or against several, the least sure sign counts."""
    sizes = np.abs(of.errors)
    surest = np.argsort(-np.where(of.signs != 0, sizes, np.inf).min(0), kind="stable")
    sets = {
        group: [names[n] for n in surest if chosen[n] == group][:top]
        for group in every_class(candidates)
    }
    for candidate, size in zip(candidates, sizes, strict=True):
        if not sets[f"specific to {candidate}"]:
            order = np.argsort(-size, kind="stable")[:top]
            sets[LARGEST + candidate] = [names[n] for n in order if size[n] > 0]
    return {group: members for group, members in sets.items() if members}


def _counts(
    found: Mapping[str, Beyond],
    by_chance: Sequence[Mapping[str, Beyond]],
    candidates: Sequence[str],
) -> pd.DataFrame:
    """Step 3 of the module."""
    every = every_class(candidates)

    def counts(found: Mapping[str, Beyond]) -> Int[np.ndarray, " 2C"]:
        first, again = (classes(found[h].signs, candidates) for h in (SELECTION, CONFIRMATION))
        both = list(zip(first, again, strict=True))
        return np.array([*map(first.count, every), *(both.count((c, c)) for c in every)], float)

    about = {"group": every * 2, "half": [SELECTION] * len(every) + [CONFIRMATION] * len(every)}
    rows = pd.DataFrame(about).assign(unit="1", measure="neurons")
    mean, low, high = band(np.stack([counts(one) for one in by_chance]))
    chance = {"mean": mean, "low": low, "high": high, "count": len(by_chance), "noun": READOUTS}
    return pd.concat([rows.assign(mean=counts(found)), rows.assign(against=READOUTS, **chance)])


def _contributions(one: Drives, chosen: Sequence[str], units: Mapping[str, str]) -> pd.DataFrame:
    """What the classes of neurons, and everything else, gave in an interval; they sum to growth."""
    rows = []
    for s, (candidate, unit) in enumerate(units.items()):
        by = pd.Series(one.neurons[s].mean(0).numpy()).groupby(list(chosen)).sum()
        named = {group: by[group] for group in every_class([*units]) if group in by}
        named["other neurons"] = by.get(NOTHING, 0.0)
        named |= {name: float(of[s]) for name, of in one.parts.items() if name != "neurons"}
        for group, size in {**named, "": float(one.growth[s])}.items():
            measure = "contribution" if group else "growth"
            rows.append((candidate, group, unit, measure, size))
    return pd.DataFrame(rows, columns=["candidate", "group", "unit", "measure", "mean"])

"""Families of a dictionary's features: found on one half of the programs, told on the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import estimates, over
from circuit.experiments.interventions import contrast, rivals
from circuit.kinds.families.settings import Settings
from circuit.measures.features.consensus import Traits, coassociation, consensus, matched
from circuit.measures.features.families import EVERYWHERE, Known, family_rows, labels_of, tell_all
from circuit.measures.features.families import Family as Labelled
from circuit.measures.features.family_effects import (
    RANDOM,
    Bench,
    Family,
    Rates,
    competition,
    lineage,
    members,
    over_training,
    pair_patches,
    random_features,
)
from circuit.measures.features.matching import cosines
from circuit.measures.features.reconstruction import PooledStates, pool_states
from circuit.measures.sweep.behaviour import SplitReads
from circuit.measuring import Job, Measured, Table
from circuit.model.sites import sites, state_site
from circuit.model.transformer import Decoder
from circuit.opened import OpenRun
from circuit.scalars.dictionary_files import configuration, load_dictionary, write_weights
from circuit.scalars.features import Dictionary
from circuit.statistics import band, drawn_out, interval
from circuit.task.events import ReadEvents, read_events
from circuit.task.frozen import pair_events
from circuit.task.store import load_pairs
from circuit.task.vocabulary import Vocabulary

_KEYS = (
    "family", "role", "label", "group", "named_by", "members", "member", "rank", "component",
    "rival",
)  # fmt: skip


class Found(NamedTuple):
    """The first dictionary with its families, and estimates about them."""

    dictionary: Dictionary
    rows: pd.DataFrame


def measure(job: Job[Settings]) -> Measured:
    """The families of a run's dictionary, and what they do."""
    run, asked = OpenRun(job), job.settings
    paths, words = job.given["dictionaries"], run.benchmark.vocabulary
    first = load_dictionary(paths[0], trajectory=run.manifest.trajectory)
    others = [load_dictionary(path, first.stage, run.manifest.trajectory) for path in paths[1:]]
    pairs = load_pairs(job.given["data_pairs"])
    pairs = pairs[pairs["kind"] == asked.pair]
    found = families_of_run(
        run.counted,
        run.theta,
        list(run.steps) if asked.checkpoints == "all" else run.at(asked.checkpoints),
        run.split(asked.split),
        (pair_events(pairs, words, "clean"), pair_events(pairs, words, "corrupted")),
        words,
        [first, *others],
        asked,
    )
    return run.measured(
        tables={"rows": Table(found.rows, "one number of one family, a part of it, or two")},
        records={"cfg": configuration(found.dictionary)},
        files={"sae_weights": lambda path: write_weights(path, found.dictionary)},
        seeds={"resamples, draws and shuffles": asked.seed},
        events=asked.programs,
    )


def families_of_run(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    programs: pd.DataFrame,
    pairs: tuple[ReadEvents, ReadEvents],
    words: Vocabulary,
    dictionaries: Sequence[Dictionary],
    asked: Settings,
) -> Found:
    """Find families at the last of ``steps`` and tell what they do.

    Args:
        programs: of a split; the first ``asked.programs`` are looked at, those with even numbers
            choose.
        pairs: clean programs, and the corrupted ones.

    Raises:
        AnalysisError: ``asked.earlier`` is no checkpoint before the last, nothing at a role is
            behind the states, fewer than two features fire there, or a family has fewer others
            beside it than members.
    """
    last, own, shape = steps[-1], dictionaries[0], decoder.settings
    if asked.earlier not in steps[:-1]:
        raise AnalysisError(
            f"step {asked.earlier} is not a checkpoint before the last, {last}",
            where="families: earlier",
            expected=f"one of {', '.join(map(str, steps[:-1]))}",
            do="name an earlier checkpoint",
        )
    order, site = sites(shape.n_layers), state_site(own.stage, shape.n_layers)
    behind = order.index(site) >= order.index(f"layer_{shape.n_layers - 1}_post_attn")
    if behind and set(asked.roles) != {"prediction"}:
        raise AnalysisError(
            f"nothing that features do at {site} reaches the answer but at the prediction position",
            where="families: roles",
            expected="prediction alone, or a dictionary of states before the last attention",
            do="take the other roles out, or name a dictionary of an earlier stage",
        )
    chosen = programs.head(asked.programs)
    events = read_events(chosen, words, "last")

    def bench(step: int, some: ReadEvents) -> Bench:
        return Bench.of(decoder, theta(step), some, words.value_ids, own, asked.roles)

    halves = [events.select(torch.arange(at, len(events), 2)) for at in (0, 1)]
    chooses, tells = (bench(last, half) for half in halves)
    pooled = pool_states(decoder, theta, [last], SplitReads(chosen, words), site)
    known = tell_all(own, pooled, labels_of(pooled, words, asked))
    families: list[Family] = []
    parts: list[pd.DataFrame] = []
    rates: dict[str, Rates] = {}
    for role in asked.roles:
        rates[role] = Rates.of(chooses.active[role], own)
        found, rows = _at_role(role, rates[role], dictionaries, (chooses, tells), pooled, asked)
        families += found
        parts.append(rows)
    scalar = contrast(rivals(*pairs))
    parts += [
        over_training(partial(bench, some=halves[1]), tells, steps, asked.earlier, families),
        members(tells, last, families),
        pair_patches(bench(last, pairs[0]), bench(last, pairs[1]), scalar, last, families),
        lineage(bench(last, events), last, families),
        competition(tells, last, families, rates, asked.least_rate, asked.seed),
    ]  # fmt: skip
    labels = [_label(one, known, last) for one in families]
    about = {keys["family"]: keys for keys, _ in labels}
    rows = pd.concat([*parts, *(told for _, told in labels)], ignore_index=True)
    for key in ("role", "label", "group", "named_by", "members"):
        told = rows["family"].map({name: keys[key] for name, keys in about.items()})
        rows[key] = told.fillna(rows[key] if key == "role" else "")
    rows = rows.fillna(dict.fromkeys(_KEYS, ""))
    made = {**own.made, "families": asked.model_dump(mode="json", exclude={"runs"})}
    named = {one.name: one.members for one in families}
    return Found(replace(own, families=named, made=made), estimates(rows))


def _at_role(
    role: str,
    rates: Rates,
    dictionaries: Sequence[Dictionary],
    halves: tuple[Bench, Bench],
    pooled: PooledStates,
    asked: Settings,
) -> tuple[list[Family], pd.DataFrame]:
    """Families that cost the choosing half most, and their agreement on the other half."""
    (chooses, tells), own = halves, dictionaries[0]
    firing = np.flatnonzero(rates.firing(asked.least_rate))
    if len(firing) < 2:
        raise AnalysisError(
            f"{len(firing)} features of the dictionary fire at {role}",
            where=f"states at {own.stage}, the last checkpoint",
            expected="at least two, which may agree",
            do="lower least_rate, or take another role or dictionary",
        )
    order = np.argsort(-rates.length[firing], kind="stable")[: asked.candidates]
    candidates = np.sort(firing[order])
    traits = []
    for one in dictionaries:
        same, here = candidates, chooses.reading(one, [role])
        if one is not own:
            fires = Rates.of(here.active[role], one).firing(asked.least_rate)
            same = matched(own.W_dec[torch.from_numpy(candidates)], one.W_dec, fires)
        traits.append(_traits(here, role, same, pooled, pooled.fits))
    together = coassociation(traits, asked.agreement, asked.bootstraps, asked.seed)
    groups = consensus(together, asked.consensus)
    alone = traits[0].cost.mean(0)
    edits = {n: chooses.moved([(role, candidates[some])]) for n, some in enumerate(groups)}
    costs = {n: float(values.mean()) for n, values in chooses.costs(edits).items()}
    families: list[Family] = []
    inside: list[float] = []
    for name in (name for name in asked.family_names if name.endswith(f"@{role}")):
        if not costs:
            break
        some = groups[max(costs, key=costs.__getitem__)]
        del costs[max(costs, key=costs.__getitem__)]
        some = some[np.argsort(-alone[some], kind="stable")]
        ours = tuple(candidates[some].tolist())
        seed = asked.seed + len(families)
        drawn = random_features(rates, ours, asked.least_rate, asked.draws, seed)
        families.append(Family(name, role, ours, drawn))
        inside.append(_pairwise(together, np.arange(len(together)), some.tolist()))
    every = np.unique([i for one in families for some in one.sets.values() for i in some])
    told = _traits(tells, role, every, pooled, ~pooled.fits)
    return families, _agreement(families, inside, every, told, asked, pooled.steps[-1])


def _traits(
    bench: Bench, role: str, features: Int[np.ndarray, " k"], pooled: PooledStates, half: Tensor
) -> Traits:
    """What is compared of some features, on one half of the programs."""
    chosen = torch.as_tensor(features)
    costs = bench.costs({int(i): bench.moved([(role, [int(i)])]) for i in features})
    directions = bench.dictionary.W_dec[chosen]
    active = bench.dictionary.encode(pooled.every[-1][half])[:, chosen]
    return Traits(
        cosines(directions, directions),
        active.double().numpy(),
        pooled.program[half].unique(return_inverse=True)[1].numpy(),
        np.stack(list(costs.values()), 1),
    )


def _pairwise(
    of: Float[np.ndarray, "k k"], features: Int[np.ndarray, " k"], some: Sequence[int]
) -> float:
    """Mean over all pairs of some features; ``features`` are those of rows and columns."""
    at = np.searchsorted(features, some)
    pairs = of[np.ix_(at, at)][np.triu_indices(len(at), 1)]
    return float(pairs.mean()) if len(pairs) else np.nan


def _agreement(
    families: Sequence[Family],
    inside: Sequence[float],
    features: Int[np.ndarray, " k"],
    traits: Traits,
    asked: Settings,
    step: int,
) -> pd.DataFrame:
    """Estimates of agreement and co-association; missing of a feature by itself."""
    exact = traits.agreement(np.ones(len(traits.cost)))
    drawn = list(traits.resampled(asked.bootstraps, asked.seed))
    found = []
    for one, share in zip(families, inside, strict=True):
        about = {"family": one.name, "measure": "agreement", "unit": "correlation"}
        found.append({**about, "measure": "together", "unit": "share", "mean": share,
                      "count": asked.bootstraps, "noun": "resamples"})  # fmt: skip
        if len(one.members) == 1:
            found.append({**about, "mean": np.nan})
            continue
        value, random = (
            np.array([_pairwise(exact, features, some) for some in sets])
            for sets in ([one.members], one.drawn)
        )
        again, beside = (
            np.array([[_pairwise(matrix, features, some) for some in sets] for matrix in drawn])
            for sets in ([one.members], one.drawn)
        )
        count = len(traits.cost)
        again = drawn_out(again, value, count)
        beyond = again - drawn_out(beside, random, count)
        for against, ends, n, noun in (
            ("", (value[0], *(end[0] for end in interval(again))), count, "programs"),
            (RANDOM, band(random), len(random), RANDOM),
            (
                over(RANDOM),
                ((value - random).mean(), *interval(beyond.ravel())),
                count,
                "programs",
            ),
        ):
            numbers = dict(zip(("mean", "low", "high"), map(float, ends), strict=True))
            found.append({**about, "against": against, **numbers, "count": n, "noun": noun})
    return estimates(pd.DataFrame(found).fillna({"against": ""}), step=step)


def _label(
    family: Family, known: Sequence[Known], step: int
) -> tuple[dict[str, str], pd.DataFrame]:
    """How a family is called: by what tells its features best, among labels at its role and
    everywhere, beyond shuffled ones; and how far that tells them on the other half.
    """
    ours = np.array(family.members)
    there = [one for one in known if one.label.role in (EVERYWHERE, family.role)]
    best = max(there, key=lambda one: float(one.choosing.excess[ours].mean()))
    most = Counter(best.label.groups.names[i] for i in best.choosing.group[ours])
    named = {"family": family.name, "role": family.role}
    group, members = most.most_common(1)[0][0], " ".join(map(str, family.members))
    rows = family_rows([Labelled(best, ours, ours[:0])], step).assign(**named)
    return {**best.label.keys, **named, "group": group, "members": members}, rows

"""One dictionary for all checkpoints: fitted, judged, and its features told apart.

1. One pass per checkpoint leaves the states at the stage. Autoencoders are fitted to those of
   programs with even numbers, of all checkpoints (:mod:`circuit.measures.features.autoencoder`):
   the dictionary, further ones that differ in their seed only, and one with a frozen decoder.
2. The dictionary is judged at every checkpoint on programs with odd numbers
   (:mod:`circuit.measures.features.reconstruction`), and by what the answer loses at the last one
   when it stands in for the states (:mod:`circuit.measures.features.replacing`).
3. Features that are active at the last checkpoint are matched with those of every further
   dictionary (:mod:`circuit.measures.features.matching`), and with the frozen directions, which
   are random. Intervals are over further dictionaries, where there are enough.
4. Every feature is described by when it lives and what it fires on, and families are formed of
   features that tell the same (:mod:`circuit.measures.features.families`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import estimates
from circuit.measures.features.autoencoder import Fit, fit_autoencoder
from circuit.measures.features.families import (
    choose_families,
    family_rows,
    features_table,
    labels_of,
    scores,
    share_rows,
    tallies,
    tell_all,
)
from circuit.measures.features.matching import matched_cosine, mean_max_cosine
from circuit.measures.features.reconstruction import (
    COMPONENTS,
    FROZEN,
    PooledStates,
    lives,
    pool_states,
    principal_components,
    reconstruction,
)
from circuit.measures.features.replacing import replaced
from circuit.measures.states.grouped_states import Grouping
from circuit.measures.sweep.behaviour import SplitReads
from circuit.model.sites import state_site
from circuit.model.transformer import Decoder
from circuit.scalars.features import Dictionary
from circuit.statistics import bootstrap_means
from circuit.task.events import read_events
from circuit.task.vocabulary import Vocabulary

_KEYS = ("family", "role", "label", "named_by", "members")
RANDOM = "random directions"


class Described(NamedTuple):
    """A dictionary, and estimates about the whole, its families and labels, and about features."""

    dictionary: Dictionary
    rows: pd.DataFrame
    features: pd.DataFrame


class DictionaryAsked(Fit, Grouping, Protocol):
    """Of which states a dictionary is made, and how; the settings of ``dictionary``."""

    stage: str
    programs: int
    first: int
    seeds: int
    least_rate: float
    family: int


def dictionary_of_run(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    programs: pd.DataFrame,
    vocabulary: Vocabulary,
    settings: DictionaryAsked,
    work: Path | None = None,
) -> Described:
    """Make a dictionary of the states at ``settings.stage`` and describe its features.

    Args:
        programs: of a split; the first ``settings.programs`` are looked at.
        work: the folder for the file of states and for those that unfinished fits go on from; None
            for a temporary one, and fits that are not kept.

    Raises:
        AnalysisError: no checkpoint is left, the stage does not exist or holds no residual states,
            there are more features than states, a role's states form no groups, or the dictionary
            came to nothing.
    """
    site = state_site(settings.stage, decoder.settings.n_layers)
    kept = [step for step in steps if step >= settings.first]
    if not kept:
        raise AnalysisError(
            what=f"no checkpoint is left from step {settings.first} on",
            where="dictionary: first",
            expected=f"at most {max(steps)}",
            do="lower first",
        )
    split = SplitReads(programs, vocabulary, settings.programs)
    pooled = pool_states(decoder, theta, kept, split, site, work)

    def fit(seed: int, name: str, frozen: bool = False) -> Dictionary:
        keep = None if work is None else work / f"{name}.safetensors"
        return fit_autoencoder(pooled.fitting, settings, seed, stage=site, frozen=frozen, keep=keep)

    dictionary, *others = (fit(settings.seed + i, f"fit_{i}") for i in range(settings.seeds))
    frozen = fit(settings.seed, "fit_frozen", frozen=True)
    judged, rates = reconstruction(dictionary, frozen, pooled, settings.least_rate)
    known = tell_all(dictionary, pooled, labels_of(pooled, vocabulary, settings))
    families = choose_families(known, settings.family, settings.least_rate)
    firing = [family for family in families if len(family.members)]
    if not firing:
        raise AnalysisError(
            what=f"no feature of the dictionary fires at {' or '.join(settings.roles)}",
            where=f"states at {site}, step {kept[-1]}",
            expected="features that fire at the last checkpoint",
            do="lower sparsity, or fit for more steps",
        )
    mean, axes = principal_components(pooled)
    flat = axes[:, : math.ceil(rates[-1].sum())]
    remade = {
        "": dictionary.rebuild,
        COMPONENTS: lambda x: mean.to(x) + (x - mean.to(x)) @ flat.to(x) @ flat.T.to(x),
        FROZEN: frozen.rebuild,
    }
    held = read_events(programs.head(settings.programs).iloc[1::2], vocabulary, "last")
    value_ids = vocabulary.value_ids
    features = features_table(known, lives(rates, kept, settings.least_rate))
    parts = [
        judged,
        replaced(decoder, theta(kept[-1]), held, value_ids, site, remade, kept[-1]),
        _matches(dictionary, others, frozen, pooled, settings.least_rate),
        family_rows(firing, kept[-1]),
        scores(dictionary, pooled, firing),
        tallies(features, kept[-1]),
    ]
    rows = estimates(pd.concat(parts, ignore_index=True).fillna(dict.fromkeys(_KEYS, "")))
    members = {family.keys["family"]: tuple(family.members.tolist()) for family in families}
    made = {"states": pooled.fitting.count}
    dictionary = replace(dictionary, families=members, made=made)
    return Described(dictionary, rows, share_rows(features, kept[-1]))


def _matches(
    dictionary: Dictionary,
    others: Sequence[Dictionary],
    frozen: Dictionary,
    pooled: PooledStates,
    least_rate: float,
) -> pd.DataFrame:
    """Estimates of mean_max_cosine and matched_cosine with every further dictionary."""
    held = pooled.every[-1][~pooled.fits]

    def alive(one: Dictionary) -> Float[Tensor, "a d"]:
        return one.W_dec[(one.encode(held) > 0).double().mean(0) >= least_rate]

    own, found = alive(dictionary), []
    for other in others:
        directions = alive(other)
        found += [(f(own, directions), f(own, frozen.W_dec)) for f in _COSINES.values()]
    if not found or not len(own):
        return pd.DataFrame()
    values = np.asarray(found).reshape(len(others), -1)
    keys = [(name, against) for name in _COSINES for against in ("", RANDOM)]
    rows = pd.DataFrame(keys, columns=["measure", "against"])
    rows[["mean", "low", "high"]] = np.stack(bootstrap_means(values), axis=1)
    about = {"step": pooled.steps[-1], "count": len(others)}
    return estimates(rows, "cosine", "dictionary seeds", **about)


_COSINES = {"mean_max_cosine": mean_max_cosine, "matched_cosine": matched_cosine}

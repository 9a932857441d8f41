"""One dictionary for all checkpoints: fitted, judged, and its features told apart.

1. One pass per checkpoint leaves the states at the stage
   (:mod:`circuit.measures.features.pooled_states`).
2. An autoencoder is fitted to those of programs with even numbers, all checkpoints together
   (:mod:`circuit.measures.features.autoencoder`).
3. It is judged at every checkpoint on programs with odd numbers
   (:mod:`circuit.measures.features.reconstruction`).
4. Every feature is described by when it lives and what it fires on, and families are formed of
   features that tell the same (:mod:`circuit.measures.features.families`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import estimates
from circuit.measures.features.autoencoder import Fit, fit_autoencoder
from circuit.measures.features.families import (
    choose_families,
    family_rows,
    feature_rows,
    features_table,
    scores,
    tallies,
    tell_all,
)
from circuit.measures.features.pooled_states import pool_states
from circuit.measures.features.reconstruction import lives, reconstruction
from circuit.measures.features.telling import labels_of
from circuit.measures.states.grouped_states import Grouping
from circuit.measures.sweep.behaviour import SplitReads
from circuit.model.transformer import Decoder
from circuit.scalars.features import Dictionary
from circuit.scalars.subspace import state_site
from circuit.task.vocabulary import Vocabulary

_KEYS = ("family", "role", "label", "named_by", "members")


class Shared(NamedTuple):
    """A dictionary and what is known of it: estimates about the whole, its families and labels
    (``rows``), and about single ``features`` (:mod:`circuit.measures.features.families`).
    """

    dictionary: Dictionary
    rows: pd.DataFrame
    features: pd.DataFrame


class DictionaryAsked(Fit, Grouping, Protocol):
    """Of which states a dictionary is made, and how; the settings of ``shared_features``."""

    @property
    def stage(self) -> str: ...

    @property
    def first(self) -> int: ...

    @property
    def least_rate(self) -> float: ...

    @property
    def family(self) -> int: ...


def shared_features(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    split: SplitReads,
    vocabulary: Vocabulary,
    settings: DictionaryAsked,
) -> Shared:
    """Make a dictionary of the states at ``settings.stage`` and describe its features.

    Args:
        steps: checkpoints in order; those before ``settings.first`` are left out.

    Raises:
        AnalysisError: no checkpoint is left, the stage does not exist or holds no residual states,
            a role's states form no groups, or the dictionary came to nothing.
    """
    site = state_site(settings.stage, decoder.settings.n_layers)
    kept = [step for step in steps if step >= settings.first]
    if not kept:
        raise AnalysisError(
            what=f"no checkpoint is left from step {settings.first} on",
            where="shared_features: first",
            expected=f"at most {max(steps)}",
            do="lower first",
        )
    pooled = pool_states(decoder, theta, kept, split, site)
    dictionary = Dictionary(*fit_autoencoder(pooled.fitting(), settings), stage=site)
    judged = reconstruction(dictionary, pooled, settings.least_rate)
    labels = labels_of(pooled, vocabulary, settings)
    halves = tell_all(dictionary, pooled, labels)
    families = choose_families(labels, halves, settings.family, settings.least_rate)
    if not any(len(family.members) for family in families.values()):
        raise AnalysisError(
            what=f"no feature of the dictionary fires at {' or '.join(settings.roles)}",
            where=f"states at {site}, step {kept[-1]}",
            expected="features that fire at the last checkpoint",
            do="lower sparsity, or fit for more steps",
        )
    features = features_table(labels, halves, lives(judged.rates, kept, settings.least_rate))
    parts = [
        judged.rows,
        family_rows(families, labels, halves, kept[-1]),
        scores(dictionary, pooled, families),
        tallies(features, kept[-1]),
    ]
    rows = estimates(pd.concat(parts, ignore_index=True).fillna(dict.fromkeys(_KEYS, "")))
    members = {name: tuple(found.members.tolist()) for name, found in families.items()}
    return Shared(replace(dictionary, families=members), rows, feature_rows(features, kept[-1]))

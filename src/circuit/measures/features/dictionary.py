"""One dictionary for all checkpoints: fitted, judged, and its features told apart.

1. One pass per checkpoint leaves the states at the stage. An autoencoder is fitted to those of
   programs with even numbers, of all checkpoints (:mod:`circuit.measures.features.autoencoder`).
2. It is judged at every checkpoint on programs with odd numbers
   (:mod:`circuit.measures.features.reconstruction`).
3. Every feature is described by when it lives and what it fires on, and families are formed of
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
    features_table,
    labels_of,
    scores,
    share_rows,
    tallies,
    tell_all,
)
from circuit.measures.features.reconstruction import lives, pool_states, reconstruction
from circuit.measures.states.grouped_states import Grouping
from circuit.measures.sweep.behaviour import SplitReads
from circuit.model.sites import state_site
from circuit.model.transformer import Decoder
from circuit.scalars.features import Dictionary
from circuit.task.vocabulary import Vocabulary

_KEYS = ("family", "role", "label", "named_by", "members")


class Shared(NamedTuple):
    """A dictionary, and estimates about the whole, its families and labels, and about features."""

    dictionary: Dictionary
    rows: pd.DataFrame
    features: pd.DataFrame


class DictionaryAsked(Fit, Grouping, Protocol):
    """Of which states a dictionary is made, and how; the settings of ``dictionary``."""

    stage: str
    first: int
    least_rate: float
    family: int


def dictionary_of_run(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    split: SplitReads,
    vocabulary: Vocabulary,
    settings: DictionaryAsked,
) -> Shared:
    """Make a dictionary of the states at ``settings.stage`` and describe its features.

    Raises:
        AnalysisError: no checkpoint is left, the stage does not exist or holds no residual states,
            a role's states form no groups, or the dictionary came to nothing.
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
    pooled = pool_states(decoder, theta, kept, split, site)
    dictionary = Dictionary(*fit_autoencoder(pooled.fitting(), settings), stage=site)
    judged, rates = reconstruction(dictionary, pooled, settings.least_rate)
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
    features = features_table(known, lives(rates, kept, settings.least_rate))
    parts = [
        judged,
        family_rows(firing, kept[-1]),
        scores(dictionary, pooled, firing),
        tallies(features, kept[-1]),
    ]
    rows = estimates(pd.concat(parts, ignore_index=True).fillna(dict.fromkeys(_KEYS, "")))
    members = {family.keys["family"]: tuple(family.members.tolist()) for family in families}
    return Shared(replace(dictionary, families=members), rows, share_rows(features, kept[-1]))

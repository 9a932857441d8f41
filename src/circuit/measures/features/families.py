"""Which features are about what, and how active those become over training.

1. On the fitting programs, at the last checkpoint, every feature gets the label whose share of its
   activation's variance exceeds that of shuffled labels most, and the group in which it fires most
   strongly (:mod:`circuit.measures.features.telling`).
2. There, too, a *family* is chosen for every label at a role: the features that it tells best, by
   the same excess, among those that fire at the role.
3. The scoring programs confirm both: the share again, with its interval, beside that of shuffled
   labels. A feature is *told* where the interval lies above 97.5% of the shuffles.
4. A family's *score* at a checkpoint is the mean activation of its features at the role, so it is
   ``feature_score``, on the scoring programs. The control is the mean activation of all other
   features that fire there: what as many features would score that were drawn without regard to
   the label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from circuit.measures.features.pooled_states import PooledStates
from circuit.measures.features.telling import EVERYWHERE, Label, Told, told
from circuit.measures.sweep.behaviour import means_over_reads
from circuit.scalars.features import Dictionary
from circuit.statistics import bootstrap_means, interval

SHARES = ("share", "low", "high", "shuffled", "shuffled_high")
_SHARE_UNITS = dict.fromkeys(SHARES, "share")
FEATURE_UNITS = {
    "feature": "id",
    **dict.fromkeys(("born", "gone"), "step"),
    **_SHARE_UNITS,
    "fires_on": "share",
    "count": "1",
}
FAMILY_UNITS = {**_SHARE_UNITS, **dict.fromkeys(("size", "members_told", "count"), "1")}


class Family(NamedTuple):
    """Features that a label at a role tells best, and all others that fire there."""

    label: Label
    members: Int[np.ndarray, " m"]
    others: Int[np.ndarray, " o"]


class Halves(NamedTuple):
    """What a label tells on the programs that choose, and on those that confirm."""

    choosing: Told
    confirming: Told


def tell_all(dictionary: Dictionary, pooled: PooledStates, labels: Sequence[Label]) -> list[Halves]:
    """What every label tells of every feature at the last checkpoint."""
    active = dictionary.encode(pooled.states[max(pooled.states)])
    return [
        Halves(told(active, label, pooled.fits), told(active, label, ~pooled.fits))
        for label in labels
    ]


def features_table(labels: Sequence[Label], halves: Sequence[Halves]) -> pd.DataFrame:
    """One row per feature: feature, fires_on, role, label, by_token, group, share, low, high,
    shuffled, shuffled_high, count, told.

    ``fires_on`` is the share of all scoring states. A feature that is silent in the fitting
    programs has no label, and is not told.
    """
    size = len(halves[0].choosing.share)
    excess = np.stack([half.choosing.excess for half in halves])
    best, every = excess.argmax(0), np.arange(size)
    bands = np.stack([_shares(half.confirming) for half in halves])[best, every]
    found = pd.DataFrame(bands, columns=list(SHARES))
    groups = np.stack([half.choosing.group for half in halves])[best, every]
    silent = halves[0].choosing.rate == 0
    about = {
        "feature": every,
        "fires_on": halves[0].confirming.rate,
        "role": [labels[i].role for i in best],
        "label": [labels[i].name for i in best],
        "by_token": [labels[i].by_token for i in best],
        "group": [labels[i].groups.names[g] for i, g in zip(best, groups, strict=True)],
    }
    words = ["role", "label", "group"]
    found = pd.DataFrame(about).join(found)
    found["count"] = [halves[i].confirming.states for i in best]
    found["told"] = (found["low"] > found["shuffled_high"]) & ~silent
    found.loc[silent, words] = ""
    found.loc[silent, list(SHARES)] = np.nan
    return found


def _shares(of: Told, members: Int[np.ndarray, " m"] | None = None) -> Float[np.ndarray, "F 5"]:
    """``SHARES`` of every feature, or, in one row, of the mean over some."""
    columns, shuffled = of.columns, of.shuffled
    if members is not None:
        columns, shuffled = (
            part[:, members].mean(1, keepdims=True) for part in (columns, shuffled)
        )
    mean, low, high = bootstrap_means(columns)
    ends = (np.clip(end, 0, 1) for end in (low, high))
    return np.stack([mean, *ends, shuffled.mean(0), interval(shuffled)[1]], axis=1)


def choose_families(
    labels: Sequence[Label], halves: Sequence[Halves], size: int, least_rate: float
) -> dict[str, Family]:
    """The families of every label at a role, most told feature first; fewer where few fire."""
    found = {}
    for label, half in zip(labels, halves, strict=True):
        if label.role == EVERYWHERE:
            continue
        firing = np.flatnonzero(half.choosing.rate >= least_rate)
        order = firing[np.argsort(-half.choosing.excess[firing], kind="stable")]
        found[label.family] = Family(label, order[:size], np.sort(order[size:]))
    return found


def families_table(
    families: Mapping[str, Family], labels: Sequence[Label], halves: Sequence[Halves]
) -> pd.DataFrame:
    """One row per family: family, role, label, by_token, features, size, members_told, the
    mean share with its interval and control, count.
    """
    rows = []
    for label, half in zip(labels, halves, strict=True):
        if label.role == EVERYWHERE or not len(families[label.family].members):
            continue
        members = families[label.family].members
        each = _shares(half.confirming)[members]
        rows.append(
            {
                "family": label.family,
                "role": label.role,
                "label": label.name,
                "by_token": label.by_token,
                "features": " ".join(map(str, members)),
                "size": len(members),
                "members_told": int((each[:, 1] > each[:, 4]).sum()),
                **dict(zip(SHARES, _shares(half.confirming, members)[0], strict=True)),
                "count": half.confirming.states,
            }
        )
    return pd.DataFrame(rows)


def scores(
    dictionary: Dictionary, pooled: PooledStates, families: Mapping[str, Family]
) -> pd.DataFrame:
    """Rows of step, family, measure, mean, low, high, count (states at the role).

    Measures are ``score`` and ``score_control``.
    """
    frames = []
    for step, states in pooled.states.items():
        for name, family in families.items():
            if not len(family.members):
                continue
            scored = ~pooled.fits[family.label.states]
            at = family.label.states[scored]
            active = dictionary.encode(states[at]).double()
            columns = [
                active[:, torch.from_numpy(chosen)].mean(1) if len(chosen) else active[:, 0] * 0
                for chosen in (family.members, family.others)
            ]
            program = pooled.program[at].unique(return_inverse=True)[1].numpy()
            mean, low, high = means_over_reads(
                torch.stack(columns, 1).numpy(), program, int(program.max()) + 1
            )
            table = {"step": step, "family": name, "measure": ["score", "score_control"]}
            ends = {"mean": mean, "low": low, "high": high, "count": len(at)}
            frames.append(pd.DataFrame({**table, **ends}))
    return pd.concat(frames, ignore_index=True).assign(unit="activation")

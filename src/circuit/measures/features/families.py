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

from circuit.estimates import estimates, with_controls
from circuit.measures.features.pooled_states import PooledStates
from circuit.measures.features.telling import EVERYWHERE, Label, Told, told
from circuit.measures.sweep.behaviour import means_over_reads
from circuit.scalars.features import Dictionary
from circuit.statistics import bootstrap_means, interval

SHUFFLED, OTHERS = "shuffled labels", "other features"
_CONTROL = {SHUFFLED: ("shuffled", "shuffled_low", "shuffled_high")}
_SHARES = ("mean", "low", "high", *_CONTROL[SHUFFLED])
FEATURE_UNITS = {"feature": "id", "fires_on": "share", **dict.fromkeys(("born", "gone"), "step")}
TOKEN, CONTEXT = "token", "context"
"""What names a state's group: its token alone, or only what came before."""


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


def features_table(
    labels: Sequence[Label], halves: Sequence[Halves], lives: pd.DataFrame
) -> pd.DataFrame:
    """One row per feature: feature, fires_on, role, label, named_by, group, born, gone, told, the
    share's mean, low and high, that of shuffled labels, count.

    ``fires_on`` is the share of all scoring states. A feature that is silent in the fitting
    programs has no label, and is not told.
    """
    size = len(halves[0].choosing.share)
    excess = np.stack([half.choosing.excess for half in halves])
    best, every = excess.argmax(0), np.arange(size)
    bands = np.stack([_shares(half.confirming) for half in halves])[best, every]
    found = pd.DataFrame(bands, columns=list(_SHARES))
    groups = np.stack([half.choosing.group for half in halves])[best, every]
    silent = halves[0].choosing.rate == 0
    about = {
        "feature": every,
        "fires_on": halves[0].confirming.rate,
        "role": [labels[i].role for i in best],
        "label": [labels[i].name for i in best],
        "named_by": [_named_by(labels[i]) for i in best],
        "group": [labels[i].groups.names[g] for i, g in zip(best, groups, strict=True)],
    }
    words = ["role", "label", "named_by", "group"]
    found = pd.DataFrame(about).join(lives).join(found)
    found["count"] = [halves[i].confirming.states for i in best]
    told = (found["low"] > found["shuffled_high"]) & ~silent
    found.insert(len(about), "told", np.where(told, "yes", "no"))
    found.loc[silent, words] = ""
    found.loc[silent, list(_SHARES)] = np.nan
    return found


def feature_rows(table: pd.DataFrame, step: int) -> pd.DataFrame:
    """Estimates of ``label_share`` of every feature, beside that of shuffled labels."""
    frame = with_controls(table, _CONTROL)
    return estimates(frame, "share", "states", step=step, measure="label_share")


def tallies(table: pd.DataFrame, step: int) -> pd.DataFrame:
    """Estimates, by role and label: ``features`` that it tells most of, ``told_features`` among
    them, and the median of their share.
    """
    known = table[table["label"] != ""]
    groups = known.assign(told=known["told"] == "yes").groupby(
        ["role", "label", "named_by"], sort=False
    )
    counted = groups.agg(
        features=("feature", "size"), told_features=("told", "sum"), median_share=("mean", "median")
    )
    counted = counted.sort_values("features", ascending=False, kind="stable")
    long = counted.stack().rename("mean").rename_axis([*counted.index.names, "measure"])
    units = {"features": "1", "told_features": "1", "median_share": "share"}
    return estimates(long.reset_index(), units, step=step)


def _named_by(label: Label) -> str:
    return TOKEN if label.by_token else CONTEXT


def _shares(of: Told, members: Int[np.ndarray, " m"] | None = None) -> Float[np.ndarray, "F 6"]:
    """``_SHARES`` of every feature, or, in one row, of the mean over some."""
    columns, shuffled = of.columns, of.shuffled
    if members is not None:
        columns, shuffled = (
            part[:, members].mean(1, keepdims=True) for part in (columns, shuffled)
        )
    mean, low, high = bootstrap_means(columns)
    ends = (np.clip(end, 0, 1) for end in (low, high))
    return np.stack([mean, *ends, shuffled.mean(0), *interval(shuffled)], axis=1)


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


def family_rows(
    families: Mapping[str, Family], labels: Sequence[Label], halves: Sequence[Halves], step: int
) -> pd.DataFrame:
    """Estimates of every family's ``label_share``, the mean over its features beside that of
    shuffled labels, and of ``members_told``, how many of its features are told.
    """
    shares, told = [], []
    for label, half in zip(labels, halves, strict=True):
        if label.role == EVERYWHERE or not len(families[label.family].members):
            continue
        members = families[label.family].members
        each = pd.DataFrame(_shares(half.confirming)[members], columns=list(_SHARES))
        mean = dict(zip(_SHARES, _shares(half.confirming, members)[0], strict=True))
        beyond = int((each["low"] > each["shuffled_high"]).sum())
        shares.append({**_about(families[label.family]), **mean, "count": half.confirming.states})
        told.append({**_about(families[label.family]), "mean": beyond, "count": len(members)})
    found = [
        estimates(
            with_controls(pd.DataFrame(shares), _CONTROL), "share", "states",
            step=step, measure="label_share",
        ),
        estimates(pd.DataFrame(told), "1", "features", step=step, measure="members_told"),
    ]  # fmt: skip
    return pd.concat(found, ignore_index=True)


def _about(family: Family) -> dict[str, str]:
    """A family's keys."""
    label = family.label
    return {
        "family": label.family,
        "role": label.role,
        "label": label.name,
        "named_by": _named_by(label),
        "members": " ".join(map(str, family.members)),
    }


def scores(
    dictionary: Dictionary, pooled: PooledStates, families: Mapping[str, Family]
) -> pd.DataFrame:
    """Estimates of every family's ``score``, with that of all other features as its control."""
    frames = []
    for step, states in pooled.states.items():
        for family in families.values():
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
            table = {**_about(family), "step": step, "against": ["", OTHERS]}
            ends = {"mean": mean, "low": low, "high": high, "count": len(at)}
            frames.append(pd.DataFrame({**table, **ends}))
    return estimates(pd.concat(frames), "activation", "states", measure="score")

"""What features fire on, which are about the same, and how active those become over training.

1. Labels are, of every state: its token, and its part in the program (``event_part``); of the
   states at a role of the reads: the key that is asked for, and the answer
   (:mod:`circuit.measures.states.grouped_states`).
2. A label *tells* a feature by the share of the variance of its activation that lies between the
   label's groups (η², Fisher's correlation ratio), here at the last checkpoint. It does so by
   chance too, the more groups it has and the rarer the feature fires, so every share is taken again
   with shuffled labels.
3. On the fitting programs every feature gets the label whose share exceeds that of shuffled labels
   most, and the group in which it fires most strongly. There, too, a *family* is chosen for every
   label at a role: the features that it tells best, by the same excess, among those that fire at
   the role.
4. The scoring programs confirm both: the share again, with its interval, beside that of shuffled
   labels. A feature is *told* where the interval lies above 97.5% of the shuffles.
5. A family's *score* at a checkpoint is the mean activation of its features at the role, so it is
   ``feature_score``, on the scoring programs. The control is the mean activation of all other
   features that fire there: what as many features would score that were drawn without regard to
   the label.

Intervals of shares are linear: their bootstrap over programs to first order, as in
:mod:`circuit.measures.states.scatter`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.estimates import estimates, with_controls
from circuit.measures.features.reconstruction import PooledStates
from circuit.measures.states.grouped_states import Grouping, role_states
from circuit.measures.states.scatter import Groups, group_means, shuffles
from circuit.scalars.features import Dictionary
from circuit.statistics import bootstrap_means, grouped_means, interval
from circuit.task.vocabulary import READ, WRITE, Vocabulary

EVERYWHERE = "everywhere"
TOKEN, CONTEXT = "token", "context"
"""What names a state's group: its token alone, or only what came before."""
PARTS = ("other", "write op", "write key", "write value", "read op", "read key", "answer")
_TINY = 1e-12
SHUFFLED, OTHERS = "shuffled labels", "other features"
_CONTROL = {SHUFFLED: ("shuffled", "shuffled_low", "shuffled_high")}
_SHARES = ("mean", "low", "high", *_CONTROL[SHUFFLED])
FEATURE_UNITS = {"feature": "id", "fires_on": "share", **dict.fromkeys(("born", "gone"), "step")}


class Label(NamedTuple):
    """What is known of some of the states: their numbers, and the groups they fall into.

    ``by_token``: the token at a state names its group, so that it is known without any context.
    """

    role: str
    name: str
    states: Int[Tensor, " k"]
    groups: Groups
    by_token: bool

    @property
    def keys(self) -> dict[str, str]:
        """What rows about it are called by."""
        named_by = TOKEN if self.by_token else CONTEXT
        return {"role": self.role, "label": self.name, "named_by": named_by}


class Told(NamedTuple):
    """How much a label tells of F features.

    ``columns`` are per program, and their means over programs the shares; ``shuffled`` of shuffled
    labels; ``group`` has the largest activation; ``rate`` is the share of states on which a feature
    fires; ``states`` counts them.
    """

    share: Float[np.ndarray, " F"]
    columns: Float[np.ndarray, "P F"]
    shuffled: Float[np.ndarray, "K F"]
    group: Int[np.ndarray, " F"]
    rate: Float[np.ndarray, " F"]
    states: int

    @property
    def excess(self) -> Float[np.ndarray, " F"]:
        """Shares beyond those of shuffled labels, on average."""
        return np.asarray(self.share - self.shuffled.mean(0))


def labels_of(pooled: PooledStates, vocabulary: Vocabulary, settings: Grouping) -> list[Label]:
    """Labels of all states, then those of every role and group."""
    split, rng = pooled.split, np.random.default_rng(settings.seed)
    every = torch.arange(len(pooled.program))
    found = []

    def add(role: str, name: str, states: Int[Tensor, " k"], groups: Groups) -> None:
        token = pooled.token[states]
        pairs = torch.stack([token, groups.codes]).unique(dim=1)
        by_token = pairs.shape[1] == len(token.unique())
        found.append(Label(role, name, states, groups, by_token))

    for name, codes, names in (
        ("token", pooled.token, vocabulary.tokens),
        ("event_part", event_part(pooled.token), PARTS),
    ):
        there, code = np.unique(codes.numpy(), return_inverse=True)
        drawn = shuffles(code, np.zeros_like(code), every.numpy(), settings.draws, rng)
        about = tuple(names[i] for i in there), pooled.program, len(split.tokens)
        groups = Groups(torch.from_numpy(code), *about, torch.from_numpy(drawn))
        add(EVERYWHERE, name, every, groups)
    for role, known in role_states(split, vocabulary, settings).items():
        position = getattr(split.reads, role)[known.reads]
        at = pooled.place(split.reads.row[known.reads], position)
        for name, of_role in known.groups.items():
            add(role, name, at, of_role)
    return found


def event_part(token: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Which of ``PARTS`` every token of some streams is, one stream after the other."""
    op = (token == WRITE) | (token == READ)
    part = torch.zeros_like(token)
    for back in range(3):  # op, key, value stand in a row
        at = op.nonzero()[:, 0]
        part[at + back] = torch.where(token[at] == WRITE, 1, 4) + back
    return part


def told(active: Float[Tensor, "n F"], label: Label, half: Bool[Tensor, " n"]) -> Told:
    """How much a label tells of every feature, from activations at all states, on one half."""
    chosen = half[label.states]
    values = active[label.states[chosen]].double()
    codes, n_groups = label.groups.codes[chosen], len(label.groups.names)
    total = (values - values.mean(0)).square().sum(0).clamp(min=_TINY)
    means, share = _between(values, codes, n_groups, total)
    drawn = [_between(values, c, n_groups, total)[1] for c in label.groups.shuffled[:, chosen]]
    # The share's derivative by each state's weight, summed over each program's.
    rest = values - values.mean(0) - means[codes]
    derivative = ((values - values.mean(0)).square() * (1 - share) - rest.square()) / total
    number = label.groups.program[chosen].unique(return_inverse=True)[1]
    n = int(number.max()) + 1
    sums = torch.zeros(n, values.shape[1], dtype=values.dtype).index_add_(0, number, derivative)
    return Told(
        share.numpy(),
        (share + n * sums).numpy(),
        torch.stack(drawn).numpy(),
        means.argmax(0).numpy(),
        (values > 0).double().mean(0).numpy(),
        len(values),
    )


def _between(
    values: Float[Tensor, "n F"], codes: Int[Tensor, " n"], n_groups: int, total: Tensor
) -> tuple[Float[Tensor, "G F"], Float[Tensor, " F"]]:
    """Groups' means about the overall one, and the share of variance between them, by feature."""
    found = group_means(values[None], codes[None], n_groups)
    share = (found.sizes[0, :, None] * found.means[0].square()).sum(0) / total
    return found.means[0], share


class Known(NamedTuple):
    """What a label tells on the programs that choose, and on those that confirm."""

    label: Label
    choosing: Told
    confirming: Told


class Family(NamedTuple):
    """Features that a label at a role tells best, and all others that fire there."""

    known: Known
    members: Int[np.ndarray, " m"]
    others: Int[np.ndarray, " o"]

    @property
    def keys(self) -> dict[str, str]:
        """What rows about it are called by."""
        label, members = self.known.label, " ".join(map(str, self.members))
        return {"family": f"{label.name}@{label.role}", **label.keys, "members": members}


def tell_all(dictionary: Dictionary, pooled: PooledStates, labels: Sequence[Label]) -> list[Known]:
    """What every label tells of every feature at the last checkpoint."""
    active, fits = dictionary.encode(pooled.states[max(pooled.states)]), pooled.fits
    return [Known(one, told(active, one, fits), told(active, one, ~fits)) for one in labels]


def features_table(known: Sequence[Known], lives: pd.DataFrame) -> pd.DataFrame:
    """One row per feature: feature, fires_on, role, label, named_by, group, told, born, gone, the
    share's mean, low and high, that of shuffled labels, count.

    ``fires_on`` is the share of all scoring states. A feature that is silent in the fitting
    programs has no label, and is not told.
    """
    best = np.stack([one.choosing.excess for one in known]).argmax(0)
    every, of = np.arange(len(best)), [known[i] for i in best]
    bands = np.stack([_shares(one.confirming) for one in known])[best, every]
    shares = pd.DataFrame(bands, columns=list(_SHARES))
    silent = known[0].choosing.rate == 0
    shares.loc[silent] = np.nan
    names = [one.label.groups.names[one.choosing.group[i]] for i, one in enumerate(of)]
    about = pd.DataFrame([one.label.keys for one in of]).assign(group=names)
    about[silent] = ""
    about.insert(0, "feature", every)
    about.insert(1, "fires_on", known[0].confirming.rate)
    about["told"] = np.where(shares["low"] > shares["shuffled_high"], "yes", "no")
    counts = pd.Series([one.confirming.states for one in of], name="count")
    return pd.concat([about, lives, shares, counts], axis=1)


def share_rows(table: pd.DataFrame, step: int) -> pd.DataFrame:
    """Estimates of the ``label_share`` of features or families, beside that of shuffled labels."""
    frame = with_controls(table, _CONTROL)
    return estimates(frame, "share", "states", step=step, measure="label_share")


def tallies(table: pd.DataFrame, step: int) -> pd.DataFrame:
    """Estimates, by role and label: ``features`` that it tells most of, ``told_features`` among
    them, and the median of their share.
    """
    labelled = table[table["label"] != ""].assign(told=table["told"] == "yes")
    counted = labelled.groupby(["role", "label", "named_by"], sort=False).agg(
        features=("feature", "size"), told_features=("told", "sum"), median_share=("mean", "median")
    )
    counted = counted.sort_values("features", ascending=False, kind="stable")
    long = counted.stack().rename("mean").rename_axis([*counted.index.names, "measure"])
    units = {"features": "1", "told_features": "1", "median_share": "share"}
    return estimates(long.reset_index(), units, step=step)


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


def choose_families(known: Sequence[Known], size: int, least_rate: float) -> list[Family]:
    """The families of every label at a role, most told feature first; fewer where few fire."""
    found = []
    for one in known:
        if one.label.role != EVERYWHERE:
            firing = np.flatnonzero(one.choosing.rate >= least_rate)
            order = firing[np.argsort(-one.choosing.excess[firing], kind="stable")]
            found.append(Family(one, order[:size], np.sort(order[size:])))
    return found


def family_rows(families: Sequence[Family], step: int) -> pd.DataFrame:
    """Estimates of the ``label_share`` of families that have members, the mean over these beside
    that of shuffled labels, and of ``members_told``, how many of its features are told.
    """
    shares, told = [], []
    for family in families:
        confirming, members = family.known.confirming, family.members
        each = pd.DataFrame(_shares(confirming)[members], columns=list(_SHARES))
        mean = dict(zip(_SHARES, _shares(confirming, members)[0], strict=True))
        beyond = int((each["low"] > each["shuffled_high"]).sum())
        shares.append({**family.keys, **mean, "count": confirming.states})
        told.append({**family.keys, "mean": beyond, "count": len(members)})
    found = [
        share_rows(pd.DataFrame(shares), step),
        estimates(pd.DataFrame(told), "1", "features", step=step, measure="members_told"),
    ]
    return pd.concat(found, ignore_index=True)


def scores(
    dictionary: Dictionary, pooled: PooledStates, families: Sequence[Family]
) -> pd.DataFrame:
    """Estimates of every family's ``score``, with that of all other features as its control."""
    frames = []
    for step, states in pooled.states.items():
        for family in families:
            at = family.known.label.states
            at = at[~pooled.fits[at]]
            active = dictionary.encode(states[at]).double()
            columns = [
                active[:, torch.from_numpy(chosen)].mean(1) if len(chosen) else active[:, 0] * 0
                for chosen in (family.members, family.others)
            ]
            program = pooled.program[at].unique(return_inverse=True)[1].numpy()
            mean, low, high = grouped_means(
                torch.stack(columns, 1).numpy(), program, int(program.max()) + 1
            )
            table = {**family.keys, "step": step, "against": ["", OTHERS]}
            ends = {"mean": mean, "low": low, "high": high, "count": len(at)}
            frames.append(pd.DataFrame({**table, **ends}))
    return estimates(pd.concat(frames), "activation", "states", measure="score")

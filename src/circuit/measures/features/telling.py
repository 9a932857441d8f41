"""What every feature fires on: how much of its activation a label explains.

1. Labels are, of every state: its token, and its part in the program (``event_part``); of the
   states at a role of the reads: the key that is asked for, and the answer
   (:mod:`circuit.measures.states.grouped_states`).
2. A label *tells* a feature by the share of the variance of its activation that lies between the
   label's groups (η², Fisher's correlation ratio), here at the last checkpoint.
3. It does so by chance too, the more groups it has and the rarer the feature fires, so every share
   is taken again with shuffled labels.

Intervals are linear: a share's bootstrap over programs to first order, as in
:mod:`circuit.measures.states.scatter`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.measures.features.pooled_states import PooledStates
from circuit.measures.states.grouped_states import Grouping, role_states
from circuit.measures.states.scatter import Groups, group_means, shuffles
from circuit.task.vocabulary import READ, WRITE, Vocabulary

EVERYWHERE = "everywhere"
PARTS = ("other", "write op", "write key", "write value", "read op", "read key", "answer")
_TINY = 1e-12


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
    def family(self) -> str:
        """The name of the features that it tells best."""
        return f"{self.name}@{self.role}"


class Told(NamedTuple):
    """How much a label tells of F features.

    ``share`` [F]; ``columns`` [P, F] per program, whose means over programs are the shares;
    ``shuffled`` [K, F] of shuffled labels; ``group`` [F], the group with the largest activation;
    ``rate`` [F], the share of states on which a feature fires; ``states`` counts them.
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
        beyond: Float[np.ndarray, " F"] = self.share - self.shuffled.mean(0)
        return beyond


def labels_of(pooled: PooledStates, vocabulary: Vocabulary, settings: Grouping) -> list[Label]:
    """Labels of all states, then those of every role and group."""
    split, rng = pooled.split, np.random.default_rng(settings.seed)
    every = torch.arange(len(pooled.program))
    found = []
    for name, codes, names in (
        ("token", pooled.token, vocabulary.tokens),
        ("event_part", event_part(pooled.token), PARTS),
    ):
        there, code = np.unique(codes.numpy(), return_inverse=True)
        drawn = shuffles(code, np.zeros_like(code), every.numpy(), settings.draws, rng)
        groups = Groups(
            torch.from_numpy(code),
            tuple(names[i] for i in there),
            pooled.program,
            len(split.tokens),
            torch.from_numpy(drawn),
        )
        found.append(_label(EVERYWHERE, name, every, groups, pooled))
    for role, known in role_states(split, vocabulary, settings).items():
        position = getattr(split.reads, role)[known.reads]
        at = pooled.place(split.reads.row[known.reads], position)
        for name, groups in known.groups.items():
            found.append(_label(role, name, at, groups, pooled))
    return found


def _label(
    role: str, name: str, states: Int[Tensor, " k"], groups: Groups, pooled: PooledStates
) -> Label:
    token = pooled.token[states]
    pairs = torch.stack([token, groups.codes]).unique(dim=1)
    return Label(role, name, states, groups, pairs.shape[1] == len(token.unique()))


def event_part(token: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Which of ``PARTS`` every token of some streams is, one stream after the other."""
    op = (token == WRITE) | (token == READ)
    part = torch.zeros_like(token)
    for back in range(3):  # op, key, value stand in a row
        at = op.nonzero()[:, 0]
        part[at + back] = torch.where(token[at] == WRITE, 1, 4) + back
    return part


def told(active: Float[Tensor, "n F"], label: Label, half: Bool[Tensor, " n"]) -> Told:
    """How much a label tells of every feature, on one half of the states.

    Args:
        active: activations at all states.
        half: which states count.
    """
    chosen = half[label.states]
    values = active[label.states[chosen]].double()
    codes, n_groups = label.groups.codes[chosen], len(label.groups.names)
    total = (values - values.mean(0)).square().sum(0).clamp(min=_TINY)
    means, share = _between(values, codes, n_groups, total)
    drawn = [_between(values, c, n_groups, total)[1] for c in label.groups.shuffled[:, chosen]]
    return Told(
        share.numpy(),
        _columns(values, means, codes, share, total, label.groups.program[chosen]),
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


def _columns(
    values: Float[Tensor, "n F"],
    means: Float[Tensor, "G F"],
    codes: Int[Tensor, " n"],
    share: Float[Tensor, " F"],
    total: Float[Tensor, " F"],
    program: Int[Tensor, " n"],
) -> Float[np.ndarray, "P F"]:
    """Share plus its derivative by each program's weight, times the number of programs."""
    centred = values - values.mean(0)
    rest = centred - means[codes]
    derivative = (centred.square() * (1 - share) - rest.square()) / total
    number = program.unique(return_inverse=True)[1]
    n = int(number.max()) + 1
    sums = torch.zeros(n, values.shape[1], dtype=values.dtype).index_add_(0, number, derivative)
    columns: Float[np.ndarray, "P F"] = (share + n * sums).numpy()
    return columns

"""Which states are looked at, by role, and the groups they fall into.

1. Reads that share their support write share its states, which count once; at ``prediction`` every
   read has a state of its own.
2. States are grouped by the key that is asked for and by the answer.
3. Labels are shuffled among support writes with the same other label: values among writes to one
   key, keys among writes of one value. What a key tells about the value (some pairs are held out),
   and reads of the same write about each other, is therefore in the control as it is in the groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.measures.states.scatter import Groups, shuffles
from circuit.measures.sweep.behaviour import SplitReads
from circuit.task.vocabulary import Vocabulary


class Grouping(Protocol):
    """Which states are grouped by what, and how often labels are shuffled."""

    @property
    def roles(self) -> Sequence[str]: ...

    @property
    def groups(self) -> Sequence[str]: ...

    @property
    def draws(self) -> int: ...

    @property
    def seed(self) -> int: ...


class States(NamedTuple):
    """N states of one role: the reads they are taken from, their programs, their groups by name."""

    reads: Int[Tensor, " N"]
    program: Int[Tensor, " N"]
    n_programs: int
    groups: Mapping[str, Groups]


def role_states(split: SplitReads, vocabulary: Vocabulary, settings: Grouping) -> dict[str, States]:
    """The states of every role, with groups and their shuffles.

    Raises:
        AnalysisError: all states of a role are in one group, or programs with even or odd numbers
            have no state.
    """
    reads = split.reads
    codes = {
        "query_key": split.tokens[reads.row, reads.prediction].numpy(),
        "answer": reads.answer.numpy(),
    }
    write = (reads.row * split.tokens.shape[1] + reads.support_value).numpy()
    _, first = np.unique(write, return_index=True)
    found: dict[str, States] = {}
    for role in settings.roles:
        kept = np.arange(len(reads)) if role == "prediction" else np.sort(first)
        program = reads.row[kept]
        rng = np.random.default_rng(settings.seed)
        groups: dict[str, Groups] = {}
        for name in settings.groups:
            other = codes["answer" if name == "query_key" else "query_key"]
            ids, code = np.unique(codes[name][kept], return_inverse=True)
            drawn = shuffles(code, other[kept], write[kept], settings.draws, rng)
            groups[name] = Groups(
                torch.from_numpy(code),
                tuple(vocabulary.tokens[i] for i in ids),
                program,
                len(split.tokens),
                torch.from_numpy(drawn),
            )
            odd = int((program % 2).sum())
            if len(ids) < 2 or odd == 0 or odd == len(kept):
                raise AnalysisError(
                    what=f"{len(kept)} states at {role} form {len(ids)} groups by {name}, "
                    f"{odd} of them in programs with odd numbers",
                    where="groups of states",
                    expected="two groups or more, and states in programs with even and odd numbers",
                    do="look at more programs",
                )
        found[role] = States(torch.from_numpy(kept), program, len(split.tokens), groups)
    return found

"""Read events as tensors: programs cut where an answer is predicted, with every role's positions.

1. :func:`read_events` finds all reads of some programs (:func:`circuit.task.streams.read_table`)
   and keeps those that are asked for.
2. Each becomes one row: its program's tokens up to and including the read's key token. The answer
   is not among them. Rows are right-padded to the longest of the batch, so with a causal model
   padding changes nothing before it.
3. Roles that are one position are kept as positions, roles that are several as masks.
   :meth:`ReadEvents.role_mask` gives any of them as a mask.

:func:`answer_positions` is the other reading of the same reads: positions in *whole* programs, so
that one forward pass over a program serves all its reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuit.errors import AnalysisError, nearest
from circuit.task.streams import SLICES, BoolArray, IntArray, event_grid, padded_tokens, read_table
from circuit.task.vocabulary import PAD, Vocabulary

POSITION_ROLES = ("prediction", "query_key", "support_op", "support_key", "support_value")
MASK_ROLES = (
    "stale_value",
    "value_distractors",
    "key_distractors",
    "prior_answers",
    "causal_prefix",
)
ROLES = POSITION_ROLES + MASK_ROLES

Reads = Literal["all", "last"] | Sequence[tuple[str, int]]


@dataclass(frozen=True, eq=False)
class ReadEvents:
    """E read events, each a program cut at its prediction position.

    Positions and lengths count tokens from ``<bos>`` at 0; ids are token ids.

    Attributes:
        sample_id, read_index: which read of which program an event is.
        tokens: ids up to and including the read's key token, then padding.
        length: tokens of an event without padding, ``prediction`` + 1.
        prediction: position of the read's key token, where the answer is predicted.
        support_op, support_key, support_value: positions of the latest earlier write to that key.
        answer: id of the right answer.
        stale_value: values of earlier writes to the same key.
        value_distractors, key_distractors: values, and keys, of all writes but the support write.
        prior_answers: answers of earlier reads.
        causal_prefix: every position up to the prediction position.
        active_keys: keys that the program writes.
        writes_since_support: writes between the support write and the read.
        tokens_since_support: ``prediction`` − ``support_value``.
        slot_after_write: writes before the read.
    """

    sample_id: tuple[str, ...]
    read_index: Int[Tensor, " E"]
    tokens: Int[Tensor, "E T"]
    length: Int[Tensor, " E"]
    prediction: Int[Tensor, " E"]
    support_op: Int[Tensor, " E"]
    support_key: Int[Tensor, " E"]
    support_value: Int[Tensor, " E"]
    answer: Int[Tensor, " E"]
    stale_value: Bool[Tensor, "E T"]
    value_distractors: Bool[Tensor, "E T"]
    key_distractors: Bool[Tensor, "E T"]
    prior_answers: Bool[Tensor, "E T"]
    causal_prefix: Bool[Tensor, "E T"]
    active_keys: Int[Tensor, " E"]
    writes_since_support: Int[Tensor, " E"]
    tokens_since_support: Int[Tensor, " E"]
    slot_after_write: Int[Tensor, " E"]

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.sample_id)

    @property
    def query_key(self) -> Int[Tensor, " E"]:
        """The prediction position, named for its content: the key that is asked for."""
        return self.prediction

    @property
    def query_key_id(self) -> Int[Tensor, " E"]:
        """Token id of the key that is asked for."""
        return self.tokens.gather(1, self.prediction[:, None])[:, 0]

    def role_position(self, role: str) -> Int[Tensor, " E"]:
        """Return the one position of a role in every event.

        Raises:
            AnalysisError: the role is unknown, or is not one position per event.
        """
        if role not in POSITION_ROLES:
            raise _unknown_role(role, POSITION_ROLES, "a role that is one position")
        position: Tensor = getattr(self, role)
        return position

    def role_mask(self, role: str) -> Bool[Tensor, "E T"]:
        """Return where a role is, for every event.

        Raises:
            AnalysisError: the role is unknown.
        """
        if role in POSITION_ROLES:
            where = torch.arange(self.tokens.shape[1], device=self.tokens.device)
            return where == self.role_position(role)[:, None]
        if role not in MASK_ROLES:
            raise _unknown_role(role, ROLES, "a role")
        mask: Tensor = getattr(self, role)
        return mask

    def slice(self, name: str) -> Int[Tensor, " E"]:
        """Return the slice value of every event, for one of ``SLICES``.

        Raises:
            AnalysisError: the slice is unknown.
        """
        if name not in SLICES:
            raise _unknown_role(name, SLICES, "a slice")
        values: Tensor = getattr(self, name)
        return values

    def select(self, index: Int[Tensor, " chosen"] | Bool[Tensor, " E"]) -> ReadEvents:
        """Return the events at `index`: numbers in any order, or a mask. Padding stays as it is.

        Also accepts what ``torch.as_tensor`` makes an index of: lists and NumPy arrays.
        """
        chosen = torch.as_tensor(index, device=self.tokens.device)
        if chosen.dtype == torch.bool:
            chosen = chosen.nonzero()[:, 0]
        chosen = chosen.long()  # an empty list becomes a float tensor
        ids = tuple(self.sample_id[i] for i in chosen.tolist())
        return replace(
            self, sample_id=ids, **{name: getattr(self, name)[chosen] for name in _TENSORS}
        )

    def crop(self) -> ReadEvents:
        """Return the same events without the padding that none of them needs."""
        longest = int(self.length.max()) if len(self) else 0
        grids = {n: getattr(self, n) for n in _TENSORS if getattr(self, n).ndim == 2}
        return replace(self, **{name: grid[:, :longest] for name, grid in grids.items()})

    def to(self, device: torch.device | str) -> ReadEvents:
        """Return the same events with their tensors on `device`."""
        return replace(self, **{name: getattr(self, name).to(device) for name in _TENSORS})


_TENSORS = tuple(field.name for field in fields(ReadEvents) if field.name != "sample_id")


def read_events(programs: pd.DataFrame, vocabulary: Vocabulary, reads: Reads = "all") -> ReadEvents:
    """Return read events of whole programs.

    Args:
        programs: one program a row, with columns ``sample_id`` and ``tokens``.
        vocabulary: the token ids.
        reads: "all", "last" (the last read of each program), or (sample_id, read_index) pairs,
            whose order and repetitions are kept. "all" and "last" keep the order of `programs`.

    Raises:
        AnalysisError: a pair names a program or a read that is not there, or there is no event.
        BenchmarkError: a stream is malformed.
    """
    grid = event_grid(programs, vocabulary)
    table = _chosen(read_table(programs, vocabulary, grid), reads)
    if table.empty:
        raise AnalysisError(
            "no read event is left",
            where="read_events",
            expected="programs with at least one read among those asked for",
            do="check the programs and the reads that are asked for",
        )

    row, event, support = (table[name].to_numpy() for name in ("row", "event", "support_event"))
    prediction = table["prediction"].to_numpy()
    width = int(prediction.max()) + 1
    prefix = np.arange(width) <= prediction[:, None]
    tokens = np.where(prefix, padded_tokens(programs)[0][row][:, :width], PAD)

    number = np.arange(grid.key.shape[1])
    before = number < event[:, None]
    other = grid.is_write[row] & before & (number != support[:, None])
    same_key = grid.key[row] == table["query_key"].to_numpy()[:, None]
    masks = {
        "stale_value": _at(other & same_key, 2, width),
        "value_distractors": _at(other, 2, width),
        "key_distractors": _at(other, 1, width),
        "prior_answers": _at(grid.is_read[row] & before, 2, width),
        "causal_prefix": prefix,
    }
    columns = ("read_index", "prediction", "support_op", "support_key", "support_value", "answer")
    return ReadEvents(
        sample_id=tuple(table["sample_id"]),
        tokens=torch.from_numpy(tokens),
        length=torch.from_numpy(prediction + 1),
        **{name: torch.from_numpy(mask) for name, mask in masks.items()},
        **{name: _column(table, name) for name in columns + SLICES},
    )


@dataclass(frozen=True, eq=False)
class AnswerPositions:
    """Reads of whole programs, one per event, with positions in the program's whole stream.

    ``row`` is the program's row in the frame (and in :func:`token_matrix`); the logits that
    predict the answer are ``logits[row, prediction]``. Other fields are those of
    :class:`ReadEvents`.
    """

    row: Int[Tensor, " E"]
    read_index: Int[Tensor, " E"]
    prediction: Int[Tensor, " E"]
    support_op: Int[Tensor, " E"]
    support_key: Int[Tensor, " E"]
    support_value: Int[Tensor, " E"]
    answer: Int[Tensor, " E"]
    active_keys: Int[Tensor, " E"]
    writes_since_support: Int[Tensor, " E"]
    tokens_since_support: Int[Tensor, " E"]
    slot_after_write: Int[Tensor, " E"]

    def __len__(self) -> int:
        """Return the number of reads."""
        return len(self.row)


def answer_positions(programs: pd.DataFrame, vocabulary: Vocabulary) -> AnswerPositions:
    """Return every read of `programs`, in order of programs and reads.

    Raises:
        BenchmarkError: a stream is malformed.
    """
    table = read_table(programs, vocabulary)
    return AnswerPositions(
        **{field.name: _column(table, field.name) for field in fields(AnswerPositions)}
    )


def token_matrix(
    programs: pd.DataFrame,
) -> tuple[Int[Tensor, "N T"], Int[Tensor, " N"]]:
    """Return whole streams, right-padded to the longest, and their lengths in tokens."""
    tokens, lengths = padded_tokens(programs)
    return torch.from_numpy(tokens), torch.from_numpy(lengths)


def _chosen(table: pd.DataFrame, reads: Reads) -> pd.DataFrame:
    """Return the rows of the read table that `reads` asks for."""
    if isinstance(reads, str):
        if reads == "all":
            return table
        if reads == "last":
            return table.drop_duplicates("row", keep="last")
        raise _unknown_role(reads, ("all", "last"), "'all', 'last' or (sample_id, read_index)")
    names = zip(table["sample_id"], table["read_index"].tolist(), strict=True)
    place = {name: number for number, name in enumerate(names)}
    wanted = [(str(sample), int(index)) for sample, index in reads]
    missing = [name for name in wanted if name not in place]
    if missing:
        sample, index = missing[0]
        raise AnalysisError(
            f"read {index} of program {sample!r} is not among the programs' reads",
            where="reads",
            expected="(sample_id, read_index) of a program that is given, read_index from 0",
            do="check that reads and programs belong to the same benchmark",
        )
    return table.iloc[[place[name] for name in wanted]]


def _at(events: BoolArray, part: int, width: int) -> BoolArray:
    """Return a mask over positions from one over events: `part` 0 is op, 1 key, 2 value."""
    mask = np.zeros((len(events), width), dtype=np.bool_)
    places = mask[:, 1 + part :: 3]
    places[:] = events[:, : places.shape[1]]
    return mask


def _column(table: pd.DataFrame, name: str) -> Int[Tensor, " E"]:
    values: IntArray = table[name].to_numpy(dtype=np.int64, copy=True)
    return torch.from_numpy(values)


def _unknown_role(name: str, valid: Sequence[str], kind: str) -> AnalysisError:
    close = nearest(name, valid)
    return AnalysisError(
        f"{name!r} is not {kind}",
        expected=f"one of {', '.join(valid)}",
        do=f"did you mean {close!r}?" if close else "use one of these names",
    )

"""What the tokens that training predicts are grouped by.

1. Every target token of every training program gets the number of one group, so the groups
   partition the targets, and the loss's gradient is a sum over groups.
2. Groupings of reads label the answers by a property of their read; whatever else is predicted is
   one group more, ``other_tokens``. ``token`` labels targets by what kind of token they are.
   ``sample`` deals whole programs into random buckets: the control, whose groups differ by chance.
3. ``supports_opposes`` cannot be known beforehand. Whether a program supports a scalar depends on
   the parameters, so its labels are made anew at every step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.attribution.pushes import motion
from circuit.config.attribution import RequestedOfData
from circuit.errors import AnalysisError, nearest
from circuit.model.transformer import Decoder
from circuit.task.events import token_matrix
from circuit.task.streams import read_table
from circuit.task.vocabulary import Vocabulary
from circuit.training.batches import Batch
from circuit.training.records import RunRecord

OTHER = "other_tokens"
SUPPORTS_OPPOSES = ("supports", "opposes")
_TOKENS = ("operation", "key", "written_value", "answer", "end")
_READS = {
    "query_key": ("query_key", ""),
    "answer_value": ("answer", ""),
    "lag": ("writes_since_support", "lag {}"),
    "active_keys": ("active_keys", "{} active keys"),
    "tokens_since_support": ("tokens_since_support", "{} tokens since support"),
    "slot_after_write": ("slot_after_write", "after write {}"),
}
"""Groupings of reads: the column of the read table, and how a group is called (else its token)."""
GROUPINGS = ("token", *_READS, "sample", "supports_opposes")


class DataLabels(NamedTuple):
    """The group of every target token of every program of a split.

    Attributes:
        groups: names, in the order of their numbers; every one has a target.
        labels: number of the group of target t (the token at position t + 1) of every program in
            the order of the split's rows; -1 where there is no target. None where labels depend on
            the parameters (``supports_opposes``).
    """

    groups: tuple[str, ...]
    labels: Int[Tensor, "N T-1"] | None

    def of(self, batch: Batch) -> Int[Tensor, "B T-1"]:
        """Labels of a batch's targets; refused where they depend on the parameters."""
        if self.labels is None:
            raise AnalysisError(
                what="labels of supports and opposes depend on the parameters",
                where="data labels",
                expected="a grouping that is known before training",
                do="label the batch with the gradient of a scalar (label_batch)",
            )
        return self.labels[torch.from_numpy(batch.rows)][:, : batch.targets.shape[1]].long()


def asked_labels(settings: RequestedOfData, record: RunRecord) -> DataLabels:
    """What an analysis groups the training programs' tokens by; errors of ``label_programs``."""
    programs = record.split(record.manifest.recipe.train_split)
    vocabulary = record.benchmark.vocabulary
    return label_programs(programs, vocabulary, settings.data, settings.buckets, settings.seed)


def label_programs(
    programs: pd.DataFrame, vocabulary: Vocabulary, data: str, buckets: int = 4, seed: int = 0
) -> DataLabels:
    """Label every target of some programs, which are whole streams in the order of training's rows.

    Args:
        data: one of ``GROUPINGS``.
        buckets: how many groups ``sample`` makes; ``seed``: of the order in which it deals.

    Raises:
        AnalysisError: the grouping is unknown, or there are fewer programs than buckets.
        BenchmarkError: a stream is malformed.
    """
    if data not in GROUPINGS:
        raise AnalysisError(
            what=f"unknown grouping of data {data!r}",
            where="data",
            expected=f"one of {', '.join(GROUPINGS)}",
            do=f"did you mean {nearest(data, GROUPINGS)!r}?",
        )
    if data == "supports_opposes":
        return DataLabels(SUPPORTS_OPPOSES, None)
    tokens, lengths = token_matrix(programs)
    place = torch.arange(1, tokens.shape[1])  # of every target in its stream
    exists = place < lengths[:, None]
    if data == "sample":
        if len(programs) < buckets:
            raise AnalysisError(
                what=f"{len(programs)} programs cannot be dealt into {buckets} buckets",
                where="data: sample",
                expected=f"at least {buckets} programs",
                do="lower buckets",
            )
        order = np.random.default_rng(seed).permutation(len(programs))
        groups = tuple(f"bucket {b + 1}" for b in range(buckets))
        per_target = torch.empty(exists.shape, dtype=torch.int64)
        per_target[order] = (torch.arange(len(programs)) % buckets)[:, None]
    else:
        reads = read_table(programs, vocabulary)
        at = tuple(torch.tensor(reads[name].to_numpy(copy=True)) for name in ("row", "prediction"))
        if data == "token":
            groups = _TOKENS
            per_target = ((place - 1) % 3).repeat(len(tokens), 1)
            per_target[at] = _TOKENS.index("answer")
            per_target[place == lengths[:, None] - 1] = _TOKENS.index("end")
        else:
            column, words = _READS[data]
            found, codes = np.unique(reads[column].to_numpy(), return_inverse=True)
            names = (words.format(v) if words else vocabulary.tokens[v] for v in found)
            groups = (*names, OTHER)
            per_target = torch.full(exists.shape, len(groups) - 1)
            per_target[at] = torch.from_numpy(codes)
    return DataLabels(groups, per_target.masked_fill(~exists, -1).to(torch.int16))


def label_batch(
    labels: DataLabels,
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    batch: Batch,
    gradient: Float[Tensor, " P"] | None,
) -> Int[Tensor, "B T-1"]:
    """Number of the group of every target of a batch; -1 where there is none.

    Where labels depend on θ: a program ``supports`` a scalar whose gradient is given if descending
    the program's own loss raises the scalar, -⟨gradient, ∇L⟩ > 0; else it ``opposes`` it.

    Raises:
        AnalysisError: the labels need a gradient and there is none.
    """
    if labels.labels is not None:
        return labels.of(batch)
    if gradient is None:
        raise AnalysisError(
            what="supports and opposes are not defined without a scalar's gradient",
            where="data: supports_opposes",
            expected="the gradient of the first scalar at the step's start",
            do="evaluate the scalar at this step too, or group the data by something else",
        )
    pushes = motion(decoder, theta, batch.tokens[:, :-1], gradient).pushes(batch.targets)
    groups = torch.where(
        pushes.sum(1) < 0, SUPPORTS_OPPOSES.index("supports"), SUPPORTS_OPPOSES.index("opposes")
    )
    return torch.where(batch.targets >= 0, groups[:, None], -1)

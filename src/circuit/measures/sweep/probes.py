"""Linear probes (Alain & Bengio 2016): what ridge classifiers read off the stream at every stage.

1. The reads of a split's whole programs are labelled by the key asked for, by the answer (the value
   at ``support_value``) and by the latest stale value, which the support write replaced.
2. Reads of programs with even numbers fit a probe, those of odd ones score it.
3. The states at ``prediction`` and at ``support_value`` are centred on their mean and divided by
   one number, their root mean square deviation over all features. So the penalty weighs the same at
   every stage and checkpoint, and no direction of the stream is preferred.
4. One-vs-rest ridge regression on targets of ±1 with a free intercept, in float64:

       W = (XᵀX + λ I)⁻¹ XᵀY,   intercept = mean Y   (X centred);

   the class with the largest value is the probe's guess. One Cholesky factor serves all labels of
   the same states, and their controls, fitted on labels that were shuffled over the fitting states.
5. The probe of ``latest`` asks whether the value at a position is still in force. It is fitted on
   the states at ``support_value`` (yes) and at the latest stale value (no) of the same reads, and a
   read's score is the mean over its two states.

A class that no fitting state has cannot be guessed, so a read that has it counts as wrong. Reads
without a stale value take no part. Intervals resample the scoring programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.estimates import EXCESS
from circuit.measures.sweep.event_pass import ROLES
from circuit.statistics import grouped_means
from circuit.task.events import read_events
from circuit.task.vocabulary import Vocabulary

TARGETS = ("query_key", "answer", "stale_value")
LATEST = "latest"
MEASURE = "probe_accuracy"
SHUFFLED = "shuffled labels"


@dataclass(frozen=True, eq=False)
class Labelled:
    """L labels of n states, with all that fitting needs and no checkpoint changes."""

    fit: Int[Tensor, " f"]  # numbers of the states that fit
    score: Int[Tensor, " m"]  # and of those that score
    targets: Float[Tensor, "f K"]  # ±1, by class and label, then the same of the shuffled labels
    classes: tuple[Int[Tensor, " c"], ...]  # of each label, those of the fitting states, ascending
    truth: Int[Tensor, "L m"]  # labels of the scoring states

    @classmethod
    def of(cls, labels: Int[Tensor, "L n"], program: Int[Tensor, " n"]) -> Labelled:
        """Even programs fit, odd ones score."""
        fit, score = ((program % 2 == part).nonzero()[:, 0] for part in (0, 1))
        fitting = labels[:, fit]
        order = torch.randperm(len(fit), generator=torch.Generator().manual_seed(0))
        classes = tuple(label.unique() for label in fitting)
        columns = [
            label[:, None] == of_label
            for shown in (fitting, fitting[:, order])
            for label, of_label in zip(shown, classes, strict=True)
        ]
        targets = torch.cat(columns, 1).double() * 2 - 1
        return cls(fit, score, targets, classes, labels[:, score])

    def correct(self, states: Float[Tensor, "n d"], penalty: float) -> Float[Tensor, "2 L m"]:
        """Which scoring states are guessed right (1) or not (0): by the probe, by its control."""
        states = states.double()
        values = ridge(states[self.fit], self.targets, states[self.score], penalty)
        sizes = [len(of_label) for of_label in self.classes]
        guesses = [
            of_label[part.argmax(1)]
            for of_label, part in zip(self.classes * 2, values.split(sizes * 2, 1), strict=True)
        ]
        return (torch.stack(guesses).view(2, *self.truth.shape) == self.truth).double()


def ridge(
    fit: Float[Tensor, "f d"],
    targets: Float[Tensor, "f K"],
    score: Float[Tensor, "m d"],
    penalty: float,
) -> Float[Tensor, "m K"]:
    """Decision values of ridge regression with a free intercept; see the module for scaling."""
    mean = fit.mean(0)
    scale = (fit - mean).square().mean().sqrt()
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    x = (fit - mean) / scale
    gram = x.T @ x
    gram.diagonal().add_(penalty)
    weight = torch.cholesky_solve(x.T @ targets, torch.linalg.cholesky(gram))
    return (score - mean) / scale @ weight + targets.mean(0)


@dataclass(frozen=True, eq=False)
class ProbeReads:
    """The reads that probes are fitted on and scored with."""

    at: Int[Tensor, "R 3"]  # positions of every read: prediction, support_value, latest stale value
    chosen: Int[Tensor, " n"]  # numbers of the reads that take part
    by_role: Labelled  # the labels of ``TARGETS`` for a state of each of them
    latest: Labelled  # that of ``LATEST`` for n states at support_value, then n at the stale value
    program: Int[np.ndarray, " m"]  # of every scored read, numbered from 0 without gaps

    @classmethod
    def of(cls, programs: pd.DataFrame, vocabulary: Vocabulary, limit: int) -> ProbeReads:
        """All reads of the first ``limit`` programs, in the order of ``SplitReads``."""
        used = programs.head(limit)
        events = read_events(used, vocabulary)
        positions = torch.arange(events.tokens.shape[1])
        stale = (events.stale_value * positions).amax(1)
        at = torch.stack([events.prediction, events.support_value, stale], 1)
        chosen = events.stale_value.any(1).nonzero()[:, 0]
        number = {sample: i for i, sample in enumerate(used["sample_id"])}
        program = torch.tensor([number[sample] for sample in events.sample_id])[chosen]
        stale_id = events.tokens.gather(1, stale[:, None])[:, 0]
        labels = torch.stack([events.query_key_id, events.answer, stale_id])[:, chosen]
        is_latest = torch.tensor([1, 0]).repeat_interleave(len(chosen))[None]
        by_role = Labelled.of(labels, program)
        scored = program[by_role.score].numpy()
        return cls(
            at,
            chosen,
            by_role,
            Labelled.of(is_latest, program.repeat(2)),
            np.unique(scored, return_inverse=True)[1],
        )


def probe_rows(
    reads: ProbeReads, states: Mapping[str, Float[Tensor, "R 3 d"]], penalty: float
) -> pd.DataFrame:
    """Estimates of every probe, of its control, and of the paired excess over it.

    Columns: stage, role, target, measure, against, mean, low, high, count (scored reads), noun.
    """
    columns: dict[tuple[str, str, str, str], Tensor] = {}
    for stage, every in states.items():
        state = every[reads.chosen]
        latest = reads.latest.correct(state[:, 1:].transpose(0, 1).flatten(0, 1), penalty)
        asked: list[tuple[str, tuple[str, ...], Tensor]] = [
            (role, TARGETS, reads.by_role.correct(state[:, place], penalty))
            for place, role in enumerate(ROLES)
        ]
        asked.append(("support_value", (LATEST,), latest.unflatten(-1, (2, -1)).mean(2)))
        for role, targets, right in asked:
            for against, by_target in zip(("", SHUFFLED), right, strict=True):
                for target, column in zip(targets, by_target, strict=True):
                    columns[stage, role, target, against] = column
    paired = {
        (*key[:-1], EXCESS): right - columns[(*key[:-1], SHUFFLED)]
        for key, right in columns.items()
        if key[-1] == ""
    }
    parts = []
    for of in (columns, paired):
        values = torch.stack(list(of.values()), 1).numpy()
        mean, low, high = grouped_means(
            values, reads.program, int(reads.program.max()) + 1, shares=of is columns
        )
        frame = pd.DataFrame(list(of), columns=["stage", "role", "target", "against"])
        parts.append(frame.assign(mean=mean, low=low, high=high, count=len(values)))
    return pd.concat(parts, ignore_index=True).assign(measure=MEASURE, noun="reads")

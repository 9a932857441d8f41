"""Which data pushes a scalar at a checkpoint: the first-order form of the data attribution.

S a scalar, L_i the mean loss over those targets of some training programs that belong to data
group i.

1. The *push* of a group is -⟨∇S, ∇L_i⟩: by how much S grows per unit of learning rate when plain
   gradient descent takes a step on the group's loss. It is the mean of its targets' own pushes,
   which forward mode gives all at once (:mod:`circuit.attribution.pushes`).
2. Its *contribution* is the push times the group's share of all targets; contributions of all
   groups sum to the push of the training loss, -⟨∇S, ∇L⟩.
3. Its *alignment* is the cosine of ∇S and -∇L_i, which needs the group's gradient itself.
4. Control: ``…_shuffled_answers`` have every answer replaced by another read's, so that the loss
   asks for values at answers, but not for the right one. Only groups that hold answers have them.
   A trained model is far from wrong answers, so compare alignments, not the longer pushes.
5. Intervals resample programs, groups' sizes with them. The cosine's length is held: a resampled
   gradient is longer than the whole one (see :mod:`circuit.measures.routes.descent`).

AdamW steps along another direction and remembers; what it did is told by the replayed attribution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuit.attribution.data_labels import DataLabels
from circuit.attribution.group_gradients import group_gradients
from circuit.attribution.pushes import label_batch, motion
from circuit.errors import AnalysisError
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import scalar_gradients
from circuit.statistics import bootstrap_means, interval_of_found, resamples
from circuit.task.events import ReadEvents, answer_positions, token_matrix
from circuit.task.vocabulary import Vocabulary
from circuit.training.batches import Batch, make_batch

FIRST_ORDER_UNITS = {
    "step": "step",
    **dict.fromkeys(("mean", "low", "high"), "unit of the measure"),
    "count": "1",
}
_BATCH = 128  # programs whose gradients are taken at once


class PushedPrograms(NamedTuple):
    """Programs on which pushes are measured: as one batch, and again with answers exchanged."""

    batch: Batch
    exchanged: Batch


def pushed_programs(
    programs: pd.DataFrame, vocabulary: Vocabulary, count: int, seed: int = 0
) -> PushedPrograms:
    """Programs drawn from a split, whose rows ``DataLabels`` are numbered by.

    Args:
        programs: the whole split.
        count: how many are drawn; ``seed``: of the draw, and of the order of exchanged answers.

    Raises:
        AnalysisError: the split has fewer programs.
    """
    if len(programs) < count:
        raise AnalysisError(
            what=f"{count} programs cannot be drawn from {len(programs)}",
            where="programs",
            expected=f"at most {len(programs)}, the programs of the training split",
            do="lower programs",
        )
    draw = np.random.default_rng(seed)
    rows = np.sort(draw.choice(len(programs), count, replace=False))
    chosen = programs.iloc[rows].reset_index(drop=True)
    batch = make_batch(*token_matrix(chosen), rows)
    reads = answer_positions(chosen, vocabulary)
    order = torch.from_numpy(draw.permutation(len(reads)))
    targets = batch.targets.clone()
    targets[reads.row[order], reads.prediction[order]] = reads.answer[order.roll(1)]
    return PushedPrograms(batch, batch._replace(targets=targets))


def first_order_along(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    programs: PushedPrograms,
    labels: DataLabels,
    scalars: Mapping[str, Scalar],
    events: ReadEvents,
    value_ids: range,
) -> pd.DataFrame:
    """Rows of :func:`first_order` at several checkpoints, for scalars on some read events."""
    frames = []
    for step in steps:
        at = theta(step)
        bound = {name: scalar.at(at) for name, scalar in scalars.items()}
        found = scalar_gradients(decoder, at, events, value_ids, bound)
        gradients = dict(zip(bound, found.gradients, strict=True))
        units = {name: scalar.unit for name, scalar in scalars.items()}
        frames.append(first_order(decoder, at, step, programs, labels, gradients, units))
    return pd.concat(frames, ignore_index=True)


def first_order(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    step: int,
    programs: PushedPrograms,
    labels: DataLabels,
    gradients: Mapping[str, Float[Tensor, " P"]],
    units: Mapping[str, str],
) -> pd.DataFrame:
    """Rows of step, scalar, data_group, measure, unit, mean, low, high, count.

    Measures are those of the module docstring and ``share_of_targets``, which belongs to no scalar.
    ``count`` is the number of programs that have a target of the group; groups that these programs
    have no target of have no row. Where programs are grouped by whom they support, the first scalar
    decides, so its pushes have the sign that they were grouped by.

    Args:
        step: of the checkpoint at θ.
        gradients: of the scalars at θ.
        units: of the scalars.
    """
    batch = programs.batch
    first = next(iter(gradients.values()))
    groups = label_batch(labels, decoder, theta, batch, first)
    present = [g for g in range(len(labels.groups)) if (groups == g).any()]
    marks = torch.stack([groups == g for g in present], -1).double()
    counts = marks.sum(1).numpy()
    table = _Table(step, tuple(labels.groups[g] for g in present), counts)
    total = counts.sum()
    each = len(counts) / total  # a program's sum over its targets, as a share of the mean loss
    table.add("", "share_of_targets", "share", _means(counts * each))
    asked = {"": batch, "_shuffled_answers": programs.exchanged}
    asks = {
        name: np.ones(len(present), dtype=bool) if name == "" else _differ(programs, marks)
        for name in asked
    }
    sizes = {
        name: _gradient_sizes(decoder, theta, some, groups, len(labels.groups))[present]
        for name, some in asked.items()
    }
    for scalar, gradient in gradients.items():
        unit = f"{units[scalar]} per unit of learning rate"
        moved = motion(decoder, theta, batch.tokens[:, :-1], gradient)
        for name, some in asked.items():
            per_target = -total * moved.pushes(some.targets).double()
            sums = torch.einsum("bt,btg->bg", per_target, marks).numpy()
            push = _ratios(sums, counts)
            length = sizes[name] * float(gradient.double().norm())
            table.add(scalar, f"push{name}", unit, push, asks[name])
            table.add(scalar, f"alignment{name}", "1", push.cosine(length), asks[name])
            if name == "":
                table.add(scalar, "contribution", unit, _means(sums * each))
    return pd.concat(table.frames, ignore_index=True)


class _Estimate(NamedTuple):
    """Numbers of all groups with their intervals."""

    mean: Float[np.ndarray, " G"]
    low: Float[np.ndarray, " G"]
    high: Float[np.ndarray, " G"]

    def cosine(self, length: Float[np.ndarray, " G"]) -> _Estimate:
        """These products over a length; 0 where there is no length, and nothing beyond 1."""
        shares = (np.divide(x, length, out=np.zeros_like(x), where=length > 0) for x in self)
        return _Estimate(*(share.clip(-1, 1) for share in shares))


@dataclass(frozen=True)
class _Table:
    """Rows of one checkpoint, gathered measure by measure."""

    step: int
    groups: tuple[str, ...]
    counts: Float[np.ndarray, "B G"]
    frames: list[pd.DataFrame] = field(default_factory=list)

    def add(
        self,
        scalar: str,
        measure: str,
        unit: str,
        found: _Estimate,
        of: Bool[np.ndarray, " G"] | None = None,
    ) -> None:
        """Rows of one measure, of all groups or just of some."""
        labels = {"step": self.step, "scalar": scalar, "data_group": self.groups}
        frame = pd.DataFrame({**labels, "measure": measure, "unit": unit, **found._asdict()})
        frame = frame.assign(count=(self.counts > 0).sum(0))
        self.frames.append(frame if of is None else frame[of])


def _differ(programs: PushedPrograms, marks: Float[Tensor, "B T-1 G"]) -> Bool[np.ndarray, " G"]:
    """The groups some of whose targets were exchanged."""
    changed = programs.batch.targets != programs.exchanged.targets
    found: Bool[np.ndarray, " G"] = (changed[..., None] & (marks > 0)).any(1).any(0).numpy()
    return found


def _gradient_sizes(
    decoder: Decoder, theta: Float[Tensor, " P"], batch: Batch, groups: Tensor, n_groups: int
) -> Float[np.ndarray, " G"]:
    """Norm of the gradient of every group's mean loss."""
    total = torch.zeros(n_groups, decoder.layout.size, dtype=torch.float64)
    for rows in torch.arange(len(groups)).split(_BATCH):
        part = Batch(batch.tokens[rows], batch.targets[rows], batch.rows[rows.numpy()])
        found = group_gradients(decoder, theta, part, groups[rows], n_groups)
        total += found * int((part.targets >= 0).sum())
    count = torch.stack([(groups == g).sum() for g in range(n_groups)])
    sizes: Float[np.ndarray, " G"] = (total.norm(dim=1) / count.clamp(min=1)).numpy()
    return sizes


def _ratios(sums: Float[np.ndarray, "B G"], counts: Float[np.ndarray, "B G"]) -> _Estimate:
    """Σ sums / Σ counts of every column, with its interval over programs.

    A resample that draws no program of a group tells nothing about it, and is left out.
    """
    drawn = resamples(len(sums), 0)
    below, above = drawn @ counts, drawn @ sums
    ratio = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
    return _Estimate(sums.sum(0) / counts.sum(0), *interval_of_found(ratio))


def _means(values: Float[np.ndarray, "B G"]) -> _Estimate:
    return _Estimate(*bootstrap_means(values))

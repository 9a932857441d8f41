"""Which data pushes a scalar at a checkpoint: the first-order form of the data attribution.

S a scalar, L_i the mean loss over those targets of some training programs that belong to data
group i.

1. The *push* of a group is -⟨∇S, ∇L_i⟩: by how much S grows per unit of learning rate when plain
   gradient descent takes a step on the group's loss. It is the mean of its targets' own pushes,
   which forward mode gives all at once (:mod:`circuit.attribution.pushes`).
2. Its *contribution* is the push times the group's share of all targets; contributions of all
   groups sum to the push of the training loss, -⟨∇S, ∇L⟩.
3. Its *alignment* is the cosine of ∇S and -∇L_i, which needs the group's gradient itself.
4. Control ``shuffled answers``: every answer replaced by another read's, so that the loss asks for
   values at answers, but not for the right one. Only groups that hold answers have it. A trained
   model is far from wrong answers, so alignments are compared (``excess``, paired by resample), not
   the longer pushes.
5. Intervals resample programs, groups' sizes with them. The cosine's length is held: a resampled
   gradient is longer than the whole one (see :mod:`circuit.measures.candidates.descent`).

AdamW steps along another direction and remembers; what it did is told by the replayed attribution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.attribution.data_labels import DataLabels, label_batch
from circuit.attribution.group_gradients import group_gradients
from circuit.attribution.pair_means import ratio
from circuit.attribution.pushes import motion
from circuit.errors import AnalysisError
from circuit.estimates import EXCESS, estimates
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import scalar_gradients
from circuit.statistics import bootstrap_means, interval_of_found, resamples, told
from circuit.task.events import ReadEvents, answer_positions, token_matrix
from circuit.task.vocabulary import Vocabulary
from circuit.training.batches import Batch, make_batch

SHUFFLED = "shuffled answers"
_BATCH = 128  # programs whose gradients are taken at once


class PushedPrograms(NamedTuple):
    """Programs on which pushes are measured: as one batch, and again with answers exchanged."""

    batch: Batch
    exchanged: Batch


def pushed_programs(
    programs: pd.DataFrame, vocabulary: Vocabulary, count: int, seed: int = 0
) -> PushedPrograms:
    """Programs drawn from a whole split, whose rows ``DataLabels`` are numbered by.

    Raises:
        AnalysisError: the split has fewer programs than ``count``.
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
    """Estimates of :func:`first_order` at several checkpoints, for scalars on some read events."""
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
    """Estimates with the keys scalar and data_group, from gradients of scalars with these units.

    Measures are those of the module docstring and ``share_of_targets``, which belongs to no scalar.
    ``count`` is the number of programs that have a target of the group; groups that these programs
    have no target of have no row. Where programs are grouped by whom they support, the first scalar
    decides, so its pushes have the sign that they were grouped by.
    """
    batch, exchanged = programs
    groups = label_batch(labels, decoder, theta, batch, next(iter(gradients.values())))
    present = [g for g in range(len(labels.groups)) if (groups == g).any()]
    marks = torch.stack([groups == g for g in present], -1).double()
    counts = marks.sum(1).numpy()
    total = counts.sum()
    other = (batch.targets != exchanged.targets)[..., None] & (marks > 0)
    changed = other.any(1).any(0).numpy()
    names = [labels.groups[g] for g in present]
    rows = pd.DataFrame({"scalar": "", "data_group": names, "count": (counts > 0).sum(0)})
    frames = []

    def add(
        scalar: str,
        measure: str,
        unit: str,
        found: Sequence[Float[np.ndarray, " G"]],
        against: str = "",
    ) -> None:
        """Rows of one measure: mean, low and high of all groups, of a control those exchanged."""
        mean, low, high = found
        every = rows.assign(scalar=scalar, mean=mean, low=low, high=high)
        fixed = {"step": step, "measure": measure, "against": against}
        frames.append(estimates(every[changed] if against else every, unit, "programs", **fixed))

    each = len(counts) / total  # a program's sum over its targets, as a share of the mean loss
    add("", "share_of_targets", "share", bootstrap_means(counts * each))
    asked = {"": batch, SHUFFLED: exchanged}
    sizes = {
        name: _gradient_sizes(decoder, theta, some, groups, len(labels.groups))[present]
        for name, some in asked.items()
    }
    for scalar, gradient in gradients.items():
        unit = f"{units[scalar]} per unit of learning rate"
        moved = motion(decoder, theta, batch.tokens[:, :-1], gradient)
        drawn = {}
        for name, some in asked.items():
            per_target = -total * moved.pushes(some.targets).double()
            sums = torch.einsum("bt,btg->bg", per_target, marks).numpy()
            # A resample that draws no program of a group tells nothing about it.
            again = resamples(len(sums), 0)
            push = np.vstack([sums.sum(0) / counts.sum(0), ratio(again @ sums, again @ counts)])
            length = sizes[name] * float(gradient.double().norm())
            pushed = told(push, interval_of_found)
            add(scalar, "push", unit, pushed, name)
            cosine = [_over(end, length).clip(-1, 1) for end in pushed]
            add(scalar, "alignment", "cosine", cosine, name)
            drawn[name] = _over(push, length)
            if name == "":
                add(scalar, "contribution", unit, bootstrap_means(sums * each))
        paired = told(drawn[""] - drawn[SHUFFLED], interval_of_found)
        add(scalar, "alignment", "cosine", paired, EXCESS)
    return pd.concat(frames, ignore_index=True)


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


def _over(
    products: Float[np.ndarray, "*r G"], length: Float[np.ndarray, " G"]
) -> Float[np.ndarray, "*r G"]:
    """Products over a length; 0 where there is no length."""
    found: Float[np.ndarray, "*r G"] = np.divide(
        products, length, out=np.zeros_like(products), where=length > 0
    )
    return found

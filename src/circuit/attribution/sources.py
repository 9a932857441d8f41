"""What an update is split into: the optimizer's components, or data groups with memories.

A *part* of an update has a component and, where data are told apart, a data group. The first
``summands`` parts of a source sum to the update; the others are comparators.

The batch's gradient is a sum over its target tokens, so the clipped gradient ĝ = Σ ĝ_i is one over
any groups of them, and so is the update's ``current_gradient`` a ⊙ ĝ. The moment is linear in
the clipped gradients, so it splits too when every group keeps a moving average of its own:

    m_i' = β m_i + κ ĝ_i        m = Σ_i m_i + before_window        before_window' = β before_window

with (β, κ) = (β₁, 1 - β₁) for AdamW and (μ, 1) for SGD with momentum; plain SGD remembers nothing.
``before_window`` starts as the moment of the first state that is seen. The gains a and b of
:mod:`circuit.training.optimizers` turn both into parts of the update; weight decay belongs to no
data. ``rounding`` is the actual update less all of these, so the parts sum to it; it holds what
float32 leaves in the update, and the little by which the recorded moment differs from the sum of
these float64 averages.

The clip coefficient and the preconditioner D are those of the whole batch: parts are what each
group added to the step that was taken, not what the step would have been without it.

Kept are G + 1 vectors, however many steps pass; one step's parts are 4 G + 3 vectors more.
"""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.attribution.data_labels import DataLabels, asked_labels, label_batch
from circuit.attribution.group_gradients import group_gradients
from circuit.attribution.growth import Part
from circuit.config.attribution import Requested, RequestedOfData
from circuit.config.recipe import OptimizerSettings
from circuit.config.terms import BEFORE_WINDOW, COMPARATORS, COMPONENTS
from circuit.errors import AnalysisError
from circuit.model.transformer import Decoder
from circuit.training.optimizers import gains, learning_rate, moment_names
from circuit.training.records import RunRecord
from circuit.training.replay import ReplayedStep


class UpdateSource(Protocol):
    """Splits the updates of consecutive steps.

    ``memory`` is how many steps before a stretch it is to be shown, to ``remember`` them;
    ``by_gradient`` says whether it then needs the scalars' gradients at the step's start.
    """

    parts: tuple[Part, ...]
    summands: int
    memory: int
    by_gradient: bool

    def remember(self, step: ReplayedStep, gradients: Float[Tensor, "S P"] | None) -> None: ...

    def split(
        self, step: ReplayedStep, gradients: Float[Tensor, "S P"] | None
    ) -> Float[Tensor, "C P"]: ...


class OptimizerStep:
    """A step by the optimizer's components, with raw and clipped SGD beside them, float64."""

    parts: tuple[Part, ...] = tuple((name, "") for name in (*COMPONENTS, *COMPARATORS))
    summands = len(COMPONENTS)
    memory = 0
    by_gradient = False

    def remember(self, step: ReplayedStep, gradients: Float[Tensor, "S P"] | None) -> None:
        """Nothing: a step holds all that its split needs."""

    def split(
        self, step: ReplayedStep, gradients: Float[Tensor, "S P"] | None
    ) -> Float[Tensor, "C P"]:
        """Components, then comparators; the scalars' gradients play no part."""
        others = [step.comparators[name] for name in COMPARATORS]
        return torch.cat([step.components.stacked(), torch.stack(others)])


class GroupMemory:
    """A step by groups of the run's training data (see the module docstring).

    ``memory`` is how many steps before a stretch are to be remembered; 0 where nothing can be.
    """

    def __init__(
        self, decoder: Decoder, optimizer: OptimizerSettings, labels: DataLabels, memory: int = 0
    ) -> None:
        self.decoder, self.optimizer, self.labels = decoder, optimizer, labels
        self.memory = memory if moment_names(optimizer) else 0
        self.by_gradient = labels.labels is None
        groups = labels.groups
        rest = (("momentum", BEFORE_WINDOW), ("weight_decay", ""), ("rounding", ""))
        summands = [(name, g) for name in ("current_gradient", "momentum") for g in groups]
        others = [(name, g) for name in COMPARATORS for g in groups]
        self.parts: tuple[Part, ...] = (*summands, *rest, *others)
        self.summands = len(summands) + len(rest)
        self._averages: Float[Tensor, "G+1 P"] | None = None
        self._next = -1

    def split(
        self, step: ReplayedStep, gradients: Float[Tensor, "S P"] | None
    ) -> Float[Tensor, "C P"]:
        """The update of a step as a sum over ``parts``, float64; then remember the step.

        Where programs are grouped by whom they support, the first of the scalars' gradients at the
        step's start decides.

        Raises:
            AnalysisError: a step was left out, or a gradient is needed and there is none.
        """
        n, settings = len(self.labels.groups), self.optimizer
        averages, clipped = self._enter(step), self._clipped(step, gradients)
        gain = gains(settings, step.after.moments, step.step)
        before = step.before.theta.double()
        rate = learning_rate(settings, step.step)
        out = torch.empty(len(self.parts), len(before), dtype=torch.float64)
        torch.mul(clipped, gain.gradient, out=out[:n])
        torch.mul(averages, gain.momentum, out=out[n : 2 * n + 1])
        torch.mul(before, -rate * settings.weight_decay, out=out[2 * n + 1])
        torch.sum(out[: 2 * n + 2], 0, out=out[2 * n + 2])  # of all parts but rounding
        torch.sub(step.after.theta.double() - before, out[2 * n + 2], out=out[2 * n + 2])
        torch.mul(clipped, -rate / step.taken.clipped.coefficient, out=out[2 * n + 3 : 3 * n + 3])
        torch.mul(clipped, -rate, out=out[3 * n + 3 :])
        self._advance(averages, clipped)
        return out

    def remember(self, step: ReplayedStep, gradients: Float[Tensor, "S P"] | None) -> None:
        """Take a step into memory without splitting its update; errors as for :meth:`split`."""
        averages = self._enter(step)
        if moment_names(self.optimizer):
            self._advance(averages, self._clipped(step, gradients))

    def _clipped(
        self, step: ReplayedStep, gradients: Float[Tensor, "S P"] | None
    ) -> Float[Tensor, "G P"]:
        """Every group's part of the clipped gradient; they sum to it."""
        taken, theta = step.taken, step.before.theta
        coefficient = taken.clipped.coefficient
        first = None if gradients is None else gradients[0]
        labels = label_batch(self.labels, self.decoder, theta, taken.batch, first)
        whole = taken.clipped.gradient.double() / coefficient
        n_groups = len(self.labels.groups)
        found = group_gradients(self.decoder, theta, taken.batch, labels, n_groups, whole)
        return found.mul_(coefficient)

    def _enter(self, step: ReplayedStep) -> Float[Tensor, "G+1 P"]:
        """The averages as they are at the step's start."""
        if self._averages is None:
            rows, size = len(self.labels.groups) + 1, len(step.before.theta)
            self._averages = torch.zeros(rows, size, dtype=torch.float64)
            for name in moment_names(self.optimizer)[:1]:
                self._averages[-1] = step.before.moments[name]
        elif step.step != self._next:
            raise AnalysisError(
                what=f"step {step.step} follows step {self._next - 1}",
                where="memory of data groups",
                expected=f"step {self._next}: an average over gradients misses none",
                do="give the memory every step of a stretch in order",
            )
        self._next = step.step + 1
        return self._averages

    def _advance(self, averages: Float[Tensor, "G+1 P"], clipped: Float[Tensor, "G P"]) -> None:
        settings, keep, take = self.optimizer, 0.0, 0.0
        if settings.kind == "adamw":
            keep, take = settings.betas[0], 1 - settings.betas[0]
        elif settings.kind == "sgd_momentum":
            keep, take = settings.momentum, 1.0
        averages.mul_(keep)
        averages[:-1].add_(clipped, alpha=take)


def update_source(settings: Requested, record: RunRecord) -> UpdateSource:
    """What splits the updates that an analysis looks at."""
    if not isinstance(settings, RequestedOfData):
        return OptimizerStep()
    optimizer = record.manifest.recipe.optimizer
    return GroupMemory(record.decoder, optimizer, asked_labels(settings, record), settings.memory)

"""Is the attribution to data right? Take a share of a group out of one step, and take it again.

1. Step t is taken in float64 from its recorded state: batch gradient g, θ' and a scalar S(θ').
2. For a data group i and a share s, the step is *redone* with g - s g_i in place of g. g_i comes
   from a loss that leaves the group's targets out, not from the attribution's own split.
3. The attribution says that i's part of the current gradient, a ⊙ c g_i, is then missing from the
   update: S changes by -s ⟨∇S(θ'), a ⊙ c g_i⟩. It holds the preconditioner D and the clip
   coefficient c as they were; so does the step that its prediction is compared with.
4. Really redone, ``in full``, D and c follow the gradient. To first order (:func:`push_update`),

       dĝ = c dg + g dc            dc = -c ⟨g, dg⟩ / (‖g‖ (‖g‖ + 1e-6)) where the norm was clipped
       dm' = (1-β₁) dĝ             dD = (1-β₂) ĝ dĝ / (b₂ √(v'/b₂))
       dΔ = -(η/b₁) (dm' / D - m' dD / D²)

   for AdamW, and dΔ = -η dĝ for SGD; with dg = -s g_i they give the prediction.

Both predictions are first order: what they miss, relative to what they say, vanishes with s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuit.attribution.data_labels import DataLabels, label_batch
from circuit.attribution.group_gradients import group_gradients
from circuit.config.recipe import OptimizerSettings
from circuit.estimates import estimates
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import scalar_gradients, scalar_values
from circuit.task.events import ReadEvents
from circuit.training.batches import Batch
from circuit.training.checkpoints import TrainState
from circuit.training.optimizers import ClippedGradient, advance, clip, gains, learning_rate
from circuit.training.trajectory import Trajectory, batch_gradient

HELD, FULL = "D and c held", "in full"
"""How a step is redone; the attribution's own prediction is the one that is held."""


def removal_oracle(
    trajectory: Trajectory,
    state: TrainState,
    labels: DataLabels,
    shares: Sequence[float],
    scalars: Mapping[str, Scalar],
    events: ReadEvents,
    value_ids: range,
) -> pd.DataFrame:
    """Estimates with the keys scalar, data_group, share and redone, all of them exact.

    Measures are ``predicted`` and ``actual`` change of the scalar, both also ``…_per_share``, and,
    of no scalar, ``parameters_missed``: ‖what redoing changed of θ' less its prediction‖ /
    ‖prediction‖. With D and c held only rounding is missed.

    The step after a recorded ``state`` is redone. ``labels`` are those of the run's programs; where
    they follow a scalar, it is the first one. ``shares`` of a group are above 0 and up to 1.
    """
    decoder, settings = trajectory.decoder, trajectory.recipe.optimizer
    # In float64: a share's effect on one step is below float32's.
    moments = {name: value.double() for name, value in state.moments.items()}
    start = TrainState(state.theta.double(), moments, state.step)
    batch = trajectory.stream.batch(state.step)
    where = (events, value_ids)
    whole = batch_gradient(decoder, start.theta, batch).gradient
    after, clipped = _step(settings, start, whole)
    bound = {name: scalar.at(after.theta) for name, scalar in scalars.items()}
    full = scalar_gradients(decoder, after.theta, *where, bound)
    first = {name: scalar.at(start.theta) for name, scalar in list(scalars.items())[:1]}
    decisive = scalar_gradients(decoder, start.theta, *where, first).gradients[0]
    groups = label_batch(labels, decoder, start.theta, batch, decisive)
    split = group_gradients(decoder, start.theta, batch, groups, len(labels.groups), whole)
    gain = gains(settings, after.moments, state.step).gradient * clipped.coefficient

    def compare(redone: Tensor, said: Tensor) -> tuple[Tensor, Tensor, float]:
        """Change of the scalars that was said and that came, and what was missed of θ's."""
        change = redone - after.theta
        values = scalar_values(decoder, redone, *where, bound).mean(-1)
        missed = float((change - said).norm() / said.norm()) if said.any() else 0.0
        return full.gradients @ said, values - full.means, missed

    rows: list[tuple[object, ...]] = []
    for group, name in enumerate(labels.groups):
        mask = groups == group
        if not mask.any():
            continue
        own = whole - _gradient_without(decoder, start.theta, batch, mask)
        pushed = push_update(settings, after, whole, split[group])
        for share in shares:
            held = compare(after.theta - share * gain * own, -share * gain * split[group])
            redone, _ = _step(settings, start, whole - share * own)
            free = compare(redone.theta, -share * pushed)
            for how, (said, came, missed) in ((HELD, held), (FULL, free)):
                of = (name, float(share), how)
                for per, over in (("", 1), (" per share", share)):
                    for measure, changes in (("predicted", said), ("actual", came)):
                        named = measure + per.replace(" ", "_")
                        rows += [
                            (scalar, *of, named, bound[scalar].unit + per, change / over)
                            for scalar, change in zip(bound, changes.tolist(), strict=True)
                        ]
                rows.append(("", *of, "parameters_missed", "share", missed))
    columns = ["scalar", "data_group", "share", "redone", "measure", "unit", "mean"]
    return estimates(pd.DataFrame(rows, columns=columns), step=state.step)


def push_update(
    settings: OptimizerSettings,
    after: TrainState,
    gradient: Float[Tensor, " P"],
    direction: Float[Tensor, " P"],
) -> Float[Tensor, " P"]:
    """Derivative of a step's update along a direction of its batch gradient, float64.

    ``after`` is the state that the step led to; the gradient is that before clipping.
    """
    norm, clipped = float(gradient.norm()), clip(settings, gradient)
    inner = clipped.coefficient * direction
    if clipped.coefficient < 1:
        inner = inner - clipped.gradient * (gradient @ direction) / (norm * (norm + 1e-6))
    rate = learning_rate(settings, after.step - 1)
    if settings.kind != "adamw":
        return -rate * inner
    beta1, beta2 = settings.betas
    bias1, bias2 = 1 - beta1**after.step, 1 - beta2**after.step
    root = (after.moments["exp_avg_sq"] / bias2).sqrt()
    denominator = root + settings.eps
    # Where no gradient ever came, the root is 0 and stays so.
    still = torch.where(root > 0, root, torch.inf)
    motion = (1 - beta2) * clipped.gradient * inner / (bias2 * still)
    moment = after.moments["exp_avg"]
    slope = (1 - beta1) * inner / denominator - moment * motion / denominator.square()
    return -rate / bias1 * slope


def _step(
    settings: OptimizerSettings, state: TrainState, gradient: Float[Tensor, " P"]
) -> tuple[TrainState, ClippedGradient]:
    """The state after a step with this batch gradient, which training would have taken."""
    after, clipped = state.clone(), clip(settings, gradient)
    advance(settings, after.theta, after.moments, clipped.gradient, after.step)
    after.step += 1
    return after, clipped


def _gradient_without(
    decoder: Decoder, theta: Float[Tensor, " P"], batch: Batch, mask: Bool[Tensor, "B T-1"]
) -> Float[Tensor, " P"]:
    """Gradient of the loss of all targets but the marked ones, over the number of all targets."""
    left = batch._replace(targets=batch.targets.masked_fill(mask, -100))
    count, before = int((left.targets >= 0).sum()), int((batch.targets >= 0).sum())
    if not count:
        return torch.zeros_like(theta)
    return batch_gradient(decoder, theta, left).gradient * (count / before)

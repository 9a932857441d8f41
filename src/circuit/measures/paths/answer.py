"""The answer that circuits are told of, beside the answers of other programs.

It is the right value's logit minus the mean of all other values'. It singles out no value by what
the model says, so an untrained model has no reason to lie on either side of zero. The control is
the same number for the answers of the other programs instead of the right one, their mean: what
raises values that are frequent, whichever is right, leaves no excess over it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import Estimates
from circuit.experiments.donors import OTHERS, require_other_answers
from circuit.measures.paths.direct import Readout, Targets
from circuit.scalars.base import Seen, pick
from circuit.scalars.value import stream_reader
from circuit.task.events import ReadEvents


def answer_weights(events: ReadEvents, value_ids: range) -> Float[Tensor, "E 2 V"]:
    """What value logits are multiplied by to give the answer, and the mean of other answers.

    Raises:
        AnalysisError: there are fewer than three events, or all have the same answer.
    """
    require_other_answers(events)
    count = len(value_ids)
    answer = events.answer - value_ids.start
    one = torch.eye(count, dtype=torch.float64)[answer]
    right = one - (1 - one) / (count - 1)
    differs = (answer[:, None] != answer).double()
    return torch.stack([right, differs @ right / differs.sum(1, keepdim=True)], 1)


def answers(seen: Seen) -> Float[Tensor, "E 2"]:
    """The answer, and the mean of other answers, of a pass that has ``final_norm``; float64."""
    ids, weights = seen.value_ids, answer_weights(seen.events, seen.value_ids)
    rows = weights @ seen.params["embedding.token"][ids.start : ids.stop].detach().double()
    state = pick(seen.sites["final_norm"], seen.events.prediction).to(rows)
    return (rows @ state[:, :, None])[..., 0]


def answer_readout(seen: Seen, weights: Float[Tensor, "E 2 V"]) -> Readout:
    """How a state at the prediction position is read: towards the answer, and towards others.

    Args:
        seen: a pass with ``final_norm`` and ``final_norm_scale``.
        weights: of :func:`answer_weights`.
    """
    ids = seen.value_ids
    rows = weights @ seen.params["embedding.token"][ids.start : ids.stop]
    scale = pick(seen.sites["final_norm_scale"], seen.events.prediction)
    return Readout(
        Targets(seen.events.answer, ()),
        rows,
        stream_reader(seen, rows, scale[:, None]),
        rows @ seen.params["final_norm.bias"],
        (rows @ pick(seen.sites["final_norm"], seen.events.prediction)[:, :, None])[..., 0],
    )


def add_beside_others(
    rows: Estimates, values: Float[Tensor, "E 2"], measure: str, **keys: str
) -> None:
    """Add a number for the right answer and, as its control, the same for the others."""
    for against, own in zip(("", OTHERS), values.double().unbind(1), strict=True):
        rows.add(own.numpy(), measure, against, **keys)

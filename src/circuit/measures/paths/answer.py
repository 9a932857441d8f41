"""The answer that circuits are told of, beside the answers of other programs.

It is the right value's logit minus the mean of all other values'. It singles out no value by what
the model says, so an untrained model has no reason to lie on either side of zero. The control is
the same number for the answers of the other programs instead of the right one, their mean: what
raises values that are frequent, whichever is right, leaves no excess over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import EXCESS, Estimates
from circuit.experiments.donors import OTHERS, require_other_answers
from circuit.measures.paths.direct import Readout, Targets
from circuit.scalars.base import Seen, pick
from circuit.scalars.value import stream_reader
from circuit.task.events import ReadEvents

Named = TypeVar("Named", bound=tuple[str, ...])


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


def beside_others(
    step: int,
    found: Mapping[Named, Float[Tensor, "E 2"]],
    columns: Sequence[str],
    excess: str = EXCESS,
) -> pd.DataFrame:
    """Estimates in logits of one checkpoint, with controls, and excesses that hold all at once.

    Args:
        found: for the right answer and for others, by keys whose names are ``columns``, ``measure``
            among them.
        excess: what the paired difference is called.
    """
    labels = [dict(zip(columns, key, strict=True)) for key in found]
    units = {label["measure"]: "logit" for label in labels}
    rows = Estimates(step, units, families=1)
    for place, against in enumerate(("", OTHERS)):
        for label, values in zip(labels, found.values(), strict=True):
            rows.add(values[:, place].double().numpy(), against=against, **label)
    rows.excess(OTHERS, excess)
    return rows.frame()

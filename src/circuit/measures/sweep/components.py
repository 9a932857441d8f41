"""What every head and MLP does: where it looks, what it writes, what is lost without it.

1. *Localisation*: a head's attention from the prediction position to ``query_key`` and to
   ``support_value``.
2. *Ablation effect*: the answer margin (right logit minus the best wrong one, chosen anew) minus
   what it is with the component's write removed at every position. Positive: the component helps.
3. *Write norm*: Euclidean norm of what the component adds to the stream at a role's position,
   without the attention's output bias, with the MLP's.
4. *Answer contribution*: the part of the logits that the write at ``prediction`` gives directly,
   through the final LayerNorm with its scale as it is (direct logit attribution, Elhage et al.
   2021). It is read along the answer direction, the right value's logit minus the mean of all
   other values' logits. Unlike a margin over the best wrong value, that singles out no value by
   what the model says, so an untrained component has no reason to lie on either side of zero. It is
   linear: the contributions of all components, of the embeddings and of the biases add up to the
   model's own right logit minus that mean.
5. *Rank correlation* (Spearman): whether the order of the components by a mean over events is that
   of the previous checkpoint. Its interval resamples the events, of both checkpoints together;
   noise in two orders makes them less alike, so the interval reaches further down than up.

A measure's role is the position where it is read, which is ``prediction`` for all but some write
norms. Functions return one value per event, by (component, role, measure).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from circuit.experiments.edits import Removed, components
from circuit.experiments.trial import ANSWER, LIKE_LENGTHS, Trial
from circuit.measures.sweep.stages import ROLES, Columns
from circuit.model.sites import every_head, head_name
from circuit.model.tap import Tap
from circuit.scalars.base import Measure, Seen, margin, pick
from circuit.scalars.behaviour import answer_logits
from circuit.scalars.routing import prediction_pattern
from circuit.scalars.value import right_value, stream_reader
from circuit.scalars.write import Baseline, component_write
from circuit.statistics import Mean, correlations, draws, interval_of_found, told

LOOKS_AT = ("query_key", "support_value")
RANKED = {
    "rank_correlation_ablation": "ablation_effect",
    "rank_correlation_support": "attention_support_value",
}
"""Rank correlations and the measure whose order they compare."""


def localisation(seen: Seen) -> Columns:
    """Every head's attention to the query key and to the support value.

    Args:
        seen: a pass with every layer's ``attn_input``.
    """
    found: Columns = {}
    for head in every_head(seen.decoder.settings):
        pattern = prediction_pattern(seen, head)
        for role in LOOKS_AT:
            attention = pick(pattern, seen.events.role_position(role))
            found[head_name(head), "prediction", f"attention_{role}"] = attention
    return found


def ablation_effects(seen: Seen, logits: Float[Tensor, "E V"], baseline: Baseline) -> Columns:
    """Every component's ablation effect, in logits.

    Args:
        seen: a pass with :func:`circuit.experiments.edits.removal_sites`.
        logits: the model's own at the prediction position.
    """
    answer = seen.events.answer
    clean = margin(logits, answer, None)

    def cost(ablated: Seen) -> Float[Tensor, " E"]:
        return clean - margin(answer_logits(ablated), answer, None)

    removed = {name: Removed(name, baseline) for name in components(seen.decoder.settings)}
    found = Trial(seen, LIKE_LENGTHS).run(removed, {"effect": Measure("logit", ANSWER, cost)})
    return {
        (name, "prediction", "ablation_effect"): torch.from_numpy(values["effect"])
        for (name, _), values in found.items()
    }


def writes(seen: Seen, final: Float[Tensor, "E d"]) -> Columns:
    """Write norms at both roles, in the units of states, and answer contributions in logits.

    Args:
        seen: a pass with every layer's ``z`` and ``mlp_write``.
        final: the stream after the last layer, at the prediction position.
    """
    names = components(seen.decoder.settings)
    found: Columns = {}
    for role in ROLES:
        written = component_writes(seen, role)
        norms = written.norm(dim=-1)
        found |= {(name, role, "write_norm"): norms[:, c] for c, name in enumerate(names)}
        if role == "prediction":
            direct = torch.einsum("ecd,ed->ec", written, answer_direction(seen, final))
            found |= {
                (name, role, "answer_contribution"): direct[:, c] for c, name in enumerate(names)
            }
    return found


def component_writes(seen: Seen, role: str) -> Float[Tensor, "E C d"]:
    """What every component writes at a role's position, in the order of ``components``."""
    at, names = seen.events.role_position(role), components(seen.decoder.settings)
    return torch.stack([component_write(seen, name, at) for name in names], 1)


def answer_direction(seen: Seen, final: Float[Tensor, "E d"]) -> Float[Tensor, "E d"]:
    """What a write at the prediction position is multiplied by to give its answer contribution.

    It reads along the right value's unembedding less the mean of all other values'.
    """
    values = seen.params["embedding.token"][seen.value_ids.start : seen.value_ids.stop]
    right = values[right_value(seen)]
    others = (values.sum(0) - right) / (len(values) - 1)
    tap = Tap(capture=("final_norm_scale",))
    seen.decoder.final_norm(seen.params, final, tap)
    return stream_reader(seen, right - others, tap.cache["final_norm_scale"])


def rank_correlation(
    now: Float[np.ndarray, "E C"], before: Float[np.ndarray, "E C"]
) -> Mean | None:
    """Spearman correlation of C components' means over E events with those before.

    None where there is no order to compare: fewer than two components, or all of them equal.
    """
    if now.shape[1] < 2:
        return None
    count = len(now)
    weights = draws(count) / count
    found = correlations(*(rankdata(weights @ part, axis=1) for part in (now, before)))
    if np.isnan(found[0]):
        return None
    mean, low, high = told(found, interval_of_found)
    return Mean(float(mean), float(low), float(high), count)

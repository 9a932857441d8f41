"""How candidates hang together with the updates, with the loss and with one another.

For an interval θ → θ' = θ + Δ between two checkpoints, a candidate's scalar S and a loss L:

1. *Drive* is ⟨mean gradient of S on the chord, Δ⟩, by the trapezoid rule from both ends
   (:mod:`circuit.attribution.engine`, in forward mode, so it is known of every event). With
   *rebinding*, what a choice made anew at θ' changes (a rival that was overtaken, features that
   fire), and the *residual* of the rule it sums to S(θ') - S(θ). A checkpoint difference has one
   part: what the optimizer's components drive is told by ``update_attribution``.
2. *Utility* is ⟨-mean gradient of L, Δ within the candidate's own parameters⟩, by the same rule:
   what the movement of these parameters took off the loss, to the rule's accuracy. A route's own
   parameters are those of its head; those of a family, or of a route of the stream, are all whose
   component writes to the stage that it reads; an outcome's are all. Two candidates of one head
   have the same. Its alignment with S is the cosine of ∇S and -∇L within them.
3. *Interference* of two candidates is the cosine of their gradients: above 0, a step that raises
   one raises the other. Its interval resamples chunks of programs: ⟨∇S_a, ∇S_b⟩ changes by
   ⟨∇S_a,c, ∇S_b⟩ + ⟨∇S_a, ∇S_b,c⟩ as chunk c counts for more, to first order, which leaves out
   the square of the noise that both share. Lengths are held as for alignment, and it holds for all
   pairs at once. The control gives every coordinate of one of the two a sign at random: a direction
   of the same length, in the same parameters. Its cosine has mean 0 and variance Σ_i a_i² b_i² for
   unit vectors a and b, so its band needs no draws.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.attribution.engine import Engine
from circuit.config.scalar import ScalarSettings
from circuit.model.layout import Layout
from circuit.model.selectors import Selectors
from circuit.model.sites import state_site
from circuit.scalars.base import Scalar, look
from circuit.scalars.evaluate import Evaluator
from circuit.scalars.features import Dictionary
from circuit.statistics import LEVEL, draws, simultaneous_interval

SIGNS = "random signs"
"""The control of interference."""
Theta = Callable[[int], Float[Tensor, " P"]]
Intervals = Sequence[tuple[int, int]]


def own_parameters(
    candidates: Iterable[ScalarSettings], layout: Layout, dictionaries: Mapping[str, Dictionary]
) -> Float[Tensor, "S P"]:
    """1 for each candidate's own parameters, else 0; step 2 of the module."""
    named = Selectors(layout.atom_list, {})
    modules = list(dict.fromkeys(atom.module for atom in layout.atom_list))
    own = torch.zeros(0, layout.size)
    for spec in candidates:
        stage = dictionaries[spec.dictionary].stage if spec.dictionary else spec.stage
        chosen = modules
        if spec.head is not None:
            chosen = [re.sub(r"^L(\d+)MLP$", r"layer_\1.mlp", spec.head)]
        elif stage is not None:
            writer = _last_writer(state_site(stage, layout.settings.n_layers))
            chosen = modules[: modules.index(writer) + 1]
        own = torch.cat([own, torch.zeros(1, layout.size)])
        for atom in (layout.atom_list[n] for name in chosen for n in named.members(name)):
            own[-1, atom.offset : atom.offset + atom.size] = 1
    return own


def _last_writer(site: str) -> str:
    """The last module, in the order of the forward pass, that a state of the stream rests on."""
    if site in ("embedding", "final_norm"):
        return site
    layer, _, place = site.removeprefix("layer_").partition("_")
    norms = {"attn_input": "ln1", "mlp_input": "ln2"}
    return f"layer_{layer}.{norms.get(place, 'attn' if 'attn' in place else 'mlp')}"


class Built(NamedTuple):
    """What built each candidate over an interval; of drive the value on every event."""

    drive: Float[np.ndarray, "S E"]
    rebinding: Float[np.ndarray, " S"]
    residual: Float[np.ndarray, " S"]


def drives(
    evaluator: Evaluator, theta: Theta, intervals: Intervals, scalars: Mapping[str, Scalar]
) -> list[Built]:
    """Step 1 of the module, for every interval."""
    rule = "trapezoid"
    engine = Engine(evaluator.decoder.layout, evaluator, scalars, (rule,), wanted="events")
    found = []
    for start, stop in intervals:
        before, after = theta(start), theta(stop)
        result = engine.step(before, after, (after.double() - before.double())[None])
        again = sum(result.rebound.values(), torch.zeros_like(result.growth))
        parts = (result.events[:, 0], again, result.residual(rule, 1))
        found.append(Built(*(part.numpy() for part in parts)))
    return found


def chunk_gradients(
    evaluator: Evaluator,
    theta: Float[Tensor, " P"],
    scalars: Mapping[str, Scalar],
    chunks: Sequence[Int[np.ndarray, " n"]],
) -> Iterator[Float[Tensor, "S P"]]:
    """Gradients of every scalar's mean over each chunk of the events, one chunk after another.

    A chunk has a forward pass of its own, but scalars see it among all events, to some of which
    they may be fitted.
    """
    decoder, events, value_ids = evaluator.decoder, evaluator.events, evaluator.value_ids
    sites = frozenset().union(*(scalar.sites for scalar in scalars.values()))
    with torch.no_grad():
        whole = look(decoder, theta.detach(), events, value_ids, sites)
    for rows in chunks:
        at, index = theta.detach().requires_grad_(), torch.from_numpy(rows)
        part = look(decoder, at, events.select(rows.tolist()), value_ids, sites)
        among = {site: x.index_copy(0, index, part.sites[site]) for site, x in whole.sites.items()}
        seen = part._replace(sites=among, events=events)
        means = [scalar(seen)[index].mean() for scalar in scalars.values()]
        yield torch.stack([torch.autograd.grad(one, at, retain_graph=True)[0] for one in means])


def interference(
    evaluator: Evaluator,
    theta: Float[Tensor, " P"],
    scalars: Mapping[str, Scalar],
    gradients: Float[Tensor, "S P"],
    chunks: int,
) -> pd.DataFrame:
    """Step 3 of the module, each pair once: a table of estimates without step and unit."""
    unit = torch.nn.functional.normalize(gradients, dim=1)
    size = gradients.double().norm(dim=1)[:, None]
    of = np.array_split(np.arange(len(evaluator.events)), chunks)
    slopes = [(part @ unit.T).double() for part in chunk_gradients(evaluator, theta, scalars, of)]
    along = torch.stack(slopes) / torch.where(size > 0, size, 1)
    # What a chunk would give if it alone counted: the two gradients take turns.
    both = along + along.transpose(1, 2) - (unit @ unit.T).double()
    one, other = np.triu_indices(len(unit), 1)
    weights = draws(chunks) * [len(rows) for rows in of]
    drawn = weights / weights.sum(1, keepdims=True) @ both.numpy()[:, one, other]
    spread = (unit.square() @ unit.square().T).sqrt().double().numpy()[one, other]
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * spread
    names = np.array(list(scalars))
    about = {"candidate": names[one], "other": names[other], "measure": "interference"}
    low, high = (end.clip(-1, 1) for end in simultaneous_interval(drawn[0], drawn[1:]))
    ends = {"low": low, "high": high}
    own = {"against": "", "mean": drawn[0], "count": chunks, **ends}
    control = {"against": SIGNS, "mean": 0.0, "low": -reach, "high": reach, "count": 0}
    found = pd.concat([pd.DataFrame({**about, **numbers}) for numbers in (own, control)])
    return found.assign(noun=np.where(found["against"] == "", "chunks of programs", ""))

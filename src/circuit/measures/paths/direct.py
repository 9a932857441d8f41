"""The answer's logit as a sum over what was written into the prediction position: direct paths.

1. The residual stream at the prediction position is a sum of writes: token and position embedding,
   and in every layer each head (without bias), b_O, the MLP's neurons and b_out.
2. Under the final LayerNorm's actual scale σ, held fixed, the readout is linear: with u the
   unembedding row of a token, or the difference of two rows for a margin,

       value = Σ_writes  write · centre(gain ⊙ u) / σ  +  bias · u,

   since centring a write and reading it equals reading it with a centred direction. So every write
   has its own path to the value, the final LayerNorm's bias has the last one, and they sum to the
   logit exactly (Elhage et al. 2021, *A Mathematical Framework for Transformer Circuits*).
3. The stream at an earlier stage is read in two ways: by a LayerNorm of its own (the logit lens,
   nostalgebraist 2020), and under the final scale, where consecutive stages differ by exactly the
   paths written between them.

A direct path credits a write with what the unembedding reads from it. What later components make of
the same write is not in it; :mod:`circuit.measures.paths.second_order` goes one module further
back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.model.sites import head_name, stages
from circuit.scalars.base import Seen, best_other, margin, pick
from circuit.scalars.behaviour import answer_logits
from circuit.scalars.value import stream_reader
from circuit.task.events import ReadEvents

TARGETS = ("correct_logit", "value_margin", "answer_margin", "stale_margin")
EMBEDDING, ATTENTION, MLP, BIASES = "embedding", "attention", "MLP", "biases"
FINAL_BIAS = "final_norm.bias"


class Writer(NamedTuple):
    """What one part of the model writes into the residual stream.

    ``order`` is 0 for the embeddings, 2l + 1 for attention and 2l + 2 for the MLP of layer l: a
    module reads all writers of lower order. ``states`` are [E, d], or [E, T, d] at all positions.
    """

    name: str
    kind: str
    order: int
    states: Float[Tensor, "E ... d"]


class Targets(NamedTuple):
    """Tokens that the targets compare: the right one, and a rival per margin.

    The rivals, fixed per event, are the model's own best wrong value, its best wrong token of all,
    and the latest stale value: the one that stood under the key before the support write.
    """

    right: Int[Tensor, " E"]
    rivals: tuple[Int[Tensor, " E"], ...]

    def values(self, logits: Float[Tensor, "E V"]) -> Float[Tensor, "E R"]:
        """The targets' values, in the order of ``TARGETS``."""
        margins = [margin(logits, self.right, rival) for rival in self.rivals]
        return torch.stack([pick(logits, self.right), *margins], 1)


class Readout(NamedTuple):
    """How a state at the prediction position is read, with the final LayerNorm scale frozen."""

    targets: Targets
    rows: Float[Tensor, "E R d"]  # what reads a LayerNorm'd state
    direction: Float[Tensor, "E R d"]  # what reads a state of the residual stream
    constant: Float[Tensor, "E R"]  # the path of the final LayerNorm's bias
    whole: Float[Tensor, "E R"]  # the targets' values from the model's own logits


def path_sites(n_layers: int) -> frozenset[str]:
    """What a pass must leave for direct paths and for the stages' readout."""
    inner = {f"layer_{layer}_{name}" for layer in range(n_layers) for name in ("z", "neurons")}
    return frozenset({*inner, *stages(n_layers), "final_norm_scale"})


def readout(seen: Seen) -> Readout:
    """The targets and the directions that read them off the stream at the prediction position.

    Args:
        seen: a pass with ``final_norm`` and ``final_norm_scale``; float64 for exact sums.

    Raises:
        AnalysisError: an event has no stale value.
    """
    events, ids, unembedding = seen.events, seen.value_ids, seen.params["embedding.token"]
    logits = answer_logits(seen)
    best_value = best_other(logits[:, ids.start : ids.stop], events.answer - ids.start) + ids.start
    rivals = best_value, best_other(logits, events.answer), _latest_stale(events)
    targets, right = Targets(events.answer, rivals), unembedding[events.answer]
    rows = torch.stack([right, *(right - unembedding[rival] for rival in rivals)], 1)
    scale = pick(seen.sites["final_norm_scale"], events.prediction)
    return Readout(
        targets,
        rows,
        stream_reader(seen, rows, scale[:, None]),
        rows @ seen.params["final_norm.bias"],
        targets.values(logits),
    )


def _latest_stale(events: ReadEvents) -> Int[Tensor, " E"]:
    """Token of the last stale value before each read."""
    without = (~events.stale_value.any(1)).nonzero()[:, 0].tolist()
    if without:
        raise AnalysisError(
            f"read {int(events.read_index[without[0]])} of program "
            f"{events.sample_id[without[0]]!r} has no stale value",
            where="paths to the margin over the latest stale value",
            expected="reads of keys that were overwritten, as the benchmarks make them",
            do="leave out reads of keys that were written once",
        )
    place = torch.arange(events.stale_value.shape[1], device=events.tokens.device)
    return pick(events.tokens, (events.stale_value * place).amax(1))


def writers(seen: Seen, at: Int[Tensor, " E"] | None = None) -> list[Writer]:
    """Everything that is written into the residual stream, in the model's order.

    Args:
        seen: a pass with every layer's ``z`` and ``neurons``.
        at: one position per event; None gives all positions.
    """
    params, tokens = seen.params, seen.events.tokens
    here: Callable[[Tensor], Tensor] = (lambda x: x) if at is None else (lambda x: pick(x, at))
    place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    token = params["embedding.token"][here(tokens)]
    found = [
        Writer("token_embedding", EMBEDDING, 0, token),
        Writer("position_embedding", EMBEDDING, 0, params["embedding.position"][here(place)]),
    ]
    for layer in range(seen.decoder.settings.n_layers):
        name = f"layer_{layer}"
        z, neurons = here(seen.sites[f"{name}_z"]), here(seen.sites[f"{name}_neurons"])
        found += [
            Writer(head_name((layer, h)), ATTENTION, 2 * layer + 1, z[..., h, :] @ w_out)
            for h, w_out in enumerate(params[f"{name}.attn.W_O"])
        ]
        b_o, b_out = (params[f"{name}.{b}"].expand_as(token) for b in ("attn.b_O", "mlp.b_out"))
        written = neurons @ params[f"{name}.mlp.W_out"]
        found += [
            Writer(f"L{layer}.b_O", BIASES, 2 * layer + 1, b_o),
            Writer(f"L{layer}MLP", MLP, 2 * layer + 2, written),
            Writer(f"L{layer}.b_out", BIASES, 2 * layer + 2, b_out),
        ]
    return found


class DirectPaths(NamedTuple):
    """Direct paths of every event; their values sum to the whole."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    values: Float[Tensor, "E R P"]


def direct_paths(seen: Seen, read: Readout) -> DirectPaths:
    """What each write at the prediction position adds to each target, in logits."""
    names, kinds, _, states = zip(*writers(seen, seen.events.prediction), strict=True)
    values = read.direction @ torch.stack(states, 1).transpose(1, 2)
    values = torch.cat([values, read.constant[..., None]], -1)
    return DirectPaths((*names, FINAL_BIAS), (*kinds, BIASES), values)


def stage_readout(seen: Seen, read: Readout) -> dict[tuple[str, str], Float[Tensor, "E R"]]:
    """The targets read off the stream at every stage: (stage, scale) → values [E, R], in logits.

    ``own``: with the LayerNorm scale of that stage's state. ``frozen``: with the final one's. Both
    meet the model's own value at the last stage.
    """
    found = {}
    for stage in stages(seen.decoder.settings.n_layers)[:-1]:
        state = pick(seen.sites[stage], seen.events.prediction)
        normed = seen.decoder.final_norm(seen.params, state)
        found[stage, "own"] = (read.rows @ normed[:, :, None])[..., 0]
        found[stage, "frozen"] = (read.direction @ state[:, :, None])[..., 0] + read.constant
    return found

"""Inner products of single reads' loss gradients, in bounded memory.

An *example* is one read: its program, cut where the answer is predicted, with the loss L_i = the
cross-entropy of the answer there, in nats. G_ij = ⟨∇L_i, ∇L_j⟩ is a sum over parameters, so it is
computed without ever holding the gradients of all reads:

1. *Columns* are the entries of the flat parameter vector that count: all of them, or those of the
   atoms of some parameter groups (:func:`group_columns`).
2. :func:`plan_blocks` cuts the columns into blocks so narrow that the gradients of all reads in one
   block, and what it takes to compute them, fit into the memory given.
3. For every block, chunks of reads of like length go through ``torch.func``: vmap over the gradient
   of one read's loss in the tensors that the block touches. All others are constants, so the
   backward pass ends at the lowest tensor touched. Fused attention has no batching rule there, so
   the pass asks for the attention patterns, which selects the plain formula.
4. Each block adds its products to G in float64, a tile of columns at a time: products of float32
   numbers are exact in it. G is symmetric, so only its lower half is computed. Products with given
   directions (gradients of scalars) are summed in the same way.

Every block repeats the forward pass. At reference size this costs less than the alternative, pairs
of chunks of reads with whole gradients, which repeats whole backward passes as often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.func import grad, vmap

from circuit.attribution.products import grouping_labels
from circuit.errors import AnalysisError, nearest
from circuit.model.layout import Layout
from circuit.model.parameters import Entry
from circuit.model.passes import Passes
from circuit.model.tap import Tap
from circuit.model.transformer import Decoder, Params
from circuit.task.events import ReadEvents

_CHUNK = 32  # reads per backward pass: more is no faster
_TILE = 4096  # columns per product in float64
_PANEL = 128  # rows of G per product
_COPIES = 2  # of a chunk's gradients: as they are made, and summed over the uses of a tensor


class Products(NamedTuple):
    """Inner products of the gradients of N reads with each other, and with D directions.

    All over the chosen columns alone, float64; ``directions`` are those of the directions with each
    other. Losses are in nats; ``right``: whether the argmax over the vocabulary is the answer.
    """

    gram: Float[Tensor, "N N"]
    along: Float[Tensor, "N D"]
    directions: Float[Tensor, "D D"]
    losses: Float[Tensor, " N"]
    right: Bool[Tensor, " N"]


class BlockPlan(NamedTuple):
    """How gradients are cut to fit: ``width`` columns a block, ``chunk`` reads a backward pass,
    ``tile`` columns a product in float64; at most ``size`` bytes are held of gradients.
    """

    width: int
    chunk: int
    tile: int
    size: int


def plan_blocks(
    reads: int, columns: int, parameters: int, itemsize: int, memory_mb: int
) -> BlockPlan:
    """The widest blocks that fit into ``memory_mb`` MB (of 10⁶ bytes).

    Held at a time: the gradients (of ``itemsize`` bytes a number) of all reads in a block; those of
    one chunk of reads in the tensors that the block touches, at most all ``parameters`` of the
    model; and a tile in float64. The result (8 N² bytes) and one chunk's activations do not count.

    Raises:
        AnalysisError: not even one column of all reads and the gradient of one read fit.
    """
    memory = memory_mb * 10**6
    one_read = _COPIES * parameters * itemsize
    chunk = max(1, min(_CHUNK, reads, memory // 4 // one_read))
    tile = max(1, min(_TILE, columns, (memory - chunk * one_read) // 4 // (8 * reads)))
    fixed = chunk * one_read + 8 * tile * reads
    width = min(columns, (memory - fixed) // (reads * itemsize))
    if width < 1:
        least = -(-(one_read + (8 + itemsize) * reads) // 10**6)
        raise AnalysisError(
            what=f"gradients of {reads:,} reads do not fit into {memory_mb} MB",
            where="memory_mb",
            expected=f"at least {least} MB for a model of {parameters:,} parameters",
            do="raise memory_mb, or take fewer reads",
        )
    return BlockPlan(width, chunk, tile, fixed + width * reads * itemsize)


def group_columns(layout: Layout, grouping: str, groups: Sequence[str]) -> Int[Tensor, " n"]:
    """Entries of the flat vector that lie in some groups of a grouping, in order; all if none.

    Raises:
        AnalysisError: the grouping, or a group of it, does not exist.
    """
    labels = grouping_labels(layout, grouping)
    for group in groups:
        if group not in set(labels):
            near = nearest(group, dict.fromkeys(labels))
            raise AnalysisError(
                what=f"grouping {grouping!r} has no group {group!r}",
                where="groups",
                expected=f"one of its groups, such as {', '.join(labels.unique()[:5])}",
                do=f"did you mean {near!r}?" if near else "name one of its groups",
            )
    chosen = labels.isin(groups).to_numpy() if groups else np.ones(len(labels), dtype=np.bool_)
    return torch.from_numpy(np.flatnonzero(np.repeat(chosen, layout.atoms["size"])))


def gradient_products(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    columns: Int[Tensor, " n"],
    directions: Float[Tensor, "D P"],
    memory_mb: int,
    passes: Passes | None = None,
) -> Products:
    """Inner products of all reads' loss gradients with each other and with the directions.

    Gradients have the dtype of θ, products are float64.

    Args:
        columns: sorted entries of the flat vector that count.
        memory_mb: bound on what is held of gradients, see :func:`plan_blocks`; its errors too.
        passes: counts the forward passes made (each has its backward pass).
    """
    n = len(events)
    order = torch.argsort(events.length, stable=True)
    events = events.select(order)
    plan = plan_blocks(n, len(columns), decoder.layout.size, theta.element_size(), memory_mb)
    ways = directions[:, columns].double()
    gram = torch.zeros(n, n, dtype=torch.float64)
    along = torch.zeros(n, len(ways), dtype=torch.float64)
    losses, right = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.bool)
    for start, block in gradient_blocks(
        decoder, theta, events, columns, plan, losses, right, passes
    ):
        for at in range(0, block.shape[1], plan.tile):
            tile = block[:, at : at + plan.tile].double()
            _add_lower(gram, tile)
            along += tile @ ways[:, start + at : start + at + tile.shape[1]].T
    gram = gram.tril() + gram.tril(-1).T
    back = torch.argsort(order)
    return Products(gram[back][:, back], along[back], ways @ ways.T, losses[back], right[back])


def gradient_blocks(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    columns: Int[Tensor, " n"],
    plan: BlockPlan,
    losses: Float[Tensor, " N"],
    right: Tensor,
    passes: Passes | None = None,
) -> Iterator[tuple[int, Float[Tensor, "N w"]]]:
    """Gradients of all reads, block of columns by block; each block overwrites the one before.

    Reads of like length should stand together, as a chunk is as long as its longest. Yields the
    number of the block's first column among ``columns``, and the block; ``losses`` and ``right``
    (see :class:`Products`) are filled in on the way.
    """
    views = decoder.layout.views(theta.detach())
    passes = Passes() if passes is None else passes
    store = torch.empty(len(events) * plan.width, dtype=theta.dtype)
    for start in range(0, len(columns), plan.width):
        chosen = columns[start : start + plan.width]
        pieces = _pieces(decoder.layout, chosen)
        tensors = {entry.name: views[entry.name] for entry, _, _ in pieces}
        gradient = vmap(grad(_read_loss(decoder, views), has_aux=True), in_dims=(None, 0, 0, 0))
        block = store[: len(events) * len(chosen)].view(len(events), -1)
        for first in range(0, len(events), plan.chunk):
            rows = slice(first, min(first + plan.chunk, len(events)))
            some = events.select(torch.arange(rows.start, rows.stop)).crop()
            found, seen = gradient(tensors, some.tokens, some.prediction, some.answer)
            for entry, inside, local in pieces:
                block[rows, inside] = found[entry.name].flatten(1)[:, local]
            losses[rows], right[rows] = seen
            passes.whole += 1
            passes.programs += len(some)
            passes.program_layers += len(some) * decoder.settings.n_layers
        yield start, block


def _read_loss(decoder: Decoder, views: Params) -> Callable[..., tuple[Tensor, tuple[Tensor, ...]]]:
    """The loss of one read in some of the tensors, with what else is to be known of it."""
    plain = Tap(edits={f"layer_{n}_pattern": () for n in range(decoder.settings.n_layers)})

    def loss(
        tensors: Params, tokens: Tensor, prediction: Tensor, answer: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        params = {**views, **tensors}
        x = decoder.residual(params, tokens[None], plain, prediction[None])
        logits = decoder.unembed(params, decoder.final_norm(params, x))[0, 0]
        value = F.cross_entropy(logits, answer)
        return value, (value, logits.argmax() == answer)

    return loss


def _pieces(
    layout: Layout, chosen: Int[Tensor, " w"]
) -> list[tuple[Entry, slice, slice | Int[Tensor, " m"]]]:
    """The tensors that some columns touch: which of the columns, and where in the tensor."""
    found: list[tuple[Entry, slice, slice | Tensor]] = []
    for entry in layout.entries:
        ends = torch.tensor([entry.offset, entry.offset + entry.size])
        start, stop = (int(i) for i in torch.searchsorted(chosen, ends))
        if start == stop:
            continue
        local = chosen[start:stop] - entry.offset
        run = slice(int(local[0]), int(local[-1]) + 1)
        unbroken = run.stop - run.start == stop - start
        found.append((entry, slice(start, stop), run if unbroken else local))
    return found


def _add_lower(gram: Float[Tensor, "N N"], tile: Float[Tensor, "N w"]) -> None:
    """Add the products of all rows to the lower half of G, panels of rows at a time."""
    for start in range(0, len(tile), _PANEL):
        stop = min(start + _PANEL, len(tile))
        gram[start:stop, :stop].addmm_(tile[start:stop], tile[:stop].T)

"""The loss's gradient, split over groups of the tokens that it is about.

The batch's loss is a sum over its targets divided by their number, so its gradient is the sum of
the gradients of the groups' parts (each divided by the number of *all* targets). Three things keep
that cheap:

1. A group's part needs just the programs that have a target of the group, cropped after their last
   one: causal positions behind it cannot matter. Programs of like length go together, and the last
   layer answers only for the positions that predict a target of the group.
2. Groups that have targets nearly everywhere share one forward pass over the whole batch and have a
   backward pass each, where that is cheaper (:func:`_sharing`).
3. Where the whole gradient is known, the group with most work is not run at all: it is the exact
   remainder, the whole less all others. What float32 leaves in the others lies there too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.model.transformer import Decoder
from circuit.training.batches import Batch

_PIECES = 2  # lengths that programs of a group are cropped to; more make passes small and slow
_KEYS = 1 / 6  # of a layer's products: keys and values, which the last layer needs everywhere


class _Piece(NamedTuple):
    """Some programs' targets of one group: ``at`` [n, S] predict ``targets`` [n, S] (or -100)."""

    tokens: Int[Tensor, "n t"]
    at: Int[Tensor, "n S"]
    targets: Int[Tensor, "n S"]

    def work(self, n_layers: int) -> float:
        """Cost of a forward pass, in positions through all layers."""
        below = self.tokens.numel() * (n_layers - 1 + _KEYS)
        return (below + self.targets.numel() * (1 - _KEYS)) / n_layers


def group_gradients(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    batch: Batch,
    labels: Int[Tensor, "B T-1"],
    n_groups: int,
    total: Float[Tensor, " P"] | None = None,
) -> Float[Tensor, "G P"]:
    """Gradient of every group's part of the batch's mean loss; float64, they sum to the whole.

    ``labels`` are numbers of the targets' groups, -1 where there is no target. Where the gradient
    of the whole loss (``batch_gradient``) is known as ``total``, the group with most work is the
    remainder.
    """
    n_layers = decoder.settings.n_layers
    pieces = [_pieces(batch, labels == group) for group in range(n_groups)]
    work = [sum(piece.work(n_layers) for piece in part) for part in pieces]
    rest = max(range(n_groups), key=work.__getitem__) if total is not None else None
    run = [group for group in range(n_groups) if group != rest and work[group]]
    together = _sharing({g: work[g] for g in run}, batch.targets.numel())
    count = int((batch.targets >= 0).sum())
    found = torch.zeros(n_groups, decoder.layout.size, dtype=torch.float64)
    theta = theta.detach().requires_grad_()
    for group in run:
        if group not in together:
            for piece in pieces[group]:
                found[group] += _gradient(decoder, theta, piece, count)
    if together:
        logits = _logits(decoder, theta, batch.tokens[:, :-1])
        losses = F.cross_entropy(logits.mT, batch.targets, reduction="none") / count
        for group in together:
            again = group != together[-1]
            loss = losses[labels == group].sum()
            found[group] = torch.autograd.grad(loss, theta, retain_graph=again)[0]
    if total is not None and rest is not None:
        found[rest] = total.double() - found.sum(0)
    return found


def _pieces(batch: Batch, mask: Bool[Tensor, "B T-1"]) -> list[_Piece]:
    """The programs that have marked targets, sorted by the last of them and cut into pieces."""
    counts = mask.sum(1)
    rows = counts.nonzero()[:, 0]
    if not len(rows):
        return []
    places = torch.arange(1, mask.shape[1] + 1)
    length = torch.where(mask, places, 0).amax(1)[rows]
    found = []
    for part in length.argsort(stable=True).chunk(_PIECES):
        chosen, longest = rows[part], int(length[part].max())
        marked, width = mask[chosen, :longest], int(counts[chosen].max())
        # Marked positions first, in order; rows with fewer are filled up with unmarked ones.
        at = (~marked).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
        targets = batch.targets[chosen, :longest].masked_fill(~marked, -100)
        found.append(_Piece(batch.tokens[chosen, :longest], at, targets.gather(1, at)))
    return found


def _sharing(work: dict[int, float], whole: float) -> list[int]:
    """The groups for which one forward pass over the whole batch pays.

    A backward pass costs two forward passes. Alone, a group costs three passes over its own work;
    together, two over the whole batch, and all of them one more.
    """
    saved = {group: 3 * own - 2 * whole for group, own in work.items()}
    better = [group for group, gain in saved.items() if gain > 0]
    return better if sum(saved[group] for group in better) > whole else []


def _gradient(
    decoder: Decoder, theta: Float[Tensor, " P"], piece: _Piece, count: int
) -> Float[Tensor, " P"]:
    """Gradient of the summed loss of a piece's targets over ``count``."""
    every = 2 * piece.at.shape[1] > piece.tokens.shape[1]  # then picking positions is no gain
    targets = piece.targets
    if every:
        targets = torch.full_like(piece.tokens, -100).scatter(1, piece.at, targets)
    logits = _logits(decoder, theta, piece.tokens, None if every else piece.at)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    return torch.autograd.grad(loss / count, theta)[0]


def _logits(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    tokens: Int[Tensor, "n t"],
    at: Int[Tensor, "n S"] | None = None,
) -> Float[Tensor, "n s V"]:
    logits = decoder.forward(decoder.layout.views(theta), tokens, at=at)
    assert logits is not None  # nothing can stop a forward pass without a tap
    return logits

"""In which directions a component writes, beside the directions of its mature writes.

1. The *write subspace* at a role: the top ``rank`` principal components of what the component
   actually writes at the role's positions, centred. Actual writes, not the singular directions of
   W_OV: an MLP has them too, they weigh directions by what the states make of them, and what the
   weights alone do is already told by ``weight_svd``.
2. *Overlap* with the mature subspace, that of the reference checkpoint on the same events: the mean
   squared cosine of the principal angles, ‖AᵀB‖² / rank, from 0 (orthogonal) to 1 (the same).
3. *Chance*: random subspaces of the residual stream overlap by rank / d on average; the band holds
   95% of random draws.
4. Intervals leave out one group of events after the other, in both subspaces (delete-a-group
   jackknife). A bootstrap would repeat events, which bends fitted directions towards them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import estimates
from circuit.scalars.base import Seen
from circuit.scalars.write import Write, component_write
from circuit.statistics import interval

RANDOM = "random subspaces"
_GROUPS, _DRAWS = 10, 400
_NORMAL = 1.96  # standard errors to either end of a 95% interval
Masks = Mapping[str, Bool[Tensor, "E T"]]


class Fitted(NamedTuple):
    """Write subspaces of all events, and of all but one group of them in turn.

    ``explained`` is the share of the variance of the writes that the first one holds.
    """

    bases: Float[Tensor, "F d r"]
    explained: float


def write_subspaces(
    seen: Seen, writes: Mapping[str, Write], masks: Masks, rank: int
) -> dict[tuple[str, str], Fitted]:
    """Subspaces of all writes, by write and role: the write's own, and those of the split.

    Args:
        seen: a pass with the ``z`` or ``mlp_write`` of every source.

    Raises:
        AnalysisError: the writes have fewer directions than ``rank``.
    """
    found = {}
    for name, write in writes.items():
        written = component_write(seen, write.source).double()
        for role, mask in {write.role: seen.events.role_mask(write.role), **masks}.items():
            found[name, role] = _fit(written, mask, rank)
    return found


def _fit(written: Float[Tensor, "E T d"], mask: Bool[Tensor, "E T"], rank: int) -> Fitted:
    events, d = len(mask), written.shape[-1]
    groups = min(_GROUPS, events)
    if rank > min(d, int(mask.sum()) - int(mask.sum(1).max()) * -(-events // groups) - 1):
        raise AnalysisError(
            what=f"writes at {int(mask.sum())} positions do not span {rank} directions",
            where="functional_write: rank",
            expected=f"at most {d} directions, and more positions than that",
            do="lower rank, or choose roles with more positions",
        )
    rows = torch.where(mask[..., None], written, 0)
    counts, sums = mask.sum(1).double(), rows.sum(1)
    grams, numbers, totals = [], [], []
    for k in range(groups):
        members = rows[k::groups].flatten(0, 1)
        grams.append(members.T @ members)
        numbers.append(counts[k::groups].sum())
        totals.append(sums[k::groups].sum(0))
    # All groups, then all but one of them: sums over positions are sums over groups.
    kept = torch.cat([torch.ones(1, groups), 1 - torch.eye(groups)]).double()
    number, total = kept @ torch.stack(numbers), kept @ torch.stack(totals)
    gram = torch.einsum("fk,kde->fde", kept, torch.stack(grams))
    spread = gram - total[:, :, None] * total[:, None] / number[:, None, None]
    values, vectors = torch.linalg.eigh(spread)
    return Fitted(vectors[..., -rank:], float(values[0, -rank:].sum() / values[0].sum()))


def overlap_rows(
    found: Mapping[tuple[str, str], Fitted],
    mature: Mapping[tuple[str, str], Fitted],
    step: int,
    events: int,
    seed: int,
) -> pd.DataFrame:
    """Overlap of every subspace with the mature one of the same write and role, and its variance.

    Estimates by write and role. The control, random subspaces, is the same for all roles of a
    write, and so has none.
    """
    rows: list[dict[str, object]] = []
    for (name, role), now in found.items():
        last = mature[name, role].bases
        rank = last.shape[-1]
        overlap = (now.bases.mT @ last).square().sum((1, 2)) / rank
        value, left_out = float(overlap[0]), overlap[1:]
        folds = len(left_out)
        error = float(left_out.var(unbiased=False) * (folds - 1)) ** 0.5
        low, high = (min(max(value + sign * _NORMAL * error, 0), 1) for sign in (-1, 1))
        where = {"write": name, "role": role, "count": events}
        rows += [
            {**where, "measure": "overlap", "mean": value, "low": low, "high": high},
            {**where, "measure": "explained", "mean": now.explained},
        ]
    chance = {"measure": "overlap", "role": "", **_chance(*last.shape[-2:], seed)}
    rows += [{"write": name, **chance} for name in dict.fromkeys(name for name, _ in found)]
    frame = pd.DataFrame(rows).fillna({"against": ""})
    return estimates(frame, {"overlap": "1", "explained": "share"}, "events", step=step)


@lru_cache(maxsize=8)
def _chance(d: int, rank: int, seed: int) -> dict[str, object]:
    """Overlap of random subspaces with a fixed one, which may be that of the first axes."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(_DRAWS, d, rank, generator=generator, dtype=torch.float64)
    bases = torch.linalg.qr(drawn).Q
    overlaps = bases[:, :rank].square().sum((1, 2)).numpy() / rank
    low, high = interval(overlaps)
    return {"against": RANDOM, "mean": rank / d, "low": float(low), "high": float(high)}

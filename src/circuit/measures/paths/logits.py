"""The correct logit and its margins over training, as sums over paths.

1. One float64 pass over the events per checkpoint. Direct paths and the stages' readout come from
   it at every checkpoint, paths through one module more at the checkpoints asked for.
2. Every path is a column with one value per event, and all columns of a checkpoint share one
   bootstrap per half of the events: ``selection`` (even numbers), ``confirmation`` (odd), ``all``.
   Whoever names the largest path chooses it on one half and quotes the other.
3. Identities are checked on every event: paths sum to the model's own value, terms through a module
   to its direct path, chains to the value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.experiments.edits import removal_sites
from circuit.measures.paths.direct import (
    SCALES,
    TARGETS,
    DirectPaths,
    Readout,
    direct_paths,
    path_sites,
    readout,
    stage_readout,
)
from circuit.measures.paths.direct_effects import comparison, direct_and_ablated
from circuit.measures.paths.second_order import (
    ARROW,
    Term,
    by_chain,
    over_positions,
    second_order_sites,
    terms,
    through_modules,
)
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, look
from circuit.scalars.write import Baseline
from circuit.statistics import bootstrap_means, halves_and_all
from circuit.task.events import ReadEvents

WHOLE = "whole"
ROW_UNITS = {"step": "step", "mean": "logit", "low": "logit", "high": "logit", "count": "1"}
READOUT_UNITS = {**ROW_UNITS, "order": "id"}
IDENTITY_UNITS = {"step": "step", "residual": "logit", "size": "logit", "count": "1"}


class PathTables(NamedTuple):
    """What the paths are.

    ``rows``: step, target, path, kind, half, mean, low, high, count; path ``whole`` is the model's
    own value, measured. ``second_order``: step, target, kind (``path`` or ``chain``), path,
    source, through, positions, half, mean, low, high, count; a path
    through a head has rows for the positions ``support_value``, ``elsewhere`` and their sum
    ``all``. ``readout``:
    step, stage, order, scale, target, half, mean, low, high, count. ``ablations``: step and the
    columns of :func:`circuit.measures.paths.direct_effects.comparison`. ``identities``: step,
    identity, target, residual (largest over events), size (largest value), count.
    """

    rows: pd.DataFrame
    second_order: pd.DataFrame
    readout: pd.DataFrame
    ablations: pd.DataFrame
    identities: pd.DataFrame


def path_logits(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    events: ReadEvents,
    value_ids: range,
    second_order: Iterable[int],
    top: int,
    baseline: Baseline,
) -> PathTables:
    """Decompose the targets at every step; see :class:`PathTables`.

    Args:
        second_order: steps, of ``steps``, that get paths through one module more and ablations.
        top: number of components to ablate, besides a control.
        baseline: what stands in for an ablated write.

    Raises:
        AnalysisError: there are fewer than two events, no second-order step is named, or one is no
            checkpoint.
    """
    deeper = set(second_order)
    _require(deeper, steps, len(events))
    parts = []
    for step in steps:
        found = _checkpoint(
            decoder, theta(step).double(), events, value_ids, step in deeper, top, baseline
        )
        parts.append([frame.assign(step=step) for frame in found])
    every = [[f for f in frames if len(f)] for frames in zip(*parts, strict=True)]
    tables = [pd.concat(frames, ignore_index=True) for frames in every]
    return PathTables(*(table[["step", *table.columns.drop("step")]] for table in tables))


def _require(deeper: set[int], steps: Sequence[int], events: int) -> None:
    missing = sorted(deeper - set(steps))
    if missing or not deeper:
        raise AnalysisError(
            f"the run has no checkpoint at step {missing[0]:,}" if deeper else "no step is named",
            where="second_order",
            expected=f"one of {', '.join(f'{step:,}' for step in steps)}, or final",
            do="name steps of checkpoints",
        )
    if events < 2:
        raise AnalysisError(
            "one event is too few: one half chooses paths, the other confirms",
            where="path_logits",
            expected="at least two events",
            do="raise probes.programs_per_split of the benchmark",
        )


def _checkpoint(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    value_ids: range,
    deeper: bool,
    top: int,
    baseline: Baseline,
) -> PathTables:
    layers = decoder.settings.n_layers
    sites = second_order_sites(layers) | removal_sites(layers) if deeper else path_sites(layers)
    with torch.no_grad():
        seen = look(decoder, theta, events, value_ids, sites)
        read = readout(seen)
        direct = direct_paths(seen, read)
        found = terms(seen, read) if deeper else []
        staged = stage_readout(seen, read)
        ablations = _ablations(seen, read, top, baseline) if deeper else pd.DataFrame()
    blocks = [_direct_block(direct, read), _stage_block(staged)]
    blocks += [_term_block(found)] if deeper else []
    summaries = _summaries(blocks)
    return PathTables(
        summaries[0],
        summaries[2] if deeper else pd.DataFrame(),
        summaries[1],
        ablations,
        _identities(direct, read, found),
    )


Block = tuple[pd.DataFrame, Float[np.ndarray, "E n"]]


def _direct_block(direct: DirectPaths, read: Readout) -> Block:
    values = torch.cat([direct.values, read.whole[..., None]], -1)
    labels = pd.DataFrame({"path": [*direct.names, WHOLE], "kind": [*direct.kinds, WHOLE]})
    return _per_target(labels, values)


def _stage_block(staged: dict[tuple[str, str], Tensor]) -> Block:
    labels = pd.DataFrame(list(staged), columns=["stage", "scale"])
    labels.insert(1, "order", np.arange(len(labels)) // len(SCALES))
    return _per_target(labels, torch.stack(list(staged.values()), -1))


def _term_block(found: Sequence[Term]) -> Block:
    """Paths through one module more (direct ones are in the other block), then chains."""
    through = [term for term in found if term.through != "logit"]
    summed = [t for t in over_positions(through) if t.positions == "all"]
    chains = by_chain(found)
    rows = [
        ("path", f"{t.source}{ARROW}{t.through}", t.source, t.through, t.positions)
        for t in (*through, *summed)
    ]
    rows += [("chain", chain, *_ends(chain), "all") for chain in chains]
    labels = pd.DataFrame(rows, columns=["kind", "path", "source", "through", "positions"])
    values = [*(t.values for t in (*through, *summed)), *chains.values()]
    return _per_target(labels, torch.stack(values, -1))


def _ends(chain: str) -> tuple[str, str]:
    """A chain up to its last module, and that module's kind."""
    source, _, through = chain.rpartition(ARROW)
    return (source, through) if source else (chain, "logit")


def _per_target(labels: pd.DataFrame, values: Float[Tensor, "E R n"]) -> Block:
    """Every label once per target, and the columns in the same order."""
    every = pd.concat([labels.assign(target=target) for target in TARGETS], ignore_index=True)
    every = every[["target", *labels.columns]]
    return every, values.flatten(1).numpy()


def _summaries(blocks: Sequence[Block]) -> list[pd.DataFrame]:
    """Means with intervals of every block's columns, on each half; one bootstrap per half."""
    values = np.concatenate([columns for _, columns in blocks], 1)
    frames: list[list[pd.DataFrame]] = [[] for _ in blocks]
    for half, chosen in halves_and_all(len(values)).items():
        summary = np.stack(bootstrap_means(values[chosen]))
        ends = np.cumsum([len(labels) for labels, _ in blocks])[:-1]
        for frame, (labels, _), part in zip(
            frames, blocks, np.split(summary, ends, axis=1), strict=True
        ):
            numbers = dict(zip(("mean", "low", "high"), part, strict=True))
            frame.append(labels.assign(half=half, **numbers, count=len(chosen)))
    return [pd.concat(frame, ignore_index=True) for frame in frames]


def _ablations(seen: Seen, read: Readout, top: int, baseline: Baseline) -> pd.DataFrame:
    return comparison(*direct_and_ablated(seen, read, top, baseline))


def _identities(direct: DirectPaths, read: Readout, found: Sequence[Term]) -> pd.DataFrame:
    """How far sums of paths are from what they must sum to: the largest distance over events.

    ``direct`` paths and ``chains`` sum to the value, and the sources of all ``modules`` to the
    module's direct path.
    """
    distances = {"direct": direct.values.sum(-1) - read.whole}
    if found:
        modules = [
            value - direct.values[:, :, direct.names.index(name)]
            for name, value in through_modules(found).items()
        ]
        distances["modules"] = torch.stack(modules, -1).abs().amax(-1)
        distances["chains"] = sum(by_chain(found).values(), -read.whole)
    size = read.whole.abs().amax(0).tolist()
    return pd.concat(
        pd.DataFrame(
            {
                "identity": name,
                "target": TARGETS,
                "residual": distance.abs().amax(0).tolist(),
                "size": size,
                "count": len(distance),
            }
        )
        for name, distance in distances.items()
    )

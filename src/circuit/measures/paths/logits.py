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

from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import ALL, estimates
from circuit.experiments.edits import removal_sites
from circuit.measures.paths.direct import (
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
    PREDICTION,
    WHOLE,
    Term,
    second_order_sites,
    summed,
    terms,
)
from circuit.model.transformer import Decoder
from circuit.scalars.base import look
from circuit.scalars.write import Baseline
from circuit.statistics import bootstrap_means, halves_and_all
from circuit.task.events import ReadEvents

DIRECT, THROUGH, CHAIN, STAGED = "direct_path", "path_through_module", "chain", "stage_readout"
RESIDUAL, SIZE = "residual", "largest_value"
KEYS = (
    "target", "path", "kind", "source", "through", "positions", "stage", "scale", "chosen"
)  # fmt: skip


def path_logits(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    events: ReadEvents,
    value_ids: range,
    second_order: Collection[int],
    top: int,
    baseline: Baseline,
) -> pd.DataFrame:
    """Decompose the targets at every step.

    Args:
        second_order: steps, of ``steps``, that get paths through one module more and ablations.
        top: number of components to ablate, besides a control.
        baseline: what stands in for an ablated write.

    Returns:
        Estimates by ``target`` with the keys that apply, of

        - ``direct_path``: ``path``, ``kind``; ``whole`` is the model's own value, measured;
        - ``path_through_module``: ``source`` → ``through``; through a head with rows for the
          ``positions`` ``support_value``, ``elsewhere`` and their sum ``all``;
        - ``chain``: ``source`` and ``through`` of its last module;
        - ``stage_readout``: ``stage``, ``scale``;
        - what :func:`circuit.measures.paths.direct_effects.comparison` gives;
        - ``residual`` and ``largest_value``, exact: the largest distance over events of the sums
          that ``path`` names from what they must sum to, and the largest size of that.

    Raises:
        AnalysisError: there are fewer than two events, no second-order step is named, or one is no
            checkpoint.
    """
    missing = sorted(set(second_order) - set(steps))
    if missing or not second_order:
        raise AnalysisError(
            f"the run has no checkpoint at step {missing[0]:,}" if missing else "no step is named",
            where="second_order",
            expected=f"one of {', '.join(f'{step:,}' for step in steps)}, or final",
            do="name steps of checkpoints",
        )
    if len(events) < 2:
        raise AnalysisError(
            "one event is too few: one half chooses paths, the other confirms",
            where="path_logits",
            expected="at least two events",
            do="raise probes.programs_per_split of the benchmark",
        )
    layers = decoder.settings.n_layers
    parts = []
    for step in steps:
        deeper, found = step in second_order, []
        sites = second_order_sites(layers) | removal_sites(layers) if deeper else path_sites(layers)
        with torch.no_grad():
            seen = look(decoder, theta(step).double(), events, value_ids, sites)
            read = readout(seen)
            direct = direct_paths(seen, read)
            blocks = _direct_blocks(direct, read, stage_readout(seen, read))
            if deeper:
                found = terms(seen, read)
                blocks.append(_term_block(found))
                roles, measured = direct_and_ablated(seen, read, top, baseline)
        frames = _summary(blocks)
        if deeper:
            frames += [comparison(roles, part).assign(half=half) for half, part in measured.items()]
        frames.append(_identities(direct, read, found))
        parts += [frame.assign(step=step) for frame in frames]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.fillna(dict.fromkeys((*KEYS, "against"), ""))
    return estimates(rows[[*KEYS, *rows.columns.drop(list(KEYS))]], noun="events")


Block = tuple[pd.DataFrame, Float[np.ndarray, "E n"]]


def _direct_blocks(
    direct: DirectPaths, read: Readout, staged: dict[tuple[str, str], Tensor]
) -> list[Block]:
    paths = {"path": [*direct.names, WHOLE], "kind": [*direct.kinds, WHOLE], "measure": DIRECT}
    values = torch.cat([direct.values, read.whole[..., None]], -1)
    labels = pd.DataFrame(list(staged), columns=["stage", "scale"]).assign(measure=STAGED)
    return [
        _per_target(paths, values),
        _per_target(labels, torch.stack(list(staged.values()), -1)),
    ]


def _term_block(found: Sequence[Term]) -> Block:
    """Paths through one module more (direct ones are in another block), then chains."""
    through = [term for term in found if term.through != "logit"]
    attending = [term for term in through if term.positions != PREDICTION]
    rows = [(t.source, t.through, t.positions) for t in through]
    values = [t.values for t in through]
    for (source, module), value in summed(attending, attrgetter("source", "through")).items():
        rows.append((source, module, "all"))
        values.append(value)
    labelled = [(THROUGH, f"{row[0]}{ARROW}{row[1]}", *row) for row in rows]
    for chain, value in summed(found, attrgetter("chain")).items():
        # A chain up to its last module, and that module's kind.
        source, _, module = chain.rpartition(ARROW)
        labelled.append((CHAIN, chain, source or chain, module if source else "logit", "all"))
        values.append(value)
    labels = pd.DataFrame(labelled, columns=["measure", "path", "source", "through", "positions"])
    return _per_target(labels, torch.stack(values, -1))


def _per_target(labels: Any, values: Float[Tensor, "E R n"]) -> Block:
    """Every label once per target, and the columns in the same order."""
    every = pd.concat([pd.DataFrame(labels).assign(target=target) for target in TARGETS])
    return every, values.flatten(1).numpy()


def _summary(blocks: Sequence[Block]) -> list[pd.DataFrame]:
    """Means with intervals of every block's columns, on each half; one bootstrap per half."""
    labels = pd.concat([label for label, _ in blocks], ignore_index=True).assign(unit="logit")
    values = np.concatenate([columns for _, columns in blocks], 1)
    parts = []
    for half, chosen in halves_and_all(len(values)).items():
        mean, low, high = bootstrap_means(values[chosen])
        numbers = {"mean": mean, "low": low, "high": high, "count": len(chosen)}
        parts.append(labels.assign(half=half, **numbers))
    return parts


def _identities(direct: DirectPaths, read: Readout, found: Sequence[Term]) -> pd.DataFrame:
    """How far sums of paths are from what they must sum to: the largest distance over events.

    Direct paths and chains sum to the value, and the sources of every module to the module's direct
    path.
    """
    distances = {"direct paths": direct.values.sum(-1) - read.whole}
    if found:
        through = (term for term in found if term.through != "logit")
        modules = [
            value - direct.values[:, :, direct.names.index(name)]
            for name, value in summed(through, attrgetter("through")).items()
        ]
        distances["paths through modules"] = torch.stack(modules, -1).abs().amax(-1)
        distances["chains"] = sum(summed(found, attrgetter("chain")).values(), -read.whole)
    largest = {RESIDUAL: distances, SIZE: dict.fromkeys(distances, read.whole)}
    return pd.concat(
        pd.DataFrame({"measure": measure, "path": name, "target": TARGETS, "unit": "logit",
                      "half": ALL, "mean": values.abs().amax(0).tolist()})
        for measure, of in largest.items()
        for name, values in of.items()
    )  # fmt: skip

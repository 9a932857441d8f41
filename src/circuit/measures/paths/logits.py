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
    Term,
    by_chain,
    over_positions,
    second_order_sites,
    terms,
    through_modules,
)
from circuit.model.transformer import Decoder
from circuit.scalars.base import look
from circuit.scalars.write import Baseline
from circuit.statistics import bootstrap_means, halves_and_all
from circuit.task.events import ReadEvents

WHOLE = "whole"
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
    second_order: Iterable[int],
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
    deeper = set(second_order)
    _require(deeper, steps, len(events))
    parts = [
        _checkpoint(
            decoder, theta(step).double(), events, value_ids, step in deeper, top, baseline
        ).assign(step=step)
        for step in steps
    ]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.fillna(dict.fromkeys((*KEYS, "against"), ""))
    return estimates(rows[[*KEYS, *rows.columns.drop(list(KEYS))]], noun="events")


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
) -> pd.DataFrame:
    layers = decoder.settings.n_layers
    sites = second_order_sites(layers) | removal_sites(layers) if deeper else path_sites(layers)
    with torch.no_grad():
        seen = look(decoder, theta, events, value_ids, sites)
        read = readout(seen)
        direct = direct_paths(seen, read)
        found = terms(seen, read) if deeper else []
        staged = stage_readout(seen, read)
        roles, measured = direct_and_ablated(seen, read, top, baseline) if deeper else ({}, {})
    blocks = [_direct_block(direct, read), _stage_block(staged)]
    blocks += [_term_block(found)] if deeper else []
    compared = [comparison(roles, part).assign(half=half) for half, part in measured.items()]
    parts = [_summary(blocks), *compared, _identities(direct, read, found)]
    return pd.concat(parts, ignore_index=True)


Block = tuple[pd.DataFrame, Float[np.ndarray, "E n"]]


def _direct_block(direct: DirectPaths, read: Readout) -> Block:
    values = torch.cat([direct.values, read.whole[..., None]], -1)
    labels = pd.DataFrame({"path": [*direct.names, WHOLE], "kind": [*direct.kinds, WHOLE]})
    labels["measure"] = DIRECT
    return _per_target(labels, values)


def _stage_block(staged: dict[tuple[str, str], Tensor]) -> Block:
    labels = pd.DataFrame(list(staged), columns=["stage", "scale"]).assign(measure=STAGED)
    return _per_target(labels, torch.stack(list(staged.values()), -1))


def _term_block(found: Sequence[Term]) -> Block:
    """Paths through one module more (direct ones are in the other block), then chains."""
    through = [term for term in found if term.through != "logit"]
    summed = [t for t in over_positions(through) if t.positions == "all"]
    chains = by_chain(found)
    rows = [
        (THROUGH, f"{t.source}{ARROW}{t.through}", t.source, t.through, t.positions)
        for t in (*through, *summed)
    ]
    rows += [(CHAIN, chain, *_ends(chain), "all") for chain in chains]
    labels = pd.DataFrame(rows, columns=["measure", "path", "source", "through", "positions"])
    values = [*(t.values for t in (*through, *summed)), *chains.values()]
    return _per_target(labels, torch.stack(values, -1))


def _ends(chain: str) -> tuple[str, str]:
    """A chain up to its last module, and that module's kind."""
    source, _, through = chain.rpartition(ARROW)
    return (source, through) if source else (chain, "logit")


def _per_target(labels: pd.DataFrame, values: Float[Tensor, "E R n"]) -> Block:
    """Every label once per target, and the columns in the same order."""
    every = pd.concat([labels.assign(target=target) for target in TARGETS], ignore_index=True)
    return every, values.flatten(1).numpy()


def _summary(blocks: Sequence[Block]) -> pd.DataFrame:
    """Means with intervals of every block's columns, on each half; one bootstrap per half."""
    labels = pd.concat([label for label, _ in blocks], ignore_index=True).assign(unit="logit")
    values = np.concatenate([columns for _, columns in blocks], 1)
    parts = []
    for half, chosen in halves_and_all(len(values)).items():
        mean, low, high = bootstrap_means(values[chosen])
        numbers = {"mean": mean, "low": low, "high": high, "count": len(chosen)}
        parts.append(labels.assign(half=half, **numbers))
    return pd.concat(parts, ignore_index=True)


def _identities(direct: DirectPaths, read: Readout, found: Sequence[Term]) -> pd.DataFrame:
    """How far sums of paths are from what they must sum to: the largest distance over events.

    Direct paths and chains sum to the value, and the sources of every module to the module's direct
    path.
    """
    distances = {"direct paths": direct.values.sum(-1) - read.whole}
    if found:
        modules = [
            value - direct.values[:, :, direct.names.index(name)]
            for name, value in through_modules(found).items()
        ]
        distances["paths through modules"] = torch.stack(modules, -1).abs().amax(-1)
        distances["chains"] = sum(by_chain(found).values(), -read.whole)
    largest = {RESIDUAL: distances, SIZE: dict.fromkeys(distances, read.whole)}
    return pd.concat(
        pd.DataFrame({"measure": measure, "path": name, "target": TARGETS, "unit": "logit",
                      "half": ALL, "mean": values.abs().amax(0).tolist()})
        for measure, of in largest.items()
        for name, values in of.items()
    )  # fmt: skip

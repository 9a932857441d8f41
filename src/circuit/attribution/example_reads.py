"""Reads of several splits at several checkpoints: how they push on parameters and on each other.

1. One read of each of some programs per split is drawn, so no two reads share a program.
2. At every checkpoint the gradients of two *routes*, scalars measured on the probe events of
   another split, are taken; then all inner products of the reads' loss gradients with each other
   and with these (:mod:`circuit.attribution.example_gradients`), over the chosen groups alone.
3. A read *supports* the route with which its descent direction −∇L_i is better aligned: the larger
   of the cosines of −∇L_i with the two routes' gradients; ``neither`` where they are equal, as for
   a gradient of 0. Supporters are told apart by the gradients that are compared, so some likeness
   among them is by construction; ``cosine_outside_routes`` is without it.
4. Relations, conflicts and coherence follow (:mod:`circuit.attribution.gradient_relations`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from circuit.attribution.example_gradients import Products, gradient_products
from circuit.attribution.gradient_relations import (
    BETWEEN,
    RELATIONS,
    SHUFFLED,
    coherence_rows,
    conflict_rows,
    pair_matrices,
    relation_rows,
    support_rows,
)
from circuit.errors import AnalysisError
from circuit.estimates import estimates
from circuit.model.passes import Passes
from circuit.model.transformer import Decoder
from circuit.task.events import ReadEvents, read_events
from circuit.task.vocabulary import Vocabulary

READ_UNITS = {
    "step": "step",
    **dict.fromkeys(("read", "read_index"), "id"),
    **dict.fromkeys(("lag", "position"), "1"),
    "loss": "nat",
    "gradient_norm": "nat/parameter unit",
}


class ChosenReads(NamedTuple):
    """Reads as events, and what does not change about them: split, sample_id, read_index,
    query_key, answer_value, lag (writes since the support write), position (of the prediction).
    """

    events: ReadEvents
    labels: pd.DataFrame


class Examples(NamedTuple):
    """What the reads' gradients were at every checkpoint.

    ``rows`` and ``conflicts`` are estimates of :mod:`circuit.attribution.gradient_relations`, whose
    key ``pairs`` says how many pairs of the counted reads they average; ``reads``: one row per read
    and step; ``tensors``: ``gram_{step}`` [N, N] and ``along_{step}`` [N, 2], float64, in the order
    of ``reads``; ``backward`` counts backward passes.
    """

    rows: pd.DataFrame
    reads: pd.DataFrame
    conflicts: pd.DataFrame
    tensors: dict[str, Tensor]
    backward: int


def choose_reads(
    programs: Mapping[str, pd.DataFrame], vocabulary: Vocabulary, reads: int, seed: int
) -> ChosenReads:
    """Draw ``reads`` programs of every split, and one read of each.

    Raises:
        AnalysisError: a split has too few programs.
    """
    rng, parts = np.random.default_rng(seed), []
    for split, frame in programs.items():
        if len(frame) < reads:
            raise AnalysisError(
                what=f"split {split} has {len(frame):,} programs, fewer than {reads:,} reads",
                where="reads",
                expected="one program per read",
                do=f"lower reads to {len(frame):,}, or leave the split out",
            )
        drawn = np.sort(rng.choice(len(frame), reads, replace=False))
        # A counterfactual program has the name of its source.
        apart = split + "/" + frame["sample_id"].iloc[drawn]
        parts.append(frame.iloc[drawn].assign(sample_id=apart))
    every = read_events(pd.concat(parts, ignore_index=True), vocabulary)
    table = pd.DataFrame({"sample": every.sample_id, "place": range(len(every))})
    places = table.groupby("sample", sort=False)["place"].agg(["min", "size"])
    events = every.select(places["min"].to_numpy() + rng.integers(places["size"].to_numpy()))
    named = [name.split("/", 1) for name in events.sample_id]
    words = vocabulary.tokens
    splits, samples = zip(*named, strict=True)
    labels = {
        "split": splits,
        "sample_id": samples,
        "read_index": events.read_index.numpy(),
        "query_key": [words[token] for token in events.query_key_id.tolist()],
        "answer_value": [words[token] for token in events.answer.tolist()],
        "lag": events.writes_since_support.numpy(),
        "position": events.prediction.numpy(),
    }
    return ChosenReads(events, pd.DataFrame(labels))


def follow_reads(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Iterable[int],
    chosen: ChosenReads,
    names: Sequence[str],
    routes: Callable[[Float[Tensor, " P"]], Float[Tensor, "2 P"]],
    columns: Int[Tensor, " n"],
    memory_mb: int,
    seed: int,
    passes: Passes,
) -> Examples:
    """Measure the chosen reads at every step.

    Args:
        names, routes: the two routes, and their gradients at given parameters.
        columns, memory_mb: of :func:`gradient_products`.
        seed: of bootstraps and shuffles.
        passes: counts the reads' forward passes, each with its backward pass.
    """
    backward = 0
    frames: dict[str, list[pd.DataFrame]] = {"rows": [], "reads": [], "conflicts": []}
    tensors: dict[str, Tensor] = {}
    for step in tqdm(list(steps), desc="checkpoints", unit="checkpoint", mininterval=15):
        parameters = theta(step)
        directions, before = routes(parameters), passes.whole
        products = gradient_products(
            decoder, parameters, chosen.events, columns, directions, memory_mb, passes
        )
        backward += passes.whole - before + len(names)
        matrices = pair_matrices(products)
        reads, alignments = _describe(chosen.labels, products, names)
        conflicts = conflict_rows(matrices["cosine"], reads, seed)
        rows = [
            relation_rows(matrices, reads, seed),
            coherence_rows(matrices["product"], seed),
            support_rows(alignments, reads["route"], seed),
        ]
        rows.append(_counts(pd.concat(rows), conflicts, reads))
        frames["rows"].append(_estimates(pd.concat(rows), step))
        frames["conflicts"].append(_estimates(conflicts, step))
        reads.insert(0, "step", step)
        frames["reads"].append(reads)
        tensors |= {f"gram_{step}": products.gram, f"along_{step}": products.along}
    tables = {name: pd.concat(found, ignore_index=True) for name, found in frames.items()}
    return Examples(**tables, tensors=tensors, backward=backward)


def _counts(rows: pd.DataFrame, conflicts: pd.DataFrame, reads: pd.DataFrame) -> pd.DataFrame:
    """How many pairs of groups there are and oppose each other, and what too few reads tell."""
    edges = conflicts[conflicts["which"] == BETWEEN]
    found = [
        ("all", BETWEEN, "pairs_of_groups", len(edges)),
        ("all", BETWEEN, "opposed_groups", int((edges["high"] < 0).sum())),
    ]
    for name in RELATIONS:
        if name not in set(rows["relation"]):
            alike = int(reads[name].duplicated(keep=False).sum())
            found.append((name, "same", "reads_too_few", alike))
    counted = pd.DataFrame(found, columns=["relation", "which", "measure", "mean"])
    return counted.assign(unit="1", pairs=0)


def _estimates(rows: pd.DataFrame, step: int) -> pd.DataFrame:
    """Rows of one checkpoint as estimates; shuffled labels are the control of the difference."""
    shuffled = rows["which"] == "shuffled"
    rows = rows.rename(columns={"reads": "count"}).assign(
        which=rows["which"].mask(shuffled, "difference"),
        against=np.where(shuffled, SHUFFLED, ""),
    )
    if "measure" not in rows:
        rows = rows.assign(measure="cosine", unit="cosine")
    return estimates(rows, noun="reads", step=step)


def _describe(
    labels: pd.DataFrame, products: Products, names: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every read with what is true of it at this checkpoint, and its alignment with the routes."""
    norms = products.gram.diagonal().sqrt()
    scale = norms[:, None] * products.directions.diagonal().sqrt()
    cosine = torch.where(scale > 0, -products.along / scale, 0.0).clamp(-1, 1).numpy()
    alignments = pd.DataFrame(cosine, columns=list(names))
    first, second = cosine.T
    reads = labels.assign(
        correct=np.where(products.right.numpy(), "right", "wrong"),
        route=np.select([first > second, second > first], list(names), "neither"),
        loss=products.losses.numpy(),
        gradient_norm=norms.numpy(),
        **{f"alignment_{name}": alignments[name] for name in names},
    )
    reads.insert(0, "read", np.arange(len(reads)))
    return reads, alignments

"""Whether related reads push alike: means over pairs of reads, with intervals over reads.

1. Of the inner products G of N reads' gradients, four numbers per pair: ``product`` G_ij itself;
   ``cosine`` G_ij / sqrt(G_ii G_jj), 0 where a gradient is 0; ``opposed``, whether G_ij < 0; and
   ``cosine_outside_routes``, the cosine of what is left of the gradients without their parts in
   the span of the routes' gradients.
2. A *relation* is a column of the reads' labels. Unordered pairs i < j have it where both reads
   have the same label. Told are the mean over pairs that have it, over those that do not, and
   their *difference*; and the difference *net* of the other relations: relations go together (in
   a split of few key-value pairs, reads of one key share values), so all but ``route`` enter one
   least squares over pairs.
3. Pairs share reads and are no independent draws, so intervals resample reads
   (:mod:`circuit.attribution.pair_means`). Those of differences hold for all relations at once
   (:func:`circuit.statistics.simultaneous_interval`).
4. Control: the same difference with the labels shuffled over reads, its mean and 95% range.
5. *Conflict graph*: nodes are the groups of a relation, edges the mean cosine of a read of one with
   a read of the other; negative is conflict. Intervals hold for all edges of a relation at once.
6. *Coherence*: mean G_ij over pairs, over mean G_ii. The first estimates ‖E ∇L‖² without bias, the
   second E‖∇L‖², so it is 1 for gradients without noise and 0 for nothing but noise; with c for it,
   (1 − c) / c is the simple noise scale (McCandlish et al. 2018, arXiv:1812.06162), in reads.
   ``off_diagonal_share`` is the pairs' part of the sum of all G_ij: that of these N reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from circuit.attribution.example_gradients import Products
from circuit.attribution.pair_means import (
    Matrix,
    all_pairs,
    net_differences,
    off_diagonal,
    pairs_between,
    pairs_within,
    ratio,
    related,
    shuffled_differences,
    together,
)
from circuit.statistics import TINY, band, bootstrap_means, draws, interval_of_found, told

RELATIONS = ("query_key", "answer_value", "lag", "split", "correct", "route", "position")
"""Columns of labels; pairs with the same label are related. ``position`` shares form alone."""
MADE_ALIKE = "route"
"""The relation that gradients themselves define: it explains nothing about the others."""
MEASURES = {
    "cosine": "cosine",
    "cosine_outside_routes": "cosine",
    "opposed": "share",
    "product": "nat²/parameter unit²",
}
SHUFFLED = "shuffled labels"
WITHIN, BETWEEN = "within", "between"
FEWEST = 5
"""Reads that a group of the conflict graph, and each side of a relation, needs."""
SHUFFLES = 200
_COLUMNS = ["relation", "which", "measure", "unit", "mean", "low", "high", "pairs", "reads"]
_EDGES = ["relation", "which", "group", "other", "mean", "low", "high", "pairs", "reads"]


def pair_matrices(products: Products) -> dict[str, Matrix]:
    """The numbers of ``MEASURES`` of every pair of reads; the diagonals mean nothing."""
    gram, along = products.gram.numpy(), products.along.numpy()
    length = np.sqrt(products.directions.numpy().diagonal())
    unit = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    ways = products.directions.numpy() * unit[:, None] * unit
    inside = along * unit @ np.linalg.pinv(ways, hermitian=True) @ (along * unit).T
    return {
        "cosine": cosines(gram, gram.diagonal()),
        "cosine_outside_routes": cosines(gram - inside, gram.diagonal()),
        "opposed": (gram < 0).astype(np.float64),
        "product": gram,
    }


def cosines(gram: Matrix, whole: Float[np.ndarray, " N"]) -> Matrix:
    """Cosines of vectors from their inner products.

    ``whole`` are squared lengths of the vectors that these are parts of; a part of no length beside
    the whole is rounding, and has cosine 0 with all others.
    """
    square = gram.diagonal()
    there = square > TINY * whole
    scale = np.where(there, 1 / np.sqrt(np.where(there, square, 1)), 0)
    found: Matrix = (gram * scale[:, None] * scale).clip(-1, 1)
    return found


def relation_rows(
    matrices: Mapping[str, Matrix], labels: pd.DataFrame, seed: int = 0
) -> pd.DataFrame:
    """Every relation under every measure: same, different, difference, its control, net of others.

    Columns: relation, which (``all``; ``same``, ``different``, ``shuffled``, ``difference``,
    ``net``), measure, unit, mean, low, high, pairs, reads. A relation, a column of the reads'
    labels, is left out unless ``FEWEST`` reads share their label with another one, and as many lie
    outside the largest group.
    """
    n, drawn = len(labels), draws(len(labels), seed)
    whole = n * (n - 1) // 2
    codes = {name: labels[name].factorize(sort=True)[0] for name in RELATIONS if name in labels}
    codes = {name: code for name, code in codes.items() if _comparable(code)}
    explaining = [name for name in codes if name != MADE_ALIKE]
    rows: list[tuple[object, ...]] = []
    for measure, full in matrices.items():
        matrix = off_diagonal(full)
        every = all_pairs(matrix, drawn)
        found: list[tuple[str, str, Iterable[object], int, int]]
        found = [("all", "all", told(ratio(*every), interval_of_found), whole, n)]
        within = {name: pairs_within(matrix, code, drawn) for name, code in codes.items()}
        differences = []
        for name, code in codes.items():
            sizes = np.bincount(code)
            same, shared = int((sizes * (sizes - 1)).sum()) // 2, int(sizes[sizes > 1].sum())
            inside, outside = related(within[name], every)
            control = shuffled_differences(matrix, code, SHUFFLES, seed)
            found += [
                (name, "same", told(inside, interval_of_found), same, shared),
                (name, "different", told(outside, interval_of_found), whole - same, n),
                (name, "shuffled", band(control), whole, n),
            ]
            differences.append(inside - outside)
        net = net_differences(
            [codes[name] for name in explaining],
            [within[name] for name in explaining],
            every,
            drawn,
        )
        for which, names, values in (
            ("difference", list(codes), differences),
            ("net", explaining, list(net.T)),
        ):
            if names:
                numbers = together(np.stack(values, 1)).T
                named = zip(names, numbers, strict=True)
                found += [(name, which, one, whole, n) for name, one in named]
        rows += [
            (relation, which, measure, MEASURES[measure], *numbers, pairs, reads)
            for relation, which, numbers, pairs, reads in found
        ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def conflict_rows(cosine: Matrix, labels: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Edges of the conflict graphs of all relations but ``position``.

    Columns: relation, which (``within`` a group or ``between`` two), group, other, mean, low, high,
    pairs, reads (of both groups). Groups of fewer than ``FEWEST`` reads are left out.
    """
    frames = []
    for name in RELATIONS:
        sizes = labels[name].value_counts()
        kept = labels[name].isin(sizes.index[sizes >= FEWEST]).to_numpy()
        if name == "position" or not kept.any():
            continue
        codes, groups = labels.loc[kept, name].factorize(sort=True)
        matrix = off_diagonal(cosine[np.ix_(kept, kept)])
        drawn = pairs_between(matrix, codes, draws(len(matrix), seed))
        first, second = np.triu_indices(len(groups))
        mean, low, high = together(ratio(*(part[:, first, second] for part in drawn)))
        members, within = np.bincount(codes), first == second
        pairs = drawn.weights[0, first, second] / np.where(within, 2, 1)
        edges = {
            "relation": name,
            "which": np.where(within, WITHIN, BETWEEN),
            "group": groups[first].astype(str),
            "other": groups[second].astype(str),
            "mean": mean,
            "low": low,
            "high": high,
            "pairs": pairs.astype(np.int64),
            "reads": np.where(within, members[first], members[first] + members[second]),
        }
        frames.append(pd.DataFrame(edges))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=_EDGES)


def coherence_rows(gram: Matrix, seed: int = 0) -> pd.DataFrame:
    """How much of the gradients the reads have in common (see the module), with intervals."""
    n = len(gram)
    drawn = draws(n, seed)
    common = ratio(*all_pairs(off_diagonal(gram), drawn))
    single = drawn @ gram.diagonal() / n
    # Of the reads as they are, what a resample weighs: n single reads and n (n − 1) pairs.
    off = common * (n - 1)
    numbers = {
        "coherence": ratio(common, single),
        "off_diagonal_share": ratio(off, off + single),
    }
    pairs = n * (n - 1) // 2
    rows = [("all", "all", name, "share", *told(v), pairs, n) for name, v in numbers.items()]
    return pd.DataFrame(rows, columns=_COLUMNS)


def support_rows(alignments: pd.DataFrame, supports: pd.Series, seed: int = 0) -> pd.DataFrame:
    """How the reads lie to every route: mean alignment, and the share that supports it.

    Args:
        alignments: one column per route, the cosine of every read's −∇L with the route's gradient.
        supports: the route that every read supports.
    """
    routes = list(alignments)
    columns = [*(alignments[route] for route in routes), *(supports == route for route in routes)]
    values = np.stack(columns, 1)
    yes_or_no = np.repeat([False, True], len(routes))
    means = iter(np.stack(bootstrap_means(values, seed, yes_or_no), 1))
    rows = [
        ("route", route, measure, unit, *next(means), 0, len(values))
        for measure, unit in (("alignment", "cosine"), ("supporters", "share"))
        for route in routes
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _comparable(codes: Int[np.ndarray, " N"]) -> bool:
    sizes = np.bincount(codes)
    return bool(sizes[sizes > 1].sum() >= FEWEST and len(codes) - sizes.max() >= FEWEST)

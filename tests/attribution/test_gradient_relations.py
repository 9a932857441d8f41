"""Means over pairs of reads: against loops, on gradients made by hand, and where nothing is."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from circuit.attribution.example_gradients import Products
from circuit.attribution.gradient_relations import (
    FEWEST,
    MEASURES,
    RELATIONS,
    coherence_rows,
    conflict_rows,
    pair_matrices,
    relation_rows,
    support_rows,
)
from circuit.attribution.pair_means import (
    all_pairs,
    net_differences,
    off_diagonal,
    pairs_between,
    pairs_within,
    related,
    shuffled_differences,
)
from circuit.statistics import draws, occurrences


def products_of(gradients, routes=None):
    """Products of hand-made gradients [N, P] with each other and with routes [D, P]."""
    gradients = torch.as_tensor(gradients, dtype=torch.float64)
    routes = torch.zeros(2, gradients.shape[1]) if routes is None else torch.as_tensor(routes)
    routes = routes.double()
    n = len(gradients)
    return Products(
        gradients @ gradients.T,
        gradients @ routes.T,
        routes @ routes.T,
        torch.ones(n, dtype=torch.float64),
        torch.ones(n, dtype=torch.bool),
    )


def labels_of(**columns):
    """Labels in which all relations that are not given are the same for all reads."""
    n = len(next(iter(columns.values())))
    return pd.DataFrame({name: columns.get(name, ["-"] * n) for name in RELATIONS})


def cosine_rows(gradients, labels, which="difference"):
    matrix = {"cosine": pair_matrices(products_of(gradients))["cosine"]}
    rows = relation_rows(matrix, labels)
    return rows[rows["which"] == which].set_index("relation")


def counted(n, seed):
    """Resamples as whole occurrences, the observations first."""
    return np.vstack([np.ones(n), occurrences(n, seed)])


@pytest.fixture(scope="module")
def drawn_matrix():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((9, 9))
    return matrix + matrix.T, np.array([0, 2, 1, 0, 2, 2, 1, 0, 0])


def test_a_resample_is_the_mean_over_its_pairs_of_different_reads(drawn_matrix):
    matrix, codes = drawn_matrix
    drawn, plain = counted(9, 4), off_diagonal(matrix)
    found = related(pairs_within(plain, codes, drawn), all_pairs(plain, drawn))
    between = pairs_between(plain, codes, drawn)
    for row in (0, 1, 2, 500):
        reads = np.repeat(np.arange(9), drawn[row].astype(int))
        pairs = [(i, j) for i, j in itertools.combinations(reads, 2) if i != j]
        for same in (True, False):
            chosen = [matrix[i, j] for i, j in pairs if (codes[i] == codes[j]) == same]
            assert found[0 if same else 1, row] == pytest.approx(np.mean(chosen), rel=1e-12)
        for a, b in itertools.combinations_with_replacement(range(3), 2):
            chosen = [matrix[i, j] for i, j in pairs if {codes[i], codes[j]} == {a, b}]
            if chosen:
                one = between.sums[row, a, b] / between.weights[row, a, b]
                assert one == pytest.approx(np.mean(chosen), rel=1e-12)


def test_net_differences_are_least_squares_over_pairs(drawn_matrix):
    matrix, codes = drawn_matrix
    other = np.array([0, 0, 1, 1, 0, 1, 0, 1, 1])
    drawn, plain = counted(9, 4), off_diagonal(matrix)
    within = [pairs_within(plain, c, drawn) for c in (codes, other)]
    found = net_differences([codes, other], within, all_pairs(plain, drawn), drawn)
    first, second = np.triu_indices(9, 1)
    for row in (0, 3):
        weight = np.sqrt(drawn[row, first] * drawn[row, second])
        design = np.stack([codes[first] == codes[second], other[first] == other[second]], 1)
        design = np.concatenate([design, np.ones((len(first), 1))], 1) * weight[:, None]
        expected = np.linalg.lstsq(design, matrix[first, second] * weight, rcond=None)[0]
        np.testing.assert_allclose(found[row], expected[:2], rtol=1e-8)


def test_shuffles_are_differences_of_permuted_labels(drawn_matrix):
    matrix, codes = drawn_matrix
    found = shuffled_differences(off_diagonal(matrix), codes, 5, seed=8)
    order = np.random.default_rng(8).permuted(np.tile(np.arange(9), (5, 1)), axis=1)
    for number in range(5):
        permuted = np.empty(9, dtype=int)
        permuted[order[number]] = np.sort(codes)  # as many of each label
        same = permuted[:, None] == permuted
        off = ~np.eye(9, dtype=bool)
        expected = matrix[same & off].mean() - matrix[~same].mean()
        assert found[number] == pytest.approx(expected, rel=1e-12)


def test_reads_with_nothing_in_common_have_cosine_0_and_equal_reads_1():
    keys = np.repeat(["K00", "K01", "K02"], 8)
    gradients = np.eye(3)[np.repeat([0, 1, 2], 8)] * np.linspace(1, 5, 24)[:, None]
    labels = labels_of(query_key=keys)
    same, different = (cosine_rows(gradients, labels, w) for w in ("same", "different"))
    for rows, value in ((same, 1.0), (different, 0.0)):
        assert rows.loc["query_key", ["mean", "low", "high"]].tolist() == [value] * 3
    assert same.loc["query_key", ["pairs", "reads"]].tolist() == [3 * 28, 24]
    assert different.loc["query_key", ["pairs", "reads"]].tolist() == [3 * 64, 24]
    edges = conflict_rows(pair_matrices(products_of(gradients))["cosine"], labels)
    edges = edges[edges["relation"] == "query_key"].set_index(["group", "other"])["mean"]
    assert edges["K00", "K00"] == 1
    assert edges["K00", "K02"] == 0


def test_groups_that_undo_each_other_are_in_conflict():
    rng = np.random.default_rng(1)
    key = np.arange(40) % 2
    towards = np.where(key == 0, 1.0, -1.0)[:, None] * np.eye(6)[0]
    gradients = towards + 0.3 * rng.standard_normal((40, 6))
    labels = labels_of(query_key=np.array(["K00", "K01"])[key])
    edges = conflict_rows(pair_matrices(products_of(gradients))["cosine"], labels)
    edges = edges[edges["relation"] == "query_key"].set_index(["group", "other"])
    assert edges.loc[("K00", "K01"), "high"] < -0.3
    assert edges.loc[("K00", "K00"), "low"] > 0.3
    assert edges.loc[("K00", "K01"), ["pairs", "reads"]].tolist() == [400, 40]
    rows = relation_rows(pair_matrices(products_of(gradients)), labels)
    opposed = rows[(rows["measure"] == "opposed") & (rows["relation"] == "query_key")]
    share = opposed.set_index("which")["mean"]
    assert share["different"] > 0.8
    assert share["same"] < 0.2


def test_what_a_relation_owes_to_another_one_is_not_net():
    """Values alone push alike, but reads of one key often share their value."""
    rng = np.random.default_rng(2)
    value = rng.integers(8, size=240)
    key = np.where(rng.random(240) < 0.8, value % 4, rng.integers(4, size=240))
    gradients = np.eye(20)[value] + 0.2 * rng.standard_normal((240, 20))
    labels = labels_of(query_key=key, answer_value=value)
    plain, net = (cosine_rows(gradients, labels, w) for w in ("difference", "net"))
    assert plain.loc["query_key", "low"] > 0.1
    assert net.loc["query_key", "low"] < 0 < net.loc["query_key", "high"]
    assert net.loc["answer_value", "low"] > 0.3
    assert "route" not in net.index


@pytest.mark.parametrize("seed", range(3))
def test_labels_without_meaning_show_nothing_beyond_the_interval(seed):
    """Gradients with a strong common part and of many lengths, labels drawn apart from them."""
    rng = np.random.default_rng(seed)
    gradients = rng.standard_normal((120, 30)) + rng.standard_normal(30)
    gradients *= rng.exponential(size=(120, 1))
    labels = pd.DataFrame({name: rng.integers(4, size=120) for name in RELATIONS})
    rows = relation_rows(pair_matrices(products_of(gradients)), labels)
    told = rows[rows["which"].isin(["difference", "net"])]
    assert len(told) == len(MEASURES) * (2 * len(RELATIONS) - 1)
    assert (told["low"] <= 0).all()
    assert (told["high"] >= 0).all()
    at = rows.set_index(["measure", "relation", "which"])
    beyond = 0
    for measure, name in itertools.product(MEASURES, RELATIONS):
        control, found = at.loc[(measure, name, "shuffled")], at.loc[(measure, name, "difference")]
        beyond += not control["low"] <= found["mean"] <= control["high"]
    assert beyond <= 5  # of 28, where 5% may be


def test_intervals_hold_as_often_as_they_say():
    """Over many draws of reads from one population whose mean cosine is known."""
    rng, held = np.random.default_rng(3), 0
    centre = np.eye(8)[0]

    def drawn(n):
        vectors = centre + 0.8 * rng.standard_normal((n, 8))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    truth = float((drawn(200_000).mean(0) ** 2).sum())
    for _ in range(60):
        matrix = off_diagonal(pair_matrices(products_of(drawn(60)))["cosine"])
        sums = all_pairs(matrix, draws(60, 0))
        low, high = np.quantile((sums.sums / sums.weights)[1:], [0.025, 0.975])
        held += low <= truth <= high
    assert 52 <= held <= 60


def test_coherence_is_the_share_of_the_common_gradient():
    rng = np.random.default_rng(4)
    common, noise, n = 2.0, 0.5, 400
    gradients = common * np.eye(50)[0] + noise * rng.standard_normal((n, 50))
    gram = gradients @ gradients.T
    rows = coherence_rows(gram).set_index("measure")
    expected = common**2 / (common**2 + 50 * noise**2)
    assert rows.loc["coherence", "low"] < expected < rows.loc["coherence", "high"]
    off = gram.sum() - np.trace(gram)
    assert rows.loc["off_diagonal_share", "mean"] == pytest.approx(off / gram.sum(), rel=1e-12)
    nothing = coherence_rows((g := rng.standard_normal((n, 50))) @ g.T).set_index("measure")
    assert nothing.loc["coherence", "low"] < 0 < nothing.loc["coherence", "high"]


def test_outside_the_routes_nothing_of_them_is_left():
    rng = np.random.default_rng(5)
    routes = rng.standard_normal((2, 12))
    inside = rng.standard_normal((30, 2)) @ routes
    left = pair_matrices(products_of(inside, routes))["cosine_outside_routes"]
    np.testing.assert_array_equal(left, 0)
    rest = rng.standard_normal((30, 12))
    rest -= rest @ np.linalg.pinv(routes) @ routes
    for scale in (1.0, 1e6):  # routes of very different units
        scaled = routes * np.array([[1.0], [scale]])
        found = pair_matrices(products_of(inside + rest, scaled))["cosine_outside_routes"]
        np.testing.assert_allclose(found, pair_matrices(products_of(rest))["cosine"], atol=1e-9)


def test_a_read_without_gradient_has_cosine_0_with_all():
    gradients = np.vstack([np.zeros(4), np.ones((3, 4))])
    cosine = pair_matrices(products_of(gradients))["cosine"]
    assert (cosine[0, 1:] == 0).all()
    assert cosine[1, 2] == pytest.approx(1)


def test_support_counts_reads():
    alignments = pd.DataFrame({"looking": [0.5, -0.1, 0.2], "copying": [0.1, 0.3, 0.0]})
    supports = pd.Series(["looking", "copying", "looking"])
    rows = support_rows(alignments, supports).set_index(["which", "measure"])
    assert rows.loc[("looking", "alignment"), "mean"] == pytest.approx(0.2)
    assert rows.loc[("looking", "supporters"), "mean"] == pytest.approx(2 / 3)
    assert rows.loc[("copying", "supporters"), "unit"] == "share"
    assert (rows["reads"] == 3).all()


def test_what_too_few_reads_could_tell_is_left_out():
    rng = np.random.default_rng(6)
    wrong = np.array(["right"] * 26 + ["wrong"] * (FEWEST - 1))
    labels = labels_of(correct=wrong, lag=np.arange(30) % 2, answer_value=np.arange(30))
    rows = relation_rows(pair_matrices(products_of(rng.standard_normal((30, 9)))), labels)
    assert set(rows["relation"]) == {"all", "lag"}
    edges = conflict_rows(rng.standard_normal((30, 30)), labels)
    told = edges[edges["relation"] == "correct"]
    assert told[["group", "other"]].to_numpy().tolist() == [["right", "right"]]
    assert "answer_value" not in set(edges["relation"])
    assert "position" not in set(edges["relation"])

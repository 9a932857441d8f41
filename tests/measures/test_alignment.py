"""Subspaces and what varies along them, against SciPy, NumPy and finite differences."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from circuit.errors import AnalysisError
from circuit.measures.states.alignment import Form, axes, derivatives, overlap, random_subspaces
from circuit.scalars.subspace import head_bases

N, WIDTH, RANK, GROUPS, PROGRAMS = 150, 8, 3, 6, 30


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(5)
    codes = np.arange(N) % GROUPS
    scale = np.linspace(2.0, 0.3, WIDTH)
    states = (rng.standard_normal((GROUPS, WIDTH))[codes] + rng.standard_normal((N, WIDTH))) * scale
    return states, codes, rng.integers(PROGRAMS, size=N)


def scatters(states, codes, weights):
    """Total and between-group scatter matrices of weighted states, by loops."""
    mean = weights @ states / weights.sum()
    total = sum(w * np.outer(x - mean, x - mean) for w, x in zip(weights, states, strict=True))
    between = np.zeros((WIDTH, WIDTH))
    for group in range(GROUPS):
        chosen = codes == group
        of_group = weights[chosen] @ states[chosen] / weights[chosen].sum()
        between += weights[chosen].sum() * np.outer(of_group - mean, of_group - mean)
    return total, between


def forms(states, codes):
    centred = torch.from_numpy(states - states.mean(0))
    means = torch.stack([centred[codes == g].mean(0) for g in range(GROUPS)])
    return Form(centred, None), Form(centred, centred - means[codes])


def by_hand(matrix, basis, k):
    """Share of variance inside, and the overlap by SciPy's principal angles."""
    top = np.linalg.eigh(matrix)[1][:, ::-1][:, :k]
    share = np.trace(basis.T @ matrix @ basis) / np.trace(matrix)
    return np.array([share, np.mean(np.cos(subspace_angles(basis, top)) ** 2)])


@pytest.mark.parametrize(("r", "k"), [(1, 1), (3, 3), (4, 2), (2, 5)])
def test_overlap_is_the_mean_squared_cosine_of_scipys_principal_angles(r, k):
    a, b = random_subspaces(2, WIDTH, max(r, k), 1)
    a, b = a[:, :r], b[:, :k]
    expected = np.mean(np.cos(subspace_angles(a.numpy(), b.numpy())) ** 2)
    assert float(overlap(a, b)) == pytest.approx(expected, rel=1e-10)
    assert float(overlap(a, a)) == pytest.approx(1)


def test_the_forms_are_the_scatter_matrices(world):
    states, codes, _ = world
    for form, matrix in zip(forms(states, codes), scatters(states, codes, np.ones(N)), strict=True):
        np.testing.assert_allclose(form.matrix.numpy(), matrix, atol=1e-10)
        assert float(form.squares.sum()) == pytest.approx(np.trace(matrix))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_measures_are_those_of_scatter_matrices(world, which, k):
    states, codes, _ = world
    matrix = scatters(states, codes, np.ones(N))[which]
    found = axes(forms(states, codes)[which].matrix[None], k)
    for basis in random_subspaces(4, WIDTH, RANK, 2):
        np.testing.assert_allclose(
            found.measures(basis[None])[0].numpy(), by_hand(matrix, basis.numpy(), k), rtol=1e-9
        )


def test_shares_of_complements_sum_to_1_and_the_top_axes_hold_most(world):
    states, codes, _ = world
    found = axes(forms(states, codes)[0].matrix[None], RANK)
    whole = random_subspaces(1, WIDTH, WIDTH, 3)
    inside, outside = (
        found.measures(part)[0, 0] for part in (whole[..., :RANK], whole[..., RANK:])
    )
    assert float(inside + outside) == pytest.approx(1, rel=1e-12)
    best = found.measures(found.top)[0]
    assert float(best[1]) == pytest.approx(1)
    assert float(best[0]) > float(inside)


def test_random_subspaces_are_expected_to_hold_r_of_d(world):
    states, codes, _ = world
    many = random_subspaces(4000, WIDTH, RANK, 4)
    eye = torch.eye(RANK, dtype=torch.float64)
    torch.testing.assert_close(many.transpose(1, 2) @ many, eye.expand(4000, -1, -1))
    found = axes(forms(states, codes)[1].matrix[None], 2).measures(many).numpy()
    np.testing.assert_allclose(found.mean(0), RANK / WIDTH, rtol=0.03)


@pytest.mark.parametrize("which", [0, 1])
def test_derivatives_are_those_by_weights(world, which):
    states, codes, program = world
    basis = random_subspaces(1, WIDTH, RANK, 6)[0]
    form = forms(states, codes)[which]
    found = derivatives(form, axes(form.matrix[None], 2), basis).numpy()
    step = 1e-5
    for p in (0, 3, 17):
        ends = [
            by_hand(scatters(states, codes, 1.0 + sign * (program == p))[which], basis.numpy(), 2)
            for sign in (step, -step)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(found[program == p].sum(0), slope, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found.sum(0), 0, atol=1e-10)


def test_head_bases_are_singular_vectors_of_the_heads_maps(planted):
    layer, head = 1, 2
    found = head_bases(planted.views, (layer, head), 3)
    w = planted.views[f"layer_{layer}.attn.W_QKV"][:, head].numpy()
    maps = w[0].T @ w[1], w[2].T @ planted.views[f"layer_{layer}.attn.W_O"][head].numpy()
    sides = ("head_qk_query", "head_qk_key"), ("head_ov_input", "head_ov_output")
    for matrix, names in zip(maps, sides, strict=True):
        u, s, vh = np.linalg.svd(matrix)
        for name, expected in zip(names, (u[:, :3], vh[:3].T), strict=True):
            assert found[name].shape == (64, 3)
            assert np.mean(np.cos(subspace_angles(found[name].numpy(), expected)) ** 2) > 1 - 1e-9
        left, right = (found[name].numpy() for name in names)
        np.testing.assert_allclose(left.T @ matrix @ right, np.diag(s[:3]), atol=1e-8)


@pytest.mark.parametrize("k", [0, WIDTH + 1])
def test_axes_that_are_not_there_are_refused(k):
    with pytest.raises(AnalysisError, match=f"{k} principal axes cannot be kept"):
        axes(torch.eye(WIDTH, dtype=torch.float64)[None], k)

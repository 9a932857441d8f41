import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuit.errors import AnalysisError
from circuit.scalars.truncation import Frame, continued, project, top_frame, truncate


def matrix_of(singular_values, rows=7, columns=5, seed=0):
    """A float64 matrix with these singular values and random directions."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
        for n in (rows, columns)
    )
    r = len(singular_values)
    return left[:, :r] @ torch.diag(torch.tensor(singular_values).double()) @ right[:, :r].T


def by_svd(matrix, rank):
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] @ torch.diag(s[:rank]) @ vh[:rank]


def gradient_of(function, matrix, rank, weights):
    matrix = matrix.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((function(matrix, rank) * weights).sum(), matrix)
    return gradient


def weights_like(matrix, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(matrix.shape, generator=generator, dtype=torch.float64)


shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))


@given(shapes, st.data())
def test_the_gradient_is_right_by_finite_differences(shape, data):
    """Tall, wide and square, at every rank."""
    rows, columns, seed = shape
    rank = data.draw(st.integers(1, min(rows, columns)))
    spectrum = [2.0**-i for i in range(min(rows, columns))]
    matrix = matrix_of(spectrum, rows, columns, seed).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: truncate(m, rank), (matrix,), eps=1e-7, atol=1e-5)


@given(shapes, st.data())
def test_value_and_gradient_are_those_of_autograd_through_the_svd(shape, data):
    """Where singular values are well apart; that gradient divides by all their gaps."""
    rows, columns, seed = shape
    rank = data.draw(st.integers(1, min(rows, columns)))
    matrix = matrix_of([3.0 - 0.4 * i for i in range(min(rows, columns))], rows, columns, seed)
    weights = weights_like(matrix)
    torch.testing.assert_close(truncate(matrix, rank), by_svd(matrix, rank), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        gradient_of(truncate, matrix, rank, weights),
        gradient_of(by_svd, matrix, rank, weights),
        rtol=1e-8,
        atol=1e-10,
    )


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_it_is_the_best_approximation(rank):
    """Its error is the dropped singular values (Eckart & Young), found by NumPy."""
    matrix = matrix_of([5.0, 3.0, 2.0, 1.0, 0.5])
    kept = truncate(matrix, rank)
    assert np.linalg.matrix_rank(kept.numpy(), tol=1e-10) == rank
    dropped = np.linalg.svd((matrix - kept).numpy(), compute_uv=False)
    expected = [5.0, 3.0, 2.0, 1.0, 0.5][rank:] + [0.0] * rank
    np.testing.assert_allclose(np.sort(dropped), np.sort(expected), atol=1e-12)


@pytest.mark.parametrize("spectrum", [[2, 2, 1, 0.5, 0.1], [3, 2, 2, 0.5, 0.5], [1, 1, 1, 0.2, 0]])
def test_equal_singular_values_on_one_side_of_the_cut_do_no_harm(spectrum):
    """Autograd through the SVD divides by their gap; the truncation does not depend on it."""
    rank = 2 if spectrum[0] == spectrum[1] != spectrum[2] else 3
    matrix = matrix_of(spectrum)
    weights = weights_like(matrix)
    gradient = gradient_of(truncate, matrix, rank, weights)
    step = 1e-6 * weights_like(matrix, seed=8)
    # The differential is its own adjoint, so a finite difference also checks the gradient.
    moved = (truncate(matrix + step, rank) - truncate(matrix - step, rank)) * weights
    assert float((gradient * step).sum() * 2) == pytest.approx(float(moved.sum()), rel=1e-6)


def test_nearly_equal_singular_values_across_the_cut_have_the_large_gradient_they_should():
    matrix = matrix_of([2.0, 1.0 + 1e-5, 1.0, 0.5, 0.1])
    gradient = gradient_of(truncate, matrix, 2, weights_like(matrix))
    step = 1e-9 * weights_like(matrix, seed=8)
    moved = (truncate(matrix + step, 2) - truncate(matrix - step, 2)) * weights_like(matrix)
    assert float((gradient * step).sum() * 2) == pytest.approx(float(moved.sum()), rel=1e-3)
    assert gradient.norm() > 1e4


@pytest.mark.parametrize(
    ("function", "what", "values"),
    [
        (truncate, "truncation to rank 2", "singular values"),
        (project, "projection onto 2 directions", "eigenvalues"),
    ],
)
def test_cutting_between_equal_values_has_no_gradient(function, what, values):
    matrix = torch.diag(torch.tensor([2.0, 1.0, 1.0, 0.5])).double().requires_grad_()
    kept = function(matrix, 2)
    assert torch.isfinite(kept).all()
    with pytest.raises(AnalysisError) as caught:
        kept.sum().backward()
    assert str(caught.value) == (
        f"{what} has no gradient: {values} 2 and 3 are equal — where: a matrix with {values} 1 and "
        "1 at the cut — expected: a gap between the last value kept and the first one dropped — "
        "what to do: choose another rank"
    )


@pytest.mark.parametrize("rank", [0, 6, -1])
def test_a_rank_the_matrix_does_not_have_is_refused(rank):
    with pytest.raises(AnalysisError) as caught:
        truncate(torch.ones(7, 5), rank)
    assert str(caught.value) == (
        f"a matrix cannot be truncated to rank {rank} — where: a 7 by 5 matrix — expected: 1 to 5 "
        "— what to do: choose another rank"
    )


def test_the_whole_rank_passes_the_gradient_unchanged():
    matrix = matrix_of([5.0, 3.0, 2.0, 1.0, 0.5])
    weights = weights_like(matrix)
    torch.testing.assert_close(
        gradient_of(truncate, matrix, 5, weights), weights, rtol=0, atol=1e-12
    )


def test_a_second_derivative_is_refused_rather_than_wrong():
    matrix = matrix_of([5.0, 3.0, 2.0, 1.0, 0.5]).requires_grad_()
    (gradient,) = torch.autograd.grad((truncate(matrix, 2) ** 2).sum(), matrix, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


# --- Directions that are not the top ones, and projectors -----------------------------------------


def frame_of(matrix, columns):
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    return Frame(u[:, columns], vh[columns].T)


@pytest.mark.parametrize("columns", [[1], [0, 2], [2, 4], [0, 1, 3, 4]])
@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (5, 5)])
def test_any_set_of_directions_is_kept_with_its_gradient(shape, columns):
    matrix = matrix_of([5.0, 3.0, 2.0, 1.0, 0.5], *shape)
    frame = frame_of(matrix, columns)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    expected = u[:, columns] @ torch.diag(s[columns]) @ vh[columns]
    near = matrix + 1e-2 * weights_like(matrix)  # the frame is only what directions are told by
    rank = len(columns)
    torch.testing.assert_close(truncate(matrix, rank, frame), expected, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda m: truncate(m, rank, frame), (near.requires_grad_(),), eps=1e-7, atol=1e-5
    )


def test_the_continued_directions_are_the_top_ones_until_values_cross_at_the_cut():
    before, after = matrix_of([5.0, 3.0, 2.0, 1.0, 0.5]), matrix_of([5.0, 2.0, 3.0, 1.0, 0.5])
    within = matrix_of([3.0, 5.0, 2.0, 0.5, 1.0])  # crossings on either side of the cut are none
    for rank, moved, same in ((2, after, False), (2, within, True), (3, after, True)):
        on, top = continued(moved, top_frame(before, rank))
        assert torch.equal(on.left, top.left) == same
        assert torch.equal(top.left, top_frame(moved, rank).left)
        kept_before = top_frame(before, rank)
        for now, then in zip(on, kept_before, strict=True):
            torch.testing.assert_close(now @ now.T, then @ then.T, rtol=0, atol=1e-12)


@given(st.integers(2, 6), st.integers(0, 99), st.data())
def test_a_projector_keeps_the_top_eigenvectors_with_its_gradient(size, seed, data):
    """Against NumPy, and by finite differences through the Gram matrix it is of."""
    rank = data.draw(st.integers(1, size))
    rows = matrix_of([2.0**-i for i in range(size)], size + 2, size, seed)
    gram = rows.T @ rows
    vectors = np.linalg.eigh(gram.numpy())[1][:, ::-1][:, :rank]
    found = project(gram, rank)
    np.testing.assert_allclose(found.numpy(), vectors @ vectors.T, atol=1e-9)
    np.testing.assert_allclose((found @ found).numpy(), found.numpy(), atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda m: project(m.T @ m, rank), (rows.requires_grad_(),), eps=1e-8, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("columns", [[1], [0, 2], [1, 2, 3]])
def test_a_projector_onto_any_eigenvectors_has_its_gradient(columns):
    rows = matrix_of([2.5, 2.0, 1.5, 1.0, 0.5])
    gram = rows.T @ rows
    frame = Frame(*(frame_of(gram, columns).right for _ in range(2)))
    expected = frame.left @ frame.left.T
    torch.testing.assert_close(project(gram, len(columns), frame), expected, rtol=0, atol=1e-12)
    near = (rows + 1e-2 * weights_like(rows)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m: project(m.T @ m, len(columns), frame), (near,), eps=1e-7, atol=1e-5
    )


def test_equal_eigenvalues_on_one_side_of_the_cut_do_no_harm():
    rows = matrix_of([2.0, 2.0, 1.0, 0.5, 0.5]).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: project(m.T @ m, 2), (rows,), eps=1e-7, atol=1e-5)


def test_all_directions_are_the_identity_and_have_no_gradient():
    matrix = (matrix_of([5.0, 3.0], 2, 2) ** 2).requires_grad_()
    kept = project(matrix @ matrix.T, 2)
    torch.testing.assert_close(kept, torch.eye(2, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(kept.sum(), matrix)
    assert gradient.abs().max() < 1e-12

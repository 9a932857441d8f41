"""Separability of groups against loops, scikit-learn and finite differences, in float64."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from circuit.measures.states.scatter import (
    MEASURES,
    Groups,
    group_means,
    program_columns,
    shuffles,
)

N, WIDTH, GROUPS, PROGRAMS, DRAWS = 240, 6, 5, 60, 3
SHRINKAGE = 0.02


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(3)
    codes = rng.integers(GROUPS, size=N)
    codes[:GROUPS] = range(GROUPS)
    centres = rng.standard_normal((GROUPS, WIDTH))
    mixed = np.eye(WIDTH) + 0.3 * rng.standard_normal((WIDTH, WIDTH))
    states = centres[codes] + rng.standard_normal((N, WIDTH)) @ mixed
    program = np.sort(rng.integers(PROGRAMS, size=N))
    shuffled = np.stack([rng.permutation(codes) for _ in range(DRAWS)])
    return torch.from_numpy(states), grouped(codes, "abcde", torch.from_numpy(program), shuffled)


def by_hand(states, codes, weights):
    """Share, ratio and mean pairwise distance of weighted states, by loops."""
    total = weights @ ((states - weights @ states / weights.sum()) ** 2).sum(1)
    within, means = 0.0, []
    for group in range(codes.max() + 1):
        chosen = codes == group
        mean = weights[chosen] @ states[chosen] / weights[chosen].sum()
        within += weights[chosen] @ ((states[chosen] - mean) ** 2).sum(1)
        means.append(mean)
    spread = np.sqrt(within / weights.sum())
    distances = [np.linalg.norm(a - b) / spread for a, b in combinations(means, 2)]
    return np.array([1 - within / total, (total - within) / within, np.mean(distances)])


def grouped(codes, names, program, shuffled):
    """Groups of states with known codes."""
    codes, shuffled = torch.from_numpy(codes), torch.from_numpy(shuffled)
    return Groups(codes, tuple(names), program, int(program.max()) + 1, shuffled)


def measured(states, groups, codes=None):
    codes = groups.codes[None] if codes is None else codes
    return groups.measures(states[None], codes, SHRINKAGE).numpy()


def test_total_scatter_is_between_plus_within(world):
    states, groups = world
    found = group_means(states[None], groups.codes[None], GROUPS)
    centre = states.mean(0)
    between = sum(
        float(n * m.square().sum()) for n, m in zip(found.sizes[0], found.means[0], strict=True)
    )
    within = sum(
        float((states[groups.codes == g] - states[groups.codes == g].mean(0)).square().sum())
        for g in range(GROUPS)
    )
    total = float((states - centre).square().sum())
    assert between + within == pytest.approx(total, rel=1e-13)
    assert float(found.within) == pytest.approx(within, rel=1e-12)
    assert float(found.between) == pytest.approx(between, rel=1e-13)
    assert float(found.total) == pytest.approx(total, rel=1e-13)


def test_measures_are_those_of_loops(world):
    states, groups = world
    found = measured(states, groups)[0]
    expected = by_hand(states.numpy(), groups.codes.numpy(), np.ones(N))
    np.testing.assert_allclose(found[:3], expected, rtol=1e-10)


def test_the_probe_is_linear_discriminant_analysis(world):
    """With next to no shrinkage, and groups of one size, so that priors and pooling are equal."""
    states, _ = world
    y = np.arange(N) % GROUPS
    program = torch.arange(N) // GROUPS
    x = states.numpy() + np.random.default_rng(8).standard_normal((GROUPS, WIDTH))[y]
    groups = grouped(y, "abcde", program, y[None])
    even = groups.fits.numpy()
    guesses = LinearDiscriminantAnalysis("lsqr").fit(x[even], y[even]).predict(x[~even])
    hits = groups.hits(torch.from_numpy(x)[None], groups.codes[None], 1e-12)
    np.testing.assert_array_equal(hits[0].numpy(), guesses == y[~even])
    assert 0.3 < hits.double().mean() < 0.9


def test_shrinkage_adds_to_the_covariance_in_every_direction(world):
    states, groups = world
    x, y, even = states.numpy(), groups.codes.numpy(), groups.fits.numpy()
    means = np.stack([x[even & (y == g)].mean(0) for g in range(GROUPS)])
    rest = x[even] - means[y[even]]
    centred = x[even] - x[even].mean(0)
    metric = rest.T @ rest + 0.5 * (centred**2).sum() / WIDTH * np.eye(WIDTH)
    apart = x[~even][:, None] - means[None]
    near = np.einsum("ngd,de,nge->ng", apart, np.linalg.inv(metric), apart).argmin(1)
    hits = groups.hits(states[None], groups.codes[None], 0.5)[0].numpy()
    np.testing.assert_array_equal(hits, near == y[~even])


def test_a_group_that_no_even_program_has_is_never_guessed(world):
    states, groups = world
    codes = groups.codes.clone()
    rare = torch.nonzero(~groups.fits)[:3, 0]
    codes[codes == 4] = 0
    codes[rare] = 4
    hits = groups.hits(states[None], codes[None], SHRINKAGE)[0]
    assert not hits[codes[~groups.fits] == 4].any()
    assert hits.any()


def test_many_groupings_and_many_sets_of_states_are_each_as_if_alone(world):
    states, groups = world
    together = measured(states, groups, groups.shuffled)
    for draw, codes in enumerate(groups.shuffled):
        np.testing.assert_allclose(together[draw], measured(states, groups, codes[None])[0])
    many = torch.stack([states, states.flip(1) * 2, states[:, :1].expand(-1, WIDTH) + states])
    together = groups.measures(many, groups.codes[None], SHRINKAGE).numpy()
    for found, each in zip(together, many, strict=True):
        np.testing.assert_allclose(found, measured(each, groups)[0], rtol=1e-9)


def test_scale_and_rotation_change_nothing(world):
    states, groups = world
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, dtype=torch.float64)).Q
    moved = 3 * states @ turn + 5
    np.testing.assert_allclose(measured(moved, groups), measured(states, groups), rtol=1e-9)


def test_columns_of_programs_have_the_measures_as_means(world):
    states, groups = world
    columns = program_columns(states, groups, SHRINKAGE)
    assert columns.shape == (PROGRAMS, len(MEASURES))
    np.testing.assert_allclose(columns.mean(0), measured(states, groups)[0], rtol=1e-9)


def test_columns_are_derivatives_by_the_programs_weights(world):
    states, groups = world
    x, y, program = (t.numpy() for t in (states, groups.codes, groups.program))
    columns = program_columns(states, groups, SHRINKAGE)
    value, step = by_hand(x, y, np.ones(N)), 1e-5
    for p in (0, 7, 31, PROGRAMS - 1):
        up, down = (by_hand(x, y, 1.0 + sign * (program == p)) for sign in (step, -step))
        slope = (up - down) / (2 * step)
        np.testing.assert_allclose(columns[p, :3] - value, PROGRAMS * slope, rtol=1e-5, atol=1e-7)


def test_intervals_cover_the_noise_of_new_samples():
    """The linear interval's width is that of the measure over fresh draws of programs."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 5))

    def draw():
        codes = np.concatenate([np.arange(4), rng.integers(4, size=396)])
        states = torch.from_numpy(centres[codes] + rng.standard_normal((400, 5)))
        program = torch.arange(400) // 4
        return states, grouped(codes, "abcd", program, codes[None])

    samples = [draw() for _ in range(150)]
    spread = np.std([measured(*sample)[0] for sample in samples], axis=0)
    states, groups = samples[0]
    told = program_columns(states, groups, SHRINKAGE).std(0) / np.sqrt(100)
    np.testing.assert_allclose(told, spread, rtol=0.3)


def test_shuffled_labels_have_the_share_that_chance_gives():
    """(G − 1) / (N − 1) in expectation, which is why every share has its control beside it."""
    rng = np.random.default_rng(1)
    n, n_groups = 120, 20
    codes = np.arange(n) % n_groups
    drawn = shuffles(codes, np.zeros(n, int), np.arange(n), 200, rng)
    program = torch.arange(n) // 3
    groups = grouped(codes, map(str, range(n_groups)), program, drawn)
    states = torch.from_numpy(rng.standard_normal((n, 3)))
    shares = measured(states, groups, groups.shuffled)[:, 0]
    assert shares.mean() == pytest.approx((n_groups - 1) / (n - 1), rel=0.05)


def test_shuffles_stay_within_strata_and_keep_units_together():
    rng = np.random.default_rng(2)
    of_unit, stratum = rng.integers(6, size=50), rng.integers(3, size=50)
    units = np.concatenate([np.arange(50), rng.integers(50, size=40)])
    codes, strata = of_unit[units], stratum[units]
    drawn = shuffles(codes, strata, units * 7, 30, rng)
    assert drawn.shape == (30, 90)
    for draw in drawn:
        for unit in range(50):
            assert len(set(draw[units == unit])) == 1
        for s in range(3):
            first = np.flatnonzero(stratum == s)
            np.testing.assert_array_equal(np.sort(draw[first]), np.sort(of_unit[first]))
    assert len({draw.tobytes() for draw in drawn}) == 30


def test_states_that_are_all_the_same_are_in_no_group():
    codes = torch.arange(12) % 3
    groups = Groups(codes, tuple("abc"), torch.arange(12) // 3, 4, codes[None])
    found = measured(torch.ones(12, 4, dtype=torch.float64), groups)[0]
    assert found[0] == 0
    assert np.isfinite(found).all()

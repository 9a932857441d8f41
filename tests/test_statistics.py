import numpy as np
import pytest
from scipy import stats

from circuit.statistics import (
    LEVEL,
    RESAMPLES,
    band,
    bootstrap_mean,
    bootstrap_means,
    correlations,
    draws,
    grouped_means,
    grouped_resamples,
    halves,
    halves_and_all,
    interval,
    interval_of_found,
    resamples,
    shuffled,
    simultaneous_interval,
    told,
)


def normal(n, k=1, seed=0):
    return np.random.default_rng(seed).normal(2.0, 3.0, size=(n, k))


def factor(n):
    """How far resamples are drawn out: to Student's interval, from the normal one of n − 1 in n."""
    return np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975)


@pytest.mark.parametrize("n", [3, 4, 5, 8, 20, 60])
def test_the_interval_covers_the_true_mean_as_often_as_it_says_for_few_units_too(n):
    """4000 experiments: 95% cover the mean, and one in forty finds noise above it."""
    _, low, high = bootstrap_means(normal(n, 4000))
    assert 0.93 < ((low < 2.0) & (high > 2.0)).mean() < 0.97
    assert (low > 2.0).mean() < 0.035
    assert LEVEL == 0.95


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_units_have_no_interval(n):
    data = normal(n, 3)
    mean, low, high = bootstrap_means(data) if n else (None, *interval(resamples(0, 0)[:, :1]))
    assert np.isnan([low, high]).all()
    if n:
        np.testing.assert_allclose(mean, data.mean(0))
        observations = grouped_means(np.ones((6, 1)), np.arange(6) % n, 9)
        assert [float(number[0]) for number in observations] == pytest.approx(
            [1.0, np.nan, np.nan], nan_ok=True
        )


@pytest.mark.parametrize(("hits", "n"), [(96, 96), (0, 10), (1, 10), (95, 96), (48, 96), (3, 3)])
def test_a_share_has_the_exact_interval(hits, n):
    """SciPy's Clopper-Pearson; 96 of 96 leave 96.2% possible, 0 of 10 leave 30.8%."""
    values = (np.arange(n) < hits).astype(float)
    exact = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    found = bootstrap_mean(values, share=True)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    alone = grouped_means(values[:, None], np.arange(n), n, shares=True)
    assert alone[1] <= exact.low + 0.02
    assert alone[2] >= exact.high - 0.02


@pytest.mark.parametrize(("share", "alike"), [(0.9, 0.5), (0.98, 0.5), (0.5, 0.9)])
@pytest.mark.parametrize("groups", [4, 10, 40])
def test_shares_of_clustered_reads_are_covered(share, alike, groups):
    """Five reads a program that agree more than chance; 400 experiments, never short of 93%."""
    covered, of = 0, np.repeat(np.arange(groups), 5)
    for seed in range(400):
        rng = np.random.default_rng(seed)
        spread = 1 / alike - 1
        own = rng.beta(share * spread, (1 - share) * spread, groups)
        yes = (rng.random(len(of)) < own[of]).astype(float)[:, None]
        _, low, high = grouped_means(yes, of, groups, shares=True)
        covered += low[0] <= share <= high[0]
    assert covered / 400 >= 0.93


def test_reads_that_agree_within_programs_widen_a_share():
    of = np.repeat(np.arange(20), 5)
    yes = (of % 2 == 0).astype(float)[:, None]
    _, low, high = grouped_means(yes, of, 20, shares=True)
    _, apart_low, apart_high = grouped_means(yes, np.arange(100), 100, shares=True)
    assert high - low > 1.8 * (apart_high - apart_low)
    exact = stats.binomtest(20, 20).proportion_ci(0.95, "exact")
    assert grouped_means(np.ones((100, 1)), of, 20, shares=True)[1][0] == pytest.approx(exact.low)


def test_the_intervals_width_is_the_normal_theorys():
    data = normal(500)
    found = bootstrap_mean(data[:, 0])
    expected = 2 * 1.96 * data.std() / np.sqrt(500)
    assert found.high - found.low == pytest.approx(expected, rel=0.1)
    assert found.low < found.mean < found.high
    assert (found.mean, found.count) == (pytest.approx(data.mean(), rel=1e-12), 500)


def test_it_is_the_quantiles_of_means_of_rows_drawn_with_replacement():
    """The slow way, with another generator: equal up to the number of resamples."""
    data = np.random.default_rng(1).exponential(size=40)
    drawn = np.random.default_rng(2).choice(data, size=(20_000, 40)).mean(1)
    found = bootstrap_mean(data)
    spread = drawn.std()
    assert found.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.2 * spread)
    assert found.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.2 * spread)
    assert RESAMPLES >= 1000


@pytest.mark.parametrize(("n", "k"), [(3, 1), (7, 3), (40, 2)])
def test_it_is_the_quantiles_of_its_own_draws_taken_row_by_row(n, k):
    """What counting must give: every resample takes n rows by number and means them."""
    data = normal(n, k, seed=n)
    numbers = np.random.default_rng(9).integers(n, size=(RESAMPLES, n))
    means = np.array([data[row].mean(0) for row in numbers])
    means = data.mean(0) + factor(n) * (means - data.mean(0))
    mean, low, high = bootstrap_means(data, seed=9)
    np.testing.assert_allclose(mean, data.mean(0), rtol=1e-12)
    np.testing.assert_allclose(low, np.quantile(means, 0.025, axis=0), rtol=1e-9)
    np.testing.assert_allclose(high, np.quantile(means, 0.975, axis=0), rtol=1e-9)


def test_the_same_data_have_the_same_interval_and_another_seed_nearly_so():
    data = normal(50)[:, 0]
    first = bootstrap_mean(data)
    np.random.default_rng().normal()
    assert bootstrap_mean(data) == first == bootstrap_mean(data.copy(), seed=0)
    other = bootstrap_mean(data, seed=1)
    assert other != first
    assert other.low == pytest.approx(first.low, abs=0.1 * data.std())


def test_columns_are_resampled_together():
    """So a column and its negative have mirrored intervals, and a difference keeps its own."""
    data = normal(30, 2)
    data[:, 1] = -data[:, 0]
    mean, low, high = bootstrap_means(data)
    assert mean[1] == pytest.approx(-mean[0])
    assert low[1] == pytest.approx(-high[0])
    assert high[1] == pytest.approx(-low[0])


def test_each_column_is_what_it_is_alone():
    data = normal(25, 3)
    together = np.stack(bootstrap_means(data), 1)
    for column, found in zip(data.T, together, strict=True):
        alone = bootstrap_mean(column)
        assert found.tolist() == pytest.approx([alone.mean, alone.low, alone.high], rel=1e-12)


def test_constant_data_have_no_spread_and_integers_are_taken_as_numbers():
    found = bootstrap_mean(np.array([3, 3, 3, 3]))
    assert (found.low, found.high) == pytest.approx((3.0, 3.0), rel=1e-15 * 4)
    assert isinstance(found.mean, float)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 96])
def test_halves_are_the_even_and_the_odd_events_and_every_event_is_in_one(count):
    choosing, confirming = halves(count)
    assert choosing.tolist() == [n for n in range(count) if n % 2 == 0]
    assert confirming.tolist() == [n for n in range(count) if n % 2 == 1]
    assert sorted([*choosing, *confirming]) == list(range(count))


def test_grouped_means_are_those_of_groups_drawn_one_by_one():
    """Groups come whole, the empty one too, and a draw without observations has no mean."""
    values, groups = normal(7, 2), np.array([0, 0, 1, 3, 3, 3, 4])
    numbers = np.random.default_rng(4).integers(5, size=(RESAMPLES, 5))
    drawn = [np.concatenate([np.flatnonzero(groups == g) for g in row]) for row in numbers]
    mean, expected = values.mean(0), [values[rows].mean(0) for rows in drawn if len(rows)]
    expected = mean + factor(4) * (np.array(expected) - mean)
    np.testing.assert_allclose(grouped_resamples(values, groups, 5, seed=4), expected, rtol=1e-12)
    rare = grouped_resamples(values[:1], groups[2:3], 5, seed=4)
    assert len(rare) == sum(1 in row for row in numbers) < RESAMPLES
    assert np.isnan(rare).all()


def test_groups_of_one_are_the_ordinary_bootstrap():
    data = normal(30, 3)
    _, low, high = bootstrap_means(data, seed=2)
    found = interval(grouped_resamples(data, np.arange(30), 30, seed=2))
    np.testing.assert_allclose(found, [low, high], rtol=1e-12)


def test_simultaneous_intervals_hold_all_means_at_once():
    """300 experiments of 12 means: all inside 95% of the time, one by one far more seldom."""
    together = alone = 0
    for seed in range(300):
        data = normal(80, 12, seed)
        drawn = grouped_resamples(data, np.arange(80), 80, seed)
        low, high = simultaneous_interval(data.mean(0), drawn)
        together += ((low <= 2.0) & (high >= 2.0)).all()
        low, high = interval(drawn)
        alone += ((low <= 2.0) & (high >= 2.0)).all()
    assert 0.9 < together / 300 < 0.985
    assert alone / 300 < 0.7


def test_a_number_that_nothing_changes_has_no_width_and_widens_no_other():
    data = normal(50, 2)
    drawn = grouped_resamples(data, np.arange(50), 50)
    alone = simultaneous_interval(data.mean(0), drawn)
    third = np.full((len(drawn), 1), 1 / 3) + 1e-17 * np.arange(len(drawn))[:, None]
    low, high = simultaneous_interval(
        np.append(data.mean(0), 1 / 3), np.concatenate([drawn, third], axis=1)
    )
    np.testing.assert_array_equal([low[:2], high[:2]], alone)
    assert low[2] == high[2] == 1 / 3
    constant = simultaneous_interval(np.array([1 / 3]), third)
    np.testing.assert_array_equal(constant, [[1 / 3], [1 / 3]])


def test_correlations_are_numpys_row_by_row():
    x, y = normal(6, 40), normal(6, 40, seed=1) + normal(6, 40)
    expected = [np.corrcoef(*rows)[0, 1] for rows in zip(x, y, strict=True)]
    np.testing.assert_allclose(correlations(x, y), expected, rtol=1e-12)
    assert np.isnan(correlations(x[:, :3], y[:, :3])).all()
    y[2] = 1.5
    assert np.isnan(correlations(x, y)).tolist() == [False, False, True, False, False, False]


def test_parts_of_the_events_have_names():
    parts = {name: numbers.tolist() for name, numbers in halves_and_all(5).items()}
    assert parts == {"selection": [0, 2, 4], "confirmation": [1, 3], "all": [0, 1, 2, 3, 4]}


def test_draws_begin_with_the_observations_as_they_are_and_give_the_intervals_of_means():
    data = normal(12, 2)
    counts = draws(12, 5)
    assert (counts[0] == 1).all()
    np.testing.assert_array_equal(counts[1:], resamples(12, 5))
    np.testing.assert_allclose(told(counts @ data / 12), bootstrap_means(data, 5), rtol=1e-12)


def test_resamples_without_a_number_are_left_out_only_where_asked():
    drawn = normal(400, 3)
    drawn[5:300, 1] = np.nan
    drawn[1:, 2] = np.nan
    value, low, high = told(drawn, interval_of_found)
    np.testing.assert_array_equal(value, drawn[0])
    for number, of in ((0, drawn[1:, 0]), (1, np.r_[drawn[1:5, 1], drawn[300:, 1]])):
        assert (low[number], high[number]) == interval(of)
        alone = told(drawn[:, number], interval_of_found)
        assert alone == (value[number], low[number], high[number])
    assert np.isnan([low[2], high[2]]).all()
    assert np.isnan(told(drawn)[1]).tolist() == [False, True, True]


def test_a_control_shows_its_mean_and_the_interval_of_its_draws():
    data = normal(100, 2)
    mean, low, high = band(data)
    np.testing.assert_allclose(mean, data.mean(0))
    np.testing.assert_array_equal([low, high], interval(data))


def test_shuffled_values_are_the_same_ones_in_orders_that_differ():
    values = np.arange(20)
    orders = shuffled(values, 50, 3)
    assert (np.sort(orders, 1) == values).all()
    assert len(np.unique(orders, axis=0)) == 50
    np.testing.assert_array_equal(orders, shuffled(values, 50, 3))

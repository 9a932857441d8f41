"""Direct attribution against ablation: the same removal, measured by itself and with all it did."""

import numpy as np
import pytest
import torch
from path_models import whole_pass

from circuit.experiments.edits import Removed, components
from circuit.experiments.trial import Trial
from circuit.measures.paths.direct import TARGETS, direct_paths
from circuit.measures.paths.direct_effects import (
    EVERY,
    MEASURES,
    TOGETHER,
    DirectAndAblated,
    comparison,
    direct_and_ablated,
    direct_attribution,
)
from circuit.scalars.behaviour import answer_logits

ROLES = {"L0H0": "top", "L1H1": "top", "L0MLP": "bottom"}


@pytest.fixture(scope="module")
def watched(planted, planted_events):
    events = planted_events.select(torch.arange(40)).crop()
    return whole_pass(planted.decoder, planted.flat, events, planted.vocabulary)


def test_with_zero_in_its_place_a_write_is_its_direct_path(watched):
    seen, read = watched
    direct = direct_paths(seen, read)
    at = {name: direct.values[..., i] for i, name in enumerate(direct.names)}
    names = components(seen.decoder.settings)
    found = direct_attribution(seen, read, names, "zero")
    for i, name in enumerate(names):
        biased = at["L0.b_out"] if name == "L0MLP" else at["L1.b_out"]
        expected = at[name] + biased if name.endswith("MLP") else at[name]
        torch.testing.assert_close(found[..., i], expected, rtol=1e-10, atol=1e-12)


def test_components_are_ordered_on_one_half_and_measured_on_the_other(watched):
    seen, read = watched
    roles, halves = direct_and_ablated(seen, read, 2, "mean")
    measured = halves["confirmation"]
    names, margin = list(roles), TARGETS.index("value_margin")
    assert sorted(names) == sorted(components(seen.decoder.settings))
    assert list(roles.values()) == ["top"] * 2 + [""] * (len(names) - 3) + ["bottom"]
    direct = direct_attribution(seen, read, names, "mean").numpy()
    size = np.abs(direct[::2, margin].mean(0))
    assert (np.diff(size) <= 0).all()
    np.testing.assert_array_equal(measured.direct, direct[1::2])
    ((_, _, ablated),) = Trial(seen).passes({names[0]: Removed(names[0], "mean")})
    left = read.targets.values(answer_logits(ablated))
    np.testing.assert_allclose(measured.effect[..., 0], (read.whole - left)[1::2], rtol=1e-10)


def made_up(n=60):
    rng = np.random.default_rng(0)
    direct = rng.standard_normal((n, len(TARGETS), len(ROLES))) + np.array([3.0, 0.2, 0.0])
    effect = 0.5 * direct + rng.standard_normal(direct.shape)
    return DirectAndAblated(direct, effect)


def test_agreement_and_correlation_are_those_of_numpy():
    measured = made_up()
    rows = comparison(ROLES, measured)
    rows = rows.set_index(["target", "path", "measure", "against"]).sort_index()
    for r, target in enumerate(TARGETS):
        for c, name in enumerate(ROLES):
            x, y = measured.direct[:, r, c], measured.effect[:, r, c]
            at = rows.loc[target, name]["mean"]
            assert at["ablation_effect", "direct_attribution"] == pytest.approx(x.mean())
            assert at["ablation_effect", ""] == pytest.approx(y.mean())
            assert at["ablation_effect", "excess"] == pytest.approx((y - x).mean())
            assert at["correlation", ""] == pytest.approx(np.corrcoef(x, y)[0, 1])
            same = (np.sign(x) == np.sign(y)).mean()
            assert at["sign_agreement", ""] == pytest.approx(same)
        means = measured.direct[:, r].mean(0), measured.effect[:, r].mean(0)
        assert len(ROLES) < 4, "three components have no correlation; no row says there is one"
        for together in (EVERY, TOGETHER):
            assert (target, together, "correlation", "") not in rows.index
        assert len(means[0]) == len(ROLES)
    assert set(rows["count"]) == {60}
    assert set(rows.index.unique("measure")) == set(MEASURES)


def test_unrelated_measures_have_an_interval_around_no_correlation():
    measured = made_up(200)
    effect = np.random.default_rng(1).permutation(measured.effect)
    rows = comparison(ROLES, measured._replace(effect=effect))
    over_events = rows[(rows["measure"] == "correlation") & ~rows["path"].isin([EVERY, TOGETHER])]
    assert ((over_events["low"] < 0.1) & (over_events["high"] > -0.1)).all()


def test_what_does_not_vary_has_no_correlation_and_no_row():
    measured = made_up()
    measured.effect[..., 1] = 0.0
    rows = comparison(ROLES, measured)
    of = rows[rows["measure"] == "correlation"]["path"]
    assert "L1H1" not in set(of)
    assert {"L0H0", "L0MLP"} <= set(of)

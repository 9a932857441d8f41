"""Singular values of weights: NumPy's in float64, the planted heads', and untrained ones'."""

import numpy as np
import pytest
import scipy.linalg
import torch

from circuit.config.recipe import ModelSettings
from circuit.errors import AnalysisError
from circuit.measures.weights.spectra import (
    MATRICES,
    component_names,
    decompose,
    effective_rank,
    rotation,
    spectral_mass,
)
from circuit.measures.weights.svd import MEASURES, UNTRAINED, weight_svd
from circuit.model.transformer import Decoder

SETTINGS = ModelSettings(n_layers=2, n_heads=3, d_model=24, d_ff=40, context=8)
DECODER = Decoder(SETTINGS, 12)
TOP = 3


def drawn(seed, settings=SETTINGS):
    flat = torch.randn(DECODER.layout.size, generator=torch.Generator().manual_seed(seed))
    return flat.double()


def by_hand(flat):
    """Every matrix in NumPy, in residual coordinates: name → component → array."""
    views = {name: view.numpy() for name, view in DECODER.layout.views(flat).items()}
    found = {name: {} for name in MATRICES}
    for layer in range(SETTINGS.n_layers):
        at = f"layer_{layer}"
        for head in range(SETTINGS.n_heads):
            q, k, v = (views[f"{at}.attn.W_QKV"][i, head].T for i in range(3))
            o = views[f"{at}.attn.W_O"][head]
            name = f"L{layer}H{head}"
            for matrix, value in zip(MATRICES[:6], (q, k, v, o, q @ k.T, v @ o), strict=True):
                found[matrix][name] = value
        found["W_in"][f"L{layer}MLP"] = views[f"{at}.mlp.W_in"].T
        found["W_out"][f"L{layer}MLP"] = views[f"{at}.mlp.W_out"]
    return found


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_decomposition_is_numpys(matrix):
    flat = drawn(0)
    svd = decompose(DECODER.layout.views(flat), SETTINGS)[matrix]
    expected = by_hand(flat)[matrix]
    assert component_names(SETTINGS, matrix) == list(expected)
    for i, value in enumerate(expected.values()):
        singular = np.linalg.svd(value, compute_uv=False)
        rank = len(svd.values[i])
        np.testing.assert_allclose(svd.values[i], singular[:rank], rtol=0, atol=1e-12 * singular[0])
        assert (singular[rank:] < 1e-12 * singular[0]).all()
        left, values, right = (part[i].numpy() for part in (svd.left, svd.values, svd.right))
        np.testing.assert_allclose(left * values @ right.T, value, rtol=0, atol=1e-11)
        np.testing.assert_allclose(svd.matrix[i], value, rtol=0, atol=1e-12)
        for side in (left, right):
            np.testing.assert_allclose(side.T @ side, np.eye(rank), rtol=0, atol=1e-12)


def test_effective_rank_and_mass_of_known_spectra():
    values = torch.tensor([[2.0, 2.0, 2.0, 2.0], [3.0, 0.0, 0.0, 0.0], [2.0, 1.0, 0.0, 0.0]])
    assert effective_rank(values).tolist() == pytest.approx([4, 1, 9 / 5])
    assert effective_rank(7 * values).tolist() == pytest.approx([4, 1, 9 / 5])
    assert spectral_mass(values, 1).tolist() == pytest.approx([0.25, 1, 0.8])
    assert spectral_mass(values, 4).tolist() == pytest.approx([1, 1, 1])


def test_rotation_is_the_mean_principal_angle():
    generator = torch.Generator().manual_seed(0)
    one, other = (
        torch.linalg.qr(torch.randn(5, 20, 6, generator=generator, dtype=torch.float64)).Q
        for _ in range(2)
    )
    angles = [
        np.rad2deg(scipy.linalg.subspace_angles(a[:, :TOP], b[:, :TOP])).mean()
        for a, b in zip(one.numpy(), other.numpy(), strict=True)
    ]
    np.testing.assert_allclose(rotation(one, other, TOP), angles, rtol=1e-10)


@pytest.mark.parametrize("degrees", [1e-6, 0.01, 20.0, 70.0, 90.0])
def test_a_known_turn_of_one_direction_is_shared_by_all_of_them(degrees):
    """Also a tiny one, whose cosine is 1 in float64."""
    angle = np.deg2rad(degrees)
    turned = torch.eye(6, dtype=torch.float64)
    turned[0, 0] = turned[3, 3] = np.cos(angle)
    turned[3, 0], turned[0, 3] = np.sin(angle), -np.sin(angle)
    found = rotation(torch.eye(6, dtype=torch.float64)[None], turned[None], 3)
    assert found.item() == pytest.approx(degrees / 3, rel=1e-6)


def test_signs_and_order_of_singular_vectors_do_not_turn_a_subspace():
    q = torch.linalg.qr(drawn(1)[: 20 * 6].view(20, 6)).Q
    swapped = q[:, [2, 0, 1, 3, 4, 5]] * torch.tensor([-1, 1, -1, 1, 1, 1])
    assert rotation(q[None], swapped[None], 3).item() == pytest.approx(0, abs=1e-6)


def exact(rows):
    """Every measure of every matrix, without controls and what is derived from ranks."""
    return rows[
        (rows["against"] == "") & rows["measure"].isin(MEASURES) & (rows["component"] != "")
    ]


@pytest.fixture(scope="module")
def measured():
    """Three checkpoints of random weights."""
    states = {0: drawn(0), 10: drawn(1), 40: drawn(2)}
    rows, spectra = weight_svd(DECODER, states.__getitem__, list(states), TOP, 4, 0)
    return states, rows, spectra


def test_every_matrix_has_every_measure_at_every_checkpoint(measured):
    _, every, spectra = measured
    rows = exact(every)
    per_step = rows.groupby("step").size()
    matrices = 2 * 3 * 6 + 2 * 2
    assert per_step.to_dict() == {
        0: matrices * (len(MEASURES) - 4),  # nothing to compare the first one with
        10: matrices * len(MEASURES),
        40: matrices * len(MEASURES),
    }
    assert not rows.duplicated(["step", "component", "matrix", "measure"]).any()
    squared = rows[rows["unit"] == "parameter unit²"]
    assert set(squared["matrix"]) == {"W_QK", "W_OV"}
    assert set(squared["measure"]) == {"frobenius_norm", "spectral_norm", "change_norm"}
    sizes = (
        spectra[(spectra["step"] == 0) & (spectra["against"] == "")]
        .groupby("matrix")["component"]
        .value_counts()
    )
    assert set(sizes["W_QK"]) == {8}
    assert set(sizes["W_in"]) == {24}


def test_rows_are_what_numpy_says(measured):
    states, rows, spectra = measured
    at = exact(rows).set_index(["step", "component", "matrix", "measure"])["mean"]
    spectra = spectra[spectra["against"] == ""]
    now, before, final = (by_hand(states[step]) for step in (10, 0, 40))
    for matrix, component in (("W_OV", "L1H2"), ("W_K", "L0H1"), ("W_out", "L1MLP")):
        value = now[matrix][component]
        u, s, vh = np.linalg.svd(value)
        rank = s[: 8 if "H" in component else 24]
        key = (10, component, matrix)
        assert at[(*key, "effective_rank")] == pytest.approx(rank.sum() ** 2 / (rank**2).sum())
        assert at[(*key, "spectral_mass")] == pytest.approx((s[:TOP] ** 2).sum() / (s**2).sum())
        assert at[(*key, "frobenius_norm")] == pytest.approx(np.linalg.norm(value))
        assert at[(*key, "spectral_norm")] == pytest.approx(s[0])
        change = np.linalg.norm(value - before[matrix][component])
        assert at[(*key, "change_norm")] == pytest.approx(change)
        for name, other in (("previous", before), ("final", final)):
            ou, _, ovh = np.linalg.svd(other[matrix][component])
            for side, a, b in (("left", u, ou), ("right", vh.T, ovh.T)):
                angles = scipy.linalg.subspace_angles(a[:, :TOP], b[:, :TOP])
                expected = np.rad2deg(angles).mean()
                assert at[(*key, f"rotation_{name}_{side}")] == pytest.approx(expected)
            sides = [at[(*key, f"rotation_{name}_{side}")] for side in ("left", "right")]
            assert at[(*key, f"rotation_{name}")] == pytest.approx(np.mean(sides))
        chosen = (spectra["step"] == 10) & (spectra["component"] == component)
        found = spectra[chosen & (spectra["matrix"] == matrix)].sort_values("index")
        np.testing.assert_allclose(found["mean"], rank, rtol=1e-10)


def test_deltas_are_changes_since_the_previous_checkpoint(measured):
    _, rows, _ = measured
    one = rows[(rows["component"] == "L0H2") & (rows["matrix"] == "W_QK")]
    one = one[one["measure"] == "effective_rank"].pivot(
        index="step", columns="against", values="mean"
    )
    delta = one["excess over previous checkpoint"]
    assert np.isnan(delta[0])
    assert delta[40] == one.loc[40, ""] - one.loc[10, ""]


def test_places_go_by_the_last_effective_rank(measured):
    _, rows, spectra = measured
    last = exact(rows)
    last = last[(last["measure"] == "effective_rank") & (last["step"] == 40)]
    place = spectra.groupby(["matrix", "component"])["place"].first()
    for matrix, part in last.groupby("matrix"):
        expected = part.set_index("component")["mean"].rank()
        assert (place[matrix][expected.index] == expected).all()


def test_the_baseline_is_of_the_models_own_initialisation(measured):
    _, rows, _ = measured
    untrained = (rows["measure"] == "frobenius_norm") & (rows["against"] == UNTRAINED)
    first = rows[untrained].groupby("matrix").first()
    # U(-1/sqrt(fan_in), 1/sqrt(fan_in)) has the variance 1 / (3 fan_in).
    assert first.loc["W_Q", "mean"] == pytest.approx(np.sqrt(8 / 3), rel=0.05)
    assert first.loc["W_out", "mean"] == pytest.approx(np.sqrt(24 / 3), rel=0.05)
    assert first.loc["W_Q", "count"] == 4 * 6
    assert first.loc["W_in", "count"] == 4 * 2
    assert (first["low"] < first["mean"]).all()
    assert (first["mean"] < first["high"]).all()


def test_the_band_of_the_most_compressed_is_wider_than_that_of_each(measured):
    _, rows, _ = measured
    last = rows[rows["step"] == 40]
    beside = last[last["against"] == UNTRAINED].set_index(["measure", "matrix"])
    every = beside.loc["compression"]
    one = beside.loc["effective_rank"]
    assert every[["low", "high"]].drop_duplicates().shape[0] == 1
    assert (every["high"] > 1 - one.loc[every.index, "low"] / one.loc[every.index, "mean"]).all()
    assert (every["low"] < 1 - one.loc[every.index, "high"] / one.loc[every.index, "mean"]).all()
    found = last[last["against"] == ""].set_index(["measure", "matrix", "component"])["mean"]
    lacking = 1 - found["effective_rank", "W_K", "L1H0"] / one.loc["W_K", "mean"]
    assert found["compression", "W_K", "L1H0"] == pytest.approx(lacking)
    ranks = found["effective_rank"]
    below = sum((ranks[name] < one.loc[name, "low"]).sum() for name in MATRICES)
    assert found["matrices_below", "all", ""] == below


def test_directions_beyond_a_heads_width_are_refused():
    with pytest.raises(
        AnalysisError, match="9 singular directions are too many — where: a head of width 8"
    ):
        weight_svd(DECODER, lambda _: drawn(0), [0, 1], 9, 2, 0)


def ranks(circuit, flat):
    """Effective ranks of one state with their baseline, by component and matrix."""
    rows, _ = weight_svd(circuit.decoder, lambda _: flat, [0, 1], 4, 20, 0)
    chosen = rows[(rows["measure"] == "effective_rank") & (rows["step"] == 1)]
    found = chosen[chosen["against"] == ""].set_index(["component", "matrix"])
    untrained = chosen[chosen["against"] == UNTRAINED].set_index("matrix")[["mean", "low", "high"]]
    return found[["mean"]].join(untrained.rename(columns={"mean": "untrained"}), on="matrix")


def test_planted_heads_lie_far_below_the_baseline_and_the_others_within_it(planted):
    """Matching uses one axis per key and two more, for writes and recency.

    It copies values along n_values / 2 = d_head equally strong axes: as many as a head can have,
    and more even than random matrices show.
    """
    found = ranks(planted, planted.flat)
    matching = found.loc[planted.matching_head]
    assert matching.loc["W_QK", "mean"] < 4 + 2 < 0.5 * matching.loc["W_QK", "low"]
    assert matching.loc["W_OV", "mean"] > matching.loc["W_OV", "high"]
    low = found["low"]
    heads = {planted.previous_token_head, planted.op_head, planted.matching_head}
    for component, matrix in found.index:
        value = found.loc[(component, matrix), "mean"]
        if matrix == "W_OV" and component == planted.op_head:
            assert value < 1.5  # one flag is all that it writes
        elif matrix == "W_OV" and component == planted.previous_token_head:
            assert value < 4.5  # one direction per key
        elif matrix == "W_QK" and component not in heads:
            assert value > 0.95 * low[component, matrix]
    compressed = (found["mean"] / found["untrained"]).xs("W_OV", level="matrix")
    assert set(compressed.nsmallest(2).index) == {planted.op_head, planted.previous_token_head}


def test_the_untrained_twin_lies_within_its_baseline(untrained):
    found = ranks(untrained, untrained.flat)
    outside = (found["mean"] < found["low"]) | (found["mean"] > found["high"])
    assert outside.mean() < 0.15  # a band of 95% leaves some outside
    spread = found["high"] - found["low"]
    assert (abs(found["mean"] - found["untrained"]) < 1.5 * spread).all()

"""Candidates, updates and losses: identities in float64, and signs on the planted circuit."""

import numpy as np
import pytest
import torch
from planted import untrained_twin

from circuit.attribution.engine import Engine
from circuit.config.scalar import ScalarSettings
from circuit.measures.candidates.descent import (
    align,
    descended,
    drawn_chunks,
    loss_gradient,
    objective_batches,
)
from circuit.measures.candidates.gradient_link import (
    SIGNS,
    chunk_gradients,
    drives,
    interference,
    own_parameters,
)
from circuit.measures.candidates.registry import expand
from circuit.scalars.evaluate import Evaluator
from circuit.scalars.features import Dictionary
from circuit.scalars.registry import ScalarContext, build_scalar

NAMED = {
    "looking": {"scalar": "qk_separation", "head": "every"},
    "margin": {"scalar": "answer_margin"},
    "read": {
        "scalar": "subspace_projection",
        "stage": "layer_0_post_mlp",
        "role": "support_value",
        "subspace": "pca(layer_0_post_mlp, support_value)",
        "rank": 2,
    },
}
INTERVALS = [(0, 1), (1, 2)]


@pytest.fixture(scope="module")
def setting(planted, untrained, planted_events):
    """An evaluator, scalars and parameters in float64, on the line from untrained to planted."""
    events = planted_events.select(range(0, 171, 12))
    flats = (untrained.flat.double(), planted.flat.double())
    states = [torch.lerp(*flats, u) for u in (0.5, 0.75, 1.0)]
    specs = {name: ScalarSettings.model_validate(spec) for name, spec in NAMED.items()}
    specs, _ = expand(specs, planted.decoder.settings)
    ids, theta = planted.vocabulary.value_ids, states.__getitem__
    context = ScalarContext(planted.decoder, events, ids, {}, theta, (0, 2), 2)
    scalars = {name: build_scalar(spec, context) for name, spec in specs.items()}
    return Evaluator(planted.decoder, events, ids), scalars, states, list(specs.values())


@pytest.fixture(scope="module")
def built(setting):
    evaluator, scalars, states, _ = setting
    return drives(evaluator, states.__getitem__, INTERVALS, scalars)


def test_drive_rebinding_and_residual_sum_to_the_change(setting, built):
    evaluator, scalars, states, _ = setting
    for (start, stop), parts in zip(INTERVALS, built, strict=True):
        before, after = (evaluator.values(states[at], scalars).mean(1) for at in (start, stop))
        whole = parts.drive.mean(1) + parts.rebinding + parts.residual
        np.testing.assert_allclose(whole, (after - before).numpy(), rtol=1e-10, atol=1e-10)


def test_drive_is_the_engine_s_trapezoid_of_gradients(setting, built):
    evaluator, scalars, states, _ = setting
    layout = evaluator.decoder.layout
    engine = Engine(layout, evaluator, scalars, ("trapezoid",))
    for (start, stop), parts in zip(INTERVALS, built, strict=True):
        moved = (states[stop] - states[start])[None]
        result = engine.step(states[start], states[stop], moved)
        expected = result.by_rule["trapezoid"][:, 0].numpy()
        np.testing.assert_allclose(parts.drive.mean(1), expected, rtol=1e-9, atol=1e-9)


def test_the_planted_route_is_driven_and_nothing_drives_a_state_that_stays(setting, built):
    evaluator, scalars, states, _ = setting
    place = list(scalars).index("looking L1H2")
    drive = np.stack([parts.drive.mean(1) for parts in built]).sum(0)[:8]
    assert drive.argmax() == place
    assert drive[place] > 5 * np.abs(np.delete(drive, place)).max()
    still = drives(evaluator, lambda _: states[0], INTERVALS[:1], scalars)
    assert all(np.abs(part).max() < 1e-12 for part in still[0])


@pytest.fixture(scope="module")
def losses(planted, planted_benchmark, setting):
    programs = planted_benchmark.splits["train"].head(12)
    chunks = objective_batches(programs, planted_benchmark.vocabulary, 4)["tokens"]
    return [loss_gradient(planted.decoder, theta, chunks) for theta in setting[2]]


def test_utilities_of_heads_and_the_rest_sum_to_what_the_whole_update_took_off(setting, losses):
    evaluator, _, states, specs = setting
    own = own_parameters(specs[:8], evaluator.decoder.layout, {}).double()
    rest = 1 - own.sum(0, keepdim=True)
    assert (rest >= 0).all()
    every = torch.cat([own, rest, torch.ones_like(rest)])
    for start, stop in INTERVALS:
        moved = every * (states[stop] - states[start])
        found = (descended(losses[start], moved) + descended(losses[stop], moved)) / 2
        np.testing.assert_allclose(found[:, :9].sum(1), found[:, 9], rtol=1e-10)
        weights = torch.from_numpy(drawn_chunks(losses[0])[0])
        slope = weights @ (losses[start].chunks + losses[stop].chunks) / 2
        assert found[0, 9] == pytest.approx(float(-slope @ (states[stop] - states[start])))
        assert found[0, 9] > 0  # towards the planted circuit the loss falls


def test_own_parameters_are_a_head_s_or_all_that_write_to_the_stage(setting):
    evaluator, scalars, _, specs = setting
    layout = evaluator.decoder.layout
    own = dict(zip(scalars, own_parameters(specs, layout, {}).bool(), strict=True))
    kinds = layout.atoms.loc[layout.atoms.index.repeat(layout.atoms["size"])].reset_index()
    mine = kinds[own["looking L1H2"].numpy()]
    assert set(zip(mine["layer"], mine["head"], strict=True)) == {(1, 2)}
    assert set(mine["projection"]) == {"q", "k", "v", "o"}
    assert own["margin"].all()
    before = set(kinds[own["read"].numpy()]["module"])
    assert before == {"embedding", *(f"layer_0.{m}" for m in ("ln1", "attn", "ln2", "mlp"))}
    for stage, last in (
        *(("embedding", "embedding"), ("layer_1_attn_input", "layer_1.ln1")),
        *(("layer_1_post_mlp", "layer_1.mlp"), ("final_norm", "final_norm")),
        *(("layer_0_attn_write", "layer_0.attn"), ("layer_0_mlp_input", "layer_0.ln2")),
    ):
        spec = ScalarSettings.model_validate({**NAMED["read"], "stage": stage})
        [reached] = own_parameters([spec], layout, {})
        assert kinds[reached.bool().numpy()]["module"].iloc[-1] == last
    w = torch.eye(layout.settings.d_model)[:, :2]
    made = Dictionary(w, torch.zeros(2), w.T, torch.zeros(len(w)), "layer_0_post_attn")
    score = {"scalar": "feature_score", "dictionary": "d", "features": [0], "role": "prediction"}
    [writers] = own_parameters([ScalarSettings.model_validate(score)], layout, {"d": made})
    assert set(kinds[writers.bool().numpy()]["module"]) == {
        *("embedding", "layer_0.ln1", "layer_0.attn")
    }
    mlp = {"scalar": "functional_write", "head": "L0MLP"}
    [neurons] = own_parameters([ScalarSettings.model_validate(mlp)], layout, {})
    assert set(kinds[neurons.bool().numpy()]["module"]) == {"layer_0.mlp"}


def test_alignment_within_parameters_is_the_cosine_of_their_parts(losses):
    generator = torch.Generator().manual_seed(1)
    size = losses[0].chunks.shape[1]
    gradients = torch.randn(3, size, generator=generator, dtype=torch.float64)
    within = (torch.rand(3, size, generator=generator) < 0.3).double()
    found = align(gradients * within, losses[0], within=within).alignment[0]
    mean = torch.from_numpy(drawn_chunks(losses[0])[0]) @ losses[0].chunks
    expected = torch.nn.functional.cosine_similarity(gradients * within, -mean * within)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-9)


def test_gradients_of_chunks_are_parts_of_the_whole_gradient_even_of_fitted_scalars(setting):
    evaluator, scalars, states, _ = setting
    whole = evaluator(states[0], scalars).gradients
    chunks = np.array_split(np.arange(len(evaluator.events)), 4)
    parts = chunk_gradients(evaluator, states[0], scalars, chunks)
    found = sum(part * len(rows) for part, rows in zip(parts, chunks, strict=True))
    torch.testing.assert_close(found / len(evaluator.events), whole, rtol=1e-9, atol=1e-12)


def test_interference_is_the_cosine_of_gradients_beside_signs_at_random(setting):
    evaluator, scalars, states, _ = setting
    twice = {"looking L1H2": scalars["looking L1H2"], "again": scalars["looking L1H2"]}
    some = {**twice, "margin": scalars["margin"], "L0H0": scalars["looking L0H0"]}
    gradients = evaluator(states[0], some).gradients
    rows = interference(evaluator, states[0], some, gradients, 4)
    told = rows[rows["against"] == ""].set_index(["candidate", "other"])
    unit = torch.nn.functional.normalize(gradients, dim=1)
    cosines = (unit @ unit.T).numpy()
    for (one, other), row in told.iterrows():
        i, j = (list(some).index(name) for name in (one, other))
        assert row["mean"] == pytest.approx(cosines[i, j], abs=1e-9)
        assert row["low"] <= row["mean"] + 1e-12
        assert row["high"] >= row["mean"] - 1e-12
    assert told.loc[("looking L1H2", "again"), "mean"] == pytest.approx(1)
    assert told.loc[("looking L1H2", "margin"), "mean"] > 0  # the planted answer rests on it
    control = rows[rows["against"] == SIGNS].set_index(["candidate", "other"])
    generator = torch.Generator().manual_seed(2)
    signs = torch.randint(0, 2, (400, unit.shape[1]), generator=generator).double() * 2 - 1
    drawn = (signs * unit[0]) @ unit[2]
    reach = control.loc[("looking L1H2", "margin"), "high"]
    assert float(drawn.std()) == pytest.approx(reach / 1.96, rel=0.15)


def test_an_untrained_twin_s_candidates_do_not_agree_as_planted_ones_do(setting, untrained):
    evaluator, scalars, states, _ = setting
    some = {name: scalars[name] for name in ("looking L1H2", "margin")}
    means = []
    for theta in (states[0], untrained_twin(untrained, 3).flat.double()):
        gradients = evaluator(theta, some).gradients
        means.append(interference(evaluator, theta, some, gradients, 4)["mean"].iloc[0])
    assert abs(means[1]) < 0.5 * means[0]

"""Features of routes before birth: exact, of the run's own optimizer, and blind to what follows."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from tiny_run import finish, tiny_recipe, tiny_trajectory

from circuit.config.recipe import OptimizerSettings
from circuit.config.scalar import ScalarSettings
from circuit.config.terms import COMPONENTS
from circuit.errors import AnalysisError
from circuit.estimates import EXCESS
from circuit.kinds.route_features.settings import Settings
from circuit.measures.candidates.descent import LossGradient, loss_gradient, objective_batches
from circuit.measures.candidates.early import (
    OTHERS,
    first_order_growth,
    growth_with_others,
    known_until,
    next_update,
    own_norms,
    route_features,
    run_features,
    share,
)
from circuit.measures.candidates.registry import expand
from circuit.model.counting import CountingDecoder
from circuit.model.sites import parse_head
from circuit.scalars.evaluate import scalar_gradients, scalar_values
from circuit.scalars.routing import qk_separation
from circuit.task.publish import write_benchmark
from circuit.training import checkpoints
from circuit.training.checkpoints import TrainState, initial_state
from circuit.training.records import RunRecord

ADAMW = OptimizerSettings.model_validate(
    {"kind": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1, "clip": 1.0}
)
QK = {"scalar": "qk_separation", "head": "every"}


def settings(*cutoffs: int, **changes) -> Settings:
    plain = {"kind": "route_features", "cutoffs": cutoffs, "route": QK}
    return Settings.model_validate({**plain, "train_programs": 8, "chunks": 2, **changes})


def routes(circuit) -> tuple[dict, dict]:
    """Scalars and heads of every candidate of a circuit."""
    specs, _ = expand({"qk": ScalarSettings.model_validate(QK)}, circuit.decoder.settings)
    heads = {name: str(spec.head) for name, spec in specs.items()}
    shape = circuit.decoder.settings
    scalars = {
        name: qk_separation(parse_head(head, shape.n_layers, shape.n_heads))
        for name, head in heads.items()
    }
    return scalars, heads


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 171, 6))


@pytest.fixture(scope="module")
def batches(planted_benchmark):
    programs = planted_benchmark.splits["train"].head(24)
    return objective_batches(programs, planted_benchmark.vocabulary, 4)


def state_of(flat, step=40, toward=None) -> TrainState:
    """A checkpoint whose optimizer remembers gradients that point away from ``toward``."""
    remembered = torch.zeros_like(flat) if toward is None else flat - toward
    moments = {"exp_avg": remembered, "exp_avg_sq": torch.full_like(flat, 1e-4)}
    return TrainState(flat.clone(), moments, step)


@pytest.fixture(scope="module")
def growing(untrained, planted, events, batches):
    """An untrained state in float64 with its gradients and its next update."""
    scalars, heads = routes(untrained)
    ids = untrained.vocabulary.value_ids
    found = scalar_gradients(untrained.decoder, untrained.flat, events, ids, scalars)
    loss = loss_gradient(untrained.decoder, untrained.flat, batches["tokens"])
    update = next_update(ADAMW, state_of(untrained.flat, toward=planted.flat), loss)
    return found.gradients, update, list(heads.values()), scalars


# -- the next update ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["adamw", "sgd", "sgd_momentum"])
def test_on_a_batch_of_training_the_next_update_is_training_s_own(kind, planted_benchmark):
    trajectory = tiny_trajectory(planted_benchmark, tiny_recipe(kind))
    state = initial_state(trajectory.decoder, trajectory.recipe, trajectory.seed)
    for _ in range(3):
        trajectory.take_step(state)
    loss = loss_gradient(trajectory.decoder, state.theta, [trajectory.stream.batch(3)])
    before = state.clone()
    found = next_update(trajectory.recipe.optimizer, state, loss)
    assert torch.equal(state.theta, before.theta)
    assert all(torch.equal(state.moments[name], before.moments[name]) for name in state.moments)
    trajectory.take_step(state)
    taken = state.theta.double() - before.theta.double()
    torch.testing.assert_close(found.update, taken, rtol=1e-9, atol=1e-15)


def test_parts_of_the_growth_sum_to_it_and_it_is_the_slope_along_the_update(
    growing, untrained, events
):
    gradients, update, heads, scalars = growing
    found = first_order_growth(untrained.decoder.layout, gradients, update, heads)
    whole = (gradients @ update.update).numpy()
    np.testing.assert_allclose(found.components[0].sum(-1), whole, rtol=1e-10, atol=1e-14)
    up, down = (
        scalar_values(
            untrained.decoder,
            untrained.flat + sign * 1e-4 * update.update,
            events,
            untrained.vocabulary.value_ids,
            scalars,
        ).mean(1)
        for sign in (1, -1)
    )
    np.testing.assert_allclose((up - down) / 2e-4, whole, rtol=1e-5, atol=1e-10)


def test_own_growth_and_own_norm_are_those_of_the_head_s_parameters(growing, untrained):
    gradients, update, heads, _ = growing
    layout = untrained.decoder.layout
    found = first_order_growth(layout, gradients, update, heads)
    norms = own_norms(layout, update, heads)
    sizes = torch.tensor(layout.atoms["size"].to_numpy())
    for place, head in enumerate(heads):
        mask = torch.tensor((layout.groups("head") == head).tolist())
        own = torch.repeat_interleave(mask, sizes) * update.update
        assert found.own[0, place] == pytest.approx(float(gradients[place] @ own), rel=1e-9)
        assert norms[place] == pytest.approx(float(own.norm()), rel=1e-9)


def test_unique_growth_is_by_an_update_that_moves_no_other_route(growing, untrained):
    gradients, update, heads, _ = growing
    found = first_order_growth(untrained.decoder.layout, gradients, update, heads)
    for place in range(len(heads)):
        others = gradients[[i for i in range(len(heads)) if i != place]]
        q = torch.linalg.qr(others.T).Q
        left = update.update - q @ (q.T @ update.update)
        assert float((others @ left).abs().max()) < 1e-12
        assert found.unique[0, place] == pytest.approx(float(gradients[place] @ left), rel=1e-6)


def test_routes_with_one_gradient_have_no_growth_of_their_own():
    gradients = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 2.0, 0]], dtype=torch.float64)
    expected = [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(growth_with_others(gradients), expected, atol=1e-12)


def test_the_unit_of_a_route_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    units = torch.tensor([1.0, 3e-7, 2e9], dtype=torch.float64)
    expected = growth_with_others(gradients) * np.outer(units, 1 / units)
    np.testing.assert_allclose(growth_with_others(gradients * units[:, None]), expected, rtol=1e-9)


def test_resamples_of_chunks_are_steps_on_those_chunks(growing, untrained, batches):
    """With D and the clip held, a draw's growth is ⟨∇S, a ⊙ ĝ⟩ of the drawn programs."""
    gradients, update, heads, _ = growing
    found = first_order_growth(untrained.decoder.layout, gradients, update, heads)
    spread = found.components[1:, :, 0].std(0)
    assert (spread > 0).all()
    np.testing.assert_array_equal(np.ptp(found.components[:, :, 1:], axis=0), 0)
    one = LossGradient(
        loss_gradient(untrained.decoder, untrained.flat, batches["tokens"]).chunks[:1].repeat(4, 1),
        np.full(4, 7),
    )
    same = next_update(ADAMW, state_of(untrained.flat), one)
    alike = first_order_growth(untrained.decoder.layout, gradients, same, heads).components
    np.testing.assert_allclose(alike[1:], np.broadcast_to(alike[0], alike[1:].shape), rtol=1e-9)


def test_shares_keep_signs_and_nothing_has_none():
    found = share(np.array([[3.0, -1.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found, [[0.75, -0.25], [0, 0]])


# -- the features ------------------------------------------------------------------------------


def features(circuit, state, events, batches) -> pd.DataFrame:
    measured = (circuit.decoder, events, circuit.vocabulary.value_ids)
    rows = route_features(*measured, ADAMW, state, *routes(circuit), batches)
    return rows.set_index(["measure", "part", "head"]).sort_index()


def alone(rows: pd.DataFrame) -> pd.DataFrame:
    """Without what they are compared with."""
    return rows[rows["against"] == ""]


def test_memory_of_the_planted_circuit_is_found_to_build_its_three_heads(
    untrained, planted, events, batches
):
    """Half way there, momentum that points at the planted network raises its heads and no other."""
    half = torch.lerp(untrained.flat, planted.flat, 0.5)
    rows = features(untrained, state_of(half, toward=planted.flat), events, batches)
    memory = rows.loc[("growth", "momentum")]["mean"]
    heads = [planted.matching_head, planted.previous_token_head, planted.op_head]
    assert memory.idxmax() == planted.matching_head
    assert (memory[heads] > 8 * memory.drop(heads).abs().max()).all()
    assert rows.loc[("component_share", "momentum", planted.matching_head), "mean"] > 0.9
    twin = features(untrained, state_of(untrained.flat), events, batches)
    assert (twin.loc[("growth", "momentum")]["mean"] == 0).all()


def test_the_planted_route_is_strongest_and_its_untrained_twin_has_none(
    untrained, planted, events, batches
):
    rows = features(planted, state_of(planted.flat), events, batches)
    strength = alone(rows).loc[("strength", "")]
    assert strength["mean"].idxmax() == planted.matching_head
    twin = features(untrained, state_of(untrained.flat), events, batches)
    twin = alone(twin).loc[("strength", "")]
    assert twin["mean"].abs().max() < 0.01 * strength["mean"].max()


def test_rows_are_complete_and_the_control_is_there(untrained, events, batches):
    rows = features(untrained, state_of(untrained.flat), events, batches).reset_index()
    assert (rows.groupby(["measure", "part", "against"]).size() == 8).all()
    assert ("alignment", "shuffled_answers") in set(zip(rows["measure"], rows["part"], strict=True))
    told = rows.dropna(subset="low")
    assert (told["low"] <= told["mean"] + 1e-12).all()
    assert (told["mean"] <= told["high"] + 1e-12).all()
    parts = rows[(rows["measure"] == "growth") & rows["part"].isin(COMPONENTS)]
    whole = rows[(rows["measure"] == "growth") & (rows["part"] == "") & (rows["against"] == "")]
    whole = whole.set_index("head")["mean"]
    np.testing.assert_allclose(parts.groupby("head")["mean"].sum(), whole, rtol=1e-9, atol=1e-15)
    assert set(rows.loc[rows["measure"] == "growth", "unit"]) == {"score per step"}


def test_growth_and_strength_stand_beside_the_mean_of_the_others(
    untrained, planted, events, batches
):
    rows = features(untrained, state_of(untrained.flat, toward=planted.flat), events, batches)
    for measure in ("growth", "strength"):
        at = rows.loc[(measure, "")].reset_index().pivot(index="head", columns="against")
        mean, low, high = at["mean"], at["low"], at["high"]
        for head in mean.index:
            others = mean[""].drop(head).mean()
            assert mean[OTHERS][head] == pytest.approx(others, abs=1e-12)
            assert mean[EXCESS][head] == pytest.approx(mean[""][head] - others, abs=1e-12)
        assert (low[EXCESS] <= mean[EXCESS]).all()
        assert (mean[EXCESS] <= high[EXCESS]).all()


def test_one_route_has_nobody_to_compete_with(untrained, events, batches):
    scalars, heads = (dict([next(iter(part.items()))]) for part in routes(untrained))
    ids = untrained.vocabulary.value_ids
    where = (untrained.decoder, events, ids, ADAMW, state_of(untrained.flat))
    with pytest.raises(AnalysisError, match=r"^1 candidate route leaves nothing to compete with"):
        route_features(*where, scalars, heads, batches)


# -- nothing after the cutoff ------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(planted_benchmark, tmp_path_factory):
    """A tiny run on disk with checkpoints at 0, 3, 10, 20 and 30."""
    folder = tmp_path_factory.mktemp("early")
    metadata = write_benchmark(folder / "data", planted_benchmark)
    finish(
        tiny_trajectory(planted_benchmark, digest=metadata.digest), folder / "run", metadata.digest
    )
    return folder


def measured(run, data, *cutoffs: int) -> pd.DataFrame:
    record = RunRecord(run / "manifest.json", data)
    return run_features(record, record.decoder, settings(*cutoffs))[0]


def test_corrupting_all_later_files_changes_nothing(finished, tmp_path):
    expected = measured(finished / "run", finished / "data", 3, 10)
    copy = tmp_path / "run"
    shutil.copytree(finished / "run", copy)
    later = [
        file
        for file in sorted((copy / "checkpoints").iterdir())
        if int(file.stem.removeprefix("step_")) > 10
    ]
    assert len(later) == 2
    noise = np.random.default_rng(0)
    for file in later:
        file.write_bytes(noise.bytes(file.stat().st_size))
    pd.testing.assert_frame_equal(
        measured(copy, finished / "data", 3, 10), expected, check_exact=True
    )
    for file in later:
        file.unlink()
    pd.testing.assert_frame_equal(
        measured(copy, finished / "data", 3, 10), expected, check_exact=True
    )


def test_a_run_that_was_stopped_at_the_cutoff_has_the_same_features(
    finished, planted_benchmark, tmp_path
):
    digest = RunRecord(finished / "run" / "manifest.json", finished / "data").benchmark.digest
    short = tiny_trajectory(planted_benchmark, tiny_recipe(steps=10), digest=digest)
    finish(short, tmp_path / "run", digest)
    pd.testing.assert_frame_equal(
        measured(tmp_path / "run", finished / "data", 3, 10),
        measured(finished / "run", finished / "data", 3, 10),
        check_exact=True,
    )


def test_only_checkpoints_of_the_cutoffs_are_opened(finished, monkeypatch):
    opened, read = [], checkpoints.read_checkpoint

    def watched(path, sha256):
        opened.append(path.stem)
        return read(path, sha256)

    monkeypatch.setattr(checkpoints, "read_checkpoint", watched)
    measured(finished / "run", finished / "data", 3)
    assert set(opened) == {"step_000003"}


def test_what_lies_after_the_cutoff_is_refused():
    known = known_until(lambda step: torch.tensor([float(step)]), 10)
    assert float(known(10)) == 10
    with pytest.raises(AnalysisError, match=r"^step 20 lies after the cutoff, step 10 — "):
        known(20)


def test_a_run_counts_its_passes_and_follows_its_cutoffs(finished):
    record = RunRecord(finished / "run" / "manifest.json", finished / "data")
    decoder = CountingDecoder(record.decoder)
    rows, backward = run_features(record, decoder, settings(10, 0))
    assert list(dict.fromkeys(rows["step"])) == [0, 10]
    assert decoder.passes.whole == 2 * (1 + 3 * 2)
    assert backward == 2 * (4 + 3 * 2)
    start = rows[(rows["step"] == 0) & (rows["part"] == "momentum")]
    assert (start["mean"] == 0).all()


def test_a_final_basis_is_that_of_the_cutoff(finished):
    record = RunRecord(finished / "run" / "manifest.json", finished / "data")
    route = {"scalar": "qk_separation", "head": "every", "rank": 2}
    last, named = (
        run_features(record, record.decoder, settings(3, route={**route, "basis": basis}))[0]
        for basis in ("final", 3)
    )
    pd.testing.assert_frame_equal(last, named, check_exact=True)


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ({"scalar": "qk_separation", "head": "L1H1"}, "candidates are all heads: every"),
        ({**QK, "dictionary": "shared"}, "route.dictionary was fitted to later checkpoints"),
        ({**QK, "rank": 2, "basis": 20}, "route.basis 20 lies after the first cutoff, step 3"),
    ],
)
def test_routes_that_are_not_known_early_are_refused(route, message):
    with pytest.raises(ValidationError, match=message):
        settings(10, 3, route=route)

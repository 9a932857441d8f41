import dataclasses
import itertools
import random

import pytest
import torch
from tiny_run import OPTIMIZERS, finish, start, tiny_recipe, tiny_trajectory

from circuit.config.terms import COMPONENTS
from circuit.errors import CheckpointError, ReplayError
from circuit.training.checkpoints import Manifest
from circuit.training.replay import replay, require_replayable

SEGMENTS = [(0, 3), (3, 10), (10, 20), (20, 30)]


def replayed(run, start, stop, trajectory=None):
    """The verifications of a stretch."""
    verified = []
    for _ in replay(trajectory or run.trajectory, run.manifest, start, stop, verified.append):
        pass
    return verified


def with_recipe(run, **changes):
    """The run's manifest as if it had been recorded with other settings."""
    recipe = run.manifest.recipe.model_copy(update=changes)
    return run._replace(manifest=dataclasses.replace(run.manifest, recipe=recipe))


def with_rate(trajectory, rate):
    optimizer = trajectory.recipe.optimizer.model_copy(update={"learning_rate": rate})
    recipe = trajectory.recipe.model_copy(update={"optimizer": optimizer})
    return dataclasses.replace(trajectory, recipe=recipe)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_segment_alone_and_in_any_order_ends_on_the_recorded_digest(finished, kind):
    run = finished(kind)
    shuffled = SEGMENTS.copy()
    random.Random(1).shuffle(shuffled)
    for first, last in (*shuffled, (0, 30), (3, 20)):
        verified = replayed(run, first, last)
        assert [v.step for v in verified] == [s for s in (3, 10, 20, 30) if first < s <= last]
        for v in verified:
            assert v.exact
            assert v.max_abs_difference == 0
            assert v.replayed_sha256 == run.manifest.checkpoints[v.step]["sha256"]


def test_segments_replayed_in_parallel_processes_end_on_the_recorded_digests(finished, tmp_path):
    run = finished("adamw")
    manifest = run.manifest.folder / "manifest.json"
    processes = [
        start("replay", run.trajectory, tmp_path / str(first), manifest, first, last)
        for first, last in ((0, 10), (10, 30))
    ]
    lines = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    found = dict(pair.split(":") for line in lines for pair in line.split())
    recorded = {str(s): run.manifest.checkpoints[s]["sha256"] for s in (3, 10, 20, 30)}
    assert found == recorded


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_replayed_steps_are_those_of_training(finished, kind):
    """States join, losses are those of the metrics, and components sum to each update."""
    run = finished(kind)
    previous = None
    for step in replay(run.trajectory, run.manifest, 0, 30, lambda _: None):
        assert step.after.step == step.before.step + 1 == step.step + 1
        if previous is not None:
            assert torch.equal(step.before.theta, previous)
        previous = step.after.theta.clone()
        row = run.metrics.iloc[step.step]
        assert step.taken.loss == row["loss"]
        assert step.taken.clipped.norm == row["gradient_norm"]
        assert step.taken.batch.rows.tolist() == run.trajectory.stream.rows(step.step).tolist()
        parts = step.components
        assert torch.equal(parts.update, previous.double() - step.before.theta.double())
        summed = torch.zeros_like(parts.update)
        for name in COMPONENTS:
            summed = summed + getattr(parts, name)
        assert torch.equal(summed, parts.update)
        norm = float(parts.update.norm())
        assert float(parts.rounding.norm()) < 1e-3 * norm
        others = step.comparators
        ratio = float(others["clipped_sgd"].norm() / others["raw_sgd"].norm())
        assert ratio == pytest.approx(step.taken.clipped.coefficient, rel=1e-6)
    assert torch.equal(previous, run.manifest.state(30).theta)


def test_a_state_before_a_step_stays_as_it_is(finished):
    run = finished("adamw")
    steps = list(replay(run.trajectory, run.manifest, 0, 3, lambda _: None))
    assert torch.equal(steps[0].before.theta, run.manifest.state(0).theta)
    assert not torch.equal(steps[0].before.theta, steps[1].before.theta)


def test_replaying_changes_no_file(finished):
    run = finished("adamw")
    files = {p: p.read_bytes() for p in run.manifest.folder.rglob("*") if p.is_file()}
    replayed(run, 0, 30)
    assert files == {p: p.read_bytes() for p in run.manifest.folder.rglob("*") if p.is_file()}


def test_a_tampered_run_does_not_arrive(finished):
    run = finished("adamw")
    with pytest.raises(ReplayError) as caught:
        replayed(run, 3, 20, with_rate(run.trajectory, 0.004))
    what, where, expected, do = str(caught.value).split(" — ")
    assert what.startswith(
        "replay of run tiny does not arrive at its checkpoint: parameters or moments differ by up "
        "to 0.00"
    )
    assert where == "where: step 10"
    recorded = run.manifest.checkpoints[10]["sha256"]
    assert expected.startswith(f"expected: SHA-256 {recorded[:12]}… (bit for bit), found ")
    assert do == "what to do: train the run again with the present code and environment"


@pytest.mark.parametrize("changes", [{"seed": 4}, {"identity": "other"}])
def test_another_seed_or_identity_does_not_arrive(planted_benchmark, finished, changes):
    run = finished("adamw")
    other = dataclasses.replace(run.trajectory, **changes)
    if "seed" in changes:
        other = tiny_trajectory(planted_benchmark, seed=4)
        other = dataclasses.replace(other, identity=run.trajectory.identity)
    with pytest.raises(ReplayError, match="does not arrive at its checkpoint"):
        replayed(run, 0, 3, other)


def test_within_a_tolerance_the_difference_is_reported_and_replay_goes_on_from_the_record(finished):
    run = with_recipe(finished("adamw"), replay_tolerance=0.05)
    other = with_rate(run.trajectory, 0.0031)
    verified, starts = [], {}
    for step in replay(other, run.manifest, 0, 30, verified.append):
        starts[step.step] = step.before
    assert [v.exact for v in verified] == [False] * 4
    for v in verified:
        assert 1e-5 < v.max_abs_difference < 0.05
        assert v.recorded_sha256 != v.replayed_sha256
    for step in (10, 20):
        recorded = run.manifest.state(step)
        assert torch.equal(starts[step].theta, recorded.theta)
        for name, moment in recorded.moments.items():
            assert torch.equal(starts[step].moments[name], moment)


def test_beyond_a_tolerance_it_is_an_error(finished):
    run = with_recipe(finished("adamw"), replay_tolerance=1e-6)
    with pytest.raises(ReplayError, match=r"SHA-256 \w{12}… \(or within 1e-06\), found"):
        replayed(run, 0, 3, with_rate(run.trajectory, 0.004))


def test_a_replay_that_diverges_is_an_error_under_any_tolerance(finished):
    run = with_recipe(finished("adamw"), replay_tolerance=100.0)
    with pytest.raises(ReplayError):
        replayed(run, 0, 3, with_rate(run.trajectory, float("nan")))


def test_the_reported_difference_is_the_largest(finished):
    run = with_recipe(finished("sgd"), replay_tolerance=10.0)
    other = with_rate(run.trajectory, 0.2)
    verified = []
    *_, last = replay(other, run.manifest, 0, 3, verified.append)
    # The last state was overwritten by the record; three steps again give what was compared.
    state = run.manifest.state(0)
    for _ in range(3):
        other.take_step(state)
    expected = max(
        abs(a - b)
        for a, b in zip(state.theta.tolist(), run.manifest.state(3).theta.tolist(), strict=True)
    )
    assert verified[0].max_abs_difference == pytest.approx(expected, rel=1e-6)
    assert torch.equal(last.after.theta, run.manifest.state(3).theta)


def test_other_threads_are_refused_unless_there_is_a_tolerance(finished, monkeypatch):
    run = finished("adamw")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(ReplayError) as caught:
        replayed(run, 0, 3)
    assert str(caught.value) == (
        "run tiny cannot be replayed exactly here (threads: recorded 1, here 2) — where: "
        f"{run.manifest.folder / 'manifest.json'} — expected: the numerical environment the run "
        "was trained in — what to do: train the run here, or set replay_tolerance in its recipe "
        "to accept a stated difference"
    )
    (verification,) = replayed(with_recipe(run, replay_tolerance=1e-4), 0, 3)
    assert verification.max_abs_difference <= 1e-4


def test_every_part_of_the_environment_counts(finished):
    run = finished("adamw")
    require_replayable(run.manifest)
    for name, value in run.manifest.environment.items():
        other = {**run.manifest.environment, name: f"{value}-other"}
        with pytest.raises(ReplayError) as caught:
            require_replayable(dataclasses.replace(run.manifest, environment=other))
        assert f"({name}: recorded '{value}-other', here {value!r})" in str(caught.value)


def test_a_window_off_the_checkpoints_is_refused_before_any_step(finished):
    run = finished("adamw")
    with pytest.raises(CheckpointError, match=r"window 0\.\.25 does not lie between checkpoints"):
        replayed(run, 0, 25)


def test_a_damaged_checkpoint_is_refused_at_the_start(trajectory, tmp_path):
    run = finish(trajectory, tmp_path)
    path = tmp_path / "checkpoints" / "step_000003.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"step_000003\.safetensors"):
        replayed(run, 3, 10)


def test_replay_needs_no_checkpoint_but_the_first(trajectory, tmp_path):
    """Digests are in the manifest, so a long run's checkpoints need not all be kept at hand."""
    run = finish(trajectory, tmp_path)
    for step in (3, 10, 20, 30):
        (tmp_path / "checkpoints" / f"step_{step:06d}.safetensors").unlink()
    assert all(v.exact for v in replayed(run, 0, 30))


def test_a_longer_run_passes_through_the_same_states(planted_benchmark, finished, tmp_path):
    """A run's length and its checkpoints decide what is kept, not what is computed."""
    longer = finish(
        tiny_trajectory(
            planted_benchmark, tiny_recipe(steps=40, checkpoint_every=20, early_checkpoints=(10,))
        ),
        tmp_path,
    )
    short = finished("adamw").manifest.checkpoints
    for step in (0, 10, 20):
        assert longer.manifest.checkpoints[step]["sha256"] == short[step]["sha256"]


def test_steps_come_one_by_one(finished):
    """An observer may stop in the middle; nothing beyond was computed."""
    run = finished("adamw")
    verified = []
    some = itertools.islice(replay(run.trajectory, run.manifest, 0, 30, verified.append), 4)
    assert [step.step for step in some] == [0, 1, 2, 3]
    assert [v.step for v in verified] == [3]


def test_a_manifest_read_again_replays(finished):
    run = finished("adamw")
    again = run._replace(manifest=Manifest.read(run.manifest.folder / "manifest.json"))
    assert replayed(again, 20, 30)[0].exact

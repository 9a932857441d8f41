import dataclasses
import errno
import hashlib
import os
import random
import signal
import time
from dataclasses import dataclass

import pytest
import torch
from tiny_run import SlowTrajectory, finish, outcome, start, tiny_recipe, tiny_trajectory

from circuit.artifacts import read_json, read_rows, read_units, sha256_file, write_json
from circuit.config.terms import METRIC_UNITS
from circuit.errors import ArtifactError, TrainingError
from circuit.training.checkpoints import initial_state, read_checkpoint
from circuit.training.loop import adopt, attempt, publish, train
from circuit.training.trajectory import Trajectory, batch_gradient


class Interrupt(Exception):
    pass


@dataclass(frozen=True)
class Watched(Trajectory):
    """A run that notes the steps it takes and stops before ``stop_at``."""

    stop_at: int = -1
    taken: list[int] = dataclasses.field(default_factory=list)

    def take_step(self, state):
        if state.step == self.stop_at:
            raise Interrupt
        self.taken.append(state.step)
        return super().take_step(state)


def watched(trajectory, stop_at=-1):
    return Watched(**vars(trajectory), stop_at=stop_at)


def interrupt(trajectory, work, stop_at):
    with pytest.raises(Interrupt):
        train(watched(trajectory, stop_at), work, progress=False)


@pytest.fixture(scope="module")
def undisturbed(trajectory, tmp_path_factory):
    """Digests and metrics bytes of a run that nothing interrupted."""
    return outcome(trajectory, tmp_path_factory.mktemp("undisturbed"))


def test_a_run_leaves_the_scheduled_checkpoints_and_one_row_a_step(trajectory, tmp_path):
    ledger, metrics = train(trajectory, tmp_path, progress=False)
    assert list(ledger) == [0, 3, 10, 20, 30]
    for step, digest in ledger.items():
        content = (tmp_path / f"step_{step:06d}.safetensors").read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
    assert metrics["step"].tolist() == list(range(30))
    assert list(metrics) == list(METRIC_UNITS)
    assert read_units(tmp_path / "metrics_000003.parquet") == METRIC_UNITS
    assert len(read_rows(tmp_path / "metrics_000010.parquet")) == 7


def test_metrics_are_those_of_each_step(trajectory, tmp_path):
    """Recomputed from the checkpoint the step started from."""
    ledger, metrics = train(trajectory, tmp_path, progress=False)
    for step in (0, 3, 10, 20):
        theta = read_checkpoint(tmp_path / f"step_{step:06d}.safetensors", ledger[step]).theta
        found = batch_gradient(trajectory.decoder, theta, trajectory.stream.batch(step))
        row = metrics.iloc[step]
        norm = float(found.gradient.double().norm())
        assert row["loss"] == found.loss
        assert row["token_accuracy"] == found.token_accuracy
        assert row["gradient_norm"] == pytest.approx(norm, rel=1e-5)
        assert row["clip_coefficient"] == pytest.approx(min(1, 1 / (norm + 1e-6)), rel=1e-5)
    assert metrics["learning_rate"].tolist()[:7] == pytest.approx(
        [0.0006, 0.0012, 0.0018, 0.0024, 0.003, 0.003, 0.003]
    )


def test_training_learns_something(trajectory, tmp_path):
    _, metrics = train(trajectory, tmp_path, progress=False)
    assert metrics["loss"][-5:].mean() < metrics["loss"][:5].mean() - 0.1


def test_two_runs_are_the_same_to_the_bit(trajectory, undisturbed, tmp_path):
    assert outcome(trajectory, tmp_path) == undisturbed


@pytest.mark.parametrize("places", [[0], [1], [3], [9], [10], [29], [2, 5, 5, 17, 21, 28]])
def test_an_interrupted_run_ends_with_the_same_bytes(trajectory, undisturbed, tmp_path, places):
    for place in places:
        interrupt(trajectory, tmp_path, place)
    again = watched(trajectory)
    assert outcome(again, tmp_path) == undisturbed
    resumed = max(s for s in (0, 3, 10, 20) if s <= places[-1])
    assert again.taken == list(range(resumed, 30))


@pytest.mark.parametrize("kind", ["sgd", "sgd_momentum"])
def test_other_optimizers_resume_to_the_same_bytes(planted_benchmark, tmp_path, kind):
    run = tiny_trajectory(planted_benchmark, tiny_recipe(kind))
    interrupt(run, tmp_path / "a", 17)
    assert outcome(run, tmp_path / "a") == outcome(run, tmp_path / "b")


def test_a_finished_run_takes_no_step_again(trajectory, undisturbed, tmp_path):
    outcome(trajectory, tmp_path)
    again = watched(trajectory)
    assert outcome(again, tmp_path) == undisturbed
    assert again.taken == []


def test_a_killed_process_ends_with_the_same_bytes(planted_benchmark, tmp_path):
    """Killed three times at random moments, many of them within a write, then run to its end."""
    recipe = tiny_recipe(steps=60, checkpoint_every=2)
    run = tiny_trajectory(planted_benchmark, recipe)
    expected = outcome(run, tmp_path / "undisturbed")
    work, moment = tmp_path / "killed", random.Random(8)
    slow = SlowTrajectory(**vars(run))
    seen = 0
    for _ in range(3):
        process = start("train", slow, tmp_path / "process", work)
        deadline = time.monotonic() + 60
        # Wait until it got further than its predecessor, then a moment longer.
        while len(list(work.glob("step_*.safetensors"))) <= seen:
            assert process.poll() is None, "the process ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(moment.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        seen = len(list(work.glob("step_*.safetensors")))
    assert 0 < seen < 31
    again = watched(run)
    assert outcome(again, work) == expected
    assert again.taken
    assert again.taken[0] > 0


def flip_byte(path, at=-10):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def damaged_checkpoint(work):
    flip_byte(work / "step_000010.safetensors")


def truncated_checkpoint(work):
    path = work / "step_000010.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def missing_checkpoint(work):
    (work / "step_000010.safetensors").unlink()


def missing_metrics(work):
    (work / "metrics_000010.parquet").unlink()


def other_digest(work):
    ledger = read_json(work / "ledger.json")
    write_json(work / "ledger.json", {**ledger, "10": ledger["3"]})


def ledger_without_the_step(work):
    ledger = read_json(work / "ledger.json")
    del ledger["10"]
    write_json(work / "ledger.json", ledger)


def truncated_ledger(work):
    path = work / "ledger.json"
    path.write_text(path.read_text()[:-10])


def missing_ledger(work):
    (work / "ledger.json").unlink()


def ledger_that_is_a_list(work):
    (work / "ledger.json").write_text("[]")


def ledger_with_a_damaged_step(work):
    path = work / "ledger.json"
    path.write_text(path.read_text().replace('"10"', '"1p"'))  # one bit from "0"


def damaged_metrics(work):
    path = work / "metrics_000010.parquet"
    flip_byte(path, len(path.read_bytes()) // 3)


@pytest.mark.parametrize(
    ("damage", "resumed"),
    [
        (damaged_checkpoint, 3),
        (truncated_checkpoint, 3),
        (missing_checkpoint, 3),
        (missing_metrics, 3),
        (other_digest, 3),
        (ledger_without_the_step, 3),
        (truncated_ledger, 0),
        (missing_ledger, 0),
        (ledger_that_is_a_list, 0),
        (ledger_with_a_damaged_step, 0),
        (damaged_metrics, 3),
    ],
)
def test_what_the_ledger_does_not_vouch_for_is_made_again(
    trajectory, undisturbed, tmp_path, damage, resumed
):
    interrupt(trajectory, tmp_path, 15)
    damage(tmp_path)
    again = watched(trajectory)
    assert outcome(again, tmp_path) == undisturbed
    assert again.taken[0] == resumed


@pytest.mark.parametrize("write", [0, 1, 3, 6, 8])
def test_a_full_disk_is_one_clear_error_and_a_rerun_succeeds(
    trajectory, undisturbed, tmp_path, monkeypatch, write
):
    """Checkpoints, metrics and the ledger in turn find no room."""
    calls, real = iter(range(10**6)), os.fsync

    def fsync(descriptor):
        if next(calls) >= 2 * write:  # every file is synced, and then its folder
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ArtifactError) as caught:
        train(trajectory, tmp_path, progress=False)
    monkeypatch.undo()
    assert str(caught.value).startswith(f"no space left on device while writing {tmp_path}")
    assert str(caught.value).endswith("what to do: free space and rerun")
    assert not list(tmp_path.glob(".tmp-*"))
    assert outcome(trajectory, tmp_path) == undisturbed


def test_finished_files_are_published_whole(trajectory, tmp_path):
    run = finish(trajectory, tmp_path)
    for step, entry in run.manifest.checkpoints.items():
        content = (tmp_path / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        assert entry["file"] == f"checkpoints/step_{step:06d}.safetensors"


def test_publishing_copies_where_links_are_impossible_and_replaces_what_is_there(
    tmp_path, monkeypatch
):
    work, target = tmp_path / "work", tmp_path / "out" / "file"
    work.mkdir()
    (work / "file").write_bytes(b"new")
    target.parent.mkdir()
    target.write_bytes(b"old")

    def no_links(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    publish(work, {target: work / "file"})
    assert target.read_bytes() == b"new"
    (work / "file").write_bytes(b"changed later")
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_an_initial_state_is_before_the_first_step(trajectory, tmp_path):
    ledger, _ = train(trajectory, tmp_path, progress=False)
    first = read_checkpoint(tmp_path / "step_000000.safetensors", ledger[0])
    fresh = initial_state(trajectory.decoder, trajectory.recipe, trajectory.seed)
    assert first.step == 0
    assert torch.equal(first.theta, fresh.theta)
    assert all((first.moments[name] == 0).all() for name in fresh.moments)


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"steps": 40}, [*range(30, 40)]),
        ({"early_checkpoints": (3, 5)}, [3, 4]),
        ({"steps": 20}, []),
        ({"checkpoint_every": 15}, [*range(3, 15)]),
    ],
)
def test_another_schedule_trains_only_what_the_published_run_lacks(
    planted_benchmark, finished, tmp_path, changes, taken
):
    run = tiny_trajectory(planted_benchmark, tiny_recipe(**changes))
    published = finished("adamw")
    assert run.identity == published.trajectory.identity
    adopt(run, tmp_path / "adopted", published.manifest, published.metrics)
    again = watched(run)
    assert outcome(again, tmp_path / "adopted") == outcome(run, tmp_path / "from nothing")
    assert again.taken == taken


def test_two_attempts_do_not_disturb_each_other_and_a_dead_one_is_gone_on_from(
    trajectory, undisturbed, tmp_path
):
    with pytest.raises(Interrupt), attempt(tmp_path / "work") as dead:
        train(watched(trajectory, 15), dead, progress=False)
    with attempt(tmp_path / "work") as first, attempt(tmp_path / "work") as second:
        assert first == dead != second
        others = watched(trajectory)
        assert outcome(others, second) == undisturbed
        assert others.taken == [*range(30)]
        own = watched(trajectory)
        assert outcome(own, first) == undisturbed
        assert own.taken == [*range(10, 30)]
    assert not (tmp_path / "work").exists()


def test_divergence_stops_at_the_first_number_that_is_not_finite(planted_benchmark, tmp_path):
    """An update of 10^30 leaves float32's range within a few steps."""
    recipe = tiny_recipe(optimizer={"learning_rate": 1e30, "clip": None, "warmup_steps": 0})
    diverging = watched(tiny_trajectory(planted_benchmark, recipe))
    with pytest.raises(TrainingError) as stopped:
        train(diverging, tmp_path, progress=False)
    last = diverging.taken[-1]
    kept = sorted(int(file.stem[5:]) for file in tmp_path.glob("step_*"))
    assert str(stopped.value).startswith("training diverged: ")
    assert str(stopped.value).endswith(
        f" is not finite after step {last} — where: seed 3, learning rate 1e+30, clip none — "
        f"expected: finite numbers; the last sound checkpoint is that of step {kept[-1]} — what to "
        "do: lower the recipe's learning_rate, or set or lower its clip; nothing was published"
    )
    assert last < 30
    for step in kept:
        path = tmp_path / f"step_{step:06d}.safetensors"
        assert read_checkpoint(path, sha256_file(path)).not_finite() is None

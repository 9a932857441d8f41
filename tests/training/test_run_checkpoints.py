import json
import shutil

import pytest
import torch
from tiny_run import DIGEST, finish

from circuit.artifacts import read_json, read_tensors, sha256_file, write_json, write_tensors
from circuit.errors import ArtifactError, CheckpointError, MismatchError
from circuit.training.checkpoints import (
    Manifest,
    TrainState,
    checkpoint_name,
    read_checkpoint,
    write_checkpoint,
)


@pytest.fixture(scope="module")
def run(trajectory, tmp_path_factory):
    return finish(trajectory, tmp_path_factory.mktemp("run"))


@pytest.fixture
def copy(run, tmp_path):
    """The manifest of a copy of the run, to damage."""
    shutil.copytree(run.manifest.folder, tmp_path / "run")
    return Manifest.read(tmp_path / "run" / "manifest.json")


def file_of(manifest, step):
    return manifest.folder / "checkpoints" / f"step_{step:06d}.safetensors"


def test_a_state_survives_the_disk_bit_for_bit(tmp_path):
    generator = torch.Generator().manual_seed(0)
    theta, moment = torch.randn(2, 50, generator=generator)
    state = TrainState(theta, {"momentum_buffer": moment}, 123)
    path = tmp_path / checkpoint_name(123)
    digest = write_checkpoint(path, state, "identity")
    found = read_checkpoint(path, digest)
    assert (found.step, set(found.moments)) == (123, {"momentum_buffer"})
    assert torch.equal(found.theta, theta)
    assert torch.equal(found.moments["momentum_buffer"], moment)
    assert read_tensors(path)[1] == {"step": "123", "trajectory": "identity"}


def test_names_sort_by_step():
    assert checkpoint_name(30) == "step_000030.safetensors"
    assert sorted(map(checkpoint_name, (9000, 30, 16000))) == list(
        map(checkpoint_name, (30, 9000, 16000))
    )


def test_a_checkpoint_belongs_to_one_run(tmp_path):
    """Equal numbers of another trajectory have another digest."""
    state = TrainState(torch.ones(3), {}, 1)
    assert write_checkpoint(tmp_path / "a", state, "x") != write_checkpoint(
        tmp_path / "b", state, "y"
    )


def test_a_missing_checkpoint_is_named(copy):
    path = file_of(copy, 20)
    path.unlink()
    digest = copy.checkpoints[20]["sha256"]
    with pytest.raises(CheckpointError) as caught:
        copy.state(20)
    assert str(caught.value) == (
        f"checkpoint is missing — where: {path} — expected: the checkpoint with SHA-256 "
        f"{digest[:12]}… — what to do: run snakemake again to remake it by training, or restore "
        "the file"
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:100],
        lambda content: b"",
        lambda content: content[:2000] + bytes([content[2000] ^ 4]) + content[2001:],
        lambda content: content + b"x",
    ],
    ids=["one byte short", "truncated", "empty", "flipped bit", "longer"],
)
def test_a_damaged_checkpoint_is_refused_by_name(copy, damage):
    path = file_of(copy, 10)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError) as caught:
        copy.state(10)
    what, where, expected, do = str(caught.value).split(" — ")
    assert what == "checkpoint is damaged or was replaced: its digest differs from the manifest's"
    assert where == f"where: {path}"
    assert expected.startswith(f"expected: SHA-256 {copy.checkpoints[10]['sha256'][:12]}…, found ")
    assert do == (
        "what to do: delete the file and run snakemake again; training remakes the same bytes"
    )


def test_a_checkpoint_of_another_step_is_refused(copy):
    shutil.copy(file_of(copy, 20), file_of(copy, 10))
    with pytest.raises(CheckpointError, match="was replaced"):
        copy.state(10)


RERECORDED = {
    "float64": (lambda t: {n: v.double() for n, v in t.items()}, 10, "of another form"),
    "NaN": (lambda t: {**t, "theta": t["theta"].sqrt()}, 10, "theta holds NaN or infinity"),
    "no theta": (lambda t: {"exp_avg": t["exp_avg"]}, 10, "not a checkpoint"),
    "a missing moment": (lambda t: {"theta": t["theta"]}, 10, "is not one of run tiny"),
    "a shorter vector": (lambda t: {n: v[:-1] for n, v in t.items()}, 10, "is not one of run tiny"),
    "another shape": (lambda t: {**t, "exp_avg": t["exp_avg"][:-1]}, 10, "of another form"),
    "another step": (lambda t: t, 11, "is not one of run tiny"),
}


@pytest.mark.parametrize("case", RERECORDED)
def test_a_checkpoint_that_was_recorded_again_is_checked_for_what_it_is(copy, case):
    """Its digest stands in the manifest too, so only the content can tell."""
    change, step, message = RERECORDED[case]
    tensors, metadata = read_tensors(file_of(copy, 10))
    write_tensors(file_of(copy, 10), change(tensors), {**metadata, "step": str(step)}, vouched=True)
    copy.checkpoints[10]["sha256"] = sha256_file(file_of(copy, 10))
    with pytest.raises(CheckpointError, match=message):
        copy.state(10)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"environment": {"torch": "0"}},
        {"run": "other"},
        {"checkpoints": []},
        {"recipe": {}},
        {"more": 1},
    ],
)
def test_an_edited_manifest_is_refused(copy, change):
    path = copy.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArtifactError, match="file is damaged or was edited"):
        Manifest.read(path)


@pytest.mark.parametrize("change", [{"recipe": {}}, {"more": 1}, {"checkpoints": 3}])
def test_a_manifest_of_another_version_is_refused(copy, change):
    path = copy.folder / "manifest.json"
    write_json(path, {**read_json(path), **change})
    with pytest.raises(ArtifactError, match="manifest is not usable"):
        Manifest.read(path)


def test_a_step_without_a_checkpoint_names_the_nearest(run):
    with pytest.raises(CheckpointError) as caught:
        run.manifest.state(13)
    assert str(caught.value) == (
        f"run tiny has no checkpoint at step 13 — where: {run.manifest.folder / 'manifest.json'} "
        "— expected: one of 5 steps from 0 to 30 — what to do: use a step with a checkpoint (the "
        "nearest is 10)"
    )


@pytest.mark.parametrize("window", [(0, 25), (5, 10), (30, 40), (-10, 0), (10, 10), (20, 10)])
def test_a_window_lies_between_checkpoints(run, window):
    start, stop = window
    with pytest.raises(CheckpointError) as caught:
        run.manifest.require_window(start, stop)
    assert str(caught.value) == (
        f"window {start}..{stop} does not lie between checkpoints of run tiny — where: "
        f"{run.manifest.folder / 'manifest.json'} — expected: two checkpoint steps, the first "
        "smaller, out of 0, 3, 10, 20, 30 — what to do: choose a window that starts and ends on "
        "checkpoints"
    )


def test_any_two_checkpoints_are_a_window(run):
    run.manifest.require_window(0, 30)
    run.manifest.require_window(3, 20)


def test_a_long_list_of_steps_is_shortened(run):
    steps = {s: {"file": "", "sha256": ""} for s in range(0, 16001, 250)}
    manifest = Manifest(**{**vars(run.manifest), "checkpoints": steps})
    with pytest.raises(CheckpointError, match=r"out of 0, 250, 500, 750, …, 15750, 16000 "):
        manifest.require_window(1, 2)


def test_another_benchmark_is_refused(run):
    run.manifest.require_benchmark(DIGEST, "data/planted")
    with pytest.raises(MismatchError) as caught:
        run.manifest.require_benchmark("c" * 64, "data/other")
    assert str(caught.value) == (
        "wrong benchmark for run tiny — where: data/other — expected: benchmark planted with "
        f"digest {'b' * 12}…, found {'c' * 12}… — what to do: use the benchmark the run was "
        "trained on, or train the run again"
    )


def test_a_manifest_survives_the_disk(run, tmp_path):
    run.manifest.write(tmp_path / "manifest.json")
    again = Manifest.read(tmp_path / "manifest.json")
    assert again.folder == tmp_path
    assert {**vars(again), "folder": None} == {**vars(run.manifest), "folder": None}
    assert again.steps == (0, 3, 10, 20, 30)
    again.write(tmp_path / "again" / "manifest.json")
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (
        tmp_path / "manifest.json"
    ).read_bytes()


def test_a_manifest_makes_the_model_it_was_written_for(run):
    decoder = run.manifest.decoder()
    assert decoder.settings == run.trajectory.recipe.model
    assert decoder.layout.size == len(run.manifest.state(0).theta)
    assert decoder.vocab_size == run.trajectory.decoder.vocab_size

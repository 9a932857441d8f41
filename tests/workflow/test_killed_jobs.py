"""Jobs that are killed at any moment, run again, leave what an undisturbed job leaves.

``SIGKILL`` goes to Snakemake and its job together, as when a machine is switched off. After it a
user is told to call ``snakemake --unlock`` once, and then the same command as before.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_study import TINY, Tree, changed

from circuit.artifacts import sha256_file
from circuit.training.checkpoints import Manifest

LONG = changed(
    TINY,
    {
        "recipes.tiny.steps": 300,
        "studies.quickstart.windows.formation": [100, 200],
        "studies.quickstart.replay.segments_per_job": 10,
    },
)
HALVES = changed(LONG, {"studies.quickstart.replay.segments_per_job": 5})
TRAIN = "results/quickstart/seed7/train"
MANIFEST = f"{TRAIN}/manifest.json"
REPLAY = "results/quickstart/seed7/replay/000100_000200"
REPLAYED = f"{REPLAY}/components.parquet"
REPLAY_LOG = "logs/replay/quickstart/seed7/000100_000200.log"
ATTRIBUTED = "results/quickstart/seed7/attribution/rows.parquet"
WORK = "results/.work"

Moment = Callable[[Tree], bool]


@pytest.fixture(scope="module")
def untrained(finished: Tree, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A benchmark and nothing else, under a recipe long enough to be killed in between."""
    tree = finished.copy(tmp_path_factory.mktemp("untrained") / "tree")
    tree.configure(LONG)
    for folder in ("results", "logs"):
        shutil.rmtree(tree.path(folder))
    return tree


@pytest.fixture(scope="module")
def trained(untrained: Tree, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The same, trained without a disturbance."""
    tree = untrained.copy(tmp_path_factory.mktemp("trained") / "tree")
    tree.run(MANIFEST)
    return tree


@pytest.fixture(scope="module")
def replayed(trained: Tree, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """And replayed without a disturbance."""
    tree = trained.copy(tmp_path_factory.mktemp("replayed") / "tree")
    tree.run(REPLAYED)
    return tree


def start(tree: Tree, target: str) -> subprocess.Popen[str]:
    """Snakemake and its jobs as one group of processes, as a shell starts them."""
    return subprocess.Popen(
        tree.command("--cores", "1", target),
        cwd=tree.folder,
        env=tree.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def kill(
    tree: Tree, target: str, moment: Moment, delay: float = 0, how: int = signal.SIGKILL
) -> bool:
    """Start a call and kill it some seconds after a moment; False where it was done before."""
    running = start(tree, target)
    deadline = time.monotonic() + 120
    while running.poll() is None and not moment(tree):
        assert time.monotonic() < deadline, "the moment did not come"
        time.sleep(0.002)
    time.sleep(delay)
    if running.poll() is None:
        os.killpg(running.pid, how)
    running.wait(60)
    return running.returncode != 0


def unlock(tree: Tree, target: str) -> None:
    """What a user does who reads what is on the screen."""
    refused = tree.call("--cores", "1", target)
    assert refused.returncode == 1
    assert "Directory cannot be locked" in refused.stdout
    assert "It can be removed with the --unlock argument" in refused.stdout
    assert tree.call("--unlock").returncode == 0


def checkpoints_in_work(number: int) -> Moment:
    """So many checkpoints are written and vouched for."""
    return lambda tree: len(list(tree.folder.glob(f"{WORK}/*/*/metrics_*.parquet"))) >= number


def publishing(tree: Tree) -> bool:
    """The first finished checkpoint is where it belongs."""
    return any(tree.folder.glob(f"{TRAIN}/checkpoints/*"))


def assert_trained_alike(tree: Tree, trained: Tree) -> None:
    """The same bytes as without a disturbance, and no trace of it."""
    for name in ("manifest.json", "metrics.parquet"):
        assert (
            tree.path(f"{TRAIN}/{name}").read_bytes()
            == trained.path(f"{TRAIN}/{name}").read_bytes()
        )
    manifest = Manifest.read(tree.path(MANIFEST))
    assert len(manifest.checkpoints) == 31
    for entry in manifest.checkpoints.values():
        assert sha256_file(manifest.folder / entry["file"]) == entry["sha256"]
    assert hidden(tree) == []


def hidden(tree: Tree) -> list[Path]:
    """Unfinished files and work folders."""
    return list(tree.path("results").rglob(".*"))


@pytest.mark.parametrize(
    "moment",
    [checkpoints_in_work(5), pytest.param(publishing, marks=pytest.mark.slow)],
    ids=["training", "publishing"],
)
def test_killed_training_goes_on(
    untrained: Tree, trained: Tree, tmp_path: Path, moment: Moment
) -> None:
    tree = untrained.copy(tmp_path / "tree")
    assert kill(tree, MANIFEST, moment)
    assert not tree.path(MANIFEST).exists()
    unlock(tree, MANIFEST)
    log = tree.run(MANIFEST)
    assert not re.search(r"(?<!\d)0/300", log)  # it did not begin anew
    assert_trained_alike(tree, trained)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_training_killed_at_random_moments(
    untrained: Tree, trained: Tree, tmp_path: Path, seed: int
) -> None:
    """Anywhere from Snakemake's start on, and again in the second attempt."""
    tree, draw = untrained.copy(tmp_path / "tree"), random.Random(seed)
    for _ in range(2):
        if kill(tree, MANIFEST, lambda _: True, delay=draw.uniform(0.5, 8)):
            tree.call("--unlock")
    tree.run(MANIFEST)
    assert_trained_alike(tree, trained)


def replaying(tree: Tree) -> bool:
    """The job is at work: it has said so in its log."""
    log = tree.path(REPLAY_LOG)
    return log.is_file() and "replay:" in log.read_text()


def writing(tree: Tree) -> bool:
    """The first table, finished or not, is there."""
    return any(tree.path(REPLAY).glob("*"))


def ready_to_replay(replayed: Tree, folder: Path) -> Tree:
    tree = replayed.copy(folder)
    for file in [*tree.path(REPLAY).iterdir(), tree.path(REPLAY_LOG)]:
        file.unlink()
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("moment", [replaying, writing])
def test_killed_replay_gives_the_same_tables(
    replayed: Tree, tmp_path: Path, snapshot: Callable[[Path], dict[str, bytes]], moment: Moment
) -> None:
    tree = ready_to_replay(replayed, tmp_path / "tree")
    assert kill(tree, REPLAYED, moment)
    unlock(tree, REPLAYED)
    tree.run(REPLAYED)
    assert snapshot(tree.path(REPLAY)) == snapshot(replayed.path(REPLAY))
    assert hidden(tree) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_replay_killed_at_random_moments(
    replayed: Tree, tmp_path: Path, snapshot: Callable[[Path], dict[str, bytes]], seed: int
) -> None:
    tree, draw = ready_to_replay(replayed, tmp_path / "tree"), random.Random(seed)
    if kill(tree, REPLAYED, lambda _: True, delay=draw.uniform(1, 10)):
        tree.call("--unlock")
    tree.run(REPLAYED)
    assert snapshot(tree.path(REPLAY)) == snapshot(replayed.path(REPLAY))
    assert hidden(tree) == []


@pytest.mark.slow
def test_a_killed_attribution_goes_on_from_its_finished_stretches(
    trained: Tree, tmp_path: Path, snapshot: Callable[[Path], dict[str, bytes]]
) -> None:
    """Two jobs replay the window, one after the other; the second is killed."""
    undisturbed = trained.copy(tmp_path / "undisturbed")
    undisturbed.configure(HALVES)
    undisturbed.run(ATTRIBUTED)
    tree = trained.copy(tmp_path / "tree")
    tree.configure(HALVES)
    assert kill(tree, ATTRIBUTED, lambda tree: len(begun(tree)) == 2)
    unlock(tree, ATTRIBUTED)
    first, _ = sorted(begun(tree), key=lambda log: log.stat().st_mtime)
    stretch = tree.path(f"results/quickstart/seed7/replay/{first.stem}")
    kept = {file: file.stat().st_mtime_ns for file in stretch.iterdir()}
    assert len(kept) > 1
    assert tree.planned(ATTRIBUTED) == {"replay": 1, "update_attribution": 1}
    tree.run(ATTRIBUTED)
    assert {file: file.stat().st_mtime_ns for file in stretch.iterdir()} == kept
    for folder in ("replay", "attribution"):
        place = f"results/quickstart/seed7/{folder}"
        assert snapshot(tree.path(place)) == snapshot(undisturbed.path(place))
    assert hidden(tree) == []


def begun(tree: Tree) -> list[Path]:
    """Logs of the replay jobs that have been at work."""
    logs = tree.path("logs/replay/quickstart/seed7").glob("*.log")
    return [log for log in logs if "replay:" in log.read_text()]


@pytest.mark.slow
def test_an_interrupted_call_needs_no_unlocking(
    untrained: Tree, trained: Tree, tmp_path: Path
) -> None:
    """Ctrl-C: Snakemake ends its jobs and gives its lock back."""
    tree = untrained.copy(tmp_path / "tree")
    assert kill(tree, MANIFEST, checkpoints_in_work(5), how=signal.SIGINT)
    tree.run(MANIFEST)
    assert_trained_alike(tree, trained)


@pytest.mark.slow
def test_a_study_killed_again_and_again_ends_with_the_same_bytes(
    finished: Tree,
    fresh: Callable[..., Tree],
    snapshot: Callable[[Path], dict[str, bytes]],
) -> None:
    """From nothing, killed ten times at any moment: every file of it, reports and figures too."""
    tree, draw = fresh(), random.Random(0)
    for _ in range(10):
        assert kill(tree, "quickstart", lambda _: True, delay=draw.uniform(4, 16))
        assert tree.call("--unlock").returncode == 0
    tree.run("quickstart", cores=2)
    for folder in ("data", "results"):
        again, before = snapshot(tree.path(folder)), snapshot(finished.path(folder))
        assert again.keys() == before.keys()
        assert [name for name in before if again[name] != before[name]] == []
    assert tree.planned() == {}

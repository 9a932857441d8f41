"""What a second core saves when a window is attributed: the jobs that replay it, one by one or two.

A small study is made in a temporary folder and trained. Then Snakemake replays the jobs of its
window with ``--cores 1`` and with ``--cores 2``, each job with one thread, in interleaved rounds.
Everything counts, Snakemake's own start as well. The tables must not depend on it: their SHA-256
are compared. Run it with ``make bench``, on a machine with two idle cores.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from circuit.artifacts import sha256_file
from circuit.config.plan import Plan
from circuit.config.study import load_settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "workflow"))
from tiny_study import TINY, Tree, changed

ANALYSES = TINY["studies"]["quickstart"]["analyses"]
RUN = ("quickstart", "seed7")
CORES = (1, 2)
JOBS, STEPS = 4, 100  # jobs of a window, and steps of a job


def main() -> None:
    """Time both, and compare what they leave."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of each of the jobs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = trained(Path(folder) / "tree", options.steps)
        config = load_settings(study(options.steps))
        folders = [job.folder for job in Plan(config).replay_jobs(*RUN)]
        times: dict[int, list[float]] = {cores: [] for cores in CORES}
        left = set()
        for _ in range(options.rounds):
            for cores in CORES:
                start = time.perf_counter()
                tree.run(*(f"{name}/verification.parquet" for name in folders), cores=cores)
                times[cores].append(time.perf_counter() - start)
                left.add(tuple(digests(tree, folders)))
                for name in folders:
                    shutil.rmtree(tree.path(name))
    one, two = (statistics.median(times[cores]) for cores in CORES)
    print(f"{len(folders)} jobs of {options.steps} steps, {options.rounds} rounds")
    print(f"1 core {one:6.1f} s, 2 cores {two:6.1f} s: ratio {two / one:.2f}")
    if len(left) != 1:
        sys.exit("tables differ")
    print(f"all {len(next(iter(left)))} tables are equal in every round")


def study(steps: int) -> dict[str, object]:
    """The tests' tiny study with a model large enough for a job to take a while."""
    end, of = JOBS * steps, "studies.quickstart"
    chosen = {name: ANALYSES[name] for name in ("head_scan", "attribution", "data")}
    changes = {
        "recipes.tiny.model.d_model": 64,
        "recipes.tiny.model.d_ff": 256,
        "recipes.tiny.batch_size": 32,
        "recipes.tiny.steps": end,
        "recipes.tiny.checkpoint_every": steps,
        "recipes.sparse.checkpoint_every": steps,
        f"{of}.windows.formation": [0, end],
        f"{of}.analyses": chosen,
        # Warming up would replay each job's predecessor too.
        f"{of}.analyses.data.memory": 0,
    }
    return changed(TINY, changes)


def trained(folder: Path, steps: int) -> Tree:
    """All that the replays need."""
    tree = Tree.new(folder, study(steps))
    names = ("train/manifest.json", "head_scan/heads.json")
    tree.run(*(f"results/{'/'.join(RUN)}/{name}" for name in names), cores=2)
    return tree


def digests(tree: Tree, folders: list[str]) -> list[tuple[str, str]]:
    """Name and SHA-256 of every table of the jobs."""
    tables = sorted(path for name in folders for path in tree.path(name).glob("*.parquet"))
    return [(str(path.relative_to(tree.folder)), sha256_file(path)) for path in tables]


if __name__ == "__main__":
    main()

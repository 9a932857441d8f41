"""Snakemake's command line, whose scripts run where the library is loaded already.

Two thirds of a job of a tiny study are spent on importing PyTorch, pandas and matplotlib. Here one
process imports them and becomes each script by a fork, in the job's folder; all else is as typed:

    python -c "import preloaded; preloaded.main()" quickstart --cores 2

Only for studies whose library says what the project's does.
"""

import os
import runpy
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import snakemake.cli
from snakemake.benchmark import benchmarked
from snakemake.script import PythonScript

LIBRARY = Path(__file__).resolve().parents[2] / "src"


def modules() -> list[str]:
    """What scripts load."""
    kinds = sorted(LIBRARY.glob("circuit/kinds/*/"))
    parts = [(one.name, part) for one in kinds for part in ("settings", "measure", "view")]
    named = [f"circuit.kinds.{kind}.{part}" for kind, part in parts]
    return [*named, "circuit.training.replay", "circuit.reports.page", "snakemake.script"]


def run(script: str, folder: str) -> None:
    """Become a script; its exit status is the process's."""
    os.chdir(folder)
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")


def main() -> None:
    """Become a call of snakemake with the program's arguments."""
    # Where the Snakefile has its jobs look for the library.
    sys.path.insert(0, str(Path("src").resolve()))
    server = get_context("forkserver")
    server.set_forkserver_preload(modules())

    def execute(self: Any, script: str, edit: bool = False) -> None:
        process = server.Process(target=run, args=(script, os.getcwd()))
        process.start()
        with benchmarked(process.pid, self.bench_record):
            process.join()
        if process.exitcode:
            raise subprocess.CalledProcessError(process.exitcode, script)

    PythonScript.execute_script = execute
    sys.argv[0] = "snakemake"
    snakemake.cli.main()

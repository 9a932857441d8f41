"""Many calls of snakemake for little more than the price of their work.

Half of a dry run of a small study is spent on importing Snakemake, and half of the rest on
importing the workflow's library and SciPy. Run as a program, this file imports them once and forks
a process for each call, two at a time:

    python many_calls.py CALLS      a JSON list of [folder, arguments, file for the output]

Each call goes through Snakemake's command line as if typed in the folder. Calls in folders whose
library is not the project's come first, and import their own.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import pydantic  # noqa: F401
import scipy.optimize  # noqa: F401
import smart_open  # noqa: F401
import snakemake.cli

AT_ONCE = 2
LIBRARY = Path(__file__).resolve().parents[2] / "src"


def times(library: Path) -> dict[str, float]:
    """When each file of a library was written; copies keep it."""
    files = (Path(folder, name) for folder, _, names in os.walk(library) for name in names)
    return {str(f.relative_to(library)): f.stat().st_mtime for f in files if f.suffix == ".py"}


def call(folder: str, arguments: list[str], output: str) -> None:
    """Become a call of snakemake."""
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    if "circuit" in sys.modules:  # as if it was read from there: it says the same
        sys.modules["circuit"].__file__ = str(Path(folder, "src", "circuit", "__init__.py"))
    sys.argv = ["snakemake", "--nocolor", *arguments]
    try:
        snakemake.cli.main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)


def main() -> None:
    """Work off the list."""
    snakemake.cli.get_argument_parser()  # looks all plugins up
    listed, here = json.loads(Path(sys.argv[1]).read_text()), times(LIBRARY)
    calls = [(times(Path(folder, "src")) == here, folder, *rest) for folder, *rest in listed]
    running = 0
    for same, folder, arguments, output in sorted(calls):
        if same and "circuit" not in sys.modules:
            sys.path.insert(0, str(LIBRARY))
            importlib.import_module("circuit.config.plan")
        if running == AT_ONCE:
            os.wait()
            running -= 1
        if os.fork() == 0:
            try:
                call(folder, arguments, output)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)
        running += 1
    for _ in range(running):
        os.wait()


if __name__ == "__main__":
    main()

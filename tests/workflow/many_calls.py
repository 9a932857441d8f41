"""Many calls of snakemake for little more than the price of their work.

Half of a dry run of a small study is spent on importing Snakemake. Run as a program, this file
imports it once and forks a process for each call, two at a time:

    python many_calls.py CALLS      a JSON list of [folder, arguments, file for the output]

Each call goes through Snakemake's command line as if typed in the folder.
"""

import json
import os
import sys
from pathlib import Path

import pydantic  # noqa: F401  (the workflow's own imports are each tree's, so not these)
import snakemake.cli

AT_ONCE = 2


def call(folder: str, arguments: list[str], output: str) -> None:
    """Become a call of snakemake."""
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    sys.argv = ["snakemake", "--nocolor", *arguments]
    try:
        snakemake.cli.main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)


def main() -> None:
    """Work off the list."""
    running = 0
    for folder, arguments, output in json.loads(Path(sys.argv[1]).read_text()):
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

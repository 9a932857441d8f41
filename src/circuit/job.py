"""How a script runs: its log, its thread count, and what a reader sees when it fails.

The library proper neither logs nor exits; scripts wrap their one call in :func:`job`.
"""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit.errors import CircuitError


@dataclass(frozen=True)
class Facts:
    """What a job is: the analysis it makes, its inputs, and what goes into its provenance.

    ``settings`` is the rule's canonical JSON, ``kind`` the kind of analysis, ``runs`` the runs that
    a study-wide one compares, ``code`` the fingerprints of the library modules its
    script reaches.
    """

    analysis: str
    study: str
    run: str | None
    settings: str
    kind: str
    runs: tuple[str, ...]
    code: tuple[str, ...]
    inputs: dict[str, Any]
    output: Any
    threads: int


@contextlib.contextmanager
def job(workflow_job: Any, torch: bool = True) -> Iterator[Facts]:
    """Run a script's body.

    stderr goes to the log, so that progress bars of jobs side by side leave the screen alone. A
    :class:`CircuitError` becomes one line, on the screen too, and exit status 1; any other
    exception is a bug: its traceback goes to the log and the exception on to the caller.
    Torch's thread count, which is part of a run's numerical identity, is set for scripts that use
    ``torch``.
    """
    log = Path(workflow_job.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    screen = sys.stderr
    # A line at a time: whoever watches the log sees how far the job is.
    with log.open("w", encoding="utf-8", buffering=1) as file, contextlib.redirect_stderr(file):
        try:
            if torch:
                import torch as library

                library.set_num_threads(workflow_job.threads)
            yield _facts(workflow_job)
        except CircuitError as error:
            for place in (file, screen):
                print(f"error: {error}", file=place)
            raise SystemExit(1) from None
        except Exception:
            traceback.print_exc(file=file)
            raise


def _facts(workflow_job: Any) -> Facts:
    wildcards, params = workflow_job.wildcards, workflow_job.params
    inputs = {
        name: value if isinstance(value, str) else [str(v) for v in value]
        for name, value in workflow_job.input.items()
    }
    return Facts(
        analysis=str(wildcards.get("analysis", "")),
        study=str(wildcards.get("study", "")),
        run=wildcards.get("run"),
        settings=str(params.get("settings", "{}")),
        kind=str(params.get("kind", "")).removeprefix("kind="),
        runs=tuple(params.get("runs", ())),
        code=code_of(params),
        inputs=inputs,
        output=workflow_job.output,
        threads=workflow_job.threads,
    )


def code_of(params: Any) -> tuple[str, ...]:
    """The fingerprints among a job's parameters (``circuit/….py@digest``, its script's too)."""
    return tuple(v for v in params if isinstance(v, str) and re.fullmatch(r"[\w/]+\.py@\w+", v))

"""How a script runs: its log, its thread count, and what a reader sees when it fails.

The library proper neither logs nor exits; scripts wrap their one call in :func:`job`.
"""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from circuit.errors import CircuitError


class _Tee:
    """Write to the log and to the screen."""

    def __init__(self, *streams: TextIO) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
            stream.flush()
        return len(text)

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()

    def isatty(self) -> bool:
        """Whether somebody watches: decides how often a progress bar is drawn."""
        return self.streams[-1].isatty()


@contextlib.contextmanager
def job(log: str | Path, threads: int | None = None) -> Iterator[float]:
    """Run a script's body; yields the start on ``time.perf_counter``'s clock.

    stderr goes to the log too. A :class:`CircuitError` becomes one line and exit status 1; any
    other exception is a bug: its traceback goes to the log and the exception on to the caller.

    Args:
        threads: torch's thread count, part of a run's numerical identity; None for scripts without
            torch.
    """
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with Path(log).open("w") as file, contextlib.redirect_stderr(_Tee(file, sys.__stderr__)):  # type: ignore[type-var]
        try:
            if threads is not None:
                import torch

                torch.set_num_threads(threads)
            yield time.perf_counter()
        except CircuitError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except Exception:
            traceback.print_exc(file=file)
            raise

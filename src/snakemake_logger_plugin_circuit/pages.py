"""Unfinished pages: what goes on them, made by a process of its own, one at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

EVERY = 60.0  # seconds, at least, before the first page and between two

PLANNED: dict[int, dict[str, Any]] = {}
"""What the Snakefile knows of the pages that a call makes, by the number of the page's job.

``study``, ``title``, ``focus``, ``page`` (its path), ``reports`` and ``audits``: of each file the
number of the job that makes it, None where it is up to date.
"""


class Pages:
    """Has unfinished pages made while jobs finish, and takes them away with the last."""

    def __init__(self, began: float) -> None:
        self.looked = began
        self.shown = 0  # reports on the last one
        self.process: subprocess.Popen[bytes] | None = None
        self.path: Path | None = None
        self.there = False

    def look(self, now: float, finished: Set[int], running: Set[int]) -> Path | None:
        """Start a page if it is time; return the first one's path once, when it is there."""
        first = None
        if self.process is not None:
            if self.process.poll() is None:
                return None
            if self.process.returncode == 0 and not self.there:
                self.there, first = True, self.path
            self.process, self.looked = None, now
        if now - self.looked < EVERY:
            return first
        for job, page in PLANNED.items():
            content = None if job in finished | running else ready(page, finished)
            if content is not None and len(content["reports"]) > self.shown:
                self.shown, self.path = len(content["reports"]), Path(content["page"])
                self.process = _start(content)
                break
        return first

    def finished(self, job: int) -> None:
        """A whole page takes the place of the unfinished one."""
        if job in PLANNED:
            self.wait()
            unfinished(PLANNED[job]["page"]).unlink(missing_ok=True)

    def wait(self) -> None:
        """Let a page that is being made be finished."""
        if self.process is not None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=30)
            self.process.kill()
            self.process = None


def unfinished(page: str) -> Path:
    """Where the unfinished page lies beside a page."""
    return Path(page).with_name("unfinished.html")


def ready(page: Mapping[str, Any], finished: Set[int]) -> dict[str, Any] | None:
    """What can be put on a page now: of the focus run something, and not yet everything."""
    there = {
        name: [file for file, job in page[name].items() if job is None or job in finished]
        for name in ("reports", "audits")
    }
    told = any(page["focus"] in Path(file).parts for file in there["reports"])
    if not told or len(there["reports"]) == len(page["reports"]):
        return None
    path = str(unfinished(page["page"]))
    return {**page, **there, "page": path, "of": len(page["reports"])}


def _start(content: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    log = Path("logs", "report", f"{content['study']}.unfinished.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "circuit.reports.unfinished", json.dumps(content)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,  # Ctrl-C ends jobs, and leaves no half-written file here
        )
    return process

"""What a person sees while a study is made; ``logger: circuit`` in a profile switches it on.

One line says what is being made and how much is left. Snakemake's own messages stay in its log
file, but for warnings and errors, and for calls that run no job (dry runs, ``--summary``,
``--lint``, …), which print as ever. ``--verbose``, ``--printshellcmds``, ``--debug-dag`` and
``--quiet`` bring Snakemake's own screen back. Until a study's page is there, an unfinished one is
made of the analyses that are done.

Snakemake imports this package before it reads the Snakefile, whatever the workflow. So it imports
nothing of ``circuit``, of which one workflow can have one copy only.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_circuit.left import Jobs, earlier
from snakemake_logger_plugin_circuit.pages import Pages

SECONDS = Path(".snakemake/seconds.json")
EVERY = 20.0  # seconds between two lines where none can be rewritten


class LogHandler(LogHandlerBase):
    """Snakemake's messages as one line, and in Snakemake's words where that is what is wanted."""

    def __post_init__(self) -> None:
        # Loaded by now; when this package is imported, it is what imports it.
        from snakemake.logging import ColorizingTextHandler, DefaultFormatter

        asked = self.common_settings
        self.stream = sys.stdout if asked.stdout else sys.stderr
        self.words = ColorizingTextHandler(asked.nocolor, self.stream)
        self.words.setFormatter(DefaultFormatter(asked.quiet, asked.show_failed_logs))
        self.plain = bool(asked.verbose or asked.printshellcmds or asked.debug_dag or asked.quiet)
        self.rewrites = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.held: list[logging.LogRecord] = []  # until it is known whether jobs are run
        self.jobs = Jobs({})
        self.pages: Pages | None = None  # as long as no job has begun
        self.began = self.told = 0.0  # seconds since the epoch
        self.over = threading.Event()

    @property
    def writes_to_stream(self) -> bool:
        """In place of Snakemake's own."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake has its log file beside this."""
        return False

    @property
    def has_filter(self) -> bool:
        """Snakemake's filter applies."""
        return False

    @property
    def has_formatter(self) -> bool:
        """None is needed."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """It does not."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a message; print it where a person needs its words."""
        try:
            self._take(record, getattr(record, "event", None))
        except Exception:  # else the thread that emits would end, and with it all messages
            self.handleError(record)

    def _take(self, record: logging.LogRecord, event: LogEvent | None) -> None:
        if self.common_settings.dryrun:
            self.words.emit(record)
            return
        if event == LogEvent.JOB_INFO and self.pages is None:
            self._begin(record.created)
        self.jobs.note(record)
        if event == LogEvent.JOB_FINISHED and self.pages is not None:
            self.pages.finished(record.__dict__["job_id"])
        if self.plain or record.levelno >= logging.WARNING:
            self._say(record)
        elif self.pages is None:
            self.held.append(record)

    def _begin(self, now: float) -> None:
        self.began = self.told = now
        self.pages = Pages(now)
        self.jobs.earlier = earlier(SECONDS)
        self.held.clear()
        if not self.plain:
            handlers = logging.getLogger("snakemake.logging").handlers
            log = next((h.baseFilename for h in handlers if isinstance(h, logging.FileHandler)), "")
            kept = f"; Snakemake's own log is {os.path.relpath(log)}" if log else ""
            self._print(f"{self.jobs.total:,} jobs to do{kept}")
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.over.wait(1.0):
            self.acquire()
            try:
                with suppress(Exception):  # a line or page less, never a job
                    self.tell(time.time())
            finally:
                self.release()

    def tell(self, now: float) -> None:
        """Draw the line, or print a new one if it is time; look after the unfinished page."""
        if self.pages is not None:
            page = self.pages.look(now, self.jobs.finished, set(self.jobs.running))
            if page is not None:
                self._print(f"First results, on an unfinished page that fills up: {page}")
        if self.plain:
            return
        if self.rewrites:
            width = shutil.get_terminal_size().columns - 1
            line = self.jobs.line(now)
            line = line if len(line) <= width else f"{line[: width - 1]}…"
            # The cursor stays in front: what a failing job writes itself takes the line's place.
            print(f"\r\x1b[K{line}", end="\r", file=self.stream, flush=True)
        elif now - self.told >= EVERY:
            self.told = now
            self._print(self.jobs.line(now))

    def _say(self, *records: logging.LogRecord) -> None:
        self._wipe()
        for record in (*self.held, *records):
            self.words.emit(record)
        self.held.clear()

    def _print(self, text: str) -> None:
        self._wipe()
        print(text, file=self.stream, flush=True)

    def _wipe(self) -> None:
        if self.rewrites and self.pages is not None:
            print("\r\x1b[K", end="", file=self.stream, flush=True)

    def close(self) -> None:
        """Say how it ended. Snakemake calls this after its last message."""
        self.acquire()
        try:
            if not self.over.is_set():
                self.over.set()
                self._end()
        finally:
            self.release()
        super().close()

    def _end(self) -> None:
        self._say()
        if self.pages is not None:
            self.pages.wait()
            self.jobs.keep(SECONDS)
            if not self.plain:
                self._print(self.jobs.end(time.time() - self.began))

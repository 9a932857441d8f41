"""How far a call of Snakemake is, told from its messages, and how long the rest may take."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from snakemake_interface_logger_plugins.common import LogEvent

LONG = ("train", "replay")  # no other rule's seconds tell how long these take
NOTHING = 0.5  # seconds; less is a job that ran nothing, as under `--touch`
SHORT = 50  # seconds; less is not counted in minutes
ENOUGH = 5  # rules measured, for others to be taken to be like them
# A bar that a job draws in its log: ` 600/1300 [01:55<02:13,  5.00step/s, loss=0.9]`.
_BAR = re.compile(r"(\d+)/(\d+) \[[^\]]*?[\d?. ](?:s/)?([a-z]+)(?:/s)?[,\]]")


@dataclass(frozen=True)
class Running:
    """A job that runs: its rule, what a person calls it, when it began and where it logs."""

    rule: str
    words: str
    began: float
    log: str | None


class Jobs:
    """The jobs of a call: how many there are, which run, and what finished ones took.

    Args:
        earlier: mean seconds of a rule's jobs in earlier calls.
    """

    def __init__(self, earlier: Mapping[str, float]) -> None:
        self.earlier = earlier
        self.to_come: Counter[str] = Counter()  # not begun yet, by rule
        self.running: dict[int, Running] = {}
        self.finished: set[int] = set()
        self.failed: set[int] = set()  # and not tried again
        self.took: dict[str, list[float]] = {}  # seconds, by rule
        self.done = self.total = 0
        self.cores: int | None = None  # None: as many as a cluster gives

    def note(self, record: logging.LogRecord) -> None:
        """Take from a message of Snakemake what it says about jobs."""
        said = record.__dict__
        match said.get("event"):
            case LogEvent.RUN_INFO:
                self.to_come = Counter(said["stats"])
                self.total = self.to_come.pop("total")
            case LogEvent.RESOURCES_INFO:
                self.cores = said.get("cores", self.cores)
            case LogEvent.PROGRESS:
                self.done, self.total = said["done"], said["total"]
            case LogEvent.JOB_INFO:
                if said["jobid"] in self.failed:
                    self.failed.remove(said["jobid"])
                else:
                    self.to_come[said["rule_name"]] -= 1
                words = re.sub(r"\b0+(?=\d)", "", said["rule_msg"] or said["rule_name"])
                log = next(iter(said["log"]), None)
                began = Running(said["rule_name"], words, record.created, log)
                self.running[said["jobid"]] = began
            case LogEvent.JOB_FINISHED:
                self.finished.add(said["job_id"])
                job = self.running.pop(said["job_id"], None)
                if job and record.created - job.began > NOTHING:
                    self.took.setdefault(job.rule, []).append(record.created - job.began)
            case LogEvent.JOB_ERROR:
                self.failed.add(said["jobid"])
                self.running.pop(said["jobid"], None)

    def line(self, now: float) -> str:
        """What is being made and how much is left, at a time in seconds since the epoch."""
        bars = {job: steps_done(job) for job in self.running.values()}
        text = f"{self.done:,} of {self.total:,} done"
        if self.failed:
            text += f", {len(self.failed)} failed"
        if (seconds := self._left(now, bars)) is not None:
            text += f", {seconds}"
        makes = [
            f"{job.words}, {bar[2]} {bar[0]:,} of {bar[1]:,}" if bar else job.words
            for job, bar in bars.items()
        ]
        return f"{text} · {' · '.join(makes)}" if makes else text

    def end(self, seconds: float) -> str:
        """How it ended, after so many seconds."""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{self.done:,} of {self.total:,} jobs done{failed}, in {duration(seconds)}"

    def _left(self, now: float, bars: Mapping[Running, tuple[int, int, str] | None]) -> str | None:
        """The time left in words; None before anything is known of it.

        Work to come is spread over the cores; no job is split. Where something is left whose time
        cannot be told, what can be told is a lower bound.
        """
        if self.cores is None:
            return None
        whole = {  # seconds of jobs that say how far they are
            _sort(job.rule): (now - job.began) * bar[1] / bar[0]
            for job, bar in bars.items()
            if bar and bar[0]
        }
        told: list[float] = []  # seconds of every job that is left
        left: Counter[str] = +self.to_come  # rules of which nothing is known, with their jobs
        for job, bar in bars.items():
            elapsed = now - job.began
            if bar and bar[0]:
                told.append(elapsed * (bar[1] - bar[0]) / bar[0])
            elif (each := self._seconds(job.rule, whole)) is not None:
                told.append(max(0.0, each - elapsed))
            else:
                left[job.rule] += 1
        for rule, count in self.to_come.items():
            if (each := self._seconds(rule, whole)) is not None:
                told += [each] * count
                del left[rule]
        short = [fmean(took) for rule, took in self.took.items() if _sort(rule) not in LONG]
        bound = bool(left) and (len(short) < ENOUGH or any(_sort(rule) in LONG for rule in left))
        if left and not bound:
            told += [fmean(short)] * left.total()
        seconds = max(sum(told) / self.cores, max(told, default=0.0))
        if seconds < SHORT:
            return None if bound else "less than a minute left"
        return f"{'at least' if bound else 'about'} {duration(seconds)} left"

    def _seconds(self, rule: str, whole: Mapping[str, float]) -> float | None:
        """Seconds of a job: of this call, of earlier calls at this call's pace, of its sort."""
        if rule in self.took:
            return fmean(self.took[rule])
        if rule in self.earlier:
            both = [r for r in self.took if r in self.earlier]
            before = sum(self.earlier[r] for r in both)
            pace = sum(fmean(self.took[r]) for r in both) / before if before else 1.0
            return self.earlier[rule] * pace
        alike = [fmean(took) for r, took in self.took.items() if _sort(r) == _sort(rule)]
        return fmean(alike) if alike else whole.get(_sort(rule))

    def keep(self, path: Path) -> None:
        """Write what jobs took, for later calls to read with :func:`earlier`."""
        took = {rule: round(fmean(seconds), 2) for rule, seconds in self.took.items()}
        with suppress(OSError):
            path.write_text(json.dumps({**self.earlier, **took}, indent=0), encoding="utf-8")


def earlier(path: Path) -> dict[str, float]:
    """What jobs took in earlier calls; empty where nothing is known."""
    with suppress(OSError, ValueError, TypeError):
        kept = dict(json.loads(path.read_text(encoding="utf-8")))
        return {rule: float(seconds) for rule, seconds in kept.items()}
    return {}


def steps_done(job: Running) -> tuple[int, int, str] | None:
    """Steps done, steps in all and their name, from the end of what a running job has logged."""
    with suppress(OSError):
        # A log that the job has not opened yet is an earlier call's.
        if job.log and os.path.getmtime(job.log) > job.began:
            with open(job.log, "rb") as file:
                file.seek(max(0, os.path.getsize(job.log) - 400))
                bars = _BAR.findall(file.read().decode("utf-8", "replace"))
            if bars:
                done, of, unit = bars[-1]
                return int(done), int(of), unit
    return None


def duration(seconds: float) -> str:
    """Minutes, as people say them."""
    if seconds < SHORT:
        return "less than a minute"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _sort(rule: str) -> str:
    """Rules of the same work: every run's training, every kind's view."""
    head = rule.partition("_")[0]
    return head if head in ("train", "view") else rule

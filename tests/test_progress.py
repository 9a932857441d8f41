"""What is on the screen while a study is made, and when its unfinished page is made anew."""

import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_circuit import LogHandler, pages
from snakemake_logger_plugin_circuit.left import Jobs, earlier
from snakemake_logger_plugin_circuit.pages import PLANNED, Pages

SETTINGS = dict.fromkeys(
    ("dryrun", "verbose", "printshellcmds", "debug_dag", "quiet", "stdout", "nocolor"), False
)
STATS = {"train_s_seed7": 1, "train_s_seed11": 1, "head_scan": 2, "view_head_scan": 2, "total": 6}


def says(event: LogEvent | None, at: float, level: int = logging.INFO, **said: Any):
    """A message of Snakemake at a time in seconds."""
    record = logging.LogRecord("snakemake", level, "", 0, said.pop("msg", ""), (), None)
    record.__dict__.update(said, created=at, event=event)
    return record


def plan(stats: dict[str, int] = STATS, cores: int = 2) -> list[logging.LogRecord]:
    return [
        says(LogEvent.RESOURCES_INFO, 0, cores=cores),
        says(LogEvent.RUN_INFO, 0, stats=stats),
    ]


def begins(job: int, rule: str, at: float, log: str = "job.log") -> logging.LogRecord:
    return says(
        LogEvent.JOB_INFO, at, jobid=job, rule_name=rule, rule_msg=f"Making {rule}", log=[log]
    )


def ends(job: int, at: float) -> logging.LogRecord:
    return says(LogEvent.JOB_FINISHED, at, job_id=job)


def fails(job: int, rule: str, log: str) -> logging.LogRecord:
    said = {"rule_name": rule, "rule_msg": "Making it", "input": [], "output": [], "log": [log]}
    said |= {"conda_env": None, "shellcmd": None, "aux": {}, "msg": "Error"}
    return says(LogEvent.JOB_ERROR, 0, logging.ERROR, jobid=job, **said)


def after(*records: logging.LogRecord, known: dict[str, float] | None = None) -> Jobs:
    jobs = Jobs(known or {})
    for record in records:
        jobs.note(record)
    return jobs


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake").mkdir()
    return tmp_path


class TestTimeLeft:
    def test_nothing_is_said_before_anything_is_known(self) -> None:
        jobs = after(*plan(), begins(1, "train_s_seed7", 0))
        assert jobs.line(30) == "0 of 6 done · Making train_s_seed7"

    def test_a_job_that_says_how_far_it_is_tells_of_those_like_it(self, here: Path) -> None:
        bar = "train:  46%|####6  | 600/1300 [02:00<02:20,  5.00step/s, loss=0.9]"
        (here / "job.log").write_text(f"\rtrain: 0/1300 [00:00<?, ?step/s]\r{bar}")
        os.utime(here / "job.log", (120, 120))
        jobs = after(*plan(), begins(1, "train_s_seed7", 0))
        # 140 s of this one and 260 s of the other, on two cores; scans and views are unknown.
        line = "0 of 6 done, at least 4 min left · Making train_s_seed7, step 600 of 1,300"
        assert jobs.line(120) == line
        os.utime(here / "job.log", (-5, -5))  # the log of an earlier call
        assert jobs.line(120) == "0 of 6 done · Making train_s_seed7"

    @pytest.mark.parametrize("rate", ["1.12s/step", "?step/s", "5.00step/s"])
    def test_slow_and_fast_bars_are_read(self, here: Path, rate: str) -> None:
        (here / "job.log").write_text(f"replay:  2%|1 | 30/300 [00:30<05:00,  {rate}]\r")
        line = after(begins(1, "replay", 0)).line(30)
        assert line.endswith("Making replay, step 30 of 300")

    def test_measured_jobs_tell_of_the_rest_and_of_their_like(self) -> None:
        begun = [begins(1, "train_s_seed7", 0), begins(2, "head_scan", 0)]
        jobs = after(*plan(), *begun, ends(1, 240), ends(2, 60))
        assert "at least 4 min left" in jobs.line(300)  # (240 + 60) / 2, or 240: no job is split
        jobs.note(begins(3, "view_head_scan", 300))
        jobs.note(ends(3, 360))
        assert "about 4 min left" in jobs.line(360)  # (240 + 60 + 60) / 2, or 240

    def test_earlier_calls_tell_at_the_pace_of_this_one(self) -> None:
        stats = {"head_scan": 1, "replay": 6, "total": 7}
        known = {"head_scan": 10.0, "replay": 100.0}
        jobs = after(*plan(stats), known=known)
        assert "about 5 min left" in jobs.line(0)  # (10 + 600) / 2
        jobs.note(begins(1, "head_scan", 0))
        jobs.note(ends(1, 20))
        assert "about 10 min left" in jobs.line(20)  # 6 replays of 200 s on two cores

    def test_replays_are_not_taken_to_be_like_short_jobs(self) -> None:
        done = [r for i in range(5) for r in (begins(i, f"kind_{i}", 0), ends(i, 80))]
        short = after(*plan({"other": 3, "total": 9}), *done)
        assert "about 2 min left" in short.line(80)
        long = after(*plan({"other": 3, "kind_1": 4, "replay": 3, "total": 15}), *done)
        assert "at least 2 min left" in long.line(80)  # a bound guesses nothing

    def test_the_last_minute_and_many_hours_in_words(self) -> None:
        known = {"replay": 40.0}
        last = after(*plan({"replay": 1, "total": 1}), known=known)
        assert last.line(0) == "0 of 1 done, less than a minute left"
        many = after(*plan({"replay": 1000, "total": 1000}), known=known)
        assert many.line(0) == "0 of 1,000 done, about 5 h 33 min left"

    def test_a_cluster_gives_no_time(self) -> None:
        jobs = after(says(LogEvent.RUN_INFO, 0, stats=STATS), known=dict.fromkeys(STATS, 60.0))
        assert "left" not in jobs.line(0)

    def test_a_job_that_is_tried_again_is_one_job(self) -> None:
        known = {"replay": 120.0}
        again = [begins(1, "replay", 0), fails(1, "replay", "job.log"), begins(1, "replay", 0)]
        jobs = after(*plan({"replay": 2, "total": 2}, cores=1), *again[:2], known=known)
        assert jobs.line(0) == "0 of 2 done, 1 failed, about 2 min left"
        jobs.note(again[2])
        assert jobs.line(0) == "0 of 2 done, about 4 min left · Making replay"

    def test_what_ran_nothing_measures_nothing(self, here: Path) -> None:
        jobs = after(begins(1, "head_scan", 0), ends(1, 0.1), begins(2, "replay", 0), ends(2, 9))
        jobs.keep(here / "seconds.json")
        assert earlier(here / "seconds.json") == {"replay": 9.0}

    @pytest.mark.parametrize("text", ["{", "[]", '{"replay": "x"}'])
    def test_a_damaged_record_is_none(self, here: Path, text: str) -> None:
        (here / "seconds.json").write_text(text)
        assert earlier(here / "seconds.json") == {}


class Screen(io.StringIO):
    """What a handler has written, on a terminal or not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: terminal  # type: ignore[method-assign]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make a handler as Snakemake does; its thread waits for nothing."""
    made: list[LogHandler] = []
    monkeypatch.setattr(LogHandler, "_watch", lambda self: None)
    monkeypatch.setenv("COLUMNS", "60")

    def make(terminal: bool = False, **asked: Any) -> tuple[LogHandler, Screen]:
        stream = Screen(terminal)
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setattr("sys.stdout", stream)
        settings = SimpleNamespace(**{**SETTINGS, "show_failed_logs": True, **asked})
        made.append(LogHandler(settings, None))
        return made[-1], stream

    yield make
    for handler in made:
        handler.close()


def emit(handler: LogHandler, *records: logging.LogRecord) -> None:
    for record in records:
        handler.emit(record)


BANNER = says(None, 0, msg="Building DAG of jobs...")


class TestScreen:
    def test_calls_that_run_no_job_print_as_ever(self, screen: Any) -> None:
        handler, stream = screen()
        emit(handler, BANNER, says(None, 0, msg="Nothing to be done."))
        handler.close()
        assert stream.getvalue() == "Building DAG of jobs...\nNothing to be done.\n"

    def test_an_error_before_the_first_job_comes_after_what_led_to_it(self, screen: Any) -> None:
        handler, stream = screen()
        emit(handler, BANNER, says(LogEvent.ERROR, 0, logging.ERROR, msg="No rule to make x"))
        assert stream.getvalue() == "Building DAG of jobs...\nNo rule to make x\n"

    @pytest.mark.parametrize("asked", ["dryrun", "verbose", "printshellcmds", "quiet"])
    def test_snakemakes_own_screen_is_there_for_whom_asks(self, screen: Any, asked: str) -> None:
        handler, stream = screen(**{asked: {"host"} if asked == "quiet" else True})
        emit(handler, BANNER, *plan(), says(LogEvent.PROGRESS, 1, done=1, total=6))
        handler.tell(100)
        assert "Building DAG" in stream.getvalue()
        assert "1 of 6 steps (17%) done" in stream.getvalue()

    def test_in_a_pipe_a_line_comes_now_and_then(self, screen: Any) -> None:
        handler, stream = screen()
        emit(handler, BANNER, *plan(), begins(1, "head_scan", 100))
        for now in range(100, 150, 5):
            handler.tell(now)
        line = "0 of 6 done · Making head_scan\n"
        assert stream.getvalue() == f"6 jobs to do\n{line}{line}"

    def test_on_a_terminal_the_line_is_rewritten_and_fits(self, screen: Any) -> None:
        handler, stream = screen(terminal=True)
        emit(handler, *plan(), begins(1, "head_scan", 0), begins(2, "x" * 60, 0))
        handler.tell(1)
        drawn = stream.getvalue().rpartition("\x1b[K")[2]
        assert drawn == f"0 of 6 done · Making head_scan · Making {'x' * 18}…\r"
        assert len(drawn) == 60

    def test_a_failed_job_says_what_its_log_says(self, screen: Any, here: Path) -> None:
        (here / "job.log").write_text("error: no such head\n")
        handler, stream = screen()
        emit(handler, *plan(), begins(1, "head_scan", 0), fails(1, "head_scan", "job.log"))
        handler.tell(100)
        handler.close()
        said = stream.getvalue()
        assert "Error in rule head_scan:" in said
        assert said.count("error: no such head\n") == 1
        assert "0 of 6 done, 1 failed\n" in said
        assert "\n0 of 6 jobs done, 1 failed, in " in said


class Process:
    """A page in the making."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content, self.returncode = content, None

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float) -> None:
        self.returncode = 0

    def kill(self) -> None:
        pass


class TestUnfinishedPage:
    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[Process]:
        made: list[Process] = []

        def start(content: dict[str, Any]) -> Process:
            made.append(Process(content))
            return made[-1]

        reports = {"r/s/dataset/report.json": None, "r/s/seed11/scan/report.json": 1}
        reports |= {"r/s/seed7/scan/report.json": 2, "r/s/seed7/sweep/report.json": 3}
        page = {"study": "s", "title": "S", "focus": "seed7", "page": "r/s/report.html"}
        monkeypatch.setattr(pages, "_start", start)
        monkeypatch.setitem(
            PLANNED, 9, {**page, "reports": reports, "audits": {"d/audit.json": None}}
        )
        return made

    def test_of_the_told_run_something_and_of_all_not_everything(
        self, started: list[Process]
    ) -> None:
        page = Pages(began=0)
        page.look(100, {1}, set())
        assert started == []
        page.look(100, {1, 2, 3}, set())
        assert started == []
        page.look(100, {2}, {9})  # the whole page is being made
        assert started == []
        page.look(100, {2}, set())
        (process,) = started
        assert process.content["reports"] == [
            "r/s/dataset/report.json",
            "r/s/seed7/scan/report.json",
        ]
        assert process.content["of"] == 4
        assert process.content["page"] == "r/s/unfinished.html"

    def test_one_at_a_time_at_intervals_and_only_with_more_to_show(
        self, started: list[Process]
    ) -> None:
        page = Pages(began=0)
        assert page.look(pages.EVERY - 1, {2}, set()) is None
        assert started == []
        page.look(100, {2}, set())
        page.look(300, {1, 2}, set())
        assert len(started) == 1
        started[0].returncode = 0
        assert page.look(301, {1, 2}, set()) == Path("r/s/unfinished.html")
        assert len(started) == 1
        page.look(301 + pages.EVERY, {1, 2}, set())
        assert len(started) == 2
        started[1].returncode = 1  # a page that fails is tried again with the next report
        assert page.look(400, {1, 2}, set()) is None
        page.look(900, {1, 2}, set())
        assert len(started) == 2

    def test_the_whole_page_takes_its_place(self, started: list[Process], here: Path) -> None:
        file = here / "r" / "s" / "unfinished.html"
        file.parent.mkdir(parents=True)
        file.touch()
        page = Pages(began=0)
        page.look(100, {2}, set())
        page.finished(3)
        assert file.exists()
        page.finished(9)
        assert not file.exists()
        assert started[0].returncode == 0

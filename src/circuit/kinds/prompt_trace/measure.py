"""One program, one read, one checkpoint: what every part of the model does towards the answer."""

from __future__ import annotations

from circuit.kinds.prompt_trace.settings import Settings
from circuit.measures.paths import trace
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """The trace of one read, and its numbers beside those of the run's first checkpoint."""
    run, asked = OpenRun(job), job.settings
    first = run.steps[0]
    (step,) = run.at([asked.checkpoint])
    words = run.benchmark.vocabulary
    found, before = (
        trace.prompt_trace(run.counted, run.theta(at), run.events, asked.event, words, asked.top)
        for at in (step, first)
    )
    rows = trace.trace_rows([(first, before), (step, found)] if first != step else [(step, found)])
    what = "one number of one program"
    tables = {name: Table(getattr(found, name), what, units) for name, units in trace.UNITS.items()}
    return run.measured(
        tables={"rows": Table(rows, what), **tables},
        facts={**found.facts, "step": step, "study": job.facts.study, "run": job.facts.run},
        events=1,
    )

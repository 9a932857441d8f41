"""One program, one read, one checkpoint: what every part of the model does towards the answer."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from circuit.estimates import estimates
from circuit.kinds.prompt_trace.settings import Settings
from circuit.measures.paths import trace
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun

_OUTCOMES = {
    "answer_probability": "probability",
    **dict.fromkeys(("correct_logit", "value_margin", "answer_margin", "residual"), "logit"),
}
_TARGETS = ["correct_logit", "value_margin"]
_KEYS = ["component", "positions", "path", "target"]


def measure(job: Job[Settings]) -> Measured:
    """The trace of one read, and its numbers beside those of the run's first checkpoint."""
    run, asked = OpenRun(job), job.settings
    first = run.steps[0]
    step = run.steps[-1] if asked.checkpoint == "final" else asked.checkpoint
    words = run.benchmark.vocabulary
    found, before = (
        trace.prompt_trace(run.counted, run.theta(at), run.events, asked.event, words, asked.top)
        for at in (step, first)
    )
    rows = trace_rows([(first, before), (step, found)] if first != step else [(step, found)])
    what = "one number of one program"
    tables = {name: Table(getattr(found, name), what, units) for name, units in trace.UNITS.items()}
    return run.measured(
        tables={"rows": Table(rows, what), **tables},
        facts={**found.facts, "step": step, "study": job.facts.study, "run": job.facts.run},
        events=1,
    )


def trace_rows(traces: Sequence[tuple[int, trace.Trace]]) -> pd.DataFrame:
    """Outcome, attention, writes, paths and matches of one read as exact numbers.

    Args:
        traces: steps and traces; the last is told, and ``chosen`` is the head that adds most in it.
    """
    rows = pd.concat([_rows(found).assign(step=step) for step, found in traces], ignore_index=True)
    rows = rows.fillna(dict.fromkeys(_KEYS, ""))
    looking = rows["measure"] == "attention_on_support_value"
    looking &= rows["component"] == traces[-1][1].facts["looker"]
    rows.insert(0, "chosen", looking.map({True: "looker", False: ""}))
    return estimates(rows)


def _rows(found: trace.Trace) -> pd.DataFrame:
    outcomes = [(name, unit, found.facts[name]) for name, unit in _OUTCOMES.items()]
    looks = found.attention[found.attention["query_role"] == "prediction"]
    looks = looks[looks["role"] == "support_value"].groupby("head", sort=False)["attention"].sum()
    melted = {"value_vars": _TARGETS, "var_name": "target", "value_name": "mean"}
    writes = found.writes.rename(columns={"role": "positions"})
    parts = [
        pd.DataFrame(outcomes, columns=["measure", "unit", "mean"]),
        looks.rename("mean").rename_axis("component").reset_index()
        .assign(measure="attention_on_support_value", unit="probability"),
        writes.melt(["component", "positions"], **melted).assign(measure="write", unit="logit"),
        found.paths.melt(["path", "positions"], **melted).assign(measure="path", unit="logit"),
        found.matching.rename(columns={"source": "component", "separation": "mean"})
        .assign(measure="separation", unit="score").drop(columns="head"),
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)[[*_KEYS, "measure", "unit", "mean"]]

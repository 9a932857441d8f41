"""Every checkpoint of a run: behaviour, what the stream holds, what each component does."""

from __future__ import annotations

import pandas as pd

from circuit.kinds.checkpoint_sweep.settings import Settings
from circuit.measures.sweep.behaviour import SplitReads
from circuit.measures.sweep.checkpoints import SweepInputs, checkpoint_sweep
from circuit.measures.sweep.curves import landmark_rows, readable_rows
from circuit.measures.sweep.probes import ProbeReads
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Estimates of reads (``rows``), of the stream (``stages``) and of heads and MLPs."""
    run, asked = OpenRun(job), job.settings
    vocabulary, first = run.benchmark.vocabulary, asked.splits[0]
    programs = {name: run.split(name) for name in asked.splits}
    inputs = SweepInputs(
        {name: SplitReads(part, vocabulary, asked.programs) for name, part in programs.items()},
        ProbeReads.of(programs[first], vocabulary, asked.programs),
        run.probes(first),
        run.value_ids,
        asked.probe_ridge,
        asked.thresholds,
        asked.ablation,
    )
    (reference,) = run.at([asked.reference])
    sweep = checkpoint_sweep(run.counted, run.theta, run.steps, inputs, reference)
    return run.measured(
        swept_tables(sweep, asked),
        facts={"reference": reference},
        events=len(inputs.events),
    )


def swept_tables(sweep: dict[str, pd.DataFrame], asked: Settings) -> dict[str, Table]:
    """The three tables of a sweep, with what can be read off them over training and depth."""
    rows, stages = sweep["rows"], sweep["stages"]
    born = landmark_rows(
        rows, asked.splits[0], asked.birth_threshold, asked.thresholds, asked.best_by
    )
    rows = pd.concat([rows, born], ignore_index=True)
    stages = pd.concat([stages, readable_rows(stages)], ignore_index=True)
    return {
        "rows": Table(rows, "one measure of one split and slice at one checkpoint"),
        "stages": Table(stages, "one measure of one stage at one checkpoint"),
        "components": Table(sweep["components"], "one measure of one component at one checkpoint"),
    }

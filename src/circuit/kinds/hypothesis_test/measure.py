"""A circuit kept alone, damaged alone, and pruned, at some checkpoints and on some splits."""

from __future__ import annotations

from itertools import product

import pandas as pd
import torch

from circuit.estimates import CONFIRMATION, SELECTION, estimates
from circuit.experiments import hypothesis as made
from circuit.experiments.circuits import other_edges, random_circuits
from circuit.experiments.interventions import CORRECT, answered_right
from circuit.experiments.trial import ANSWER
from circuit.kinds.hypothesis_test.settings import Settings
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun
from circuit.scalars.base import Measure
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import halves


def measure(job: Job[Settings]) -> Measured:
    """Rows of tests by split and ablation, of single edges, and of the pruned circuit."""
    run, asked = OpenRun(job), job.settings
    heads, shape = (job.heads if asked.heads else {}), run.decoder.settings
    steps = run.at(asked.checkpoints)
    units = {made.OUTCOME: asked.outcome.unit, CORRECT: "share"}
    first, main = asked.splits[0], asked.ablations[0]

    def bench(step: int, split: str, ablation: str = main, half: str = CONFIRMATION) -> made.Bench:
        every = run.probes(split)
        own = halves(len(every))[half == CONFIRMATION]
        events = every.select(torch.from_numpy(own)).crop()
        context = ScalarContext(
            run.decoder, events, run.value_ids, heads, run.theta, (steps[0], steps[-1]),
            run.steps[-1],
        )  # fmt: skip
        scalars = {
            made.OUTCOME: build_scalar(asked.outcome, context),
            CORRECT: Measure("share", ANSWER, answered_right),
        }
        theta = run.theta(step)
        return made.Bench(run.counted, theta, events, run.value_ids, scalars, ablation, asked.seed)

    choosing = bench(steps[-1], first, half=SELECTION)
    circuit = (
        made.found_circuit(choosing, asked.size)
        if asked.circuit is None
        else asked.circuit.circuit(heads)
    )
    randoms = random_circuits(circuit, shape, asked.draws, asked.seed)
    others = other_edges(circuit, shape, asked.other_draws, asked.seed)
    rows: list[pd.DataFrame] = []
    edges: list[pd.DataFrame] = []
    for step, split, ablation in product(steps, asked.splits, asked.ablations):
        here, drawn = bench(step, split, ablation), int(ablation == main)
        found = made.tested(here, step, units, circuit, randoms * drawn, others * drawn)
        rows.append(found.assign(split=split, ablation=ablation))
        if (split, ablation) == (first, main):
            edges.append(made.needed_edges(here, step, units, circuit))
    halved = {SELECTION: choosing, CONFIRMATION: bench(steps[-1], first)}
    tables = {
        "rows": pd.concat(rows, ignore_index=True),
        "edges": pd.concat(edges, ignore_index=True),
        "pruned": made.pruning(halved, steps[-1], units, circuit),
    }
    own = tables["rows"][tables["rows"]["ablation"] == main]
    marks = made.landmarks(own, tables["edges"], tables["pruned"], asked.criteria)
    every = pd.concat([tables["rows"], marks.assign(ablation=main)], ignore_index=True)
    return run.measured(
        tables={
            "rows": Table(
                estimates(every.fillna({"split": "", "test": ""})), "one test of the circuit"
            ),
            "edges": Table(tables["edges"], "the circuit beside itself without one edge"),
            "pruned": Table(tables["pruned"], "the circuit pruned", {"edges": "1"}),
        },
        facts={"edges": len(circuit.edges), "nodes": sorted(circuit.nodes)},
        seeds={"donors, random circuits and other edges": asked.seed},
    )

"""A circuit kept alone, damaged alone, and pruned, at some checkpoints and on some splits."""

from __future__ import annotations

from itertools import product

import pandas as pd
import torch

from circuit.estimates import CONFIRMATION, SELECTION, estimates
from circuit.experiments import hypothesis as made
from circuit.experiments.circuits import other_edges, random_circuits
from circuit.kinds.hypothesis_test.settings import Settings
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun
from circuit.statistics import halves


def measure(job: Job[Settings]) -> Measured:
    """Rows of tests by split and ablation, of single edges, and of the pruned circuit."""
    run, asked = OpenRun(job), job.settings
    steps, shape = run.at(asked.checkpoints), run.decoder.settings
    first, main = asked.splits[0], asked.ablations[0]

    def bench(step: int, split: str, ablation: str = main, half: str = CONFIRMATION) -> made.Bench:
        every = run.probes(split)
        events = every.select(torch.from_numpy(halves(len(every))[half == CONFIRMATION])).crop()
        about = run.theta(step), events, run.value_ids
        return made.Bench(run.counted, *about, ablation, asked.seed)

    choosing, told = bench(steps[-1], first, half=SELECTION), bench(steps[-1], first)
    circuit = (
        made.found_circuit(choosing, asked.size)
        if asked.circuit is None
        else asked.circuit.circuit(job.heads)
    )
    randoms = random_circuits(circuit, shape, asked.draws, asked.seed)
    others = other_edges(circuit, shape, asked.other_draws, asked.seed)
    found: list[pd.DataFrame] = []
    needed: list[pd.DataFrame] = []
    for step, split, ablation in product(steps, asked.splits, asked.ablations):
        here, drawn = bench(step, split, ablation), int(ablation == main)
        one = made.tested(here, step, circuit, randoms * drawn, others * drawn)
        found.append(one.assign(split=split, ablation=ablation))
        if (split, ablation) == (first, main):
            needed.append(made.needed_edges(here, step, circuit))
    rows, edges = pd.concat(found), pd.concat(needed, ignore_index=True)
    pruned = made.pruning({SELECTION: choosing, CONFIRMATION: told}, steps[-1], circuit)
    marks = made.landmarks(rows[rows["ablation"] == main], edges, pruned, asked.criteria)
    every = pd.concat([rows, marks.assign(ablation=main)]).fillna({"split": "", "test": ""})
    return run.measured(
        tables={
            "rows": Table(estimates(every), "one test of the circuit"),
            "edges": Table(edges, "the circuit beside itself without one edge"),
            "pruned": Table(pruned, "the circuit pruned", {"edges": "1"}),
        },
        facts={"edges": len(circuit.edges), "nodes": sorted(circuit.nodes)},
        seeds={"donors, random circuits and other edges": asked.seed},
    )

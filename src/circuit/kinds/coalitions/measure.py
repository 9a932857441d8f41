"""What every neuron did for each candidate between checkpoints, and what sets of them do."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
import torch

from circuit.attribution.engine import PATH_RULES
from circuit.attribution.neuron_drives import neuron_drives, random_rotations
from circuit.estimates import CONFIRMATION, estimates
from circuit.experiments.neuron_sets import holds_from, set_effects
from circuit.kinds.coalitions.settings import MARGIN, Settings
from circuit.measures.candidates.coalitions import coalitions
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun
from circuit.scalars.base import Scalar
from circuit.scalars.behaviour import answer_margin
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import halves_and_all
from circuit.task.events import ReadEvents


def measure(job: Job[Settings]) -> Measured:
    """Rows of drives, classes, parts of the growth, and interventions at every checkpoint."""
    run, asked = OpenRun(job), job.settings
    steps, events, ids = run.at(asked.checkpoints), run.events, run.value_ids
    heads = job.heads if asked.heads else {}

    def candidates(events: ReadEvents) -> dict[str, Scalar]:
        context = ScalarContext(
            run.decoder, events, ids, heads, run.theta, (steps[0], steps[-1]), run.steps[-1],
            run.dictionaries,
        )  # fmt: skip
        return {name: build_scalar(one, context) for name, one in asked.candidates.items()}

    shape, scalars = run.decoder.settings, candidates(events)
    rotations = random_rotations(shape.d_model, asked.draws, asked.seed)
    intervals = [
        neuron_drives(
            run.counted, run.theta(start), run.theta(stop), events, ids, scalars, asked.path_rule,
            rotations,
        )
        for start, stop in pairwise(steps)
    ]  # fmt: skip
    units = {name: one.unit for name, one in asked.candidates.items()}
    names = [f"L{layer}N{n}" for layer in range(shape.n_layers) for n in range(shape.d_ff)]
    top = min(asked.top, shape.d_ff // 4)
    found = coalitions(steps, intervals, units, names, top, asked.seed)
    # Sets were picked on the other half.
    told = events.select(torch.from_numpy(halves_and_all(len(events))[CONFIRMATION])).crop()
    outcomes = {**candidates(told), MARGIN: answer_margin(None)}
    effects = [
        set_effects(
            run.counted, run.theta(step), step, told, ids, found.sets, found.untold, outcomes,
            asked.draws, asked.seed,
        )
        for step in steps
    ]  # fmt: skip
    effects.append(holds_from(pd.concat(effects)))
    rows = pd.concat([found.rows, *effects])
    blank = dict.fromkeys(("neuron", "label", "stop", "edit"), "")
    return run.measured(
        {"rows": Table(estimates(rows.fillna(blank)), "one neuron, class or set, for a candidate")},
        facts={"sets": found.sets, "steps": steps},
        seeds={"random read-outs and random sets": asked.seed},
        events=len(events),
        backward=len(scalars) * len(PATH_RULES[asked.path_rule]) * len(intervals),
    )

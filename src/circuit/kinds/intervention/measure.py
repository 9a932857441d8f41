"""Edits of states at some checkpoints, what they do to the answer, and what their controls do."""

from __future__ import annotations

import pandas as pd

from circuit.experiments import interventions as made
from circuit.experiments.subspaces import Subspace
from circuit.kinds.intervention.settings import Settings
from circuit.measuring import Job, Measured, Table
from circuit.model.sites import stages
from circuit.opened import OpenRun
from circuit.scalars.base import Scalar
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.task.events import ReadEvents, read_events
from circuit.task.frozen import pair_events
from circuit.task.store import load_pairs

STEERED = "support_value"
"""The pairs whose clean answer is moved towards the corrupted one by doses."""


def measure(job: Job[Settings]) -> Measured:
    """Rows of patches and replaced states, of subspaces by rank, and of doses."""
    run, asked = OpenRun(job), job.settings
    pairs, words = load_pairs(job.given["data_pairs"]), run.benchmark.vocabulary
    steps, shape = run.at(asked.checkpoints), run.decoder.settings
    programs = run.split(asked.split).head(asked.programs)
    fit = read_events(programs[~programs["sample_id"].isin(pairs["sample_id"])], words, "last")
    every = stages(shape.n_layers)[:-1]
    places = made.places(asked.sites, asked.roles, shape, asked.neurons)
    inside = made.places(every if asked.stages == "all" else asked.stages, asked.roles, shape)
    families = len(asked.pairs) + 1 + 2 * len(inside)
    subspaces = {
        name: (Subspace(one.subspace, one.head and job.named(one.head)), one.ranks)
        for name, one in asked.subspaces.items()
    }

    def sides(kind: str) -> tuple[ReadEvents, ReadEvents]:
        some = pairs[pairs["kind"] == kind]
        return pair_events(some, words, "clean"), pair_events(some, words, "corrupted")

    def outcomes(events: ReadEvents) -> dict[str, Scalar]:
        about = (run.decoder, events, run.value_ids, job.heads, run.theta)
        context = ScalarContext(*about, (steps[0], steps[-1]), run.steps[-1])
        return {name: build_scalar(one, context) for name, one in asked.outcomes.items()}

    found: dict[str, list[pd.DataFrame]] = {"rows": [], "ranks": [], "doses": []}
    for step in steps:
        bench = made.Bench(
            run.counted, run.theta(step), run.value_ids, step, places, inside, outcomes, families,
            asked.seed,
        )  # fmt: skip
        found["rows"] += [made.patches(bench, kind, *sides(kind)) for kind in asked.pairs]
        found["rows"].append(made.replaced(bench, asked.replace, run.events))
        found["ranks"].append(made.ranks(bench, subspaces, asked.draws, run.events))
        found["doses"].append(made.doses(bench, asked.doses, *sides(STEERED), fit))
    found["rows"].append(made.appearance(pd.concat(found["rows"])))
    return run.measured(
        tables={
            name: Table(pd.concat(found[name], ignore_index=True), *about)
            for name, about in made.TABLES.items()
        },
        facts={"last_stage": every[-1]},
        seeds={"controls": asked.seed},
        events=len(run.events),
    )

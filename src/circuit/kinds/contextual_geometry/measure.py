"""How states fall into groups, and whether the weights' singular directions see the groups."""

from circuit.kinds.contextual_geometry.settings import Settings
from circuit.measures.states.contextual import contextual_geometry
from circuit.measures.states.tables import PAIR_UNITS, PROJECTION_UNITS
from circuit.measures.sweep.behaviour import SplitReads
from circuit.measuring import ROLES, Job, Measured, Table
from circuit.model.sites import parse_head
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of separability and alignment; ``pairwise`` and ``projections`` are for pictures."""
    run, asked = OpenRun(job), job.settings
    model, vocabulary = run.manifest.recipe.model, run.benchmark.vocabulary
    split = SplitReads(run.split(asked.split), vocabulary, asked.programs)
    heads = {role: parse_head(job.heads[role], model.n_layers, model.n_heads) for role in ROLES}
    found = contextual_geometry(
        run.counted,
        run.theta,
        run.steps,
        split,
        vocabulary,
        heads,
        asked,
        asked.rank,
        asked.shrinkage,
    )
    return run.measured(
        {
            "rows": Table(found.rows, "one measure of one grouping of states"),
            "pairwise": Table(found.pairwise, "one pair of groups at one checkpoint", PAIR_UNITS),
            "projections": Table(found.projections, "one state in a plane", PROJECTION_UNITS),
        },
        seeds={"draws and shuffles": asked.seed},
        events=len(split.tokens),
    )

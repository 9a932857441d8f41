"""How examples push on each other: inner products of single reads' gradients, by relation."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from circuit.artifacts import write_tensors
from circuit.attribution.example_gradients import group_columns
from circuit.attribution.example_reads import READ_UNITS, choose_reads, follow_reads
from circuit.kinds.example_gradients.settings import Settings
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun
from circuit.scalars.evaluate import scalar_gradients
from circuit.scalars.registry import ScalarContext, build_scalar


def measure(job: Job[Settings]) -> Measured:
    """Estimates by relation and by pair of groups; every read, and all inner products."""
    run, asked = OpenRun(job), job.settings
    last = run.steps[-1]
    steps = run.at(asked.checkpoints)
    where = (run.probes(asked.route_split), run.value_ids)
    window = (steps[0], steps[-1])
    context = ScalarContext(run.counted, *where, job.heads, run.theta, window, last)
    scalars = {name: build_scalar(spec, context) for name, spec in asked.routes.items()}

    def routes(theta: Float[Tensor, " P"]) -> Float[Tensor, "2 P"]:
        bound = {name: scalar.at(theta) for name, scalar in scalars.items()}
        return scalar_gradients(run.counted, theta, *where, bound).gradients

    programs = {str(split): run.split(split) for split in dict.fromkeys(asked.splits)}
    found = follow_reads(
        run.decoder,
        run.theta,
        steps,
        choose_reads(programs, run.benchmark.vocabulary, asked.reads, asked.seed),
        tuple(asked.routes),
        routes,
        group_columns(run.decoder.layout, asked.grouping, asked.groups),
        asked.memory_mb,
        asked.seed,
        run.counted.passes,  # of what vmap runs the decoder could not see
    )
    units = READ_UNITS | {f"alignment_{name}": "1" for name in asked.routes}
    pairs = {"pairs": "1"}
    return run.measured(
        tables={
            "rows": Table(found.rows, "one measure of one relation at one checkpoint", pairs),
            "conflicts": Table(found.conflicts, "two groups at one checkpoint", pairs),
            "reads_table": Table(found.reads, "one read at one checkpoint", units),
        },
        files={"products": lambda path: write_tensors(path, found.tensors)},
        facts={
            "routes": list(asked.routes),
            "where": f"gradients in {', '.join(asked.groups)} alone" if asked.groups else "",
        },
        seeds={"reads, bootstrap, shuffles": asked.seed},
        events=int(found.rows["count"].max()),
        backward=found.backward,
    )

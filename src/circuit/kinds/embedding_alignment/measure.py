"""How far heads' singular directions lie in the identities that token embeddings hold."""

from circuit.kinds.embedding_alignment.settings import Settings
from circuit.measures.weights.embeddings import embedding_alignment
from circuit.measuring import ROLES, Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Overlaps of every head's sides with key and value identity, over all checkpoints."""
    run, s = OpenRun(job), job.settings
    rows = embedding_alignment(
        run.decoder,
        run.theta,
        run.steps,
        run.benchmark.vocabulary,
        {job.heads[role]: role for role in ROLES},
        rank=s.rank,
        variance=s.variance,
        draws=s.draws,
        seed=s.seed,
    )
    tables = {"rows": Table(rows, "one side of one head at one checkpoint")}
    return run.measured(tables, seeds={"random directions": s.seed})

"""Terms of a head's score at some checkpoints, and what changed them."""

from __future__ import annotations

from circuit.errors import AnalysisError
from circuit.kinds.qk_features.settings import Settings
from circuit.measures.heads.qk_parts import Looked, qk_features
from circuit.measuring import Job, Measured, Table
from circuit.model.sites import parse_head
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of the pairs followed, of all pairs at the ends, and of changes by cause."""
    run, asked = OpenRun(job), job.settings
    steps = run.at(asked.checkpoints)
    if len(steps) < 2:
        raise AnalysisError(
            what=f"checkpoints {', '.join(map(str, asked.checkpoints))} are all step {steps[0]}",
            where="qk_features",
            expected="at least two steps, between which the score changes",
            do="name an earlier checkpoint beside the last one",
        )
    shape = run.decoder.settings
    name = (job.heads if asked.heads else {}).get(asked.head, asked.head)
    dictionary = run.dictionaries[asked.dictionary] if asked.dictionary else None
    looked = Looked(
        run.counted, run.theta, run.events, run.value_ids, run.benchmark.vocabulary.key_ids,
        parse_head(name, shape.n_layers, shape.n_heads), asked.key, dictionary,
    )  # fmt: skip
    apart = asked.members if asked.parts == "neurons" or dictionary else 0
    found = qk_features(looked, steps, apart, asked.top)
    return run.measured(
        tables={
            "rows": Table(found.rows, "one number of one pair of parts"),
            "pairs": Table(found.pairs, "one pair of parts at one checkpoint"),
            "changes": Table(found.changes, "one interval's change of one pair", {"stop": "step"}),
        },
        facts={"head": name},
        events=len(run.events),
    )

"""What the trace of one program says: the answer, and what it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from circuit.model.passes import Passes
from circuit.reports.document import Figure, Number, Table
from circuit.reports.passes import passes_number
from circuit.reports.publish import Account
from circuit.reports.quantities import format_value
from circuit.reports.trace_story import verdict

_ONE = "one event"
_SHOWN = 20


def trace(
    facts: Mapping[str, Any],
    control: Mapping[str, Any] | None,
    rows: pd.DataFrame,
    attention: pd.DataFrame,
    writes: pd.DataFrame,
    paths: pd.DataFrame,
    matching: pd.DataFrame,
    passes: Passes,
    n_layers: int,
) -> Account:
    """One program, told from its numbers.

    Args:
        facts: those of the trace, with the ``step`` of its checkpoint.
        control: facts of the same read at the run's first checkpoint; None if that is the one told.
        rows: the story.
        passes: what the model ran.
    """
    step, looker = facts["step"], facts["looker"]
    looks = _on_support(attention, looker)
    top = paths.iloc[0]
    read = f"Read {facts['read_index']} of program {facts['sample_id']}"
    before = ""
    if control:
        probability = f"{control['answer_probability']:.1%}"
        before = f" (at step {control['step']:,} the right answer had {probability})"
    answer = (
        f"{read} asks for {facts['key']}, and the model of step {step:,} answers "
        f"{verdict(facts)}{before}. Of the heads {looker} adds most to the margin over "
        f"{facts['rival']}: it puts {looks:.0%} of its attention on the support value. The largest "
        f"path is {top['path']}, with {format_value(top['value_margin'], 'logit')} of the margin's "
        f"{format_value(facts['value_margin'], 'logit')}."
    )
    return Account(
        question="What happens, step by step, when the model answers one read?",
        answer=answer,
        numbers=[
            *_outcome(facts),
            *(_outcome(control) if control else ()),
            Number(f"attention of {looker} on the support value", looks, "probability", note=_ONE),
            Number(
                f"score of {looker} for the support value over other values",
                float(matching.set_index("source")["separation"]["whole"]),
                "score",
                note=f"{_ONE}; mean over the other values",
            ),
            *(
                Number(
                    f"{row['path']}{_from(row['positions'])}, to the value margin",
                    float(row["value_margin"]),
                    "logit",
                    note=_ONE,
                )
                for _, row in paths.head(5).iterrows()
            ),
            Number(
                "largest |sum of direct paths − value|",
                float(facts["residual"]),
                "logit",
                note="in float64",
                signed=False,
            ),
            passes_number(passes, 1, n_layers),
        ],
        tables=[
            Table(
                "The story, one step a row",
                rows[["part", "component", "text"]],
            ),
            Table(
                "What every write adds: at the prediction directly, at the support value through "
                "later heads",
                writes.drop(columns=["order"]),
                {"position": "id", "correct_logit": "logit", "value_margin": "logit"},
            ),
            Table(
                f"The {_SHOWN} largest paths",
                paths.head(_SHOWN)[["path", "positions", "correct_logit", "value_margin"]],
                {"correct_logit": "logit", "value_margin": "logit"},
            ),
            Table(
                f"Why {looker} looks at the support value: its score over other values, by what "
                "was written at the keys",
                matching,
                {"separation": "score"},
            ),
        ],
        figures=[
            Figure(
                "story.svg",
                "Where every head looks from the prediction and from the support value, and how "
                "the margin comes together write by write.",
            )
        ],
    )


def _on_support(attention: pd.DataFrame, head: str) -> float:
    chosen = attention[(attention["head"] == head) & (attention["query_role"] == "prediction")]
    return float(chosen[chosen["role"] == "support_value"]["attention"].sum())


def _from(positions: str) -> str:
    words = {"support_value": " from the support value", "elsewhere": " from other positions"}
    return words.get(positions, "")


def _outcome(facts: Mapping[str, Any]) -> list[Number]:
    at = f"at step {facts['step']:,}"
    rival = f"over {facts['rival']}"
    return [
        Number(
            f"probability of the right answer, {at}",
            facts["answer_probability"],
            "probability",
            note=_ONE,
        ),
        Number(f"logit of the right answer, {at}", facts["correct_logit"], "logit", note=_ONE),
        Number(f"value margin, {at}", facts["value_margin"], "logit", note=f"{_ONE}; {rival}"),
    ]

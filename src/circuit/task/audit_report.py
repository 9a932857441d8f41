"""The audit of a benchmark as JSON for machines and as Markdown for people."""

from __future__ import annotations

import math
from typing import Any

from circuit.config.benchmark import SPLITS
from circuit.task.audit import AuditReport
from circuit.task.benchmark import Benchmark
from circuit.task.pairs import PAIR_KINDS, REASONS, PairSet
from circuit.task.shortcuts import HEURISTICS

_MEANING = {
    "exact_sequence_overlap": "streams that occur twice, over all splits",
    "latent_program_overlap": "programs whose writes occur twice up to the names of keys",
    "heldout_pairs_outside_split": "events with a held-out (key, value) pair",
    "writes_of_other_pairs": "events of `heldout_pairs` with a pair that is not held out",
    "oracle_disagreement": "answers unlike those of a dictionary",
    "program_rules": "programs that break a rule of generation",
    "counterfactual_sources": "counterfactuals with another change, or without a changed answer",
}


def audit_json(report: AuditReport, pairs: PairSet) -> dict[str, Any]:
    """Return a passed audit, and what became of the pairs, as plain values."""
    checks = report.checks.to_dict("records")
    for check in checks:
        if math.isnan(check["bound"]):
            check["bound"] = None
    return {"passed": True, "checks": checks, "pairs": _pair_counts(pairs)}


def _pair_counts(pairs: PairSet) -> dict[str, dict[str, int]]:
    """Return, per kind, the number of pairs built and of reads skipped for each reason."""
    built = pairs.pairs["kind"].value_counts()
    reasons = pairs.skipped.set_index(["kind", "reason"])["count"]
    return {
        kind: {"built": int(built[kind]), **{r: int(reasons[kind, r]) for r in REASONS}}
        for kind in PAIR_KINDS
    }


def audit_markdown(benchmark: Benchmark, report: AuditReport, pairs: PairSet) -> str:
    """Return a passed audit as a page: the answer first, then what it rests on."""
    checks = report.checks
    frequent = checks[checks["check"] == "most_frequent_value_before_query"]["value"].max()
    second = checks[checks["check"] == "second_last_written_value"]["value"].max()
    n_programs = sum(len(frame) for frame in benchmark.splits.values())
    return "\n".join(
        [
            "# Benchmark audit",
            "",
            f"**Passed.** All {n_programs:,} programs are different, obey the rules of their split "
            "and have the answers of a dictionary; held-out pairs stay in their split. Neither the "
            "first value of a key nor the last value seen ever answers a read; the most frequent "
            f"value does in at most {frequent:.1%} of a split's reads (bound: below "
            f"{benchmark.settings.frequency_ceiling:.0%}).",
            "",
            f"Not bounded, but to be known: the second last written value is right in up to "
            f"{second:.1%} of a split's reads, since it always is with two active keys and a query "
            "lag of 1.",
            "",
            "## Splits",
            "",
            *_table(
                ["split", "programs", "reads", "tokens", "longest stream"],
                [
                    [
                        split,
                        f"{len(frame):,}",
                        f"{frame['reads'].sum():,}",
                        f"{frame['length'].sum():,}",
                        f"{frame['length'].max()} tokens",
                    ]
                    for split, frame in ((split, benchmark.splits[split]) for split in SPLITS)
                ],
            ),
            "",
            "## Shortcut heuristics: accuracy per split (share of reads)",
            "",
            *_table(
                ["split", *HEURISTICS],
                [
                    [split, *(f"{report.value(name, split):.4f}" for name in HEURISTICS)]
                    for split in SPLITS
                ],
            ),
            "",
            "## Violations",
            "",
            *_table(
                ["check", "what was counted", "found", "among"],
                [
                    [f"`{name}`", meaning, f"{rows['value'].sum():.0f}", f"{rows['items'].sum():,}"]
                    for name, meaning in _MEANING.items()
                    for rows in [checks[checks["check"] == name]]
                ],
            ),
            "",
            f"## Pairs from `{benchmark.settings.pairs.split}`",
            "",
            *_table(
                ["kind", "built", *(f"skipped: {reason}" for reason in REASONS)],
                [
                    [f"`{kind}`", *(str(count) for count in counts.values())]
                    for kind, counts in _pair_counts(pairs).items()
                ],
            ),
            "",
        ]
    )


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]

"""A whole synthetic study: every kind of report with its figures, in a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from circuit.artifacts import read_json
from circuit.config.registry import VIEWS
from circuit.reports.document import Figure, Number, Report, Table, write_report
from circuit.reports.style import picture


class Filed(NamedTuple):
    """A report and the folder it lies in."""

    folder: str
    report: dict[str, Any]


STUDY, FOCUS = "quickstart", "formation_seed0007"
AUDIT = {
    "passed": True,
    "checks": [
        {
            "check": check,
            "split": split,
            "value": value,
            "bound": bound,
            "items": 2315,
            "unit": "1",
        }
        for check, bound, values in (
            ("exact_sequence_overlap", 0.0, {"all": 0.0}),
            ("oracle_disagreement", 0.0, {"train": 0.0, "validation_iid": 0.0}),
            ("first_value_for_key", 0.0, {"train": 0.0, "validation_iid": 0.0}),
            ("most_frequent_value_before_query", 0.4, {"train": 0.058, "structural_ood": 0.147}),
            ("second_last_written_value", None, {"train": 0.811, "structural_ood": 0.0}),
        )
        for split, value in values.items()
    ],
    "pairs": {"recency": {"built": 96, "exposed": 74}, "query_key": {"built": 96, "exposed": 0}},
}


def provenance(seed: int, digest: str = "5b" * 32) -> dict[str, Any]:
    return {
        "inputs": {
            "manifest": {"path": "results/quickstart/train/manifest.json", "sha256": digest},
            "splits": [{"path": "data/quickstart_kv/validation_iid.parquet", "sha256": "a0" * 32}],
        },
        "settings": {},
        "settings_sha256": "ff" * 32,
        "code": ["circuit/scalars/routing.py@0123456789abcdef", "circuit/statistics.py@fedcba98"],
        "versions": {"python": "3.11.9", "torch": "2.8.0", "numpy": "2.4.6"},
        "device": "cpu",
        "platform": {"system": "Linux", "machine": "x86_64", "cpu": "A processor"},
        "threads": 1,
        "seeds": {"run": seed},
        "wall_seconds": 12.345,
    }


def some_figure(path: str | os.PathLike[str]) -> None:
    """A figure of ours, whatever it shows."""
    with picture(path, "Accuracy over training", "n = 1,204 reads") as body:
        body.add_subplot().plot([0, 1500], [0.0, 0.97])


def build_study(root: str | os.PathLike[str]) -> list[Filed]:
    """Draw and write everything below ``root``; folders of the reports are relative to it."""
    of_sweep = ("learning_curve", "slices", "coarse")
    accuracy = Number(
        "accuracy on validation_iid, at step 1,500", 0.974, "share", 0.967, 0.981, 1204
    )
    growth = Number("growth of QK separation of the winner L1H2", 7.16, "score", 6.81, 7.5, 207)
    return [
        _report(
            root,
            "checkpoint_sweep",
            "behaviour",
            "What behaviour is there, and when does it appear?",
            "Answer accuracy on validation_iid stays at or above 50% from step 700; it is 3.1% "
            "untrained and 97.4% at step 1,500. The best checkpoint is step 1,400.",
            of_sweep,
            (accuracy, Number("birth step", 700, "step", note="accuracy stays at 50% or above")),
        ),
        _report(
            root,
            "full_evaluation",
            "evaluation",
            "How well does the checkpoint at step 1,400 do on whole splits?",
            "97.4% on validation_iid, 90.3% on held-out pairs and 41.2% on longer programs with "
            "more active keys.",
            ("splits",),
            (accuracy,),
            marks=("Accuracy on structural_ood lies below the shortcut's.",),
        ),
        _report(
            root,
            "head_scan",
            "heads",
            "Which attention head learned to look up the right value?",
            "L1H2: its QK separation grew by +7.16 score on events that did not choose it, against "
            "+3.20 for the runner-up L1H0 and −0.90 for the bottom control L0H3.",
            ("separation", "head_map"),
            (growth,),
        ),
        _report(
            root,
            "attention_geometry",
            "attention",
            "Where does L1H2 look when it must answer?",
            "From the prediction position, L1H2 puts 84% of its attention on the support value at "
            "step 1,500 (5% untrained).",
            ("patterns", "roles"),
            (Number("attention on support_value", 0.84, "probability", 0.825, 0.855, 415),),
        ),
        _report(
            root,
            "update_attribution",
            "qk_optimizer_attribution",
            "Which part of which update built the route?",
            "The separation of L1H2 grew by +7.16 score from step 300 to 1,100: momentum +5.3 "
            "score (74%), current gradient +2.2 score (31%), weight decay −0.36 score (−5%).",
            ("growth", "parameter_groups", "residual"),
            tuple(
                Number(f"{scalar}: {component}", share * total, unit, note="trapezoid; summand")
                for scalar, total, unit in (("route", 7.16, "score"), ("margin", 10.4, "logit"))
                for component, share in (
                    ("current_gradient", 0.31),
                    ("momentum", 0.74),
                    ("weight_decay", -0.05),
                    ("rounding", 1e-6),
                    ("residual", 1e-3),
                    ("raw_sgd", 0.1),
                    ("clipped_sgd", 0.08),
                )
            ),
        ),
        _report(
            root,
            "optimizer_trace",
            "trace",
            "What did the optimizer do at every step?",
            "Steps 300 to 1,499 were replayed and arrive bit for bit at 12 of 12 checkpoints.",
            ("trace", "components"),
            (Number("share of steps with clipping", 0.18, "share", count=1200),),
        ),
        _report(
            root,
            "closure",
            "closure",
            "How much of behaviour's change does the route explain?",
            "86% of the answer margin's change (control head 31%), on events the fit never saw.",
            ("closure",),
            (Number("R² of answer_margin, routes, pooled", 0.86, "1", 0.81, 0.9, 96),),
        ),
        _report(
            root,
            "cross_seed",
            "seeds",
            "Does it repeat over seeds?",
            "In 3 of 3 runs a head's separation grows, by +6.7 score on average.",
            ("seeds",),
            (Number("growth of the winner", 6.7, "score", 6.5, 6.9, 3, "over seeds"),),
            run=None,
            marks=("3 seeds: the interval over seeds is rough.",),
        ),
        _report(
            root,
            "reference_model",
            "reference",
            "Which checkpoint is the reference model?",
            "Run formation_seed0011 at step 1,400: held-out accuracy 91.2%.",
            (),
            (Number("held-out accuracy", 0.912, "share", 0.9, 0.923, 2308),),
            run=None,
        ),
        _report(
            root,
            "checkpoint_sweep",
            "behaviour",
            "What behaviour is there, and when does it appear?",
            "Answer accuracy on validation_iid stays at or above 50% from step 800.",
            of_sweep,
            (accuracy,),
            run="formation_seed0011",
        ),
    ]


def _report(
    root: str | os.PathLike[str],
    kind: str,
    name: str,
    question: str,
    answer: str,
    figures: Sequence[str],
    numbers: tuple[Number, ...],
    *,
    run: str | None = FOCUS,
    marks: tuple[str, ...] = (),
) -> Filed:
    inside = f"results/{STUDY}/{run}/{name}" if run else f"results/{STUDY}/{name}"
    folder = Path(root, inside)
    for figure in figures:
        some_figure(folder / f"{figure}.svg")
    table = pd.DataFrame({"head": ["L1H2", "L1H0"], "growth": [7.16, 3.2], "step": [1500, 1500]})
    report = Report(
        kind=kind,
        name=name,
        study=STUDY,
        run=run,
        section=VIEWS[kind].SECTION if kind in VIEWS else "",
        question=question,
        answer=answer,
        numbers=numbers,
        tables=(Table("Growth by head <all>", table, {"growth": "score", "step": "step"}),),
        figures=tuple(
            Figure(f"{figure}.svg", f"Caption of {figure}: a & b.") for figure in figures
        ),
        marks=marks,
        settings={"rank": 4, "split": "validation_iid"},
        command=f"snakemake --force {inside}/report.md",
        provenance=provenance(7 if run != "formation_seed0011" else 11),
    )
    write_report(folder / "report.json", folder / "report.md", report)
    return Filed(str(folder) if str(root) != "." else inside, read_json(folder / "report.json"))

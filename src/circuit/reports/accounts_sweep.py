"""What a checkpoint sweep says: when behaviour appears, what it rests on, where it can be read."""

from __future__ import annotations

import pandas as pd

from circuit.reports.document import Figure, Number
from circuit.reports.publish import Account
from circuit.reports.quantities import format_number, format_value
from circuit.reports.read_measures import UNITS, measured, over_all_reads
from circuit.reports.sweep_tables import SweepTables, report_tables

HALF = 0.5
_COARSE = {
    "q": "best head's attention to the query key",
    "r": "best head's attention to the support value",
    "w": "value-only answer margin",
}
_FLAG = "reaches_"
_NO_FORESIGHT = "no state knows later writes: what is read is where in the program it stands"


def sweep(
    tables: SweepTables,
    birth: int | None,
    best: int,
    threshold: float,
    split: str,
    best_by: str,
    passes: Number,
) -> Account:
    """Every checkpoint of a run.

    Args:
        birth: step from which accuracy stays at ``threshold`` on ``split``; None if it never does.
        best: step with the highest accuracy on ``best_by``.
        passes: how many forward passes it took.
    """
    answer = (
        f"{_behaviour(tables, birth, threshold, split)} The best checkpoint by accuracy on "
        f"{best_by} is step {best:,}. {_resting_on(tables)} {_read_off(tables)}"
    )
    return Account(
        question="What behaviour is there, when does it appear, and what does it rest on?",
        answer=answer,
        numbers=[
            *_accuracy_numbers(tables),
            *_effect_numbers(tables),
            *_behaviour_numbers(tables, split),
            *_stage_numbers(tables),
            *_rank_numbers(tables),
            passes,
        ],
        tables=report_tables(tables, split),
        figures=FIGURES,
        marks=_marks(tables),
    )


def _behaviour(tables: SweepTables, birth: int | None, threshold: float, split: str) -> str:
    at = over_all_reads(tables.rows).set_index(["step", "split", "measure"])["mean"]
    born = (
        f"stays at or above {threshold:g} from step {birth:,}"
        if birth is not None
        else f"never stays at or above {threshold:g}"
    )
    start, end = (at[step, split, "accuracy"] for step in (tables.first, tables.last))
    return (
        f"Answer accuracy on {split} {born}; it is {start:.3f} untrained and {end:.3f} at step "
        f"{tables.last:,}."
    )


def _resting_on(tables: SweepTables) -> str:
    """Which component's removal costs most, by events that did not choose it."""
    chosen = tables.chosen
    winner = chosen["winner"]
    effect = format_number(winner["mean"], "logit", winner["low"], winner["high"])
    if winner["low"] <= 0:
        return (
            f"No component is needed at step {tables.last:,}: removing {winner['component']}, "
            f"first on the events that choose, costs the others {effect} of answer margin."
        )
    against = [
        f"{_effect(chosen[role])} for the {words} {chosen[role]['component']}"
        for role, words in (("runner_up", "runner-up"), ("bottom", "bottom control"))
        if role in chosen
    ]
    return (
        f"At step {tables.last:,} removing {winner['component']} costs most: {effect} of answer "
        f"margin on events that did not choose it, against {' and '.join(against)}."
    )


def _effect(row: pd.Series) -> str:
    return format_value(row["mean"], "logit", row["low"], row["high"], with_unit=False)


def _read_off(tables: SweepTables) -> str:
    """From which stage on the answer can be read at the prediction position."""
    probe = _first_readable(tables.at_stages("probe_accuracy", "prediction", "answer"))
    lens = _first_readable(tables.at_stages("lens_accuracy", "prediction"))
    return (
        "The answer can be read off the prediction position in more than half of the reads by a "
        f"linear probe {probe}, by the logit lens {lens}."
    )


def _first_readable(stages: pd.DataFrame) -> str:
    above = stages[stages["low"] > HALF]
    if above.empty:
        top = stages.loc[stages["mean"].idxmax()]
        return f"at no stage ({top['mean']:.2f} at most, at {top['stage']})"
    return f"first at {above['stage'].iloc[0]} ({above['mean'].iloc[0]:.2f})"


def _accuracy_numbers(tables: SweepTables) -> list[Number]:
    """Accuracy on every split: at the end, then untrained."""
    whole = over_all_reads(tables.rows)
    at = whole[whole["measure"] == "accuracy"].set_index(["step", "split"])
    splits = [name for name in dict.fromkeys(whole["split"]) if name != "probes"]
    return [
        measured(f"accuracy on {name}, {when}", at.loc[(step, name)], "1")
        for step, when in ((tables.last, f"at step {tables.last:,}"), (tables.first, "untrained"))
        for name in splits
    ]


def _behaviour_numbers(tables: SweepTables, split: str) -> list[Number]:
    whole = over_all_reads(tables.rows)
    at = whole.set_index(["step", "split", "measure"])
    last = f"at step {tables.last:,}"
    found = [
        measured(f"{name} on {split}, {last}", at.loc[(tables.last, split, name)], UNITS[name])
        for name in ("margin", "entropy", "confidence")
    ]
    flags = whole[(whole["split"] == split) & whole["measure"].str.startswith(_FLAG)]
    for flag, rows in flags.groupby("measure", sort=False):
        reached = rows.loc[rows["mean"] == 1, "step"]
        step = float(reached.min()) if len(reached) else None
        name = f"step at which accuracy on {split} first reaches {str(flag).removeprefix(_FLAG)}"
        found.append(Number(name, step, "step", note="later checkpoints may fall below it"))
    found += [
        measured(f"{name}: {words}, {last}", at.loc[(tables.last, "probes", name)], UNITS[name])
        for name, words in _COARSE.items()
    ]
    return found


def _stage_numbers(tables: SweepTables) -> list[Number]:
    """Probes and lens at the stream's end, each beside its control."""
    last = f"at step {tables.last:,}"
    end = tables.at_stages("probe_accuracy", "prediction", "answer")["stage"].iloc[-1]
    found = []
    for role, target, stage, words, note in (
        ("prediction", "answer", end, "the answer", ""),
        ("prediction", "stale_value", end, "the latest stale value", ""),
        ("support_value", "query_key", end, "the key it was written to", ""),
        ("support_value", "latest", end, "whether it is the latest value", _NO_FORESIGHT),
        ("support_value", "latest", "embedding", "whether it is the latest value", _NO_FORESIGHT),
    ):
        for measure, kind in (("probe_accuracy", "probe"), ("probe_control", "shuffled labels")):
            row = tables.at_stages(measure, role, target).set_index("stage").loc[stage]
            name = f"{kind}: {words}, read at {role} and {stage}, {last}"
            found.append(measured(name, row, "1", note))
    lens = tables.at_stages("lens_accuracy", "prediction").iloc[-1]
    found.append(measured(f"logit lens: accuracy at {lens['stage']}, {last}", lens, "1"))
    return found


def _effect_numbers(tables: SweepTables) -> list[Number]:
    return [
        measured(
            f"ablation effect of {role.replace('_', '-')} {row['component']}, "
            f"at step {tables.last:,}",
            row,
            "logit",
            "events that did not choose the component",
        )
        for role, row in tables.chosen.items()
    ]


def _rank_numbers(tables: SweepTables) -> list[Number]:
    found = []
    ranks = tables.components[
        (tables.components["step"] == tables.last)
        & tables.components["measure"].str.startswith("rank_correlation")
    ]
    for _, row in ranks.iterrows():
        by = "ablation effect" if row["measure"].endswith("ablation") else "support attention"
        who = {"heads": "heads", "mlps": "MLPs"}[row["component"]]
        name = f"rank correlation of {who} by {by} with the previous checkpoint"
        is_mlp = tables.ranking["component"].str.endswith("MLP")
        ranked = int(is_mlp.sum() if who == "MLPs" else (~is_mlp).sum())
        note = f"over {ranked} {who}"
        found.append(measured(f"{name}, at step {tables.last:,}", row, "1", note))
    return found


def _marks(tables: SweepTables) -> list[str]:
    ranking = tables.ranking
    confirmed = ranking.loc[ranking["mean"].idxmax(), "component"]
    first = ranking["component"].iloc[0]
    if confirmed == first:
        return []
    return [
        f"By ablation effect, the events that choose put {first} first, the other half {confirmed}."
    ]


FIGURES = [
    Figure(
        "learning_curve.svg",
        "Answer accuracy over training, with 95% intervals over programs; the vertical line is the "
        "birth step.",
    ),
    Figure("slices.svg", "Accuracy by slice of the read events."),
    Figure(
        "coarse.svg",
        "The coarse measures q, r (best head's attention) and w (value-only margin) on the probe "
        "events.",
    ),
    Figure(
        "probes.svg",
        "What linear probes read off each stage, on programs that did not fit them; grey: the same "
        "probes fitted on shuffled labels. A state cannot know later writes, so whether a value is "
        "the latest is read no better than from its place in the program, at embedding.",
    ),
    Figure("lens.svg", "What the model would answer if the stream ended at each stage."),
    Figure(
        "drift.svg",
        "How far states lie from those of the previous and of the reference checkpoint, relative "
        "to their size.",
    ),
    Figure(
        "localisation.svg",
        "Attention of every head from the prediction position to the support value and to the "
        "query key.",
    ),
    Figure(
        "ablations.svg",
        "What removing each component costs the answer margin, and how far the order of heads is "
        "that of the checkpoint before.",
    ),
]

"""What functional writes say: what they are worth later, how they get there, for which value."""

from __future__ import annotations

import math

import pandas as pd

from circuit.landmarks import half_of_end_step
from circuit.model.passes import Passes
from circuit.reports.document import Figure, Number
from circuit.reports.functional_tables import functional_tables
from circuit.reports.passes import passes_number
from circuit.reports.publish import Account
from circuit.reports.quantities import format_interval, format_number, format_value
from circuit.reports.style import words

_IDENTITY = (
    "equal to the worth by construction in the reference checkpoint, if the gradient is integrated "
    "and nothing passes by the target state"
)
_SAME = 1e-3  # relative: two values that a reader sees as one
_OWN, _OTHER, _BOTTOM, _LOSS = "write", "gradient of another event", "bottom head", "ablation"


def functional_write(
    rows: pd.DataFrame,
    positions: pd.DataFrame,
    subspaces: pd.DataFrame,
    values: pd.DataFrame,
    spread: pd.DataFrame,
    rank: int,
    passes: Passes,
    n_layers: int,
) -> Account:
    """The writes of an analysis over a run; the first one is the one that is told.

    Args:
        rows, positions, subspaces: of :class:`circuit.measures.writes.functional.Effects`.
        values, spread: of :class:`circuit.measures.writes.per_value.PerValue`.
        rank: of the write subspaces.
        passes: forward passes run; ``n_layers``: of the model.
    """
    first, last = int(rows["step"].min()), int(rows["step"].max())
    names = list(dict.fromkeys(rows["write"]))
    at = rows.set_index(["step", "write", "of", "part"]).sort_index()
    now = positions[positions["step"] == last]
    told = " ".join(
        filter(
            None,
            (
                _worth(at, names[0], first, last),
                _controls(at, names[0], last),
                _from_where(now, names[0]),
                _directions(subspaces, at, names[0], rank),
                _by_value(spread, names[0], last),
            ),
        )
    )
    return Account(
        question="What does a component's write do to a later state, and through which part?",
        answer=told,
        numbers=[
            *(number for name in names for number in _numbers(rows, at, name, first, last)),
            *_overlaps(subspaces, at, names, first),
            passes_number(passes, int(rows["count"].iloc[0]), n_layers),
        ],
        tables=functional_tables(rows, now, subspaces, values, spread, last),
        figures=[
            Figure(
                "write_effect.svg",
                "What every write is worth at its target over training, its exact parts, and the "
                "controls.",
            ),
            Figure(
                "write_positions.svg",
                "At which positions the change is read, and at which positions the write must be "
                "removed to bring it about.",
            ),
            Figure(
                "write_subspace.svg",
                f"Overlap of the top {rank} directions of the writes with the mature ones.",
            ),
            Figure("write_values.svg", "The effect of every write for every answer value."),
        ],
        marks=[mark for name in names for mark in _marks(at, name, last)],
    )


def _of(at: pd.DataFrame, step: int, name: str, of: str, part: str = "whole") -> pd.Series | None:
    """One row, if there is one."""
    key = (step, name, of, part)
    return at.loc[key] if key in at.index else None


def _own(at: pd.DataFrame, step: int, name: str, part: str = "whole") -> pd.Series:
    row = _of(at, step, name, _OWN, part)
    assert row is not None
    return row


def _both_parts(at: pd.DataFrame, step: int, name: str) -> bool:
    """Whether the effect comes through the skip connection and through an MLP."""
    return all(_own(at, step, name, part)["mean"] != 0 for part in ("skip", "mlp"))


def _text(row: pd.Series) -> str:
    return format_number(row["mean"], row["unit"], row["low"], row["high"])


def _worth(at: pd.DataFrame, name: str, first: int, last: int) -> str:
    end, start = _own(at, last, name), _own(at, first, name)
    subject = f"the write of {end['source']} ({words(name)})"
    where = f"in {words(end['target'])}"
    verb = {1: "helps", -1: "hurts", 0: "neither helps nor hurts"}[_sign(end)]
    parts = ""
    if _both_parts(at, last, name):
        skip, mlp = (_own(at, last, name, part) for part in ("skip", "mlp"))
        parts = (
            f", of it {_short(skip)} through the skip connection and {_short(mlp)} through the MLP"
        )
    return (
        f"At step {last:,}, {subject} {verb} the answer: as the reference checkpoint reads it "
        f"{where}, it is worth {_text(end)}{parts}, against {_text(start)} at step {first:,}."
    )


def _sign(row: pd.Series) -> int:
    """1 or -1 where the interval leaves out 0, else 0."""
    return int(row["low"] > 0) - int(row["high"] < 0)


def _short(row: pd.Series) -> str:
    return format_value(row["mean"], row["unit"], row["low"], row["high"])


def _controls(at: pd.DataFrame, name: str, last: int) -> str:
    other, loss = (_of(at, last, name, of) for of in (_OTHER, _LOSS))
    bottom = _of(at, last, name, _BOTTOM)
    assert other is not None
    assert loss is not None
    told = [f"read by the gradient of another event it is worth {_text(other)}"]
    if bottom is not None:
        told.append(f"the bottom head {bottom['source']} in its place {_text(bottom)}")
    own = _own(at, last, name)["mean"]
    removed = f"Removing it costs the answer itself {_text(loss)}"
    if math.isclose(loss["mean"], own, rel_tol=_SAME):
        removed = (
            f"Removing it costs the answer itself {_short(loss)} too, which is no more evidence: "
            "in the reference checkpoint both are one by construction"
        )
    return f"Controls: {', and '.join(told)}. {removed}."


def _from_where(now: pd.DataFrame, name: str) -> str:
    """At which positions the write must be removed, where that is not settled by the wiring."""
    part = now[(now["write"] == name) & (now["side"] == "source")]
    moved = part[(part["mean"] != 0) & ~part["role"].isin(["together"])]
    if moved.empty:
        return ""
    best = moved.loc[moved["mean"].abs().idxmax()]
    where = "other positions" if best["role"] == "other" else words(best["role"])
    only = len(moved) == 1
    return (
        f"It is what is written at {where} that does it."
        if only
        else f"Of its writes, those at {where} do most: {_text(best)}."
    )


def _target_role(at: pd.DataFrame, name: str) -> str:
    return str(at.xs(name, level="write")["target"].iloc[0]).rpartition(" ")[2]


def _directions(subspaces: pd.DataFrame, at: pd.DataFrame, name: str, rank: int) -> str:
    start = _overlap_at_start(subspaces, at, name)
    inside = start["chance_low"] <= start["overlap"] <= start["chance_high"]
    verdict = "no more than random directions do" if inside else "beyond chance"
    interval = format_interval(start["overlap"], "1", start["low"], start["high"])
    return (
        f"The {rank} directions that it wrote in at step {start['step']:,} share "
        f"{start['overlap']:.2f} (95% interval {interval}) of the mature ones, {verdict} (95% of "
        f"random ones: {start['chance_low']:.2f} to {start['chance_high']:.2f})."
    )


def _overlap_at_start(subspaces: pd.DataFrame, at: pd.DataFrame, name: str) -> pd.Series:
    part = subspaces[(subspaces["write"] == name) & (subspaces["role"] == _target_role(at, name))]
    return part.loc[part["step"].idxmin()]


def _by_value(spread: pd.DataFrame, name: str, last: int) -> str:
    row = spread[(spread["write"] == name) & (spread["step"] == last)].iloc[0]
    beyond = row["share"] > row["chance_high"]
    verdict = "more than" if beyond else "no more than"
    return (
        f"Which of the {row['values']} values is the answer tells {row['share']:.1%} of the "
        f"variance between single effects, {verdict} chance (95% of exchanges of values stay below "
        f"{row['chance_high']:.1%})."
    )


def _numbers(
    rows: pd.DataFrame, at: pd.DataFrame, name: str, first: int, last: int
) -> list[Number]:
    """What one write is worth, its parts and controls, and when it got half-way."""
    end = _own(at, last, name)
    told = {f"worth of {name}, at step {last:,}": (end, "")}
    if _both_parts(at, last, name):
        for part, through in (("skip", "the skip connection"), ("mlp", "the MLP")):
            row = _own(at, last, name, part)
            told[f"worth of {name} through {through}, at step {last:,}"] = row, ""
    told[f"worth of {name}, at step {first:,}"] = _own(at, first, name), ""
    for of, what, note in (
        (_OTHER, f"worth of {name} to another event's answer", ""),
        (_BOTTOM, f"worth of the bottom head in place of {name}", ""),
        (_LOSS, f"cost of removing the source of {name} to the answer itself", _IDENTITY),
    ):
        control = _of(at, last, name, of)
        if control is not None:
            told[f"{what}, at step {last:,}"] = control, note
    numbers = [
        Number(label, row["mean"], row["unit"], row["low"], row["high"], int(row["count"]), note)
        for label, (row, note) in told.items()
    ]
    curve = rows[(rows["write"] == name) & (rows["of"] == _OWN) & (rows["part"] == "whole")]
    line = [curve.sort_values("step")[c].to_numpy() for c in ("step", "mean", "low", "high")]
    note = f"{end['source']} → {words(end['target'])}"
    half = half_of_end_step(*line)
    return [*numbers, Number(f"half-way step of {name}", half, "step", note=note)]


def _overlaps(
    subspaces: pd.DataFrame, at: pd.DataFrame, names: list[str], first: int
) -> list[Number]:
    found = []
    for name in names:
        row = _overlap_at_start(subspaces, at, name)
        note = (
            f"at {words(row['role'])}; random subspaces: {row['chance']:.3f}, 95% "
            f"{row['chance_low']:.3f} to {row['chance_high']:.3f}"
        )
        label = f"overlap of the directions of {name} with the mature ones, at step {first:,}"
        found.append(
            Number(label, row["overlap"], "1", row["low"], row["high"], int(row["count"]), note)
        )
    return found


def _marks(at: pd.DataFrame, name: str, last: int) -> list[str]:
    """What must not be overlooked about one write."""
    end, other, loss = _own(at, last, name), *(_of(at, last, name, of) for of in (_OTHER, _LOSS))
    marks = []
    if other is not None and _sign(other):
        marks.append(
            f"{name}: read by the gradients of other events the write is worth {_text(other)}, "
            f"which is not about the answer at hand (its whole worth: {_short(end)})."
        )
    if loss is not None and (loss["low"] > end["high"] or loss["high"] < end["low"]):
        marks.append(
            f"{name}: removing its source costs the answer {_text(loss)}, its effect is "
            f"{_text(end)}: the rest passes by the target state, or is not seen by the gradient "
            "of the reference checkpoint."
        )
    return marks

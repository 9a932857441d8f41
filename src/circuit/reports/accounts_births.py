"""What the birth windows say: which evidence was born, when, and the windows it makes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from circuit.reports.document import Figure, Number, Table
from circuit.reports.publish import Account

_ROW_UNITS = {
    **dict.fromkeys(("step", "low", "high", "start", "stop"), "step"),
    **dict.fromkeys(("value", "value_low", "value_high"), "column unit"),
    "share": "share",
    "count": "1",
}
_WINDOW_UNITS = {"start": "step", "stop": "step", "pieces": "1", "share": "share"}
_BIRTHS = ("threshold", "stabilisation")


def births(
    rows: pd.DataFrame, windows: dict[str, dict[str, Any]], table: pd.DataFrame, name: str
) -> Account:
    """The births of a run.

    Args:
        rows: evidence by method; windows: by name; table: windows with their share of accuracy's
            change.
        name: of the analysis, by which later ones name its windows.
    """
    own = rows[rows["method"].isin(_BIRTHS)].set_index("evidence")
    shares = table.set_index("window")["share"]
    main, accuracy = windows["main"], own.loc["accuracy"]
    marks = []
    if main["found"]:
        born = len(main["evidence"])
        answer = (
            f"Behaviour was born mainly from step {main['start']:,} to {main['stop']:,}, the main "
            f"window: {born} of {len(own)} curves {'was' if born == 1 else 'were'} born there "
            f"({', '.join(main['evidence'])})."
        )
        marks += _missed(rows, main)
    else:
        answer = (
            f"Nothing was born in this run: none of {len(own)} curves moves beyond its interval to "
            "its level and stays there."
        )
        marks.append("No birth was found, so every window named below is the whole run.")
    if accuracy["found"]:
        answer += (
            f" Accuracy stays at or above {accuracy['value']:g} from step {accuracy['step']:,.0f}; "
            f"the main window holds {shares['main']:.0%} of its change."
        )
    elif main["found"]:
        answer += f" Accuracy itself has no birth: it {_reason(accuracy)}."
        marks.append(
            "The answer's accuracy was not born in this run: the windows are those of its parts."
        )
    missing = [str(e) for e in own.index[~own["found"].astype(bool)] if e != "accuracy"]
    if main["found"]:
        answer += _elsewhere(windows, main)
    if missing and main["found"]:
        answer += f" Not born: {', '.join(missing)}."
    return Account(
        question="When was the lookup born, and which steps should later analyses look at?",
        answer=answer,
        numbers=_numbers(rows),
        tables=[
            Table(
                f"Windows: another analysis names one as {name}.WINDOW; as fixed steps it is a "
                "line under the study's `windows` (share: of accuracy's change)",
                table,
                _WINDOW_UNITS,
            ),
            Table("Evidence by method", rows, _ROW_UNITS),
        ],
        figures=[
            Figure(
                "timeline.svg",
                "When every curve came to its level to stay, when it changed, and between which "
                "checkpoints it changed most; shaded: births that overlap, as windows.",
            )
        ],
        marks=marks,
    )


def _elsewhere(windows: dict[str, dict[str, Any]], main: dict[str, Any]) -> str:
    """The other windows and what was born in them, as a sentence."""
    others = [
        f"{', '.join(window['evidence'])} from step {window['start']:,} to {window['stop']:,}"
        for name, window in windows.items()
        if name.startswith("window_") and window["start"] != main["start"]
    ]
    return f" Born in windows of their own: {'; '.join(others)}." if others else ""


def _missed(rows: pd.DataFrame, main: dict[str, Any]) -> list[str]:
    """Curves whose largest change between two checkpoints lies outside the main window."""
    jumps = rows[rows["method"].str.startswith("largest_") & rows["found"].astype(bool)]
    outside = jumps[(jumps["start"] >= main["stop"]) | (jumps["stop"] <= main["start"])]
    if outside.empty:
        return []
    when = [
        f"{', '.join(part['evidence'])} (step {start:,.0f} to {stop:,.0f})"
        for (start, stop), part in outside.groupby(["start", "stop"])
    ]
    return [
        "The largest change between two checkpoints lies outside the main window for "
        f"{'; '.join(when)}: analyses of that window do not see it."
    ]


def _reason(row: pd.Series) -> str:
    """Why a curve has no birth, as the end of a sentence about it."""
    note = str(row["note"])
    return (
        f"was {note}"
        if note.startswith("there")
        else note.replace("this level", f"{row['value']:g}")
    )


def _numbers(rows: pd.DataFrame) -> list[Number]:
    """Step of every birth and change point, size of every largest jump."""
    numbers = []
    for _, row in rows.iterrows():
        born, method = row["method"] in _BIRTHS, row["method"].replace("_", " ")
        label = f"{row['evidence']}: " + (f"birth by {method}" if born else method)
        if not row["found"]:
            numbers.append(Number(label, None, "step" if born else row["unit"], note=row["note"]))
        elif born or row["method"] == "change_point":
            numbers.append(_step(label, row))
        else:
            numbers.append(
                Number(
                    label,
                    float(row["value"]),
                    row["unit"],
                    float(row["value_low"]),
                    float(row["value_high"]),
                    int(row["count"]),
                    f"from step {row['start']:,.0f} to {row['stop']:,.0f}, {row['share']:.0%} of "
                    "the whole change",
                    signed=True,
                )
            )
    return numbers


def _step(label: str, row: pd.Series) -> Number:
    note = f"at or beyond {row['value']:.3g} {row['unit']}".removesuffix(" 1")
    if row["method"] == "change_point":
        note = f"changes from step {row['start']:,.0f} to {row['stop']:,.0f}"
    low, high = float(row["low"]), float(row["high"])
    closed = pd.notna(high)
    if not closed:
        note += f"; from step {low:,.0f} on by the band's good edge, its other edge never stays"
    return Number(
        label,
        float(row["step"]),
        "step",
        low if closed else None,
        high if closed else None,
        int(row["count"]),
        note,
    )

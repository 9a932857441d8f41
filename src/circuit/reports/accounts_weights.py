"""What the weights' singular values say: growth, compression, settling, and behaviour's births."""

from __future__ import annotations

import pandas as pd

from circuit.reports.document import Figure, Number, Table
from circuit.reports.publish import Account

_MATCH_UNITS = dict.fromkeys(("births", "matched", "expected", "low", "high", "chance"), "1")
_KIND_UNITS = {
    "matrices": "1",
    **dict.fromkeys(("first", "last", "least", "most"), "1"),
    **dict.fromkeys(("random", "random_low", "random_high"), "1"),
    **dict.fromkeys(("below", "above"), "1"),
}
_UNLIKELY, _BEYOND = 0.05, ", fewer in 95% of shifts"
_MEANING = {
    "growth": "Frobenius norm, half-way up to stay",
    "compression": "effective rank, half-way down to stay",
    "stabilisation": "top directions half as far from the final ones as random directions, to stay",
}
_VERBS = {"compression": "were compressed", "growth": "grew", "stabilisation": "settled"}


def weights(rows: pd.DataFrame, patterns: pd.DataFrame, matches: pd.DataFrame, top: int) -> Account:
    """The weights' singular values over a run.

    Args:
        rows: every measure of every matrix at every checkpoint, with its baseline.
        patterns: growth, compression, stabilisation, co-movement.
        matches: how many of them lie in behaviour's windows, beside chance.
        top: number of singular directions that are followed.
    """
    last = int(rows["step"].max())
    ranks = rows[rows["measure"] == "effective_rank"]
    end = ranks[ranks["step"] == last]
    start = ranks[ranks["step"] == ranks["step"].min()].set_index(["component", "matrix"])["value"]
    below = end[end["value"] < end["baseline_low"]]
    most = end.loc[(end["value"] / end["baseline_mean"]).idxmin()]
    name = f"{most['matrix']} of {most['component']}"
    before = start[most["component"], most["matrix"]]
    if len(below):
        ranked = (
            f"At step {last:,}, {len(below)} of {len(end)} matrices have a lower effective rank "
            f"than 95% of untrained ones; most so {name}, which went from {before:.1f} to "
            f"{most['value']:.1f} (untrained {most['baseline_mean']:.1f}, 95% band "
            f"{most['baseline_low']:.1f} to {most['baseline_high']:.1f})."
        )
    else:
        ranked = (
            f"At step {last:,}, no matrix has a lower effective rank than untrained ones of its "
            "size show: nothing was compressed."
        )
    together = patterns[patterns["pattern"] == "co_movement"]
    return Account(
        question="When did the weights grow, compress and settle, and does behaviour go with it?",
        answer=" ".join(
            filter(None, (_when(patterns, len(end)), _matching(patterns, matches), ranked))
        ),
        numbers=[
            *_medians(patterns, len(end)),
            *_numbers(matches, together, int(rows["step"].nunique())),
            Number(
                f"effective rank of {name}, at step {last:,}",
                float(most["value"]),
                "1",
                note=f"the lowest relative to untrained ones: {most['baseline_mean']:.2f}, 95% "
                f"band {most['baseline_low']:.2f} to {most['baseline_high']:.2f} over "
                f"{most['baseline_count']:,} random matrices",
            ),
            Number("forward passes", 0, "1", note="weights are read, no program is run"),
        ],
        tables=_tables(ranks, patterns, matches, last),
        figures=[
            Figure(
                "effective_rank.svg",
                "Effective rank of every matrix over training; grey: 95% of untrained matrices.",
            ),
            Figure(
                "rotation.svg",
                f"Rotation of the top {top} singular directions to the previous and to the final "
                "checkpoint; grey: 95% of random matrices.",
            ),
            Figure(
                "spectrum.svg",
                "Singular values of the most compressed W_QK and W_OV at several checkpoints.",
            ),
            Figure(
                "births.svg",
                "When matrices grew, were compressed and settled; shaded: windows of behaviour's "
                "births.",
            ),
        ],
        marks=[
            "Weights have no events to resample: bands are those of random matrices, and the "
            "chance of a match is over shifted windows, within one run."
        ],
    )


def _when(patterns: pd.DataFrame, matrices: int) -> str:
    """How many matrices showed each pattern, and by when half of these did."""
    steps = {
        verb: patterns.loc[patterns["pattern"] == name, "step"] for name, verb in _VERBS.items()
    }
    told = [
        f"{len(at)} {verb} (half of them by step {at.median():,.0f})"
        for verb, at in steps.items()
        if len(at)
    ]
    if not told:
        return "No matrix grew, was compressed or settled by the stated rules."
    return f"Of {matrices} matrices {', '.join(told)}."


def _medians(patterns: pd.DataFrame, matrices: int) -> list[Number]:
    found = []
    for name in _VERBS:
        at = patterns.loc[patterns["pattern"] == name, "step"]
        median = float(at.median()) if len(at) else None
        note = f"{_MEANING[name]}; over {len(at)} of {matrices} matrices"
        found.append(Number(f"median step of {name}", median, "step", note=note))
    return found


def _matching(patterns: pd.DataFrame, matches: pd.DataFrame) -> str:
    told = matches[matches["pattern"].isin(_MEANING) & (matches["births"] > 0)]
    if told.empty:
        return ""
    if patterns["window"].eq("").all():
        return "Behaviour had no birth in this run that these could be matched with."
    shares = [
        f"{row['matched']} of {row['births']} by {row['pattern']} "
        f"({row['expected']:.0f} expected{_BEYOND if row['chance'] < _UNLIKELY else ''})"
        for _, row in told.iterrows()
    ]
    first = patterns.loc[patterns["pattern"] == "compression", "lead"].dropna()
    order = (
        f" Compressions precede the nearest birth of behaviour by {-first.median():,.0f} steps "
        "(median)."
        if len(first) and first.median() < 0
        else ""
    )
    return (
        f"Births in weights that fall into windows of behaviour's births: {', '.join(shares)}; "
        f"expected of the same windows at any other time.{order}{_latest(patterns)}"
    )


def _latest(patterns: pd.DataFrame) -> str:
    grown = patterns[patterns["pattern"] == "growth"]
    late = grown[grown["step"] == grown["step"].max()]
    if late.empty or len(late) > 3:
        return ""
    names = [f"{row['matrix']} of {row['component']}" for _, row in late.iterrows()]
    return f" Last to grow: {', '.join(names)}, at step {late['step'].iloc[0]:,}."


def _numbers(matches: pd.DataFrame, together: pd.DataFrame, checkpoints: int) -> list[Number]:
    numbers = []
    for _, row in matches.iterrows():
        what = "births of all kinds" if row["pattern"] == "all" else f"births by {row['pattern']}"
        numbers.append(
            Number(
                f"{what} in behaviour's windows",
                int(row["matched"]),
                "1",
                note=f"of {row['births']:,}; {row['expected']:.1f} expected in shifted windows "
                f"(95% {row['low']:.0f} to {row['high']:.0f}), as many or more in "
                f"{row['chance']:.0%} of shifts",
            )
        )
    for _, row in together.iterrows():
        numbers.append(
            Number(
                f"matrices that move together, step {row['start']:,} to {row['stop']:,}",
                int(row["matrices"]),
                "1",
                note=f"faster than their own average at once; by chance up to {row['bound']:.0f} "
                f"in some interval; {checkpoints} checkpoints",
            )
        )
    if together.empty:
        numbers.append(
            Number("windows in which more matrices move together than by chance", 0, "1")
        )
    return numbers


def _tables(
    ranks: pd.DataFrame, patterns: pd.DataFrame, matches: pd.DataFrame, last: int
) -> list[Table]:
    tables = [
        Table(
            f"Effective rank by kind of matrix (first and last: medians; least, most: at step "
            f"{last:,}; random: 95% band; below, above: matrices outside it)",
            _kinds(ranks, last),
            _KIND_UNITS,
        ),
        Table("Births inside behaviour's windows, and in shifted windows", matches, _MATCH_UNITS),
    ]
    for pattern, meaning in _MEANING.items():
        chosen = patterns[patterns["pattern"] == pattern]
        if len(chosen):
            steps = chosen.pivot(index="component", columns="matrix", values="step").reset_index()
            units = {column: "step" for column in steps.columns if column != "component"}
            steps.columns.name = None
            tables.append(Table(f"Step of {pattern} ({meaning})", steps, units))
    return tables


def _kinds(ranks: pd.DataFrame, last: int) -> pd.DataFrame:
    """One row per kind of matrix."""
    found = []
    for matrix, part in ranks.groupby("matrix", sort=False):
        first, end = part[part["step"] == part["step"].min()], part[part["step"] == last]
        found.append(
            {
                "matrix": matrix,
                "matrices": len(end),
                "first": first["value"].median(),
                "last": end["value"].median(),
                "least": end["value"].min(),
                "most": end["value"].max(),
                "random": end["baseline_mean"].iloc[0],
                "random_low": end["baseline_low"].iloc[0],
                "random_high": end["baseline_high"].iloc[0],
                "below": int((end["value"] < end["baseline_low"]).sum()),
                "above": int((end["value"] > end["baseline_high"]).sum()),
            }
        )
    return pd.DataFrame(found)

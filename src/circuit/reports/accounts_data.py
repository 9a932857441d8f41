"""What the attribution to data says: which training data built a scalar, through which memory."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from circuit.attribution.window import WindowSum
from circuit.reports.data_sums import data_table, other_sums
from circuit.reports.data_tables import MEANING, DataFindings, tables, term_words
from circuit.reports.document import Figure, Number
from circuit.reports.growth_words import named, residual_marks
from circuit.reports.publish import Account
from circuit.reports.quantities import format_value
from circuit.reports.style import words
from circuit.statistics import Mean

_TOLD = 3  # groups that the answer names on either side
_CANCELS = 0.2  # of the groups' sizes; if less is left of their sum, they pull against each other
_DWARFED = 0.05  # of the groups' sizes; if less is left, sizes mislead, which is marked
_MISS = 0.1  # of a removal's prediction at the smallest share; more needs a word
FIGURES = (
    Figure(
        "data_growth.svg",
        "Actual growth (black) and what each group of training data gave to it, current gradient "
        "and momentum together; with the dashed line they sum to the growth.",
    ),
    Figure(
        "data_memory.svg",
        "What each group gave through the gradient of the step itself and through momentum; bars "
        "sum to the growth.",
    ),
    Figure(
        "first_order_pushes.svg",
        "At the window's checkpoints: what plain descent on each group's loss would give to the "
        "scalar, with the control of exchanged answers.",
    ),
    Figure(
        "removal_oracle.svg",
        "An independent check: a share of a group is taken out of the window's first step, which "
        "is then taken again.",
    ),
)


def data_attribution(
    found: DataFindings,
    units: Mapping[str, str],
    heads: Mapping[str, str],
    window: tuple[int, int],
    main_rule: str,
    bound: float,
    data: str,
) -> Account:
    """Which data built the scalars' growth, and through which memory.

    Args:
        units: of the scalars.
        heads: head of every scalar that has one.
        main_rule: the path rule that is told.
        bound: share of the movement above which a residual is marked.
        data: what the data are grouped by.
    """
    main = [s for s in found.sums if s.path_rule == main_rule]
    rows = found.rows[found.rows["path_rule"] == main_rule]
    groups, terms = data_table(rows, found.first_order), other_sums(rows)
    lead = main[0]
    own = groups[groups["scalar"] == lead.scalar]
    parts = [
        _grown(lead, own, named(lead.scalar, heads), units[lead.scalar], window, data),
        _remembered(lead, own, terms),
        _caution(own, data),
        f"{main_rule.capitalize()} leaves {lead.relative_residual:.3%} of the total absolute "
        "movement unexplained (closure residual).",
    ]
    return Account(
        question="Which training data built the route, and through which memory?",
        answer=" ".join(part for part in parts if part),
        numbers=[
            number
            for s in main
            for number in _numbers(s, named(s.scalar, heads), units, found.growths, groups, terms)
        ]
        + _removal_numbers(found.removal),
        tables=tables(found, groups, terms, lead.scalar, data),
        figures=FIGURES,
        marks=[*residual_marks(main, bound), *_cancelled(groups, data), *_marks(found.removal)],
    )


def _grown(
    lead: WindowSum,
    own: pd.DataFrame,
    name: str,
    unit: str,
    window: tuple[int, int],
    data: str,
) -> str:
    """Which groups raised the scalar, and which lowered it; that they cancel, where they do."""
    totals = own.set_index("data_group")["total"].sort_values(key=abs, ascending=False)
    sides = [_list(totals[totals * sign > 0]) for sign in (1, -1)]
    groups = f"of the training data, by {MEANING[data]}, "
    if data == "sample":
        groups = f"of {MEANING[data]}, which differ by chance alone, "
    cancel = ", but they cancel but for {:.1%} of their sizes, so that none of them explains it"
    left = _left(own)
    return (
        f"{name} changed by {format_value(lead.growth, unit, signed=True)} from step "
        f"{window[0]:,} to {window[1]:,}: {groups}{sides[0]} raised it and {sides[1]} lowered it"
        f"{'' if left is None else cancel.format(left)}."
    )


def _list(totals: pd.Series) -> str:
    """The largest of some contributions, and what the others gave together."""
    if totals.empty:
        return "nothing"
    most = len(totals) if len(totals) == _TOLD + 1 else _TOLD  # "1 more" could as well be named
    told = [f"{words(str(name))} ({_short(value)})" for name, value in totals.iloc[:most].items()]
    rest = totals.iloc[most:]
    if len(rest):
        told.append(f"{len(rest)} more ({_short(rest.sum())})")
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def _left(own: pd.DataFrame) -> float | None:
    """The share of the groups' sizes that is left of their sum, where they cancel."""
    net, gross = abs(own["total"].sum()), own["total"].abs().sum()
    return net / gross if gross and net <= _CANCELS * gross else None


def _remembered(lead: WindowSum, own: pd.DataFrame, terms: pd.DataFrame) -> str:
    """How much came at once, how much was remembered, and what belongs to no group."""
    rest = terms[(terms["scalar"] == lead.scalar) & (terms["term"] != "residual")]
    others = ", ".join(
        f"{term_words(term)} {_short(value)}"
        for term, value in zip(rest["term"], rest["total"], strict=True)
        if abs(value) >= 0.001 * max(abs(lead.growth), own["total"].abs().max())
    )
    return (
        f"Together they gave {_short(own['current_gradient'].sum())} through the gradients of the "
        f"steps themselves and {_short(own['momentum'].sum())} through momentum, which remembers "
        f"earlier ones{'; ' + others if others else ''}."
    )


def _caution(own: pd.DataFrame, data: str) -> str:
    """What groups of this kind can and cannot say."""
    if data == "sample":
        return _apart(own)
    if data == "supports_opposes":
        return (
            "Whom a program supports was decided at every step by the sign of its own gradient's "
            "push, so that supporters raise the first scalar is nearly so by construction; how "
            "much, and through which memory, is not."
        )
    return _intense(own)


def _intense(own: pd.DataFrame) -> str:
    """The group that gave most for its number of targets."""
    known = own.dropna(subset=["per_target"])
    if known.empty:
        return ""
    best = known.loc[known["per_target"].abs().idxmax()]
    return (
        f"For its number of targets {words(str(best['data_group']))} counted most: "
        f"{best['share_of_targets']:.1%} of the targets made {abs(best['share']):.0%} of all "
        "contributions by size. Random groups differ too: the same analysis with `data: sample` is "
        "the control that says by how much."
    )


def _apart(own: pd.DataFrame) -> str:
    """How far random groups lie apart: what chance alone does."""
    low, high = own["total"].min(), own["total"].max()
    return (
        f"The buckets are random, so this is the control: that they lie {_short(high - low)[1:]} "
        f"apart ({_short(low)} to {_short(high)}) is chance, and groups of another kind must lie "
        "further apart, for their number of targets, to mean anything."
    )


def _numbers(
    found: WindowSum,
    name: str,
    units: Mapping[str, str],
    growths: Mapping[str, Mean],
    groups: pd.DataFrame,
    terms: pd.DataFrame,
) -> list[Number]:
    """Growth, its parts by memory and term, and the groups that gave most."""
    unit, growth = units[found.scalar], growths[found.scalar]
    own = groups[groups["scalar"] == found.scalar]
    rest = terms[terms["scalar"] == found.scalar]
    spans = (growth.low, growth.high, growth.count)
    numbers = [
        Number(f"growth of {name}", found.growth, unit, *spans, "interval over events", True)
    ]
    for memory, says in (
        ("current_gradient", "all groups at once: the gradients of the steps themselves"),
        ("momentum", "all groups through momentum"),
    ):
        numbers.append(Number(f"{name}: {says}", float(own[memory].sum()), unit, signed=True))
    for group, total in zip(own["data_group"].head(_TOLD), own["total"], strict=False):
        numbers.append(Number(f"{name}: {words(group)}", float(total), unit, signed=True))
    for term, total in zip(rest["term"], rest["total"], strict=True):
        numbers.append(Number(f"{name}: {term_words(term)}", float(total), unit, signed=True))
    return numbers


def _removal_numbers(removal: pd.DataFrame) -> list[Number]:
    """What redoing a step missed of what was said, at the smallest share."""
    least = removal[removal["share"] == removal["share"].min()]
    of = least.drop_duplicates("data_group")
    share, step = float(least["share"].iloc[0]), int(least["step"].iloc[0])
    note = (
        f"largest of the groups; a share of {share:g} of a group's gradient taken out of step "
        f"{step:,}, which was taken again"
    )
    return [
        Number(
            f"removal: miss of the predicted change of the parameters, {how}",
            float(of[column].max()),
            "share",
            count=len(of),
            note=note,
        )
        for column, how in (
            ("parameters_missed_held", "preconditioner and clip coefficient held"),
            ("parameters_missed", "redone in full"),
        )
    ]


def _cancelled(groups: pd.DataFrame, data: str) -> list[str]:
    """Contributions that cancel are large for what they build: their sizes must not be compared."""
    left = {str(name): _left(own) for name, own in groups.groupby("scalar", sort=False)}
    told = [
        f"{name} ({share:.1%})"
        for name, share in left.items()
        if share is not None and share < _DWARFED
    ]
    if not told or data == "sample":
        return []
    return [
        "The groups pull against each other: of the sizes of their contributions little is left "
        f"when they are summed, for {', '.join(told)}. A group's size then tells how strongly it "
        "pulls along what the others undo, not how much of the growth is its own."
    ]


def _marks(removal: pd.DataFrame) -> list[str]:
    """A prediction that fails at the smallest share is not right to first order there."""
    least = removal[removal["share"] == removal["share"].min()]
    worst = float(least["parameters_missed"].max())
    if worst <= _MISS:
        return []
    return [
        f"Removing {least['share'].iloc[0]:g} of a group from step {least['step'].iloc[0]:,} moves "
        f"the parameters otherwise than predicted by up to {worst:.0%} of the prediction."
    ]


def _short(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")

"""The one rule of evidence, and that nothing else decides."""

import ast
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit.evidence import Estimate, agreed, verdict

LIBRARY = Path(__file__).resolve().parents[1] / "src" / "circuit"
SIZES = st.floats(-10, 10).map(lambda x: round(x, 3))
OPPOSITE = {"shown": "opposite", "opposite": "shown", "open": "open"}


def one(mean, reach=1.0, count=48):
    return Estimate(mean, mean - reach, mean + reach, count)


@st.composite
def estimates(draw):
    return one(draw(SIZES), draw(st.floats(0, 5)))


@pytest.mark.parametrize(
    ("effect", "controls", "excess", "bound", "expected"),
    [
        (one(2), [], None, 0.0, "shown"),
        (one(-2), [], None, 0.0, "opposite"),
        (one(0.5), [], None, 0.0, "open"),
        # An interval that touches the bound leaves the question open.
        (one(1), [], None, 0.0, "open"),
        (one(5), [one(1)], None, 0.0, "shown"),
        (one(2), [one(1)], None, 0.0, "open"),
        (one(5), [one(1), one(4.5)], None, 0.0, "open"),
        # Below its control and above 0: neither.
        (one(2), [one(8)], None, 0.0, "open"),
        # Where 0 means nothing, the controls alone count.
        (one(2), [one(8)], None, None, "opposite"),
        # Paired: the difference decides, whatever the two intervals are by themselves.
        (one(2), [one(1)], one(1, 0.5), 0.0, "shown"),
        (one(9), [one(1)], one(0.2, 0.5), 0.0, "open"),
        (one(9), [one(1)], one(-2, 0.5), 0.0, "opposite"),
        (one(0.9, 0.05), [], None, 0.5, "shown"),
        # Nothing to compare with shows nothing.
        (one(9), [], None, None, "open"),
    ],
)
def test_known_cases(effect, controls, excess, bound, expected):
    assert verdict(effect, controls, excess, bound) == expected


def test_a_mean_without_an_interval_shows_nothing_and_an_exact_number_does():
    assert verdict(Estimate(9.0, count=48)) == "open"
    assert verdict(Estimate(math.nan)) == "open"
    assert verdict(Estimate(9.0, count=0), [one(1)]) == "shown"


def test_all_controls_must_agree_and_a_paired_one_decides_by_its_excess():
    by = {"": one(5), "a": one(1), "b": one(4.5)}
    assert agreed({"": one(5)}) == agreed({"": one(5), "a": one(1)}) == "shown"
    assert agreed(by) == "open"  # the interval of b overlaps
    assert agreed({**by, "excess over b": one(2)}) == "shown"
    assert agreed({**by, "excess over b": one(-2)}) == "open"
    assert agreed({"": one(-5), "excess": one(-2)}) == "opposite"
    assert agreed({"": one(5), "a": one(9)}, None) == "opposite"


@given(estimates(), st.lists(estimates(), max_size=3))
def test_turning_all_signs_turns_the_verdict(effect, controls):
    def turned(e):
        return Estimate(-e.mean, -e.high, -e.low, e.count)

    found = verdict(turned(effect), [turned(c) for c in controls])
    assert found == OPPOSITE[verdict(effect, controls)]


@given(estimates(), st.lists(estimates(), min_size=1, max_size=3), estimates())
def test_a_further_control_shows_nothing_more(effect, controls, another):
    fewer, more = verdict(effect, controls), verdict(effect, [*controls, another])
    assert more in (fewer, "open")


@given(estimates(), SIZES)
def test_a_wider_interval_shows_nothing_more(effect, reach):
    wide = Estimate(effect.mean, effect.low - abs(reach), effect.high + abs(reach), effect.count)
    assert verdict(wide) in (verdict(effect), "open")


def _compares_an_end(node: ast.AST) -> bool:
    """Whether a comparison looks at the end of an interval."""
    if not isinstance(node, ast.Compare) or isinstance(node.ops[0], ast.Is | ast.IsNot | ast.In):
        return False
    ends = {"low", "high"}
    sides = [side for side in (node.left, *node.comparators) if not isinstance(side, ast.Compare)]
    for part in (part for side in sides for part in ast.walk(side)):
        if isinstance(part, ast.Attribute) and part.attr in ends:
            return True
        if isinstance(part, ast.Subscript) and ast.unparse(part.slice).strip("'\"") in ends:
            return True
    return False


def test_no_words_are_chosen_by_another_rule():
    """Where words are made, nobody compares an interval with a bound but the rule of evidence."""
    words = [*(LIBRARY / "reports").rglob("*.py"), *(LIBRARY / "kinds").rglob("view.py")]
    # Digits and axes follow from the width of intervals; no word does.
    words = [f for f in words if f.parent.name != "draw" and f.name != "quantities.py"]
    assert len(words) > 15
    found = [
        f"{file.relative_to(LIBRARY)}:{node.lineno}"
        for file in words
        for node in ast.walk(ast.parse(file.read_text()))
        if _compares_an_end(node)
    ]
    assert found == []

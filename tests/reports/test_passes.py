"""The number of forward passes in a report: whole-pass equivalents and the calls behind them."""

import pytest

from circuit.model.passes import Passes
from circuit.reports.passes import passes_number


def test_passes_are_told_in_whole_ones_with_the_calls_behind_them() -> None:
    number = passes_number(Passes(3, 1200, 288, 480.0), 96, 2)
    assert (number.name, number.value, number.unit) == ("forward passes", 2.5, "1")
    assert number.note == (
        "in whole passes over 96 programs: 3 calls from the tokens on, 1,200 continued from a "
        "later stage"
    )


def test_a_pass_over_one_program_is_over_one_program() -> None:
    number = passes_number(Passes(1, 0, 1, 4.0), 1, 4)
    assert number.value == pytest.approx(1)
    assert number.note.startswith("in whole passes over 1 program: 1 calls")

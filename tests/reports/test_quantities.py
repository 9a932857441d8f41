"""Numbers as people read them: sign, unit, honest digits."""

import pytest

from circuit.reports.quantities import format_interval, format_number, format_value


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((3.21, "score", 2.9, 3.5), "+3.21 score (95% interval +2.90 to +3.50)"),
        ((-3.21, "score"), "−3.21 score"),
        ((0.9634, "share", 0.951, 0.975), "96.3% (95% interval 95.1% to 97.5%)"),
        ((-0.0083, "share"), "−0.830%"),
        ((0.5, "probability", 0.45, 0.56), "0.500 probability (95% interval 0.450 to 0.560)"),
        ((700, "step"), "700 step"),
        ((12000.0, "step", 11000.0, 13000.0), "12,000 step (95% interval 11,000 to 13,000)"),
        ((626048, "1"), "626,048"),
        ((0.8612, "1"), "0.861"),
        ((3.0, "1", 2.4, 3.6), "3.00 (95% interval 2.40 to 3.60)"),
        ((0.0, "score"), "0 score"),
        # An interval as wide as rounding: it gives no digits.
        (
            (0.3187, "cosine", 0.3187, 0.3187 + 1e-15),
            "+0.319 cosine (95% interval +0.319 to +0.319)",
        ),
        ((9.996, "logit"), "+10.0 logit"),
        ((1.2345e-9, "score"), "+1.23e-9 score"),
        ((float("nan"), "score"), "not defined"),
        ((None, "score"), "not defined"),
    ],
)
def test_number_in_one_line(arguments, text):
    assert format_number(*arguments) == text


def test_digits_follow_the_interval_not_the_value():
    assert format_value(1234.5678, "logit", 900.0, 1600.0) == "+1,235 logit"
    assert format_value(1.23456, "logit", 1.2344, 1.2348) == "+1.23456 logit"


def test_a_number_that_rounds_to_zero_has_no_sign():
    assert format_value(-0.0004, "score", -0.3, 0.3) == "0.00 score"
    assert format_interval(-0.0004, "score", -0.3, 0.3) == "−0.30 to +0.30"


def test_caller_decides_the_sign_where_the_unit_cannot():
    assert format_value(0.12, "share", signed=True) == "+12.0%"
    assert format_value(2.3, "nat", signed=False) == "2.30 nat"


def test_half_an_interval_is_none():
    assert format_interval(1.0, "score", 0.5, None) == ""
    assert format_interval(1.0, "score", float("nan"), 2.0) == ""

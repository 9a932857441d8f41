"""What the optimizer's trace says."""

import pandas as pd
import pytest
from account_checks import numbers_of, written

from circuit.config.terms import TRACE_UNITS
from circuit.reports.accounts_optimizer import trace


def trace_frames(clipped=(0.5, 1.0, 1.0, 0.8), difference=0.0):
    rows = pd.DataFrame({"step": range(300, 304), "clip_coefficient": clipped})
    for name in TRACE_UNITS:
        if name.endswith("norm"):
            rows[name] = 0.2
    rows["momentum_norm"] = [0.5, 0.6, 0.6, 7.0]
    top = pd.DataFrame(
        {"step": [300, 301], "rank": 1, "parameter": "embedding.token", "update_norm": [0.1, 0.3]}
    )
    verified = pd.DataFrame({"step": [302, 304], "max_abs_difference": [0.0, difference]})
    return rows, top, verified


def test_the_trace_counts_clipping_and_exact_checkpoints(tmp_path):
    found = trace(*trace_frames())
    written(found, "optimizer_trace", tmp_path)
    assert "Steps 300 to 303 were replayed and arrive bit for bit at 2 of 2" in found.answer
    assert "clipped in 50% of steps" in found.answer
    assert "momentum component is 3.00 times" in found.answer
    assert found.marks == []
    numbers = numbers_of(found)
    assert str(numbers["median norm of momentum"]) == "0.600 parameter unit (n = 4)"
    assert numbers["largest replay difference"].value == 0
    moved = found.tables[0].frame.iloc[0]
    assert (moved["mean"], moved["count"]) == (pytest.approx(0.2), 2)


def test_a_replay_within_a_tolerance_is_marked_and_not_called_exact():
    found = trace(*trace_frames(difference=1e-6))
    assert "bit for bit at 1 of 2" in found.answer
    assert len(found.marks) == 1
    assert "tolerance" in found.marks[0]
    assert numbers_of(found)["largest replay difference"].value == 1e-6


def test_a_trace_without_its_largest_parameters_is_no_failure(tmp_path):
    rows, top, verified = trace_frames()
    written(trace(rows, top.iloc[:0], verified), "optimizer_trace", tmp_path)

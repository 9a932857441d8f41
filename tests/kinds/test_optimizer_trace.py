"""What a trace of steps comes to, and that neighbouring steps keep their mean and range."""

import numpy as np
import pandas as pd
import pytest
from viewing import outcome, viewed

from circuit.attribution.step_rows import BINS, RANGE, trace_rows
from circuit.config.terms import COMPONENTS, TRACE_UNITS
from circuit.measuring import Table

FACTS = {"steps": 1200, "checkpoints": 2, "exact": 2, "first": 0, "last": 1199}


def steps(count=1200):
    """A trace whose gradient is clipped in a quarter of the steps."""
    draw = np.random.default_rng(0)
    columns = [c for c in TRACE_UNITS if c not in ("step", "row", "rank", "parameter_norm")]
    trace = pd.DataFrame({name: draw.uniform(0.1, 1, count) for name in columns})
    trace["clip_coefficient"] = np.where(np.arange(count) % 4, 1.0, 0.5)
    return trace.assign(step=np.arange(count), momentum_norm=2 * trace["current_gradient_norm"])


TOP = pd.DataFrame({"step": [0, 0, 1], "parameter": ["a", "b", "b"], "update_norm": [1.0, 2, 4]})


def verified(difference):
    return pd.DataFrame({"step": [600, 1200], "max_abs_difference": [0.0, difference]})


def seen(folder, difference):
    rows = trace_rows(steps(), TOP, verified(difference))
    tables = {"rows": Table(rows, "one measure of some steps")}
    return viewed("optimizer_trace", tables, folder, {"window": [0, 1200]}, FACTS)


def test_bins_keep_the_mean_the_range_and_every_step():
    trace = steps()
    rows = trace_rows(trace.sample(frac=1, random_state=0), TOP, verified(0))
    loss = rows[rows["measure"] == "loss"]
    means, ends = loss[loss["against"] == ""], loss[loss["against"] == RANGE]
    assert len(means) == BINS
    assert means["mean"].mean() == pytest.approx(trace["loss"].mean())
    assert (ends["low"].min(), ends["high"].max()) == (trace["loss"].min(), trace["loss"].max())
    assert means["count"].sum() == len(trace)
    assert means["step"].is_monotonic_increasing


def test_the_window_is_told(tmp_path):
    report = seen(tmp_path, 0.0)
    numbers = {number["name"]: number["value"] for number in report["numbers"]}
    assert numbers["share of steps with clipping"] == 0.25
    assert numbers["median norm of momentum, in that of the current gradient"] == pytest.approx(2)
    assert {f"median norm, {c.replace('_', ' ')}" for c in COMPONENTS} <= set(numbers)
    assert not report["marks"]
    [moved, _] = report["tables"]
    assert moved["rows"] == [["b", 3.0, 2], ["a", 1.0, 1]]


def test_a_replay_within_a_tolerance_is_marked(tmp_path):
    report = seen(tmp_path, 1e-7)
    assert outcome(report, "largest replay difference").verdict == "shown"
    assert report["marks"]

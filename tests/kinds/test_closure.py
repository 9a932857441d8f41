"""What a closure says of an outcome that follows the route, the bottom head, both, or nothing."""

import numpy as np
import pandas as pd
import pytest
from viewing import outcome, viewed

from circuit.kinds.closure.settings import Settings
from circuit.measures.closure import CONTROL, EVENT_UNITS, explain
from circuit.measuring import Table

EVENTS, STARTS = 40, (100, 200, 300)
SETTINGS = {
    "heads": "scan",
    "window": (100, 400),
    "outcomes": {"margin": {"scalar": "answer_margin"}},
    "routes": {"route": {"scalar": "qk_separation", "head": "winner"}},
}


def seen(folder, slope, control_slope=0.0):
    """The report of an outcome with these slopes."""
    rng = np.random.default_rng(0)
    route, control = rng.normal(size=(2, EVENTS * len(STARTS)))
    noise = 0.3 * rng.normal(size=len(route))
    frame = pd.DataFrame(
        {
            "margin": slope * route + control_slope * control + noise,
            "route": route,
            CONTROL + "route": control,
            "event": np.tile(np.arange(EVENTS), len(STARTS)),
            "start": np.repeat(STARTS, EVENTS),
            "stop": np.repeat(STARTS, EVENTS) + 100,
        }
    )
    found = explain(Settings.model_validate({"kind": "closure", **SETTINGS}), frame)
    tables = {
        "rows": Table(found.rows, "one number"),
        "intervals": Table(found.intervals, "one interval", {"stop": "step"}),
        "events": Table(found.events, "one change", EVENT_UNITS),
    }
    facts = {"window": [100, 400], "winner": "L1H2", "bottom": "L0H3"}
    return viewed("closure", tables, folder, SETTINGS, facts)


def test_an_outcome_that_follows_the_route_is_explained(tmp_path):
    report = seen(tmp_path, slope=2.0)
    for name in ("explained within intervals", "explained over all intervals"):
        assert outcome(report, name, outcome="margin").verdict == "shown"
    assert "bottom head" in outcome(report, "explained within intervals").control
    assert "L1H2" in report["answer"]
    assert not report["marks"]


@pytest.mark.parametrize("slopes", [(0.0, 0.0), (1.0, 1.0)])
def test_what_a_control_explains_as_well_is_open_and_marked(slopes, tmp_path):
    """Nothing explains noise; and a bottom head that explains as much takes the routes' credit."""
    report = seen(tmp_path, *slopes)
    assert outcome(report, "explained within intervals").verdict != "shown"
    assert report["marks"]


def test_a_route_that_explains_less_than_the_bottom_head_is_said_to(tmp_path):
    report = seen(tmp_path, slope=0.1, control_slope=2.0)
    assert outcome(report, "explained within intervals").verdict == "opposite"

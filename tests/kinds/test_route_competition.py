"""What a competition of routes says: who grew beyond the control, and whether the start told."""

import numpy as np
import pandas as pd
import pytest
from viewing import changed, outcome, viewed

from circuit.kinds.route_competition.measure import route_rows
from circuit.measures.routes.competition import RouteFrame
from circuit.measuring import Table

ROUTES = [f"qk L{layer}H{head}" for layer in range(2) for head in range(3)]
OBJECTIVES = ("tokens", "answers", "shuffled_answers")


@pytest.fixture(scope="module")
def rows():
    """Six routes, of which the fourth grows and is pushed from the start."""
    generator = np.random.default_rng(2)
    first = generator.normal(size=(6, 40))
    grown = np.array([0.1, 0.3, 0.0, 4.0, 0.6, -1.0])
    values = {0: first, 10: first + grown[:, None] + 0.1 * generator.normal(size=(6, 40))}
    kinds = [("strength", "", "", "", "events")] + [
        (measure, split, programs, objective, "chunks of programs")
        for measure in ("alignment", "push")
        for split, programs in (("train", "trained on"), ("test_iid", "not trained on"))
        for objective in OBJECTIVES
    ]
    frames = []
    for step in (0, 10):
        for measure, split, programs, objective, noun in kinds:
            mean = values[step].mean(1) if measure == "strength" else 0.2 * grown
            mean = -0.02 * grown if objective == "shuffled_answers" else mean
            table = pd.DataFrame({"route": ROUTES, "mean": mean, "low": mean, "high": mean})
            keys = {"split": split, "programs": programs, "objective": objective, "noun": noun}
            fixed = {"measure": measure, "step": step, "count": 8, "unit": "1", "against": ""}
            frames.append(table.assign(**keys, **fixed, half="all"))
    frame = RouteFrame(pd.concat(frames, ignore_index=True), values, 0)
    about = pd.DataFrame({"route": ROUTES, "family": "qk", "unit": "score"})
    return route_rows(frame, about)


def seen(rows, folder):
    """The report of some rows."""
    settings = {
        "window": [0, 10],
        "routes": {"qk": {"scalar": "qk_separation", "head": "every"}},
        "split": "test_iid",
    }
    tables = {"rows": Table(rows, "one measure")}
    facts = {"window": [0, 10], "train_split": "train"}
    return viewed("route_competition", tables, folder, settings, facts)


def test_the_route_that_grew_is_shown_beside_the_control(rows, tmp_path):
    report = seen(rows, tmp_path)
    won = outcome(report, "growth of the winner")
    assert (won.verdict, won.about["route"], won.compared) == ("shown", "qk L1H0", 6)
    assert "bottom" in won.control
    assert outcome(report, "push of the winner at the start").verdict == "shown"
    assert outcome(report, "does the start tell who grows").verdict == "shown"
    assert not report["marks"]


def test_what_is_not_beyond_the_controls_is_open(rows, tmp_path):
    paired = {"measure": "effect_size", "against": "excess", "route": "qk L1H0"}
    report = seen(changed(rows, {**paired, "half": "confirmation"}, low=-1.0), tmp_path)
    assert outcome(report, "growth of the winner").verdict == "open"
    start = {"measure": "alignment", "objective": "shuffled_answers", "programs": "trained on"}
    report = seen(changed(rows, start, mean=0.8, low=0.79, high=0.81), tmp_path)
    assert outcome(report, "push of the winner at the start").verdict == "open"


def test_a_winner_that_the_other_half_would_not_choose_is_marked(rows, tmp_path):
    other = {"measure": "effect_size", "half": "confirmation", "route": "qk L1H1"}
    report = seen(changed(rows, other, mean=9.0, low=8.0, high=10.0), tmp_path)
    [mark] = report["marks"]
    assert "qk L1H1" in mark
    assert outcome(report, "growth of the winner").about["route"] == "qk L1H0"

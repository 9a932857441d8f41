"""What is said of candidates: who grew beyond the control, when, and whether the start told."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from viewing import changed, outcome, viewed

from circuit.kinds.candidates.measure import candidate_rows
from circuit.measures.candidates.follow import Followed
from circuit.measuring import Table

NAMES = [f"qk L{layer}H{head}" for layer in range(2) for head in range(3)]
OBJECTIVES = ("tokens", "answers", "shuffled_answers")


def linked(grown):
    """What built the candidates, what that did to losses, and how they interfere."""
    fixed = {"half": "all", "unit": "score", "count": 40, "noun": "events"}
    found = []

    def add(measure, step, mean, around=0.01, **about):
        numbers = {"mean": mean, "low": mean - around, "high": mean + around}
        found.append({**fixed, "measure": measure, "step": step, **numbers, **about})

    for name, change in zip(NAMES, grown, strict=True):
        for part, share in (("drive", 0.75), ("rebinding", 0.5), ("residual", -0.25)):
            add("built_between", 0, share * change, part=part, candidate=name, stop="10")
            add("built", 10, share * change, part=part, candidate=name)
        for objective, utility in (("tokens", 0.1), ("shuffled_answers", -0.2)):
            trained = {"split": "train", "programs": "trained on", "objective": objective}
            add("utility", 10, utility * change, candidate=name, **trained)
    for (i, one), (j, other) in combinations(enumerate(NAMES), 2):
        pair = {"candidate": one, "other": other, "unit": "cosine"}
        add("interference", 0, (-0.5) ** (i + j), **pair)
        add("interference", 0, 0.0, **pair, against="random signs", count=0, noun="")
    return pd.DataFrame(found)


@pytest.fixture(scope="module")
def rows():
    """Six candidates, of which the fourth grows and is pushed from the start."""
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
            table = pd.DataFrame({"candidate": NAMES, "mean": mean, "low": mean, "high": mean})
            keys = {"split": split, "programs": programs, "objective": objective, "noun": noun}
            fixed = {"measure": measure, "step": step, "count": 8, "unit": "1", "against": ""}
            frames.append(table.assign(**keys, **fixed, half="all"))
    rows = pd.concat([*frames, linked(grown)], ignore_index=True).fillna({"against": ""})
    frame = Followed(rows.fillna(""), values, 0)
    about = pd.DataFrame({"candidate": NAMES, "group": "qk", "unit": "score"})
    return candidate_rows(frame, about)


def seen(rows, folder):
    """The report of some rows."""
    settings = {
        "window": [0, 10],
        "candidates": {"qk": {"scalar": "qk_separation", "head": "every"}},
        "split": "test_iid",
    }
    tables = {"rows": Table(rows, "one measure")}
    facts = {"window": [0, 10], "train_split": "train", "gradient_steps": 2}
    return viewed("candidates", tables, folder, settings, facts)


def test_the_route_that_grew_is_shown_beside_the_control(rows, tmp_path):
    report = seen(rows, tmp_path)
    won = outcome(report, "growth of the winner")
    assert (won.verdict, won.about["candidate"], won.compared) == ("shown", "qk L1H0", 6)
    assert "bottom" in won.control
    assert outcome(report, "push of the winner at the start").verdict == "shown"
    assert outcome(report, "does the start tell who grows").verdict == "shown"
    helped = outcome(report, "what the winner's own parameters did to the loss")
    assert (helped.verdict, helped.about["candidate"]) == ("shown", "qk L1H0")
    assert not report["marks"]


def test_what_is_not_beyond_the_controls_is_open(rows, tmp_path):
    paired = {"measure": "effect_size", "against": "excess", "candidate": "qk L1H0"}
    report = seen(changed(rows, {**paired, "half": "confirmation"}, low=-1.0), tmp_path)
    assert outcome(report, "growth of the winner").verdict == "open"
    start = {"measure": "alignment", "objective": "shuffled_answers", "programs": "trained on"}
    report = seen(changed(rows, start, mean=0.8, low=0.79, high=0.81), tmp_path)
    assert outcome(report, "push of the winner at the start").verdict == "open"


def test_a_winner_that_the_other_half_would_not_choose_is_marked(rows, tmp_path):
    other = {"measure": "effect_size", "half": "confirmation", "candidate": "qk L1H1"}
    report = seen(changed(rows, other, mean=9.0, low=8.0, high=10.0), tmp_path)
    [mark] = report["marks"]
    assert "qk L1H1" in mark
    assert outcome(report, "growth of the winner").about["candidate"] == "qk L1H0"


def test_who_helps_whom_is_told_beside_random_signs(rows, tmp_path):
    report = seen(rows, tmp_path)
    most = outcome(report, "candidates that help each other most")
    least = outcome(report, "candidates that hinder each other most")
    assert (most.verdict, most.compared) == ("shown", 15)
    assert (most.about["candidate"], most.about["other"]) == ("qk L0H0", "qk L0H2")
    assert (least.verdict, least.about["other"]) == ("opposite", "qk L0H1")
    wide = {"measure": "interference", "against": "random signs"}
    report = seen(changed(rows, wide, low=-0.9, high=0.9), tmp_path)
    assert outcome(report, "candidates that help each other most").verdict == "open"


def test_who_is_first_is_told_where_the_lead_is_shown(rows, tmp_path):
    lead = {"measure": "lead", "place": "1"}
    report = seen(changed(rows, lead, mean=10.0, low=5.0, high=15.0), tmp_path)
    assert outcome(report, "lead of the first").verdict == "shown"
    report = seen(changed(rows, lead, mean=0.0, low=-5.0, high=5.0), tmp_path)
    assert outcome(report, "lead of the first").verdict == "open"
    nobody = changed(rows, {"measure": "lead"}, mean=np.nan, low=np.nan, high=np.nan)
    nobody = changed(nobody, {"measure": "half_way"}, mean=np.nan, low=np.nan, high=np.nan)
    report = seen(nobody, tmp_path)
    assert "lead of the first" not in {found["name"] for found in report["findings"]}
    assert outcome(report, "{candidate} half-way", candidate="qk L1H0").verdict == "open"

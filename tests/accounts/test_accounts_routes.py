"""What a competition of routes says: who grew, whether it was pushed, and what that foretold."""

import pandas as pd
import pytest
from account_checks import numbers_of, written

from circuit.measures.routes import ranking as route_ranking
from circuit.model.passes import Passes
from circuit.reports import accounts_routes
from circuit.reports.accounts_routes import competition

PASSES = Passes(whole=4, continued=0, programs=80, program_layers=160.0)
ROUTES = [f"qk L{layer}H{head}" for layer in range(2) for head in range(4)]
ROLES = {"qk L1H2": "winner", "qk L1H1": "runner_up", "qk L0H1": "bottom"}


def ranking(low=5.5, selection=None):
    order = ["qk L1H2", "qk L1H1", *(r for r in ROUTES if r not in ("qk L1H2", "qk L1H1"))]
    size = [6.0, 1.0, 0.5, 0.01, -0.2, -0.3, -0.4, -0.5]
    return pd.DataFrame(
        {
            "rank": range(1, 9),
            "route": order,
            "family": "qk",
            "scalar": "qk_separation",
            "head": [route.split()[1] for route in order],
            "unit": "score",
            "selection": selection or size,
            "confirmation": size,
            "low": [low, *(s - 0.1 for s in size[1:])],
            "high": [6.5, *(s + 0.1 for s in size[1:])],
            "change": [9.0 * s for s in size],
            "change_low": [9.0 * s - 1 for s in size],
            "change_high": [9.0 * s + 1 for s in size],
            "count": 48,
            "role": [ROLES.get(route, "") for route in order],
        }
    )


def rows(aligned=0.2):
    frames = []
    for step in (500, 1300):
        base = pd.DataFrame({"route": ROUTES, "step": step, "unit": "score"})
        for measure in ("strength", "change"):
            frames.append(base.assign(measure=measure, split="", objective="", mean=1.0, count=96))
        for split in ("train", "validation_iid"):
            for objective in ("tokens", "answers", "shuffled_answers"):
                told = {"split": split, "objective": objective, "mean": aligned, "count": 8}
                frames.append(base.assign(measure="alignment", **{**told, "unit": "1"}))
                frames.append(base.assign(measure="push", **told))
    found = pd.concat(frames, ignore_index=True)
    return found.assign(low=found["mean"] - 0.1, high=found["mean"] + 0.1)


def signs(correlation=0.1, low=-0.5, high=0.6):
    about = {"correlation": correlation, "low": low, "high": high, "count": 8}
    return pd.DataFrame(
        [
            {"among": among, "measure": m, "split": s, "objective": o, **about}
            for among in ("all routes", "qk")
            for m in ("alignment", "push")
            for s in ("train", "validation_iid")
            for o in ("tokens", "answers", "shuffled_answers")
        ]
    )


def told(ranked=None, followed=None, early=None, confirmed=True):
    return competition(
        rows() if followed is None else followed,
        ranking() if ranked is None else ranked,
        signs() if early is None else early,
        confirmed,
        "train",
        PASSES,
        60,
        2,
    )


def test_the_winner_is_told_with_its_rivals(tmp_path):
    found = told()
    written(found, "route_competition", tmp_path)
    first, second = found.answer.split(". At ")
    assert first == (
        "Of 8 candidate routes, qk L1H2 grew most from step 500 to 1,300: by +6.00 standard "
        "deviations over events (95% interval +5.50 to +6.50; +54.0 score), against +1.00 for the "
        "runner-up qk L1H1 and +0.01 for the bottom control qk L0H1"
    )
    assert second == (
        "step 500 plain descent of the training loss moves qk L1H2 up (cosine +0.20, 95% interval "
        "+0.10 to +0.30); over all routes, the push at the start does not tell which grew (rank "
        "correlation +0.10, 95% interval −0.50 to +0.60)."
    )
    assert found.marks == []


def test_where_none_grew_it_is_said(tmp_path):
    found = told(ranking(low=-0.1))
    written(found, "route_competition", tmp_path)
    assert found.answer.startswith(
        "No route of 8 candidates is shown to grow from step 500 to 1,300: qk L1H2, the best on "
        "the events that choose, changed by +6.0 standard deviations"
    )


@pytest.mark.parametrize(
    ("aligned", "way"), [(0.2, "up"), (-0.2, "down"), (0.05, "neither clearly up nor down")]
)
def test_the_push_has_a_direction_where_its_interval_has_one(aligned, way):
    assert f"moves qk L1H2 {way} (cosine" in told(followed=rows(aligned)).answer


@pytest.mark.parametrize(
    ("early", "says"),
    [
        ((0.7, 0.2, 0.9), "those pushed more at the start grew more"),
        ((-0.7, -0.9, -0.2), "those pushed more at the start grew less"),
        ((0.2, -0.2, 0.7), "the push at the start does not tell which grew"),
    ],
)
def test_what_the_start_foretold_is_read_off_the_interval(early, says):
    assert f"over all routes, {says} (" in told(early=signs(*early)).answer


def test_without_a_correlation_none_is_told(tmp_path):
    found = told(early=signs().iloc[:0])
    written(found, "route_competition", tmp_path)
    assert found.answer.endswith("95% interval +0.10 to +0.30).")


def test_numbers_have_units_counts_and_the_control(tmp_path):
    found = numbers_of(told())
    size = found["effect size of qk L1H2 (winner)"]
    assert (size.value, size.low, size.high, size.count) == (6.0, 5.5, 6.5, 48)
    assert size.unit == "standard deviations"
    assert found["qk L0H1 (bottom control) at step 1,300"].unit == "score"
    exchanged = "alignment of qk L1H2 (winner) with descent on shuffled answers of train"
    assert (found[exchanged].unit, found[exchanged].count) == ("1", 8)
    assert found["push of qk L1H2 by the training loss"].unit == "score"
    assert found["backward passes"].value == 60
    assert found["forward passes"].value == 160 / (96 * 2)


def test_doubts_are_marked():
    unsized = ranking(selection=[6.0, 1.0, 0.5, 0.01, -0.2, -0.3, -0.4, float("nan")])
    assert told(unsized, confirmed=False).marks == [
        "The confirmation half of the events would have chosen another route than qk L1H2.",
        "Routes with one value on all events have no effect size and rank last: qk L1H3.",
    ]


def test_units_are_those_of_the_ranking():
    assert set(accounts_routes._RANKING_UNITS) == set(route_ranking.RANKING_UNITS)

"""Phases and order of candidates whose curves are planted."""

import numpy as np
import pandas as pd
import pytest

from circuit.measures.candidates.phases import summarise

STEPS = (0, 10, 20, 30, 40)
EVENTS = 60
CURVES = {
    "early": (0, 4, 4, 4, 4),
    "late": (0, 0, 0, 5, 5),
    "bump": (0, 3, 3, 0, 0),
    "idle": (0, 0, 0, 0, 0),
}


def summary(curves, noise=0.5, seed=0):
    """Rows of curves seen on events that differ, and whose changes differ too."""
    generator = np.random.default_rng(seed)
    each = generator.normal(size=(len(curves), EVENTS))
    values = {
        step: each
        + np.array([curve[c] for curve in curves.values()])[:, None]
        + noise * generator.normal(size=each.shape)
        for c, step in enumerate(STEPS)
    }
    about = pd.DataFrame({"candidate": list(curves), "unit": "score"})
    return summarise(about, values), values


def phases(rows, name):
    part = rows[(rows["measure"] == "phase") & (rows["candidate"] == name)]
    return list(part[["phase", "step", "stop"]].itertuples(index=False, name=None))


def test_phases_are_the_planted_ones():
    rows, values = summary(CURVES)
    assert phases(rows, "early") == [("rises", 0, "10"), ("rests", 10, "40")]
    assert phases(rows, "late") == [("rests", 0, "20"), ("rises", 20, "30"), ("rests", 30, "40")]
    assert [phase for phase, *_ in phases(rows, "bump")] == ["rises", "rests", "falls", "rests"]
    assert phases(rows, "idle") == [("rests", 0, "40")]
    late = rows[(rows["measure"] == "phase") & (rows["candidate"] == "late")]["mean"].iloc[1]
    assert late == pytest.approx((values[30][1] - values[20][1]).mean())
    stretches = rows[rows["measure"] == "stretch"].set_index(["candidate", "step"])
    assert len(stretches) == 4 * 4
    mean = (values[10][0] - values[0][0]).mean()
    pooled = np.sqrt((values[0][0].var(ddof=1) + values[40][0].var(ddof=1)) / 2)
    assert stretches.loc[("early", 0), "mean"] == pytest.approx(mean / pooled)
    strip = rows[rows["measure"] == "strip"].set_index(["candidate", "step"])["mean"]
    assert (strip["idle"] == 0).all()
    assert strip["early", 0] == stretches.loc[("early", 0), "mean"]


def test_of_candidates_that_do_nothing_hardly_any_has_a_phase():
    """Intervals hold at once: of 20 tables of 24 stretches each, 1 in 20 may have one that moves.

    Were each by itself, more than half of the tables would.
    """
    idle = {str(i): (0,) * 5 for i in range(6)}
    moved = 0
    for seed in range(20):
        rows, _ = summary(idle, seed=seed)
        moved += set(rows.loc[rows["measure"] == "stretch", "phase"]) != {"rests"}
    assert moved <= 4


def test_those_that_rise_are_ordered_by_their_half_way_checkpoint_and_how_sure():
    rows, _ = summary(CURVES)
    half = rows[(rows["measure"] == "half_way") & (rows["place"] != "")]
    assert dict(zip(half["candidate"], half["mean"], strict=True)) == {"early": 10, "late": 30}
    assert list(half["place"]) == ["1", "2"]
    [lead] = rows[rows["measure"] == "lead"].itertuples()
    assert (lead.candidate, lead.other, lead.mean, lead.low, lead.high) == (
        *("early", "late", 20),
        *(20, 20),
    )


def test_between_two_checkpoints_nothing_is_ordered():
    rows, _ = summary({"one": (0, 0, 5, 5, 5), "other": (0, 0, 4, 4, 4)})
    [lead] = rows[rows["measure"] == "lead"].itertuples()
    assert lead.low <= lead.mean == 0 <= lead.high


def test_where_at_most_one_rises_there_is_no_order():
    rows, _ = summary({"early": CURVES["early"], "idle": CURVES["idle"], "bump": CURVES["bump"]})
    half = rows[rows["measure"] == "half_way"].set_index("candidate")["mean"]
    assert half["early"] == 10
    assert half.drop("early").isna().all()
    assert rows.loc[rows["measure"] == "lead", "mean"].isna().tolist() == [True]
    rows, _ = summary({"idle": CURVES["idle"], "still": CURVES["idle"]})
    assert rows.loc[rows["measure"].isin(("lead", "half_way")), "mean"].isna().all()

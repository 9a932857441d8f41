"""What early features say: who leads beyond the others, through what, and where it is open."""

import numpy as np
import pandas as pd
import pytest
from viewing import changed, outcome, viewed

from circuit.estimates import EXCESS, estimates
from circuit.kinds.route_features.measure import feature_rows
from circuit.measures.candidates.early import OTHERS
from circuit.measuring import Table

HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(2)]
FEATURES = {
    ("strength", ""): (0, 0, 6, 0),
    ("gradient_norm", ""): (1, 2, 3, 4),
    ("alignment", "tokens"): (0, 0.1, 0, 0.4),
    ("alignment", "shuffled_answers"): (0, 0, 0, -0.2),
    ("growth", ""): (0, 0.1, 0, 0.9),
    ("growth", "momentum"): (0, 0.1, 0, 0.5),
    ("component_share", "momentum"): (0, 0.1, 0, 0.5),
    ("own_update_norm", ""): (1, 1, 1, 1),
    ("own_growth_share", ""): (0, 0, 0, 0.2),
    ("shared_cosine", ""): (0, 0, 0, 0.3),
    ("unique_growth", ""): (0, 0.1, 0, 0.05),
}


@pytest.fixture(scope="module")
def rows():
    """Two cutoffs; L1H1 grows most, L1H0 is strongest."""
    frames = []
    for step in (0, 500):
        for (measure, part), values in FEATURES.items():
            mean = np.array(values, dtype=float)
            others = (mean.sum() - mean) / 3
            told = {"": mean}
            if measure in ("strength", "growth") and not part:
                told |= {OTHERS: others, EXCESS: mean - others}
            for against, one in told.items():
                table = pd.DataFrame({"route": [f"qk {head}" for head in HEADS], "head": HEADS})
                keys = {"part": part, "step": step, "measure": measure, "against": against}
                ends = {"mean": one, "low": one - 0.05, "high": one + 0.05, "count": 8}
                frames.append(table.assign(**keys, **ends))
    return feature_rows(estimates(pd.concat(frames), "score", "chunks of programs"))


def seen(rows, folder):
    """The report of some rows."""
    settings = {"cutoffs": [0, 500], "route": {"scalar": "qk_separation", "head": "every"}}
    return viewed("route_features", {"rows": Table(rows, "one feature")}, folder, settings)


def test_ranks_places_and_leaders(rows):
    last = rows[rows["step"] == 500].set_index("head")
    ranks = last[last["measure"] == "rank"].pivot(columns="feature", values="mean")
    assert ranks["growth"].to_dict() == {"L0H0": 3.5, "L0H1": 2, "L1H0": 3.5, "L1H1": 1}
    assert (ranks["own update norm"] == 2.5).all()
    first = last[(last["measure"] == "unique_growth") & (last["place"] == "first")]
    assert list(first.index) == ["L0H1"]
    assert set(last.loc["L1H1", "leads"]) == {"growth"}
    assert set(last.loc["L1H0", "leads"]) == {"strength"}
    assert set(last.loc["L0H0", "leads"]) == {""}


def test_the_first_by_growth_is_shown_beyond_the_others(rows, tmp_path):
    report = seen(rows, tmp_path)
    grows = outcome(report, "first by growth")
    assert (grows.verdict, grows.about["head"], grows.compared) == ("shown", "L1H1", 4)
    assert grows.control == OTHERS
    assert outcome(report, "first by strength").about["head"] == "L1H0"
    assert outcome(report, "share of the optimizer's memory").about["head"] == "L1H1"
    assert "500" in report["answer"]


def test_a_first_place_within_its_interval_is_open(rows, tmp_path):
    paired = {"measure": "growth", "against": EXCESS, "head": "L1H1"}
    report = seen(changed(rows, paired, low=-0.1), tmp_path)
    assert outcome(report, "first by growth").verdict == "open"

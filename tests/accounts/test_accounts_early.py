"""What the account of early features says: who leads, and through what."""

import numpy as np
import pandas as pd
import pytest
from account_checks import numbers_of, written

from circuit.model.passes import Passes
from circuit.reports.accounts_early import features

PASSES = Passes(whole=10, continued=0, programs=960, program_layers=1920.0)
HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]


def rows(grown=0.18, low=0.12, strong="L0H3"):
    """Two cutoffs; at the last, L1H1 grows most and another route, or it too, is strongest."""
    values = {
        ("strength", "", "score"): {strong: 5.88},
        ("gradient_norm", "", "score per parameter unit"): {"L1H2": 26.0},
        ("alignment", "tokens", "1"): {"L1H1": 0.6},
        ("alignment", "shuffled_answers", "1"): {"L1H1": -0.2},
        ("growth", "", "score per step"): {"L1H1": grown},
        ("component_share", "momentum", "1"): {"L1H1": 0.11},
        ("own_update_norm", "", "parameter unit"): {"L1H1": 0.02},
        ("own_growth_share", "", "1"): {"L1H1": -0.1},
        ("shared_cosine", "", "1"): {"L1H1": 0.2},
        ("unique_growth", "", "score per step"): {"L1H1": 0.02},
    }
    found = []
    for step in (0, 500):
        for (measure, part, unit), known in values.items():
            mean = np.array([known.get(head, 0.0) for head in HEADS])
            bare = measure in ("gradient_norm", "own_update_norm", "shared_cosine")
            width = grown - low if measure == "growth" else 0.01
            table = {
                "step": step,
                "route": [f"qk {head}" for head in HEADS],
                "head": HEADS,
                "measure": measure,
                "part": part,
                "unit": unit,
                "mean": mean,
                "low": np.nan if bare else mean - width,
                "high": np.nan if bare else mean + width,
                "count": 96 if measure == "strength" else 8,
            }
            found.append(pd.DataFrame(table))
    return pd.concat(found, ignore_index=True)


def test_who_grows_next_is_told_with_what_carries_it(tmp_path):
    found = features(rows(), PASSES, 64, 2)
    written(found, "route_features", tmp_path)
    assert found.answer == (
        "At step 500, the last cutoff, the optimizer's next update would make qk L1H1 grow most of "
        "8 candidate routes: by +0.180 score per step (95% interval +0.120 to +0.240) at first "
        "order, before qk L0H0 with 0.000 score per step (95% interval −0.060 to +0.060). Of that "
        "change, the optimizer's memory makes up +0.110 (signed share of all "
        "components' absolute values), the head's own parameters −0.100, and +0.020 score per step "
        "(95% interval +0.010 to +0.030) is left where no other route is moved. Strongest is "
        "qk L0H3, at +5.880 score (95% interval +5.870 to +5.890). Nothing later than step 500 was "
        "read."
    )


def test_where_none_is_shown_to_grow_it_is_said():
    found = features(rows(low=-0.1), PASSES, 64, 2)
    assert found.answer.startswith(
        "At step 500, the last cutoff, the optimizer's next update is not shown to make any of 8 "
        "candidate routes grow: qk L1H1, the first by its growth at first order, would change by "
    )


def test_a_doubtful_first_does_not_hide_others_that_grow():
    table = rows(low=-0.1)
    table.loc[(table["measure"] == "growth") & (table["head"] == "L0H1"), "low"] = 0.01
    assert "make grow most is open: qk L1H1" in features(table, PASSES, 64, 2).answer
    assert "; 1 of less growth would surely grow. Of that" in features(table, PASSES, 64, 2).answer


def test_one_route_may_lead_in_both():
    found = features(rows(strong="L1H1"), PASSES, 64, 2)
    assert "It is also the strongest already, at +5.880 score" in found.answer


def test_numbers_have_the_control_and_the_costs():
    found = numbers_of(features(rows(), PASSES, 64, 2))
    control = found["alignment (shuffled answers) of qk L1H1 at step 500"]
    assert (control.value, control.unit, control.count) == (-0.2, "1", 8)
    assert found["gradient norm of qk L1H1 at step 500"].low is None
    assert found["forward passes"].value == pytest.approx(1920 / (96 * 2))
    assert found["backward passes"].value == 64


def test_tables_stay_small():
    for table in features(rows(), PASSES, 64, 2).tables:
        assert len(table.frame) <= 40

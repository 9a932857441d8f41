"""Births of routes, and the order in which features rank the candidates."""

import numpy as np
import pandas as pd
import pytest

from circuit.errors import AnalysisError
from circuit.measures.replication.route_births import (
    BASELINES,
    RANKED,
    RANKING,
    ROW_UNITS,
    birth_rows,
    births,
    foretold,
    predictions,
)

STEPS = (0, 100, 200, 300)
CURVES = {
    "L0H0": (0.0, 5.0, 6.0, 8.0),  # born at 100
    "L0H1": (0.0, 5.0, 1.0, 5.0),  # drops below the level, so born at 300
    "L1H0": (0.0, 0.0, 0.0, 0.5),  # never
    "L1H1": (0.0, 0.0, 4.0, 4.0),  # born at 200
    "L1H2": (9.0, 9.0, 9.0, 1.0),  # was strong, is not at the end
}


def scan(curves=CURVES, width=0.5):
    """Rows of a head scan in which intervals have a half width."""
    rows = [
        (step, head, "qk_separation", half, value, value - width, value + width, 96, "score")
        for head, values in curves.items()
        for step, value in zip(STEPS, values, strict=True)
        for half in ("all", "selection")
    ]
    columns = ["step", "head", "measure", "half", "mean", "low", "high", "count", "unit"]
    return pd.DataFrame(rows, columns=columns)


def early(values, step=50):
    """Rows of features in which every head has one value under all of them."""
    found = []
    for name in (*RANKED, *BASELINES[:2], "growth (rounding)"):
        measure, _, part = name.rstrip(")").partition(" (")
        base = {"step": step, "measure": measure, "part": part}
        found += [{**base, "head": head, "mean": value} for head, value in values.items()]
    return pd.DataFrame(found).drop_duplicates()


def test_a_route_is_born_where_it_begins_to_stay_above_the_level():
    found = births(scan(), "qk_separation", 0.25).set_index("head")
    assert found["step"].dropna().to_dict() == {"L0H0": 100, "L0H1": 300, "L1H1": 200}
    assert found["born"].to_dict() == {h: h not in ("L1H0", "L1H2") for h in CURVES}
    assert found["order"].to_dict() == {"L0H0": 1, "L0H1": 3, "L1H0": 4.5, "L1H1": 2, "L1H2": 4.5}
    assert (found["level"] == 2).all()
    assert found["final"].to_dict() == {head: curve[-1] for head, curve in CURVES.items()}


def test_a_birth_needs_an_interval_clear_of_zero():
    found = births(scan(width=4.5), "qk_separation", 0.25).set_index("head")
    assert found["step"].dropna().to_dict() == {"L0H0": 100, "L0H1": 300}


def test_births_are_rows_and_who_is_never_born_has_no_step():
    rows = birth_rows(births(scan(), "qk_separation", 0.25).assign(run="a"))
    assert (rows["step"] == STEPS[-1]).all()
    by = rows.set_index(["measure", "head"])
    assert by.loc[("birth", "L1H1"), ["mean", "unit"]].tolist() == [200, "step"]
    assert np.isnan(by.loc[("birth", "L1H0"), "mean"])
    strength = by.loc[("final_strength", "L1H1"), ["mean", "low", "high", "count", "unit"]]
    assert strength.tolist() == [4.0, 3.5, 4.5, 96, "score"]
    assert by.loc[("birth_level", ""), "mean"] == 2


def test_where_no_route_is_above_zero_none_is_born():
    found = births(scan({"L0H0": (0, 1, 1, -1), "L0H1": (0, 0, 0, -2)}), "qk_separation", 0.5)
    assert not found["born"].any()
    assert (found["order"] == 1.5).all()


def test_a_measure_that_the_scan_lacks_is_refused():
    with pytest.raises(AnalysisError, match=r"^the scan has no measure 'ov_value_margin' — "):
        births(scan(), "ov_value_margin", 0.5)


def test_candidates_are_those_not_yet_born_and_are_ranked_anew():
    born = births(scan(), "qk_separation", 0.25)
    values = {"L0H0": 5.0, "L0H1": 4.0, "L1H0": 3.0, "L1H1": 2.0, "L1H2": 2.0}
    rows = predictions(early(values, step=100), born)
    assert set(rows["head"]) == set(CURVES) - {"L0H0"}
    ranking = rows[rows["predictor"] == RANKING].set_index("head")
    assert ranking["predicted"].to_dict() == {"L0H1": 1, "L1H0": 2, "L1H1": 3.5, "L1H2": 3.5}
    assert ranking["actual"].to_dict() == {"L0H1": 2, "L1H0": 3.5, "L1H1": 1, "L1H2": 3.5}
    layer = rows[rows["predictor"] == "layer"].set_index("head")["predicted"]
    assert layer.to_dict() == {"L0H1": 4, "L1H0": 2, "L1H1": 2, "L1H2": 2}
    assert set(rows.select_dtypes("number")) == set(ROW_UNITS)
    assert not rows["predictor"].str.contains("rounding").any()


def test_the_ranking_is_the_mean_of_the_features_ranks():
    generator = np.random.default_rng(2)
    rows = early(dict.fromkeys(CURVES, 0.0))
    rows["mean"] = generator.normal(size=len(rows))
    found = predictions(rows, births(scan(), "qk_separation", 0.25))
    single = found[found["predictor"].isin(RANKED)].groupby("head")["predicted"].mean()
    ranking = found[found["predictor"] == RANKING].set_index("head")
    pd.testing.assert_series_equal(ranking["value"], single, check_names=False)
    assert (ranking["predicted"] == ranking["value"].rank()).all()


def test_a_cutoff_after_all_births_leaves_no_candidates():
    curves = {"L0H0": (0, 5, 5, 5), "L0H1": (0, 4, 4, 4)}
    found = predictions(
        early(dict.fromkeys(curves, 1.0), 200), births(scan(curves), "qk_separation", 0.5)
    )
    assert found.empty
    assert {"predictor", "predicted", "actual"} <= set(found.columns)


def test_what_does_not_fit_together_is_refused():
    born = births(scan(), "qk_separation", 0.25)
    rows = early(dict.fromkeys(CURVES, 1.0))
    with pytest.raises(AnalysisError, match=r"^there is no feature 'own_update_norm' — "):
        predictions(rows[rows["measure"] != "own_update_norm"], born)
    with pytest.raises(AnalysisError, match=r"^there is no birth of head 'L1H2' — "):
        predictions(rows, born[born["head"] != "L1H2"])


def test_all_runs_are_foretold_each_from_its_own_features_and_scan():
    late = {**CURVES, "L1H1": (0.0, 0.0, 0.0, 4.0)}
    features = [early(dict.fromkeys(CURVES, 1.0)), early(dict.fromkeys(CURVES, 2.0))]
    found = foretold(features, [scan(), scan(late)], ["a", "b"], "qk_separation", 0.25)
    step = found.born.set_index(["run", "head"])["step"]
    assert (step["a", "L1H1"], step["b", "L1H1"]) == (200, 300)
    strength = found.rows[found.rows["predictor"] == "strength"].groupby("run")["value"].unique()
    assert strength.to_dict() == {"a": [1.0], "b": [2.0]}

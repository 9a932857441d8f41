"""What the birth windows say of curves whose births are known."""

import numpy as np
import pytest
from viewing import outcome, viewed

from circuit.measures.births.evidence import (
    birth_rows,
    gather,
    learning_rows,
    merged_windows,
    window_rows,
)
from circuit.measures.births.sweep_curves import Curve
from circuit.measuring import Table

STEPS = [0, 100, 200, 300, 400, 500]
BORN = [0, 0, 0.1, 0.9, 1, 1]
STILL = [0, 0.01, 0, 0.01, 0, 0]
SPLITS = {"accuracy": "validation_iid", "heldout_accuracy": "heldout_pairs"}
RANKS = {"rule": "stays", "level": 0.8}


def curve(name, values, band=0.04, **how):
    mean = np.asarray(values, float)
    unit = "logit" if name == "w" else "share"
    how = {"level": 0.5 if name.endswith("accuracy") else None, **how}
    return Curve(name, unit, np.asarray(STEPS), mean, mean - band / 2, mean + band / 2, 96, **how)


def seen(folder, *curves):
    evidence = [gather(one, 50, 0) for one in curves]
    windows = merged_windows(evidence, (0, 500))
    tables = {
        "rows": Table(birth_rows(evidence, 500), "a birth"),
        "learning": Table(learning_rows(curves, evidence, windows, SPLITS), "a checkpoint"),
        "spans": Table(window_rows(windows, evidence, curves[0], 500), "a window"),
    }
    main = [windows["main"]["start"], windows["main"]["stop"]]
    facts = {"curves": len(curves), "main": main}
    settings = {"sweep": "behaviour"}
    return viewed("birth_windows", tables, folder, settings, facts, {"windows": windows})


def test_the_main_window_comes_first_then_accuracy_then_what_is_missing(tmp_path):
    report = seen(
        tmp_path,
        curve("accuracy", BORN),
        curve("heldout_accuracy", [0, 0, 0, 0, 0.1, 0.3]),
        curve("w", [-1, -1, 0, 4, 5, 5]),
        curve("ranks", [0, 0.1, 0.9, 0.9, 0.9, 0.9], **RANKS),
    )
    main = outcome(report, "curves born in the main window")
    assert (main.verdict, main.about["evidence"]) == ("shown", "accuracy, w")
    assert "from step 200 to 300" in report["answer"]
    assert outcome(report, "birth of accuracy by threshold").verdict == "shown"
    apart = outcome(report, "curves born in a window of their own")
    assert (apart.about["setting"], apart.about["evidence"]) == ("[100, 200]", "ranks")
    assert outcome(report, "curves not born").about["evidence"] == "heldout_accuracy"
    [mark] = report["marks"]
    assert "heldout_accuracy" in mark
    numbers = {number["name"]: number for number in report["numbers"]}
    assert numbers["birth of accuracy by threshold"]["value"] == 300
    assert numbers["birth of heldout_accuracy by threshold"]["value"] is None
    assert numbers["w: largest jump"]["value"] == 4


def test_an_interval_with_an_open_end_is_told_in_words(tmp_path):
    report = seen(tmp_path, curve("accuracy", [0, 0, 0.1, 0.6, 0.55, 0.6], band=0.3))
    numbers = {number["name"]: number for number in report["numbers"]}
    birth = numbers["birth of accuracy by threshold"]
    assert (birth["value"], birth["low"], birth["high"]) == (300, None, None)
    assert "open at its other end" in birth["note"]


def test_a_run_that_learned_nothing_is_marked(tmp_path):
    report = seen(tmp_path, curve("accuracy", STILL), curve("w", STILL))
    assert outcome(report, "curves born in the main window").verdict == "open"
    assert "No birth was found" in report["marks"][0]


@pytest.mark.parametrize("values", [STILL, [0, 0, 0, 0.1, 0.2, 0.3], [0.6, 0.6, 0.7, 0.8, 0.9, 1]])
def test_births_without_accuracys_own_are_marked(values, tmp_path):
    report = seen(tmp_path, curve("accuracy", values), curve("w", BORN))
    assert outcome(report, "curves born in the main window").verdict == "shown"
    own = outcome(report, "birth of accuracy by threshold")
    assert own.verdict == "open"
    assert own.about["why"] in report["answer"]
    assert any("accuracy was not born" in mark for mark in report["marks"])


def test_the_learning_curve_has_accuracy_every_birth_and_the_main_window(tmp_path):
    curves = [curve("accuracy", BORN), curve("w", [-1, -1, 0, 4, 5, 5]), curve("r", STILL)]
    evidence = [gather(one, 50, 0) for one in curves]
    windows = merged_windows(evidence, (0, 500))
    rows = learning_rows(curves, evidence, windows, SPLITS)
    accuracy = rows[rows["measure"] == "accuracy"]
    assert accuracy["step"].tolist() == STEPS
    assert accuracy["mean"].tolist() == BORN
    assert set(accuracy["curve"]) == {"validation_iid"}
    births = rows[rows["measure"] == "birth"].set_index("curve")
    assert births["mean"].dropna().to_dict() == {"validation_iid": 300, "w": 300}
    main = births.loc["main window"]
    assert [main["low"], main["high"]] == [windows["main"]["start"], windows["main"]["stop"]]
    seen(tmp_path, *curves)
    drawn = (tmp_path / "learning_curve.svg").read_text()
    assert f"main window: steps {main['low']:,.0f} to {main['high']:,.0f}" in drawn
    assert "w: step 300" in drawn


def test_a_run_without_births_has_a_learning_curve_without_marks_or_window():
    curves = [curve("accuracy", STILL), curve("r", STILL)]
    evidence = [gather(one, 50, 0) for one in curves]
    rows = learning_rows(curves, evidence, merged_windows(evidence, (0, 500)), SPLITS)
    births = rows[rows["measure"] == "birth"]
    assert births["curve"].tolist() == ["validation_iid", "r"]
    assert births["mean"].isna().all()

"""What the birth windows say, on curves whose births are known."""

import numpy as np
import pytest
from account_checks import numbers_of, written

from circuit.measures.births.evidence import UNITS, evidence_rows, gather
from circuit.measures.births.sweep_curves import Curve
from circuit.measures.births.windows import WINDOW_UNITS, merged_windows, window_table
from circuit.reports import accounts_births
from circuit.reports.accounts_births import births

STEPS = [0, 100, 200, 300, 400, 500]


def curve(name, values, band=0.04, **how):
    mean = np.asarray(values, float)
    unit = "logit" if name == "w" else "1"
    level = 0.5 if name.endswith("accuracy") else None
    how = {"level": level, **how}
    steps = np.asarray(STEPS)
    return Curve(name, unit, steps, mean, mean - band / 2, mean + band / 2, 96, **how)


def told(*curves):
    evidence = [gather(one, 50, 0) for one in curves]
    rows = evidence_rows(evidence)
    windows = merged_windows(evidence, (0, 500))
    return births(rows, windows, window_table(windows, curves[0]), "my_births")


BORN = [0, 0, 0.1, 0.9, 1, 1]
STILL = [0, 0.01, 0, 0.01, 0, 0]
RANKS = {"rule": "stays", "level": 0.8}


@pytest.fixture
def formed():
    return told(
        curve("accuracy", BORN),
        curve("heldout_accuracy", [0, 0, 0, 0, 0.1, 0.3]),
        curve("w", [-1, -1, 0, 4, 5, 5]),
        curve("ranks", [0, 0.1, 0.9, 0.9, 0.9, 0.9], **RANKS),
    )


def test_the_main_window_comes_first_then_accuracy_then_what_is_missing(formed, tmp_path):
    report, _ = written(formed, "birth_windows", tmp_path)
    assert formed.answer == (
        "Behaviour was born mainly from step 200 to 300, the main window: 2 of 4 curves were born "
        "there (accuracy, w). Accuracy stays at or above 0.5 from step 300; the main window holds "
        "80% of its change. Born in windows of their own: ranks from step 100 to 200. Not born: "
        "heldout_accuracy."
    )
    assert formed.marks == [
        "The largest change between two checkpoints lies outside the main window for "
        "heldout_accuracy (step 400 to 500): analyses of that window do not see it."
    ]
    assert "my_births.WINDOW" in report["tables"][0]["title"]
    table = formed.tables[0].frame.set_index("window")
    assert table.loc["main", "setting"] == "main: [200, 300]"
    assert table.loc["window_1", "evidence"] == "ranks"


def test_every_birth_change_and_jump_is_a_number_with_its_interval(formed):
    numbers = numbers_of(formed)
    assert len(numbers) == 3 * 3 + 1
    birth = numbers["accuracy: birth by threshold"]
    assert (birth.value, birth.unit, birth.count) == (300, "step", 96)
    assert birth.low <= 300 <= birth.high
    jump = numbers["w: largest jump"]
    assert (jump.value, jump.unit) == (4, "logit")
    assert str(jump).startswith("+4.000 logit (95% interval +3.9")
    assert "from step 200 to 300" in jump.note
    missing = numbers["heldout_accuracy: birth by threshold"]
    assert missing.value is None
    assert missing.note == "never stays at this level"
    assert numbers["ranks: birth by stabilisation"].value == 200


def test_an_interval_with_an_open_end_is_told_in_words(tmp_path):
    found = told(curve("accuracy", [0, 0, 0.1, 0.6, 0.55, 0.6], band=0.3))
    written(found, "birth_windows", tmp_path)
    number = numbers_of(found)["accuracy: birth by threshold"]
    assert (number.value, number.low, number.high) == (300, None, None)
    assert "other edge never stays" in number.note


def test_a_run_that_learned_nothing_is_marked(tmp_path):
    found = told(curve("accuracy", STILL), curve("w", STILL))
    written(found, "birth_windows", tmp_path)
    assert found.answer.startswith("Nothing was born in this run: none of 2 curves moves")
    assert found.marks == ["No birth was found, so every window named below is the whole run."]
    assert all(number.value is None for number in found.numbers)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (STILL, "does not move beyond its interval"),
        ([0, 0, 0, 0.1, 0.2, 0.3], "never stays at 0.5"),
        ([0.6, 0.6, 0.7, 0.8, 0.9, 0.9], "was there from the first checkpoint on"),
    ],
)
def test_births_without_accuracys_own_are_marked_with_the_reason(values, why, tmp_path):
    found = told(curve("accuracy", values), curve("w", BORN))
    written(found, "birth_windows", tmp_path)
    assert found.answer.startswith("Behaviour was born mainly from step 200 to 300, the main ")
    assert "1 of 2 curves was born there (w)." in found.answer
    assert f"Accuracy itself has no birth: it {why}." in found.answer
    assert "The answer's accuracy was not born" in found.marks[-1]


def test_units_are_those_of_the_tables():
    """Copied there, so that accounts stay apart from what measures."""
    assert accounts_births._ROW_UNITS == UNITS
    assert accounts_births._WINDOW_UNITS == WINDOW_UNITS

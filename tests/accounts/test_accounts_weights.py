"""What the weights say, on rows of a 'run' that ends in the planted circuit."""

import pytest
from account_checks import numbers_of, written

from circuit.measures.weights.patterns import MATCH_UNITS, weight_patterns
from circuit.measures.weights.svd import weight_svd
from circuit.reports import accounts_weights
from circuit.reports.accounts_weights import weights

STEPS = [0, 100, 200, 300, 400]
NONE = {"main": {"start": 0, "stop": 400, "found": False, "evidence": []}}
WINDOWS = {
    "main": {"start": 200, "stop": 300},
    "window_1": {"start": 200, "stop": 300},
    "accuracy": {"start": 200, "stop": 300, "birth": 300},
}


def told(circuit, theta, windows):
    rows, _ = weight_svd(circuit.decoder, theta, STEPS, 4, 6, 0)
    patterns, matches = weight_patterns(rows, windows, 50, 0)
    return rows, patterns, matches, weights(rows, patterns, matches, 4)


@pytest.fixture(scope="module")
def states(planted, untrained):
    return lambda step: (untrained if step < 300 else planted).flat


@pytest.fixture(scope="module")
def formed(planted, states):
    return told(planted, states, WINDOWS)


def test_when_comes_first_and_the_most_compressed_matrix_last(formed, tmp_path):
    rows, patterns, _, found = formed
    report, _ = written(found, "weight_svd", tmp_path)
    ranks = rows[(rows["measure"] == "effective_rank") & (rows["step"] == 400)]
    below = (ranks["value"] < ranks["baseline_low"]).sum()
    least = ranks.loc[(ranks["value"] / ranks["baseline_mean"]).idxmin()]
    assert least["component"] == "L0H2"  # the head that writes one flag
    grown = patterns[patterns["pattern"] == "growth"]["step"]
    assert found.answer.startswith(f"Of {len(ranks)} matrices ")
    said = f"{len(grown)} grew (half of them by step {grown.median():,.0f})"
    assert said in found.answer.partition(". ")[0]
    assert numbers_of(found)["median step of growth"].value == grown.median()
    assert (
        f"At step 400, {below} of {len(ranks)} matrices have a lower effective rank than 95% of "
        f"untrained ones; most so {least['matrix']} of L0H2, which went from " in found.answer
    )
    assert f"to {least['value']:.1f} (untrained {least['baseline_mean']:.1f}, " in found.answer
    assert report["marks"][0].startswith("Weights have no events to resample: ")


def test_matches_stand_beside_chance(formed):
    _, _, matches, found = formed
    numbers = numbers_of(found)
    by = matches.set_index("pattern")
    for pattern in ("growth", "compression", "stabilisation"):
        number = numbers[f"births by {pattern} in behaviour's windows"]
        assert number.value == by.loc[pattern, "matched"]
        assert f"of {by.loc[pattern, 'births']}; " in number.note
        assert "expected in shifted windows" in number.note
    assert by.loc["growth", "matched"] == by.loc["growth", "births"] > 0
    assert (
        f"{by.loc['growth', 'matched']} of {by.loc['growth', 'births']} by growth" in found.answer
    )
    assert "fewer in 95% of shifts" not in found.answer  # a window of a quarter shows little
    assert numbers["forward passes"].value == 0


def test_steps_of_births_are_a_table_of_components_by_matrix(formed):
    _, patterns, _, found = formed
    table = next(t for t in found.tables if t.title.startswith("Step of growth"))
    grown = patterns[patterns["pattern"] == "growth"]
    by = table.frame.set_index("component")
    for _, row in grown.iterrows():
        assert by.loc[row["component"], row["matrix"]] == row["step"]
    assert by.notna().sum().sum() == len(grown)
    assert set(table.units.values()) == {"step"}


def test_the_table_of_kinds_counts_what_lies_outside_the_band(formed):
    rows, _, _, found = formed
    table = found.tables[0].frame.set_index("matrix")
    end = rows[(rows["measure"] == "effective_rank") & (rows["step"] == 400)]
    for kind, part in end.groupby("matrix"):
        assert table.loc[kind, "matrices"] == len(part)
        assert table.loc[kind, "below"] == (part["value"] < part["baseline_low"]).sum()
        assert table.loc[kind, "least"] == part["value"].min()


def test_without_a_birth_of_behaviour_the_answer_says_so(planted, states, tmp_path):
    *_, found = told(planted, states, NONE)
    written(found, "weight_svd", tmp_path)
    assert "Behaviour had no birth in this run that these could be matched with." in found.answer


def test_an_untrained_run_shows_nothing(untrained, tmp_path):
    rows, _, _, found = told(untrained, lambda _: untrained.flat, NONE)
    ranks = rows[rows["measure"] == "effective_rank"]
    high = rows[~(rows["value"] < rows["baseline_low"]) | (rows["measure"] != "effective_rank")]
    written(found, "weight_svd", tmp_path)
    assert found.answer.startswith("No matrix grew, was compressed or settled by the stated rules.")
    assert len(ranks) > 0
    patterns, matches = weight_patterns(rows, NONE, 50, 0)
    inside = weights(high[high["component"] != "L0H0"], patterns, matches, 4)
    assert "nothing was compressed" in inside.answer


def test_units_are_those_of_the_table():
    assert accounts_weights._MATCH_UNITS == MATCH_UNITS

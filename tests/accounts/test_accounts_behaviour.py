"""What evaluations and the reference's choice say, on rows of a 'run' that ends planted."""

import pandas as pd
import pytest
from account_checks import numbers_of, written

from circuit.measures.sweep import behaviour
from circuit.measures.sweep.behaviour import SplitReads, read_measures, summarise
from circuit.measures.sweep.choice import candidates, choose
from circuit.reports.accounts_behaviour import evaluation, reference_choice
from circuit.reports.read_measures import UNITS


@pytest.fixture(scope="module")
def splits(planted_benchmark):
    vocabulary = planted_benchmark.vocabulary
    return {
        name: SplitReads(planted_benchmark.splits[name], vocabulary, 8)
        for name in ("validation_iid", "heldout_pairs")
    }


@pytest.fixture(scope="module")
def rows(planted, untrained, splits):
    states = {0: untrained.flat, 1500: planted.flat}
    parts = [
        summarise(read_measures(planted.decoder, flat, split)).assign(step=step, split=name)
        for step, flat in states.items()
        for name, split in splits.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_whole_splits_have_their_accuracy_margin_and_count(planted, splits, tmp_path):
    parts = [
        summarise(read_measures(planted.decoder, planted.flat, split)).assign(step=9, split=name)
        for name, split in splits.items()
    ]
    rows = pd.concat(parts, ignore_index=True)
    found = evaluation(rows, 9)
    written(found, "full_evaluation", tmp_path)
    plain = "Answer accuracy at step 9: validation_iid 1.000, heldout_pairs 1.000."
    assert found.answer == plain
    chosen = evaluation(rows, 9, chosen_by="heldout_pairs")
    written(chosen, "full_evaluation", tmp_path)
    assert chosen.answer == (
        f"{plain} The checkpoint was chosen by its accuracy on programs of heldout_pairs, so the "
        "number there is biased upwards."
    )
    numbers = numbers_of(found)
    assert set(numbers) == {
        f"{m} on {s}" for m in ("accuracy", "margin", "entropy") for s in splits
    }
    entropy = numbers["entropy on heldout_pairs"]
    assert entropy.unit == "nat"
    assert entropy.count == len(splits["heldout_pairs"].reads)
    sliced = found.tables[0].frame
    assert set(sliced["slice"]) == {"all", *behaviour.SLICES}


def test_the_reference_comes_with_both_splits_intervals(rows, tmp_path):
    candidate = candidates("seed7", rows, "validation_iid", "heldout_pairs")
    found = reference_choice(candidate, choose(candidate, 0.9))
    written(found, "reference_model", tmp_path)
    assert "run seed7 at step 1,500: held-out accuracy 1.000" in found.answer
    assert found.marks == []
    for number in found.numbers:
        assert number.count > 20
        assert number.low is not None
    assert "best of 1 checkpoints" in found.numbers[0].note


def test_a_reference_below_the_floor_is_marked(rows):
    low = rows.assign(mean=rows["mean"].where(rows["measure"] != "accuracy", rows["mean"] * 0.5))
    candidate = candidates("seed7", low, "validation_iid", "heldout_pairs")
    found = reference_choice(candidate, choose(candidate, 0.9))
    assert found.marks == [
        "No checkpoint reaches validation accuracy 0.9; the one with the highest validation "
        "accuracy was taken."
    ]


def test_the_best_candidates_are_ranked_by_the_policy_with_the_chosen_one_first():
    """A checkpoint below the floor is no candidate, however well it does on held-out pairs."""
    frame = pd.DataFrame(
        {
            "run": "a",
            "step": [10, 20, 30],
            "validation": [0.8, 0.95, 0.92],
            "heldout": [0.9, 0, 0.5],
        }
    )
    for name in ("validation", "heldout"):
        frame = frame.assign(
            **{f"{name}_low": frame[name], f"{name}_high": frame[name], f"{name}_count": 10}
        )
    choice = choose(frame, 0.9)
    table = reference_choice(frame, choice).tables[0].frame
    assert table["step"].tolist() == [30, 20]
    assert table["step"].iloc[0] == choice["step"]


def test_units_are_those_of_the_measures():
    """Copied here so that tables can be told about without torch; they must stay the same."""
    assert UNITS == {**behaviour.MEASURES, **behaviour.COARSE}

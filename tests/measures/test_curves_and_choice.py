"""Landmarks of a sweep, and the choice of the reference model, on curves made by hand."""

import pandas as pd
import pytest

from circuit.estimates import estimates
from circuit.measures.sweep.choice import (
    POLICY,
    candidate_rows,
    candidates,
    choose,
    rank_candidates,
)
from circuit.measures.sweep.curves import (
    best_step,
    birth_step,
    landmark_rows,
    overall,
    readable_rows,
)


def sweep_rows(**curves):
    """Rows of a sweep with these accuracies at steps 0, 10, …; steps come in no order."""
    rows = []
    for split, values in curves.items():
        for i, value in enumerate(values):
            wide = (max(value - 0.1, 0), min(value + 0.1, 1), 50)
            rows += [
                (10 * i, split, "all", "", "accuracy", value, *wide),
                (10 * i, split, "active_keys", "2", "accuracy", 1 - value, *wide),
                (10 * i, split, "all", "", "margin", 9.0, *wide),
            ]
    columns = ["step", "split", "slice", "slice_value", "measure", "mean", "low", "high", "count"]
    frame = estimates(pd.DataFrame(rows, columns=columns), unit="1", noun="reads")
    control = frame.assign(against="guess", mean=99.0)
    return pd.concat([frame, control]).sample(frac=1, random_state=0)


def test_birth_and_best_are_read_off_the_split_over_all_reads():
    rows = sweep_rows(iid=[0.1, 0.9, 0.8], heldout=[0.2, 0.3, 0.7])
    assert (best_step(rows, "iid"), best_step(rows, "heldout")) == (10, 20)
    assert (birth_step(rows, "iid", 0.5), birth_step(rows, "heldout", 0.5)) == (10, 20)
    assert birth_step(rows, "heldout", 0.7) == 20  # at the threshold is not below it
    assert birth_step(rows, "heldout", 0.9) is None
    assert overall(rows, "iid")["mean"].tolist() == [0.1, 0.9, 0.8]
    assert overall(rows, "iid", "margin")["mean"].tolist() == [9.0] * 3


def test_the_best_step_is_the_earliest_of_equals():
    assert best_step(sweep_rows(iid=[0.1, 0.8, 0.5, 0.8]), "iid") == 10


def test_landmarks_are_estimates_of_unit_step():
    rows = sweep_rows(iid=[0.1, 0.9, 0.8], heldout=[0.2, 0.3, 0.7])
    flags = rows[(rows["measure"] == "accuracy") & (rows["split"] == "iid")]
    for level in (0.5, 0.85, 0.95):
        reached = flags.assign(measure=f"reaches_{level:g}", mean=1.0 * (flags["mean"] >= level))
        rows = pd.concat([rows, reached])
    found = landmark_rows(rows, "iid", 0.85, (0.5, 0.85, 0.95), "heldout")
    assert set(found["unit"]) == {"step"}
    at = found.set_index(["split", "measure"])["mean"]
    assert pd.isna(at["iid", "birth"])  # it is left again
    assert at["heldout", "best_checkpoint"] == 20
    assert at["iid", "first_reaches_0.5"] == at["iid", "first_reaches_0.85"] == 10
    assert pd.isna(at["iid", "first_reaches_0.95"])


@pytest.mark.parametrize("lows", [[0.1, 0.6, 0.9], [0.1, 0.4, 0.3]])
def test_readable_is_the_first_stage_beyond_half_or_else_the_best(lows):
    frame = pd.DataFrame({"stage": list("abc"), "low": lows, "mean": lows, "high": 1.0})
    keys = {"step": 9, "role": "prediction"}
    probe = frame.assign(measure="probe_accuracy", target="answer", **keys)
    lens = frame.assign(measure="lens_accuracy", target="", **keys)
    control = probe.assign(against="shuffled labels", mean=0.0, low=0.0)
    rows = estimates(pd.concat([probe, lens, control]).fillna({"against": ""}), unit="share")
    found = readable_rows(rows).set_index(["measure", "against"])["stage"]
    assert dict(found) == {
        ("probe_first_readable", ""): "b",
        ("probe_first_readable", "shuffled labels"): "b",
        ("lens_first_readable", ""): "b",
    }


def candidates_of(*rows):
    """Candidates from (run, step, validation, held-out) accuracies."""
    frame = pd.DataFrame(rows, columns=["run", "step", "validation", "heldout"])
    for name in ("validation", "heldout"):
        accuracy = frame.pop(name)
        numbers = {"accuracy": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.02}
        numbers["count"] = 100 + frame.index
        frame = frame.assign(**{f"{name}_{number}": of for number, of in numbers.items()})
    return frame


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        # Held-out accuracy decides among those that reach the floor, not validation accuracy.
        ([("a", 10, 0.99, 0.5), ("a", 20, 0.91, 0.6)], ("a", 20)),
        # The best held-out accuracy below the floor does not count.
        ([("a", 10, 0.89, 0.9), ("a", 20, 0.9, 0.3)], ("a", 20)),
        # At the floor is not below it.
        ([("a", 10, 0.9, 0.8), ("a", 20, 0.95, 0.3)], ("a", 10)),
        ([("a", 20, 0.92, 0.6), ("a", 10, 0.95, 0.6)], ("a", 10)),  # then validation
        ([("a", 20, 0.95, 0.6), ("a", 10, 0.95, 0.6)], ("a", 10)),  # then the earlier step
        ([("b", 10, 0.95, 0.6), ("a", 10, 0.95, 0.6)], ("a", 10)),  # then the name
    ],
)
def test_the_reference_is_the_best_heldout_checkpoint_that_reaches_the_floor(rows, chosen):
    choice = choose(candidates_of(*rows), floor=0.9)
    assert (choice["run"], choice["step"]) == chosen
    assert choice["floor_reached"]


def test_without_a_checkpoint_at_the_floor_validation_decides_and_the_choice_says_so():
    rows = candidates_of(("a", 10, 0.4, 0.8), ("b", 20, 0.6, 0.1), ("b", 30, 0.6, 0.2))
    choice = choose(rows, floor=0.9)
    assert (choice["run"], choice["step"]) == ("b", 30)
    assert choice["floor_reached"] is False


def test_the_choice_carries_the_numbers_of_its_own_row():
    rows = candidates_of(("a", 10, 0.95, 0.4), ("b", 30, 0.97, 0.6))
    own = {name: rows.loc[1, name] for name in rows}
    assert (own["heldout_accuracy"], own["validation_count"]) == (0.6, 101)
    policy = {"floor": 0.9, "floor_reached": True, "policy": POLICY}
    assert choose(rows, floor=0.9) == {**own, **policy}


def test_ranking_begins_with_the_choice_and_leaves_out_what_could_not_be_chosen():
    rows = candidates_of(("a", 10, 0.8, 0.99), ("a", 20, 0.95, 0.4), ("a", 30, 0.93, 0.7))
    assert rank_candidates(rows, 0.9)["step"].tolist() == [30, 20]
    assert rank_candidates(rows, 0.99)["step"].tolist() == [20, 30, 10]


def test_candidates_join_both_splits_by_step():
    rows = sweep_rows(iid=[0.1, 0.95, 0.8], heldout=[0.2, 0.3, 0.7])
    found = candidates("seed7", rows, "iid", "heldout")
    assert found["run"].tolist() == ["seed7"] * 3
    for column, values in {
        "step": [0, 10, 20],
        "validation_accuracy": [0.1, 0.95, 0.8],
        "validation_high": [0.2, 1, 0.9],
        "heldout_accuracy": [0.2, 0.3, 0.7],
        "heldout_low": [0.1, 0.2, 0.6],
        "heldout_count": [50] * 3,
    }.items():
        assert found[column].tolist() == pytest.approx(values)


def test_rows_of_candidates_have_their_place_the_choice_first():
    every = candidates_of(("a", 10, 0.8, 0.99), ("a", 20, 0.95, 0.4), ("b", 30, 0.93, 0.7))
    found = candidate_rows(every, 0.9)
    heldout = found[found["split"] == "heldout"]
    assert heldout["place"].tolist() == ["1", "2", ""]
    assert heldout["mean"].tolist() == [0.7, 0.4, 0.99]
    assert heldout["count"].tolist() == [102, 101, 100]
    reached = found[found["measure"] == "reaches_floor"].iloc[0]
    assert (reached["run"], reached["step"], reached["mean"], reached["count"]) == ("b", 30, 1, 0)
    assert candidate_rows(every, 0.99)["mean"].iloc[-1] == 0

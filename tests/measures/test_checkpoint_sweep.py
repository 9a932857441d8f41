"""A sweep over a 'run' that starts untrained and ends planted."""

import numpy as np
import pandas as pd
import pytest

from circuit.artifacts import read_rows, write_rows
from circuit.estimates import FIXED
from circuit.estimates import UNITS as FIXED_UNITS
from circuit.measures.sweep.behaviour import (
    COARSE,
    MEASURES,
    SplitReads,
    measured_reads,
    read_pass,
    summarise,
)
from circuit.measures.sweep.checkpoints import CHANGE, SweepInputs, checkpoint_sweep
from circuit.measures.sweep.curves import best_step, birth_step
from circuit.measures.sweep.event_pass import KEYS, event_rows, event_states
from circuit.measures.sweep.probes import ProbeReads

SPLITS = ("validation_iid", "heldout_pairs")
STEPS = (0, 30, 60)
REFERENCE = 60
FLAGS = ("reaches_0.25", "reaches_0.9")


def own(frame):
    """The estimates themselves: neither changes nor controls, on all events."""
    return frame[(frame["against"] == "") & (frame["half"] == "all")]


@pytest.fixture(scope="module")
def inputs(planted_benchmark, planted_events):
    vocabulary = planted_benchmark.vocabulary
    programs = planted_benchmark.splits
    return SweepInputs(
        {name: SplitReads(programs[name], vocabulary, 12) for name in SPLITS},
        ProbeReads.of(programs[SPLITS[0]], vocabulary, 12),
        planted_events.select(range(0, 171, 9)),
        vocabulary.value_ids,
        thresholds=(0.25, 0.9),
    )


@pytest.fixture(scope="module")
def states(planted, untrained):
    return dict(zip(STEPS, (untrained.flat, planted.flat, planted.flat), strict=True))


@pytest.fixture(scope="module")
def opened():
    """Steps in the order in which their parameters were asked for."""
    return []


@pytest.fixture(scope="module")
def sweep(planted, inputs, states, opened):
    def theta(step):
        opened.append(step)
        return states[step]

    return checkpoint_sweep(planted.decoder, theta, STEPS, inputs, REFERENCE)


@pytest.fixture(scope="module")
def rows(sweep):
    return sweep["rows"]


def test_the_behaviour_is_born_where_the_circuit_is_planted(rows):
    for split in SPLITS:
        assert birth_step(rows, split, 0.9) == 30
        assert best_step(rows, split) == 30
    coarse = own(rows[rows["split"] == "probes"]).set_index(["step", "measure"])["mean"]
    assert coarse[30, "r"] > 0.99 > 0.2 > coarse[0, "r"]
    assert coarse[30, "w"] > 0 > coarse[0, "w"]


def test_every_split_step_and_measure_is_there_once(rows):
    whole = own(rows[rows["slice"] == "all"])
    expected = {(step, split, m) for step in STEPS for split in SPLITS for m in (*MEASURES, *FLAGS)}
    expected |= {(step, "probes", m) for step in STEPS for m in COARSE}
    assert set(zip(whole["step"], whole["split"], whole["measure"], strict=True)) == expected


@pytest.mark.parametrize("table", KEYS)
def test_the_tables_have_their_columns_and_can_be_written(sweep, table, tmp_path):
    frame = sweep[table]
    chosen = ["chosen"] if table == "components" else []
    keys = [key for key in KEYS[table] if key != "measure"]
    assert list(frame.columns) == [*keys, *chosen, *FIXED]
    assert not frame.duplicated([*keys, "step", "measure", "against", "half"]).any()
    known = own(frame[frame["component"] != "mlps"] if table == "components" else frame)
    numbers = known.drop(columns=["low", "high"])
    assert not numbers.isna().any(axis=None)
    assert (known[["low", "high"]].isna().any(axis=1) <= (known["count"] < 60)).all()
    write_rows(tmp_path / "a.parquet", frame, FIXED_UNITS)
    pd.testing.assert_frame_equal(read_rows(tmp_path / "a.parquet"), frame)


@pytest.mark.parametrize("table", KEYS)
def test_every_change_since_the_previous_checkpoint_stands_beside_its_estimate(sweep, table):
    frame = sweep[table]
    changes = frame[frame["against"] == CHANGE].groupby(list(KEYS[table]))["mean"]
    for key, line in own(frame).groupby(list(KEYS[table])):
        expected = np.diff(line["mean"])
        if np.isnan(expected).all():  # two MLPs have no rank correlation
            continue
        found = changes.get_group(key) if len(expected) else []
        np.testing.assert_array_equal(found, expected)
    last = frame[(frame["step"] == 60) & (frame["against"] == CHANGE)]
    compared = last["measure"].str.contains("previous|rank_correlation")
    assert (last.loc[~compared, "mean"] == 0).all()  # the same parameters as before


def test_flags_say_which_accuracies_have_been_reached(rows):
    rows = own(rows)
    flags = rows[rows["measure"].isin(FLAGS)]
    accuracy = rows[(rows["slice"] == "all") & (rows["measure"] == "accuracy")]
    of = accuracy.set_index(["step", "split"])["mean"]
    assert len(flags) == len(STEPS) * len(SPLITS) * len(FLAGS)
    for row in flags.itertuples():
        reached = of[row.step, row.split] >= float(row.measure.removeprefix("reaches_"))
        assert (row.mean, row.low, row.high) == (reached, reached, reached)
        assert row.slice == "all"
    assert set(flags["mean"]) == {0.0, 1.0}


def test_a_splits_rows_are_its_own(rows, planted, inputs):
    for name, split in inputs.splits.items():
        logits = read_pass(planted.decoder, planted.flat, split).logits
        alone = summarise(measured_reads(split, logits))
        found = own(rows[(rows["step"] == 60) & (rows["split"] == name)])
        found = found[~found["measure"].isin(FLAGS)]
        found = found[alone.columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, alone)


def test_the_probe_events_rows_are_those_of_the_pass_alone(sweep, planted, inputs):
    ids = inputs.value_ids
    reference = event_states(planted.decoder, planted.flat, inputs.events, ids)
    args = (planted.decoder, planted.flat, inputs.events, ids, "mean", None, reference)
    alone, _ = event_rows(*args)
    for table in ("stages", "components"):
        frame = sweep[table]
        found = own(frame[frame["step"] == 30]).merge(alone[table], on=list(KEYS[table]))
        assert len(found) == len(alone[table])
        np.testing.assert_array_equal(found["mean_x"], found["mean_y"])


def test_checkpoints_are_compared_with_the_one_before_and_with_the_reference(sweep):
    stages = own(sweep["stages"])
    drift = stages[stages["measure"].str.startswith("drift")]
    drift = drift.groupby(["measure", "step"])["mean"].max()
    assert drift["drift_reference", 0] > 0.5
    assert drift["drift_reference", 30] == drift["drift_reference", 60] == 0
    assert drift["drift_previous", 30] > 0.5
    assert drift["drift_previous", 60] == 0
    assert ("drift_previous", 0) not in drift


def test_components_are_ranked_by_events_that_do_not_measure_them(sweep, planted):
    rows = sweep["components"][sweep["components"]["half"] != "all"]
    by = {key: part.set_index("component") for key, part in rows.groupby(["half", "against"])}
    choosing, confirming = by["selection", ""], by["confirmation", ""]
    needed = [planted.previous_token_head, planted.matching_head]
    assert list(choosing.index[:2]) == needed
    assert choosing["mean"].is_monotonic_decreasing
    assert choosing["chosen"].tolist()[:2] == ["winner", "runner_up"]
    assert confirming["chosen"].value_counts()["bottom"] == 1
    assert (confirming["count"] == 9).all()  # of 19 events, ten choose
    effects = own(sweep["components"]).query("step == 60 and measure == 'ablation_effect'")
    both = effects.set_index("component")["mean"][choosing.index].to_numpy()
    halves = (10 * choosing["mean"] + 9 * confirming["mean"][choosing.index]) / 19
    np.testing.assert_allclose(halves, both, rtol=1e-9, atol=1e-12)
    bottom = confirming["mean"][confirming["chosen"] == "bottom"].iloc[0]
    excess = by["confirmation", "excess"]["mean"]
    np.testing.assert_allclose(excess, confirming["mean"][excess.index] - bottom, atol=1e-12)


def test_a_guess_stands_beside_the_lens_and_shuffled_labels_beside_the_probes(sweep, inputs):
    stages = sweep["stages"]
    guess = stages[stages["against"] == "guess"]
    assert set(guess["measure"]) == {"lens_accuracy"}
    assert (guess["mean"] == 1 / len(inputs.value_ids)).all()
    keys = ["step", *KEYS["stages"]]
    by = {name: part.set_index(keys)["mean"] for name, part in stages.groupby("against")}
    excess = by["excess"]
    np.testing.assert_allclose(
        excess, by[""][excess.index] - by["shuffled labels"][excess.index], atol=1e-12
    )


def test_a_checkpoint_is_opened_once_besides_the_reference(sweep, opened):
    assert tuple(opened) == (REFERENCE, *STEPS)


def test_whole_programs_are_passed_once_per_split(monkeypatch, planted, inputs, states):
    """The probes' states come out of the pass that measures the reads."""
    passed = []

    def counted(decoder, theta, split, *args, **options):
        passed.append(split)
        return read_pass(decoder, theta, split, *args, **options)

    monkeypatch.setattr("circuit.measures.sweep.checkpoints.read_pass", counted)
    checkpoint_sweep(planted.decoder, states.__getitem__, STEPS[:1], inputs, 0)
    assert passed == list(inputs.splits.values())

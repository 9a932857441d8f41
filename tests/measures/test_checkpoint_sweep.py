"""A sweep over a 'run' that starts untrained and ends planted."""

import numpy as np
import pandas as pd
import pytest

from circuit.artifacts import read_rows, write_rows
from circuit.measures.sweep.behaviour import (
    COARSE,
    MEASURES,
    SplitReads,
    read_measures,
    read_pass,
    summarise,
)
from circuit.measures.sweep.checkpoints import PART_UNITS, UNITS, SweepInputs, checkpoint_sweep
from circuit.measures.sweep.curves import best_step, birth_step
from circuit.measures.sweep.event_pass import event_rows, event_states
from circuit.measures.sweep.probes import ProbeReads

SPLITS = ("validation_iid", "heldout_pairs")
STEPS = (0, 30, 60)
REFERENCE = 60
FLAGS = ("reaches_0.25", "reaches_0.9")
KEYS = {
    "rows": ["split", "slice", "slice_value", "measure"],
    "stages": ["stage", "role", "target", "measure"],
    "components": ["component", "role", "measure"],
}


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
    return sweep.rows


def test_the_behaviour_is_born_where_the_circuit_is_planted(rows):
    for split in SPLITS:
        assert birth_step(rows, split, 0.9) == 30
        assert best_step(rows, split) == 30
    coarse = rows[rows["split"] == "probes"].set_index(["step", "measure"])["mean"]
    assert coarse[30, "r"] > 0.99 > 0.2 > coarse[0, "r"]
    assert coarse[30, "w"] > 0 > coarse[0, "w"]


def test_every_split_step_and_measure_is_there_once(rows):
    assert not rows.duplicated(["step", *KEYS["rows"]]).any()
    whole = rows[rows["slice"] == "all"]
    expected = {(step, split, m) for step in STEPS for split in SPLITS for m in (*MEASURES, *FLAGS)}
    expected |= {(step, "probes", m) for step in STEPS for m in COARSE}
    assert set(zip(whole["step"], whole["split"], whole["measure"], strict=True)) == expected


@pytest.mark.parametrize("table", KEYS)
def test_the_tables_have_their_columns_and_can_be_written(sweep, table, tmp_path):
    frame = getattr(sweep, table)
    assert list(frame.columns) == ["step", *KEYS[table], "mean", "low", "high", "count", "delta"]
    assert not frame.duplicated(["step", *KEYS[table]]).any()
    assert not frame.drop(columns="delta").isna().any(axis=None)
    write_rows(tmp_path / "a.parquet", frame, UNITS if table == "rows" else PART_UNITS)
    pd.testing.assert_frame_equal(read_rows(tmp_path / "a.parquet"), frame)


@pytest.mark.parametrize("table", KEYS)
def test_delta_is_the_change_since_the_previous_checkpoint(sweep, table):
    frame = getattr(sweep, table)
    for _, line in frame.groupby(KEYS[table]):
        expected = [np.nan, *np.diff(line["mean"])]
        np.testing.assert_array_equal(line["delta"], expected)
    assert frame.loc[frame["step"] == 0, "delta"].isna().all()
    last = frame[frame["step"] == 60]
    compared = last["measure"].str.contains("previous|rank_correlation")
    assert (last.loc[~compared, "delta"] == 0).all()  # the same parameters as before


def test_flags_say_which_accuracies_have_been_reached(rows):
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
        alone = summarise(read_measures(planted.decoder, planted.flat, split))
        found = rows[(rows["step"] == 60) & (rows["split"] == name)]
        found = found[~found["measure"].isin(FLAGS)]
        found = found[alone.columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, alone)


def test_the_probe_events_rows_are_those_of_the_pass_alone(sweep, planted, inputs):
    ids = inputs.value_ids
    reference = event_states(planted.decoder, planted.flat, inputs.events, ids)
    args = (planted.decoder, planted.flat, inputs.events, ids, "mean", None, reference)
    alone = event_rows(*args)
    for table in ("stages", "components"):
        frame = getattr(sweep, table)
        found = frame[frame["step"] == 30].merge(getattr(alone, table), on=KEYS[table])
        assert len(found) == len(getattr(alone, table))
        np.testing.assert_array_equal(found["mean_x"], found["mean_y"])


def test_checkpoints_are_compared_with_the_one_before_and_with_the_reference(sweep):
    drift = sweep.stages[sweep.stages["measure"].str.startswith("drift")]
    drift = drift.groupby(["measure", "step"])["mean"].max()
    assert drift["drift_reference", 0] > 0.5
    assert drift["drift_reference", 30] == drift["drift_reference", 60] == 0
    assert drift["drift_previous", 30] > 0.5
    assert drift["drift_previous", 60] == 0
    assert ("drift_previous", 0) not in drift


def test_components_are_ranked_by_events_that_do_not_measure_them(sweep, planted):
    ranking = sweep.ranking
    needed = [planted.previous_token_head, planted.matching_head]
    assert ranking["component"].head(2).tolist() == needed
    assert ranking["selection"].is_monotonic_decreasing
    assert (ranking["count"] == 9).all()  # of 19 events, ten choose
    effects = sweep.components.query("step == 60 and measure == 'ablation_effect'")
    both = effects.set_index("component")["mean"][ranking["component"]].to_numpy()
    np.testing.assert_allclose(
        (10 * ranking["selection"] + 9 * ranking["mean"]) / 19, both, rtol=1e-9, atol=1e-12
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

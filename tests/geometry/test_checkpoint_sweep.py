"""A sweep over a 'run' that starts untrained and ends planted."""

import pandas as pd
import pytest

from circuit.geometry.behaviour import COARSE, MEASURES, SplitReads, read_measures, summarise
from circuit.geometry.curves import best_step, birth_step
from circuit.geometry.sweep import UNITS, checkpoint_sweep

SPLITS = ("validation_iid", "heldout_pairs")
STEPS = (0, 30, 60)


@pytest.fixture(scope="module")
def splits(planted_benchmark):
    return {
        name: SplitReads(planted_benchmark.splits[name], planted_benchmark.vocabulary, 12)
        for name in SPLITS
    }


@pytest.fixture(scope="module")
def opened():
    """Steps in the order in which their parameters were asked for."""
    return []


@pytest.fixture(scope="module")
def rows(planted, untrained, planted_events, splits, opened):
    states = dict(zip(STEPS, (untrained.flat, planted.flat, planted.flat), strict=True))

    def theta(step):
        opened.append(step)
        return states[step]

    probes = planted_events.select(range(0, 171, 9))
    ids = planted.vocabulary.value_ids
    return checkpoint_sweep(planted.decoder, theta, STEPS, splits, probes, ids)


def test_the_behaviour_is_born_where_the_circuit_is_planted(rows):
    for split in SPLITS:
        assert birth_step(rows, split, 0.9) == 30
        assert best_step(rows, split) == 30
    coarse = rows[rows["split"] == "probes"].set_index(["step", "measure"])["mean"]
    assert coarse[30, "r"] > 0.99 > 0.2 > coarse[0, "r"]
    assert coarse[30, "w"] > 0 > coarse[0, "w"]


def test_every_split_step_and_measure_is_there_once(rows, splits):
    keys = ["step", "split", "slice", "slice_value", "measure"]
    assert not rows.duplicated(keys).any()
    whole = rows[rows["slice"] == "all"]
    expected = {(step, split, m) for step in STEPS for split in SPLITS for m in MEASURES}
    expected |= {(step, "probes", m) for step in STEPS for m in COARSE}
    assert set(zip(whole["step"], whole["split"], whole["measure"], strict=True)) == expected
    assert set(rows.select_dtypes("number")) == set(UNITS)


def test_a_splits_rows_are_its_own(rows, planted, splits):
    for name, split in splits.items():
        alone = summarise(read_measures(planted.decoder, planted.flat, split))
        found = rows[(rows["step"] == 60) & (rows["split"] == name)]
        found = found[alone.columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, alone)


def test_a_checkpoint_is_opened_once(rows, opened):
    assert tuple(opened) == STEPS

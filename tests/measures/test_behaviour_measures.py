"""What a checkpoint does with reads, against one slow forward pass per read and NumPy."""

import numpy as np
import pandas as pd
import pytest
import torch
from program_text import reads_of
from scipy.special import log_softmax
from scipy.stats import entropy

from circuit.measures.sweep.behaviour import (
    MEASURES,
    SLICES,
    SplitReads,
    answer_measures,
    measured_reads,
    read_pass,
    summarise,
)
from circuit.statistics import RESAMPLES, bootstrap_means, drawn_out


@pytest.fixture(scope="module")
def programs(planted_benchmark):
    return planted_benchmark.splits["structural_ood"].head(11)


def measured(circuit, programs, limit=None, **options):
    split = SplitReads(programs, circuit.vocabulary, limit)
    return measured_reads(split, read_pass(circuit.decoder, circuit.flat, split, **options).logits)


def measured_slowly(circuit, programs):
    """Every program is cut at every read, and run alone."""
    rows = []
    for read in reads_of(programs, circuit.vocabulary):
        prefix = circuit.vocabulary.ids(" ".join(read.words[: read.prediction + 1]))
        logits = circuit.decoder.forward(circuit.views, torch.tensor([prefix]))[0, -1].numpy()
        (answer,) = circuit.vocabulary.ids(read.answer)
        wrong = np.delete(logits, answer)
        wrong_values = [logits[v] for v in circuit.vocabulary.value_ids if v != answer]
        rows.append(
            {
                "program": read.program,
                **read.slices,
                "accuracy": float(logits[answer] > wrong.max()),
                "margin": logits[answer] - wrong.max(),
                "value_margin": logits[answer] - max(wrong_values),
                "entropy": entropy(np.exp(log_softmax(logits))),
                "answer_loss": -log_softmax(logits)[answer],
                "confidence": np.exp(log_softmax(logits)).max(),
            }
        )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("name", ["planted", "untrained"])
def test_a_read_is_measured_as_if_its_program_ended_there(name, programs, request):
    circuit = request.getfixturevalue(name)
    fast = measured(circuit, programs, batch=4)  # 11 programs: the last batch is not full
    slow = measured_slowly(circuit, programs)
    assert len(fast) == programs["reads"].sum()
    pd.testing.assert_frame_equal(fast, slow[fast.columns], check_dtype=False, rtol=1e-9)


def test_a_split_may_be_limited_to_its_first_programs(planted, programs):
    few, every = (measured(planted, programs, limit) for limit in (3, None))
    pd.testing.assert_frame_equal(few, every[every["program"] < 3])


def test_the_planted_circuit_answers_every_read_and_its_twin_none_but_by_chance(
    planted, untrained, planted_benchmark
):
    """32 values: a guess is right in 3% of reads; four standard errors of 165 reads are 5%."""
    split = planted_benchmark.splits["validation_iid"]
    assert (measured(planted, split)["accuracy"] == 1).all()
    guessed = measured(untrained, split)
    assert len(guessed) > 150
    assert guessed["accuracy"].mean() < 0.085
    assert guessed["margin"].mean() < 0 < measured(planted, split)["margin"].min()


def test_measures_of_any_logits_are_those_of_scipy():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=4, size=(60, 20)).astype(np.float32)
    answer = rng.integers(8, 20, 60)
    found = answer_measures(torch.from_numpy(logits), torch.from_numpy(answer), range(8, 20))
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    rows = np.arange(60)
    assert list(found) == list(MEASURES)
    np.testing.assert_allclose(found["entropy"], entropy(np.exp(log_p), axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["answer_loss"], -log_p[rows, answer], rtol=1e-12)
    np.testing.assert_allclose(found["confidence"], np.exp(log_p).max(1), rtol=1e-12)
    np.testing.assert_array_equal(found["accuracy"], (found["margin"] > 0).double())
    # The best wrong value is no better than the best wrong token.
    assert (found["value_margin"] >= found["margin"]).all()
    assert (found["value_margin"] > found["margin"]).any()


def test_means_and_counts_of_slices_are_those_of_their_reads(untrained, programs):
    reads = measured(untrained, programs)
    found = summarise(reads).set_index(["slice", "slice_value", "measure"])
    groups = {("all", ""): reads}
    for name in SLICES:
        groups |= {(name, str(v)): reads[reads[name] == v] for v in set(reads[name])}
    assert len(found) == len(groups) * len(MEASURES)
    for (name, value), part in groups.items():
        for measure in MEASURES:
            row = found.loc[(name, value, measure)]
            assert row["mean"] == pytest.approx(sum(part[measure]) / len(part), rel=1e-12)
            assert (row["count"], row["noun"]) == (len(part), "reads")
            assert row["low"] <= row["mean"] <= row["high"]


def whole(reads):
    return summarise(reads).query("slice == 'all'")


def synthetic_reads(programs: int, reads: int, seed: int) -> pd.DataFrame:
    """Reads that are right or wrong program by program: the same value for all reads of one."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(programs, len(MEASURES))).repeat(reads, axis=0)
    frame = pd.DataFrame(values, columns=list(MEASURES))
    return frame.assign(program=np.arange(programs).repeat(reads), **dict.fromkeys(SLICES, 1))


def test_repeating_a_programs_reads_does_not_narrow_the_interval():
    """Five equal reads of a program say no more than one of them."""
    once, often = (whole(synthetic_reads(60, n, 0)) for n in (1, 5))
    np.testing.assert_allclose(often[["low", "high"]], once[["low", "high"]], rtol=1e-12)
    values = synthetic_reads(60, 1, 0)[list(MEASURES)].to_numpy()
    drawn = np.random.default_rng(0).integers(60, size=(RESAMPLES, 60))
    means = drawn_out(np.array([values[draw].mean(0) for draw in drawn]), values.mean(0), 60)
    ends = np.quantile(means, [0.025, 0.975], axis=0)
    others = [i for i, measure in enumerate(MEASURES) if measure != "accuracy"]
    found = once[["low", "high"]].to_numpy().T
    np.testing.assert_allclose(found[:, others], ends[:, others], rtol=1e-9)
    # Of one read per program it is the interval that every other mean has.
    np.testing.assert_allclose(np.array(bootstrap_means(values)[1:]), ends, rtol=1e-9)


def test_the_interval_has_the_width_that_theory_gives_for_programs_of_unequal_length():
    """±1.96 standard errors of a ratio of sums over programs; over reads they are half as wide."""
    rng = np.random.default_rng(3)
    sizes = rng.integers(2, 9, 400)
    common = rng.normal(size=400).repeat(sizes)
    value = common + rng.normal(size=len(common))
    reads = pd.DataFrame({**dict.fromkeys(MEASURES, value), **dict.fromkeys(SLICES, 1)})
    reads["program"] = np.arange(400).repeat(sizes)
    row = whole(reads).set_index("measure").loc["margin"]
    centred = np.bincount(reads["program"], value - value.mean())
    error = np.sqrt((centred**2).sum()) / len(value)
    naive = value.std() / np.sqrt(len(value))
    assert error > 1.5 * naive
    assert (row["high"] - row["low"]) / (2 * 1.96) == pytest.approx(error, rel=0.08)

"""Linear probes, against scikit-learn, a word-by-word oracle of the labels, and planted states."""

import numpy as np
import pytest
import torch
from program_text import reads_of
from sklearn.linear_model import RidgeClassifier

from circuit.measures.sweep.behaviour import Keep, SplitReads, read_pass
from circuit.measures.sweep.probes import (
    LATEST,
    SHUFFLED,
    TARGETS,
    Labelled,
    ProbeReads,
    probe_rows,
    ridge,
)
from circuit.model.sites import stages
from circuit.statistics import bootstrap_means

STAGES = stages(2)


@pytest.fixture(scope="module")
def programs(planted_benchmark):
    return planted_benchmark.splits["train"]


@pytest.fixture(scope="module")
def probe_reads(programs, planted_benchmark):
    return ProbeReads.of(programs, planted_benchmark.vocabulary, len(programs))


def rows_of(circuit, programs, reads, penalty=1.0):
    split = SplitReads(programs, circuit.vocabulary)
    seen = read_pass(circuit.decoder, circuit.flat, split, Keep(STAGES, reads.at))
    return indexed(probe_rows(reads, seen.states, penalty))


def indexed(rows):
    """By what a row is of; the probe or what it is compared with comes last."""
    assert set(rows["measure"]) == {"probe_accuracy"}
    name = rows["against"].replace({"": "probe_accuracy"})
    return rows.assign(which=name).set_index(["stage", "role", "target", "which"])


@pytest.fixture(scope="module")
def found(planted, programs, probe_reads):
    return rows_of(planted, programs, probe_reads)


@pytest.fixture(scope="module")
def untrained_found(untrained, programs, probe_reads):
    return rows_of(untrained, programs, probe_reads)


def standardised(states, fit):
    """Centred on the fitting states and divided by their root mean square deviation."""
    mean = states[fit].mean(0)
    return (states - mean) / np.sqrt(((states[fit] - mean) ** 2).mean())


@pytest.mark.parametrize("penalty", [0.3, 20.0])
@pytest.mark.parametrize("n_classes", [2, 3, 11])
def test_decision_values_and_guesses_are_those_of_scikit_learn(n_classes, penalty):
    rng = np.random.default_rng(n_classes)
    labels = rng.integers(n_classes, size=240) * 3  # labels need not be 0, 1, 2, …
    centres = rng.normal(size=(3 * n_classes, 20))
    states = 5 + 0.2 * (centres[labels] + rng.normal(size=(240, 20)) * np.arange(1, 21))
    program = np.arange(240) // 3
    task = Labelled.of(torch.from_numpy(labels)[None], torch.from_numpy(program))
    fit, score = program % 2 == 0, program % 2 == 1
    x = standardised(states, fit)
    oracle = RidgeClassifier(alpha=penalty, solver="cholesky").fit(x[fit], labels[fit])

    values = ridge(
        torch.from_numpy(states[fit]), task.targets, torch.from_numpy(states[score]), penalty
    ).numpy()[:, :n_classes]
    expected = oracle.decision_function(x[score])
    if n_classes == 2:
        np.testing.assert_allclose(values[:, 0], -values[:, 1], rtol=1e-9, atol=1e-12)
        values = values[:, 1]
    np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-8)
    right = task.correct(torch.from_numpy(states), penalty)[0, 0].numpy()
    np.testing.assert_array_equal(right, oracle.predict(x[score]) == labels[score])
    assert 1 / n_classes < right.mean() < 1


def test_the_control_is_the_same_probe_fitted_on_shuffled_labels():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(5, size=400))
    states = torch.from_numpy(np.eye(5)[labels] + 0.01 * rng.normal(size=(400, 5)))
    program = torch.arange(400) // 4
    accuracy, control = Labelled.of(labels[None], program).correct(states, 1.0)
    assert accuracy.mean() == 1
    assert control.mean() < 0.35  # one of five, guessed class by class
    own, control = Labelled.of(labels[None], program).targets.chunk(2, 1)
    assert not torch.equal(own, control)
    assert torch.equal(own.sum(0), control.sum(0))


def test_a_class_that_was_never_fitted_counts_as_wrong():
    labels = torch.tensor([1, 2, 1, 2, 1, 2, 7, 7])
    program = torch.tensor([0, 0, 2, 2, 1, 1, 3, 3])
    states = torch.eye(8, dtype=torch.float64)[labels]
    assert Labelled.of(labels[None], program).correct(states, 0.1)[0].tolist() == [[1, 1, 0, 0]]


def test_states_that_are_all_equal_are_guessed_by_frequency():
    labels = torch.tensor([4, 4, 9, 4, 9])
    task = Labelled.of(labels[None], torch.tensor([0, 0, 0, 1, 1]))
    found = task.correct(torch.ones(5, 3), 1.0)
    assert found[0].tolist() == [[1, 0]]


def test_labels_and_positions_are_those_in_the_programs_words(programs, planted_benchmark):
    vocabulary, some = planted_benchmark.vocabulary, programs.head(24)
    found = ProbeReads.of(some, vocabulary, 12)
    reads = list(reads_of(some.head(12), vocabulary))
    assert found.chosen.tolist() == list(range(len(reads)))
    expected = {"query_key": [], "answer": [], "stale_value": []}
    for read, at in zip(reads, found.at.tolist(), strict=True):
        (support,) = read.roles["support_value"]
        assert at == [read.prediction, support, max(read.roles["stale_value"])]
        expected["query_key"].append(read.words[read.prediction])
        expected["answer"].append(read.answer)
        expected["stale_value"].append(read.words[at[2]])
    scored = [i for i, read in enumerate(reads) if read.program % 2 == 1]
    assert found.by_role.score.tolist() == scored
    for target, truth in zip(TARGETS, found.by_role.truth.tolist(), strict=True):
        words = [vocabulary.tokens[token] for token in truth]
        assert words == [expected[target][i] for i in scored]
    assert found.latest.truth.tolist() == [[1] * len(scored) + [0] * len(scored)]
    of = [reads[i].program for i in scored]
    assert found.program.tolist() == [sorted(set(of)).index(program) for program in of]


def test_states_are_those_of_programs_cut_at_their_read(planted, programs):
    """No position sees a later one, so one pass over whole programs serves every read."""
    some = programs.head(5)
    split, reads = SplitReads(some, planted.vocabulary), list(reads_of(some, planted.vocabulary))
    at = torch.stack([split.reads.prediction, split.reads.support_value], 1)
    seen = read_pass(planted.decoder, planted.flat, split, Keep(STAGES, at), batch=2)
    for number, read in enumerate(reads):
        cut = planted.vocabulary.ids(" ".join(read.words[: read.prediction + 1]))
        tap = planted.decoder.tap(STAGES)
        logits = planted.decoder.forward(planted.views, torch.tensor([cut]), tap)
        torch.testing.assert_close(seen.logits[number], logits[0, -1], rtol=1e-9, atol=1e-9)
        for stage in STAGES:
            expected = tap.cache[stage][0, at[number]]
            torch.testing.assert_close(seen.states[stage][number], expected, rtol=1e-9, atol=1e-9)


def test_the_answer_is_read_at_prediction_only_after_the_matching_head(found):
    """Before it, no better than from shuffled labels: 5% or less where one of 32 is a guess."""
    answer = found.xs(("prediction", "answer", "probe_accuracy"), level=(1, 2, 3))["mean"]
    after = ["layer_1_post_attn", "layer_1_post_mlp", "final_norm"]
    before = ["embedding", "layer_0_post_attn", "layer_0_post_mlp"]
    assert (answer[after] == 1).all()
    control = found.xs(("prediction", "answer", SHUFFLED), level=(1, 2, 3))
    assert (answer[before] <= control.loc[before, "high"]).all()


def test_a_written_value_knows_its_key_only_after_the_previous_token_head(found):
    key = found.xs(("support_value", "query_key", "probe_accuracy"), level=(1, 2, 3))["mean"]
    assert (key.drop("embedding") == 1).all()
    assert key["embedding"] < 0.4  # four keys, some of them not in the program


def test_the_stale_value_is_never_read_at_prediction(found):
    """The planted head attends to the latest write alone."""
    stale = found.xs(("prediction", "stale_value", "probe_accuracy"), level=(1, 2, 3))["mean"]
    assert (stale < 0.06).all()


@pytest.mark.parametrize("rows", ["found", "untrained_found"])
def test_whether_a_value_is_the_latest_is_read_from_its_place_alone(rows, request):
    """No state knows later writes, so no stage can say more than the position embedding."""
    found = request.getfixturevalue(rows)
    latest = found.xs((LATEST, "probe_accuracy"), level=(2, 3)).droplevel("role")
    start = latest.loc["embedding"]
    assert start["mean"] > 0.7
    assert latest["mean"].between(start["low"], start["high"]).all()


def test_the_untrained_twin_does_not_know_the_answer(untrained_found):
    """Its heads mix all values a little; less than a tenth of reads can be made out of that."""
    accuracy = untrained_found.xs(("prediction", "answer", "probe_accuracy"), level=(1, 2, 3))
    assert accuracy["mean"].max() < 0.1
    control = untrained_found.xs(SHUFFLED, level=3)
    values = control.loc[(slice(None), slice(None), ["answer", "stale_value"]), "mean"]
    assert values.max() < 0.06


def test_the_excess_over_shuffled_labels_is_paired(found):
    by = {which: part.droplevel("which") for which, part in found.groupby("which")}
    excess = by["excess"]
    means = [by[which]["mean"][excess.index] for which in ("probe_accuracy", SHUFFLED)]
    np.testing.assert_allclose(excess["mean"], means[0] - means[1], atol=1e-12)
    certain = found.sort_index().xs(("final_norm", "prediction", "answer"))
    # Where the probe is always right, only the control varies.
    ends = certain.loc["excess", ["low", "high"]].to_numpy(dtype=float)
    other = 1 - certain.loc[SHUFFLED, ["high", "low"]].to_numpy(dtype=float)
    np.testing.assert_allclose(ends, other, atol=0.03)


def test_intervals_resample_programs(planted, programs, probe_reads):
    """With one read per program the interval is that of any mean."""
    once = programs.head(100)
    split = SplitReads(once, planted.vocabulary)
    reads = ProbeReads.of(once, planted.vocabulary, 100)
    seen = read_pass(planted.decoder, planted.flat, split, Keep(("embedding",), reads.at))
    rows = indexed(probe_rows(reads, seen.states, 1.0)).droplevel("stage")
    row = rows.loc[("support_value", "query_key", "probe_accuracy")]
    right = reads.by_role.correct(seen.states["embedding"][:, 1], 1.0)[0, 0].numpy()
    assert row["count"] == len(right)
    assert row["mean"] == pytest.approx(right.mean(), rel=1e-12)
    _, low, high = bootstrap_means(right[:, None])
    naive = float(high[0] - low[0])
    sizes = np.bincount(reads.program)
    centred = np.bincount(reads.program, right - right.mean())
    error = np.sqrt((centred**2).sum()) / sizes.sum()
    assert error < (row["high"] - row["low"]) / (2 * 1.96) < 1.2 * error, "exact ones are wider"
    assert row["high"] - row["low"] != pytest.approx(naive, rel=1e-3)

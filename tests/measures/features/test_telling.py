"""What a label tells of features, against pandas; and which tokens are which part of an event."""

import numpy as np
import pandas as pd
import pytest
import torch

from circuit.kinds.dictionary.settings import Settings
from circuit.measures.features.families import PARTS, event_part, labels_of, told
from circuit.measures.features.reconstruction import PooledStates
from circuit.measures.sweep.behaviour import SplitReads

SETTINGS = Settings(kind="dictionary", stage="embedding", draws=5)


@pytest.fixture(scope="module")
def pooled(planted_benchmark):
    split = SplitReads(planted_benchmark.splits["train"], planted_benchmark.vocabulary, 40)
    return PooledStates(split, (), torch.zeros(0, 0, 4))


@pytest.fixture(scope="module")
def labels(pooled, planted_benchmark):
    return {
        (label.name, label.role): label
        for label in labels_of(pooled, planted_benchmark.vocabulary, SETTINGS)
    }


def test_parts_of_events_are_those_that_the_words_say(pooled, planted_benchmark):
    part = event_part(pooled.token)
    words = planted_benchmark.vocabulary.text(pooled.token[: int(pooled.lengths[0])].tolist())
    expected = ["other"]
    for op in words.split():
        if op in "WR":
            kind = ("write op", "write key", "write value")
            expected += kind if op == "W" else ("read op", "read key", "answer")
    expected.append("other")
    assert [PARTS[i] for i in part[: len(expected)]] == expected
    assert len(expected) == int(pooled.lengths[0])


def test_labels_are_of_the_states_that_they_name(pooled, labels, planted_benchmark):
    split, names = pooled.split, planted_benchmark.vocabulary.tokens
    asked = labels["query_key", "prediction"]
    token = pooled.token[asked.states]
    assert [asked.groups.names[i] for i in asked.groups.codes] == [names[i] for i in token]
    answer = labels["answer", "prediction"]
    assert [names.index(answer.groups.names[i]) for i in answer.groups.codes] == (
        split.reads.answer.tolist()
    )
    written = labels["answer", "support_value"]
    assert len(written.states) == len(written.states.unique()) < len(split.reads)


def test_which_labels_the_token_names_is_known(labels):
    by_token = {name for name, label in labels.items() if label.by_token}
    assert by_token == {
        ("token", "everywhere"),
        ("query_key", "prediction"),
        ("answer", "support_value"),
    }


def explained(values, codes):
    """Share of variance between groups, by pandas."""
    frame = pd.DataFrame(values)
    means = frame.groupby(codes).transform("mean")
    return ((means - frame.mean()) ** 2).sum() / ((frame - frame.mean()) ** 2).sum()


@pytest.mark.parametrize("half", ["fits", "scores"])
def test_shares_are_those_between_groups(pooled, labels, half):
    label = labels["query_key", "support_value"]
    rng = np.random.default_rng(0)
    active = torch.from_numpy(np.maximum(rng.standard_normal((len(pooled.program), 3)), 0))
    codes = label.groups.codes
    active[label.states, 1] += 2 * (codes == 1)  # feature 1 fires on one key
    active[:, 2] = 0
    chosen = pooled.fits if half == "fits" else ~pooled.fits
    found = told(active, label, chosen)
    here = chosen[label.states]
    values, kept = active[label.states[here]].numpy(), codes[here].numpy()
    expected = explained(values, kept).fillna(0)
    np.testing.assert_allclose(found.share, expected, rtol=1e-9, atol=1e-12)
    for k, shuffled in enumerate(label.groups.shuffled[:, here].numpy()):
        drawn = explained(values, shuffled).fillna(0)
        np.testing.assert_allclose(found.shuffled[k], drawn, rtol=1e-9, atol=1e-12)
    assert found.group[1] == 1
    assert found.share[1] > 0.5 > found.shuffled[:, 1].max()
    assert found.states == int(here.sum())
    np.testing.assert_allclose(found.rate, (values > 0).mean(0))
    np.testing.assert_allclose(found.columns.mean(0), found.share, atol=1e-12)
    assert len(found.columns) == 20


def test_the_intervals_columns_are_derivatives_by_a_programs_weight(pooled, labels):
    """By finite differences: one program counted a little more."""
    label = labels["query_key", "support_value"]
    rng = np.random.default_rng(1)
    active = torch.from_numpy(np.maximum(rng.standard_normal((len(pooled.program), 1)), 0))
    found = told(active, label, ~pooled.fits)
    here = ~pooled.fits[label.states]
    values = active[label.states[here], 0].numpy()
    codes, program = label.groups.codes[here].numpy(), label.groups.program[here].numpy()

    def share(weight):
        mean = np.average(values, weights=weight)
        total = (weight * (values - mean) ** 2).sum()
        means = {c: np.average(values[codes == c], weights=weight[codes == c]) for c in set(codes)}
        between = (weight * (np.array([means[c] for c in codes]) - mean) ** 2).sum()
        return between / total

    names = np.unique(program)
    for i, name in enumerate(names[:4]):
        up, down = (share(1 + sign * 1e-5 * (program == name)) for sign in (1, -1))
        slope = (up - down) / 2e-5
        assert found.columns[i, 0] - found.share[0] == pytest.approx(len(names) * slope, rel=1e-4)

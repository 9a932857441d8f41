"""What edits show: the planted variables are told, and of an untrained model nothing is."""

from functools import partial

import pandas as pd
import pytest
from planted import untrained_twin
from viewing import changed, outcome, viewed

from circuit.experiments import interventions as made
from circuit.experiments.subspaces import Subspace
from circuit.measuring import Table
from circuit.scalars.behaviour import soft_margin
from circuit.task.events import read_events
from circuit.task.frozen import pair_events
from circuit.task.pairs import PAIR_KINDS, build_pairs

ROLES = ("prediction", "support_value", "value_distractors")
SETTINGS = {
    "outcomes": {"soft_margin": {"scalar": "soft_margin"}},
    "subspaces": {"value_identity": {"subspace": "embedding_value_identity", "ranks": [4, 16]}},
}


@pytest.fixture(scope="module")
def measured(planted, planted_benchmark):
    """A function from states, as checkpoints 0, 1, … of a run, to the kind's tables."""
    words, pairs = planted.vocabulary, build_pairs(planted_benchmark).pairs
    sides = {
        kind: [pair_events(pairs[pairs["kind"] == kind], words, s) for s in ("clean", "corrupted")]
        for kind in PAIR_KINDS
    }
    read = partial(read_events, vocabulary=words, reads="last")
    events = read(planted_benchmark.splits["validation_iid"])
    fit = read(planted_benchmark.splits["train"])
    values = {"value_identity": (Subspace("embedding_value_identity"), (4, 16))}
    stages = ("layer_0_post_attn", "layer_1_post_mlp")
    where = made.places(stages, ROLES, planted.decoder.settings)
    inside = where[:2]

    def tables(*states):
        found = {"rows": [], "ranks": [], "doses": []}
        for step, flat in enumerate(states):
            bench = made.Bench(
                planted.decoder, flat, words.value_ids, step, where, inside,
                lambda events: {"soft_margin": soft_margin()}, 9, 0,
            )  # fmt: skip
            found["rows"] += [made.patches(bench, kind, *sides[kind]) for kind in PAIR_KINDS]
            found["rows"] += [made.replaced(bench, ("mean", "resample"), events)]
            found["ranks"] += [made.ranks(bench, values, 20, events)]
            found["doses"] += [made.doses(bench, (0.25, 0.5), *sides["support_value"], fit)]
        found["rows"] += [made.appearance(pd.concat(found["rows"]))]
        return {
            name: Table(pd.concat(found[name], ignore_index=True), *about)
            for name, about in made.TABLES.items()
        }

    return tables


def seen(tables, folder):
    return viewed("intervention", tables, folder, SETTINGS, {"last_stage": "layer_1_post_mlp"})


@pytest.fixture(scope="module")
def formed(measured, untrained, planted):
    return measured(untrained.flat, planted.flat)


@pytest.fixture(scope="module")
def report(formed, tmp_path_factory):
    return seen(formed, tmp_path_factory.mktemp("formed"))


def test_the_planted_variables_are_told_with_their_place_and_time(report):
    for pair, role in (("support_value", "support_value"), ("query_key", "prediction")):
        found = outcome(report, "patch that moves the answer most", pair=pair)
        assert (found.verdict, found.about["role"]) == ("shown", role)
        assert found.about["site"] == "layer_0_post_attn"
        assert found.control == "the change of another pair; the state of another pair"
        when = outcome(report, "strongest patch of {pair} stays shown", pair=pair)
        assert when.verdict == "shown"
    # Damage alone makes the planted model fall back on the stale value, the rival of this pair.
    assert outcome(report, "patch that moves the answer most", pair="recency").verdict == "open"
    assert outcome(report, "patch of a distractor, the null").verdict == "open"
    assert not report["marks"]


def test_what_the_answer_needs_and_what_moves_it_is_told(report):
    needed = outcome(report, "state that the answer needs most")
    assert (needed.verdict, needed.about["site"]) == ("shown", "layer_0_post_attn")
    assert needed.about["role"] in ("support_value", "prediction")
    dose = outcome(report, "dose that moves the answer most")
    assert (dose.verdict, dose.about["role"]) == ("shown", "support_value")


def test_of_an_untrained_model_nothing_is_told(measured, untrained, planted, tmp_path):
    report = seen(measured(untrained.flat, untrained_twin(planted, 1).flat), tmp_path)
    verdicts = {one["verdict"] for one in report["findings"]}
    assert "open" in verdicts
    assert verdicts <= {"open", "opposite"}
    assert not report["marks"]


def test_a_distractor_that_moves_the_answer_is_marked(formed, tmp_path):
    where = {"pair": "distractor", "measure": "contrast", "step": 1, "role": "support_value"}
    where |= {"site": "layer_0_post_attn"}
    rows = formed["rows"].frame
    for against in ("", "excess over the change of another pair"):
        rows = changed(rows, {**where, "against": against}, mean=99.0, low=98.0, high=100.0)
    [mark] = seen({**formed, "rows": Table(rows, "one edit")}, tmp_path)["marks"]
    assert "+99" in mark

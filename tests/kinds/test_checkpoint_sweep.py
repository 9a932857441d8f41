"""What a sweep says of a run that ends in the planted circuit, and of one that learns nothing."""

import pandas as pd
import pytest
from viewing import changed, outcome, viewed

from circuit.kinds.checkpoint_sweep.measure import swept_tables
from circuit.kinds.checkpoint_sweep.settings import Settings
from circuit.measures.sweep.behaviour import SplitReads
from circuit.measures.sweep.checkpoints import SweepInputs, checkpoint_sweep
from circuit.measures.sweep.probes import ProbeReads
from circuit.measuring import Table

STEPS = (0, 700, 1500)
ASKED = {"splits": ["train", "heldout_pairs"], "birth_threshold": 0.9, "thresholds": [0.25, 0.9]}
COSTLIEST = "ablation effect of the component that matters most"


@pytest.fixture(scope="module")
def swept(planted_benchmark, planted_events):
    """A function from a decoder and its states at the steps to the kind's tables."""
    vocabulary, programs = planted_benchmark.vocabulary, planted_benchmark.splits
    inputs = SweepInputs(
        {"train": SplitReads(programs["train"], vocabulary, 200)}
        | {"heldout_pairs": SplitReads(programs["heldout_pairs"], vocabulary, 8)},
        ProbeReads.of(programs["train"], vocabulary, 200),
        planted_events.select(range(0, 171, 5)),
        vocabulary.value_ids,
        thresholds=(0.25, 0.9),
    )

    def tables(decoder, *flats):
        states = dict(zip(STEPS, flats, strict=True))
        sweep = checkpoint_sweep(decoder, states.__getitem__, STEPS, inputs, STEPS[-1])
        return swept_tables(sweep, Settings(kind="checkpoint_sweep", **ASKED))

    return tables


@pytest.fixture(scope="module")
def learned(swept, planted, untrained):
    return swept(planted.decoder, untrained.flat, planted.flat, planted.flat)


def seen(tables, folder, **other):
    other = {name: Table(frame, "made up") for name, frame in other.items()}
    facts = {"reference": STEPS[-1]}
    return viewed("checkpoint_sweep", {**tables, **other}, folder, ASKED, facts)


def test_a_run_that_learned_says_when_what_it_rests_on_and_where_it_can_be_read(
    learned, planted, tmp_path
):
    report = seen(learned, tmp_path)
    assert outcome(report, "landmark", measure="birth").verdict == "shown"
    assert "step 700" in report["answer"]
    costliest = outcome(report, COSTLIEST)
    assert costliest.verdict == "shown"
    assert costliest.about["component"] == planted.previous_token_head
    assert "bottom" in costliest.control
    runner_up = outcome(report, "ablation effect of the runner-up")
    assert runner_up.about["component"] == planted.matching_head
    for reader in ("a linear probe", "the logit lens"):
        readable = outcome(report, f"answer readable by {reader}")
        assert (readable.verdict, readable.about["stage"]) == ("shown", "layer_1_post_attn")
    stale = outcome(report, "probe at the stream's end", role="prediction", target="stale_value")
    assert stale.verdict != "shown"
    assert not report["marks"]


def test_a_run_that_learned_nothing_shows_nothing(swept, untrained, tmp_path):
    report = seen(swept(untrained.decoder, *[untrained.flat] * 3), tmp_path)
    assert outcome(report, "landmark", measure="birth").verdict == "open"
    assert outcome(report, "behaviour", measure="accuracy", split="train").verdict == "open"
    for reader in ("a linear probe", "the logit lens"):
        assert outcome(report, f"answer readable by {reader}").verdict != "shown"


def test_a_component_that_the_paired_difference_does_not_bear_out_is_not_called_needed(
    learned, tmp_path
):
    paired = {"against": "excess", "chosen": "winner"}
    rows = changed(learned["components"].frame, paired, low=-1.0)
    report = seen(learned, tmp_path, components=rows)
    assert outcome(report, COSTLIEST).verdict == "open"
    assert "No component is shown to be needed" in report["answer"]


def test_a_winner_that_the_other_half_would_not_choose_is_marked(learned, planted, tmp_path):
    rows = learned["components"].frame
    for against in ("", "excess"):
        of = {"against": against, "half": "confirmation", "chosen": "runner_up"}
        rows = changed(rows, of, mean=99.0)
    [mark] = seen(learned, tmp_path, components=rows)["marks"]
    assert planted.matching_head in mark


def test_heads_that_have_no_order_are_not_told_of(learned, tmp_path):
    rows = learned["components"].frame
    ranked = rows["measure"].str.startswith("rank")
    rows = pd.concat([rows[~ranked], rows[ranked].assign(mean=None, low=None, high=None, count=0)])
    report = seen(learned, tmp_path, components=rows.astype({"mean": float}))
    assert not any("order of components" in one["name"] for one in report["findings"])

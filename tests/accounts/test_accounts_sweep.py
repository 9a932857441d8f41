"""What a sweep says, on the tables of a 'run' that ends in the planted circuit."""

import pytest
from account_checks import numbers_of, written

from circuit.measures.sweep.behaviour import SplitReads
from circuit.measures.sweep.checkpoints import SweepInputs, checkpoint_sweep
from circuit.measures.sweep.curves import best_step, birth_step
from circuit.measures.sweep.probes import ProbeReads
from circuit.model.counting import CountingDecoder
from circuit.reports.accounts_sweep import sweep
from circuit.reports.passes import passes_number
from circuit.reports.sweep_tables import SweepTables

STEPS = (0, 700, 1500)


@pytest.fixture(scope="module")
def inputs(planted_benchmark, planted_events):
    vocabulary, programs = planted_benchmark.vocabulary, planted_benchmark.splits
    return SweepInputs(
        {"train": SplitReads(programs["train"], vocabulary, 200)}
        | {"heldout_pairs": SplitReads(programs["heldout_pairs"], vocabulary, 8)},
        ProbeReads.of(programs["train"], vocabulary, 200),
        planted_events.select(range(0, 171, 5)),
        vocabulary.value_ids,
        thresholds=(0.25, 0.9),
    )


def swept(decoder, inputs, states):
    counting = CountingDecoder(decoder)
    found = checkpoint_sweep(counting, states.__getitem__, tuple(states), inputs, max(states))
    return SweepTables(*found), passes_number(counting.passes, len(inputs.events), 2)


@pytest.fixture(scope="module")
def learned(planted, untrained, inputs):
    flats = (untrained.flat, planted.flat, planted.flat)
    return swept(planted.decoder, inputs, dict(zip(STEPS, flats, strict=True)))


@pytest.fixture(scope="module")
def unlearned(untrained, inputs):
    return swept(untrained.decoder, inputs, dict.fromkeys(STEPS, untrained.flat))


def told(found, threshold=0.9, best_by="heldout_pairs"):
    tables, passes = found
    birth, best = birth_step(tables.rows, "train", threshold), best_step(tables.rows, best_by)
    return sweep(tables, birth, best, threshold, "train", best_by, passes)


def test_a_run_that_learned_says_when_what_it_rests_on_and_where_it_can_be_read(learned, tmp_path):
    found = told(learned)
    written(found, "checkpoint_sweep", tmp_path)
    assert found.answer.startswith(
        "Answer accuracy on train stays at or above 0.9 from step 700; it is 0.000 untrained and "
        "1.000 at step 1,500. The best checkpoint by accuracy on heldout_pairs is step 700. At "
        "step 1,500 removing L0H1 costs most: +13."
    )
    assert "of answer margin on events that did not choose it, against +10." in found.answer
    assert "for the runner-up L1H2 and " in found.answer
    assert " for the bottom control L" in found.answer
    assert found.answer.endswith(
        "by a linear probe first at layer_1_post_attn (1.00), by the logit lens first at "
        "layer_1_post_attn (1.00)."
    )
    assert found.marks == []


def test_its_numbers_have_controls_units_and_intervals(learned):
    numbers = numbers_of(told(learned))
    assert numbers["accuracy on heldout_pairs, at step 1,500"].value == 1
    assert numbers["accuracy on train, untrained"].value < 0.2
    assert str(numbers["margin on train, at step 1,500"]).startswith("+")
    assert numbers["confidence on train, at step 1,500"].value > 0.9
    first = numbers["step at which accuracy on train first reaches 0.9"]
    assert (first.value, first.unit) == (700, "step")
    r = next(n for name, n in numbers.items() if name.startswith("r: "))
    assert (r.unit, r.count) == ("probability", 35)
    assert r.value > 0.99
    at = "the answer, read at prediction and final_norm, at step 1,500"
    assert numbers[f"probe: {at}"].value == 1
    assert numbers[f"shuffled labels: {at}"].value < 0.1
    winner = numbers["ablation effect of winner L0H1, at step 1,500"]
    assert (winner.unit, winner.count) == ("logit", 17)
    by = "rank correlation of MLPs by ablation effect with the previous checkpoint, at step 1,500"
    assert numbers[by].note == "over 2 MLPs"
    assert numbers["forward passes"].value > 0


def test_its_tables_are_short_enough_to_read(learned):
    tables = told(learned).tables
    assert len(tables) == 5
    assert max(len(table.frame) for table in tables) <= 40
    over_training = tables[0].frame
    assert over_training["step"].tolist() == list(STEPS)
    assert over_training["accuracy on train"].tolist()[1:] == [1, 1]
    probes = tables[1].frame.set_index(["role", "target", "stage"])
    row = probes.loc[("prediction", "answer", "final_norm")]
    assert row["mean"] == 1
    assert row["control"] < 0.1
    assert row["untrained"] < 0.2


def test_a_run_that_learned_nothing_says_so(unlearned, tmp_path):
    found = told(unlearned)
    written(found, "checkpoint_sweep", tmp_path)
    assert "Answer accuracy on train never stays at or above 0.9" in found.answer
    assert "by a linear probe at no stage (0." in found.answer
    assert "by the logit lens at no stage (0." in found.answer
    reached = numbers_of(found)["step at which accuracy on train first reaches 0.25"]
    assert "not defined" in str(reached)


def test_a_component_that_no_event_needs_is_not_called_needed(learned):
    tables, passes = learned
    ranking = tables.ranking.assign(mean=-0.1, low=-0.3, high=0.2)
    answer = told((tables._replace(ranking=ranking), passes)).answer
    assert (
        "No component is needed at step 1,500: removing L0H1, first on the events that choose, "
        "costs the others −0.10 logit (95% interval −0.30 to +0.20) of answer margin."
    ) in answer


def test_the_best_checkpoint_is_told_with_the_split_that_chose_it(learned):
    tables, passes = learned
    worse = tables.rows.copy()
    late = (worse["step"] > 0) & (worse["split"] == "train") & (worse["measure"] == "accuracy")
    worse.loc[late, "mean"] = -1.0
    changed = (tables._replace(rows=worse), passes)
    assert (
        "The best checkpoint by accuracy on train is step 0." in told(changed, 0.9, "train").answer
    )
    assert "by accuracy on heldout_pairs is step 700." in told(changed).answer


def test_a_winner_that_the_other_half_would_not_choose_is_marked(learned):
    tables, passes = learned
    ranking = tables.ranking.copy()
    ranking.loc[1, "mean"] = 99.0
    found = told((tables._replace(ranking=ranking), passes))
    assert found.marks == [
        "By ablation effect, the events that choose put L0H1 first, the other half L1H2."
    ]


def test_a_single_checkpoint_can_be_told(planted, inputs, tmp_path):
    """Nothing came before it, so there is no drift since, and no order to compare."""
    found = told(swept(planted.decoder, inputs, {40: planted.flat}))
    written(found, "checkpoint_sweep", tmp_path)
    assert not any(name.startswith("rank") for name in numbers_of(found))

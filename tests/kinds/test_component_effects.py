"""What components do by themselves, through others and together, on circuits that are known."""

import pandas as pd
import pytest
import torch
from planted import untrained_twin
from viewing import changed, outcome, viewed

from circuit.estimates import over
from circuit.measures.paths.component_effects import BEYOND, RANDOM, component_effects
from circuit.measuring import Table

MEAN = {"ablation": "mean"}
ONE = {"step": 1, "against": ""}
MOST = "component that the answer rests on most"
THROUGH = "component that acts through others most"
GOOD = "component whose loss is made good most"
UNDER = "pair that single ablation understates most"
OVER = "pair that single ablation overstates most"


def measured(circuit, planted_events, *flats, **sets):
    """Rows of states as checkpoints 0, 1, … of a run."""
    events = planted_events.select(torch.arange(0, 171, 6)).crop()
    return component_effects(
        circuit.decoder, flats.__getitem__, range(len(flats)), events,
        circuit.vocabulary.value_ids, sets.get("neurons", {}), sets.get("groups", {}), 20, 0,
    )  # fmt: skip


def seen(rows, folder):
    settings = {"checkpoints": [0, 1]}
    return viewed("component_effects", {"rows": Table(rows, "one")}, folder, settings)


@pytest.fixture(scope="module")
def redundant_rows(redundant, planted_events):
    both = [redundant.matching_head, redundant.second_head]
    sets = {"both": both, "three": [*both, redundant.anti_head]}
    twin = untrained_twin(redundant)
    return measured(redundant, planted_events, twin.flat, redundant.flat, groups=sets)


@pytest.fixture(scope="module")
def of_redundant(redundant_rows, tmp_path_factory):
    return seen(redundant_rows, tmp_path_factory.mktemp("redundant"))


def number(rows, part, measure, **where):
    """One mean of the trained checkpoint."""
    keys = {**ONE, **MEAN, "part": part, "measure": measure, **where}
    for key, value in keys.items():
        rows = rows[rows[key] == value]
    return rows["mean"].item()


def test_single_ablation_understates_two_heads_that_do_the_same(
    of_redundant, redundant_rows, redundant
):
    pair = f"{redundant.matching_head} + {redundant.second_head}"
    together = number(redundant_rows, pair, "effect")
    for head in (redundant.matching_head, redundant.second_head):
        # It writes all of the answer, and its removal costs a fifth of that.
        assert number(redundant_rows, head, "effect") < 0.25 * together
        assert number(redundant_rows, head, "direct") == pytest.approx(together, rel=0.05)
    assert number(redundant_rows, pair, "interaction") > 0.6 * together
    for ablation in ("mean", "resample"):
        told = outcome(of_redundant, UNDER, ablation=ablation)
        assert (told.verdict, told.about["part"]) == ("shown", pair)
        within = outcome(of_redundant, "interaction within a group", part="both", ablation=ablation)
        assert within.verdict == "shown"
    assert "Single ablation understates" in of_redundant["answer"]


def test_the_head_that_undoes_half_is_what_makes_good(of_redundant, redundant_rows, redundant):
    """Without one of the two it takes half as much back: half of what that one writes."""
    for head in (redundant.matching_head, redundant.second_head):
        direct = number(redundant_rows, head, "direct")
        made_good = number(redundant_rows, head, "through_others")
        assert made_good == pytest.approx(-direct / 2, rel=0.1)
    told = outcome(of_redundant, GOOD, ablation="mean")
    assert told.verdict == "opposite"
    assert told.about["part"] in (redundant.matching_head, redundant.second_head)
    anti = number(redundant_rows, redundant.anti_head, "direct")
    assert anti == pytest.approx(-number(redundant_rows, redundant.second_head, "direct"), rel=0.05)
    # Replaced with both, it has nothing left to undo.
    three, both = (number(redundant_rows, name, "effect") for name in ("three", "both"))
    assert three == pytest.approx(both, rel=0.01)
    through = outcome(of_redundant, THROUGH, ablation="mean")
    assert (through.verdict, through.about["part"]) == ("shown", redundant.previous_token_head)


@pytest.fixture(scope="module")
def planted_rows(planted, untrained, planted_events):
    neurons = {"noise": ["L0N1", "L0N2", "L1N3"]}
    return measured(planted, planted_events, untrained.flat, planted.flat, neurons=neurons)


def test_in_the_first_circuit_heads_need_each_other(planted, planted_rows, tmp_path):
    report = seen(planted_rows, tmp_path)
    head, previous = planted.matching_head, planted.previous_token_head
    for name, part in ((MOST, (head, previous)), (THROUGH, (previous,))):
        told = outcome(report, name, ablation="mean")
        assert told.verdict == "shown"
        assert told.about["part"] in part
    assert number(planted_rows, head, "direct") == pytest.approx(
        number(planted_rows, head, "effect"), rel=0.1
    )
    over = outcome(report, OVER, ablation="mean")
    assert (over.verdict, over.about["part"]) == ("opposite", f"{previous} + {head}")
    # What a noisy neuron does is next to nothing, and no more than what others do.
    assert outcome(report, "sets", part="noise", ablation="mean").verdict == "open"
    assert "understates" not in report["answer"]


def test_untrained_models_show_nothing(planted, planted_events, redundant_rows, tmp_path):
    twins = [untrained_twin(planted, seed).flat for seed in (1, 0)]
    sets = {"neurons": {"some": ["L0N1", "L1N2"]}, "groups": {"both": ["L1H2", "some"]}}
    rows = measured(planted, planted_events, *twins, **sets)
    report = seen(rows, tmp_path)
    told = [one for one in report["findings"] if one["name"] != "miss of the sum"]
    assert len(told) > 5
    assert [one for one in told if one["verdict"] != "open"] == []
    rows = pd.concat([rows, redundant_rows[redundant_rows["step"] == 0]])
    assert report["marks"] == []
    beyond = rows[rows["against"] == BEYOND]
    assert not ((beyond["low"] > 0) | (beyond["high"] < 0)).any()


def test_a_set_must_cost_more_than_random_sets_do(redundant_rows, tmp_path):
    where = {"part": "both", "measure": "effect", "against": over(RANDOM)}
    more = changed(redundant_rows, where, mean=5.0, low=0.5, high=9.5)
    told = outcome(seen(more, tmp_path), "sets", part="both", ablation="mean")
    assert told.verdict == "shown"
    assert RANDOM in told.control
    less = changed(redundant_rows, where, mean=5.0, low=-0.5, high=9.5)
    assert outcome(seen(less, tmp_path), "sets", part="both", ablation="mean").verdict == "open"


def test_a_sum_that_misses_the_answer_is_marked(redundant_rows, tmp_path):
    missed = changed(redundant_rows, {"measure": "residual", "step": 1}, mean=1e-3)
    [mark] = seen(missed, tmp_path)["marks"]
    assert mark.startswith("Direct paths, embeddings and biases miss the answer")

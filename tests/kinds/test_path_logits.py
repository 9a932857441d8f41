"""What the path decomposition says, of a 'run' that ends in the planted circuit and of others."""

import pytest
import torch
from planted import untrained_twin
from viewing import changed, outcome, viewed

from circuit.measures.paths.logits import path_logits
from circuit.measuring import Table

LAST = {"measure": "direct_path", "target": "value_margin", "step": 1}


@pytest.fixture(scope="module")
def decomposed(planted, planted_events):
    """A function from two states, as checkpoints 0 and 1 of a run, to the kind's rows."""
    events = planted_events.select(torch.arange(0, 171, 4)).crop()

    def rows(*states, deeper=(0, 1)):
        ids = planted.vocabulary.value_ids
        theta = states.__getitem__
        return path_logits(planted.decoder, theta, range(2), events, ids, deeper, 3, "mean")

    return rows


@pytest.fixture(scope="module")
def formed(decomposed, untrained, planted):
    return decomposed(untrained.flat, planted.flat)


def seen(rows, folder):
    return viewed("path_logits", {"rows": Table(rows, "one measure")}, folder, {"top": 3})


@pytest.fixture(scope="module")
def report(formed, tmp_path_factory):
    return seen(formed, tmp_path_factory.mktemp("formed"))


def test_the_planted_path_is_shown_on_events_that_did_not_choose_it(formed, planted, report):
    head = planted.matching_head
    assert outcome(report, "margin of the right value", target="value_margin").verdict == "shown"
    direct = outcome(report, "largest direct path")
    assert (direct.verdict, direct.about["path"], direct.control) == ("shown", head, "step 0")
    assert direct.compared == formed.loc[formed["measure"] == "direct_path", "path"].nunique() - 1
    through = outcome(report, "largest path through one module more")
    assert through.about["path"] == f"token_embedding → {head}"
    assert outcome(report, "largest chain").about["path"] == "embedding → attention"
    told = {number["name"]: number for number in report["numbers"]}
    number = told[f"direct path of {head} to the value margin, at step 1"]
    at = formed.query("measure == 'direct_path' and target == 'value_margin' and step == 1")
    chosen = at[(at["path"] == head) & (at["half"] == "confirmation")].iloc[0]
    assert (number["value"], number["count"]) == (chosen["mean"], chosen["count"])


def test_ablation_beyond_the_direct_part_is_that_of_a_head_read_by_another(planted, report):
    found = outcome(report, "ablation effect beyond direct attribution")
    assert (found.verdict, found.control) == ("shown", "direct attribution")
    assert found.about["path"] == planted.previous_token_head


def test_without_an_answer_there_is_none_for_paths_to_carry(
    decomposed, planted, untrained, tmp_path
):
    report = seen(decomposed(untrained.flat, untrained_twin(planted, 1).flat), tmp_path)
    assert outcome(report, "margin of the right value", target="value_margin").verdict != "shown"
    assert "no answer for paths" in report["answer"]


def test_a_path_that_lowers_the_margin_is_told_as_such(formed, planted, tmp_path):
    head = {"path": planted.matching_head, **LAST}
    found = outcome(
        seen(changed(formed, head, mean=-9.0, low=-10.0, high=-8.0), tmp_path),
        "largest direct path",
    )
    assert (found.verdict, found.about["path"]) == ("opposite", planted.matching_head)


def test_a_component_that_matters_without_a_direct_path_is_marked(formed, tmp_path):
    bottom = {"measure": "ablation_effect", "chosen": "bottom", "target": "value_margin", "step": 1}
    none = changed(formed, {**bottom, "against": "excess"}, mean=0.0, low=-0.1, high=0.1)
    assert not seen(none, tmp_path)["marks"]
    some = changed(formed, {**bottom, "against": "excess"}, mean=4.0, low=3.0, high=5.0)
    [mark] = seen(some, tmp_path)["marks"]
    chosen = formed[(formed["chosen"] == "bottom") & (formed["step"] == 1)]
    assert mark.startswith(chosen["path"].iloc[0])


def test_paths_that_do_not_sum_to_the_whole_are_marked(formed, tmp_path):
    missed = changed(formed, {"measure": "residual", "path": "chains", "step": 1}, mean=0.5)
    assert any("chains" in mark for mark in seen(missed, tmp_path)["marks"])


def test_with_one_deeper_checkpoint_the_control_is_said_to_be_missing(
    decomposed, planted, untrained, tmp_path
):
    report = seen(decomposed(untrained.flat, planted.flat, deeper=(1,)), tmp_path)
    assert "only checkpoint" in outcome(report, "largest chain").control

"""What the path decomposition says, on real tables of a 'run' that ends in the planted circuit."""

import pytest
import torch
from account_checks import numbers_of, written
from planted import untrained_twin

from circuit.measures.paths.logits import path_logits
from circuit.model.counting import CountingDecoder
from circuit.model.passes import Passes
from circuit.reports.accounts_paths import paths
from circuit.reports.quantities import format_number

STEPS = (0, 1200)
PASSES = Passes(whole=2, programs=4, program_layers=8)


def told(circuit, states, events, steps=(1200,)):
    states = dict(zip(STEPS, states, strict=True))
    decoder, ids = CountingDecoder(circuit.decoder), circuit.vocabulary.value_ids
    tables = path_logits(decoder, states.__getitem__, STEPS, events, ids, steps, 3, "mean")
    return tables, paths(*tables, "mean", decoder.passes, 2)


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(torch.arange(0, 171, 4)).crop()


@pytest.fixture(scope="module")
def formed(planted, untrained, events):
    return told(planted, [untrained.flat, planted.flat], events)


def row(frame, path, half="confirmation", step=1200):
    chosen = (frame["step"] == step) & (frame["target"] == "value_margin")
    chosen &= (frame["half"] == half) & (frame["path"] == path)
    return frame[chosen].iloc[0]


def test_the_answer_names_the_planted_path_and_its_share_of_the_margin(formed, tmp_path):
    tables, found = formed
    written(found, "path_logits", tmp_path)
    whole, head = (
        format_number(at["mean"], "logit", at["low"], at["high"])
        for at in (row(tables.rows, "whole", "all"), row(tables.rows, "L1H2"))
    )
    assert found.answer.startswith(
        f"At step 1,200 the right value leads the best other one by {whole}, and"
    )
    assert f"that of L1H2: {head}, against" in found.answer
    assert "the largest path is token_embedding → L1H2 → logit" in found.answer
    assert "the largest is embedding → attention" in found.answer
    assert "have an ablation effect (mean in place of the write) of the same sign" in found.answer


def test_numbers_are_of_the_half_that_did_not_choose(formed, events):
    tables, found = formed
    numbers = numbers_of(found)
    number = numbers["direct path of L1H2 to the value margin, at step 1,200"]
    assert number.value == row(tables.rows, "L1H2")["mean"]
    assert number.count == len(events) // 2
    assert number.note == "events that did not choose the path"
    whole = numbers["value margin (right value over the best other value), at step 1,200"]
    assert whole.value == row(tables.rows, "whole", "all")["mean"]
    assert whole.count == len(events)
    residual = numbers["largest |sum of paths − value| of any event, step and identity"]
    assert 0 <= residual.value == tables.identities["residual"].max() < 1e-10
    assert numbers["forward passes"].value > 2


def test_the_untrained_state_is_told_beside_the_largest_path(formed):
    tables, found = formed
    before = row(tables.rows, "L1H2", step=0)
    number = numbers_of(found)["direct path of L1H2 to the value margin, at step 0"]
    assert number.value == before["mean"]
    assert abs(number.value) < 0.05 * row(tables.rows, "L1H2")["mean"]


def test_a_component_that_matters_without_a_direct_path_is_marked(formed):
    tables, _ = formed
    changed = tables.ablations.copy()
    at = (changed["chosen"] == "bottom") & (changed["target"] == "value_margin")
    effect = at & (changed["measure"] == "effect")
    changed.loc[effect, ["mean", "low", "high"]] = (4.0, 3.0, 5.0)
    bottom = changed[effect]["component"].iloc[0]
    given = tables._replace(ablations=changed)
    marks = paths(*given, "mean", PASSES, 2).marks
    assert len(marks) == 1
    assert marks[0].startswith(f"{bottom} writes least towards the answer by itself, ")
    assert "its ablation changes the margin by +4.0 logit" in marks[0]
    changed.loc[effect, ["mean", "low", "high"]] = (0.1, -0.1, 0.3)
    assert paths(*given, "mean", PASSES, 2).marks == []


def test_a_run_that_learned_nothing_is_told_so(planted, untrained, events, tmp_path):
    _, found = told(planted, [untrained.flat, untrained_twin(planted, 1).flat], events)
    written(found, "path_logits", tmp_path)
    assert found.answer.startswith(
        "At step 1,200 the right value does not lead the best other one (margin −"
    )
    assert "so there is no answer for paths to carry" in found.answer


def test_shown_tables_are_small(formed):
    assert all(len(table.frame) <= 40 for table in formed[1].tables)

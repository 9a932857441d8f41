"""What the trace of one program says: the story, the account and the page, on a real trace."""

import re
from pathlib import Path

import pytest
from account_checks import numbers_of, written

from circuit.kinds.prompt_trace.settings import Settings
from circuit.measures.paths.trace import prompt_trace
from circuit.model.passes import Passes
from circuit.reports import figures_trace
from circuit.reports.accounts_trace import trace
from circuit.reports.trace_page import write_trace_page
from circuit.reports.trace_story import PARTS, ROW_UNITS, story, verdict

PASSES = Passes(whole=2, programs=2, program_layers=4)


def followed(circuit, events, step=1200):
    found = prompt_trace(circuit.decoder, circuit.flat, events, 7, circuit.vocabulary, 4)
    facts = {**found.facts, "step": step}
    return facts, found, story(facts, *found[1:], 4)


@pytest.fixture(scope="module")
def lookup(planted, planted_events):
    return followed(planted, planted_events)


@pytest.fixture(scope="module")
def nothing(untrained, planted_events):
    return followed(untrained, planted_events, 0)


def account_of(facts, control, found, rows):
    return trace(
        facts, control, rows, found.attention, found.writes, found.paths, found.matching, PASSES, 2
    )


def sentence(rows, part, component, what):
    chosen = (rows["part"] == part) & (rows["component"] == component) & (rows["what"] == what)
    return rows[chosen]["text"].item()


def test_the_story_tells_the_planted_mechanism_in_the_models_order(lookup):
    facts, _, rows = lookup
    assert list(dict.fromkeys(rows["part"])) == list(PARTS)
    assert list(rows["order"]) == list(range(len(rows)))
    answer, key = facts["answer"], facts["key"]
    assert f"The latest write to {key} put {answer} at position" in rows["text"].iloc[0]
    one_back = sentence(rows, "support_value", "L0H1", "attention")
    assert one_back.startswith(f"L0H1 looks at {key} 1 token back, the support write's key (")
    finds = sentence(rows, "prediction", "L1H2", "attention")
    back = facts["positions"]["prediction"] - facts["positions"]["support_value"]
    assert finds.startswith(f"L1H2 looks at {answer} {back} tokens back, the support value (")
    why = sentence(rows, "prediction", "L1H2", "match")
    assert re.search(r"that is \+[\d.]+ from L0H1, ", why)
    told = list(rows["text"])
    assert told.index(why) == told.index(finds) - 1
    assert told[-1].startswith(f"The model answers {answer} with probability ")


def test_every_sentence_is_whole_and_rests_on_a_number(lookup, nothing):
    for _, _, rows in (lookup, nothing):
        assert set(rows.select_dtypes("number")) == set(ROW_UNITS)
        assert not rows.isna().any(axis=None)
        for text in rows["text"]:
            assert text.endswith(".")
            assert not re.search(r"\bnan\b|None|  |[-]\d", text), text


def test_the_account_tells_the_answer_what_it_came_from_and_the_untrained_model(
    lookup, nothing, tmp_path
):
    facts, found, rows = lookup
    account = account_of(facts, nothing[0], found, rows)
    written(account, "prompt_trace", tmp_path)
    assert verdict(facts) in account.answer
    assert "which is right (at step 0 the right answer had " in account.answer
    assert "Of the heads L1H2 adds most to the margin" in account.answer
    numbers = numbers_of(account)
    after = numbers["probability of the right answer, at step 1,200"].value
    assert after > 0.5 > numbers["probability of the right answer, at step 0"].value
    assert numbers["attention of L1H2 on the support value"].value > 0.95
    assert all(n.low is None for n in account.numbers)


def test_the_first_checkpoint_has_no_control_and_a_wrong_answer_is_called_wrong(nothing, tmp_path):
    facts, found, rows = nothing
    account = account_of(facts, None, found, rows)
    written(account, "prompt_trace", tmp_path)
    assert f"which is wrong: the right answer {facts['answer']} gets" in account.answer
    assert "(at step" not in account.answer


@pytest.fixture
def page(lookup, tmp_path):
    facts, found, rows = lookup
    figures_trace.story(facts, found.attention, found.paths, tmp_path / "story.svg")
    units = {"order": "id", "modules": "1", "correct_logit": "logit", "value_margin": "logit"}
    write_trace_page(
        tmp_path / "trace.html", "Study s · run r", facts, rows, found.attention,
        {"paths": (found.paths, units)}, tmp_path / "story.svg",
    )  # fmt: skip
    return Path(tmp_path / "trace.html").read_text()


def test_the_page_is_self_contained_and_has_no_scripts(page):
    assert page.startswith("<!DOCTYPE html>")
    assert "<script" not in page
    assert not re.search(r"""(?:src|href)=["'](?!#|data:image/png;base64,)""", page)
    assert not re.search(r"url\((?!#)", page)


def test_the_page_has_the_program_every_sentence_and_the_figure(page, lookup):
    facts, _, rows = lookup
    for text in rows["text"]:
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert escaped.replace("'", "&#39;") in page
    at = facts["positions"]["support_value"]
    assert f'title="position {at}: support value" class="marked">{facts["answer"]}<' in page
    assert page.count('class="marked"') == 1
    assert "<svg" in page
    assert "value margin (logit)" in page


def test_every_file_of_the_kind_has_its_table():
    assert set(Settings.tables) == {
        "rows", "attention", "writes", "neurons", "lens", "paths", "matching",
    }  # fmt: skip

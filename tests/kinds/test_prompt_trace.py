"""What the trace of one program says: the answer, the story and the page, on real traces."""

import re
from pathlib import Path

import pytest
from viewing import outcome, viewed

from circuit.kinds.prompt_trace.settings import Settings
from circuit.measures.paths.trace import UNITS, prompt_trace, trace_rows
from circuit.measuring import Table
from circuit.reports.bespoke.trace_story import story

EVENT, STEP = 7, 1200


@pytest.fixture(scope="module")
def lookup(planted, planted_events):
    return prompt_trace(planted.decoder, planted.flat, planted_events, EVENT, planted.vocabulary, 4)


@pytest.fixture(scope="module")
def nothing(untrained, planted_events):
    words = untrained.vocabulary
    return prompt_trace(untrained.decoder, untrained.flat, planted_events, EVENT, words, 4)


def seen(found, step, before, folder, **to):
    """The report of a trace beside that of the run's first checkpoint."""
    facts = {**found.facts, "step": step, "study": "s", "run": "r"}
    tables = {name: Table(getattr(found, name), "one", units) for name, units in UNITS.items()}
    rows = trace_rows([(0, before), (step, found)] if step else [(0, found)])
    return viewed("prompt_trace", {**tables, "rows": Table(rows, "one")}, folder, facts=facts, **to)


def test_the_answer_and_what_it_came_from_are_told_beside_the_untrained_model(
    lookup, nothing, tmp_path
):
    report = seen(lookup, STEP, nothing, tmp_path)
    assert outcome(report, "answer").verdict == "shown"
    looker = outcome(report, "attention of the head that adds most")
    assert (looker.verdict, looker.about["component"]) == ("shown", "L1H2")
    probability = outcome(report, "probability of the right answer")
    assert (probability.verdict, probability.control) == ("shown", "step 0")
    path = outcome(report, "largest path")
    assert (path.verdict, path.about["path"]) == ("shown", lookup.paths["path"].iloc[0])
    assert lookup.facts["answer"] in report["answer"]
    assert [figure["file"] for figure in report["figures"]] == ["story.svg"]
    assert all(number["low"] is None for number in report["numbers"])
    assert not report["marks"]


def test_the_first_checkpoint_has_no_control_and_a_wrong_answer_is_called_wrong(nothing, tmp_path):
    report = seen(nothing, 0, nothing, tmp_path)
    assert outcome(report, "answer").verdict == "opposite"
    assert f"wrong: right is {nothing.facts['answer']}" in report["answer"]
    assert outcome(report, "probability of the right answer").verdict == "open"


def told(found, step=STEP):
    facts = {**found.facts, "step": step}
    return list(story(facts, {name: getattr(found, name) for name in UNITS}, 4))


def test_the_story_tells_the_planted_mechanism_in_the_models_order(lookup):
    facts, steps = lookup.facts, told(lookup)
    parts = ["program", "support_value", "prediction", "paths", "answer"]
    assert list(dict.fromkeys(step.part for step in steps)) == parts
    answer, key, texts = facts["answer"], facts["key"], [step.text for step in steps]
    assert f"The latest write to {key} put {answer} at position" in texts[0]
    said = {(step.part, step.label): step.text for step in steps}
    one_back = said["support_value", "L0H1"]
    assert one_back.startswith(f"L0H1 looks at {key} 1 token back, the support write's key (")
    finds = said["prediction", "L1H2"]
    back = facts["positions"]["prediction"] - facts["positions"]["support_value"]
    assert finds.startswith(f"L1H2 looks at {answer} {back} tokens back, the support value (")
    why = said["prediction", "why there"]
    assert re.search(r"that is \+[\d.]+ from L0H1, ", why)
    assert texts.index(why) == texts.index(finds) - 1
    assert texts[-1].startswith(f"The model answers {answer} with probability ")


def test_every_sentence_is_whole(lookup, nothing):
    for found in (lookup, nothing):
        for text in [step.text for step in told(found)]:
            assert text.endswith(".")
            assert not re.search(r"\bnan\b|None|  |[-]\d", text), text


def test_the_page_is_self_contained_and_has_the_program_every_sentence_and_the_figure(
    lookup, nothing, tmp_path
):
    seen(lookup, STEP, nothing, tmp_path, draw=True)
    page = Path(tmp_path / "trace.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "<script" not in page
    assert not re.search(r"""(?:src|href)=["'](?!#|data:image/png;base64,)""", page)
    assert not re.search(r"url\((?!#)", page)
    for text in [step.text for step in told(lookup)]:
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert escaped.replace("'", "&#39;") in page
    at, answer = lookup.facts["positions"]["support_value"], lookup.facts["answer"]
    assert f'title="position {at}: support value" class="marked">{answer}<' in page
    assert page.count('class="marked"') == 1
    assert "value margin (logit)" in page


def test_every_file_of_the_kind_has_its_table():
    assert set(Settings.tables) == {"rows", *UNITS}

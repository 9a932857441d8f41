"""What the attention geometry says, of a 'run' that ends in the planted circuit and of others."""

import pytest
from viewing import changed, outcome, viewed

from circuit.kinds.attention_geometry.measure import tables
from circuit.measures.heads.attention import attention_geometry
from circuit.measures.heads.chain import LINKS
from circuit.measuring import Table
from circuit.reports.bespoke.attention import patterns

STEPS = (0, 1200)
CHAIN = {"L1H2": "winner", "L1H0": "runner_up", "L0H3": "bottom"}
LAST = {"step": 1200, "head": "L1H2", "quantity": "level"}


@pytest.fixture(scope="module")
def traced(planted, untrained, planted_events):
    """A function from two states, as checkpoints of a run, to the kind's tables."""

    def found(*states):
        theta = dict(zip(STEPS, states, strict=True)).__getitem__
        events, words = planted_events.select(range(0, 171, 4)), planted.vocabulary
        seen = attention_geometry(
            planted.decoder, theta, STEPS, events, words, list(CHAIN), 2, 2, 3
        )
        return tables(seen, CHAIN)

    return found


@pytest.fixture(scope="module")
def formed(traced, untrained, planted):
    return traced(untrained.flat, planted.flat)


def seen(found, folder, **to):
    """The report, with other rows where they are given."""
    rows = Table(to["rows"], "one measure") if to else found["rows"]
    settings = {"heads": "scan", "directions": 2, "tokens": 3}
    return viewed("attention_geometry", {**found, "rows": rows}, folder, settings, {"head": "L1H2"})


def test_the_planted_head_is_shown_to_have_every_link(formed, planted, tmp_path):
    report = seen(formed, tmp_path)
    for link in ("score", "mass", "attended value margin", "direct logit"):
        assert outcome(report, link).verdict == "shown", link
    assert outcome(report, "mass").control == "even"
    assert outcome(report, "whole chain", chosen="winner").about["head"] == "L1H2"
    assert outcome(report, "whole chain", chosen="winner").verdict == "shown"
    for head in ("L1H0", "L0H3"):
        assert outcome(report, "whole chain", head=head).verdict != "shown"
    back = outcome(report, "earlier head that looks back from the support value to its key")
    assert (back.verdict, back.about["head"]) == ("shown", planted.previous_token_head)
    assert back.compared == planted.decoder.settings.n_heads
    assert "L1H2 finds the support value" in report["answer"]


def test_links_between_the_same_two_checkpoints_are_not_ordered(formed, tmp_path):
    """With two checkpoints all lie between the same two, whatever the intervals say."""
    report = seen(formed, tmp_path)
    first = outcome(report, "first link to get half-way")
    assert first.verdict == "shown"
    rest = [one["about"]["link"] for one in report["findings"]
            if one["name"] == "lag between the same checkpoints"]  # fmt: skip
    assert sorted([first.about["link"], *rest]) == sorted(LINKS)
    assert not [one for one in report["findings"] if one["name"] == "lag"]


def test_a_head_that_writes_no_answer_is_told_so(formed, tmp_path):
    rows = formed["rows"].frame
    where = {**LAST, "link": "direct logit"}
    open_ = seen(formed, tmp_path, rows=changed(rows, where, low=-1.0))
    assert outcome(open_, "direct logit").verdict == "open"
    assert outcome(open_, "whole chain", chosen="winner").verdict == "open"
    less = changed(rows, where, mean=-2.0, low=-3.0, high=-1.0)
    assert outcome(seen(formed, tmp_path, rows=less), "direct logit").verdict == "opposite"


def test_a_run_in_which_nothing_rose_has_no_first_link(traced, untrained, tmp_path):
    report = seen(traced(untrained.flat, untrained.flat), tmp_path)
    assert outcome(report, "first link to get half-way").verdict == "open"
    assert outcome(report, "score").verdict != "shown"
    assert "No link" in report["answer"]


def test_patterns_outline_each_support_value_and_say_which_checkpoints_are_drawn(formed, tmp_path):
    table = formed["patterns_table"].frame
    patterns(table, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert text.count("stroke: #d55e00") == table["event"].nunique() == 2
    many = table.assign(step=0)
    many = many.loc[many.index.repeat(30)].assign(step=[*range(30)] * len(many))
    patterns(many.drop_duplicates(["step", "event", "position"]), tmp_path / "b.svg")
    assert "20 of 30 checkpoints" in (tmp_path / "b.svg").read_text()

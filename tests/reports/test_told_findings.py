"""Findings: which row is told, beside which controls, with which verdict, in which words."""

import numpy as np
import pandas as pd
import pytest

from circuit.errors import AnalysisError
from circuit.estimates import EXCESS, Estimates, estimates
from circuit.reports.findings import Criteria, Finding, Sum, Test, When
from circuit.reports.saying import Context
from circuit.reports.telling import tell

EVENTS = 40
NOISE = np.random.default_rng(0).normal(size=EVENTS)
# A part that looks best on the events that choose (even) and is nothing on those that confirm.
LUCKY = NOISE[::-1] + np.where(np.arange(EVENTS) % 2, 0.0, 9.0)
PARTS = {"L0H0": ("", 0.2 + NOISE), "L1H2": ("winner", 5.0 + NOISE), "L1H1": ("bottom", NOISE / 9)}


def rows(parts=PARTS, excess=True):
    found = Estimates(100, {"effect": "logit"}, halves=True)
    for head, (chosen, values) in parts.items():
        found.add(values, "effect", head=head, chosen=chosen)
        found.add(NOISE[::-1], "effect", "random change", head=head, chosen=chosen)
    if excess:
        found.excess("random change")
    return found.frame()


def told(finding, table=None, settings=None, **tables):
    context = Context({"rows": rows() if table is None else table, **tables}, settings or {}, {})
    return tell([finding], context)


CONTROL = ({"against": "random change"},)
SAYS = {
    "shown": "{head} matters: {effect}, random change {control:short}.",
    "open": "{head} is not shown to matter: {effect}.",
    "opposite": "{head} is in the way: {effect}.",
}


def finding(**changed):
    given = {"name": "effect", "where": {"chosen": "winner"}, "control": CONTROL, "says": SAYS}
    return Finding(**{**given, **changed})


class TestEffects:
    def test_a_large_effect_is_shown_with_its_control_and_excess(self):
        [found] = told(finding())
        assert found.verdict == "shown"
        assert found.control == "random change"
        assert found.sentence.startswith("L1H2 matters: +")
        assert "95% interval" in found.sentence
        names = [number.name for number in found.numbers]
        assert names == ["effect", "effect, beyond the control", "effect, control: random change"]
        assert all(number.unit == "logit" and number.count == EVENTS for number in found.numbers)

    @pytest.mark.parametrize(
        ("head", "table", "verdict"),
        [
            ("L0H0", None, "open"),
            ("L0H0", rows({"L0H0": ("", NOISE - 5)}), "opposite"),
            ("L1H2", rows(excess=False), "shown"),
        ],
    )
    def test_the_verdict_chooses_the_words(self, head, table, verdict):
        [found] = told(finding(where={"head": head}), table)
        assert found.verdict == verdict
        assert found.sentence.startswith(SAYS[verdict].partition("{effect")[0].format(head=head))
        [found] = told(finding(where={"head": head}, says="That it matters {is_shown}."), table)
        came = {"shown": "shown", "open": "not shown", "opposite": "not shown, but the opposite"}
        assert found.sentence == f"That it matters is {came[verdict]}."

    def test_another_head_can_be_the_control(self):
        [found] = told(finding(control=({"chosen": "bottom"},)), rows(excess=False))
        assert found.control == "L1H1 bottom"
        assert found.verdict == "shown"

    @pytest.mark.parametrize(
        ("size", "verdict"), [(0.0, "shown"), (4.9, "open"), (9.0, "open"), (None, "shown")]
    )
    def test_of_several_controls_every_one_must_be_beaten(self, size, verdict):
        """By the paired difference from each that has one, else by its interval."""
        found = Estimates(100, {"effect": "logit"})
        found.add(5 + NOISE, "effect", head="L1H2")
        found.add(NOISE[::-1], "effect", "random change", head="L1H2")
        found.excess("random change", "excess over random change")
        if size is not None:
            found.add(size + NOISE[::-1], "effect", "another", head="L1H2")
        both = (*CONTROL, {"against": "another"})
        [one] = told(finding(where={"head": "L1H2"}, control=both, says=""), found.frame())
        assert one.verdict == verdict
        assert "effect, beyond random change" in [number.name for number in one.numbers]

    def test_a_bound_may_be_a_setting(self):
        table = rows(excess=False)
        asked = finding(bound="$least", control=(), uncontrolled="it is asked for", says="")
        assert told(asked, table, {"least": 1.0})[0].verdict == "shown"
        assert told(asked, table, {"least": 8.0})[0].verdict == "opposite"

    def test_what_is_told_of_each_is_told_of_every_one(self):
        found = told(finding(where={}, each=("head",), number="effect of {head}"))
        assert [one.about["head"] for one in found] == list(PARTS)
        assert [one.verdict for one in found] == ["open", "shown", "open"]

    def test_marks_follow_the_verdict(self):
        marked = finding(where={"head": "L0H0"}, marks={"open": "{head}: {effect:short}"})
        assert told(marked)[0].marks[0].startswith("L0H0: +")
        assert told(finding(marks={"open": "never"}))[0].marks == []

    def test_opposite_without_words_of_its_own_has_those_of_open(self):
        table = rows({"L0H0": ("", NOISE - 5)})
        words = {"open": "{head} is not shown to matter."}
        asked = {"where": {"head": "L0H0"}, "marks": words}
        [found] = told(finding(**asked, says=words), table)
        assert found.sentence == found.marks[0] == "L0H0 is not shown to matter."
        [found] = told(finding(**asked, says={**words, "opposite": ""}), table)
        assert found.sentence == ""

    def test_of_several_that_are_told_only_some_are_said(self):
        found = told(finding(where={}, each=("head",), spoken={"chosen": "winner"}, says="{head}"))
        assert [one.sentence for one in found] == ["", "L1H2", ""]
        assert [one.numbers[0].name for one in found] == [f"effect, {head}" for head in PARTS]

    def test_a_finding_that_no_row_is_about_says_nothing(self):
        assert told(finding(where={"head": "L9H9"})) == []


class TestPicking:
    def test_what_one_half_picks_the_other_half_tells(self):
        parts = {**PARTS, "L0H1": ("", LUCKY)}
        [found] = told(finding(where={}, pick=("head",)), rows(parts))
        assert found.about["head"] == "L0H1"
        assert found.verdict == "open"  # on events that did not pick it, nothing is left
        assert found.compared == 4
        assert "L1H2 instead of L0H1" in found.marks[0]

    def test_by_the_excess_where_there_is_one(self):
        table = rows({"L0H0": ("", 3 + NOISE), "L1H2": ("", 2 + NOISE)})
        more = (table["against"] == EXCESS) & (table["head"] == "L1H2")
        table.loc[more, "mean"] = 99.0
        [found] = told(finding(where={}, pick=("head",)), table)
        assert found.about["head"] == "L1H2"

    @pytest.mark.parametrize(("rank", "head"), [("largest", "b"), ("smallest", "a"), ("size", "a")])
    def test_rank(self, rank, head):
        frame = pd.DataFrame({"head": ["a", "b", "c"], "measure": "m", "mean": [-9.0, 5.0, 0.0]})
        table = estimates(frame, "1", step=0)
        asked = finding(
            where={}, pick=("head",), rank=rank, control=(), uncontrolled="exact", says=""
        )
        assert told(asked, table)[0].about["head"] == head

    def test_several_rows_and_no_word_on_which_is_refused(self):
        with pytest.raises(AnalysisError, match="is about 3 rows"):
            told(finding(where={}))


def test_a_finding_without_a_control_must_say_why():
    with pytest.raises(AnalysisError, match="has no control"):
        told(finding(control=()))


def test_a_field_that_there_is_not_is_named():
    with pytest.raises(AnalysisError, match="nothing is called 'nosuch'"):
        told(finding(says="{nosuch}"))


class TestSums:
    PARTS = pd.DataFrame(
        {
            "component": ["gradient", "momentum", "decay", "whole"],
            "measure": ["part"] * 3 + ["growth"],
            "mean": [7.0, -3.0, 1e-9, 4.0],
        }
    )

    def test_what_raised_and_what_lowered(self):
        asked = Sum(
            name="growth",
            where={"measure": "part"},
            parts="component",
            names={"gradient": "the gradient"},
            uncontrolled="an identity",
            says="{raised} raised it, {lowered} lowered it.",
        )
        [found] = told(asked, estimates(self.PARTS, "score", step=3))
        assert found.sentence == (
            "the gradient +7.00 score raised it, momentum −3.00 score lowered it."
        )
        assert [number.value for number in found.numbers] == [7.0, -3.0, 1e-9]


class TestEvents:
    def test_what_happened_is_shown_and_what_did_not_is_open(self):
        frame = pd.DataFrame(
            {"what": ["birth", "end"], "measure": "at", "mean": [300.0, np.nan], "step": 400}
        )
        asked = When(
            name="{what}",
            each=("what",),
            uncontrolled="a curve's own level",
            says={"shown": "{what} at step {effect:short}", "open": "no {what}"},
        )
        happened, never = told(asked, estimates(frame, "step"))
        assert (happened.verdict, never.verdict) == ("shown", "open")
        assert never.sentence == "no end"
        assert "300" in happened.sentence


class TestCriteria:
    TESTS = (
        Test("follows", {"measure": "correlation"}, above="$follows"),
        Test("is not chance", {"measure": "shuffled"}, below=0.2),
    )

    @pytest.mark.parametrize(
        ("correlation", "shuffled", "verdict", "failed"),
        [
            ((0.6, 0.9), (0.0, 0.1), "shown", ""),
            ((0.4, 0.9), (0.0, 0.1), "open", "follows"),
            ((0.6, 0.9), (0.3, 0.4), "opposite", "is not chance"),
        ],
    )
    def test_all_must_be_met(self, correlation, shuffled, verdict, failed):
        low, high = zip(correlation, shuffled, strict=True)
        frame = pd.DataFrame(
            {"scalar": "qk", "measure": ["correlation", "shuffled"], "low": low, "high": high}
        )
        frame = frame.assign(mean=(frame["low"] + frame["high"]) / 2, count=9)
        asked = Criteria(
            name="fitness",
            each=("scalar",),
            tests=self.TESTS,
            uncontrolled="bounds are settings",
            says={"open": "{scalar} fails: {failed}", "opposite": "{scalar} fails: {failed}"},
        )
        [found] = told(asked, estimates(frame, "1", step=0), {"follows": 0.5})
        assert found.verdict == verdict
        assert found.sentence == (f"qk fails: {failed}" if failed else "")

    def judged(self, sizes, **changed):
        """Criteria of scalars whose effects on the two halves are these."""
        frame = pd.DataFrame(
            [
                {
                    "scalar": name,
                    "half": half,
                    "measure": measure,
                    "low": at - 0.1,
                    "high": at + 0.1,
                }
                for name, (choosing, confirming, foreign) in sizes.items()
                for half, effect in (("selection", choosing), ("confirmation", confirming))
                for measure, at in (("effect", effect), ("foreign", foreign))
            ]
        )
        frame = frame.assign(mean=(frame["low"] + frame["high"]) / 2, count=9)
        both = pd.concat([frame, frame[frame["half"] == "selection"].assign(half="all")])
        asked = Criteria(
            name="fitness of {scalar}",
            pick=("scalar",),
            by={"measure": "foreign"},
            tests=(
                Test("acts", {"measure": "effect"}, above=0.5, failed="does nothing"),
                Test("is its own", {"measure": "foreign"}, within=0.5),
            ),
            beside={"size": {"measure": "effect"}},
            title="What is met",
            uncontrolled="bounds are settings",
            says={"shown": "{scalar} acts by {size:short}.", "open": "{scalar} {failed}."},
        )
        [found] = told(asked, estimates(both, "1", step=0))
        return found

    def test_of_those_that_meet_all_the_least_foreign_is_told_on_the_half_that_confirms(self):
        sizes = {"a": (2.0, 3.0, 0.3), "b": (1.0, 4.0, -0.2), "c": (0.0, 9.0, -0.3)}
        found = self.judged({**sizes, "b": (1.0, 4.0, 0.2)})
        assert found.verdict == "shown"
        assert found.sentence == "b acts by 4.00."
        assert [number.name for number in found.numbers] == ["fitness of b, size"]
        assert found.lines[2] == {"scalar": "c", "acts": "met", "is its own": "met"}

    def test_where_none_meets_all_the_nearest_is_told_on_the_half_that_chose(self):
        found = self.judged({"a": (0.5, 3.0, 0.9), "b": (0.5, 3.0, 0.1)})
        assert found.verdict == "open"
        assert found.sentence == "b does nothing."
        assert found.lines[0] == {"scalar": "a", "acts": "met", "is its own": "refuted"}

"""Which scalar of a write is fit to be attributed: what the criteria come to."""

from typing import Any

from circuit.reports.findings import Criteria, Finding, Test, When
from circuit.reports.sections import UPDATES
from circuit.reports.views import Curves, Dots, Listing, Not, Stack

SECTION = UPDATES
QUESTION = "Which scalar of what {facts[winner]} writes is fit to be attributed?"
_OTHERS = "values of other events"
_TESTS = (
    Test("born", {"measure": "half_way"}, above=0, failed="is not born"),
    Test(
        "follows every outcome",
        {"measure": "weakest_correlation", "over": "checkpoints"},
        above="$follows",
        failed="is not shown to follow every outcome",
    ),
    Test(
        "specific",
        {"measure": "growth_share", "part": "shuffled"},
        within="$shuffled",
        failed="may change with other events' values too",
    ),
    Test("smooth", {"measure": "switches"}, below=1e-6, failed="has a rival that changes"),
    Test(
        "sees attention",
        {"measure": "moved_by_attention"},
        above=1e-9,
        failed="does not see where the head looks",
    ),
    Test(
        "sees size",
        {"measure": "sees_size"},
        above=0.5,
        failed="does not see how much the head writes",
    ),
    Test(
        "at the support value",
        {"measure": "growth_share", "part": "elsewhere"},
        within="$elsewhere",
        failed="may change elsewhere than at the support value",
    ),
)
_BESIDE = {
    "growth": {"measure": "growth"},
    "growth_with_other_values": {"measure": "growth", "against": _OTHERS},
    "excess_growth": {"measure": "growth", "against": "excess"},
    "share_by_attention": {"measure": "growth_share", "part": "attention"},
    "share_by_values": {"measure": "growth_share", "part": "values"},
    "half_way_step": {"measure": "half_way"},
    "weakest_correlation_over_checkpoints": {
        "measure": "weakest_correlation",
        "over": "checkpoints",
    },
    "weakest_correlation_over_intervals": {"measure": "weakest_correlation", "over": "intervals"},
}
_NEAREST = (
    "No measure of what {head} writes is shown to be fit to be attributed: {scalar}, the nearest "
    "of {of}, {failed}."
)
_ALSO = (
    "By the same criteria {scalar} of the {chosen:words} {head} is fit too: it grew by {growth}."
)
_NONE = "By the same criteria nothing of the {chosen:words} {head} is shown to be fit."
_JUDGED: dict[str, Any] = {
    "name": "fitness of {scalar} of {head}",
    "each": ("chosen", "head"),
    "pick": ("scalar",),
    "by": {"measure": "foreign_share"},
    "tests": _TESTS,
}
_OTHER: dict[str, Any] = {
    **_JUDGED,
    "beside": {"growth": _BESIDE["growth"], "weakest_correlation": _TESTS[1].where},
    "uncontrolled": "they are the controls of the winner",
    "says": {"shown": _ALSO, "open": _NONE, "opposite": _NONE},
}
FINDINGS = (
    Criteria(
        **_JUDGED,
        where={"chosen": "winner"},
        beside=_BESIDE,
        title="Criteria of the winner's scalars on the events that confirm: the weakest "
        "correlation's interval above {follows:g}; shares of growth with other events' values "
        "within {shuffled:.0%} and elsewhere within {elsewhere:.0%}",
        uncontrolled="runner-up and bottom control are judged by the same criteria",
        says={
            "shown": "Of what {head} writes, {scalar} ({meaning}) is fit to be attributed: from "
            "step {first} to {last} it grew by {growth} on events that did not choose it, and by "
            "{growth_with_other_values} with the values of other events. Of its growth, "
            "{share_by_attention:short} came as the head looked more at the support value and "
            "{share_by_values:short} as what it reads there said more about the answer; it is "
            "half-way at step {half_way_step.mean:,.0f}. Over checkpoints its weakest correlation "
            "with an outcome is {weakest_correlation_over_checkpoints}; over changes between "
            "them, {weakest_correlation_over_intervals}: where changes do not agree, levels may "
            "agree only because all of them rise.",
            "open": _NEAREST,
            "opposite": _NEAREST,
        },
    ),
    Criteria(
        **{**_OTHER, "name": "fitness of {scalar} of the runner-up {head}"},
        where={"chosen": "runner_up"},
        title="The same criteria of the runner-up's scalars",
    ),
    Criteria(
        **{**_OTHER, "name": "fitness of {scalar} of the bottom control {head}"},
        where={"chosen": "bottom"},
        title="The same criteria of the bottom control's scalars",
        marks={"shown": "The bottom control {head} passes too: {scalar}."},
    ),
    Finding(
        name="growth of a scalar",
        where={"measure": "growth", "chosen": "winner", "half": "confirmation"},
        each=("scalar",),
        control=({"against": _OTHERS},),
        number="growth of {scalar} of {head}",
        quiet=True,
    ),
    When(
        name="step at which {scalar} of {head} is half-way",
        where={"measure": "half_way", "chosen": "winner"},
        each=("scalar",),
        uncontrolled="a step on a curve whose growth has its control",
        quiet=True,
    ),
    When(
        name="step at which {scalar} is half-way",
        where={"measure": "half_way", "head": "model"},
        each=("scalar",),
        uncontrolled="an outcome, with which scalars are compared",
        quiet=True,
    ),
)
_LEVEL = {"measure": "level", "attention": "real"}
_BOTH = {"chosen": ("winner", "bottom")}
VIEWS = (
    Curves(
        name="progress",
        title="What every head writes, by six scalars",
        caption="Every scalar of every head's write over training. Grey: heads that were not "
        "chosen. The winner is half-way where its line is.",
        where={**_LEVEL, "head": Not("model")},
        panels=("scalar",),
        series="head",
        marks={"measure": "half_way", "chosen": "winner"},
    ),
    Curves(
        name="outcomes",
        title="What the model achieves",
        caption="The model's outcomes over training, and where they are half-way.",
        where={**_LEVEL, "head": "model"},
        panels=("scalar",),
        marks={"measure": "half_way", "head": "model"},
    ),
    Curves(
        name="progress_conditions",
        title="What {facts[winner]} writes, with attention and values as they are or not",
        caption="What {facts[winner]} writes with attention as it is or forced onto the support "
        "value. Shaded: with the values of other events, which should stay at 0.",
        where={"measure": "level", "attention": ("real", "forced"), "chosen": "winner"},
        panels=("scalar",),
        series="attention",
        control=(_OTHERS,),
    ),
    Stack(
        name="growth",
        title="What the growth of scalars is made of",
        caption="Parts of growth: more attention on the support value, values that say more "
        "there, what is read elsewhere, and what values of other events give too (shuffled).",
        where={"measure": "growth_part", **_BOTH},
        parts="part",
        y=("scalar",),
        panels=("head",),
        total={"measure": "growth", "part": ""},
    ),
    Dots(
        name="correlations",
        title="How scalars go with what the model achieves, over checkpoints",
        caption="Correlation of every scalar with every outcome over checkpoints, of the winner "
        "and of the bottom control. What is fit follows every outcome beyond {follows:g}. All "
        "rising curves correlate: the control's is the level to compare with.",
        where={"measure": "correlation", "over": "checkpoints", **_BOTH},
        y=("scalar",),
        series="outcome",
        panels=("head",),
    ),
)
TABLES = (
    Listing(
        title="Growth on events that did not choose, beside that with other events' values",
        where={"measure": "growth", "half": "confirmation"},
        keys=("head", "chosen", "scalar"),
        control=(_OTHERS, "excess"),
    ),
    Listing(
        title="Parts of growth from the first to the last checkpoint, on all events",
        where={"measure": "growth_part", "chosen": Not("")},
        keys=("head", "chosen", "scalar"),
        across="part",
    ),
    Listing(
        title="What else criteria look at, on events that did not choose",
        where={
            "measure": ("foreign_share", "switches", "moved_by_attention", "sees_size"),
            "half": "confirmation",
        },
        keys=("head", "scalar"),
        across="measure",
    ),
    Listing(
        title="How each is configured",
        where={"measure": "foreign_share"},
        keys=("head", "scalar", "meaning", "configuration"),
    ),
    Listing(
        title="Correlations of what {facts[winner]} writes with outcomes, on all events",
        where={"measure": "correlation", "chosen": "winner"},
        keys=("scalar", "over", "outcome"),
    ),
    Listing(
        title="Births: first checkpoint from which a curve stays half-way",
        where={"measure": "half_way", "chosen": Not("")},
        keys=("head", "scalar", "note"),
    ),
)

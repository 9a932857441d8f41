"""Which scalar of a write is fit to be attributed: what the criteria come to."""

from typing import Any

from circuit.reports.findings import Criteria, Finding, Test, When
from circuit.reports.sections import UPDATES
from circuit.reports.views import Curves, Dots, Listing, Not, Stack

SECTION = UPDATES
QUESTION = "Which scalar of what {facts[winner]} writes is fit to be attributed?"
_OTHERS = "values of other events"
_WEAKEST = {"measure": "weakest_correlation", "over": "checkpoints"}
_SHARE = {"measure": "growth_share"}
_JUDGED: dict[str, Any] = {
    "each": ("chosen", "head"),
    "pick": ("scalar",),
    "by": {"measure": "foreign_share"},
    "tests": (
        Test("born", {"measure": "half_way"}, above=0, failed="is not born"),
        Test(
            "follows every outcome",
            _WEAKEST,
            above="$follows",
            failed="is not shown to follow every outcome",
        ),
        Test(
            "specific",
            {**_SHARE, "part": "shuffled"},
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
            {**_SHARE, "part": "elsewhere"},
            within="$elsewhere",
            failed="may change elsewhere than at the support value",
        ),
    ),
}
FINDINGS = (
    Criteria(
        "fitness of {scalar} of {head}",
        {"chosen": "winner"},
        **_JUDGED,
        beside={
            "growth": {"measure": "growth"},
            "growth_with_other_values": {"measure": "growth", "against": _OTHERS},
            "excess_growth": {"measure": "growth", "against": "excess"},
            "share_by_attention": {**_SHARE, "part": "attention"},
            "share_by_values": {**_SHARE, "part": "values"},
            "half_way_step": {"measure": "half_way"},
            "weakest_correlation_over_checkpoints": _WEAKEST,
            "weakest_correlation_over_intervals": {**_WEAKEST, "over": "intervals"},
        },
        title="Criteria of the winner's scalars on the events that confirm: the weakest "
        "correlation's interval above {follows:g}; shares of growth with other events' values "
        "within {shuffled:.0%} and elsewhere within {elsewhere:.0%}",
        uncontrolled="runner-up and bottom control are judged by the same criteria",
        says={
            "shown": "Of what {head} writes, {scalar} ({meaning}) is fit to be attributed: from "
            "step {first} to {last} it grew by {growth} on events that did not choose it, and by "
            "{growth_with_other_values} with the values of other events. Of its growth, "
            "{share_by_attention:short} came as the head looked more at the support value and "
            "{share_by_values:short} as what it reads there said more about the answer. Over "
            "checkpoints its weakest correlation with an outcome is "
            "{weakest_correlation_over_checkpoints}; over changes between them, "
            "{weakest_correlation_over_intervals}.",
            "open": "No measure of what {head} writes is shown to be fit to be attributed: "
            "{scalar}, the nearest of {of}, {failed}.",
        },
    ),
    *(
        Criteria(
            f"fitness of {{scalar}} of the {called} {{head}}",
            {"chosen": role},
            **_JUDGED,
            beside={"growth": {"measure": "growth"}, "weakest_correlation": _WEAKEST},
            title=f"The same criteria of the {called}'s scalars",
            uncontrolled="they are the controls of the winner",
            says={
                "shown": f"By the same criteria {{scalar}} of the {called} {{head}} is fit too: it "
                "grew by {growth}.",
                "open": f"By the same criteria nothing of the {called} {{head}} is shown to be "
                "fit.",
            },
            marks={"shown": mark},
        )
        for role, called, mark in (
            ("runner_up", "runner-up", ""),
            ("bottom", "bottom control", "The bottom control {head} passes too: {scalar}."),
        )
    ),
    Finding(
        "growth of a scalar",
        {"measure": "growth", "chosen": "winner", "half": "confirmation"},
        each=("scalar",),
        control=({"against": _OTHERS},),
        number="growth of {scalar} of {head}",
    ),
    When(
        "step at which {scalar} of {head} is half-way",
        {"measure": "half_way", "chosen": "winner"},
        each=("scalar",),
        uncontrolled="a step on a curve whose growth has its control",
    ),
)
_LEVEL = {"measure": "level", "attention": "real"}
_BOTH = {"chosen": ("winner", "bottom")}
VIEWS = (
    Curves(
        "progress",
        "What every head writes, by six scalars",
        caption="Every scalar of every head's write over training; grey: heads that were not "
        "chosen; lines: where the winner's is half-way.",
        where={**_LEVEL, "head": Not("model")},
        panels=("scalar",),
        series="head",
        marks={"measure": "half_way", "chosen": "winner"},
    ),
    Curves(
        "outcomes",
        "What the model achieves",
        caption="The model's outcomes over training, and where they are half-way.",
        where={**_LEVEL, "head": "model"},
        panels=("scalar",),
        marks={"measure": "half_way", "head": "model"},
    ),
    Curves(
        "progress_conditions",
        "What {facts[winner]} writes, with attention and values as they are or not",
        caption="Attention as it is or forced onto the support value; shaded: with the values of "
        "other events, which should stay at 0.",
        where={"measure": "level", "attention": ("real", "forced"), "chosen": "winner"},
        panels=("scalar",),
        series="attention",
        control=(_OTHERS,),
    ),
    Stack(
        "growth",
        "What the growth of scalars is made of",
        caption="Parts of growth: more attention on the support value, values that say more "
        "there, what is read elsewhere, and what values of other events give too (shuffled).",
        where={"measure": "growth_part", **_BOTH},
        parts="part",
        y=("scalar",),
        panels=("head",),
        total={"measure": "growth", "part": ""},
    ),
    Dots(
        "correlations",
        "How scalars go with what the model achieves, over checkpoints",
        caption="What is fit follows every outcome beyond {follows:g}; all rising curves "
        "correlate, so the bottom control's is the level to compare with.",
        where={"measure": "correlation", "over": "checkpoints", **_BOTH},
        y=("scalar",),
        series="outcome",
        panels=("head",),
    ),
)
TABLES = (
    Listing(
        "Growth on events that did not choose, beside that with other events' values",
        {"measure": "growth", "half": "confirmation"},
        keys=("head", "chosen", "scalar"),
        control=(_OTHERS, "excess"),
    ),
    Listing(
        "Parts of growth from the first to the last checkpoint, on all events",
        {"measure": "growth_part", "chosen": Not("")},
        keys=("head", "chosen", "scalar"),
        across="part",
    ),
    Listing(
        "What else criteria look at, on events that did not choose",
        {
            "measure": ("foreign_share", "switches", "moved_by_attention", "sees_size"),
            "half": "confirmation",
        },
        keys=("head", "scalar"),
        across="measure",
    ),
    Listing(
        "How each is configured",
        {"measure": "foreign_share"},
        keys=("head", "scalar", "meaning", "configuration"),
    ),
    Listing(
        "Correlations of what {facts[winner]} writes with outcomes, on all events",
        {"measure": "correlation", "chosen": "winner"},
        keys=("scalar", "over", "outcome"),
    ),
    Listing(
        "Births: first checkpoint from which a curve stays half-way",
        {"measure": "half_way"},
        keys=("head", "scalar", "note"),
    ),
)

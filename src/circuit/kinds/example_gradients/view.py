"""Which reads push the parameters alike, and which against each other."""

from typing import Any

from circuit.reports.findings import Finding
from circuit.reports.sections import TRAINING_DATA
from circuit.reports.views import Cells, Dots, Drawn, Listing, Not

SECTION = TRAINING_DATA
QUESTION = "Which reads push the parameters alike, and which against each other?"
_SHARED = {"measure": "cosine", "which": "difference"}
_SPLIT = {
    "measure": "cosine",
    "which": ("same", "different", "difference", "net"),
    "relation": Not("all"),
}
_SHUFFLED = ({"against": "shuffled labels"},)
_ALL = {"relation": "all", "which": "all"}
_ENDS = ("first", "last")
_MOST = (
    "At step {step:,} the same {relation:words} tells most of how two reads push the parameters: "
    "%s alike than without it (difference of mean cosines {effect:short}, 95%% interval "
    "{effect.interval}; with shuffled labels {control.interval})."
)
_KINDS = ("split", "correct", "route")
_PAIR = ("relation", "group", "other", "pairs")
_NOTHING = "0 is what gradients without anything in common give"


def _matrix(material: Any, path: str) -> None:
    from circuit.reports.bespoke.gradient_matrix import draw  # only where it is drawn

    draw(material, path)


FINDINGS = (
    Finding(
        "what sharing tells most",
        {**_SHARED, "relation": Not("route")},
        each=("step",),
        spoken={"step": "last"},
        pick=("relation",),
        rank="size",
        control=_SHUFFLED,
        number="mean cosine with the same {relation:words} − without, step {step:,}",
        says={
            "shown": _MOST % "more",
            "opposite": _MOST % "less",
            "open": "At step {step:,} nothing that two reads share is shown to tell how alike they "
            "push: the largest difference of mean cosines, of the same {relation:words}, is "
            "{effect:short} (95% interval {effect.interval}; with shuffled labels "
            "{control.interval}).",
        },
    ),
    Finding(
        "opposed pairs",
        {**_ALL, "measure": "opposed"},
        each=("step",),
        spoken={"step": "last"},
        bound=0.5,
        uncontrolled="gradients with nothing in common are opposed in half of all pairs",
        says="Of all pairs {effect:short} are opposed.",
    ),
    Finding(
        "all pairs",
        {**_ALL, "measure": ("coherence", "cosine", "product", "off_diagonal_share")},
        each=("step", "measure"),
        spoken={"step": "last", "measure": "coherence"},
        uncontrolled=_NOTHING,
        number="{measure:words} of all pairs, step {step:,}",
        says="Of the mean square of a read's gradient {effect} is what all reads have in common "
        "(coherence).",
    ),
    Finding(
        "supporters of the two routes",
        {
            "relation": "route",
            "which": "between",
            "group": Not("neither"),
            "other": Not("neither"),
        },
        table="conflicts",
        each=("step",),
        spoken={"step": "last"},
        uncontrolled=f"{_NOTHING}; supporters are told apart by these gradients",
        number="mean cosine of a supporter of {group} with one of {other}, step {step:,}",
        says={
            "shown": "Reads that support {group} and {other} push alike: {effect}.",
            "opposite": "Reads that support {group} and {other} push against each other: {effect}.",
            "open": "Reads that support {group} and {other} are not shown to push alike or against "
            "each other: {effect}.",
        },
    ),
    Finding(
        "supporters of one route, outside the routes' gradients",
        {
            "relation": "route",
            "measure": "cosine_outside_routes",
            "which": "difference",
            "step": "last",
        },
        control=_SHUFFLED,
        says={
            "shown": "Outside the two routes' own gradients two supporters of one route are still "
            "more alike than others: {effect}.",
            "open": "Outside the two routes' own gradients two supporters of one route are not "
            "shown to be more alike than others: {effect}.",
        },
    ),
    Finding(
        "sharing",
        {**_SHARED, "step": _ENDS},
        each=("step", "relation"),
        control=_SHUFFLED,
        number="{relation:words}, step {step:,}: difference that sharing it makes",
    ),
    Finding(
        "alignment of reads' descent with a route",
        {"measure": "alignment", "step": _ENDS},
        each=("step", "which"),
        uncontrolled="0 is what descent that has nothing to do with the route gives",
    ),
    Finding(
        "reads that support a route",
        {"measure": "supporters", "step": _ENDS},
        each=("step", "which"),
        bound=0.5,
        uncontrolled="half of the reads",
    ),
    Finding(
        "groups that oppose each other",
        {"measure": ("opposed_groups", "pairs_of_groups"), "step": _ENDS},
        each=("step", "measure"),
        uncontrolled="a count: intervals below 0 that hold for all pairs of one relation at once",
        number="{measure:words} (of one relation), step {step:,}",
    ),
    Finding(
        "reads too few to compare",
        {"measure": "reads_too_few"},
        each=("step", "relation"),
        uncontrolled="a count",
        marks="At step {step:,} too few reads have, or lack, the same {relation:words} to compare.",
    ),
)
VIEWS = (
    Dots(
        "relations",
        "Which reads push the parameters alike",
        caption="Mean cosine of two reads' gradients where they share something and where they do "
        "not, the difference that sharing it makes, and that net of what else they share; the "
        "supported route is told apart by these gradients.",
        where=_SPLIT,
        panels=("which",),
        y=("relation",),
        series="step",
        control=("shuffled labels",),
        note="Intervals of differences hold for all relations at once. {facts[where]}",
    ),
    Drawn(
        "gradient_matrix",
        "Cosine of two reads' gradients, by query key and lag",
        caption="Cosine of every two reads' gradients, ordered by query key, then lag: blocks on "
        "the diagonal are reads of one key.",
        table="reads_table",
        draw=_matrix,
    ),
    *(
        Cells(
            f"conflicts_of_{name}",
            f"Groups of reads that push alike or oppose: {title}",
            caption=f"Mean cosine of a read's gradient with one of another group, by {title}: blue "
            "alike, red opposed; on the diagonal, within the group.",
            table="conflicts",
            where=where,
            panels=("step",),
            x="other",
            y="group",
        )
        for name, title, where in (
            ("keys", "query key", {"relation": "query_key"}),
            ("values", "answer value", {"relation": "answer_value", "step": "last"}),
            ("kinds", "split, correctness and supported route", {"relation": _KINDS}),
        )
    ),
)
TABLES = (
    Listing(
        "Mean cosine of two reads' gradients by what they share",
        _SPLIT,
        keys=("step", "relation"),
        across="which",
    ),
    Listing(
        "Difference outside the two routes' own gradients",
        {"measure": "cosine_outside_routes", "which": "difference"},
        keys=("step", "relation"),
        control=("shuffled labels",),
    ),
    Listing(
        "Mean cosine within and between splits, right and wrong reads, and supporters of the "
        "routes, step {last:,}",
        {"step": "last", "relation": _KINDS},
        table="conflicts",
        keys=_PAIR,
    ),
    Listing(
        "Strongest likeness or conflict of two groups at step {last:,}; intervals hold for all "
        "pairs of one relation at once",
        {"step": "last", "which": "between"},
        table="conflicts",
        keys=_PAIR,
        sort=True,
        top=24,
    ),
)

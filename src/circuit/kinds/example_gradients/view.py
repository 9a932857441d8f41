"""Which reads push the parameters alike, and which against each other."""

from typing import Any

from circuit.reports.findings import Finding
from circuit.reports.sections import TRAINING_DATA
from circuit.reports.views import Cells, Dots, Drawn, Listing, Not

SECTION = TRAINING_DATA
QUESTION = "Which reads push the parameters alike, and which against each other?"
SHARED = {"measure": "cosine", "which": "difference"}
SHUFFLED = ({"against": "shuffled labels"},)
OF_ALL = {"relation": "all", "which": "all"}
TOLD = "mean cosine with the same {relation:words} − without, step {step:,}"
MOST = (
    "At step {step:,} the same {relation:words} tells most of how two reads push the parameters: "
    "{way} alike than without it (difference of mean cosines {effect:short}, 95% interval "
    "{effect.interval}; with shuffled labels {control.interval})."
)
KINDS = ("split", "correct", "route")
SUPPORTERS = {
    "relation": "route",
    "which": "between",
    "group": Not("neither"),
    "other": Not("neither"),
}
HALF = "gradients with nothing in common are opposed in half of all pairs"
BY_THESE = "0 is what unrelated gradients give; supporters are told apart by these gradients"


def _matrix(material: Any, path: str) -> None:
    from circuit.reports.bespoke.gradient_matrix import draw  # only where it is drawn

    draw(material, path)


FINDINGS = (
    Finding(
        name="what sharing tells most",
        where={**SHARED, "relation": Not("route"), "step": "last"},
        pick=("relation",),
        rank="size",
        control=SHUFFLED,
        number=TOLD,
        says={
            "shown": MOST.replace("{way}", "more"),
            "opposite": MOST.replace("{way}", "less"),
            "open": "At step {step:,} nothing that two reads share is shown to tell how alike they "
            "push: the largest difference of mean cosines, of the same {relation:words}, is "
            "{effect:short} (95% interval {effect.interval}; with shuffled labels "
            "{control.interval}).",
        },
    ),
    Finding(
        name="what sharing told most before",
        where={**SHARED, "relation": Not("route"), "step": Not("last")},
        each=("step",),
        pick=("relation",),
        rank="size",
        control=SHUFFLED,
        number=TOLD,
        says={
            "shown": "At step {step:,} it was the {relation:words} ({effect:short}).",
            "opposite": "At step {step:,} it was the {relation:words} ({effect:short}).",
            "open": "At step {step:,} nothing that they share was shown to tell.",
        },
    ),
    Finding(
        name="opposed pairs",
        where={**OF_ALL, "measure": "opposed", "step": "last"},
        bound=0.5,
        uncontrolled=HALF,
        number="pairs whose gradients are opposed, step {step:,}",
        says="Of all pairs {effect:short} are opposed.",
    ),
    Finding(
        name="coherence",
        where={**OF_ALL, "measure": "coherence", "step": "last"},
        uncontrolled="0 is what gradients without anything in common give",
        number="gradient coherence (mean product of two reads over mean square of one), step "
        "{step:,}",
        says="Of the mean square of a read's gradient {effect} is what all reads have in common "
        "(coherence).",
    ),
    Finding(
        name="supporters of the two routes",
        table="conflicts",
        where={**SUPPORTERS, "step": "last"},
        uncontrolled=BY_THESE,
        number="mean cosine of a supporter of {group} with one of {other}, step {step:,}",
        says={
            "shown": "Reads that support {group} and reads that support {other} push alike: "
            "{effect}.",
            "opposite": "Reads that support {group} and reads that support {other} push against "
            "each other: {effect}.",
            "open": "Reads that support {group} and reads that support {other} are not shown to "
            "push alike or against each other: {effect}.",
        },
    ),
    Finding(
        name="supporters of one route, outside the routes' gradients",
        where={
            "relation": "route",
            "measure": "cosine_outside_routes",
            "which": "difference",
            "step": "last",
        },
        control=SHUFFLED,
        says={
            "shown": "Outside the two routes' own gradients two supporters of one route are still "
            "more alike than others: {effect}.",
            "opposite": "Outside the two routes' own gradients two supporters of one route are "
            "less alike than others: {effect}.",
            "open": "Outside the two routes' own gradients two supporters of one route are not "
            "shown to be more alike than others: {effect}.",
        },
    ),
    Finding(
        name="sharing",
        where={**SHARED, "step": ("first", "last")},
        each=("step", "relation"),
        control=SHUFFLED,
        number="{relation:words}, step {step:,}: difference that sharing it makes",
        quiet=True,
    ),
    Finding(
        name="all pairs",
        where={
            **OF_ALL,
            "measure": ("cosine", "product", "off_diagonal_share"),
            "step": ("first", "last"),
        },
        each=("step", "measure"),
        uncontrolled="0 is what gradients without anything in common give",
        number="{measure:words} of all pairs, step {step:,}",
        quiet=True,
    ),
    Finding(
        name="all pairs before",
        where={**OF_ALL, "measure": ("opposed", "coherence"), "step": Not("last")},
        each=("step", "measure"),
        uncontrolled="told at the last checkpoint",
        number="{measure:words} of all pairs, step {step:,}",
        bound=None,
        quiet=True,
    ),
    Finding(
        name="alignment with a route",
        where={"measure": "alignment", "step": ("first", "last")},
        each=("step", "which"),
        uncontrolled="0 is what descent that has nothing to do with the route gives",
        number="alignment of reads' descent with {which}, step {step:,}",
        quiet=True,
    ),
    Finding(
        name="supporters of a route",
        where={"measure": "supporters", "step": ("first", "last")},
        each=("step", "which"),
        bound=0.5,
        uncontrolled="half of the reads",
        number="reads that support {which}, step {step:,}",
        quiet=True,
    ),
    Finding(
        name="supporters of the two routes before",
        table="conflicts",
        where={**SUPPORTERS, "step": Not("last")},
        each=("step",),
        uncontrolled=BY_THESE,
        number="mean cosine of a supporter of {group} with one of {other}, step {step:,}",
        quiet=True,
    ),
    Finding(
        name="groups that oppose each other",
        where={"measure": ("opposed_groups", "pairs_of_groups"), "step": ("first", "last")},
        each=("step", "measure"),
        uncontrolled="a count: intervals below 0 that hold for all pairs of one relation at once",
        number="{measure:words} (of one relation), step {step:,}",
        quiet=True,
    ),
    Finding(
        name="too few reads",
        where={"measure": "reads_too_few"},
        each=("step", "relation"),
        uncontrolled="a count",
        number="reads that share their {relation:words}, step {step:,}",
        quiet=True,
        marks=dict.fromkeys(
            ("shown", "open"),
            "At step {step:,} too few reads have, or lack, the same {relation:words} to compare.",
        ),
    ),
)
VIEWS = (
    Dots(
        name="relations",
        title="Which reads push the parameters alike",
        caption="Mean cosine of two reads' gradients where they share something and where they do "
        "not, the difference that sharing it makes, and that net of what else they share; the "
        "supported route is told apart by these gradients.",
        where={
            "measure": "cosine",
            "which": ("same", "different", "difference", "net"),
            "relation": Not("all"),
        },
        panels=("which",),
        y=("relation",),
        series="step",
        control=("shuffled labels",),
        note="Intervals of differences hold for all relations at once. {facts[where]}",
    ),
    Drawn(
        name="gradient_matrix",
        title="Cosine of two reads' gradients, by query key and lag",
        caption="Cosine of every two reads' gradients, ordered by query key, then lag: blocks on "
        "the diagonal are reads of one key.",
        table="reads_table",
        draw=_matrix,
    ),
    *(
        Cells(
            name=f"conflicts_of_{name}",
            title=f"Groups of reads that push alike or oppose: {title}",
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
            ("kinds", "split, correctness and supported route", {"relation": KINDS}),
        )
    ),
)
TABLES = (
    Listing(
        title="Mean cosine of two reads' gradients by what they share",
        where={
            "measure": "cosine",
            "which": ("same", "different", "difference", "net"),
            "relation": Not("all"),
        },
        keys=("step", "relation"),
        across="which",
    ),
    Listing(
        title="Difference outside the two routes' own gradients",
        where={"measure": "cosine_outside_routes", "which": "difference"},
        keys=("step", "relation"),
        control=("shuffled labels",),
    ),
    Listing(
        title="Mean cosine within and between splits, right and wrong reads, and supporters of the "
        "routes, step {last:,}",
        table="conflicts",
        where={"step": "last", "relation": KINDS},
        keys=("relation", "group", "other", "pairs"),
    ),
    Listing(
        title="Strongest likeness or conflict of two groups at step {last:,}; intervals hold for "
        "all pairs of one relation at once",
        table="conflicts",
        where={"step": "last", "which": "between"},
        keys=("relation", "group", "other", "pairs"),
        sort=True,
        top=24,
    ),
)

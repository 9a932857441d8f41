"""What could be known of candidate routes before birth: how strong they are, what moves them."""

from circuit.reports.findings import Finding
from circuit.reports.sections import FORETOLD
from circuit.reports.views import Cells, Curves, Listing, Not

SECTION = FORETOLD
QUESTION = "What could be known of the candidate routes before any later step was taken?"
_OTHERS = ({"against": "other routes"},)
_LED = {"step": "last", "leads": ("growth", "growth and strength")}
_FIRST = "At step {step}, the last cutoff, "
_GROWS = "{effect} at first order, {excess} beyond the mean of the others."
_PART = "a share of the growth that is told before it"
FINDINGS = (
    Finding(
        name="first by growth",
        where={"measure": "growth", "part": "", "step": "last"},
        pick=("route",),
        control=_OTHERS,
        number="growth of {route} at step {step}",
        says={
            "shown": _FIRST + "of {of} candidate routes the optimizer's next update would add most "
            "to {route}: " + _GROWS,
            "open": _FIRST + "which of {of} candidate routes the optimizer's next update would "
            "make grow most is open: {route}, the first, would change by " + _GROWS,
        },
    ),
    Finding(
        name="share of the optimizer's memory",
        where={"measure": "component_share", "part": "momentum", **_LED},
        uncontrolled=_PART,
        number="momentum's share of the growth of {route}",
        says="Of that change the optimizer's memory makes up {effect.short} of all components' "
        "absolute values,",
    ),
    Finding(
        name="share of its own parameters",
        where={"measure": "own_growth_share", **_LED},
        uncontrolled=_PART,
        number="share of the growth of {route} through its own parameters",
        says="the head's own parameters {effect.short},",
    ),
    Finding(
        name="growth that no other route shares",
        where={"measure": "unique_growth", **_LED},
        uncontrolled="it is the growth less what other routes share: that is its control",
        number="unique growth of {route}",
        says="and {effect} is left where no other route is moved.",
    ),
    Finding(
        name="alignment with the training loss",
        where={"measure": "alignment", "part": "tokens", **_LED},
        control=({"part": "shuffled_answers"},),
        number="alignment of {route} with descent of the training loss",
        quiet=True,
    ),
    Finding(
        name="first by strength",
        where={"measure": "strength", "step": "last"},
        pick=("route",),
        control=_OTHERS,
        number="strength of {route} at step {step}",
        says={
            "shown": "Strongest is {route}, at {effect}. Nothing later than step {step} was read.",
            "open": "Which is strongest is open: {route}, the first, is at {effect}. Nothing later "
            "than step {step} was read.",
        },
    ),
)
VIEWS = (
    Cells(
        name="route_features",
        title="How features from before a cutoff rank the candidate routes",
        caption="1, the lightest: the largest; equal values share their mean rank. Routes that "
        "all features rank alike have lines of one shade.",
        where={"measure": "rank"},
        x="feature",
        y="head",
        panels=("step",),
    ),
    Curves(
        name="leading",
        title="What was known of every candidate at each cutoff",
        caption="Strength, alignment with the descent of the training loss, growth by the "
        "optimizer's next update, and what of it no other route shares.",
        where={
            "measure": ("strength", "alignment", "growth", "unique_growth"),
            "part": ("", "tokens"),
        },
        panels=("measure",),
        series="head",
    ),
)
TABLES = (
    Listing(
        title="Features of every route at step {last} (alignment and push: with the training "
        "loss; component share: momentum's)",
        where={
            "measure": Not("rank"),
            "part": ("", "tokens", "momentum"),
            "step": "last",
        },
        keys=("route",),
        across="measure",
    ),
    Listing(
        title="Features of the routes that are first by growth or strength at step {last}",
        where={"measure": Not("rank"), "step": "last", "leads": Not("")},
        keys=("route", "measure", "part"),
    ),
    Listing(
        title="First route by strength, alignment and growth at every cutoff",
        where={
            "measure": ("alignment", "growth", "strength", "unique_growth"),
            "part": ("", "tokens"),
            "place": "first",
        },
        keys=("measure", "step", "route"),
        control=("excess",),
    ),
)

"""What could be known of candidate routes before birth: how strong they are, what moves them."""

from circuit.reports.findings import Finding
from circuit.reports.sections import FORETOLD
from circuit.reports.views import Cells, Curves, Listing, Not

SECTION = FORETOLD
QUESTION = "What could be known of the candidate routes before any later step was taken?"
_OTHERS = ({"against": "other routes"},)
_LED = {"step": "last", "leads": ("growth", "growth and strength")}
_TOP = {"step": "last", "part": ""}
_SAID = {"part": ("", "tokens")}
_PART = "a share of the growth that is told before it"
FINDINGS = (
    Finding(
        "first by growth",
        {**_TOP, "measure": "growth"},
        pick=("route",),
        control=_OTHERS,
        number="growth of {route} at step {step}",
        says="That at step {step}, the last cutoff, the next update adds most to {route} "
        "{is_shown}: {effect} at first order, {excess} beyond the mean of the other routes.",
    ),
    Finding(
        "share of the optimizer's memory",
        {**_LED, "measure": "component_share", "part": "momentum"},
        uncontrolled=_PART,
        number="momentum's share of the growth of {route}",
        says="Of that change the optimizer's memory makes up {effect.short} of all components' "
        "absolute values,",
    ),
    Finding(
        "share of its own parameters",
        {**_LED, "measure": "own_growth_share"},
        uncontrolled=_PART,
        number="share of the growth of {route} through its own parameters",
        says="the head's own parameters {effect.short},",
    ),
    Finding(
        "growth that no other route shares",
        {**_LED, "measure": "unique_growth"},
        uncontrolled="it is the growth less what other routes share: that is its control",
        number="unique growth of {route}",
        says="and {effect} is left where no other route is moved.",
    ),
    Finding(
        "alignment with descent of the training loss",
        {**_LED, "measure": "alignment", "part": "tokens"},
        control=({"part": "shuffled_answers"},),
    ),
    Finding(
        "first by strength",
        {**_TOP, "measure": "strength"},
        pick=("route",),
        control=_OTHERS,
        number="strength of {route} at step {step}",
        says="That {route} is the strongest {is_shown}: {effect}.",
    ),
)
VIEWS = (
    Cells(
        "route_features",
        "How features from before a cutoff rank the candidate routes",
        caption="1, the lightest: the largest; equal values share their mean rank. Routes that "
        "all features rank alike have lines of one shade.",
        where={"measure": "rank"},
        x="feature",
        y="head",
        panels=("step",),
    ),
    Curves(
        "leading",
        "What was known of every candidate at each cutoff",
        caption="Strength, alignment with the descent of the training loss, growth by the "
        "optimizer's next update, and what of it no other route shares.",
        where={"measure": ("strength", "alignment", "growth", "unique_growth"), **_SAID},
        panels=("measure",),
        series="head",
    ),
)
TABLES = (
    Listing(
        "Features of every route at step {last} (alignment and push: with the training loss; "
        "component share: momentum's)",
        {"measure": Not("rank"), "part": ("", "tokens", "momentum"), "step": "last"},
        keys=("route",),
        across="measure",
    ),
    Listing(
        "Features of the routes that are first by growth or strength at step {last}",
        {"measure": Not("rank"), "step": "last", "leads": Not("")},
        keys=("route", "measure", "part"),
    ),
    Listing(
        "First route by strength, alignment and growth at every cutoff",
        {
            "measure": ("alignment", "growth", "strength", "unique_growth"),
            "place": "first",
            **_SAID,
        },
        keys=("measure", "step", "route"),
        control=("excess",),
    ),
)

"""Which of the candidate routes grew, and whether training pushed it."""

from circuit.reports.findings import Finding
from circuit.reports.sections import UPDATES
from circuit.reports.views import Curves, Dots, Listing, Not, Scatter

SECTION = UPDATES
QUESTION = "Which of the candidate routes grew over this window, and did training push it?"
_SIZES = {"measure": "effect_size", "half": "confirmation"}
_TRAINING = {"objective": "tokens", "programs": "trained on"}
_EXCHANGED = ({"objective": "shuffled_answers"},)
_WINDOW = "from step {facts[window][0]} to {facts[window][1]}"
_BY = "by {effect} on events that did not choose it, {excess} beyond {control_route}, the control."
_PUSH = "at step {step}: {effect}, against {control.short} for a loss with exchanged answers."
_TOLD = ": {effect}, against {control.short} with exchanged answers."
FINDINGS = (
    Finding(
        name="growth of the winner",
        where=_SIZES,
        pick=("route",),
        control=({"chosen": "bottom"},),
        number="effect size of {route}",
        says={
            "shown": "Of {of} candidate routes, {route} grew most " + _WINDOW + ": " + _BY,
            "opposite": "No route of {of} candidates grew more than the control "
            + _WINDOW
            + ": {route}, the best on "
            "the events that choose, changed " + _BY,
            "open": "No route of {of} candidates is shown to grow " + _WINDOW + ": {route}, the "
            "best on the events that choose, changed " + _BY,
        },
    ),
    Finding(
        name="change of the winner",
        where={"measure": "change", "half": "confirmation", "chosen": "winner"},
        uncontrolled="the control may have another unit; effect sizes have none and are compared",
        number="change of {route}",
        says="In its own unit this is {effect}.",
    ),
    Finding(
        name="growth of the runner-up",
        where={**_SIZES, "chosen": "runner_up"},
        control=({"chosen": "bottom"},),
        number="effect size of {route} ({chosen:words})",
        says="The runner-up {route} changed by {effect.short}.",
    ),
    Finding(
        name="push of the winner at the start",
        where={"measure": "alignment", "step": "first", "chosen": "winner", **_TRAINING},
        control=_EXCHANGED,
        number="alignment of {route} with descent of the training loss at step {step}",
        says={
            "shown": "Plain descent of the training loss already moves {route} up " + _PUSH,
            "opposite": "Plain descent of the training loss moves {route} down " + _PUSH,
            "open": "Plain descent of the training loss is not shown to move {route} up or down "
            "more than a control does " + _PUSH,
        },
    ),
    Finding(
        name="does the start tell who grows",
        where={"measure": "alignment_size_correlation", "among": "all routes", **_TRAINING},
        control=_EXCHANGED,
        number="alignment at step {step} with effect size, all routes",
        says={
            "shown": "Over all {effect.count} routes, those pushed more at the start grew more"
            + _TOLD,
            "opposite": "Over all {effect.count} routes, those pushed more at the start grew less"
            + _TOLD,
            "open": "Over all {effect.count} routes, the push at the start does not tell which "
            "grew" + _TOLD,
        },
    ),
)
VIEWS = (
    Dots(
        name="ranked",
        title="How much each route grew from step {facts[window][0]} to {facts[window][1]}",
        caption="Mean change over the pooled standard deviation over events, on events that did "
        "not choose. The control is the route that changed least.",
        where=_SIZES,
        y=("route",),
        top=32,
    ),
    Scatter(
        name="foretold",
        title="Does the start of the window tell which routes grow?",
        caption="Whether descending the training loss at the window's start would make a route "
        "grow, and how much it grew in the window.",
        x={"measure": "alignment", "step": "first", **_TRAINING},
        y=_SIZES,
        each=("route",),
    ),
    Curves(
        name="alignment",
        title="Which way the losses push the chosen routes",
        caption="Cosine of a route's gradient with the descent direction of a loss: above 0, plain "
        "descent makes the route grow. The loss with exchanged answers is the control.",
        where={
            "measure": "alignment",
            "objective": ("tokens", "answers", "shuffled_answers"),
            "chosen": Not(""),
        },
        panels=("split", "objective"),
        series="route",
    ),
)
TABLES = (
    Listing(
        title="Routes by effect size, on events that did not choose; a route with one value on all "
        "events has none and ranks last",
        where=_SIZES,
        keys=("route", "chosen"),
        control=("excess",),
    ),
    Listing(
        title="Effect sizes on the events that choose and on those that confirm",
        where={"measure": "effect_size", "half": ("selection", "confirmation")},
        keys=("route",),
        across="half",
    ),
    Listing(
        title="Change of every route in its own unit, on events that did not choose",
        where={"measure": "change", "half": "confirmation"},
        keys=("route", "chosen"),
    ),
    Listing(
        title="Strength of the chosen routes at both ends of the window",
        where={"measure": "strength", "step": ("first", "last"), "chosen": Not("")},
        keys=("route", "chosen", "step"),
    ),
    Listing(
        title="What three losses do to the chosen routes at step {first}: alignment (cosine) and "
        "push (first-order growth under plain descent)",
        where={"measure": ("alignment", "push"), "step": "first", "chosen": Not("")},
        keys=("measure", "route", "split", "objective"),
    ),
    Listing(
        title="Alignment of every route at step {first} with the descent of losses on the split "
        "trained on",
        where={"measure": "alignment", "step": "first", "programs": "trained on"},
        keys=("route",),
        across="objective",
    ),
    Listing(
        title="Alignment of the chosen routes with the descent of the training loss",
        where={"measure": "alignment", "chosen": Not(""), **_TRAINING},
        keys=("route", "step"),
    ),
    Listing(
        title="Does alignment at step {first} tell who grows? Rank correlation with effect size, "
        "descriptive: routes of one model are no independent draws",
        where={"measure": "alignment_size_correlation"},
        keys=("among", "split", "objective"),
    ),
)

"""Which of the candidate routes grew, and whether training pushed it."""

from circuit.reports.findings import Finding
from circuit.reports.sections import UPDATES
from circuit.reports.views import Curves, Dots, Listing, Not, Scatter

SECTION = UPDATES
QUESTION = "Which of the candidate routes grew over this window, and did training push it?"
_CONFIRMED, _ALIGNMENT = {"half": "confirmation"}, {"measure": "alignment"}
_SIZES = {"measure": "effect_size", **_CONFIRMED}
_CHANGE = {"measure": "change", **_CONFIRMED}
_FIRST, _CHOSEN, _WINNER = {"step": "first"}, {"chosen": Not("")}, {"chosen": "winner"}
_TRAINING = {"objective": "tokens", "programs": "trained on"}
_HALVES, _ENDS = ("selection", "confirmation"), ("first", "last")
_CORRELATION = {"measure": "alignment_size_correlation"}
_BOTTOM, _EXCHANGED = ({"chosen": "bottom"},), ({"objective": "shuffled_answers"},)
_TOLD = ": {effect}, against {control.short} for a loss with exchanged answers."
FINDINGS = (
    Finding(
        "growth of the winner",
        _SIZES,
        pick=("route",),
        control=_BOTTOM,
        says="That {route} grew, the best of {of} routes on the events that choose, {is_shown}: by "
        "{effect} on the others, {excess} beyond {control_route}, the control.",
    ),
    Finding(
        "change of the winner",
        {**_CHANGE, **_WINNER},
        uncontrolled="the control may have another unit; effect sizes have none and are compared",
        number="change of {route}",
        says="In its own unit this is {effect}.",
    ),
    Finding(
        "growth of the runner-up",
        {**_SIZES, "chosen": "runner_up"},
        control=_BOTTOM,
        number="effect size of {route}",
        says="The runner-up {route} changed by {effect.short}.",
    ),
    Finding(
        "push of the winner at the start",
        {**_ALIGNMENT, **_FIRST, **_WINNER, **_TRAINING},
        control=_EXCHANGED,
        says="That descent of the training loss pushed it up at step {step} {is_shown}" + _TOLD,
    ),
    Finding(
        "does the start tell who grows",
        {**_CORRELATION, **_TRAINING, "among": "all routes"},
        control=_EXCHANGED,
        says="That of {effect.count} routes those pushed more grew more {is_shown}" + _TOLD,
        number="alignment at step {step} with effect size, all routes",
    ),
)
VIEWS = (
    Dots(
        "ranked",
        "How much each route grew from step {facts[window][0]} to {facts[window][1]}",
        caption="Mean change over the pooled standard deviation over events, on events that did "
        "not choose; a route with one value on all events has none, and the control changed least.",
        where=_SIZES,
        y=("route",),
        top=32,
    ),
    Scatter(
        "foretold",
        "Does the start of the window tell which routes grow?",
        caption="Alignment at the start, and growth; routes of one model are no independent draws.",
        x={**_ALIGNMENT, **_FIRST, **_TRAINING},
        y=_SIZES,
        each=("route",),
    ),
    Curves(
        "alignment",
        "Which way the losses push the chosen routes",
        caption="Cosine of a route's gradient with the descent direction of a loss: above 0, plain "
        "descent makes the route grow.",
        where={**_ALIGNMENT, **_CHOSEN, "objective": ("tokens", "answers", "shuffled_answers")},
        panels=("split", "objective"),
        series="route",
    ),
)
TABLES = (
    Listing("Routes by effect size", _SIZES, control=("excess",)),
    Listing("Effect sizes by half of the events", {**_SIZES, "half": _HALVES}, across="half"),
    Listing("Change of every route in its own unit", _CHANGE),
    Listing("Strength of the chosen routes", {**_CHOSEN, "measure": "strength", "step": _ENDS}),
    Listing(
        "What losses do to the chosen routes at step {first}: alignment, and growth to first order",
        {**_FIRST, **_CHOSEN, "measure": ("alignment", "push")},
    ),
    Listing(
        "Alignment of every route at step {first} with losses on the split trained on",
        {**_ALIGNMENT, **_FIRST, "programs": "trained on"},
        across="objective",
    ),
    Listing(
        "Alignment of the chosen routes with the descent of the training loss",
        {**_ALIGNMENT, **_CHOSEN, **_TRAINING},
    ),
    Listing("Rank correlation of alignment at step {first} with effect size", _CORRELATION),
)

"""Whether the route's change explains behaviour's: what there is to see."""

from typing import Any

from circuit.reports.findings import Finding
from circuit.reports.sections import EXPLAINED
from circuit.reports.views import Curves, Dots, Drawn, Listing, Not

SECTION = EXPLAINED
QUESTION = "How much of behaviour's change does the route explain?"
_CONTROLS = ("bottom head", "shuffled events")
_UNSHOWN = (
    "{outcome}: that the routes explain more than the mean, the bottom head and shuffled events do "
    "is not shown."
)


def _predictions(found: Any, path: str) -> None:
    from circuit.reports.bespoke.predictions import predictions

    predictions(found.tables["events"], path)


FINDINGS = (
    Finding(
        name="explained within intervals",
        where={"measure": "r2", "compared": "within"},
        each=("outcome",),
        control=tuple({"against": name} for name in _CONTROLS),
        number="R² of {outcome}, within",
        says={
            "shown": "From step {facts[window][0]} to {facts[window][1]}, changes of "
            "{facts[winner]}'s route scalars predict how the change of {outcome:words} differs "
            "between events of one checkpoint interval, on events the fit never saw: R² {effect}, "
            "{excess} more than the best of the mean, the bottom head {facts[bottom]} and shuffled "
            "events.",
            "open": "Changes of {facts[winner]}'s route scalars are not shown to explain how the "
            "change of {outcome:words} differs between events of one checkpoint interval: R² "
            "{effect}, against {control:short} for the bottom head {facts[bottom]}.",
            "opposite": "Changes of {facts[winner]}'s route scalars explain less than the mean or "
            "a control of how the change of {outcome:words} differs between events of one "
            "checkpoint interval: R² {effect}, {excess} beyond the best of these.",
        },
        marks={"open": _UNSHOWN, "opposite": _UNSHOWN},
    ),
    Finding(
        name="explained over all intervals",
        where={"measure": "r2", "compared": "pooled"},
        each=("outcome",),
        control=tuple({"against": name} for name in _CONTROLS),
        number="R² of {outcome}, pooled",
        says="With events of all intervals compared, R² of {outcome:words} is {effect:short}.",
    ),
)
VIEWS = (
    Dots(
        name="closure",
        title="Change of behaviour explained by the change of routes",
        caption="R² on events that the fit never saw: pooled, all changes; within, differences "
        "between the events of one interval. Hollow: the same routes of the bottom head, and the "
        "routes with events shuffled within each interval.",
        where={"measure": "r2", "compared": ("pooled", "within")},
        panels=("compared",),
        y=("outcome",),
        control=_CONTROLS,
    ),
    Dots(
        name="coefficients",
        title="Coefficients of the fit to all changes",
        caption="What a unit more of a route's change adds to the outcome's, other routes alike; "
        "hollow: of the bottom head's routes.",
        where={"measure": "coefficient"},
        panels=("outcome",),
        y=("route",),
        control=("bottom head",),
    ),
    Curves(
        name="interval_means",
        title="Mean change per interval, actual and predicted",
        caption="Where, over training, the routes' change and behaviour's part. An interval stands "
        "at its first step.",
        table="intervals",
        where={"measure": Not("residual")},
        panels=("outcome",),
        series="measure",
    ),
    Drawn(
        name="predictions",
        title="Predicted against actual change",
        caption="Predicted (cross-validated) against actual change per event and interval.",
        draw=_predictions,
    ),
)
TABLES = (
    Listing(
        title="R² with bootstrap intervals over events",
        where={"measure": "r2"},
        keys=("outcome", "compared"),
        control=(*_CONTROLS, "excess"),
    ),
    Listing(
        title="Coefficients with bootstrap intervals over events",
        where={"measure": "coefficient", "against": ("", "bottom head")},
        keys=("outcome", "route", "against"),
    ),
    Listing(
        title="Mean change per interval: actual, cross-validated prediction, residual",
        table="intervals",
        keys=("outcome", "step", "stop"),
        across="measure",
    ),
)

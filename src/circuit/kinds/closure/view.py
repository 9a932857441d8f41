"""Whether the route's change explains behaviour's: what there is to see."""

from typing import Any

from circuit.reports.findings import Finding
from circuit.reports.sections import EXPLAINED
from circuit.reports.views import Curves, Dots, Drawn, Listing, Not

SECTION = EXPLAINED
QUESTION = (
    "How much of behaviour's change from step {facts[window][0]} to {facts[window][1]} does the "
    "route explain?"
)
_CONTROLS = ("bottom head", "shuffled events")
_BESIDE = tuple({"against": name} for name in _CONTROLS)
_R2, _COEFFICIENTS = {"measure": "r2"}, {"measure": "coefficient"}
_HOW = "how the change of {outcome:words} differs between events of one checkpoint interval"


def _predictions(found: Any, path: str) -> None:
    from circuit.reports.bespoke.predictions import predictions

    predictions(found.tables["events"], path)


FINDINGS = (
    Finding(
        "explained within intervals",
        {**_R2, "compared": "within"},
        each=("outcome",),
        control=_BESIDE,
        number="R² of {outcome}, within",
        key="R² of the change of {outcome:words}, read by read",
        clause={
            "shown": "read by read, changes of {facts[winner]}'s route predict that of "
            "{outcome:words} with R² {effect.short}",
            "open": "that changes of {facts[winner]}'s route predict, read by read, that of "
            "{outcome:words} is not shown",
        },
        says={
            "shown": f"Changes of {{facts[winner]}}'s route scalars predict {_HOW}, on events the "
            "fit never saw: R² {effect}, {excess} more than the best of the mean, the bottom head "
            "{facts[bottom]} and shuffled events.",
            "open": f"That changes of {{facts[winner]}}'s route scalars explain {_HOW} is not "
            "shown: R² {effect}, bottom head {facts[bottom]} {control:short}.",
        },
        marks={
            "open": "{outcome}: that the routes explain more than the mean, the bottom head and "
            "shuffled events do is not shown."
        },
    ),
    Finding(
        "explained over all intervals",
        {**_R2, "compared": "pooled"},
        each=("outcome",),
        control=_BESIDE,
        number="R² of {outcome}, pooled",
        says="With events of all intervals compared, R² of {outcome:words} is {effect:short}.",
    ),
)
VIEWS = (
    Dots(
        "closure",
        "Change of behaviour explained by the change of routes",
        caption="R² on events that the fit never saw: of all changes (pooled), and of differences "
        "between the events of one interval (within).",
        where={**_R2, "compared": ("pooled", "within")},
        panels=("compared",),
        y=("outcome",),
        control=_CONTROLS,
    ),
    Dots(
        "coefficients",
        "Coefficients of the fit to all changes",
        caption="What a unit more of a route's change adds to the outcome's, other routes alike.",
        where=_COEFFICIENTS,
        panels=("outcome",),
        y=("route",),
        control=("bottom head",),
    ),
    Curves(
        "interval_means",
        "Mean change per interval, actual and predicted",
        caption="Where, over training, the routes' change and behaviour's part; an interval stands "
        "at its first step.",
        table="intervals",
        where={"measure": Not("residual")},
        panels=("outcome",),
        series="measure",
    ),
    Drawn(
        "predictions",
        "Predicted (cross-validated) against actual change, by event and interval",
        draw=_predictions,
    ),
)
TABLES = (
    Listing(
        "R² with bootstrap intervals over events",
        _R2,
        keys=("outcome", "compared"),
        control=(*_CONTROLS, "excess"),
    ),
    Listing(
        "Coefficients with bootstrap intervals over events",
        {**_COEFFICIENTS, "against": ("", "bottom head")},
        keys=("outcome", "route", "against"),
    ),
    Listing(
        "Mean change per interval: actual, cross-validated prediction, residual",
        table="intervals",
        keys=("outcome", "step", "stop"),
        across="measure",
    ),
)

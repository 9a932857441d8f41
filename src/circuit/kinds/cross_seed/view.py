"""Whether growth, its components and the birth of the behaviour repeat over seeds."""

from circuit.reports.findings import Finding, Sum, When
from circuit.reports.sections import REPEATS
from circuit.reports.views import Dots, Listing, Not, Stack

SECTION = REPEATS
QUESTION = "Does it repeat over seeds?"
_GROWTH = {"measure": "growth", "half": "confirmation"}
_SHARES, _BIRTH = {"measure": "share"}, {"measure": "birth"}
_MEAN, _EACH = {"run": "mean"}, {"run": Not("mean")}
FINDINGS = (
    Finding(
        "runs in which a head grows",
        {"measure": "share_of_runs"},
        uncontrolled="the growth of each run is compared with its bottom control's",
        says="In {effect} of {effect.count} runs a head is shown to grow beyond the bottom one; "
        "winners are {facts[winners]}.",
    ),
    Finding(
        "mean growth",
        {**_GROWTH, **_MEAN, "chosen": ("winner", "runner_up")},
        each=("chosen",),
        control=({"chosen": "bottom"},),
        spoken={"chosen": "winner"},
        says="That winners grow over the scan's window {is_shown}: {effect} on average, {excess} "
        "beyond the bottom controls.",
    ),
    Sum(
        "mean share of the winners' growth",
        {**_SHARES, **_MEAN},
        parts="component",
        uncontrolled="parts of one whole",
        says="Of the winners' growth over the attribution's window the update's parts carry, on "
        "average, {raised}; against it work {lowered}.",
    ),
    When(
        "mean birth of the behaviour",
        {**_BIRTH, **_MEAN},
        says={
            "shown": "The behaviour is born at {effect.short} on average.",
            "open": "In no run is the behaviour born.",
        },
    ),
    When(
        "birth of the behaviour in {run}",
        {**_BIRTH, **_EACH},
        each=("run",),
        marks={"open": "The behaviour is never born in {run}; the mean birth step leaves it out."},
    ),
    Finding(
        "lead of the winner over the runner-up",
        {"measure": "lead", "half": "confirmation", **_EACH},
        each=("run",),
        uncontrolled="the difference of two growths that have a control each",
        marks={"open": "In {run} the runner-up grows no less on events that did not choose it."},
    ),
    Finding(
        "runs",
        {"measure": "runs"},
        bound=5,
        uncontrolled="it is counted, not estimated",
        marks={"opposite": "{effect.short} seeds: the interval over seeds is rough."},
    ),
)
VIEWS = (
    Dots(
        "growth",
        "Growth of the scan's criterion over seeds",
        caption="Growth of heads; intervals of runs are over events, those of means over seeds.",
        where={**_GROWTH, "chosen": ("winner", "runner_up", "bottom")},
        y=("run",),
        series="chosen",
    ),
    Stack(
        "shares",
        "Parts of the update in the winners' growth; to the left of 0 they work against it",
        where=_SHARES,
        parts="component",
        y=("run", "head"),
    ),
    Dots("births", "When the behaviour was born", where=_BIRTH, y=("run",)),
)
TABLES = (
    Listing(
        "Growth of every run's heads with intervals over events, and means over seeds",
        {**_GROWTH, "chosen": Not("")},
        control=("excess",),
        keys=("run", "seed", "chosen", "head"),
    ),
    Listing("Shares of the winner's growth, by run", _SHARES, keys=("component",), across="run"),
    Listing("Mean shares of the winners' growth", {**_SHARES, **_MEAN}),
    Listing("Birth of the behaviour", _BIRTH),
)

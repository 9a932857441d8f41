"""Whether growth, its components and the birth of the behaviour repeat over seeds."""

from circuit.reports.findings import Finding, Sum, When
from circuit.reports.sections import REPEATS
from circuit.reports.views import Dots, Listing, Not, Stack

SECTION = REPEATS
QUESTION = "Does it repeat over seeds?"
_GROWTH = {"measure": "growth", "half": "confirmation"}
_MEANS = "{effect} on average, {excess} beyond the bottom controls."
FINDINGS = (
    Finding(
        name="runs in which a head grows",
        where={"measure": "share_of_runs"},
        uncontrolled="the growth of each run is compared with its bottom control's",
        says="In {effect} of {effect.count} runs a head's separation is shown to grow beyond the "
        "bottom control's; winners are {facts[winners]}.",
    ),
    Finding(
        name="mean growth of the winners",
        where={**_GROWTH, "run": "mean", "chosen": "winner"},
        control=({"chosen": "bottom"},),
        says={
            "shown": "Over the scan's window winners grow by " + _MEANS,
            "opposite": "Over the scan's window winners grow less than their controls: by "
            + _MEANS,
            "open": "That winners grow over the scan's window is not shown: by " + _MEANS,
        },
    ),
    Finding(
        name="mean growth of the runners-up",
        where={**_GROWTH, "run": "mean", "chosen": "runner_up"},
        control=({"chosen": "bottom"},),
        quiet=True,
    ),
    Sum(
        name="mean share of the winners' growth",
        where={"measure": "share", "run": "mean"},
        parts="component",
        uncontrolled="parts of one whole",
        says="Of the winners' growth over the attribution's window the update's parts carry, on "
        "average, {raised}; against it work {lowered}.",
    ),
    When(
        name="mean birth of the behaviour",
        where={"measure": "birth", "run": "mean"},
        uncontrolled="an event in time",
        says={
            "shown": "The behaviour is born at {effect.short} on average.",
            "open": "In no run is the behaviour born.",
        },
    ),
    When(
        name="birth of the behaviour in {run}",
        where={"measure": "birth", "run": Not("mean")},
        each=("run",),
        uncontrolled="an event in time",
        quiet=True,
        marks={"open": "The behaviour is never born in {run}; the mean birth step leaves it out."},
    ),
    Finding(
        name="lead of the winner over the runner-up",
        where={"measure": "lead", "half": "confirmation", "run": Not("mean")},
        each=("run",),
        number="lead of the winner {head} over the runner-up in {run}",
        uncontrolled="the difference of two growths that have a control each",
        quiet=True,
        marks=dict.fromkeys(
            ("opposite", "open"),
            "In run {run} the runner-up grows no less than the winner on the events that did not "
            "choose them.",
        ),
    ),
    Finding(
        name="runs",
        where={"measure": "runs"},
        bound=5,
        uncontrolled="it is counted, not estimated",
        quiet=True,
        marks={
            "opposite": "{effect.short} seeds: the interval over seeds is rough; read it with the "
            "single runs."
        },
    ),
)
VIEWS = (
    Dots(
        name="growth",
        title="Growth of the scan's criterion over seeds",
        caption="Growth of winner, runner-up and bottom head of every run with intervals over "
        "events, and the mean over runs with its interval over seeds.",
        where={**_GROWTH, "chosen": ("winner", "runner_up", "bottom")},
        y=("run",),
        series="chosen",
    ),
    Stack(
        name="shares",
        title="Parts of the update in the winners' growth",
        caption="Share of the winner's growth over the attribution's window that each part of the "
        "update carries; parts to the left of 0 work against it.",
        where={"measure": "share"},
        parts="component",
        y=("run", "head"),
    ),
    Dots(
        name="births",
        title="When the behaviour was born",
        caption="The first checkpoint from which on the behaviour is there, by run.",
        where={"measure": "birth"},
        y=("run",),
    ),
)
TABLES = (
    Listing(
        title="Growth of every run's heads with intervals over events, and means over seeds",
        where={**_GROWTH, "chosen": Not("")},
        keys=("run", "seed", "chosen", "head"),
        control=("excess",),
    ),
    Listing(
        title="Shares of the winner's growth, by run",
        where={"measure": "share"},
        keys=("component",),
        across="run",
    ),
    Listing(
        title="Mean shares of the winners' growth with intervals over seeds",
        where={"measure": "share", "run": "mean"},
        keys=("component",),
    ),
    Listing(title="Birth of the behaviour", where={"measure": "birth"}, keys=("run", "seed")),
)

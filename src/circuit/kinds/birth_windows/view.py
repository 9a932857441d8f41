"""When things were born, and which steps later analyses should look at."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import BEHAVIOUR
from circuit.reports.views import Dots, Listing, Not

SECTION = BEHAVIOUR
QUESTION = "When was the lookup born, and which steps should later analyses look at?"
_OWN_BAND = "a curve is born where it leaves the interval that it had at the first checkpoint"
_BIRTHS = ("threshold", "stabilisation", "change_point")
FINDINGS = (
    Finding(
        name="curves born in the main window",
        table="spans",
        where={"window": "main", "measure": "pieces"},
        uncontrolled=_OWN_BAND,
        says={
            "shown": "Behaviour was born mainly from step {facts[main][0]} to {facts[main][1]}, "
            "the main window: {effect} of {facts[curves]} curves were born there ({evidence}).",
            "open": "Nothing was born in this run: none of {facts[curves]} curves moves beyond its "
            "interval to its level and stays there.",
        },
        marks={"open": "No birth was found, so every window named below is the whole run."},
    ),
    When(
        name="birth of accuracy by threshold",
        where={"measure": "at", "evidence": "accuracy", "method": "threshold"},
        uncontrolled=_OWN_BAND,
        says={
            "shown": "Accuracy stays at or above {threshold} from {effect:short} on.",
            "open": "Accuracy itself has no birth at {threshold}: it {why}.",
        },
        marks={
            "open": "The answer's accuracy was not born in this run: the windows are those of its "
            "parts."
        },
    ),
    Finding(
        name="share of accuracy's change in the main window",
        table="spans",
        where={"window": "main", "measure": "share"},
        uncontrolled="a share of a whole",
        says={"shown": "The main window holds {effect} of its change."},
    ),
    Finding(
        name="curves born in a window of their own",
        table="spans",
        where={"role": "apart", "measure": "pieces"},
        each=("window",),
        uncontrolled=_OWN_BAND,
        number="curves born in {window:words}, steps {setting}",
        says="Born apart, in steps {setting}: {evidence}.",
    ),
    Finding(
        name="curves not born",
        table="spans",
        where={"measure": "not_born"},
        uncontrolled=_OWN_BAND,
        says={"shown": "Not born: {evidence}."},
    ),
    Finding(
        name="curves whose largest change lies outside the main window",
        table="spans",
        where={"measure": "largest_change_outside_main"},
        uncontrolled="a count",
        quiet=True,
        marks={
            "shown": "The largest change between two checkpoints lies outside the main window for "
            "{evidence}: analyses of that window do not see it."
        },
    ),
    When(
        name="birth of {evidence} by {method:words}",
        where={"measure": "at", "method": _BIRTHS},
        each=("evidence", "method"),
        uncontrolled=_OWN_BAND,
        quiet=True,
    ),
    Finding(
        name="largest change between two checkpoints",
        where={"measure": "size", "method": Not("change_point")},
        each=("evidence", "method"),
        uncontrolled="the largest of many noisy changes is partly noise, so rather too large",
        number="{evidence}: {method:words}",
        quiet=True,
    ),
)
VIEWS = (
    Dots(
        name="timeline",
        title="What was born when",
        caption="When every curve came to its level to stay (threshold, or stabilisation of an "
        "order), the middle of its change, and between which checkpoints it changed most. Grey: "
        "from where a change began to where it was over.",
        where={"measure": "at"},
        y=("evidence",),
        series="method",
        control=("extent",),
        note="Main window: steps {facts[main][0]} to {facts[main][1]}.",
    ),
)
TABLES = (
    Listing(
        title="Windows: another analysis names one as this analysis' name, a dot and the window's; "
        "as fixed steps it is a line under the study's `windows` (share: of accuracy's change)",
        table="spans",
        where={"window": Not("")},
        keys=("window", "setting", "evidence"),
        across="measure",
    ),
    Listing(
        title="Steps of every birth by method",
        where={"measure": "at"},
        keys=("evidence", "method", "why"),
    ),
    Listing(
        title="From where to where, and how much of the curve's whole change",
        where={"measure": ("start", "stop", "share")},
        keys=("evidence", "method"),
        across="measure",
    ),
    Listing(
        title="Levels, and sizes of changes",
        where={"measure": ("level", "size")},
        keys=("evidence", "method", "measure"),
    ),
)

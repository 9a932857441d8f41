"""When things were born, and which steps later analyses should look at."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import BEHAVIOUR
from circuit.reports.views import Curves, Dots, Listing, Not

SECTION = BEHAVIOUR
QUESTION = "When was the lookup born, and which steps should later analyses look at?"
_OWN_BAND = "a curve is born where it leaves the interval that it had at the first checkpoint"
FINDINGS = (
    Finding(
        "curves born in the main window",
        {"window": "main", "measure": "pieces"},
        table="spans",
        uncontrolled=_OWN_BAND,
        says={
            "shown": "Behaviour was born mainly from step {facts[main][0]} to {facts[main][1]}, "
            "the main window: {effect} of {facts[curves]} curves were born there ({evidence}). "
            "Accuracy, on {heldout_split} too, is look-up only as far as it lies above the best "
            "positional shortcut of its split.",
            "open": "Nothing was born in this run: none of {facts[curves]} curves moves beyond its "
            "interval to its level and stays there.",
        },
        marks={"open": "No birth was found, so every window named below is the whole run."},
    ),
    When(
        "birth of accuracy by threshold",
        {"measure": "at", "evidence": "accuracy", "method": "threshold"},
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
    When(
        "birth of {evidence} by {method:words}",
        {"measure": "at", "method": ("threshold", "stabilisation", "change_point")},
        each=("evidence", "method"),
        uncontrolled=_OWN_BAND,
    ),
    Finding(
        "share of accuracy's change in the main window",
        {"window": "main", "measure": "share"},
        table="spans",
        uncontrolled="a share of a whole",
        says={"shown": "The main window holds {effect} of its change."},
    ),
    Finding(
        "curves born in a window of their own",
        {"role": "apart", "measure": "pieces"},
        table="spans",
        each=("window",),
        uncontrolled=_OWN_BAND,
        says="Born apart, in steps {setting}: {evidence}.",
    ),
    Finding(
        "curves not born",
        {"measure": "not_born"},
        table="spans",
        uncontrolled=_OWN_BAND,
        says={"shown": "Not born: {evidence}."},
    ),
    Finding(
        "curves whose largest change lies outside the main window",
        {"measure": "largest_change_outside_main"},
        table="spans",
        uncontrolled="a count",
        marks={
            "shown": "The largest change between two checkpoints lies outside the main window for "
            "{evidence}: analyses of that window do not see it."
        },
    ),
    Finding(
        "largest change between two checkpoints",
        {"measure": "size", "method": Not("change_point")},
        each=("evidence", "method"),
        uncontrolled="the largest of many noisy changes is partly noise, so rather too large",
        number="{evidence}: {method:words}",
    ),
)
VIEWS = (
    Curves(
        "learning_curve",
        "How accuracy came, and what was born when",
        caption="Answer accuracy on {split} and {heldout_split}. Dotted: from where on a curve "
        "stays at its level, of accuracy {threshold:g}; q and r are attention on the query key and "
        "the support value, w the margin between values, importance what removing a head costs. "
        "Shaded: the main window, in which most were born.",
        table="learning",
        where={"measure": "accuracy"},
        series="curve",
        marks={"measure": "birth"},
        place="first",
    ),
    Dots(
        "timeline",
        "What was born when",
        caption="When every curve came to its level to stay (threshold, or stabilisation of an "
        "order), the middle of its change, and between which checkpoints it changed most; grey: "
        "from where a change began to where it was over.",
        where={"measure": "at"},
        y=("evidence",),
        series="method",
        control=("extent",),
        note="Main window: steps {facts[main][0]} to {facts[main][1]}.",
    ),
)
_METHODS = ("evidence", "method")
TABLES = (
    Listing(
        "Windows, named ANALYSIS.WINDOW by other analyses or fixed under the study's `windows` "
        "(share: of accuracy's change)",
        {"window": Not("")},
        table="spans",
        keys=("window", "setting", "evidence"),
        across="measure",
    ),
    Listing(
        "From where to where, and how much of the curve's whole change",
        {"measure": ("start", "stop", "share")},
        keys=_METHODS,
        across="measure",
    ),
    Listing(
        "Steps of every birth by method, levels, and sizes of changes",
        {"measure": ("at", "level", "size")},
        keys=(*_METHODS, "measure", "why"),
    ),
)

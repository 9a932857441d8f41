"""Which part of the updates built the features of a dictionary."""

from circuit.config.terms import COMPONENTS
from circuit.kinds.update_attribution.view import EXACT, HELD_TO, PARTS
from circuit.reports.findings import Finding, Sum
from circuit.reports.sections import UPDATES
from circuit.reports.views import Listing, Not, Stack

SECTION = UPDATES
QUESTION = "Which part of the updates built the features of a dictionary?"
FIRST = {"asked": "first"}
SPLIT = {"measure": "contribution", "component": Not("whole"), "asked": ("first", "also")}
PLAIN = "clipped_sgd"
GROWTH = {"measure": "growth", "path_rule": "", "component": ""}
FINDINGS = (
    Finding(
        "growth",
        GROWTH,
        each=("scalar",),
        spoken=FIRST,
        uncontrolled="features were chosen by their growth on other events; here it is measured",
        number="growth of {scalar}",
        says={
            "shown": "Of {facts[features]} features, {scalar} grew most on events that chose: from "
            "step {window[0]:,} to {window[1]:,} its pre-activation changed by {effect} on others.",
            "open": "Of {facts[features]} features, {scalar} grew most on events that chose; on "
            "others its pre-activation is not shown to have grown: {effect}.",
        },
    ),
    Finding(
        "largest component",
        {"measure": "contribution", "component": COMPONENTS},
        each=("scalar",),
        spoken=FIRST,
        pick=("component",),
        control=({"against": PLAIN},),
        number="{scalar}, {component:words}",
        says="That {component:words} gave more to it than plain gradient steps from the same "
        "states would have {is_shown}: {effect} of this, where those give {control}.",
    ),
    Finding(
        "against plain gradient descent",
        {"measure": "contribution", "component": "whole"},
        each=("scalar",),
        control=({"against": PLAIN},),
        number="{scalar}, all components",
    ),
    Sum(
        "{scalar}",
        SPLIT,
        each=("scalar",),
        parts="component",
        names=PARTS,
        uncontrolled=EXACT,
    ),
    Finding(
        "components that gave most",
        {"measure": "largest_for", "component": COMPONENTS},
        each=("component",),
        uncontrolled="counted over all features of the dictionary; none is drawn",
        bound=None,
        number="features of which {component:words} gave most towards their change",
    ),
    Finding(
        "residual",
        {"measure": "largest_residual"},
        uncontrolled=HELD_TO,
        bound="$residual_bound",
        number="{scalar}: closure residual, of the total absolute movement; the largest of all",
        says="Parts sum to every feature's change but for at most {effect} of its movement "
        "(closure residual of {scalar}, by {path_rule}).",
        marks={
            "shown": "{scalar}: the closure residual is {effect} of the total absolute movement, "
            "above the bound of {residual_bound}."
        },
    ),
)
VIEWS = (
    Stack(
        "features",
        "What built the features that grew most",
        caption="Contributions of the update's components to each told feature's pre-activation, "
        "and its actual growth (black), which they sum to.",
        where=SPLIT,
        y=("scalar",),
        parts="component",
        total=GROWTH,
        note="Path rule {path_rule}, means over events; the features were chosen on others.",
    ),
    Stack(
        "parameter_groups",
        "In which parameters the features that grew most were built",
        caption="The same contributions over parameter groups: the largest, and the exact rest.",
        table="largest_groups",
        panels=("scalar",),
        y=("group",),
        parts="component",
    ),
)
TABLES = (
    Listing(
        "Told features: parts of their growth, beside plain gradient steps from the same states",
        {"measure": "contribution", "asked": ("first", "also")},
        keys=("scalar", "component"),
        control=(PLAIN, "excess"),
    ),
    Listing(
        "Share of all features that a component gave most to, towards their change",
        {"measure": "largest_for"},
        keys=("component",),
    ),
    Listing(
        "Told features: closure residual as a share of the movement",
        {"measure": "residual_of_movement"},
        keys=("scalar",),
    ),
    Listing(
        "Features that grew most, of all",
        {"measure": "growth"},
        table="features",
        keys=("scalar", "path_rule"),
        sort=True,
        top=20,
    ),
)

"""Which part of which update, in which parameters, built a scalar."""

from collections.abc import Mapping

from circuit.evidence import Verdict
from circuit.reports.findings import Finding, Sum
from circuit.reports.sections import UPDATES
from circuit.reports.views import Curves, Listing, Not, Stack

SECTION = UPDATES
QUESTION = "What built {facts[asked]}: which part of the updates, in which parameters?"
PARTS = {
    "current_gradient": "the current gradient",
    "momentum": "momentum",
    "weight_decay": "weight decay",
    "rounding": "rounding",
    "checkpoint_difference": "the difference of checkpoints",
    "basis_motion": "motion of the basis",
    "rank_cut_jump": "jumps at the rank cut",
    "branch_switch": "switches of the rival",
    "residual": "the closure residual",
}
"""Everything that may sum to growth, as people call it."""
MAIN = {"path_rule": "$path_rule"}
FIRST = {"asked": "first"}
OTHERS = {"asked": ("also", "further")}
DRAWN = {"asked": ("first", "also")}
NO_GROWTH = "growth is compared with none: what was attributed is this change, whatever made it"
EXACT = "parts of a sum, known exactly"
HELD_TO = "the settings' bound is what it is held against"
TOO_MUCH: Mapping[Verdict, str] = {
    "shown": "{scalar}: the closure residual is {effect} of the total absolute movement, above "
    "the bound of {residual_bound}."
}
GREW = "from step {window[0]:,} to {window[1]:,} by {effect}"
GROWTHS = (
    Finding(
        name="growth",
        where={"measure": "growth", **FIRST},
        uncontrolled=NO_GROWTH,
        number="growth of {scalar} ({head})",
        says={
            "shown": "{scalar} ({head}) grew " + GREW + ".",
            "opposite": "{scalar} ({head}) changed " + GREW + ".",
            "open": "{scalar} ({head}) is not shown to have changed: " + GREW + ".",
        },
    ),
    Finding(
        name="growth of the others",
        where={"measure": "growth", **OTHERS},
        uncontrolled=NO_GROWTH,
        number="growth of {scalar} ({head})",
        each=("scalar",),
        quiet=True,
    ),
)
RESIDUALS = (
    Finding(
        name="residual",
        where={"measure": "residual_of_movement", **MAIN, **FIRST},
        uncontrolled=HELD_TO,
        bound="$residual_bound",
        number="{scalar} ({head}): closure residual, of the total absolute movement",
        says="Of all its movement up and down, {path_rule} leaves {effect} unexplained (closure "
        "residual).",
        marks=TOO_MUCH,
    ),
    Finding(
        name="residuals of the others",
        where={"measure": "residual_of_movement", **MAIN, **OTHERS},
        uncontrolled=HELD_TO,
        bound="$residual_bound",
        number="{scalar} ({head}): closure residual, of the total absolute movement",
        each=("scalar",),
        quiet=True,
        marks=TOO_MUCH,
    ),
)
FINDINGS = (
    GROWTHS[0],
    Sum(
        name="{scalar} ({head})",
        where={"measure": "contribution", "component": Not("whole"), **MAIN, **FIRST},
        parts="component",
        names=PARTS,
        uncontrolled=EXACT,
        says="Of the parts of its updates, {raised} raised it; {lowered} lowered it.",
    ),
    Sum(
        name="{scalar} by {grouping:words}",
        table="largest_groups",
        where={"component": "whole", **FIRST},
        parts="group",
        uncontrolled=EXACT,
        says="Of parameters by {grouping:words}, {raised} raised it; {lowered} lowered it.",
    ),
    Finding(
        name="against plain gradient descent",
        where={"measure": "contribution", "component": "whole", **MAIN, **FIRST},
        control=({"against": "raw_sgd"}, {"against": "clipped_sgd"}),
        number="{scalar} ({head}): all components",
        says="Together the updates gave {effect}, where plain gradient steps from the same states "
        "would have given {control}; the split of current gradient and momentum is a convention.",
    ),
    RESIDUALS[0],
    Finding(
        name="residual under another path rule",
        where={"measure": "residual_of_movement", "path_rule": Not("$path_rule"), **FIRST},
        uncontrolled=HELD_TO,
        bound="$residual_bound",
        number="{scalar} ({head}): closure residual under {path_rule}",
        each=("path_rule",),
        says="Under {path_rule} {effect} would be left.",
    ),
    GROWTHS[1],
    Sum(
        name="{scalar} ({head}) as well",
        where={"measure": "contribution", "component": Not("whole"), **MAIN, **OTHERS},
        parts="component",
        names=PARTS,
        uncontrolled=EXACT,
        each=("scalar",),
        quiet=True,
    ),
    RESIDUALS[1],
)
VIEWS = (
    Stack(
        name="growth",
        title="Growth of each scalar and what the update's components contributed",
        caption="Actual growth (black) and the cumulative contributions of the update's "
        "components, stacked; they, the terms of bases and rivals that changed, and the residual "
        "sum to the growth. Scalars beyond six are in the tables.",
        table="intervals",
        where={"measure": "contribution", "component": Not("whole"), **MAIN, **DRAWN},
        panels=("scalar",),
        x="step",
        parts="component",
        total={"measure": "growth", "path_rule": "", "component": ""},
        note="Path rule {path_rule}, means over events.",
    ),
    Stack(
        name="parameter_groups",
        title="Contribution of parameter groups to the growth of each scalar",
        caption="The same growth split over parameter groups: the largest, and the exact rest; "
        "they sum to the whole.",
        table="largest_groups",
        where=DRAWN,
        panels=("scalar",),
        y=("group",),
        parts="component",
        total={"component": "whole"},
    ),
    Curves(
        name="residual",
        title="Closure residual of every scalar under each path rule",
        caption="What components and terms leave of every scalar's growth, as a share of its total "
        "absolute movement (log scale): of the window, and summed over the sizes of all "
        "intervals' residuals.",
        where={"measure": ("residual_of_movement", "residual_sizes_of_movement")},
        panels=("measure",),
        x="path_rule",
        series="scalar",
        log=True,
        note="Bound: {residual_bound}.",
    ),
)
SUMS = (
    Listing(
        title="Window sums by path rule",
        where={"measure": "contribution", "component": Not("whole")},
        keys=("scalar", "path_rule", "unit"),
        across="component",
    ),
    Listing(
        title="Growth and the sum of the sizes of all changes",
        where={"measure": ("growth", "movement")},
        keys=("scalar", "head", "unit"),
        across="measure",
    ),
    Listing(
        title="Closure residuals: sum of the sizes of the intervals', and shares of the movement",
        where={"measure": ("residual_sizes", "residual_of_movement", "residual_sizes_of_movement")},
        keys=("scalar", "path_rule"),
        across="measure",
    ),
)
TABLES = (
    *SUMS,
    Listing(
        title="All components, and what plain gradient steps from the same states would have given",
        where={"measure": "contribution", "component": "whole"},
        keys=("scalar", "path_rule"),
        control=("raw_sgd", "clipped_sgd"),
    ),
    Listing(
        title="Largest parameter groups, and the exact rest",
        table="largest_groups",
        keys=("scalar", "grouping", "group", "groups", "unit"),
        across="component",
    ),
)

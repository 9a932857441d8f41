"""Which part of which update, in which parameters, built a scalar."""

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
DRAWN = {"asked": ("first", "also")}
WHOLE = {"measure": "contribution", "component": "whole", **MAIN}
SPLIT = {"measure": "contribution", "component": Not("whole")}
EXACT = "parts of a sum, known exactly"
HELD_TO = "the settings' bound is what it is held against"
PLAIN = ("raw_sgd", "clipped_sgd")
_GREW = "from step {window[0]:,} to {window[1]:,} by {effect}"
GROWTH = Finding(
    "growth",
    {"measure": "growth"},
    each=("scalar",),
    spoken=FIRST,
    uncontrolled="growth is compared with none: what was attributed is this change",
    number="growth of {scalar} ({head})",
    says={
        "shown": "{scalar} ({head}) grew " + _GREW + ".",
        "opposite": "{scalar} ({head}) changed " + _GREW + ".",
        "open": "{scalar} ({head}) is not shown to have changed: " + _GREW + ".",
    },
)
RESIDUAL = Finding(
    "residual",
    {"measure": "residual_of_movement", **MAIN},
    each=("scalar",),
    spoken=FIRST,
    uncontrolled=HELD_TO,
    bound="$residual_bound",
    number="{scalar} ({head}): closure residual, of the total absolute movement",
    says="Of all its movement up and down, {path_rule} leaves {effect} unexplained (closure "
    "residual).",
    marks={
        "shown": "{scalar}: the closure residual is {effect} of the total absolute movement, above "
        "the bound of {residual_bound}."
    },
)
FINDINGS = (
    GROWTH,
    Sum(
        "{scalar} ({head})",
        {**SPLIT, **MAIN},
        each=("scalar",),
        spoken=FIRST,
        parts="component",
        names=PARTS,
        uncontrolled=EXACT,
        says="Of the parts of its updates, {raised} raised it; {lowered} lowered it.",
    ),
    Sum(
        "{scalar} by {grouping:words}",
        {"component": "whole", **FIRST},
        table="largest_groups",
        parts="group",
        uncontrolled=EXACT,
        says="Of parameters by {grouping:words}, {raised} raised it; {lowered} lowered it.",
    ),
    Finding(
        "against plain gradient descent",
        {**WHOLE, **FIRST},
        control=tuple({"against": plain} for plain in PLAIN),
        number="{scalar} ({head}): all components",
        says="Together the updates gave {effect}, where plain gradient steps from the same states "
        "would have given {control}; the split of current gradient and momentum is a convention.",
    ),
    RESIDUAL,
    Finding(
        "residual under another path rule",
        {"measure": "residual_of_movement", "path_rule": Not("$path_rule"), **FIRST},
        each=("path_rule",),
        uncontrolled=HELD_TO,
        bound="$residual_bound",
        number="{scalar} ({head}): closure residual under {path_rule}",
        says="Under {path_rule} {effect} would be left.",
    ),
)
VIEWS = (
    Stack(
        "growth",
        "Growth of each scalar and what the update's components contributed",
        caption="Actual growth (black), and the cumulative contributions that sum to it.",
        table="intervals",
        where={**SPLIT, **MAIN, **DRAWN},
        panels=("scalar",),
        x="step",
        parts="component",
        total={"measure": "growth", "path_rule": "", "component": ""},
        note="Path rule {path_rule}, means over events.",
    ),
    Stack(
        "parameter_groups",
        "Contribution of parameter groups to the growth of each scalar",
        caption="The same growth split over parameter groups: the largest, and the exact rest.",
        table="largest_groups",
        where=DRAWN,
        panels=("scalar",),
        y=("group",),
        parts="component",
        total={"component": "whole"},
    ),
    Curves(
        "residual",
        "Closure residual of every scalar under each path rule",
        caption="What components and terms leave of every scalar's growth, as a share of its total "
        "absolute movement: of the window, and summed over the sizes of all intervals' residuals.",
        where={"measure": ("residual_of_movement", "residual_sizes_of_movement")},
        panels=("measure",),
        x="path_rule",
        series="scalar",
        log=True,
        note="Bound: {residual_bound}.",
    ),
)
SIZES = (
    Listing(
        "Growth and the sum of the sizes of all changes",
        {"measure": ("growth", "movement")},
        keys=("scalar", "head", "unit"),
        across="measure",
    ),
    Listing(
        "Closure residuals: sum of the sizes of the intervals', and shares of the movement",
        {"measure": ("residual_sizes", "residual_of_movement", "residual_sizes_of_movement")},
        keys=("scalar", "path_rule"),
        across="measure",
    ),
)
TABLES = (
    Listing(
        "Window sums by path rule", SPLIT, keys=("scalar", "path_rule", "unit"), across="component"
    ),
    *SIZES,
    Listing(
        "All components, and what plain gradient steps from the same states would have given",
        {"measure": "contribution", "component": "whole"},
        keys=("scalar", "path_rule"),
        control=PLAIN,
    ),
    Listing(
        "Largest parameter groups, and the exact rest",
        table="largest_groups",
        keys=("scalar", "grouping", "group", "groups", "unit"),
        across="component",
    ),
)

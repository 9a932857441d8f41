"""Which training data built a scalar, and through which memory."""

from collections.abc import Mapping

from circuit.evidence import Verdict
from circuit.kinds.update_attribution.view import (
    DRAWN,
    EXACT,
    FIRST,
    GROWTHS,
    MAIN,
    OTHERS,
    PARTS,
    RESIDUALS,
    SUMS,
)
from circuit.reports.findings import Finding, Sum
from circuit.reports.sections import TRAINING_DATA
from circuit.reports.views import Curves, Listing, Not, Scatter, Stack

SECTION = TRAINING_DATA
QUESTION = "Which training data, by {data:words}, built {facts[asked]}, and through which memory?"
PATHS = {
    **PARTS,
    "current_gradient": "the gradients of the steps themselves",
    "before_window": "gradients from before the window",
}
"""Through what training data acted, and what belongs to none of it, as people call it."""
NONE = tuple(PATHS)
"""What is no group of data, where groups are told."""
GIVEN = {"measure": "contribution", "component": "whole", **MAIN}
CHANCE = (
    "groups that differ by chance alone are another analysis (`data: sample`); their sizes say "
    "how far apart chance puts them"
)
LITTLE = 0.05
LEFT = "{scalar} ({head}): left of the sizes of all groups when they are summed"
CANCELLED: Mapping[Verdict, str] = {
    "opposite": "The groups pull against each other: of the sizes of their contributions to "
    "{scalar}, {effect} is left when they are summed. A group's size then tells how strongly it "
    "pulls along what the others undo, not how much of the growth is its own."
}
FINDINGS = (
    GROWTHS[0],
    Sum(
        name="{scalar} ({head})",
        where={**GIVEN, "data_group": Not(*NONE), **FIRST},
        parts="data_group",
        uncontrolled=CHANCE,
        says="Of the training data, {raised} raised it; {lowered} lowered it.",
    ),
    Finding(
        name="left of the groups' sizes",
        where={"measure": "left_of_sizes", **FIRST},
        uncontrolled=EXACT,
        bound=LITTLE,
        number=LEFT,
        says={"opposite": "They cancel but for {effect} of their sizes, so that none explains it."},
        marks=CANCELLED,
    ),
    Sum(
        name="{scalar} ({head}), all groups",
        where={"measure": "memory", **MAIN, **FIRST},
        parts="component",
        names=PATHS,
        uncontrolled=EXACT,
        says="Of all groups together and of what belongs to none, {raised} raised it; {lowered} "
        "lowered it.",
    ),
    Finding(
        name="most for its number of targets",
        where={"measure": "per_target", **FIRST},
        pick=("data_group",),
        rank="size",
        uncontrolled=CHANCE,
        number="{scalar} ({head}): a target of {data_group} beside the average one",
        says="For its number of targets {data_group:words} counted most: a target of it moved "
        "{scalar} {effect} times as much as the average target.",
    ),
    Finding(
        name="chance",
        where={"measure": "apart", **FIRST},
        uncontrolled="these groups are the control of other groupings",
        number="{scalar} ({head}): how far random buckets lie apart",
        says="The buckets are random: that they lie {effect} apart is chance, and groups of "
        "another kind must lie further apart, for their number of targets, to mean anything.",
    ),
    Finding(
        name="supporters",
        where={**GIVEN, "data_group": "supports", **FIRST},
        uncontrolled="supporters are told apart by the sign of their own push",
        number="{scalar} ({head}): what its supporters gave",
        says="Whom a program supports was decided at every step by the sign of its own gradient's "
        "push, so that supporters raise {scalar} is nearly so by construction; how much, and "
        "through which memory, is not.",
    ),
    RESIDUALS[0],
    GROWTHS[1],
    Sum(
        name="{scalar} ({head}) through all groups",
        where={"measure": "memory", **MAIN, **OTHERS},
        parts="component",
        names=PATHS,
        uncontrolled=EXACT,
        each=("scalar",),
        quiet=True,
    ),
    Finding(
        name="left of the groups' sizes for other scalars",
        where={"measure": "left_of_sizes", **OTHERS},
        uncontrolled=EXACT,
        bound=LITTLE,
        number=LEFT,
        each=("scalar",),
        quiet=True,
        marks=CANCELLED,
    ),
    RESIDUALS[1],
    Finding(
        name="removal",
        table="removal",
        where={"measure": "parameters_missed", **FIRST},
        each=("redone",),
        pick=("data_group",),
        bound=0.1,
        uncontrolled="the step taken again is itself the check of what was attributed",
        number="removal of {share} of a group from step {step:,}, {redone}: miss of the predicted "
        "change of the parameters",
        quiet=True,
        marks={
            "shown": "Removing {share} of {data_group:words} from step {step:,} moves the "
            "parameters otherwise than predicted by {effect} of the prediction."
        },
    ),
)
VIEWS = (
    Stack(
        name="data_growth",
        title="Growth of each scalar and what every group of training data gave to it",
        caption="Actual growth (black) and what each group of training data gave to it, current "
        "gradient and momentum together, with what belongs to no data of the window.",
        table="intervals",
        where={**GIVEN, **DRAWN},
        panels=("scalar",),
        x="step",
        parts="data_group",
        total={"measure": "growth", "component": "", "data_group": "", "path_rule": ""},
        note="Path rule {path_rule}, means over events.",
    ),
    Stack(
        name="data_memory",
        title="Through which memory each group of training data acted",
        caption="What each group gave through the gradient of the step itself and through "
        "momentum; bars of a panel sum to the growth.",
        where={"measure": "contribution", "component": Not("whole"), **MAIN, **DRAWN},
        panels=("scalar",),
        y=("data_group",),
        parts="component",
        top=14,
        note="The split is a convention: the preconditioner holds both.",
    ),
    Curves(
        name="first_order_pushes",
        title="Which data would move each scalar, checkpoint by checkpoint",
        caption="What plain gradient descent on the training loss gives to each scalar, split over "
        "groups; and the cosine with the descent direction of a group's own loss, beside the "
        "control with exchanged answers.",
        table="first_order",
        where={"measure": ("contribution", "alignment"), **DRAWN},
        panels=("scalar", "measure"),
        series="data_group",
        control=("shuffled answers",),
    ),
    Scatter(
        name="removal_oracle",
        title="Removal of data from a step: predicted and actual change of each scalar",
        caption="An independent check: a share of one group's gradient is taken out of the "
        "window's first step, which is then taken again, with preconditioner and clip coefficient "
        "held (as the attribution has them) and in full.",
        table="removal",
        x={"measure": "predicted_per_share"},
        y={"measure": "actual_per_share"},
        panels=("scalar", "redone"),
        each=("data_group", "share"),
        series="share",
        where={"asked": ("first", "also")},
        note="Changes are divided by the share.",
    ),
    Curves(
        name="removal_missed",
        title="What the prediction of a removal misses of the parameters' change",
        caption="The miss shrinks with the share that is taken out: the prediction is of first "
        "order.",
        table="removal",
        where={"measure": "parameters_missed"},
        panels=("redone",),
        x="share",
        series="data_group",
        log=True,
    ),
)
TABLES = (
    Listing(
        title="Contributions of data by {data:words} over the window, beside what plain gradient "
        "steps from the same states would have given",
        where={**GIVEN, "data_group": Not(*NONE)},
        keys=("scalar", "data_group"),
        control=("raw_sgd", "clipped_sgd"),
        sort=True,
        top=36,
    ),
    Listing(
        title="The same by memory, and what else sums to the growth",
        where={"measure": "contribution", "component": Not("whole"), **MAIN},
        keys=("scalar", "data_group", "unit"),
        across="component",
        top=48,
    ),
    Listing(
        title="Share of the sizes of all contributions, share of all targets, and one over the "
        "other",
        where={"measure": ("share", "share_of_targets", "per_target")},
        keys=("scalar", "data_group"),
        across="measure",
        top=36,
    ),
    *SUMS[1:],
    Listing(
        title="First order at step {first:,}: what descending each group's loss would give",
        table="first_order",
        where={"step": "first", "measure": ("contribution", "alignment")},
        keys=("scalar", "data_group", "measure"),
        control=("shuffled answers", "excess"),
        top=48,
    ),
    Listing(
        title="Removal of the smallest share from step {first:,}: predicted and actual change",
        table="removal",
        where={"measure": ("predicted", "actual"), **FIRST},
        keys=("data_group", "share", "redone"),
        across="measure",
    ),
    Listing(
        title="Removal: what the prediction misses of the parameters' change",
        table="removal",
        where={"measure": "parameters_missed"},
        keys=("data_group", "share"),
        across="redone",
        top=48,
    ),
)

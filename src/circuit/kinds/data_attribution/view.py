"""Which training data built a scalar, and through which memory."""

from circuit.kinds.update_attribution import view as updates
from circuit.kinds.update_attribution.view import DRAWN, EXACT, FIRST, MAIN, SPLIT, WHOLE
from circuit.reports.findings import Finding, Sum
from circuit.reports.sections import TRAINING_DATA
from circuit.reports.views import Curves, Listing, Not, Scatter, Stack

SECTION = TRAINING_DATA
QUESTION = "Which training data, by {data:words}, built {facts[asked]}, and through which memory?"
PATHS = {
    **updates.PARTS,
    "current_gradient": "the gradients of the steps themselves",
    "before_window": "gradients from before the window",
}
"""Through what training data acted, and what belongs to none of it, as people call it."""
GROUPS = {"data_group": Not(*PATHS)}
CHANCE = (
    "groups that differ by chance alone are another analysis (`data: sample`); their sizes say "
    "how far apart chance puts them"
)
FINDINGS = (
    updates.GROWTH,
    Sum(
        "{scalar} ({head})",
        {**WHOLE, **GROUPS, **FIRST},
        parts="data_group",
        uncontrolled=CHANCE,
        says="Of the training data, {raised} raised it; {lowered} lowered it.",
    ),
    Finding(
        "left of the groups' sizes",
        {"measure": "left_of_sizes"},
        each=("scalar",),
        spoken=FIRST,
        uncontrolled=EXACT,
        bound=0.05,
        number="{scalar} ({head}): left of the sizes of all groups when they are summed",
        says={
            "opposite": "They cancel but for {effect} of their sizes, so that none explains it.",
        },
        marks={
            "opposite": "The groups pull against each other: of the sizes of their contributions "
            "to {scalar}, {effect} is left when they are summed. A group's size then tells how "
            "strongly it pulls along what the others undo, not how much of the growth is its own."
        },
    ),
    Sum(
        "{scalar} ({head}), all groups",
        {"measure": "memory", **MAIN},
        each=("scalar",),
        spoken=FIRST,
        parts="component",
        names=PATHS,
        uncontrolled=EXACT,
        says="Of all groups together and of what belongs to none, {raised} raised it; {lowered} "
        "lowered it.",
    ),
    Finding(
        "most for its number of targets",
        {"measure": "per_target", **FIRST},
        pick=("data_group",),
        rank="size",
        uncontrolled=CHANCE,
        number="{scalar} ({head}): a target of {data_group} beside the average one",
        says="For its number of targets {data_group:words} counted most: a target of it moved "
        "{scalar} {effect} times as much as the average target.",
    ),
    Finding(
        "chance",
        {"measure": "apart", **FIRST},
        uncontrolled="these groups are the control of other groupings",
        number="{scalar} ({head}): how far random buckets lie apart",
        says="The buckets are random: that they lie {effect} apart is chance, which groups of "
        "another kind must exceed, for their number of targets, to mean anything.",
    ),
    Finding(
        "supporters",
        {**WHOLE, "data_group": "supports", **FIRST},
        uncontrolled="supporters are told apart by the sign of their own push",
        number="{scalar} ({head}): what its supporters gave",
        says="Whom a program supports was decided at every step by the sign of its own gradient's "
        "push, so that supporters raise {scalar} is nearly so by construction; how much, and "
        "through which memory, is not.",
    ),
    updates.RESIDUAL,
    Finding(
        "removal",
        {"measure": "parameters_missed", **FIRST},
        table="removal",
        each=("redone",),
        pick=("data_group",),
        bound=0.1,
        uncontrolled="the step taken again is itself the check of what was attributed",
        number="removal of {share} of a group from step {step:,}, {redone}: miss of the predicted "
        "change of the parameters",
        marks={
            "shown": "Removing {share} of {data_group:words} from step {step:,} moves the "
            "parameters otherwise than predicted by {effect} of the prediction."
        },
    ),
)
VIEWS = (
    Stack(
        "data_growth",
        "Growth of each scalar and what every group of training data gave to it",
        caption="Actual growth (black) and what each group gave to it, current gradient and "
        "momentum together, with what belongs to no data of the window.",
        table="intervals",
        where={**WHOLE, **DRAWN},
        panels=("scalar",),
        x="step",
        parts="data_group",
        total={"measure": "growth", "component": "", "data_group": "", "path_rule": ""},
        note="Path rule {path_rule}, means over events.",
    ),
    Stack(
        "data_memory",
        "Through which memory each group of training data acted",
        caption="What each group gave through the gradient of the step itself and through "
        "momentum; bars of a panel sum to the growth.",
        where={**SPLIT, **MAIN, **DRAWN},
        panels=("scalar",),
        y=("data_group",),
        parts="component",
        top=14,
        note="The split is a convention: the preconditioner holds both.",
    ),
    Curves(
        "first_order_pushes",
        "Which data would move each scalar, checkpoint by checkpoint",
        caption="What plain gradient descent on the training loss gives to each scalar, split over "
        "groups, and the cosine with the descent direction of a group's own loss.",
        table="first_order",
        where={"measure": ("contribution", "alignment"), **DRAWN},
        panels=("scalar", "measure"),
        series="data_group",
        control=("shuffled answers",),
    ),
    Scatter(
        "removal_oracle",
        "Removal of data from a step: predicted and actual change of each scalar",
        caption="A share of one group's gradient is taken out of the window's first step, which is "
        "then taken again, with preconditioner and clip coefficient held (as the attribution has "
        "them) and in full.",
        table="removal",
        where=DRAWN,
        x={"measure": "predicted_per_share"},
        y={"measure": "actual_per_share"},
        panels=("scalar", "redone"),
        each=("data_group", "share"),
        series="share",
        note="Changes are divided by the share.",
    ),
    Curves(
        "removal_missed",
        "What the prediction of a removal misses of the parameters' change",
        caption="The prediction is of first order: the miss shrinks with the share taken out.",
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
        "Contributions of data by {data:words} over the window, beside what plain gradient steps "
        "from the same states would have given",
        {**WHOLE, **GROUPS},
        keys=("scalar", "data_group"),
        control=updates.PLAIN,
        sort=True,
        top=36,
    ),
    Listing(
        "The same by memory, and what else sums to the growth",
        {**SPLIT, **MAIN},
        keys=("scalar", "data_group", "unit"),
        across="component",
        top=48,
    ),
    Listing(
        "Share of the sizes of all contributions, share of all targets, and one over the other",
        {"measure": ("share", "share_of_targets", "per_target")},
        keys=("scalar", "data_group"),
        across="measure",
        top=36,
    ),
    *updates.SIZES,
    Listing(
        "First order at step {first:,}: what descending each group's loss would give",
        {"step": "first", "measure": ("contribution", "alignment")},
        table="first_order",
        keys=("scalar", "data_group", "measure"),
        control=("shuffled answers", "excess"),
        top=48,
    ),
    Listing(
        "Removal of the smallest share from step {first:,}: predicted and actual change",
        {"measure": ("predicted", "actual"), **FIRST},
        table="removal",
        keys=("data_group", "share", "redone"),
        across="measure",
    ),
    Listing(
        "Removal: what the prediction misses of the parameters' change",
        {"measure": "parameters_missed"},
        table="removal",
        keys=("data_group", "share"),
        across="redone",
        top=48,
    ),
)

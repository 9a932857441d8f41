"""Which neurons serve several candidates, one, or one against another, and what sets of them do."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import UPDATES
from circuit.reports.views import Cells, Curves, Dots, Listing, Not, Stack

SECTION = UPDATES
QUESTION = "Which neurons serve several candidates, one of them, or one against another?"
_READOUTS, _RANDOM = "random read-outs", "random sets of like rate and norm"
_EXCESS = f"excess over {_RANDOM}"
_SHARED, _NOTHING, _MARGIN = "shared positive", "nothing", "answer_margin"
_COUNTS = {"measure": "neurons", "half": "confirmation"}
_BY_CHANCE = ({"against": _READOUTS},)
_ABLATED, _ALONE = {"edit": "set ablated"}, {"edit": "set alone"}
_EFFECT, _LAST = {"measure": "effect"}, {"step": "last"}
_BESIDE = ({"against": _RANDOM},)
_BOTH = {"edit": ("set ablated", "set alone")}
_ANSWER = {"candidate": _MARGIN}
FINDINGS = (
    Finding(
        "neurons that serve several candidates",
        {**_COUNTS, "group": _SHARED},
        control=_BY_CHANCE,
        says={
            "shown": "Neurons that drive several candidates up, on either half of the events: "
            "{effect}, against {control} of random read-outs.",
            "open": "Not more neurons are shown to serve several candidates than by chance: "
            "{effect}, against {control} of random read-outs.",
        },
    ),
    Finding(
        "neurons of every other class",
        {**_COUNTS, "group": Not(_SHARED)},
        each=("group",),
        control=_BY_CHANCE,
        number="neurons {group}",
        says={"shown": "Those {group:words}: {effect}, against {control} by chance."},
    ),
    Finding(
        "what is needed",
        {**_EFFECT, **_LAST, **_ABLATED},
        each=("candidate", "group"),
        spoken=_ANSWER,
        control=_BESIDE,
        number="{group} ablated: damage to {candidate} at step {step}",
        says={
            "shown": "Without the set {group:words} the answer's margin loses {effect} at step "
            "{step}, more than without random sets.",
            "opposite": "Without the set {group:words} the answer's margin rises: {effect}.",
        },
    ),
    Finding(
        "what is enough",
        {**_EFFECT, **_LAST, **_ALONE},
        each=("candidate", "group"),
        spoken=_ANSWER,
        control=_BESIDE,
        number="{group} alone: repair of {candidate} at step {step}",
        says={
            "shown": "Alone in MLPs that are else ablated, the set {group:words} gives the margin "
            "back {effect}.",
            "opposite": "Alone there, the set {group:words} takes more from it: {effect}.",
        },
    ),
    When(
        "since when",
        {"measure": "holds_from"},
        each=("candidate", "group", "edit"),
        spoken={**_ANSWER, **_ABLATED},
        number="{candidate}: from when {group}, {edit}, is beyond random sets",
        says={"shown": "It loses by ablation of {group:words} from step {effect.mean:,.0f} on."},
    ),
    Finding(
        "miss of the path rule",
        {"measure": "residual_share"},
        each=("candidate",),
        uncontrolled="the bound is the analysis' own",
        bound="$residual_bound",
        number="{candidate}: missed by {path_rule}, of all movement",
        marks={
            "shown": "Between checkpoints {path_rule} misses {effect} of the movement of "
            "{candidate}: take more checkpoints, or a finer rule.",
        },
    ),
)
VIEWS = (
    Cells(
        "drives",
        "What each neuron's own change gave the candidates, by the step where an interval begins",
        caption="In-row, in-bias and out-column of a neuron, along the chord between checkpoints; "
        "of every class the neurons with the surest signs.",
        where={"measure": "interval_drive"},
        x="step",
        y="label",
        panels=("candidate",),
    ),
    Dots(
        "classes",
        "Neurons in each class",
        caption="Those that the half of the events that chooses puts there, and of these those "
        "that the other half puts there too.",
        where={"measure": "neurons", "half": ("selection", "confirmation")},
        y=("group",),
        series="half",
        control=(_READOUTS,),
    ),
    Stack(
        "parts",
        "What the growth of each candidate is the sum of",
        where={"measure": "contribution"},
        parts="group",
        x="step",
        panels=("candidate",),
        total={"measure": "growth", "group": ""},
    ),
    Dots(
        "sets",
        "What sets of neurons do, ablated or alone, at step {last}",
        caption="Damage where the set's activations are at their mean; repair where all others of "
        "its MLPs are, and those of the set are not.",
        where={**_EFFECT, **_LAST, **_BOTH},
        y=("group",),
        panels=("candidate", "edit"),
        control=(_RANDOM,),
    ),
    Curves(
        "sets_over_training",
        "What sets of neurons do, over training",
        where={**_EFFECT, **_BOTH},
        series="group",
        panels=("candidate", "edit"),
        control=(_RANDOM,),
    ),
)
TABLES = (
    Listing(
        "Neurons of every class, on the half of the events that did not choose it",
        {"measure": "drive", "half": "confirmation", "group": Not(_NOTHING)},
        keys=("neuron", "group", "candidate"),
        control=(_READOUTS, "excess"),
    ),
    Listing(
        "Sets at step {last}, ablated and alone; shares are of what all neurons of their MLPs do",
        {"measure": ("effect", "effect_share"), **_LAST, **_BOTH},
        keys=("candidate", "group", "edit", "measure"),
        control=(_RANDOM, _EXCESS),
    ),
    Listing(
        "How alike random sets are at step {last}",
        {"measure": ("rate", "write_norm"), **_LAST},
        keys=("group", "measure"),
        control=(_RANDOM,),
    ),
)

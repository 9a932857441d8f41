"""Which candidates grew, when and in what order, what built them, and did training push them."""

from typing import Any

from circuit.reports.findings import Finding, Sum, When
from circuit.reports.sections import UPDATES
from circuit.reports.views import Cells, Curves, Dots, Listing, Not, Scatter, Stack

SECTION = UPDATES
QUESTION = "Which candidates grew over this window, in what order, and did training push them?"
_CONFIRMED, _ALIGNMENT = {"half": "confirmation"}, {"measure": "alignment"}
_SIZES = {"measure": "effect_size", **_CONFIRMED}
_CHANGE = {"measure": "change", **_CONFIRMED}
_FIRST, _CHOSEN, _WINNER = {"step": "first"}, {"chosen": Not("")}, {"chosen": "winner"}
_TRAINING = {"objective": "tokens", "programs": "trained on"}
_HALVES, _ENDS = ("selection", "confirmation"), ("first", "last")
_CORRELATION = {"measure": "alignment_size_correlation"}
_BOTTOM, _EXCHANGED = ({"chosen": "bottom"},), ({"objective": "shuffled_answers"},)
_BUILT, _PAIRS = {"measure": "built"}, {"measure": "interference", "step": "first"}
_OF_PAIRS: dict[str, Any] = {
    "pick": ("candidate", "other"),
    "control": ({"against": "random signs"},),
    "number": "cosine of the gradients of {candidate} and {other} at step {step}",
}
_TOLD = ": {effect}, against {control.short} for a loss with exchanged answers."
FINDINGS = (
    Finding(
        "growth of the winner",
        _SIZES,
        pick=("candidate",),
        control=_BOTTOM,
        says="That {candidate} grew, the best of {of} on the events that choose, {is_shown}: by "
        "{effect} on the others, {excess} beyond {control_candidate}, the control.",
    ),
    Finding(
        "change of the winner",
        {**_CHANGE, **_WINNER},
        uncontrolled="the control may have another unit; effect sizes have none and are compared",
        number="change of {candidate}",
        says="In its own unit this is {effect}.",
    ),
    Finding(
        "growth of the runner-up",
        {**_SIZES, "chosen": "runner_up"},
        control=_BOTTOM,
        number="effect size of {candidate}",
        says="The runner-up {candidate} changed by {effect.short}.",
    ),
    Finding(
        "push of the winner at the start",
        {**_ALIGNMENT, **_FIRST, **_WINNER, **_TRAINING},
        control=_EXCHANGED,
        says="That descent of the training loss pushed it up at step {step} {is_shown}" + _TOLD,
    ),
    Finding(
        "does the start tell who grows",
        {**_CORRELATION, **_TRAINING, "among": "all candidates"},
        control=_EXCHANGED,
        says="That of {effect.count} candidates those pushed more grew more {is_shown}" + _TOLD,
        number="alignment at step {step} with effect size, all candidates",
    ),
    Sum(
        "what built the winner",
        {**_BUILT, **_WINNER},
        parts="part",
        names={"drive": "updates along its gradient", "rebinding": "choices made anew"},
        uncontrolled="parts of one whole",
        says="By the trapezoid rule over {facts[gradient_steps]} checkpoints it is made of "
        "{raised}; against it work {lowered}.",
    ),
    Finding(
        "what the winner's own parameters did to the loss",
        {"measure": "utility", **_WINNER, **_TRAINING},
        control=_EXCHANGED,
        number="fall of the training loss along the updates of {candidate}'s own parameters",
        says="That updates of the winner's own parameters lowered the training loss {is_shown}"
        + _TOLD,
    ),
    When(
        "{candidate} half-way",
        {"measure": "half_way", **_CHOSEN},
        each=("candidate",),
        spoken=_WINNER,
        says={"shown": "{candidate} is half-way at step {effect.mean:,.0f}."},
    ),
    Finding(
        "lead of the first",
        {"measure": "lead", "place": "1"},
        uncontrolled="0 is no order",
        number="half-way of {candidate} before that of {other}",
        says={
            "shown": "The first to be half-way is {candidate}, {effect} before {other}.",
            "open": "Which of the candidates that rise is half-way first is open.",
        },
    ),
    Finding("candidates that help each other most", _PAIRS, rank="largest", **_OF_PAIRS),
    Finding("candidates that hinder each other most", _PAIRS, rank="smallest", **_OF_PAIRS),
)
VIEWS = (
    Cells(
        "phases",
        "When each candidate rises, falls and rests",
        caption="Changes from each checkpoint to the next, over the standard deviation over "
        "events; 0 where the interval, which holds for all of them at once, holds 0.",
        where={"measure": "strip"},
        x="step",
        y="candidate",
    ),
    Dots(
        "ranked",
        "How much each candidate grew from step {facts[window][0]} to {facts[window][1]}",
        caption="Mean change over the pooled standard deviation over events, on events that did "
        "not choose; one with the same value on all events has none, and the control changed "
        "least.",
        where=_SIZES,
        y=("candidate",),
        top=32,
    ),
    Scatter(
        "foretold",
        "Does the start of the window tell which candidates grow?",
        caption="Alignment at the start, and growth; those of one model are no independent draws.",
        x={**_ALIGNMENT, **_FIRST, **_TRAINING},
        y=_SIZES,
        each=("candidate",),
    ),
    Curves(
        "alignment",
        "Which way the losses push the chosen candidates",
        caption="Cosine of a candidate's gradient with the descent direction of a loss: above 0, "
        "plain descent makes the candidate grow.",
        where={**_ALIGNMENT, **_CHOSEN, "objective": ("tokens", "answers", "shuffled_answers")},
        panels=("split", "objective"),
        series="candidate",
    ),
    Stack(
        "built",
        "What built the chosen candidates",
        caption="Growth along updates between checkpoints, by the trapezoid rule, and what choices "
        "made anew (rivals, firing features) changed; dashed: what the rule misses.",
        where={"measure": "built_between", **_CHOSEN},
        parts="part",
        x="step",
        panels=("candidate",),
    ),
    Cells(
        "interference",
        "Which candidates' gradients agree at step {first}",
        caption="Cosine of two candidates' gradients; below 0, what raises one lowers the other.",
        where=_PAIRS,
        x="other",
        y="candidate",
        control=("random signs",),
    ),
)
TABLES = (
    Listing("Candidates by effect size", _SIZES, control=("excess",)),
    Listing("Effect sizes by half of the events", {**_SIZES, "half": _HALVES}, across="half"),
    Listing("Change of every candidate in its own unit", _CHANGE),
    Listing("Strength of the chosen candidates", {**_CHOSEN, "measure": "strength", "step": _ENDS}),
    Listing(
        "What losses do to the chosen ones at step {first}: alignment, and growth to first order",
        {**_FIRST, **_CHOSEN, "measure": ("alignment", "push")},
    ),
    Listing(
        "Alignment of every candidate at step {first} with losses on the split trained on",
        {**_ALIGNMENT, **_FIRST, "programs": "trained on"},
        across="objective",
    ),
    Listing(
        "Alignment of the chosen candidates with the descent of the training loss",
        {**_ALIGNMENT, **_CHOSEN, **_TRAINING},
    ),
    Listing("Rank correlation of alignment at step {first} with effect size", _CORRELATION),
    Listing("Phases", {"measure": "phase"}, keys=("candidate", "step", "stop", "phase")),
    Listing("Half-way, in order", {"measure": "half_way"}, keys=("place", "candidate")),
    Listing(
        "Lead of each over the next",
        {"measure": "lead"},
        keys=("place", "candidate", "other"),
    ),
    Listing(
        "What built the candidates: drive, choices made anew, and the residual of the rule",
        _BUILT,
        keys=("candidate",),
        across="part",
    ),
    Listing(
        "Fall of the training loss along updates of own parameters, and cosine with the gradient",
        {"measure": ("utility", "own_alignment"), "step": "last", **_TRAINING},
        keys=("candidate",),
        across="measure",
    ),
    Listing(
        "Pairs of candidates whose gradients differ most from random signs at step {first}",
        _PAIRS,
        keys=("candidate", "other"),
        sort=True,
        top=20,
        control=("random signs",),
    ),
)

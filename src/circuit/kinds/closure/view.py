"""What changed the answer, exactly; then whether the route's change explains it."""

from circuit.reports.findings import Finding
from circuit.reports.sections import EXPLAINED
from circuit.reports.views import Dots, Listing, Stack

SECTION = EXPLAINED
QUESTION = (
    "What changed the answer from step {facts[window][0]} to {facts[window][1]}, and how much of "
    "it does the route explain?"
)
_BOTTOM, _SHUFFLED, _RANDOM = "bottom head", "shuffled events", "random routes"
_CONTROLS = (_BOTTOM, _SHUFFLED, _RANDOM)
_OTHERS = "answers of other programs"
_ROWS = "share of the rows"
_MARGIN = {"outcome": "answer_margin"}
_PART, _CHANGE, _INTEGRAL = {"measure": "part"}, {"measure": "change"}, {"measure": "line_integral"}
_R2, _GAIN = {"measure": "r2"}, {"measure": "gain"}
_JOINT = {**_R2, "family": "joint"}
_BRANCHES = (
    "moving", "fixed_source", "switch_at_target", "fixed_target", "switch_at_source", "soft",
)  # fmt: skip
_HOW = "how the change of {outcome:words} differs between events of one checkpoint interval"


FINDINGS = (
    Finding(
        "change of the answer",
        _CHANGE,
        each=("outcome",),
        control=(_OTHERS,),
        number="change of {outcome}",
    ),
    Finding(
        "what changed the margin",
        {**_PART, **_MARGIN},
        pick=("part",),
        control=(_OTHERS,),
        number="what {part} added to the margin's change",
        says={
            "shown": "With nothing fitted, the change of the answer margin (the right logit over "
            "the best wrong one, the rival) is the sum of what each part writes, of how the "
            "unembedding reads it, of the final LayerNorm's scale and of changes of the rival. Of "
            "{of} parts {part} added most beyond what it added to answers of other programs, "
            "{excess} ({effect.short} against {control:short}).",
            "open": "With nothing fitted, the change of the answer margin is the sum of {of} "
            f"parts; that any of them added more to it than to {_OTHERS} is not shown (the largest "
            "is {part}, {effect}).",
        },
    ),
    Finding(
        "what switches of the rival took",
        {"measure": "switch_at_target", "among": "all"},
        uncontrolled="never positive, and 0 where no rival switches",
        number="margin over its own rival less that over the interval's first, per interval",
        says={
            "opposite": "Other rivals overtook the first one: between checkpoints the margin over "
            "its best rival gained less than that over the first, by {effect}.",
            "open": "That other rivals overtook the first one between checkpoints is not shown.",
        },
    ),
    Finding(
        "what the head's parameters moved",
        {"measure": "line_integral_of_head", "chosen": "winner", **_MARGIN},
        control=({"chosen": "bottom"},),
        number="line integral of the margin over {head}'s parameters",
        says="Integrated from checkpoint to checkpoint, changes of {head}'s own parameters moved "
        "the margin by {effect} (bottom head {control:short}).",
    ),
    Finding(
        "what the quadrature missed",
        {"measure": "residual_of_movement"},
        each=("outcome",),
        uncontrolled="the settings' bound is what it is held against",
        bound="$residual_bound",
        number="line integral of {outcome}: missed by {path_rule}, of all movement",
        marks={
            "shown": "{outcome}: {path_rule} leaves {effect} of all movement, above the bound of "
            "{residual_bound}."
        },
    ),
    Finding(
        "explained within intervals",
        {**_JOINT, "compared": "within"},
        each=("outcome",),
        control=_CONTROLS,
        number="R² of {outcome}, within",
        key="R² of the change of {outcome:words}, read by read",
        clause={
            "shown": "of why some reads gained more {outcome:words} than others, "
            "{facts[winner]}'s route explains R² {effect.short}",
            "open": "that {facts[winner]}'s route explains why some reads gained more "
            "{outcome:words} than others is not shown",
        },
        says={
            "shown": f"Fitted, changes of {{facts[winner]}}'s route (where it looks and what it "
            f"writes) predict {_HOW}, on events the fit never saw: R² {{effect}}, {{excess}} more "
            "than the bottom head {facts[bottom]} or the mean predicts, and beyond shuffled events "
            "and random routes.",
            "open": "That changes of {facts[winner]}'s route (where it looks and what it writes) "
            f"predict {_HOW} is not shown: R² {{effect}}, bottom head {{facts[bottom]}} "
            "{control:short}.",
        },
        marks={
            "open": "{outcome}: that the routes explain more than the mean, the bottom head, "
            "shuffled events and random routes do is not shown."
        },
    ),
    Finding(
        "explained over all intervals",
        {**_JOINT, "compared": "pooled"},
        each=("outcome",),
        control=_CONTROLS,
        number="R² of {outcome}, pooled",
    ),
    Finding(
        "gain within intervals",
        {**_GAIN, "compared": "within"},
        each=("outcome", "family"),
        control=_CONTROLS,
        number="gain of {family} over the family inside it, {outcome}, within",
    ),
    Finding(
        "where what is left lies",
        {"measure": "left_by_slice"},
        each=("outcome",),
        pick=("among",),
        control=(_ROWS,),
        number="share of what is left of {outcome} where: {among}",
    ),
)
VIEWS = (
    Stack(
        "what_changed",
        "What changed the answer",
        caption="What each part writes, read by an unembedding and a LayerNorm scale frozen midway "
        "between checkpoints; the change of that reading (readout) and scale; and switches of the "
        "rival. They sum exactly; nothing is fitted.",
        table="intervals",
        where=_PART,
        panels=("outcome",),
        x="step",
        parts="part",
        total={**_CHANGE, "part": ""},
    ),
    Dots(
        "parts",
        "What every part added to the answer's change over the window",
        caption="The same sums over the window, part by part, beside what each added to the "
        "answers of other programs.",
        where=_PART,
        panels=("outcome",),
        y=("part",),
        control=(_OTHERS,),
    ),
    Dots(
        "parameters",
        "Line integral of the answer's change over parameters",
        caption="What the parameters of every head's W_QK and W_OV and of all other modules moved "
        "along the chords between checkpoints.",
        where=_INTEGRAL,
        panels=("outcome",),
        y=("head", "part"),
        order="size",
        top=16,
    ),
    Dots(
        "closure",
        "Change of behaviour predicted by nested families of routes",
        caption="Each family of columns has all of the one above it. R² on events that the fit "
        "never saw: of all changes (pooled), of differences between the events of one interval "
        "(within), and of intervals never seen either.",
        where=_R2,
        panels=("compared",),
        y=("outcome", "family"),
        control=_CONTROLS,
    ),
    Dots(
        "left",
        "Which rows hold what the routes leave",
        caption="Share of the squares left by the pooled fit, beside the share of the rows: by "
        "whether the rival stays, by what it is, by how long ago the value was written, and by how "
        "many keys there are.",
        where={"measure": "left_by_slice"},
        panels=("outcome",),
        y=("among",),
        control=(_ROWS,),
    ),
)
TABLES = (
    Listing(
        "Parts of the answer's change, nothing fitted",
        _PART,
        keys=("outcome", "part"),
        control=(_OTHERS, "excess"),
    ),
    Listing(
        "Mean change per interval of margins over the best rival (moving), and over an interval's "
        "first (fixed source) or last one (fixed target), with what switches make between them",
        {"measure": (*_BRANCHES, "rows")},
        keys=("among", "measure"),
    ),
    Listing(
        "Line integral over parameters",
        {**_INTEGRAL},
        keys=("outcome", "head", "part"),
        sort=True,
    ),
    Listing(
        "R² with bootstrap intervals over events",
        _R2,
        keys=("outcome", "compared", "family"),
        control=_CONTROLS,
    ),
    Listing(
        "Gain in R² of each family over the one inside it",
        _GAIN,
        keys=("outcome", "compared", "family"),
        control=(_SHUFFLED, _RANDOM),
    ),
    Listing(
        "Share of the squares left by the pooled fit that each part of the exact sum carries",
        {"measure": "left_by_part"},
        keys=("outcome", "part"),
    ),
    Listing(
        "Share of the squares left by the pooled fit in some rows, beside their share of all",
        {"measure": "left_by_slice"},
        keys=("outcome", "among"),
        control=(_ROWS, "excess"),
    ),
)

"""How a head retrieves the answer: its chain, what made it, and where every head looks."""

from typing import Any

from circuit.reports.findings import Criteria, Finding, Test, When
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Cells, Curves, Drawn, Listing, Not


def _patterns(material: Any, path: str) -> None:
    from circuit.reports.bespoke.attention import patterns

    patterns(material.tables["patterns_table"], path)


def _directions(material: Any, path: str) -> None:
    from circuit.reports.bespoke.attention import directions

    directions(material.tables["directions_table"], material.facts["head"], path)


SECTION = MECHANISM
QUESTION = "How does {facts[head]} retrieve the answer, and which link of its chain moved first?"
_TOLD = {"chosen": "$head"}
_LAST = {"quantity": "level", "step": "last"}
_START = ({"step": "first"},)
_EVEN = ({"head": "even"},)
_CHOSEN = Not("")
_MARGINS = ("support value margin", "attended value margin", "direct logit")
_LINKS = ("score", "mass", *_MARGINS)
FINDINGS = (
    Finding(
        name="score", where={**_TOLD, **_LAST, "link": "score"}, control=_START,
        number="score of {head}, at step {step}",
        says={
            "shown": "At step {step}, {head} finds the support value: it scores it {effect} above "
            "the other values",
            "open": "At step {step}, {head} is not shown to find the support value: it scores it "
            "{effect} against the other values",
            "opposite": "At step {step}, {head} does not find the support value: it scores it "
            "{effect} against the other values",
        },
    ),
    Finding(
        name="mass", where={**_TOLD, **_LAST, "link": "mass"}, control=_EVEN,
        number="attention of {head} on support_value, at step {step}",
        says="and gives it {effect.mean:.0%} of its attention, where even attention gives it "
        "{control.mean:.0%}.",
    ),
    Finding(
        name="attended value margin", where={**_TOLD, **_LAST, "link": "attended value margin"},
        control=_START, number="attended value margin of {head}, at step {step}",
        says={
            "shown": "What it reads there favours the answer by {effect} over the best other "
            "value,",
            "open": "What it reads there is not shown to favour the answer ({effect} over the best "
            "other value),",
            "opposite": "What it reads there does not favour the answer ({effect} over the best "
            "other value),",
        },
    ),
    Finding(
        name="direct logit", where={**_TOLD, **_LAST, "link": "direct logit"}, control=_START,
        number="direct logit of {head}, at step {step}",
        says={
            "shown": "and it writes the answer to the logits by {effect}.",
            "open": "and its write is not shown to single the answer out directly ({effect}).",
            "opposite": "and its write does not single the answer out directly ({effect}).",
        },
    ),
    Finding(
        name="other measures",
        where={
            **_TOLD, **_LAST,
            "measure": ("ov_value_margin", "qk_best_margin", "head_value_over_mean_dla"),
        },
        each=("measure",), control=_START, number="{measure:words} of {head}, at step {step}",
        quiet=True,
    ),
    Finding(
        name="entropy", where={**_TOLD, **_LAST, "measure": "entropy"}, control=_EVEN, bound=None,
        number="entropy of attention of {head}, at step {step}", quiet=True,
    ),
    When(
        name="first link to get half-way", where={**_TOLD, "measure": "first_half_way"},
        uncontrolled="a time of the curve itself",
        says={
            "shown": "Of the links that rose, its {link} got half-way first, at step "
            "{effect.mean:,.0f} (95% interval {effect.interval}).",
            "open": "No link of its chain rose beyond its interval since the run's start.",
        },
    ),
    Finding(
        name="lag", where={**_TOLD, "measure": "lag"}, each=("link",),
        uncontrolled="the first link is what it is compared with",
        number="{link}, after the first link",
        says={
            "shown": "The {link} came {effect.mean:,.0f} steps later ({effect.interval}).",
            "open": "The {link} cannot be told apart from it ({effect} later).",
        },
    ),
    Finding(
        name="lag between the same checkpoints",
        where={**_TOLD, "measure": "lag_within_checkpoints"}, each=("link",),
        uncontrolled="the order of what happens between two checkpoints stays open",
        number="{link}, after the first link and by the same checkpoint",
        says="The {link} got there by the same checkpoint and cannot be told apart from it.",
    ),
    When(
        name="half-way step of the {link} of {head}", where={**_TOLD, "measure": "half_way"},
        each=("link",), uncontrolled="a time of the curve itself", quiet=True,
    ),
    Finding(
        name="earlier head that looks back from the support value to its key",
        where={"measure": "support_value_to_its_key", "head": Not("even")}, pick=("head",),
        control=_EVEN, number="attention of {head} from the support value back to its key",
        says={
            "shown": "Of the heads before it, {head} looks most from the support value back to its "
            "key, with {effect.mean:.0%} of its attention where even attention has "
            "{control.mean:.0%}.",
            "open": "No head before it is shown to look from the support value back to its key "
            "({head} most: {effect.mean:.0%}, even attention {control.mean:.0%}).",
            "opposite": "No head before it looks from the support value back to its key ({head} "
            "most: {effect.mean:.0%}, even attention {control.mean:.0%}).",
        },
    ),
    *(
        Criteria(
            name=name, where={"chosen": chosen, **_LAST, "link": _LINKS, "against": ("", "excess")},
            each=("head",), uncontrolled="margins against 0, mass beyond even attention",
            tests=(
                Test("mass", {"link": "mass", "against": "excess"}, above=0.0),
                *(Test(link, {"link": link}, above=0.0) for link in ("score", *_MARGINS)),
            ),
            says={
                "shown": "Beside it, the {chosen:words} {head} has all links too.",
                "open": "Beside it, the {chosen:words} {head} is not shown to have: {failed}.",
                "opposite": "Beside it, the {chosen:words} {head} has no, or is not shown to have: "
                "{failed}.",
            },
            quiet=quiet,
        )
        for name, chosen, quiet in (
            ("whole chain", "$head", True), ("chain of another head", Not("", "$head"), False),
        )
    ),
)  # fmt: skip
VIEWS = (
    Curves(
        name="chain", title="The retrieval chain: score, mass, value margins, logit",
        caption="The retrieval chain of {facts[head]} and the heads beside it: levels, and changes "
        "between checkpoints. Mass is a softmax of scores and saturates, so it need not be "
        "half-way when the score is.",
        where={"link": _LINKS, "quantity": ("level", "change"), "chosen": _CHOSEN},
        panels=("link", "quantity"), series="head", marks={**_TOLD, "measure": "half_way"},
        note="Right: since the checkpoint before. Value margins are against the best other value, "
        "so a head that knows nothing is below 0. Events: {facts[head]} is half-way.",
    ),
    Drawn(
        name="patterns", title="Attention in real programs",
        caption="Attention of {facts[head]} from the prediction position in real programs, one row "
        "per checkpoint; the support value is outlined.",
        draw=_patterns,
    ),
    Curves(
        name="roles", title="Attention mass of {facts[head]} from the prediction position, by role",
        caption="Attention mass of {facts[head]} by role over training.",
        where={**_TOLD, "measure": "attention_mass", "quantity": "level"}, series="role",
        note="Roles overlap, so masses need not sum to 1.",
    ),
    Cells(
        name="maps_by_role", title="Role-conditioned attention of every head at step {last}",
        caption="From the positions of one role (panels) to those of another (columns): every head "
        "at step {last}, and attention spread evenly.",
        table="maps", where={"step": "last"}, panels=("query_role",), x="key_role", y="head",
        note="Roles overlap, so lines need not sum to 1.",
    ),
    Drawn(
        name="directions", title="Singular directions",
        caption="What the top singular directions of W_QK and W_OV of {facts[head]} tell apart at "
        "the last step: places in the stream, and tokens at one place.",
        draw=_directions,
    ),
)  # fmt: skip
TABLES = (
    Listing(
        title="Retrieval chain at step {last}, and what mass has beyond even attention",
        where={"chosen": _CHOSEN, **_LAST, "link": _LINKS, "against": ("", "excess")},
        keys=("head", "chosen", "link", "against"),
    ),
    Listing(
        title="Attention of {facts[head]} by role at step {last}, and beyond even attention",
        where={**_TOLD, **_LAST, "measure": "attention_mass", "against": ("", "excess")},
        keys=("role", "against"),
    ),
    Listing(
        title="When each link moved (rise: last less first value; lag: after the head's first link "
        "to get half-way; jump: largest rise between checkpoints)",
        where={
            "measure": ("rise", "half_way", "half_way_after", "half_way_by", "lag", "jump",
                        "lag_within_checkpoints", "jump_size"),
        },
        keys=("head", "link", "measure"),
    ),
    Listing(
        title="Role maps at step {last}: largest entries beyond even attention", table="maps",
        where={"step": "last", "against": "excess"}, keys=("head", "query_role", "key_role"),
        sort=True, top=24,
    ),
    Listing(
        title="Agreement of a direction's two sides over tokens at step {last}",
        where={"measure": "agreement", "step": "last"}, keys=("head",), across="direction",
    ),
)  # fmt: skip

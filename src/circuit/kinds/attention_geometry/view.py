"""How a head retrieves the answer: its chain, what made it, and where every head looks."""

from functools import partial
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
_NOW = {**_TOLD, **_LAST}
_MASS = {"measure": "attention_mass"}
_START, _EVEN = ({"step": "first"},), ({"head": "even"},)
_CHOSEN = Not("")
_MARGINS = ("support value margin", "attended value margin", "direct logit")
_LINKS = ("score", "mass", *_MARGINS)
_since_start = partial(Finding, control=_START)
_beyond_even = partial(Finding, control=_EVEN)
FINDINGS = (
    _since_start(
        "score",
        {**_NOW, "link": "score"},
        number="score of {head}, at step {step}",
        says="That {head} finds the support value at step {step} {is_shown}: it scores it {effect} "
        "above the other values",
    ),
    _beyond_even(
        "mass",
        {**_NOW, "link": "mass"},
        number="attention of {head} on support_value, at step {step}",
        says="and gives it {effect.mean:.0%} of its attention, where even attention gives it "
        "{control.mean:.0%}.",
    ),
    _since_start(
        "attended value margin",
        {**_NOW, "link": "attended value margin"},
        number="attended value margin of {head}, at step {step}",
        says="That what it reads there favours the answer {is_shown} ({effect} over the best other "
        "value),",
    ),
    _since_start(
        "direct logit",
        {**_NOW, "link": "direct logit"},
        number="direct logit of {head}, at step {step}",
        says="and that it writes the answer to the logits {is_shown} ({effect}).",
    ),
    _since_start(
        "other measures",
        {**_NOW, "measure": ("ov_value_margin", "qk_best_margin", "head_value_over_mean_dla")},
        each=("measure",),
        number="{measure:words} of {head}, at step {step}",
    ),
    _beyond_even("entropy of its attention", {**_NOW, "measure": "entropy"}, bound=None),
    When(
        "first link to get half-way",
        {**_TOLD, "measure": "first_half_way"},
        says={
            "shown": "Of the links that rose, its {link} got half-way first, at step "
            "{effect.mean:,.0f} (95% interval {effect.interval}).",
            "open": "No link of its chain rose beyond its interval since the run's start.",
        },
    ),
    Finding(
        "lag",
        {**_TOLD, "measure": "lag"},
        each=("link",),
        uncontrolled="the first link is what it is compared with",
        number="{link}, after the first link",
        says={
            "shown": "The {link} came {effect.mean:,.0f} steps later ({effect.interval}).",
            "open": "The {link} cannot be told apart from it ({effect} later).",
        },
    ),
    Finding(
        "lag between the same checkpoints",
        {**_TOLD, "measure": "lag_within_checkpoints"},
        each=("link",),
        uncontrolled="the order of what happens between two checkpoints stays open",
        says="The {link} got there by the same checkpoint and cannot be told apart from it.",
    ),
    When("half-way step of the {link} of {head}", {**_TOLD, "measure": "half_way"}, each=("link",)),
    _beyond_even(
        "earlier head that looks back from the support value to its key",
        {"measure": "support_value_to_its_key", "head": Not("even")},
        pick=("head",),
        number="attention of {head} from the support value back to its key",
        says="That of the heads before it {head} looks back from the support value to its key "
        "{is_shown}: {effect.mean:.0%} of its attention, even attention {control.mean:.0%}.",
    ),
    Criteria(
        "whole chain",
        {"chosen": _CHOSEN, **_LAST, "link": _LINKS, "against": ("", "excess")},
        each=("head",),
        uncontrolled="margins against 0, mass beyond even attention",
        tests=(
            Test("mass", {"link": "mass", "against": "excess"}, above=0.0),
            *(Test(link, {"link": link}, above=0.0) for link in ("score", *_MARGINS)),
        ),
        spoken={"chosen": Not("", "$head")},
        says={
            "shown": "Beside it, the {chosen:words} {head} has all links too.",
            "open": "Beside it, the {chosen:words} {head} is not shown to have: {failed}.",
        },
    ),
)
VIEWS = (
    Curves(
        "chain",
        "The retrieval chain: score, mass, value margins, logit",
        caption="Mass is a softmax of scores and saturates, so it need not be half-way when the "
        "score is; value margins are against the best other value.",
        where={"link": _LINKS, "quantity": ("level", "change"), "chosen": _CHOSEN},
        panels=("link", "quantity"),
        series="head",
        marks={**_TOLD, "measure": "half_way"},
        note="Right: since the checkpoint before. Events: {facts[head]} is half-way.",
    ),
    Drawn(
        "patterns",
        "Attention in real programs",
        caption="Attention from the prediction, a row per checkpoint; support value outlined.",
        draw=_patterns,
    ),
    Curves(
        "roles",
        "Attention mass of {facts[head]} from the prediction position, by role",
        where={**_TOLD, **_MASS, "quantity": "level"},
        series="role",
        note="Roles overlap, so masses need not sum to 1.",
    ),
    Cells(
        "maps_by_role",
        "Role-conditioned attention of every head at step {last}",
        caption="Attention from the positions of one role (panels) to those of another (columns).",
        table="maps",
        where={"step": "last"},
        panels=("query_role",),
        x="key_role",
        y="head",
        note="Roles overlap, so lines need not sum to 1.",
    ),
    Drawn(
        "directions",
        "Singular directions",
        caption="What the top directions of {facts[head]}'s W_QK and W_OV tell apart at the end: "
        "places in the stream, and tokens at one place.",
        draw=_directions,
    ),
)
TABLES = (
    Listing(
        "Retrieval chain at step {last}, and what mass has beyond even attention",
        {"chosen": _CHOSEN, **_LAST, "link": _LINKS, "against": ("", "excess")},
        keys=("head", "chosen", "link", "against"),
    ),
    Listing(
        "Attention of {facts[head]} by role at step {last}, and beyond even attention",
        {**_TOLD, **_LAST, "measure": "attention_mass", "against": ("", "excess")},
        keys=("role", "against"),
    ),
    Listing(
        "When each link moved (rise: last less first value; lag: after the head's first link "
        "to get half-way; jump: largest rise between checkpoints)",
        {
            "measure": (
                "rise",
                "half_way",
                "half_way_after",
                "half_way_by",
                "lag",
                "jump",
                "lag_within_checkpoints",
                "jump_size",
            )
        },
        keys=("head", "link", "measure"),
    ),
    Listing(
        "Role maps at step {last}: largest entries beyond even attention",
        {"step": "last", "against": "excess"},
        table="maps",
        keys=("head", "query_role", "key_role"),
        sort=True,
        top=24,
    ),
    Listing(
        "Agreement of a direction's two sides over tokens at step {last}",
        {"measure": "agreement", "step": "last"},
        keys=("head",),
        across="direction",
    ),
)

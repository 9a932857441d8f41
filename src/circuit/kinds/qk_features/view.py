"""Which pair of parts makes a head's match, since when, and which cause carried its growth."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Cells, Curves, Listing, Not, Stack

SECTION = MECHANISM
QUESTION = "Which part of the query and which part of the key make {head}'s match, and since when?"
_QUERIES, _LAST = "queries for other keys", {"step": "last"}
_BEYOND = ({"against": _QUERIES},)
_PAIRS = {"measure": "term", "query": Not("")}
_BEST = {"told": "strongest"}
_FOLLOWED = {"measure": "term", "told": Not("score")}
FINDINGS = (
    Finding(
        "score",
        {"measure": "term", "told": "score", **_LAST},
        control=_BEYOND,
        number="score of {facts[head]} for the right key over its rivals, at step {step}",
        says={
            "shown": "{facts[head]} separates the right key from its rivals by {effect} at step "
            "{step}, and by {control} where the query asks for another key.",
            "open": "That what the query asks for separates the right key from its rivals in "
            "{facts[head]} is not shown ({effect} at step {step}, and {control} where the query "
            "asks for another key).",
        },
    ),
    Finding(
        "pair that makes the match",
        {"measure": "term", "told": "apart", **_LAST},
        table="pairs",
        pick=("pair",),
        control=(*_BEYOND, {"step": "first"}),
        number="term of {pair} in the score of {facts[head]}, at step {step}",
        says={
            "shown": "Of {of} pairs of parts, {query:words} in the query with {key:words} in the "
            "key matches most: {effect} of that, {excess} more than with queries for other keys.",
            "open": "Of {of} pairs of parts none is shown to match (most {pair:words}: {effect}).",
        },
    ),
    When(
        "match appears",
        {"measure": "appears", **_BEST},
        number="from when {pair} matches",
        says={"shown": "From step {effect.mean:,.0f} on {pair} matches."},
    ),
    Finding(
        "cause that carried its growth",
        {"measure": "growth", **_BEST, "cause": Not("together")},
        pick=("cause",),
        control=_BEYOND,
        number="growth of {pair} by {cause}",
        says={
            "shown": "Of the four causes of its growth (either state, W_Q, W_K) the change of "
            "{cause:words} gave most: {effect}, {excess} more than with queries for other keys.",
            "open": "Which of the four causes (either state, W_Q, W_K) carried its growth is not "
            "shown.",
        },
    ),
    Finding(
        "terms with what is left",
        {"measure": "term_share", "told": "sum", **_LAST},
        table="pairs",
        each=("pair",),
        control=_BEYOND,
        number="share of the score in terms that hold {pair}",
        says="Terms that hold {pair} are {effect} of the score.",
    ),
)
VIEWS = (
    Stack(
        "growth_of_pairs",
        "Which pairs of parts made the score",
        caption="What the largest pairs and the strongest match added to the score for the right "
        "key over its rivals, since the first checkpoint; all other pairs are summed.",
        table="changes",
        where={"cause": "together"},
        x="step",
        parts="pair",
        total={"told": "score"},
    ),
    Curves(
        "terms",
        "Terms of the score over training, beside those with queries for other keys",
        where=_FOLLOWED,
        panels=("pair",),
        control=(_QUERIES,),
    ),
    Cells(
        "pairs",
        "Terms of the score by part of the query and part of the key, at step {last}",
        caption="In score units; in brackets with queries for other keys. What is as large there "
        "does not match the key that is asked for.",
        table="pairs",
        where={**_PAIRS, **_LAST},
        x="key",
        y="query",
        control=(_QUERIES,),
    ),
    *(
        Stack(
            name,
            title,
            caption="Growth of the score and of the strongest match by cause, averaged over all "
            "orders of the four. LayerNorm's gain, bias and frozen scale are in the states.",
            table="changes",
            where={"told": ("score", "strongest"), "against": against},
            panels=("pair",),
            x="step",
            parts="cause",
            total={"cause": "together"},
        )
        for name, title, against in (
            ("causes", "What changed: the states that are read, or how they are read", ""),
            ("causes_of_match", "The same, beyond queries for other keys", "excess"),
        )
    ),
)
TABLES = (
    Listing(
        "Largest terms at step {last}",
        {**_PAIRS, **_LAST},
        table="pairs",
        keys=("query", "key"),
        sort=True,
        top=16,
        control=(_QUERIES, "excess"),
    ),
    Listing(
        "Growth by cause",
        {"measure": "growth"},
        keys=("pair",),
        across="cause",
    ),
    Listing("From which step on pairs match", {"measure": "appears"}, keys=("pair",)),
)

"""Where and when states tell the value to be answered, and in how many directions."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Curves, Listing, Not

SECTION = MECHANISM
QUESTION = "Where and when can the value to be answered be read off, and in how many directions?"
_LAST, _FREE = {"step": "last"}, {"by_construction": ""}
_ANSWER = {"label": "answer", "role": "prediction", **_FREE, **_LAST}
_PERMUTED, _WRITE = "permuted labels", "another write"
_CONTROLS = ({"against": _PERMUTED}, {"against": _WRITE})
_SHARE = {"measure": "readout_share", "rank": "$rank", **_LAST}
_BUILT = (
    "What is read at the last stage of the prediction position ({facts[last_stage]:words}) is the "
    "model's own answer, and a token names itself: both by construction."
)
FINDINGS = (
    Finding(
        "stage where the answer is clearest",
        {"measure": "centroid_accuracy", **_ANSWER},
        pick=("site",),
        control=_CONTROLS,
        bound=None,
        number="accuracy of the nearest centroid of the answer at {role}, {site}",
        says={
            "shown": "Before the readout the answer is clearest at {site:words} of the prediction "
            "position. The nearest centroid names it in {effect} of programs, against {control} by "
            + _PERMUTED
            + "; values of other writes are named less often.",
            "open": "Before the readout no state of the prediction position is shown to tell the "
            "answer from values of other writes (most at {site:words}: {effect}).",
        },
    ),
    When(
        "answer stays readable",
        {"measure": "readable_from", "label": "answer", "role": "prediction", **_FREE},
        each=("site",),
        number="from when the answer is readable at the prediction position, {site}",
    ),
    Finding(
        "stage where the unembedding reads the answer best",
        {"measure": "lens_accuracy", **_ANSWER},
        pick=("site",),
        control=_CONTROLS,
        bound=None,
        number="accuracy of the logit lens at {role}, {site}",
        says={
            "shown": "The unembedding itself reads it best at {site:words}: {effect}.",
            "open": "The unembedding itself is not shown to read it before the last stage.",
        },
    ),
    Finding(
        "stage where a value knows its key best",
        {"measure": "centroid_accuracy", "label": "query_key", "role": "support_value", **_LAST},
        pick=("site",),
        control=({"step": "first"}, {"against": _PERMUTED}),
        bound=None,
        number="accuracy of the nearest centroid of the key at {role}, {site}",
        says={
            "shown": "The state at the written value knows its key: at {site:words} the nearest "
            "centroid names it in {effect} of programs, against {control} at the first checkpoint.",
            "open": "That the state at the written value has come to know its key is not shown.",
        },
    ),
    Finding(
        "code that the readout rests on",
        {**_SHARE, "edit": "remove", **_FREE},
        table="ranks",
        each=("site", "role"),
        control=({"against": _PERMUTED},),
        number="readout lost without {rank} directions of the answer's code at {role}, {site}",
        says={
            "shown": "Without {rank} directions of the answer's code the state at {role:words}, "
            "{site:words}, loses {effect} of what it gives to the readout, against {control} "
            "without those of permuted answers.",
            "open": "That the readout rests on the answer's code at {role:words}, {site:words}, "
            "more than on directions of permuted answers is not shown ({effect} without {rank}).",
        },
    ),
    Finding(
        "code that gives the readout back",
        {**_SHARE, "edit": "keep", **_FREE},
        table="ranks",
        each=("site", "role"),
        control=({"against": _PERMUTED},),
        number="readout given back by {rank} directions of the answer's code at {role}, {site}",
    ),
)
VIEWS = (
    Curves(
        "readable",
        "Where and when the answer can be read off",
        caption="Accuracy of the nearest centroid (programs left out one by one) and of the logit "
        "lens, at every stage. " + _BUILT,
        where={"measure": ("centroid_accuracy", "lens_accuracy"), "label": "answer"},
        series="site",
        panels=("role", "measure"),
        control=(_PERMUTED, _WRITE),
    ),
    Curves(
        "spread",
        "Share of the states' variance between answers, and between keys",
        where={"measure": "between_share"},
        series="site",
        panels=("role", "label"),
        control=(_PERMUTED,),
    ),
    Curves(
        "ranks",
        "What removing and keeping directions of the code does to the readout, step {last}",
        caption="Shares of what losing the state's whole deviation from its mean costs. Behind the "
        "last attention removal must do harm at the prediction position, by construction.",
        table="ranks",
        where={"measure": "readout_share", **_LAST},
        x="rank",
        series="site",
        panels=("role", "edit"),
        control=(_PERMUTED,),
    ),
)
TABLES = (
    Listing(
        "What can be read at step {last}",
        {"measure": Not("readable_from"), **_LAST},
        keys=("measure", "label", "role", "site", "by_construction"),
        control=(_PERMUTED, _WRITE),
    ),
    Listing(
        "From which step on the answer stays readable",
        {"measure": "readable_from"},
        keys=("role", "site", "by_construction"),
    ),
    Listing(
        "Fewest directions that take away (remove) or give back (keep) a share of the readout",
        {"measure": "rank"},
        table="ranks",
        keys=("step", "edit", "role", "site", "by_construction"),
        across="level",
    ),
)

"""Where and when states tell the value to be answered, and in how many directions."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Curves, Listing, Not

SECTION = MECHANISM
QUESTION = "Where and when can the value to be answered be read off, and in how many directions?"
_LAST, _FREE = {"step": "last"}, {"by_construction": ""}
_ANSWER = {"label": "answer", "role": "prediction", **_FREE, **_LAST}
_PERMUTED, _WRITE = "permuted labels", "another write"
_BUILT = (
    "The last stage of the prediction position ({facts[last_stage]:words}) is the model's own "
    "answer, and a token names itself: both by construction."
)
FINDINGS = (
    Finding(
        "stage where the answer is clearest",
        {"measure": "centroid_accuracy", **_ANSWER},
        pick=("site",),
        control=(_PERMUTED, _WRITE),
        bound=None,
        number="accuracy of the nearest centroid of the answer at {role}, {site}",
        says={
            "shown": "Before the last stage the answer is clearest at {site:words} of the "
            "prediction position: the nearest centroid (of the mean states of all answers) names "
            f"it in {{effect}} of programs, against {{control}} with {_PERMUTED}, and values "
            "written to other keys less often.",
            "open": "Before the last stage no state of the prediction position is shown to tell "
            "the answer from values written to other keys (most at {site:words}: {effect}).",
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
        control=(_PERMUTED, _WRITE),
        bound=None,
        number="accuracy of the logit lens at {role}, {site}",
        says={
            "shown": "The model's own unembedding (logit lens) reads it best at {site:words}: "
            "{effect}.",
            "open": "The model's own unembedding (logit lens) is not shown to read it there.",
        },
    ),
    Finding(
        "stage where a value knows its key best",
        {"measure": "centroid_accuracy", "label": "query_key", "role": "support_value", **_LAST},
        pick=("site",),
        control=({"step": "first"}, _PERMUTED),
        bound=None,
        number="accuracy of the nearest centroid of the key at {role}, {site}",
        says={
            "shown": "The state at the written value comes to tell its key: at {site:words} the "
            "nearest centroid names it in {effect} of programs, against {control} at the first "
            "checkpoint.",
            "open": "That the state at the written value comes to tell its key is not shown.",
        },
    ),
    Finding(
        "code that the readout rests on",
        {"measure": "readout_share", "rank": "$rank", **_LAST, **_FREE},
        table="ranks",
        each=("edit", "site", "role"),
        spoken={"edit": "remove"},
        control=(_PERMUTED,),
        number="readout, {edit} {rank} directions of the answer's code at {role}, {site}",
        says={
            "shown": "Of what all of the state at {role:words}, {site:words}, gives to the answer, "
            "{effect} is lost without the {rank} directions in which mean states of answers differ "
            "most, against {control} without those of permuted answers.",
            "open": "At {role:words}, {site:words}, the answer is not shown to rest on the {rank} "
            "directions in which mean states of answers differ most beyond those of permuted "
            "answers ({effect} is lost without).",
        },
    ),
)
VIEWS = (
    Curves(
        "readable",
        "Where and when the answer can be read off",
        caption="How often the nearest of all answers' mean states (the program itself left out) "
        "and the logit lens name the answer. " + _BUILT,
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
        caption="The code: directions in which mean states of answers differ most. Shares of what "
        "losing all that the state deviates from its mean costs. Behind the last attention removal "
        "at the prediction position must do harm, by construction.",
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
        "Fewest directions that take away (remove) or give back (keep) a share of the readout",
        {"measure": "rank"},
        table="ranks",
        keys=("step", "edit", "role", "site", "by_construction"),
        across="level",
    ),
)

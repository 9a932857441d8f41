"""Whether a linear map carries the value to where it is answered, and what that rescues."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Curves, Listing

SECTION = MECHANISM
QUESTION = "Does a linear map carry the value from where it is written to where it is answered?"
_MAPS = ("source", "context", "both")
_LAST = {"step": "last"}
_RESCUED = {"measure": "rescued", "outcome": "$outcome"}
_VALUES, _WRITE, _KEYS = "permuted values", "another write", "key code"
_RANDOM = "random subspaces of the same energy"
_NULLS = ({"against": _KEYS}, {"against": _WRITE}, {"against": _VALUES})
_SOURCE = {"variant": "source", **_LAST}
_FROM = "from {source:words} at the support value to {target:words} at the prediction position"
FINDINGS = (
    Finding(
        "answers that the map names",
        {"measure": "centroid_accuracy", **_SOURCE},
        control=_NULLS,
        number="answers named by the nearest centroid of what the map predicts",
        says={
            "shown": "What a linear map " + _FROM + " predicts is nearest to the answer's centroid "
            "in {effect} of programs that it was not fitted to, against {control} from the "
            "directions that tell keys.",
            "open": "A linear map " + _FROM + " is not shown to name more answers than every null "
            "({effect}).",
        },
    ),
    Finding(
        "what the map rescues",
        {**_RESCUED, **_SOURCE},
        control=_NULLS,
        number="rescued fraction of {outcome:words}, map from the source",
        says={
            "shown": "Put in the place of the removed target code, what it predicts rescues "
            "{effect} of {outcome:words}.",
            "open": "What it predicts, in the place of the removed target code, is not shown to "
            "rescue {outcome:words} beyond every null ({effect}).",
        },
    ),
    When(
        "map carries the value",
        {"measure": "carried_from"},
        number="from when the map from the source rescues {outcome:words}",
    ),
    Finding(
        "what the source adds to the context",
        {**_RESCUED, "variant": "both", **_LAST},
        control=({"variant": "context"},),
        number="rescued fraction of {outcome:words}, map from both",
        says={
            "shown": "With the state of the prediction position one stage earlier beside it, the "
            "source rescues {effect}, against {control} without the source.",
            "open": "That the source adds to what the prediction position knew one stage earlier "
            "is not shown ({effect}, against {control} with that alone).",
        },
    ),
    Finding(
        "directions of the code against others",
        {**_RESCUED, **_SOURCE},
        control=({"against": _RANDOM},),
        number="rescued fraction of {outcome:words}, map from the source, against " + _RANDOM,
        says={
            "shown": "The source's code carries more than " + _RANDOM + " ({control}).",
            "open": "Its directions are not shown to carry more than " + _RANDOM + " do "
            "({control}): the value lies in most of what varies there.",
        },
    ),
    Finding(
        "target is the readout",
        {"measure": "R2", "by_construction": "the readout", **_SOURCE},
        uncontrolled="by construction",
        marks="At {target:words} directions of values are the unembedding's own rows: removing "
        "them costs the answer by construction, so the claim rests on earlier targets.",
    ),
)
VIEWS = (
    Curves(
        "carried",
        "When the map carries the value: what it explains, names and rescues",
        caption="The map from the source's code on programs that it was not fitted to, beside maps "
        "fitted to nulls. Above 100% of rescue, what is put in tells more of the value than what "
        "was taken out.",
        where={
            "measure": ("R2", "centroid_accuracy", "rescued"),
            "outcome": ("", "$outcome"),
            "variant": "source",
        },
        series="variant",
        panels=("measure",),
        control=(_VALUES, _WRITE, _KEYS),
    ),
    Curves(
        "rescued",
        "What is rescued from the source, the prediction position one stage earlier, and both",
        caption="Beside the maps the answer's mean code (centroid) and the true code, which gives "
        "back all by construction.",
        where={**_RESCUED, "variant": (*_MAPS, "centroid", "true code")},
        series="variant",
    ),
)
TABLES = (
    Listing(
        "Maps at step {last}",
        {**_LAST, "variant": _MAPS},
        keys=("measure", "outcome", "variant", "by_construction"),
        control=(_VALUES, _WRITE, _KEYS, _RANDOM),
    ),
    Listing(
        "The true code, the answer's mean code and none at step {last}",
        {**_LAST, "variant": ("true code", "centroid", "mean code")},
        keys=("measure", "outcome"),
        across="variant",
    ),
    Listing(
        "What removing the target code costs",
        {"variant": "whole"},
        keys=("step", "outcome"),
    ),
)

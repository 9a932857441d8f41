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
_SOURCE = {"variant": "source", **_LAST}
_FROM = "from {source:words} at the written value to {target:words} at the prediction position"
FINDINGS = (
    Finding(
        "answers that the map names",
        {"measure": "centroid_accuracy", **_SOURCE},
        control=(_KEYS, _WRITE, _VALUES),
        number="answers named by the nearest centroid of what the map predicts",
        says={
            "shown": f"A linear map {_FROM} predicts a state nearest to the mean of the right "
            "answer's in {effect} of programs that it was not fitted to; one from the directions "
            "that tell keys, in {control}.",
            "open": f"A linear map {_FROM} is not shown to name more answers than every control "
            "map ({effect}).",
        },
    ),
    Finding(
        "what the map rescues",
        {**_RESCUED, **_SOURCE},
        control=(_KEYS, _WRITE, _VALUES),
        number="rescued fraction of {outcome:words}, map from the source",
        says={
            "shown": "With the {rank} directions that tell the answer removed there, and what the "
            "map predicts put in, {effect} of the lost {outcome:words} comes back.",
            "open": "What it predicts, in the place of the {rank} directions that tell the answer, "
            "is not shown to bring {outcome:words} back beyond every control map ({effect}).",
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
            "shown": "A map from the written value and from what the prediction position held one "
            "stage earlier brings back {effect}, from the latter alone {control}.",
            "open": "That the written value adds to what the prediction position held one stage "
            "earlier is not shown ({effect} come back, {control} with the latter alone).",
        },
    ),
    Finding(
        "directions of the code against others",
        {**_RESCUED, **_SOURCE},
        control=(_RANDOM,),
        number="rescued fraction of {outcome:words}, map from the source, against " + _RANDOM,
        says={
            "shown": f"The written value's own directions bring back more than {_RANDOM} "
            "({control}).",
            "open": f"Its directions are not shown to bring back more than {_RANDOM} do "
            "({control}), which need not hold less of the value.",
        },
    ),
    Finding(
        "target is the readout",
        {"measure": "R2", "by_construction": "the readout", **_SOURCE},
        uncontrolled="by construction",
        marks="At {target:words} the unembedding reads off the directions of values themselves: "
        "removing them costs the answer by construction, so take an earlier target.",
    ),
)
VIEWS = (
    Curves(
        "carried",
        "When the map carries the value: what it explains, names and rescues",
        caption="The map from the written value on programs that it was not fitted to, beside "
        "control maps: values permuted, the value written to another key, directions that tell "
        "keys. Above 100% of rescue, what is put in tells more of the value than what was taken.",
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
        caption="Context: the prediction position one stage earlier. Beside the maps the answer's "
        "mean code (centroid) and the true code, which gives back all by construction.",
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
        "The true code and the answer's mean code at step {last}",
        {**_LAST, "variant": ("true code", "centroid")},
        keys=("measure", "outcome"),
        across="variant",
    ),
    Listing(
        "What removing the target code costs",
        {"variant": "whole"},
        keys=("step", "outcome"),
    ),
)

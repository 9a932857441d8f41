"""Along which paths components act, what no single path explains, and since when."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Cells, Curves, Listing, Not

SECTION = MECHANISM
QUESTION = "Through which later queries, keys, values and MLPs does each component act?"
_CONTROLS = ("answers of other programs", "a random change of the same size")
_PATH, _LAST = {"measure": "path"}, {"step": "last"}
_INTERACTION = {"measure": "interaction", **_LAST}
_BY_INPUT = {"measure": "order_averaged", **_LAST}
FINDINGS = (
    Finding(
        "largest path into each kind of input",
        {**_PATH, **_LAST},
        each=("input",),
        pick=("path",),
        rank="size",
        control=_CONTROLS,
        number="path effect of {path} on the answer, at step {step}",
        says={
            "shown": "Into {input:words} the largest path is {path}: with {source} damaged for "
            "that reader alone, the answer loses {effect}.",
            "opposite": "Into {input:words} the largest path is {path}, and lowers the answer: "
            "{effect}.",
            "open": "No single path into {input:words} is shown to carry the answer (largest "
            "{path}: {effect}).",
        },
    ),
    When(
        "largest path into each kind of input appears",
        {"measure": "strongest_appears"},
        each=("input",),
        number="from when {path} is beyond both controls",
    ),
    Finding(
        "source that single paths understate most",
        _INTERACTION,
        pick=("source",),
        control=_CONTROLS,
        number="interaction of the paths from {source}, at step {step}",
        says={
            "shown": "Single paths understate {source}, and stand in for each other: its damage "
            "for all readers costs {effect} more than they sum to.",
            "open": "Of no source single paths are shown to understate the effect.",
        },
    ),
    Finding(
        "source that single paths overstate most",
        _INTERACTION,
        pick=("source",),
        rank="smallest",
        control=_CONTROLS,
        number="interaction of the paths from {source}, at step {step}",
        says={
            "opposite": "They overstate {source}, whose paths need each other: what its damage for "
            "all readers costs differs from their sum by {effect}.",
        },
    ),
)
VIEWS = (
    Cells(
        "paths",
        "What each source does through each later input alone, at step {last}",
        caption="The source is damaged for one reader alone: a head's query (q), key (k) or value "
        "(v), an MLP, or the answer itself, the direct path; what that reader then writes goes on. "
        "Above 0 the path carries the answer (the right value's logit over the mean of all other "
        "values'); a reader that comes before the source has no cell.",
        where={**_PATH, **_LAST},
        x="receiver",
        y="source",
    ),
    *(
        Curves(
            f"paths_{name}",
            f"Paths into {told}, over training",
            where={**_PATH, "input": inputs},
            series="path",
            panels=("input",),
            control=_CONTROLS,
        )
        for name, told, inputs in (
            ("of_looking", "queries and keys", ("queries", "keys")),
            ("of_writing", "values, MLPs and the answer", ("values", "MLPs", "the answer")),
        )
    ),
    Cells(
        "when",
        "From which step on each path is beyond its controls",
        caption="When each path joined the circuit. Grey: not beyond both controls to the end.",
        where={"measure": "appears", "receiver": Not("")},
        x="receiver",
        y="source",
    ),
    Cells(
        "by_input",
        "What each source does through which kind of input, at step {last}",
        caption="The total effect, shared out over queries, keys, values, MLPs and the answer that "
        "reads it directly: each is given the clean write back, in all orders.",
        where=_BY_INPUT,
        x="input",
        y="source",
        control=_CONTROLS[:1],
    ),
)
TABLES = (
    Listing(
        "Sources at step {last}: total effect, and what no single path explains",
        {"measure": ("total", "interaction"), **_LAST},
        keys=("source", "measure"),
        control=_CONTROLS,
    ),
    Listing(
        "Largest paths at step {last}",
        {**_PATH, **_LAST},
        keys=("path",),
        sort=True,
        control=_CONTROLS,
        top=24,
    ),
    Listing(
        "Total effect by kind of input at step {last}, averaged over orders",
        _BY_INPUT,
        keys=("source", "input"),
        control=_CONTROLS[:1],
    ),
)

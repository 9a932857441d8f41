"""How few directions a window's updates move weights in, and which."""

from circuit.reports.findings import Finding
from circuit.reports.sections import UPDATES
from circuit.reports.views import Cells, Dots, Listing, Not

SECTION = UPDATES
QUESTION = (
    "In how few directions did updates from step {facts[window][0]} to {facts[window][1]} move the "
    "weights, and which component went where the matrix ended?"
)
_RANDOM = ({"against": "random updates"},)
_WINNER = {"chosen": "winner", "matrix": ("W_QK", "W_OV")}
_IT = "{matrix} of {component}"
_HOLD = "the top {top} hold {effect} of the change's squares (random updates {control:short})"
_LIES = "the change of {matrix}"
_TOP = "the final matrix' top directions (overlap {effect:short}, random updates {control:short})"
FINDINGS = (
    Finding(
        name="few directions",
        where={**_WINNER, "measure": "spectral_mass", "part": "update"},
        each=("matrix",),
        control=_RANDOM,
        bound=None,
        number="share of {component}'s change of {matrix} in its top {top} directions",
        says={
            "shown": f"Updates moved {_IT} in few directions: {_HOLD}.",
            "open": f"Updates moved {_IT} in no fewer directions than random ones: {_HOLD}.",
            "opposite": f"Updates moved {_IT} in more directions than random ones: {_HOLD}.",
        },
    ),
    Finding(
        name="rank of the update",
        where={**_WINNER, "measure": "effective_rank", "part": Not("weight_decay")},
        each=("matrix", "part"),
        control=_RANDOM,
        bound=None,
        number="effective rank of {component}'s change of {matrix}, {part:words}",
        quiet=True,
    ),
    Finding(
        name="into the final directions",
        where={**_WINNER, "measure": "overlap", "part": "update", "other": "final matrix"},
        each=("matrix", "side"),
        control=_RANDOM,
        number="overlap of the change of {matrix} with the final matrix, {side}",
        says={
            "shown": f"On the {{side}}, {_LIES} lies in {_TOP}.",
            "open": f"On the {{side}}, that {_LIES} lies in {_TOP}, is not shown.",
            "opposite": f"On the {{side}}, {_LIES} lies apart from {_TOP}.",
        },
    ),
    Finding(
        name="components go the same way",
        where={
            **_WINNER,
            "measure": "overlap",
            "part": "current_gradient",
            "other": "momentum",
        },
        each=("matrix", "side"),
        control=_RANDOM,
        number="overlap of current gradient and momentum in {matrix}, {side}",
        quiet=True,
    ),
    Finding(
        name="what the sums leave over",
        where={"measure": "left_over"},
        uncontrolled="components sum to the update exactly",
        number="norm of the checkpoints' difference less the components' sums",
        quiet=True,
    ),
)
VIEWS = (
    Dots(
        name="rank",
        title="Effective rank of what updates sum to",
        caption="Effective rank of every matrix' summed change, and of its components'. Hollow: "
        "random updates of the same norms.",
        where={"measure": "effective_rank", "matrix": ("W_QK", "W_OV", "W_in", "W_out")},
        panels=("matrix",),
        y=("component",),
        series="part",
        control=("random updates",),
    ),
    Dots(
        name="final_directions",
        title="Overlap of summed updates with the final matrix' top {top} directions",
        caption="Mean squared cosine of the principal angles, on the side that a matrix reads "
        "(left) and writes (right); of W_QK, query and key.",
        where={
            "measure": "overlap",
            "other": "final matrix",
            "matrix": ("W_QK", "W_OV"),
            "part": Not("weight_decay"),
        },
        panels=("matrix", "side"),
        y=("component",),
        series="part",
        control=("random updates",),
    ),
    Cells(
        name="components",
        title="Overlap of components' top {top} directions, the winner",
        caption="Whether components move a matrix in the same directions; in brackets: two random "
        "updates.",
        where={**_WINNER, "measure": "overlap", "other": Not("final matrix")},
        panels=("matrix", "side"),
        x="other",
        y="part",
        control=("random updates",),
    ),
)
TABLES = (
    *(
        Listing(
            title=f"{title} of the summed update, by component",
            where={"measure": measure},
            keys=("matrix", "component"),
            across="part",
        )
        for measure, title in (
            ("effective_rank", "Effective rank"),
            ("spectral_mass", "Share of the top {top} directions"),
        )
    ),
    Listing(
        title="Overlap of the summed update with the final matrix' top {top} directions",
        where={"measure": "overlap", "part": "update", "other": "final matrix"},
        keys=("matrix", "component", "side"),
        control=("random updates",),
    ),
)
MARKS = (
    "The window was replayed: {facts[exact]} of {facts[checkpoints]} checkpoints on its way were "
    "met bit for bit. Sums are exact; bands are those of {draws} random updates.",
)

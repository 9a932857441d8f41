"""How few directions a window's updates move weights in, and which."""

from functools import partial

from circuit.reports.findings import Finding
from circuit.reports.sections import UPDATES
from circuit.reports.views import Cells, Dots, Listing, Not

SECTION = UPDATES
QUESTION = (
    "In how few directions did updates from step {facts[window][0]} to {facts[window][1]} move the "
    "weights, and which component went where the matrix ended?"
)
_RANDOM = "random updates"
_change = partial(Finding, control=({"against": _RANDOM},))
_dots = partial(Dots, y=("component",), series="part", control=(_RANDOM,))
_WINNER = {"chosen": "winner", "matrix": ("W_QK", "W_OV")}
_OVERLAP, _RANK = {"measure": "overlap"}, {"measure": "effective_rank"}
_FINAL = {**_OVERLAP, "other": "final matrix"}
_MASS = {"measure": "spectral_mass"}
_PUSHED = {"part": Not("weight_decay")}
FINDINGS = (
    _change(
        "few directions",
        {**_WINNER, **_MASS, "part": "update"},
        each=("matrix",),
        bound=None,
        number="share of {component}'s change of {matrix} in its top {top} directions",
        says="That {component}'s change of {matrix} has few directions {is_shown}: the top {top} "
        "hold {effect:short} of its squares, those of random updates {control:short}.",
    ),
    _change(
        "effective rank of the winner's change",
        {**_WINNER, **_RANK, **_PUSHED},
        each=("matrix", "part"),
        bound=None,
    ),
    _change(
        "into the final directions",
        {**_WINNER, **_FINAL, "part": "update"},
        each=("matrix", "side"),
        number="overlap of the change of {matrix} with the final matrix, {side}",
        says="That the change of {matrix} lies in the final matrix' top directions on the {side} "
        "{is_shown}: overlap {effect:short}, random updates {control:short}.",
    ),
    _change(
        "components go the same way",
        {**_WINNER, **_OVERLAP, "part": "current_gradient", "other": "momentum"},
        each=("matrix", "side"),
        number="overlap of current gradient and momentum in {matrix}, {side}",
    ),
    Finding(
        "norm of the checkpoints' difference less the components' sums",
        {"measure": "left_over"},
        uncontrolled="components sum to the update exactly",
    ),
)
VIEWS = (
    _dots(
        "rank",
        "Effective rank of what updates and their components sum to",
        where={**_RANK, "matrix": ("W_QK", "W_OV", "W_in", "W_out")},
        panels=("matrix",),
    ),
    _dots(
        "final_directions",
        "Overlap of summed updates with the final matrix' top {top} directions",
        caption="Mean squared cosine of the principal angles, on the side that a matrix reads "
        "(left) and writes (right); of W_QK, query and key.",
        where={**_FINAL, **_PUSHED, "matrix": ("W_QK", "W_OV")},
        panels=("matrix", "side"),
    ),
    Cells(
        "components",
        "Overlap of components' top {top} directions in the winner",
        where={**_WINNER, **_OVERLAP, "other": Not("final matrix")},
        panels=("matrix", "side"),
        x="other",
        y="part",
        control=(_RANDOM,),
    ),
)
_BY = ("matrix", "component")
TABLES = (
    Listing("Effective rank of the summed update, by component", _RANK, keys=_BY, across="part"),
    Listing("Share of its top {top} directions", _MASS, keys=_BY, across="part"),
    Listing(
        "Overlap of the summed update with the final matrix' top {top} directions",
        {**_FINAL, "part": "update"},
        keys=(*_BY, "side"),
        control=(_RANDOM,),
    ),
)
MARKS = (
    "The window was replayed: {facts[exact]} of {facts[checkpoints]} checkpoints on its way were "
    "met bit for bit. Sums are exact; bands are those of {draws} random updates.",
)

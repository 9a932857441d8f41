"""When weights grew, were compressed and settled: what their singular values show."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import FORMATION
from circuit.reports.views import Curves, Listing

SECTION = FORMATION
QUESTION = "When did the weights grow, compress and settle, and does behaviour go with it?"
_BIRTHS = ("compression", "growth", "stabilisation")
_RULES = {
    "growth": "Frobenius norm, half-way up to stay",
    "compression": "effective rank, half-way down to stay",
    "stabilisation": "top directions half as far from the final ones as random directions, to stay",
}
_RANK, _LAST = {"measure": "effective_rank"}, {"step": "last"}
_UNTRAINED = {"against": "untrained"}
FINDINGS = (
    Finding(
        "compressed matrices",
        {"measure": "matrices_below", "matrix": "all", **_LAST},
        control=(_UNTRAINED,),
        bound=None,
        number="matrices below 95% of untrained effective ranks, step {step}",
        says="That matrices were compressed {is_shown}: at step {step}, {effect.short} of "
        "{facts[matrices]} have a lower effective rank than 95% of untrained ones ({control.short} "
        "in untrained models).",
    ),
    Finding(
        "the most compressed matrix",
        {"measure": "compression", **_LAST},
        pick=("matrix", "component"),
        control=(_UNTRAINED,),
        bound=None,
        number="effective rank that {matrix} of {component} lacks, step {step}",
        says={
            "shown": "{matrix} of {component} most: it lacks {effect.short} of an untrained one's, "
            "where the most compressed of an untrained model lacks at most {control.high:.0%}."
        },
    ),
    When(
        "median step of {pattern}",
        {"measure": "median_when", "pattern": _BIRTHS},
        table="patterns",
        each=("pattern",),
        uncontrolled="a matrix shows a pattern only where it leaves the band of untrained ones",
        says={
            "shown": "{effect.count} matrices show {pattern}, half of them by {effect.short}.",
            "open": "No matrix shows {pattern}.",
        },
    ),
    Finding(
        "births in windows",
        {"measure": "matched", "pattern": (*_BIRTHS, "all")},
        table="patterns",
        each=("pattern",),
        control=({"against": "shifted windows"},),
        bound=None,
        number="births in behaviour's windows: {pattern}",
        says={
            "shown": "Births by {pattern} gather in windows of behaviour's births: {effect.short}, "
            "where {control} are expected of the same windows at any other time."
        },
    ),
    Finding(
        "median steps from the nearest birth of behaviour (below 0: before it)",
        {"measure": "median_lead", "pattern": _BIRTHS},
        table="patterns",
        each=("pattern",),
        uncontrolled="births are as near as their number lets them be",
        bound=None,
    ),
    Finding(
        "matrices that move together",
        {"measure": "together"},
        table="patterns",
        each=("near",),
        control=({"against": "matrices shifted apart"},),
        bound=None,
        says={
            "shown": "In {near}, {effect.short} matrices move faster than their own average at "
            "once; by chance up to {control.high:,.0f} do in some interval."
        },
    ),
)
MARKS = (
    "Weights have no events to resample: bands are those of random matrices, and the chance of a "
    "match is over shifted windows, within one run.",
)
_CONTROL = ("untrained",)
VIEWS = (
    Curves(
        "births",
        "How many matrices had grown, been compressed and settled by when",
        caption="Shaded: windows of behaviour's births, and stretches in which more matrices move "
        "together than by chance.",
        table="patterns",
        where={"measure": "born_so_far", "pattern": _BIRTHS},
        panels=("pattern",),
        series="matrix",
        marks={"measure": ("window_of_births", "moving_together")},
    ),
    Curves(
        "effective_rank",
        "Effective rank (Σσ)² / Σσ² of every matrix",
        where=_RANK,
        panels=("matrix",),
        series="component",
        control=_CONTROL,
    ),
    Curves(
        "rotation",
        "Rotation of the top {top} singular directions",
        caption="Mean principal angle over both sides to the previous and to the final checkpoint; "
        "0: the same directions.",
        where={
            "measure": ("rotation_previous", "rotation_final"),
            "matrix": ("W_QK", "W_OV", "W_in", "W_out"),
        },
        panels=("matrix", "measure"),
        series="component",
        control=_CONTROL,
    ),
    Curves(
        "spectrum",
        "Singular values of the most compressed W_QK and W_OV",
        table="spectra",
        where={"matrix": ("W_QK", "W_OV"), "place": 1},
        panels=("matrix", "component"),
        x="index",
        series="step",
        control=_CONTROL,
        log=True,
    ),
)
_BY_KIND = ("median_effective_rank", "least_effective_rank", "most_effective_rank")
TABLES = (
    Listing(
        "Effective rank by kind of matrix, and how many lie outside 95% of untrained ones",
        {"measure": (*_BY_KIND, "matrices_below", "matrices_above"), "step": ("first", "last")},
        keys=("matrix", "step"),
        across="measure",
    ),
    Listing(
        "Effective rank of untrained matrices", {**_RANK, **_UNTRAINED, **_LAST}, keys=("matrix",)
    ),
    Listing(
        "Effective rank of every matrix at step {last}",
        {**_RANK, **_LAST},
        keys=("component",),
        across="matrix",
    ),
    Listing(
        "Births, how many lie in behaviour's windows, and the share of shifts with as many",
        {"measure": ("births", "matched", "share_of_shifts")},
        table="patterns",
        keys=("pattern",),
        across="measure",
    ),
    *(
        Listing(
            f"Step of {pattern} ({rule})",
            {"measure": "when", "pattern": pattern},
            table="patterns",
            keys=("component",),
            across="matrix",
        )
        for pattern, rule in _RULES.items()
    ),
)

"""When weights grew, were compressed and settled: what their singular values show."""

from functools import partial

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
_RANK, _WHEN, _LAST = {"measure": "effective_rank"}, {"measure": "when"}, {"step": "last"}
_PRODUCTS = ("W_QK", "W_OV", "W_in", "W_out")
_UNTRAINED = {"against": "untrained"}
_pattern = partial(Finding, table="patterns", bound=None)
_curves = partial(Curves, control=("untrained",))
_births = partial(Listing, table="patterns")
FINDINGS = (
    Finding(
        "compressed matrices",
        {"measure": "matrices_below", "matrix": "all", **_LAST},
        control=(_UNTRAINED,),
        bound=None,
        says="That matrices were compressed {is_shown}: at step {step} {effect.short} of "
        "{facts[matrices]} have a lower effective rank than 95% of untrained ones, in an untrained "
        "model {control.short}.",
    ),
    Finding(
        "the most compressed matrix",
        {"measure": "compression", **_LAST},
        pick=("matrix", "component"),
        control=(_UNTRAINED,),
        bound=None,
        number="effective rank that {matrix} of {component} lacks, step {step}",
        says={
            "shown": "{matrix} of {component} most: it lacks {effect.short} of its effective rank, "
            "where of untrained matrices none lacks more than {control.high:.0%}."
        },
    ),
    When(
        "median step of {pattern}",
        {"measure": "median_when", "pattern": _BIRTHS},
        table="patterns",
        each=("pattern",),
        uncontrolled="a matrix shows it only where it leaves the band of untrained ones",
        says={
            "shown": "{effect.count} matrices show {pattern}, half of them by {effect.short}.",
            "open": "No matrix shows {pattern}.",
        },
    ),
    _pattern(
        "births in windows",
        {"measure": "matched", "pattern": (*_BIRTHS, "all")},
        each=("pattern",),
        control=({"against": "shifted windows"},),
        says={
            "shown": "Births by {pattern} gather in windows of behaviour's births: {effect.short}, "
            "where {control} are expected of the same windows at any other time."
        },
    ),
    _pattern(
        "median steps from the nearest birth of behaviour (below 0: before it)",
        {"measure": "median_lead", "pattern": _BIRTHS},
        each=("pattern",),
        uncontrolled="births are as near as their number lets them be",
    ),
    _pattern(
        "matrices that move together",
        {"measure": "together"},
        each=("near",),
        control=({"against": "matrices shifted apart"},),
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
    _curves(
        "effective_rank",
        "Effective rank (Σσ)² / Σσ² of every matrix",
        where=_RANK,
        panels=("matrix",),
        series="component",
    ),
    _curves(
        "rotation",
        "Rotation of the top {top} singular directions",
        caption="Mean principal angle over both sides to the previous and to the final checkpoint; "
        "0: the same directions.",
        where={"measure": ("rotation_previous", "rotation_final"), "matrix": _PRODUCTS},
        panels=("matrix", "measure"),
        series="component",
    ),
    _curves(
        "spectrum",
        "Singular values of the most compressed W_QK and W_OV",
        table="spectra",
        where={"matrix": ("W_QK", "W_OV"), "place": 1},
        panels=("matrix", "component"),
        x="index",
        series="step",
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
    Listing("Effective rank of untrained matrices", {**_RANK, **_UNTRAINED, **_LAST}),
    Listing("Effective rank of every matrix at step {last}", {**_RANK, **_LAST}, across="matrix"),
    _births(
        "Births, how many lie in behaviour's windows, and the share of shifts with as many",
        {"measure": ("births", "matched", "share_of_shifts")},
        across="measure",
    ),
    *(
        _births(f"Step of {pattern} ({rule})", {**_WHEN, "pattern": pattern}, across="matrix")
        for pattern, rule in _RULES.items()
    ),
)

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
_SHIFTED = "of the same windows at any other time"
FINDINGS = (
    Finding(
        name="compressed matrices",
        where={"measure": "matrices_below", "matrix": "all", "step": "last"},
        control=({"against": "untrained"},),
        bound=None,
        number="matrices below 95% of untrained effective ranks, step {step}",
        says={
            "shown": "At step {step}, {effect.short} of {facts[matrices]} matrices have a lower "
            "effective rank than 95% of untrained ones ({control.short} in untrained models).",
            "open": "At step {step}, no more matrices have a low effective rank than in untrained "
            "models ({effect.short} of {facts[matrices]}): nothing was compressed.",
            "opposite": "At step {step}, fewer matrices have a low effective rank than in "
            "untrained models ({effect.short} of {facts[matrices]}): nothing was compressed.",
        },
    ),
    Finding(
        name="the most compressed matrix",
        where={"measure": "compression", "step": "last"},
        pick=("matrix", "component"),
        control=({"against": "untrained"},),
        bound=None,
        number="effective rank that {matrix} of {component} lacks, step {step}",
        says={
            "shown": "Most so {matrix} of {component}: it lacks {effect.short} of the effective "
            "rank of an untrained one; the most compressed of all matrices of an untrained model "
            "lack at most {control.high:.0%}.",
        },
    ),
    When(
        name="median step of {pattern}",
        table="patterns",
        where={"measure": "median_when", "pattern": _BIRTHS},
        each=("pattern",),
        uncontrolled="a matrix shows a pattern only where it leaves the band of untrained ones",
        says={
            "shown": "{effect.count} of {facts[matrices]} matrices show {pattern}, half of them by "
            "step {effect.mean:,.0f}.",
            "open": "No matrix shows {pattern}.",
        },
    ),
    Finding(
        name="births in windows",
        table="patterns",
        where={"measure": "matched", "pattern": (*_BIRTHS, "all")},
        each=("pattern",),
        control=({"against": "shifted windows"},),
        bound=None,
        number="births in behaviour's windows: {pattern}",
        says={
            "shown": "More births by {pattern} lie in windows of behaviour's births than chance "
            f"explains: {{effect.short}}, where {{control}} are expected {_SHIFTED}.",
            "opposite": "Fewer births by {pattern} lie in windows of behaviour's births than "
            f"chance explains: {{effect.short}}, where {{control}} are expected {_SHIFTED}.",
        },
    ),
    Finding(
        name="steps from the nearest birth of behaviour",
        table="patterns",
        where={"measure": "median_lead", "pattern": _BIRTHS},
        each=("pattern",),
        uncontrolled="births are as near as their number lets them be",
        bound=None,
        number="median steps from the nearest birth of behaviour to {pattern} (below 0: before it)",
        quiet=True,
    ),
    Finding(
        name="matrices that move together",
        table="patterns",
        where={"measure": "together"},
        each=("near",),
        control=({"against": "matrices shifted apart"},),
        bound=None,
        number="matrices that move together, {near}",
        says={
            "shown": "In {near}, {effect.short} matrices move faster than their own average at "
            "once; by chance up to {control.high:,.0f} do in some interval.",
        },
    ),
)
MARKS = (
    "Weights have no events to resample: bands are those of random matrices, and the chance of a "
    "match is over shifted windows, within one run.",
)
VIEWS = (
    Curves(
        name="births",
        title="How many matrices had grown, been compressed and settled by when",
        caption="Share of the matrices of every kind that had grown, been compressed or settled by "
        "every checkpoint. Shaded: windows of behaviour's births, and stretches in which more "
        "matrices move together than by chance.",
        table="patterns",
        where={"measure": "born_so_far", "pattern": _BIRTHS},
        panels=("pattern",),
        series="matrix",
        marks={"measure": ("window_of_births", "moving_together")},
    ),
    Curves(
        name="effective_rank",
        title="Effective rank (Σσ)² / Σσ² of every matrix",
        caption="Effective rank of every matrix over training; grey: 95% of untrained matrices.",
        where={"measure": "effective_rank"},
        panels=("matrix",),
        series="component",
        control=("untrained",),
    ),
    Curves(
        name="rotation",
        title="Rotation of the top {top} singular directions",
        caption="Mean principal angle of the top {top} singular directions, over both sides, to "
        "the previous and to the final checkpoint; grey: 95% of pairs of random matrices. 0: the "
        "same directions.",
        where={
            "measure": ("rotation_previous", "rotation_final"),
            "matrix": ("W_QK", "W_OV", "W_in", "W_out"),
        },
        panels=("matrix", "measure"),
        series="component",
        control=("untrained",),
    ),
    Curves(
        name="spectrum",
        title="Singular values of the most compressed W_QK and W_OV",
        caption="Singular values over training of the W_QK and W_OV with the lowest effective rank "
        "at the last checkpoint; grey: 95% of untrained matrices.",
        table="spectra",
        where={"matrix": ("W_QK", "W_OV"), "place": 1},
        panels=("matrix", "component"),
        x="index",
        series="step",
        control=("untrained",),
        log=True,
    ),
)
TABLES = (
    Listing(
        title="Effective rank by kind of matrix, and how many lie outside 95% of untrained ones",
        where={
            "measure": (
                *(f"{name}_effective_rank" for name in ("median", "least", "most")),
                *(f"matrices_{side}" for side in ("below", "above")),
            ),
            "step": ("first", "last"),
        },
        keys=("matrix", "step"),
        across="measure",
    ),
    Listing(
        title="Effective rank of untrained matrices, with the band that holds 95% of them",
        where={"measure": "effective_rank", "against": "untrained", "step": "last"},
        keys=("matrix",),
    ),
    Listing(
        title="Effective rank of every matrix at step {last}",
        where={"measure": "effective_rank", "step": "last"},
        keys=("component",),
        across="matrix",
    ),
    Listing(
        title="Births, how many are matched by windows of behaviour's births, and the share of all "
        "shifts of the windows that match as many",
        table="patterns",
        where={"measure": ("births", "matched", "share_of_shifts")},
        keys=("pattern",),
        across="measure",
    ),
    *(
        Listing(
            title=f"Step of {pattern} ({rule})",
            table="patterns",
            where={"measure": "when", "pattern": pattern},
            keys=("component",),
            across="matrix",
        )
        for pattern, rule in _RULES.items()
    ),
)

"""When and where states come to know what, and which heads can read it: what groups show."""

from functools import partial
from typing import Any

from circuit.reports.findings import Finding, When
from circuit.reports.sections import FORMATION
from circuit.reports.views import Curves, Drawn, Listing

SECTION = FORMATION
QUESTION = "When and where do states come to know key and answer, and does the lookup head see it?"
_SHUFFLED, _RANDOM = "shuffled labels", "random directions"
_probe = partial(Finding, each=("role", "group"), bound=None)
_CONTROLS = ({"against": _SHUFFLED}, {"against": _RANDOM})
_SEEN = {"measure": "variance_share", "compared": "group means", "matched": "yes"}
_PROBE = {"measure": "probe_accuracy", "head": "", "known_by": ("context", "token")}
_LAST, _ENDS, _CONTEXT = {"step": "last"}, {"step": ("first", "last")}, {"known_by": "context"}

_sees = partial(
    Finding,
    each=("side", "role"),
    control=_CONTROLS,
    bound=None,
    number="share of {group:words} at {role:words} that {side:words} of {head} sees",
)


def _distances(material: Any, path: str) -> None:
    from circuit.reports.bespoke import state_groups

    state_groups.group_distances(material.tables["pairwise"], path)


def _axes(material: Any, path: str) -> None:
    from circuit.reports.bespoke import state_groups

    state_groups.axes(material.tables["projections"], path)


FINDINGS = (
    _probe(
        "what states know",
        {"measure": "clearest_probe_accuracy", **_LAST, **_CONTEXT},
        control=({"against": _SHUFFLED}, {"step": "first"}),
        number="probe accuracy for {group:words} at {role:words}, {site}, step {step}",
        says="That states at {role:words} separate by {group:words} {is_shown}: at {site} a linear "
        "probe is right for {effect} at step {step} (shuffled labels {control.short}).",
    ),
    _probe(
        "one stage before, {site}: probe accuracy for {group:words} at {role:words}",
        {"measure": "accuracy_one_stage_before", **_CONTEXT},
        control=({"against": _SHUFFLED},),
    ),
    When(
        "first step with lasting separation, {group:words} at {role:words}, {site}",
        {"measure": "separates_from", **_CONTEXT},
        each=("role", "group"),
        uncontrolled="from then on the probe stays beyond both controls",
        says={"shown": "By {group:words} at {role:words} they separate from {effect.short} on."},
    ),
    _sees(
        "what the winner sees",
        {**_SEEN, **_LAST, "chosen": "winner"},
        says="That the winner's {side:words} directions see the {group:words} at {role:words} "
        "{is_shown}: {effect.short} of its variance (shuffled labels {control.short}).",
    ),
    _sees(
        "what the bottom control sees",
        {**_SEEN, **_LAST, "chosen": "bottom"},
        says={"shown": "The bottom control's {side:words} directions see it too: {effect.short}."},
    ),
)
VIEWS = (
    Curves(
        "separability",
        "Which groups a linear probe tells apart, by stage",
        caption="Groups that the token itself names are known from the embedding on.",
        where=_PROBE,
        panels=("known_by", "role", "group"),
        series="site",
        control=(_SHUFFLED,),
        note="Nearest group mean in the metric of scatter within groups: fitted on even programs, "
        "scored on odd ones.",
    ),
    Curves(
        "alignment_curves",
        "Share of between-group variance in the heads' singular subspaces",
        caption="A head sees the groups where its share lies above both controls.",
        where=_SEEN,
        panels=("side", "role"),
        series="head",
        control=(_SHUFFLED, _RANDOM),
    ),
    Drawn(
        "group_distances",
        "Distances between groups",
        caption="In units of the spread within groups, where the winner reads and writes.",
        table="pairwise",
        draw=_distances,
    ),
    Drawn(
        "axes",
        "States by group",
        caption="Held-back programs, at both ends, in the plane in which the largest groups' means "
        "differ most.",
        table="projections",
        draw=_axes,
    ),
)
_CELL, _SIDE = ("role", "group", "site"), ("side", "group", "role")
TABLES = (
    Listing(
        "What a linear probe tells apart at step {last}", {**_PROBE, **_LAST}, control=(_SHUFFLED,)
    ),
    Listing(
        "Separability at every stage, before and after training",
        {
            "measure": ("probe_accuracy", "between_share", "scatter_ratio", "pairwise_distance"),
            "head": "",
            **_ENDS,
        },
        keys=(*_CELL, "step"),
        across="measure",
    ),
    Listing(
        "Share of between-group variance in the top {rank} singular directions, step {last}",
        {**_SEEN, **_LAST},
        keys=("head", "chosen", *_SIDE),
        control=(_SHUFFLED, _RANDOM),
    ),
    Listing(
        "The same before and after training, with the overlap of subspaces (mean squared cosine)",
        {**_SEEN, **_ENDS, "measure": ("variance_share", "subspace_overlap")},
        keys=("head", *_SIDE, "step"),
        across="measure",
    ),
    Listing(
        "Overlap of the winner's subspaces with all they are compared with, step {last}",
        {"measure": "subspace_overlap", "chosen": "winner", **_LAST},
        keys=("head", "side", "role", "compared", "group"),
        control=(_SHUFFLED, _RANDOM),
    ),
)

"""When and where states come to know what, and which heads can read it: what groups show."""

from __future__ import annotations

from typing import Any

from circuit.reports.findings import Finding, When
from circuit.reports.sections import FORMATION
from circuit.reports.views import Curves, Drawn, Listing

SECTION = FORMATION
QUESTION = (
    "When and where do states come to know the key and the answer, and do the lookup head's "
    "singular directions see it?"
)
_SHUFFLED, _RANDOM = "shuffled labels", "random directions"
_SEEN = {"measure": "variance_share", "compared": "group means", "matched": "yes"}
_CONTROLS = ({"against": _SHUFFLED}, {"against": _RANDOM})
_WHAT = "{side:words} of {chosen:words} {head}: variance between groups by {group:words} at "


def _distances(material: Any, path: str) -> None:
    from circuit.reports.bespoke import state_groups

    state_groups.group_distances(material.tables["pairwise"], path)


def _axes(material: Any, path: str) -> None:
    from circuit.reports.bespoke import state_groups

    state_groups.axes(material.tables["projections"], path)


FINDINGS = (
    Finding(
        name="what states know",
        where={"measure": "clearest_probe_accuracy", "step": "last", "known_by": "context"},
        each=("role", "group"),
        control=({"against": _SHUFFLED}, {"step": "first"}),
        bound=None,
        number="probe accuracy for {group:words} at {role:words}, {site}, step {step}",
        says={
            "shown": "States at {role:words} separate by {group:words}, most clearly from {site} "
            "on: there a linear probe names the {group:words} of {effect} of held-back states at "
            "step {step} (shuffled labels {control.short}).",
            "open": "At no stage are states at {role:words} shown to separate by {group:words} "
            "beyond shuffled labels and the untrained network: at {site}, the best stage, a linear "
            "probe names the {group:words} of {effect} of held-back states at step {step}.",
            "opposite": "At no stage do states at {role:words} separate by {group:words}: at "
            "{site}, the best stage, a linear probe names the {group:words} of {effect} of "
            "held-back states at step {step}, fewer than with shuffled labels.",
        },
    ),
    Finding(
        name="one stage before",
        where={"measure": "accuracy_one_stage_before", "known_by": "context"},
        each=("role", "group"),
        control=({"against": _SHUFFLED},),
        bound=None,
        number="probe accuracy for {group:words} at {role:words}, one stage before, {site}",
        quiet=True,
    ),
    When(
        name="first step with lasting separation, {group:words} at {role:words}, {site}",
        where={"measure": "separates_from", "known_by": "context"},
        each=("role", "group"),
        uncontrolled="it is the step from which the probe stays beyond both controls",
        says={
            "shown": "By {group:words} at {role:words} they separate from step {effect.mean:,.0f} "
            "on."
        },
    ),
    Finding(
        name="what the winner sees",
        where={**_SEEN, "step": "last", "chosen": "winner"},
        each=("side", "role"),
        control=_CONTROLS,
        bound=None,
        number=_WHAT + "{role:words}, step {step}",
        says={
            "shown": "The {side:words} directions of the winner {head} see the {group:words} at "
            "{role:words}: {effect.short} of the variance between groups (shuffled labels "
            "{control.short}).",
            "open": "The {side:words} directions of the winner {head} are not shown to see the "
            "{group:words} at {role:words} ({effect.short}, shuffled labels {control.short}).",
            "opposite": "The {side:words} directions of the winner {head} see less of the "
            "{group:words} at {role:words} than chance gives ({effect.short}, shuffled labels "
            "{control.short}).",
        },
    ),
    Finding(
        name="what the bottom control sees",
        where={**_SEEN, "step": "last", "chosen": "bottom"},
        each=("side", "role"),
        control=_CONTROLS,
        bound=None,
        number=_WHAT + "{role:words}, step {step}",
        says={
            "shown": "Those of {side:words} of the bottom control {head} see it too: the "
            "{group:words} at {role:words}, {effect.short}."
        },
    ),
)
VIEWS = (
    Curves(
        name="separability",
        title="Which groups a linear probe tells apart, by stage",
        caption="Accuracy of a linear probe for every group at every stage over training, with "
        "shuffled labels. Groups that the token itself names are known from the embedding on.",
        where={"measure": "probe_accuracy", "head": "", "known_by": ("context", "token")},
        panels=("known_by", "role", "group"),
        series="site",
        control=(_SHUFFLED,),
        note="Nearest group mean in the metric of scatter within groups: fitted on even programs, "
        "scored on odd ones.",
    ),
    Curves(
        name="alignment_curves",
        title="Share of between-group variance in the heads' singular subspaces",
        caption="Share of the variance between groups that lies in the singular subspaces of "
        "winner, runner-up and bottom control, against random subspaces and shuffled labels. A "
        "head sees the groups where it lies above both.",
        where=_SEEN,
        panels=("side", "role"),
        series="head",
        control=(_SHUFFLED, _RANDOM),
    ),
    Drawn(
        name="group_distances",
        title="Distances between groups",
        caption="Distances of group means in units of the spread within groups, at the first and "
        "the last checkpoint, where the winner reads and writes.",
        table="pairwise",
        draw=_distances,
    ),
    Drawn(
        name="axes",
        title="States by group",
        caption="States of held-back programs in the plane in which the largest groups' means "
        "differ most, at the first and the last checkpoint.",
        table="projections",
        draw=_axes,
    ),
)
TABLES = (
    Listing(
        title="What a linear probe tells apart at step {last}",
        where={
            "measure": "probe_accuracy",
            "head": "",
            "step": "last",
            "known_by": ("context", "token"),
        },
        keys=("role", "group", "site", "known_by"),
        control=(_SHUFFLED,),
    ),
    Listing(
        title="Separability at every stage, before and after training",
        where={
            "measure": ("probe_accuracy", "between_share", "scatter_ratio", "pairwise_distance"),
            "head": "",
            "step": ("first", "last"),
        },
        keys=("role", "group", "site", "step"),
        across="measure",
    ),
    Listing(
        title="Share of between-group variance in the top {rank} singular directions, step {last}",
        where={**_SEEN, "step": "last"},
        keys=("head", "chosen", "side", "group", "role"),
        control=(_SHUFFLED, _RANDOM),
    ),
    Listing(
        title="The same before and after training, with the overlap of subspaces (mean squared "
        "cosine of principal angles)",
        where={
            **_SEEN,
            "measure": ("variance_share", "subspace_overlap"),
            "step": ("first", "last"),
        },
        keys=("head", "side", "group", "role", "step"),
        across="measure",
    ),
    Listing(
        title="Overlap of the winner's subspaces with all they are compared with, step {last}",
        where={"measure": "subspace_overlap", "chosen": "winner", "step": "last"},
        keys=("head", "side", "role", "compared", "group"),
        control=(_SHUFFLED, _RANDOM),
    ),
)

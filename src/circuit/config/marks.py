"""What a setting is, said in its type: a head of the model, a checkpoint step, another analysis.

A mark is a name and nothing more. What each demands is in :mod:`circuit.config.checks`, which no
script reaches: an error said otherwise makes no artifact stale.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from circuit.config.base import Count, Name, StepNumber
from circuit.config.benchmark import SplitName


@dataclass(frozen=True)
class Mark:
    """What a value is.

    ``analysis``: the name of another analysis, of the kind ``detail`` or one of such kinds, over at
    least the same runs.
    ``window``: two checkpoint steps, a window of the study, or one that an analysis of the run
    found. ``measured``: a split that the sweep named by the setting ``detail`` measures (None: one
    of one's own). ``head``: a head of the model, or a role of the heads selected; ``scalar_head``
    may be an MLP where the scalar follows a write, ``route_head`` every head. ``circuit``: edges
    between nodes of the model. ``component``: a head, an MLP, or a key of the setting ``detail``;
    ``neuron``: one of an MLP's; ``written``: a head, an MLP, a neuron, or the pattern of a head.
    ``rank``: a number of directions of a head's maps; ``scalar_rank``: of a head's for some
    scalars. ``step``: a step with a checkpoint. ``stage``: a site of residual states; ``site``:
    places to edit (:func:`circuit.model.sites.edit_places`). ``subspace``: may be fitted to the
    states at a stage; ``subspace_rank``: a number of directions of the owner's ``subspace``.
    ``dictionary``: of features, which only some kinds read; ``features``: some of them.
    ``groupings``: of parameters, as lists of groups. ``probe``: the number of one of a split's
    probe events; ``probe_count``: of what there is at most one per probe event, and at least
    ``detail``; ``confirming``: of events of the half that confirms. ``programs``: of programs of
    each split that a setting in ``detail`` names (``train``: the run's training split). ``within``:
    of something of which the setting ``detail`` says how much there is; ``unlike``: another one
    than the setting ``detail``. ``supported``: of features that are fitted to the states of half of
    ``programs`` at the checkpoints from ``first`` on.
    """

    what: Literal[
        "analysis",
        "runs",
        "window",
        "measured",
        "head",
        "circuit",
        "component",
        "neuron",
        "written",
        "scalar_head",
        "route_head",
        "rank",
        "scalar_rank",
        "step",
        "stage",
        "site",
        "subspace",
        "subspace_rank",
        "dictionary",
        "features",
        "groupings",
        "probe",
        "probe_count",
        "confirming",
        "programs",
        "within",
        "unlike",
        "supported",
    ]
    detail: Any = None


Ref = partial(Mark, "analysis")
Head = Annotated[str, Mark("head")]
Rank = Annotated[Count, Mark("rank")]
Step = Annotated[StepNumber, Mark("step")]
FinalOrStep = Literal["final"] | Step
Stage = Annotated[str, Mark("stage")]


def _of_the_stream(stage: str) -> str:
    if not re.fullmatch(r"embedding|layer_\d+_post_(attn|mlp)", stage):
        raise ValueError(
            f"{stage!r} is no stage of the stream that the model goes on from; "
            "name embedding, or one such as layer_0_post_attn or layer_0_post_mlp"
        )
    return stage


StreamStage = Annotated[str, AfterValidator(_of_the_stream), Mark("stage")]
"""A stage of the stream before the final LayerNorm."""
Site = Annotated[str, Mark("site")]
Neuron = Annotated[str, Mark("neuron")]
HeadScanName = Annotated[Name, Ref("head_scan")]
SweepName = Annotated[Name, Ref("checkpoint_sweep")]
DictionaryName = Annotated[Name, Ref(("dictionary", "feature_births"))]
"""An analysis that leaves a dictionary of features."""
MeasuredSplit = Annotated[SplitName, Mark("measured", "sweep")]
"""A split of the sweep that the kind's setting ``sweep`` names."""

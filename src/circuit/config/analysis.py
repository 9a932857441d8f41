"""Every kind of analysis by its name; its settings are in :mod:`circuit.config.kinds`.

An analysis is a named block of YAML with a ``kind``; adding one of an existing kind is YAML only.
"""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from circuit.config.kinds.attribution import DataAttribution, OptimizerTrace, UpdateAttribution
from circuit.config.kinds.base import AnalysisSettings
from circuit.config.kinds.behaviour import (
    BirthWindowCompare,
    BirthWindows,
    CheckpointSweep,
    FullEvaluation,
    ReferenceModel,
)
from circuit.config.kinds.data import DatasetGeometry
from circuit.config.kinds.examples import ExampleGradients
from circuit.config.kinds.features import SharedFeatures
from circuit.config.kinds.mechanism import (
    AttentionGeometry,
    HeadScan,
    PathLogits,
    PromptTrace,
    RouteCompetition,
)
from circuit.config.kinds.selection import RouteFeatures, Selection
from circuit.config.kinds.synthesis import Closure, CrossSeed
from circuit.config.kinds.weights import ContextualGeometry, WeightSvd
from circuit.config.kinds.writes import FunctionalWrite, ScalarProgress

Analysis = Annotated[
    DatasetGeometry
    | CheckpointSweep
    | FullEvaluation
    | ReferenceModel
    | BirthWindows
    | BirthWindowCompare
    | HeadScan
    | AttentionGeometry
    | PathLogits
    | RouteCompetition
    | PromptTrace
    | WeightSvd
    | ContextualGeometry
    | OptimizerTrace
    | UpdateAttribution
    | DataAttribution
    | ExampleGradients
    | ScalarProgress
    | FunctionalWrite
    | RouteFeatures
    | Selection
    | SharedFeatures
    | Closure
    | CrossSeed,
    Field(discriminator="kind"),
]
KINDS: dict[str, type[AnalysisSettings]] = {
    kind: settings
    for settings in get_args(get_args(Analysis)[0])
    for kind in get_args(settings.model_fields["kind"].annotation)
}

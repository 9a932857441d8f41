"""What a setting is, said in its type: a head of the model, a checkpoint step, another analysis.

A mark is a name and nothing more. What each demands is in :mod:`circuit.config.checks`, which no
script reaches: an error said otherwise makes no artifact stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.base import Name
from circuit.config.benchmark import SplitName


@dataclass(frozen=True)
class Mark:
    """Base of all marks; a ``later`` one looks into another analysis, which must be there."""

    later: ClassVar[bool] = False


@dataclass(frozen=True)
class Ref(Mark):
    """The name of another analysis: of this kind, over at least the same runs."""

    kind: str


@dataclass(frozen=True)
class RunsMark(Mark):
    """The runs that an analysis covers."""


@dataclass(frozen=True)
class WindowMark(Mark):
    """Two checkpoint steps, a window of the study, or one that an analysis of the run found."""


@dataclass(frozen=True)
class MeasuredMark(Mark):
    """A split that the sweep named by the setting ``by`` measures; None: one of one's own."""

    later = True
    by: str | None


@dataclass(frozen=True)
class HeadMark(Mark):
    """A head of the model, or a role of the heads selected."""


@dataclass(frozen=True)
class ScalarHeadMark(Mark):
    """A scalar's head; where the scalar follows a write, an MLP too."""


@dataclass(frozen=True)
class RouteHeadMark(Mark):
    """A head of the model, or every one of them."""


@dataclass(frozen=True)
class RankMark(Mark):
    """A number of directions of a head's maps."""


@dataclass(frozen=True)
class ScalarRankMark(Mark):
    """A number of directions, which are a head's for some scalars."""


@dataclass(frozen=True)
class StepMark(Mark):
    """A step with a checkpoint."""


@dataclass(frozen=True)
class StageMark(Mark):
    """A site of the residual stream."""


@dataclass(frozen=True)
class SubspaceMark(Mark):
    """A scalar's subspace, which may be fitted to the states at a stage."""


@dataclass(frozen=True)
class DictionaryMark(Mark):
    """A dictionary of features, which only some kinds read."""


@dataclass(frozen=True)
class FeaturesMark(Mark):
    """Features of a scalar's dictionary."""

    later = True


@dataclass(frozen=True)
class GroupingsMark(Mark):
    """Groupings of parameters as lists of groups."""


@dataclass(frozen=True)
class ProbeMark(Mark):
    """The number of one of a split's probe events."""


@dataclass(frozen=True)
class ProbeCountMark(Mark):
    """Something of which there is at most one per probe event, and at least ``least``."""

    least: int


Head = Annotated[str, HeadMark()]
Rank = Annotated[int, Field(ge=1), RankMark()]
Step = Annotated[int, Field(ge=0), StepMark()]
FinalOrStep = Literal["final"] | Step
Stage = Annotated[str, StageMark()]
HeadScanName = Annotated[Name, Ref("head_scan")]
SweepName = Annotated[Name, Ref("checkpoint_sweep")]
MeasuredSplit = Annotated[SplitName, MeasuredMark("sweep")]
"""A split of the sweep that the kind's setting ``sweep`` names."""

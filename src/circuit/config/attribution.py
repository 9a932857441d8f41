"""What attributions share: what they ask of the jobs that look at their window, and their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from circuit.config.analysis import AnalysisSettings, Window
from circuit.config.base import Count, Frozen, Listed, Name, Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import HeadScanName, Mark
from circuit.config.parameter_groups import check_lists, check_names
from circuit.config.scalar import ScalarSettings

PathRule = Literal[
    "left", "midpoint", "trapezoid", "simpson", "boole", "gauss_8", "gauss_16", "gauss_32"
]


RESIDUAL, GROWTH = "residual", "growth"
"""Beside components: what no part explains, and what all of them sum to."""


class Requested(Frozen):
    """What an attribution of scalars' growth over a window asks of the jobs that look at it.

    ``path_rule`` is the rule that is split over groups; ``comparators`` are other rules shown
    beside it. ``groups`` are kept for every interval, ``summed_groups`` (fine ones, such as
    neurons) as sums over the window. A grouping is built in, one of ``groupings`` (groups by name,
    each a list of groups of built-in ones; ``winner.q`` means a head of the selection; what no
    group holds is the group ``rest``), or nested: ``layer/head``.
    """

    window: Window
    heads: HeadScanName
    scalars: Annotated[dict[Name, ScalarSettings], Field(min_length=1)]
    split: SplitName = "validation_iid"
    events: Annotated[int, Field(ge=2), Mark("confirming")] = 48
    path_rule: PathRule = "trapezoid"
    comparators: Listed[PathRule] = ("left",)
    groups: Several[str] = ("head_projection",)
    summed_groups: Listed[str] = ()
    groupings: Annotated[
        dict[Name, Annotated[dict[Name, Several[str]], Field(min_length=1)]], Mark("groupings")
    ] = Field(default_factory=dict)

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Self:
        """What is asked here, out of a whole request in JSON's types."""
        return cls.model_validate({k: v for k, v in request.items() if k in cls.model_fields})

    @model_validator(mode="after")
    def _compared_and_grouped(self) -> Self:
        if self.path_rule in self.comparators:
            raise ValueError(
                f"path_rule {self.path_rule!r} is among comparators, and a rule compared with "
                "itself says nothing; name others, or none"
            )
        check_lists(self.groupings)
        check_names((*self.groups, *self.summed_groups), self.groupings)
        return self

    @property
    def rules(self) -> tuple[PathRule, ...]:
        """The main rule, then its comparators."""
        return (self.path_rule, *self.comparators)


class RequestedOfFeatures(Requested):
    """The same of a dictionary's features, so many that only sums over stretches are kept.

    A ``feature_drive`` of ``features: every`` stands for one scalar a feature. Of the ``top`` that
    grew most on the events that do not confirm, jobs keep every event's parts too, and the split
    over ``groups``, as sums.
    """

    path_rule: PathRule = "midpoint"
    comparators: Listed[PathRule] = ()
    top: Annotated[int, Field(ge=1, le=64)] = 6

    @model_validator(mode="after")
    def _drives(self) -> Self:
        for name, scalar in self.scalars.items():
            if scalar.scalar != "feature_drive":
                raise ValueError(
                    f"scalars.{name} is a {scalar.scalar}, and this kind asks about features of a "
                    "dictionary; name a feature_drive, or use update_attribution"
                )
        return self


DataGrouping = Literal[
    "token",
    "query_key",
    "answer_value",
    "lag",
    "active_keys",
    "tokens_since_support",
    "slot_after_write",
    "sample",
    "supports_opposes",
]


class RequestedOfData(Requested):
    """The same of an attribution to training data.

    ``data`` says what the tokens that training predicts are grouped by: their kind (``token``), for
    answers the key that is asked for (``query_key``), the value (``answer_value``), the writes
    since the support write (``lag``) or another slice; or whole programs, in ``buckets`` drawn with
    ``seed`` (``sample``: the control, whose groups differ by chance only) or by whether their own
    gradient raises or lowers the first scalar (``supports_opposes``). Every group's gradients are
    remembered as the optimizer's momentum does; a job begins to remember ``memory`` steps before
    its stretch, if the window holds them.
    """

    groups: Several[str] = ("whole",)
    data: DataGrouping = "query_key"
    buckets: Annotated[int, Field(ge=2), Mark("programs", ("train",))] = 4
    memory: Annotated[int, Field(ge=0, le=10_000)] = 100
    seed: Seed = 0


class Attribution(Requested, AnalysisSettings):
    """What the settings of every attribution have.

    The ``top_groups`` largest groups have rows of their own, with the rest in one. A window is
    marked whose residual exceeds ``residual_bound`` of the scalar's total absolute movement, the
    sum of the sizes of its intervals' changes.
    """

    tables: ClassVar[tuple[str, ...]] = (
        "rows",
        "intervals",
        "largest_groups",
        "groups",
        "summed_groups",
        "events",
    )
    told: ClassVar[frozenset[str]] = frozenset({"residual_bound"})
    reads_dictionaries: ClassVar[bool] = True
    top_groups: Count = 12
    residual_bound: Annotated[float, Field(gt=0)] = 0.01

    @property
    def replays(self) -> bool:
        """Steps are replayed, unless a kind says otherwise."""
        return True

    @classmethod
    def asked(cls) -> set[str]:
        """What is requested, and by which kind: what is only told later reruns no replay."""
        parts = (base for base in cls.__mro__ if issubclass(base, Requested))
        asked = (p.model_fields for p in parts if not issubclass(p, AnalysisSettings))
        return {"kind"}.union(*asked)

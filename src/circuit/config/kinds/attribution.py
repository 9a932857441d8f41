"""Kinds that ask which updates built it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from circuit.config.base import Name
from circuit.config.benchmark import SplitName
from circuit.config.kinds.base import AnalysisSettings, Window
from circuit.config.kinds.scalar import ScalarSettings
from circuit.config.parameter_groups import check_lists, check_names

PathRule = Literal["left", "trapezoid", "simpson", "boole", "gauss_8", "gauss_16", "gauss_32"]


class OptimizerTrace(AnalysisSettings):
    """One row per replayed step: loss, rate, gradient and update norms, components, batch ids."""

    tables: ClassVar[tuple[str, ...]] = ("rows", "batches", "top_parameters")
    figures: ClassVar[tuple[str, ...]] = ("trace", "components")
    kind: Literal["optimizer_trace"]
    window: Window
    top_parameters: Annotated[int, Field(ge=0)] = 5


class Attribution(AnalysisSettings):
    """What every attribution of scalars' growth over a window has.

    ``path_rule`` is the rule that is split over groups; ``comparators`` are other rules shown
    beside it. ``groups`` are kept for every interval, ``summed_groups`` (fine ones, such as
    neurons) as sums over the window, of which the ``top_groups`` largest are told with the rest. A
    grouping is built in, one of ``groupings`` (groups by name, each a list of groups of built-in
    ones; ``winner.q`` means a head of the selection; what no group holds is the group ``rest``), or
    nested: ``layer/head``. A window is marked whose residual exceeds ``residual_bound`` of the
    scalar's total absolute movement, the sum of the sizes of its intervals' changes.
    """

    tables: ClassVar[tuple[str, ...]] = (
        "rows",
        "values",
        "groups",
        "summed_groups",
        "top_groups_table",
        "events",
    )
    window: Window
    heads: Name
    scalars: dict[Name, ScalarSettings]
    split: SplitName = "validation_iid"
    events: Annotated[int, Field(ge=2)] = 48
    path_rule: PathRule = "trapezoid"
    comparators: tuple[PathRule, ...] = ("left",)
    groups: tuple[str, ...] = ("head_projection",)
    summed_groups: tuple[str, ...] = ()
    groupings: dict[Name, dict[Name, tuple[str, ...]]] = Field(default_factory=dict)
    top_groups: Annotated[int, Field(ge=1)] = 12
    residual_bound: Annotated[float, Field(gt=0)] = 0.01

    @model_validator(mode="after")
    def _something_to_attribute(self) -> Attribution:
        if not self.scalars:
            raise ValueError("scalars is empty; name at least one scalar")
        if not self.groups:
            raise ValueError("groups is empty; name at least one grouping, such as module")
        check_lists(self.groupings)
        check_names((*self.groups, *self.summed_groups), self.groupings)
        return self

    @property
    def rules(self) -> tuple[PathRule, ...]:
        """The main rule, then its comparators, each once."""
        return tuple(dict.fromkeys((self.path_rule, *self.comparators)))


class UpdateAttribution(Attribution):
    """Growth of scalars attributed to update components and parameter groups.

    ``update`` is what the intervals of the window are: optimizer steps, which are replayed and
    split into their components, or the differences of consecutive checkpoints, which are one part
    each and need no replay, but a path rule with many nodes.
    """

    figures: ClassVar[tuple[str, ...]] = ("growth", "parameter_groups", "residual")
    kind: Literal["update_attribution"]
    update: Literal["optimizer_step", "checkpoint_difference"] = "optimizer_step"


Share = Annotated[float, Field(gt=0, le=1)]
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


class DataAttribution(Attribution):
    """Growth of scalars attributed to the training data behind the updates.

    ``data`` says what the tokens that training predicts are grouped by: their kind (``token``), for
    answers the key that is asked for (``query_key``), the value (``answer_value``), the writes
    since the support write (``lag``) or another slice; or whole programs, in ``buckets`` drawn with
    ``seed`` (``sample``: the control, whose groups differ by chance only) or by whether their own
    gradient raises or lowers the first scalar (``supports_opposes``). Every group's gradients are
    remembered as the optimizer's momentum does; a job begins to remember ``memory`` steps before
    its stretch, if the window holds them. The first-order form at the window's checkpoints is
    measured on ``programs`` programs drawn with ``seed``. As a check, the window's first step is
    redone with each of ``removal_shares`` of every group taken out.
    """

    tables: ClassVar[tuple[str, ...]] = (*Attribution.tables, "first_order", "removal")
    figures: ClassVar[tuple[str, ...]] = (
        "data_growth",
        "data_memory",
        "first_order_pushes",
        "removal_oracle",
    )
    kind: Literal["data_attribution"]
    groups: tuple[str, ...] = ("whole",)
    data: DataGrouping = "query_key"
    buckets: Annotated[int, Field(ge=2)] = 4
    memory: Annotated[int, Field(ge=0)] = 100
    programs: Annotated[int, Field(ge=8)] = 256
    seed: Annotated[int, Field(ge=0)] = 0
    removal_shares: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.01, 0.1, 1.0)

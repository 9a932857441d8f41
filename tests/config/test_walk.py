"""The walk finds every marked value of settings, wherever its type stands, with its place."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from circuit.config.base import Frozen, Listed, Several
from circuit.config.marks import FinalOrStep, Head, Mark, Ref, Step
from circuit.config.scalar import Route, ScalarSettings
from circuit.config.walk import marked


class Inner(Frozen):
    head: Head | None = None
    plain: str = "L0H0"


class Outer(Frozen):
    other: Annotated[str, Ref("head_scan")] = "scan"
    reference: FinalOrStep = "final"
    steps: Several[FinalOrStep] = ("final",)
    pair: tuple[Step, int] = (0, 1)
    chosen: Literal["all"] | Annotated[Listed[str], Mark("rank")] = "all"
    inner: Inner = Inner()
    more: dict[str, Several[Inner]] = Field(default_factory=dict)


def places(**given: object) -> dict[str, list[tuple[Mark, object]]]:
    found: dict[str, list[tuple[Mark, object]]] = {}
    for one in marked(Outer.model_validate(given), "at"):
        found.setdefault(one.where, []).append((one.mark, one.value))
    return found


def test_what_is_not_of_the_marked_kind_of_a_union_and_what_is_not_given_is_left_out() -> None:
    assert places() == {
        "at.other": [(Ref("head_scan"), "scan")],
        "at.pair": [(Mark("step"), 0)],
    }


def test_values_in_unions_lists_mappings_and_settings_within() -> None:
    heads = {"a": [{"head": "L0H1"}, {}], "b": [{"head": "winner"}]}
    found = places(
        reference=5, steps=["final", 7, 9], chosen=["x"], inner={"head": "L1H1"}, more=heads
    )
    assert found == {
        "at.other": [(Ref("head_scan"), "scan")],
        "at.reference": [(Mark("step"), 5)],
        "at.steps": [(Mark("step"), 7), (Mark("step"), 9)],
        "at.pair": [(Mark("step"), 0)],
        "at.chosen": [(Mark("rank"), ("x",))],
        "at.inner.head": [(Mark("head"), "L1H1")],
        "at.more.a.head": [(Mark("head"), "L0H1")],
        "at.more.b.head": [(Mark("head"), "winner")],
    }


def test_the_owner_is_the_model_whose_setting_it_is() -> None:
    settings = Outer.model_validate({"inner": {"head": "L1H1"}})
    [owner] = [found.owner for found in marked(settings, "") if found.where == ".inner.head"]
    assert owner is settings.inner


def test_marks_do_not_loosen_what_pydantic_checks() -> None:
    with pytest.raises(ValidationError):
        Outer(reference=-1)


def test_a_scalar_of_a_route_says_something_else_of_its_head() -> None:
    given = {"scalar": "qk_separation", "head": "every"}
    heads = [
        next(
            found.mark for found in marked(kind.model_validate(given), "") if found.where == ".head"
        )
        for kind in (ScalarSettings, Route)
    ]
    assert heads[0] != heads[1]

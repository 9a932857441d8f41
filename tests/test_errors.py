"""The one shape of an error message, and the guess at what a wrong name meant."""

import pickle
from pathlib import Path

import pytest

from circuit.errors import (
    AnalysisError,
    ArtifactError,
    BenchmarkError,
    CheckpointError,
    CircuitError,
    ConfigError,
    MismatchError,
    ReplayError,
    nearest,
)

KINDS = [
    ConfigError,
    BenchmarkError,
    ArtifactError,
    CheckpointError,
    ReplayError,
    MismatchError,
    AnalysisError,
]


def test_message_has_all_four_parts() -> None:
    error = ConfigError(
        "unknown optimizer 'adamv'",
        where="recipes.base.optimizer",
        expected="one of adamw, sgd",
        do="did you mean 'adamw'?",
    )
    assert str(error) == (
        "unknown optimizer 'adamv' — where: recipes.base.optimizer"
        " — expected: one of adamw, sgd — what to do: did you mean 'adamw'?"
    )


def test_parts_not_given_are_left_out() -> None:
    assert str(CircuitError("it broke")) == "it broke"
    assert str(CircuitError(what="it broke", do="mend it")) == "it broke — what to do: mend it"


def test_where_may_be_a_path() -> None:
    error = CircuitError("it broke", where=Path("data", "x"))
    assert error.where == "data/x"
    assert str(error) == "it broke — where: data/x"


@pytest.mark.parametrize("kind", KINDS)
def test_survives_the_way_back_from_another_process(kind: type[CircuitError]) -> None:
    error = kind("a", where="b", expected="c", do="d")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert isinstance(copy, CircuitError)
    assert str(copy) == str(error) == "a — where: b — expected: c — what to do: d"
    assert (copy.what, copy.where, copy.expected, copy.do) == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("adamv", "adamw"), ("ADAMW", "adamw"), ("qk_marg", "qk_margin"), ("zebra", None), ("", None)],
)
def test_nearest(name: str, meant: str | None) -> None:
    assert nearest(name, ["sgd", "adamw", "qk_margin"]) == meant


def test_nearest_returns_the_name_as_it_is_written() -> None:
    assert nearest("w_q", ["W_Q", "W_K"]) == "W_Q"
    assert nearest("anything", []) is None

from typing import get_args

import pytest
from scalar_cases import CASES

from circuit.config.kinds.scalar import ScalarName
from circuit.config.terms import SCALAR_UNITS
from circuit.errors import AnalysisError
from circuit.scalars.registry import SCALARS, needs_head


def refusal(world, **settings):
    with pytest.raises(AnalysisError) as caught:
        world.build(**settings)
    return str(caught.value)


def test_every_name_in_the_settings_is_built_and_tested():
    assert set(get_args(ScalarName)) == set(SCALARS) == {s["scalar"] for s in CASES.values()}
    assert set(SCALAR_UNITS) == set(SCALARS)


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_a_scalar_has_the_unit_that_reports_print(world, settings):
    unit = world.build(**settings).unit
    if settings["scalar"] == "attention_separation":
        assert unit == {"scores": "score", "probabilities": "probability"}[settings["measure"]]
    else:
        assert unit == SCALAR_UNITS[settings["scalar"]]


def test_heads_are_named_or_chosen(world):
    named = world.values(world.build(scalar="qk_separation", head="L0H1"))
    assert named.equal(world.values(world.build(scalar="qk_separation", head="runner_up")))
    assert not named.equal(world.values(world.build(scalar="qk_separation", head="winner")))


@pytest.mark.parametrize("name", SCALARS)
def test_a_head_is_needed_by_measures_of_one_head_and_refused_by_others(world, name):
    if needs_head(name):
        assert refusal(world, scalar=name) == (
            f"scalar {name} needs a head — where: scalar settings — expected: head: winner, "
            "runner_up, bottom or a name such as L1H3 — what to do: add head"
        )
    else:
        world.build(scalar=name)
        assert refusal(world, scalar=name, head="winner").startswith(f"scalar {name} takes no head")


@pytest.mark.parametrize("head", ["L2H0", "L0H2", "L0", "L0MLP", "L0N3", "loser", "l0h0", ""])
def test_a_head_that_does_not_exist_is_refused(world, head):
    assert refusal(world, scalar="support_attention", head=head) == (
        f"head {head!r} does not exist — where: a model with 2 layers of 2 heads — expected: L0H0 "
        "to L1H1 — what to do: name an existing head, or winner / runner_up / bottom"
    )


@pytest.mark.parametrize("basis", ["own", "source", "final", 10])
def test_a_rank_above_the_heads_width_is_refused(world, basis):
    message = refusal(world, scalar="qk_separation", head="L0H0", rank=9, basis=basis)
    assert message == (
        "rank 9 is too large for W_QK — where: a head of width 8 — expected: 1 to 8 — what to do: "
        "choose a smaller rank, or leave rank out for full scores"
    )


OPTIONS = {"rank": 2, "basis": "own", "measure": "probabilities", "competitor": "fixed_source"}
TAKEN = {
    "rank": {"qk_separation"},
    "basis": {"qk_separation", "head_margin_dla_fixed_readout"},
    "measure": {"attention_separation"},
    "competitor": {s["scalar"] for s in CASES.values() if "competitor" in s},
}


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_without_effect_is_refused(world, name, option):
    if name in TAKEN[option]:
        return
    head = {"head": "L0H0"} if needs_head(name) else {}
    what, where, expected, do = refusal(
        world, scalar=name, **head, **{option: OPTIONS[option]}
    ).split(" — ")
    assert what == f"scalar {name} takes no {option}"
    assert where == "where: scalar settings"
    assert expected.startswith(f"expected: {option} only with ")
    assert set(expected.split(" only with ")[1].split(", ")) == TAKEN[option]
    assert do == f"what to do: leave {option} out"


def test_a_basis_without_a_rank_is_refused(world):
    assert refusal(world, scalar="qk_separation", head="L0H0", basis="own") == (
        "scalar qk_separation takes a basis only together with a rank — where: scalar settings — "
        "expected: rank and basis, or neither (full scores) — what to do: add rank, or leave basis "
        "out"
    )


@pytest.mark.parametrize("basis", ["own", "source"])
def test_a_fixed_readout_is_a_checkpoints(world, basis):
    message = refusal(world, scalar="head_margin_dla_fixed_readout", head="L0H0", basis=basis)
    assert message.startswith(
        f"basis {basis} has no meaning for scalar head_margin_dla_fixed_readout — "
    )

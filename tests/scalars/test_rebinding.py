"""Scalars that make a choice at every θ: held over intervals, made anew between them.

Growth within the intervals plus what making the choices anew changes is the growth of the scalar,
whatever the intervals; and a crossing at a rank's cut jumps by what changed places.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scalar_cases import CASES

from circuit.config.benchmark import SPECIAL_IDS
from circuit.scalars.base import Branched
from circuit.scalars.truncation import Frame

CHAINS = {"fine": (0, 5, 10, 20), "coarse": (0, 20), "to and fro": (20, 0, 10, 0)}
CHOOSING = [
    name
    for name, s in CASES.items()
    if s.get("basis") in ("own", "source") or " moving" in name or name.startswith("readout at")
]
HEAD = (1, 0)  # L1H0


def along(world, scalar, thetas, atol=1e-12):
    """What a chain of intervals books: growth within them and terms, each [E]."""
    bound, within, terms = scalar.at(thetas[0]), 0, dict.fromkeys(scalar.terms, 0)
    for start, stop in pairwise(thetas):
        within = within + world.values(bound, stop) - world.values(bound, start)
        for term, after in bound.rebind(stop):
            change = world.values(after, stop) - world.values(bound, stop)
            bound = after
            if term is None:
                torch.testing.assert_close(change, torch.zeros_like(change), rtol=0, atol=atol)
            else:
                terms[term] = terms[term] + change
        # A scalar bound at this state is the same everywhere, not only here.
        for theta in thetas:
            torch.testing.assert_close(
                world.values(bound, theta), world.values(scalar.at(stop), theta), msg=str(term)
            )
    return within, terms


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("name", CHOOSING)
def test_growth_within_intervals_and_terms_are_the_growth(world, name, chain):
    scalar = world.build(**CASES[name])
    thetas = [world.states[step] for step in chain]
    within, terms = along(world, scalar, thetas)
    growth = world.values(scalar, thetas[-1]) - world.values(scalar, thetas[0])
    booked = within + sum(terms.values())
    torch.testing.assert_close(booked, growth, rtol=1e-10, atol=1e-11)
    if terms.keys() == {"branch_switch"} and "product" not in name:
        assert (terms["branch_switch"] <= 0).all()  # a better rival leaves a smaller margin


@pytest.mark.parametrize("name", [n for n in CHOOSING if CASES[n].get("basis")])
def test_in_training_precision_it_is_so_too(world, name):
    """Bases are found in float64 from float32 parameters, and values are float32."""
    scalar = world.build(**CASES[name])
    thetas = [world.states[step].float() for step in CHAINS["fine"]]
    within, terms = along(world, scalar, thetas, atol=1e-5)
    assert within.dtype == torch.float32
    growth = world.values(scalar, thetas[-1]) - world.values(scalar, thetas[0])
    size = max(1, float(world.values(scalar, thetas[-1]).abs().max()))
    torch.testing.assert_close(within + sum(terms.values()), growth, rtol=0, atol=1e-4 * size)


@pytest.mark.parametrize(
    "name",
    [
        f"{of} {b}"
        for of in ("qk_separation rank 8", "squared norm in head_ov_input,")
        for b in ("own", "source")
    ],
)
def test_at_a_maps_whole_rank_nothing_is_cut_and_nothing_jumps(world, name):
    """W_QK and W_OV have rank 8 of 16: null directions are no directions to change places with."""
    for chain in CHAINS.values():
        thetas = [world.states[step] for step in chain]
        _, terms = along(world, world.build(**CASES[name]), thetas)
        assert terms["rank_cut_jump"] == 0  # never booked, not even as zeros


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_a_source_basis_books_as_motion_what_the_own_one_has_within_it(world, chain):
    """The jumps are the same; the own basis' growth holds the source basis' and its motion."""
    for name in ("qk_separation rank 3", "squared norm in head_ov_output,"):
        thetas = [world.states[step] for step in chain]
        own, source = (
            along(world, world.build(**CASES[f"{name} {basis}"]), thetas)
            for basis in ("own", "source")
        )
        torch.testing.assert_close(
            *(1.0 * terms["rank_cut_jump"] for _, terms in (own, source)), rtol=1e-9, atol=1e-11
        )
        torch.testing.assert_close(own[0], source[0] + source[1]["basis_motion"])
        assert source[1]["basis_motion"].abs().max() > 1e-3


def test_a_basis_is_renewed_before_the_rival_that_it_is_read_with(world):
    scalar = world.build(**CASES["readout of head_ov_output moving, source"])
    assert scalar.terms == ("basis_motion", "rank_cut_jump", "branch_switch")
    bound = scalar.at(world.states[0])
    chain = bound.rebind(world.states[20])
    order = [scalar.terms.index(term) for term, _ in chain]
    assert order == sorted(order)
    assert order[0] == 0
    assert all(torch.equal(after.branch, bound.branch) for _, after in chain[:-1])


@pytest.mark.parametrize("name", [n for n in CHOOSING if "fixed" not in n])
def test_choices_that_stay_the_same_book_nothing(world, name):
    bound = world.build(**CASES[name]).at(world.theta)
    before = world.values(bound)
    for term, after in bound.rebind(world.theta):
        torch.testing.assert_close(world.values(after), before, rtol=1e-12, atol=1e-13)
        assert term in (None, "basis_motion")


# --- Singular values that cross at the cut --------------------------------------------------------


def turned(size, angle, seed):
    """An orthogonal matrix, and the same turned by about an angle."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    way = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return first @ torch.linalg.matrix_exp(angle * (way - way.T) / size)


def planted_qk(world, theta, values, angle):
    """``theta`` with these singular values of the head's W_QK; its left and right directions."""
    left, right = (turned(16, angle, seed)[:, :8] for seed in (1, 2))
    view = world.decoder.layout.views(theta)[f"layer_{HEAD[0]}.attn.W_QKV"]
    root = torch.tensor(values, dtype=torch.float64).sqrt()[:, None]
    view[0, HEAD[1]], view[1, HEAD[1]] = root * left.T, root * right.T
    return Frame(left, right)


def planted_ov(world, theta, values, angle):
    """``theta`` with these singular values of the head's W_OV."""
    left, right = (turned(16, angle, seed)[:, :8] for seed in (1, 2))
    views = world.decoder.layout.views(theta)
    root = torch.tensor(values, dtype=torch.float64).sqrt()[:, None]
    views[f"layer_{HEAD[0]}.attn.W_QKV"][2, HEAD[1]] = root * left.T
    views[f"layer_{HEAD[0]}.attn.W_O"][HEAD[1]] = root * right.T
    return Frame(left, right)


def planted_keys(world, theta, values, angle):
    """``theta`` with these singular values of the four keys' embeddings about their mean."""
    directions = turned(16, angle, 3)[:, :3]
    signs = torch.tensor([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2.0  # each sums to 0
    rows = world.decoder.layout.views(theta)["embedding.token"]
    scaled = torch.tensor(values[:3], dtype=torch.float64)[:, None] * signs.double()
    rows[SPECIAL_IDS : world.value_ids.start] = scaled.T @ directions.T + 1.0
    return Frame(directions, directions)


CROSSINGS = {
    "qk_separation rank 3 own": (planted_qk, "both"),
    "squared norm in head_qk_query, own": (planted_qk, "left"),
    "squared norm in head_qk_key, own": (planted_qk, "right"),
    "squared norm in head_ov_output, own": (planted_ov, "right"),
    "readout of head_ov_output fixed_source, own": (planted_ov, "right"),
    "readout of head_ov_output moving, own": (planted_ov, "right"),
    "squared norm in embedding_key_identity, own": (planted_keys, "left"),
}
BEFORE = [9.0, 5.0, 3.0, 1.0, 0.5, 0.4, 0.3, 0.2]
AFTER = [9.0, 3.0, 5.0, 1.0, 0.5, 0.4, 0.3, 0.2]


def crossed(world, plant, angle=0.05):
    """Two states between which the second and third directions change places, a little turned."""
    states = []
    for values, turn in ((BEFORE, 0.0), (AFTER, angle)):
        theta = world.theta.clone()
        states.append((theta, plant(world, theta, values, turn)))
    return states


def kept(frame, columns, side):
    """The given directions as a basis held: both sides of a map, or one side's projector."""
    left, right = frame.left[:, columns], frame.right[:, columns]
    sides = {"both": (left, right), "left": (left, left), "right": (right, right)}
    return Frame(*sides[side])


def with_basis(scalar, frame):
    """A bound scalar with directions that nothing moves; they are given, not found."""
    inner = scalar.held if isinstance(scalar, Branched) else scalar
    return replace(inner, basis=frame, refitted="never")


@pytest.mark.parametrize("basis", ["own", "source"])
@pytest.mark.parametrize("name", CROSSINGS)
def test_a_crossing_at_the_cut_jumps_by_what_changed_places(world, name, basis):
    """The directions before and after are those planted, not found by any decomposition."""
    plant, side = CROSSINGS[name]
    (before, _), (after, frame) = crossed(world, plant)
    scalar = world.build(**{**CASES[name], "rank": 2, "basis": basis})
    bound = scalar.at(before)
    links = dict(bound.rebind(after))
    on, top = (
        world.values(with_basis(bound, kept(frame, columns, side)), after)
        for columns in ([0, 1], [0, 2])
    )
    continued = links[None if basis == "own" else "basis_motion"]
    torch.testing.assert_close(world.values(continued, after), on, rtol=1e-9, atol=1e-10)
    jumped = world.values(links["rank_cut_jump"], after)
    torch.testing.assert_close(jumped, top, rtol=1e-9, atol=1e-10)
    assert (top - on).abs().max() > 1e-3
    within, terms = along(world, scalar, [before, after])
    growth = world.values(scalar, after) - world.values(scalar, before)
    torch.testing.assert_close(within + sum(terms.values()), growth, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(terms["rank_cut_jump"], top - on, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", [n for n in CROSSINGS if "moving" not in n])
def test_the_continued_directions_are_smooth_through_the_crossing(world, name):
    """Growth within the interval is the integral of the gradient along its chord."""
    plant, _ = CROSSINGS[name]
    (before, _), (after, _) = crossed(world, plant, angle=0.0)
    bound = world.build(**{**CASES[name], "rank": 2}).at(before)
    nodes, weights = np.polynomial.legendre.leggauss(16)
    integral = sum(
        w
        / 2
        * float(world.gradient(bound, torch.lerp(before, after, (u + 1) / 2)) @ (after - before))
        for u, w in zip(nodes, weights, strict=True)
    )
    growth = float((world.values(bound, after) - world.values(bound, before)).mean())
    assert integral == pytest.approx(growth, rel=1e-8, abs=1e-10)
    jump = dict(bound.rebind(after))["rank_cut_jump"]
    assert float((world.values(jump, after) - world.values(bound, after)).mean()) != 0


@pytest.mark.parametrize("name", [n for n in CROSSINGS if "moving" not in n])
def test_the_gradient_of_directions_that_are_not_the_top_ones(world, name):
    """By finite differences, past the crossing."""
    plant, _ = CROSSINGS[name]
    (before, _), (after, _) = crossed(world, plant)
    bound = world.build(**{**CASES[name], "rank": 2}).at(before)
    gradient = world.gradient(bound, after)
    generator = torch.Generator().manual_seed(4)
    for _ in range(3):
        way = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        up, down = (float(world.values(bound, after + e * way).mean()) for e in (1e-6, -1e-6))
        size = float(gradient.norm())
        assert float(gradient @ way) == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-6 * size)


def test_a_crossing_in_small_steps_jumps_once_and_by_as_much(world):
    """Between states where both directions keep to themselves, their values pass each other."""
    scalar = world.build(**{**CASES["qk_separation rank 3 own"], "rank": 2})
    (before, _), (after, _) = crossed(world, planted_qk, angle=0.0)
    path = [torch.lerp(before, after, at / 9) for at in range(10)]
    jumps = []
    for start, stop in pairwise(path):
        links = dict(scalar.at(start).rebind(stop))
        if "rank_cut_jump" in links:
            jumps.append(links["rank_cut_jump"])
    assert len(jumps) == 1
    within, terms = along(world, scalar, path)
    growth = world.values(scalar, after) - world.values(scalar, before)
    torch.testing.assert_close(within + terms["rank_cut_jump"], growth, rtol=1e-9, atol=1e-10)
    _, coarse = along(world, scalar, [before, after])
    assert not torch.allclose(coarse["rank_cut_jump"], torch.zeros_like(growth), atol=1e-3)

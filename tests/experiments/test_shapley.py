"""Order-averaged shares: known games, and the draw of orders against all orders."""

from itertools import permutations

import pytest
import torch

from circuit.experiments import shapley
from circuit.experiments.shapley import shares

EVENTS = 40
SIZES = torch.randn(5, EVENTS, 2, generator=torch.Generator().manual_seed(0)).double()


def value(sets):
    """The parts' sizes, and products of three neighbours: no part's share is what it does alone."""
    found = {}
    for one, held in sets.items():
        inside = held.T[..., None] * SIZES[: held.shape[1]]
        found[one] = inside.sum(0) + (inside[:-2] * inside[1:-1] * inside[2:]).sum(0)
    return found


def whole(n):
    return value({(): torch.ones(EVENTS, n).bool()})[()]


def test_a_share_is_what_a_part_adds_on_average_over_all_orders():
    found = shares(value, 4, EVENTS, 0, 0)
    by_hand = torch.zeros_like(found)
    orders = list(permutations(range(4)))
    for order in orders:
        held = torch.zeros(EVENTS, 4).bool()
        for part in order:
            before, held = value({(): held})[()], held.clone()
            held[:, part] = True
            by_hand[part] += (value({(): held})[()] - before) / len(orders)
    torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.sum(0), whole(4), rtol=0, atol=1e-12)


def test_drawn_orders_sum_to_the_whole_and_are_near_all_orders(monkeypatch):
    exact = shares(value, 5, EVENTS, 0, 0)
    monkeypatch.setattr(shapley, "EXACT", 4)
    drawn = shares(value, 5, EVENTS, 40, 0)
    torch.testing.assert_close(drawn.sum(0), whole(5), rtol=0, atol=1e-12)
    assert (drawn - exact).abs().max() > 1e-3
    # Of 40 orders with their reverses an event's share misses; the mean of all events hardly.
    assert (drawn - exact).mean(1).abs().max() < 0.1 * exact.std()


def test_an_event_draws_orders_of_its_own(monkeypatch):
    monkeypatch.setattr(shapley, "EXACT", 0)
    seen = {}

    def watched(sets):
        seen.update(sets)
        return value(sets)

    shares(watched, 3, EVENTS, 1, 0)
    held = seen[0, 1]
    assert (held.sum(1) == 1).all()
    assert held.any(0).all()
    assert torch.equal(seen[1, 2], ~held)  # the reverse order has the last one last


@pytest.mark.parametrize("n", [1, 2])
def test_parts_that_stand_in_for_each_other_share_alike(n):
    found = shares(
        lambda sets: {one: held.any(1, keepdim=True).double() for one, held in sets.items()},
        n, 3, 1, 0,
    )  # fmt: skip
    assert torch.equal(found, torch.full((n, 3, 1), 1 / n).double())

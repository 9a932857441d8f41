"""Forward mode against reverse mode, of every scalar."""

import pytest
import torch
from scalar_cases import CASES

from circuit.scalars.evaluate import scalar_gradients, scalar_slopes


@pytest.fixture(scope="module")
def directions(world):
    generator = torch.Generator().manual_seed(4)
    return torch.randn((3, len(world.theta)), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", CASES)
def test_slopes_along_directions_are_products_with_the_gradient(world, directions, name):
    scalars = {"it": world.build(**CASES[name])}
    bound = {"it": scalars["it"].at(world.theta)}
    where = (world.decoder, world.theta, world.events, world.value_ids)
    for each in (scalars, bound):
        reverse = scalar_gradients(*where, each)
        forward = scalar_slopes(*where, each, directions)
        torch.testing.assert_close(forward.values, reverse.values, rtol=1e-11, atol=1e-12)
        expected = reverse.gradients @ directions.T
        torch.testing.assert_close(forward.slopes.mean(-1), expected, rtol=1e-9, atol=1e-10)

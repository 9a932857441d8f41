"""Inner products by atom and group against sums over named tensors, entry by entry."""

from itertools import product

import pytest
import torch

from circuit.attribution.products import Grouping, atom_products
from circuit.config.terms import GROUPINGS
from circuit.errors import AnalysisError


@pytest.fixture(scope="module")
def products(world):
    """Two gradients, three updates, their products [2, 3, A], and the pieces they come from."""
    layout = world.decoder.layout
    generator = torch.Generator().manual_seed(7)
    gradients, updates = (
        torch.randn(n, layout.size, generator=generator, dtype=torch.float64) for n in (2, 3)
    )
    return layout, gradients, updates, atom_products(layout, gradients, updates)


def pieces(layout, gradient, update):
    """Named elementwise products."""
    return layout.views(gradient * update)


def test_atoms_are_sums_over_named_tensors_with_the_structural_axes_left(products):
    layout, gradients, updates, atoms = products
    assert atoms.shape == (2, 3, len(layout.atoms))
    for s in range(2):
        for c in range(3):
            named = pieces(layout, gradients[s], updates[c])
            slow = [
                float(named[entry.name][index].sum())
                for entry in layout.entries
                for index in product(*map(range, entry.atom_shape))
            ]
            assert atoms[s, c].tolist() == pytest.approx(slow, rel=1e-12, abs=1e-12)


def test_atoms_sum_to_the_inner_product(products):
    _, gradients, updates, atoms = products
    torch.testing.assert_close(atoms.sum(-1), gradients @ updates.T, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("name", GROUPINGS)
def test_every_grouping_sums_to_the_whole(products, name):
    layout, gradients, updates, atoms = products
    grouping = Grouping(layout, name)
    sums = grouping.sum(atoms)
    assert sums.shape == (2, 3, len(grouping.groups))
    assert len(set(grouping.groups)) == len(grouping.groups)
    torch.testing.assert_close(sums.sum(-1), gradients @ updates.T, rtol=1e-9, atol=1e-9)


def expected_groups(named):
    """Some groups of every grouping, summed by name and index."""

    def total(*parts):
        return float(sum(part.sum() for part in parts))

    at = {name: named[f"layer_1.{name}"] for name in ("attn.W_QKV", "attn.b_QKV", "attn.W_O")}
    mlp = {name: named[f"layer_0.mlp.{name}"] for name in ("W_in", "b_in", "W_out", "b_out")}
    w, b, o = at.values()
    return {
        "whole": {"all": total(*named.values())},
        "layer": {
            "layer_1": total(*(v for n, v in named.items() if n.startswith("layer_1."))),
            "embedding": total(named["embedding.token"], named["embedding.position"]),
            "final_norm": total(named["final_norm.gain"], named["final_norm.bias"]),
        },
        "module": {
            "layer_1.attn": total(w, b, o, named["layer_1.attn.b_O"]),
            "layer_0.mlp": total(*mlp.values()),
        },
        "head": {
            "L1H0": total(w[:, 0], b[:, 0], o[0]),
            "L1H1": total(w[:, 1], b[:, 1], o[1]),
            "layer_1.attn": total(named["layer_1.attn.b_O"]),
        },
        "head_projection": {
            "L1H1.q": total(w[0, 1], b[0, 1]),
            "L1H1.k": total(w[1, 1], b[1, 1]),
            "L1H0.v": total(w[2, 0], b[2, 0]),
            "L1H0.o": total(o[0]),
        },
        "neuron": {
            "L0N7": total(mlp["W_in"][7], mlp["b_in"][7], mlp["W_out"][7]),
            "layer_0.mlp": total(mlp["b_out"]),
        },
        "neuron_part": {
            "L0N7.in": total(mlp["W_in"][7]),
            "L0N7.bias": total(mlp["b_in"][7]),
            "L0N7.out": total(mlp["W_out"][7]),
            "layer_0.mlp": total(mlp["b_out"]),
        },
        "token": {"token_13": total(named["embedding.token"][13])},
        "parameter": {
            "layer_1.attn.W_O": total(o),
            "final_norm.bias": total(named["final_norm.bias"]),
        },
    }


def test_groups_hold_what_their_names_say(products):
    layout, gradients, updates, atoms = products
    expected = expected_groups(pieces(layout, gradients[1], updates[2]))
    assert set(expected) == set(GROUPINGS) - {"atom"}
    for name, groups in expected.items():
        grouping = Grouping(layout, name)
        found = dict(zip(grouping.groups, grouping.sum(atoms)[1, 2].tolist(), strict=True))
        for group, value in groups.items():
            assert found[group] == pytest.approx(value, rel=1e-11, abs=1e-11), (name, group)


def test_the_finest_grouping_is_the_atoms(products):
    layout, _, _, atoms = products
    assert torch.equal(Grouping(layout, "atom").sum(atoms), atoms)


def test_float32_gradients_are_multiplied_in_the_updates_precision(products):
    layout, gradients, updates, _ = products
    single = gradients.float()
    found = atom_products(layout, single, updates)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, atom_products(layout, single.double(), updates))


def test_an_unknown_grouping_names_the_nearest(products):
    with pytest.raises(AnalysisError, match="did you mean 'neuron'"):
        Grouping(products[0], "neurons")

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuit.config.recipe import ModelSettings
from circuit.config.terms import GROUPINGS
from circuit.errors import AnalysisError
from circuit.model.layout import Layout
from circuit.model.parameters import PROJECTIONS


@st.composite
def layouts(draw):
    heads = draw(st.integers(1, 3))
    settings = ModelSettings(
        n_layers=draw(st.integers(1, 3)),
        n_heads=heads,
        d_model=heads * draw(st.integers(1, 3)),
        d_ff=draw(st.integers(1, 5)),
        context=draw(st.integers(4, 6)),
    )
    return Layout(settings, vocab_size=draw(st.integers(1, 6)))


def random_vector(layout):
    return torch.randn(layout.size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@given(layouts())
def test_views_and_flatten_are_inverse(layout):
    flat = random_vector(layout)
    views = layout.views(flat)
    assert torch.equal(layout.flatten(views), flat)
    assert {name: tuple(view.shape) for name, view in views.items()} == {
        entry.name: entry.shape for entry in layout.entries
    }


def test_views_share_memory_and_flatten_copies():
    layout = Layout(ModelSettings(n_layers=1, n_heads=1, d_model=2, d_ff=2, context=4), 3)
    flat = torch.zeros(layout.size)
    views = layout.views(flat)
    views["layer_0.mlp.b_in"].fill_(1.0)
    assert flat.sum() == 2
    layout.flatten(views).fill_(5.0)
    assert flat.sum() == 2


@given(layouts())
def test_atoms_tile_the_vector_in_memory_order(layout):
    atoms = layout.atoms
    ends = atoms["offset"] + atoms["size"]
    assert atoms["offset"].iloc[0] == 0
    assert ends.iloc[-1] == layout.size
    assert (atoms["offset"].to_numpy()[1:] == ends.to_numpy()[:-1]).all()
    assert (atoms["size"] > 0).all()


@given(layouts())
def test_an_atom_is_the_run_of_one_index_of_its_tensor(layout):
    """Which head, projection, neuron, token or position an atom claims, it holds."""
    flat = random_vector(layout)
    views = layout.views(flat)
    for atom in layout.atoms.itertuples():
        index = [
            number
            for name, number in (
                ("projection", PROJECTIONS.index(atom.projection))
                if atom.projection in PROJECTIONS
                else ("projection", -1),
                ("head", atom.head),
                ("neuron", atom.neuron),
                ("token", atom.token),
                ("position", atom.position),
            )
            if number >= 0
        ]
        claimed = views[atom.parameter][tuple(index)].flatten()
        assert torch.equal(flat[atom.offset : atom.offset + atom.size], claimed)


@given(layouts())
def test_atoms_are_as_fine_as_the_axes_allow(layout):
    s = layout.settings
    per_layer = 2 * 3 * s.n_heads + s.n_heads + 3 * s.d_ff + 6
    assert len(layout.atoms) == layout.vocab_size + s.context + s.n_layers * per_layer + 2


def group_of(parameter: str, index: dict[str, int], grouping: str) -> str:
    """The group that definitions give one scalar, told from its tensor's name and its index."""
    stem, leaf = parameter.rsplit(".", 1)
    layer = stem.removeprefix("layer_").split(".")[0] if stem.startswith("layer_") else None
    if grouping == "whole":
        return "all"
    if grouping == "layer":
        return stem if layer is None else f"layer_{layer}"
    if grouping == "parameter":
        return parameter
    if grouping in ("head", "head_projection") and "head" in index:
        name = f"L{layer}H{index['head']}"
        projection = "qkv"[index["projection"]] if "projection" in index else "o"
        return name if grouping == "head" else f"{name}.{projection}"
    if grouping == "neuron" and "neuron" in index:
        return f"L{layer}N{index['neuron']}"
    if grouping == "neuron_part" and "neuron" in index:
        part = {"W_in": "in", "b_in": "bias", "W_out": "out"}[leaf]
        return f"L{layer}N{index['neuron']}.{part}"
    if grouping == "token" and leaf == "token":
        return f"token_{index['token']}"
    return stem


@pytest.mark.parametrize("grouping", [g for g in GROUPINGS if g != "atom"])
def test_segment_sums_equal_a_sum_over_named_tensors(grouping):
    settings = ModelSettings(n_layers=2, n_heads=2, d_model=6, d_ff=3, context=4)
    layout = Layout(settings, vocab_size=5)
    flat = random_vector(layout)

    atoms = layout.atoms
    per_atom = np.add.reduceat(flat.numpy(), atoms["offset"].to_numpy())
    fast = pd.Series(per_atom).groupby(layout.groups(grouping)).sum()

    slow: dict[str, float] = {}
    for entry in layout.entries:
        view = layout.views(flat)[entry.name]
        for index in product(*map(range, entry.shape)):
            named = dict(zip(entry.axes, index, strict=True))
            group = group_of(entry.name, named, grouping)
            slow[group] = slow.get(group, 0.0) + float(view[index])

    assert set(fast.index) == set(slow)
    for group, total in slow.items():
        assert fast[group] == pytest.approx(total, abs=1e-12)


def test_grouping_by_atom_keeps_atoms_apart():
    layout = Layout(ModelSettings(n_layers=1, n_heads=2, d_model=4, d_ff=3, context=4), 5)
    groups = layout.groups("atom")
    assert groups.is_unique
    assert len(groups) == len(layout.atoms)


@given(layouts(), st.sampled_from(GROUPINGS))
def test_every_atom_has_a_named_group(layout, grouping):
    groups = layout.groups(grouping)
    assert len(groups) == len(layout.atoms)
    assert groups.map(lambda name: isinstance(name, str) and bool(name)).all()


def test_unknown_grouping():
    layout = Layout(ModelSettings(n_layers=1, n_heads=1, d_model=2, d_ff=2, context=4), 3)
    with pytest.raises(AnalysisError) as caught:
        layout.groups("heads")
    assert str(caught.value) == (
        "unknown parameter grouping 'heads' — where: groups — expected: one of whole, layer, "
        "module, head, head_projection, neuron, neuron_part, token, parameter, atom — "
        "what to do: did you mean 'head'?"
    )


def test_reference_size():
    reference = ModelSettings(n_layers=3, n_heads=4, d_model=128, d_ff=512, context=96)
    assert Layout(reference, vocab_size=146).size == 626_048

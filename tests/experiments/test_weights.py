"""Parameter groups of two states: mixed vectors, where they matter from, and shuffled changes."""

import numpy as np
import pytest
import torch

from circuit.experiments.weights import shuffled_change, weight_parts, with_part

GROUPINGS = ("whole", "layer", "module", "head", "head_projection")


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_a_mixed_vector_is_the_donors_in_the_groups_atoms_alone(planted, untrained, grouping):
    layout = planted.decoder.layout
    parts = weight_parts(layout, [grouping])
    assert np.sum([part.atoms for part in parts], axis=0).tolist() == [1] * len(layout.atoms)
    labels = layout.groups(grouping)
    for part in parts:
        mixed = with_part(layout, planted.flat, untrained.flat, part.atoms)
        for atom in layout.atoms[labels == part.group].itertuples():
            inside = slice(atom.offset, atom.offset + atom.size)
            assert torch.equal(mixed[inside], untrained.flat[inside])
        changed = int((mixed != planted.flat).sum())
        assert changed <= int(layout.atoms["size"][labels == part.group].sum())


def test_a_pass_goes_on_from_the_last_stage_that_a_group_leaves_alone(planted):
    parts = {p.group: p.stage for p in weight_parts(planted.decoder.layout, ["head_projection"])}
    assert parts["embedding"] is None
    assert parts["L0H3.q"] == parts["layer_0.ln1"] == "embedding"
    assert parts["layer_0.ln2"] == parts["layer_0.mlp"] == "layer_0_post_attn"
    assert parts["L1H0.o"] == parts["layer_1.attn"] == "layer_0_post_mlp"
    assert parts["layer_1.mlp"] == "layer_1_post_attn"
    assert parts["final_norm"] == "layer_1_post_mlp"
    (layer,) = (p for p in weight_parts(planted.decoder.layout, ["layer"]) if p.group == "layer_1")
    assert layer.stage == "layer_0_post_mlp"


def test_a_shuffled_change_keeps_every_atoms_size_and_entries(planted, untrained):
    layout = planted.decoder.layout
    shuffled = shuffled_change(layout, planted.flat, untrained.flat, 3)
    change, other = untrained.flat - planted.flat, shuffled - planted.flat
    for atom in layout.atoms.itertuples():
        inside = slice(atom.offset, atom.offset + atom.size)
        torch.testing.assert_close(other[inside].sort().values, change[inside].sort().values)
    cosine = float(change @ other / change.norm() / other.norm())
    assert abs(cosine) < 0.05
    assert torch.equal(shuffled, shuffled_change(layout, planted.flat, untrained.flat, 3))
    assert not torch.equal(shuffled, shuffled_change(layout, planted.flat, untrained.flat, 4))

"""Groupings that settings define or nest: each is a partition, so its sums are the whole."""

from itertools import combinations

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuit.attribution.products import Grouping, grouping_labels
from circuit.config.recipe import ModelSettings
from circuit.config.terms import GROUPINGS, REST
from circuit.errors import AnalysisError
from circuit.model.layout import Layout
from circuit.model.selectors import Selectors

LAYOUT = Layout(ModelSettings(n_layers=2, n_heads=2, d_model=4, d_ff=3, context=4), vocab_size=5)
HEADS = {"winner": "L1H0", "runner_up": "L0H1", "bottom": "L0H0"}
CUSTOM = {
    "circuit": {
        "look_up": ["L1H1.q", "L1H1.k"],
        "copy": ["L1H1.v", "L1H1.o"],
        "embeddings": ["embedding"],
    },
    "roles": {"winner": ["winner"], "asks": ["runner_up.q", "bottom.q"]},
    "everything": {"layers": ["layer_0", "layer_1"], "others": ["embedding", "final_norm"]},
    "scattered": {"a": ["L0N1.in", "token_3", "layer_1.ln1.gain", "atom_0"], "b": ["layer_0.attn"]},
}
NESTED = (
    "layer/head/head_projection",
    "module/neuron/neuron_part",
    "circuit/head_projection",
    "layer/roles",
    "roles/circuit/parameter",
)


@pytest.fixture(scope="module")
def atoms():
    """Products [2, 3, A] of some gradients and updates, in float64."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 3, len(LAYOUT.atoms), generator=generator, dtype=torch.float64)


def grouping(name):
    return Grouping(LAYOUT, name, CUSTOM, HEADS)


def sums(name, atoms):
    found = grouping(name)
    return dict(zip(found.groups, found.sum(atoms).unbind(-1), strict=True))


def labels(lists, heads=HEADS):
    return grouping_labels(LAYOUT, "it", {"it": lists}, heads)


@pytest.mark.parametrize("name", [*GROUPINGS, *CUSTOM, *NESTED])
def test_every_grouping_sums_to_the_whole(atoms, name):
    found = grouping_labels(LAYOUT, name, CUSTOM, HEADS)
    assert found.index.equals(LAYOUT.atoms.index)
    assert found.map(lambda label: isinstance(label, str) and bool(label)).all()
    whole = grouping(name).sum(atoms).sum(-1)
    torch.testing.assert_close(whole, atoms.sum(-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NESTED)
def test_summed_over_its_last_part_a_nested_grouping_is_the_coarser_one(atoms, name):
    coarser = {}
    for group, value in sums(name, atoms).items():
        parent = group.rpartition("/")[0]
        coarser[parent] = coarser.get(parent, 0) + value
    expected = sums(name.rpartition("/")[0], atoms)
    assert coarser.keys() == expected.keys()
    for group, value in expected.items():
        torch.testing.assert_close(coarser[group], value, rtol=1e-12, atol=1e-12)


def test_a_nested_group_is_called_by_all_its_parts():
    found = set(grouping_labels(LAYOUT, "layer/head/head_projection"))
    assert {"layer_1/L1H1/L1H1.q", "layer_0/layer_0.mlp/layer_0.mlp"} <= found
    assert "embedding/embedding/embedding" in found
    mixed = set(grouping_labels(LAYOUT, "layer/roles", CUSTOM, HEADS))
    assert mixed == {
        "layer_0/asks",
        "layer_1/winner",
        *(f"{of}/rest" for of in ("embedding", "layer_0", "layer_1", "final_norm")),
    }


def test_the_parts_of_a_neuron_are_the_neuron(atoms):
    """Its in-row, in-bias and out-column; the out-bias belongs to no neuron."""
    neurons, parts = sums("neuron", atoms), sums("neuron_part", atoms)
    for layer in range(2):
        for number in range(3):
            name = f"L{layer}N{number}"
            total = sum(parts[f"{name}.{part}"] for part in ("in", "bias", "out"))
            torch.testing.assert_close(total, neurons[name], rtol=1e-12, atol=1e-12)
    of = grouping_labels(LAYOUT, "neuron_part")
    held = LAYOUT.atoms[of == "L1N2.bias"]
    assert held[["parameter", "neuron", "size"]].to_numpy().tolist() == [["layer_1.mlp.b_in", 2, 1]]
    rest = LAYOUT.atoms[of == "layer_1.mlp"]
    assert rest["parameter"].tolist() == ["layer_1.mlp.b_out"]


def test_a_list_holds_what_its_selectors_name(atoms):
    found = sums("circuit", atoms)
    assert list(found) == ["embeddings", REST, "look_up", "copy"]
    projections, modules = sums("head_projection", atoms), sums("module", atoms)
    torch.testing.assert_close(found["look_up"], projections["L1H1.q"] + projections["L1H1.k"])
    torch.testing.assert_close(found["copy"], projections["L1H1.v"] + projections["L1H1.o"])
    torch.testing.assert_close(found["embeddings"], modules["embedding"])


def test_roles_are_heads_of_the_selection(atoms):
    found, heads = sums("roles", atoms), sums("head", atoms)
    projections = sums("head_projection", atoms)
    torch.testing.assert_close(found["winner"], heads["L1H0"])
    torch.testing.assert_close(found["asks"], projections["L0H1.q"] + projections["L0H0.q"])


def test_a_list_that_holds_everything_has_no_rest():
    assert set(labels(CUSTOM["everything"])) == {"layers", "others"}


def test_of_groups_with_one_name_the_widest_is_meant():
    """``layer_0.attn`` is a module; the grouping ``head`` calls so what is left of it."""
    found = labels({"it": ["layer_0.attn"], "mlp": ["layer_0.mlp"], "in": ["embedding"]})
    module = LAYOUT.groups("module")
    for group, name in (("it", "layer_0.attn"), ("mlp", "layer_0.mlp"), ("in", "embedding")):
        assert (found == group).equals(module == name)


def test_one_group_may_select_a_thing_twice():
    assert labels({"it": ["L0H0", "bottom.q"]}).equals(labels({"it": ["L0H0"]}))


@pytest.mark.parametrize(
    ("selector", "guess"),
    [
        ("L1H3", "L1H1"),
        ("winer.q", "winner.q"),
        ("winner.x", "winner.v"),
        ("embeding", "embedding"),
        ("layer_2", "layer_1"),
        ("layer_0.atn", "layer_0.attn"),
        ("L0N9.bias", "L0N2.bias"),
    ],
)
def test_an_unknown_selector_names_the_nearest(selector, guess):
    with pytest.raises(AnalysisError) as caught:
        labels({"it": ["L0H0", selector]})
    assert str(caught.value) == (
        f"no parameter group is called {selector!r} — where: groupings — expected: a group of any "
        "grouping, such as layer_0, L0H0, L0H0.q or embedding, or winner, runner_up, bottom in "
        f"place of a head — what to do: did you mean {guess!r}?"
    )


def test_without_a_selection_there_are_no_roles():
    with pytest.raises(AnalysisError) as caught:
        labels({"it": ["winner"]}, {})
    assert str(caught.value) == (
        "no parameter group is called 'winner' — where: groupings — expected: a group of any "
        "grouping, such as layer_0, L0H0, L0H0.q or embedding — what to do: name a group that "
        "there is"
    )


def test_groups_that_share_parameters_are_refused():
    with pytest.raises(AnalysisError) as caught:
        labels({"head": ["L0H1", "L1H0"], "asks": ["L0H0.q", "runner_up.q"]})
    assert str(caught.value) == (
        "groups 'head' and 'asks' share parameters: those that 'L0H1' and 'runner_up.q' both "
        "select — where: groupings — expected: groups that have no parameter in common, so that "
        "they sum to the whole — what to do: take one of them out, or put 'asks' into a grouping "
        "of its own"
    )


@pytest.mark.parametrize("name", ["cicuit", "layer/cicuit", "cicuit/layer"])
def test_an_unknown_grouping_names_the_nearest_of_those_that_there_are(name):
    with pytest.raises(AnalysisError) as caught:
        grouping_labels(LAYOUT, name, CUSTOM, HEADS)
    assert str(caught.value) == (
        "unknown parameter grouping 'cicuit' — where: groups — expected: one of "
        f"{', '.join((*GROUPINGS, *CUSTOM))} — what to do: did you mean 'circuit'?"
    )


@st.composite
def lists(draw):
    """Some names of groups of any grouping, dealt out to at most three groups."""
    names = sorted({name for g in GROUPINGS for name in LAYOUT.groups(g)} | {"winner", "bottom.v"})
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=6, unique=True))
    group = st.sampled_from(["a", "b", "c"])
    dealt = draw(st.lists(group, min_size=len(chosen), max_size=len(chosen)))
    return {g: [n for n, d in zip(chosen, dealt, strict=True) if d == g] for g in sorted({*dealt})}


@given(lists())
def test_any_list_is_a_partition_or_is_refused_for_what_it_holds_twice(lists):
    selectors = Selectors(LAYOUT.atom_list, HEADS)
    held = {g: {a for n in names for a in selectors.members(n)} for g, names in lists.items()}
    if any(one & other for one, other in combinations(held.values(), 2)):
        with pytest.raises(AnalysisError, match="share parameters"):
            labels(lists)
        return
    found = labels(lists)
    left = set(found.index).difference(*held.values())
    for group, members in {**held, REST: left}.items():
        assert set(found.index[found == group]) == members
    values = torch.arange(len(found), dtype=torch.float64) ** 2
    by = Grouping(LAYOUT, "it", {"it": lists}, HEADS)
    expected = pd.Series(values.numpy()).groupby(found).sum()
    assert dict(zip(by.groups, by.sum(values).tolist(), strict=True)) == expected.to_dict()
    assert by.sum(values).sum() == values.sum()

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuit.errors import AnalysisError, MismatchError
from circuit.experiments.changes import (
    Where,
    add,
    edit,
    edits,
    keep,
    mean,
    patch,
    remove,
    replace,
    resample,
    zero,
)
from circuit.model.sites import site_axes
from circuit.model.tap import Tap

B, T, H, K, D = 2, 4, 3, 5, 6
SHAPES = {
    "embedding": (B, T, D),
    "layer_0_z": (B, T, H, K),
    "layer_0_head_write": (B, T, H, D),
    "layer_0_neurons": (B, T, D),
    "layer_0_ln1_scale": (B, T, 1),
    "layer_0_pattern": (B, H, T, T),
    "layer_0_scores": (B, H, T, T),
}


def tensor(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def basis(d, r, seed=1):
    return torch.linalg.qr(tensor(d, d, seed=seed)).Q[:, :r]


@st.composite
def wheres(draw):
    """Any site with any masks that it may have."""
    site = draw(st.sampled_from(sorted(SHAPES)))
    mask = st.none() | st.lists(st.booleans(), min_size=B * T, max_size=B * T).map(
        lambda bits: torch.tensor(bits).view(B, T)
    )
    has = site_axes(site)
    heads = st.none() | st.sets(st.integers(0, H - 1)).map(tuple)
    return Where(
        site,
        positions=draw(mask),
        heads=draw(heads) if "head" in has else None,
        keys=draw(mask) if "key_position" in has else None,
    )


def reaches(where, index):
    """Whether an entry is reached, told from the definitions one axis at a time."""
    at = dict(zip(site_axes(where.site), index, strict=True))
    program, position = at["program"], at["position"]
    return (
        (where.positions is None or bool(where.positions[program, position]))
        and (where.heads is None or at["head"] in where.heads)
        and (where.keys is None or bool(where.keys[program, at["key_position"]]))
        and at.get("key_position", 0) <= position
    )


@given(wheres())
def test_an_edit_reaches_what_its_where_says_and_nothing_else(where):
    value = tensor(*SHAPES[where.site])
    source = tensor(*SHAPES[where.site], seed=9)
    before = value.clone()
    after = edit(where, replace(source))(value)
    assert torch.equal(value, before)
    for index in product(*map(range, value.shape)):
        assert after[index] == (source if reaches(where, index) else value)[index]


@given(wheres(), st.integers(1, 5), st.sampled_from([zero, add, remove, keep, replace, "within"]))
def test_every_change_is_differentiable_and_leaves_its_input_alone(where, rank, kind):
    value = tensor(*SHAPES[where.site])
    width = value.shape[-1]
    columns = basis(width, min(rank, width))
    change = {
        zero: zero,
        add: lambda: add(tensor(width)),
        remove: lambda: remove(columns),
        keep: lambda: keep(columns),
        replace: lambda: replace(tensor(*value.shape, seed=4)),
        "within": lambda: replace(tensor(*value.shape, seed=4), within=columns),
    }[kind]()
    before = value.clone()
    leaf = value.clone().requires_grad_()
    apply = edit(where, change)
    weight = tensor(*value.shape, seed=5)
    result = (apply(leaf) * weight).sum()
    (gradient,) = torch.autograd.grad(result, leaf) if result.requires_grad else (0 * value,)
    # Every change is affine, so one finite difference is exact.
    step = tensor(*value.shape, seed=6)
    difference = ((apply(value + step) - apply(value)) * weight).sum()
    torch.testing.assert_close((gradient * step).sum(), difference)
    assert torch.equal(value, before)


def test_gradients_flow_into_a_source():
    source = tensor(D).requires_grad_()
    edit(Where("embedding"), patch(source))(tensor(B, T, D)).sum().backward()
    torch.testing.assert_close(source.grad, torch.full((D,), float(B * T), dtype=torch.float64))


def test_keep_and_remove_split_the_state():
    value, columns = tensor(B, T, D), basis(D, 2)
    kept, rest = keep(columns)(value), remove(columns)(value)
    torch.testing.assert_close(kept + rest, value)
    torch.testing.assert_close(keep(columns)(kept), kept)
    torch.testing.assert_close(rest @ columns, torch.zeros(B, T, 2, dtype=torch.float64))


def test_replace_within_takes_one_subspace_from_the_source():
    value, source, columns = tensor(B, T, D), tensor(B, T, D, seed=1), basis(D, 2)
    result = replace(source, within=columns)(value)
    torch.testing.assert_close(keep(columns)(result), keep(columns)(source))
    torch.testing.assert_close(remove(columns)(result), remove(columns)(value))


def test_a_subspace_of_no_dimensions():
    value, nothing = tensor(B, T, D), torch.zeros(D, 0)
    assert torch.equal(remove(nothing)(value), value)
    assert (keep(nothing)(value) == 0).all()


def test_a_source_takes_the_dtype_of_the_site():
    value = tensor(B, T, D).float()
    for change in (mean(tensor(D)), add(tensor(D)), remove(basis(D, 2)), resample(tensor(B, T, D))):
        assert edit(Where("embedding"), change)(value).dtype == torch.float32


def test_edits_of_one_site_apply_in_order():
    by_site = edits(
        (Where("embedding"), zero()),
        (Where("final_norm"), zero()),
        (Where("embedding"), add(torch.ones(D))),
    )
    assert {site: len(functions) for site, functions in by_site.items()} == {
        "embedding": 2,
        "final_norm": 1,
    }
    value = tensor(B, T, D)
    for function in by_site["embedding"]:
        value = function(value)
    assert (value == 1).all()


@pytest.mark.parametrize("change", [zero(), replace(torch.zeros(())), add(torch.ones(()))])
def test_no_edit_lets_a_query_see_the_future(change):
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    scores = tensor(B, H, T, T).masked_fill(future, -torch.inf)
    after = edit(Where("layer_0_scores"), change)(scores)
    assert torch.equal(after.isneginf(), scores.isneginf())


# Errors


@pytest.mark.parametrize(
    ("site", "given", "message"),
    [
        (
            "embedding",
            {"heads": (0,)},
            "heads are given, but the site has no axis for them — where: an edit at 'embedding' — "
            "expected: a site with an axis 'head'; this one has program, position, vector — "
            "what to do: leave heads out, or edit another site",
        ),
        (
            "layer_0_z",
            {"keys": torch.ones(B, T, dtype=torch.bool)},
            "keys are given, but the site has no axis for them — where: an edit at 'layer_0_z' — "
            "expected: a site with an axis 'key_position'; this one has program, position, head, "
            "vector — what to do: leave keys out, or edit another site",
        ),
    ],
)
def test_masks_that_a_site_cannot_have(site, given, message):
    with pytest.raises(AnalysisError) as caught:
        Where(site, **given)
    assert str(caught.value) == message


def test_a_site_that_does_not_exist():
    with pytest.raises(AnalysisError, match=r"unknown site 'layer_1_zz'.*mean 'layer_1_z'"):
        Where("layer_1_zz")


@pytest.mark.parametrize("head", [3, -1])
def test_a_head_that_does_not_exist(head):
    with pytest.raises(AnalysisError) as caught:
        edit(Where("layer_0_z", heads=(head,)), zero())(tensor(B, T, H, K))
    assert str(caught.value) == (
        f"head {head} does not exist — where: an edit at 'layer_0_z' — expected: 0 to 2 — "
        "what to do: name an existing head"
    )


def test_entries_of_a_vector_are_reached_alone_and_exist():
    value = tensor(B, T, 5)
    changed = edit(Where("layer_0_neurons", entries=(1, 3)), zero())(value)
    assert (changed[..., [1, 3]] == 0).all()
    assert torch.equal(changed[..., [0, 2, 4]], value[..., [0, 2, 4]])
    with pytest.raises(AnalysisError, match=r"entry 5 does not exist.*expected: 0 to 4"):
        edit(Where("layer_0_neurons", entries=(5,)), zero())(value)
    with pytest.raises(AnalysisError, match="entries are given, but the site has no axis for them"):
        Where("layer_0_pattern", entries=(0,))


@pytest.mark.parametrize(
    "mask", [torch.ones(B, T + 1, dtype=torch.bool), torch.ones(B, T), torch.ones(B).bool()]
)
def test_a_mask_of_other_streams(mask):
    with pytest.raises(MismatchError) as caught:
        edit(Where("embedding", mask), zero())(tensor(B, T, D))
    assert str(caught.value) == (
        f"a mask over program and position of shape {list(mask.shape)}, {mask.dtype} — where: an "
        "edit at 'embedding' — expected: shape [2, 4], torch.bool — what to do: make the mask "
        "from the events that the forward pass is given"
    )


@pytest.mark.parametrize("kind", [replace, add])
@pytest.mark.parametrize("shape", [(B, T + 1, D), (D + 1,), (2, B, T, D)])
def test_a_source_of_another_shape(kind, shape):
    with pytest.raises(MismatchError) as caught:
        edit(Where("embedding"), kind(tensor(*shape)))(tensor(B, T, D))
    assert str(caught.value) == (
        f"a tensor {list(shape)} in place of a site [2, 4, 6] — where: an edit — expected: a shape "
        "that broadcasts to the site's — what to do: take a source from the same site, and from "
        "streams of the same length"
    )


@pytest.mark.parametrize("kind", [keep, remove, lambda b: replace(torch.zeros(()), within=b)])
def test_a_basis_that_is_not_orthonormal(kind):
    with pytest.raises(MismatchError) as caught:
        kind(2 * torch.eye(3))
    assert str(caught.value) == (
        "the columns of a basis [3, 3] are not orthonormal — where: a subspace edit — expected: "
        "BᵀB within 0.0001 of the identity, found 5.2 — what to do: take an orthonormal basis, "
        "such as singular vectors or torch.linalg.qr(basis).Q"
    )


def test_a_basis_of_nan_is_not_orthonormal():
    with pytest.raises(MismatchError, match="not orthonormal"):
        keep(torch.full((3, 1), torch.nan))


def test_a_basis_of_another_space():
    with pytest.raises(MismatchError) as caught:
        keep(basis(D, 2))(tensor(B, T, H, K))
    assert str(caught.value) == (
        "a basis of vectors of length 6 — where: a subspace edit — expected: length 5, the last "
        "axis of a site [2, 4, 3, 5] — what to do: take a basis of the space that this site lies in"
    )


# On the planted circuit: edits of what does the work break it, edits of anything else do not.


@pytest.fixture(scope="module")
def run(planted, planted_events):
    """Accuracy of the planted circuit on its events, under a tap."""

    def accuracy(*pairs, capture=()):
        tap = Tap(capture=capture, edits=edits(*pairs))
        logits = planted.decoder.forward(planted.views, planted_events.tokens, tap)
        rows = torch.arange(len(planted_events))
        hit = logits[rows, planted_events.prediction].argmax(-1) == planted_events.answer
        return float(hit.double().mean()), tap.cache

    return accuracy


def test_the_matching_head_is_needed_and_only_at_the_prediction(run, planted_events):
    at = planted_events.role_mask("prediction")
    for site in ("layer_1_z", "layer_1_head_write"):
        assert run((Where(site, at, (2,)), zero()))[0] == 0
        assert run((Where(site, ~at, (2,)), zero()))[0] == 1
        assert run((Where(site, None, (0, 1, 3)), zero()))[0] == 1


def test_layer_0_is_needed_at_value_tokens(run, planted_events):
    at = planted_events.role_mask("support_value")
    values = at | planted_events.value_distractors | planted_events.prior_answers
    assert run((Where("layer_0_z", at, (1,)), zero()))[0] < 0.1
    assert run((Where("layer_0_z", ~values, (1, 2)), zero()))[0] == 1


def test_hiding_the_support_value_from_the_matching_head(run, planted_events):
    """A knocked-out score sends the attention to the next best: the latest stale value."""
    hide = Where(
        "layer_1_scores",
        planted_events.role_mask("prediction"),
        (2,),
        planted_events.role_mask("support_value"),
    )
    accuracy, cache = run((hide, replace(torch.tensor(-torch.inf))), capture=["layer_1_pattern"])
    rows = torch.arange(len(planted_events))
    pattern = cache["layer_1_pattern"][rows, 2, planted_events.prediction]
    torch.testing.assert_close(pattern.sum(-1), torch.ones(len(rows), dtype=torch.float64))
    assert (pattern * planted_events.role_mask("support_value")).sum() == 0
    assert accuracy == 0


def test_the_key_identity_is_what_the_match_reads(run, planted, planted_events):
    at = planted_events.role_mask("prediction")
    key, value = planted.bases["token_key"], planted.bases["token_value"]
    assert run((Where("layer_0_post_mlp", at), remove(key)))[0] < 0.9
    assert run((Where("layer_0_post_mlp", at), remove(value)))[0] == 1
    basis = torch.cat([key, planted.bases["position"], planted.bases["recency"]], 1)
    assert run((Where("layer_0_post_mlp", at), keep(basis)))[0] == 1

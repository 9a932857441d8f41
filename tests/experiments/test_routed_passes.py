"""Routed passes: identities, against taps and edits, and edges that no model has."""

import pytest
import torch

from circuit.config.recipe import ModelSettings
from circuit.errors import AnalysisError
from circuit.experiments.changes import Where, edits, resample
from circuit.experiments.donors import Shuffle, counterparts, exchanged
from circuit.experiments.paths import at_role, routed, write_sites
from circuit.model.nodes import every_edge, inputs, owner, require_edges, senders
from circuit.model.sites import sites
from circuit.model.tap import Tap
from circuit.scalars.base import look, look_on, pick
from circuit.scalars.write import component_write

EXACT = {"rtol": 0, "atol": 1e-9}


@pytest.fixture(scope="module", params=["planted", "untrained"])
def clean(request, planted_events):
    circuit = request.getfixturevalue(request.param)
    events = planted_events.select(range(0, 171, 9)).crop()
    every = frozenset(sites(circuit.decoder.settings.n_layers))
    return look(circuit.decoder, circuit.flat, events, circuit.vocabulary.value_ids, every)


def bases(clean):
    """Other events' writes, means, and the clean writes."""
    donor = exchanged(len(clean.events), 0)
    shuffle = Shuffle(donor, counterparts(clean.events, donor))
    own = {site: clean.sites[site] for site in write_sites(clean.decoder.settings.n_layers)}
    means = {site: x.mean((0, 1)).expand_as(x) for site, x in own.items()}
    return {"resample": {site: shuffle(x) for site, x in own.items()}, "mean": means, "clean": own}


def answer(seen):
    """LayerNorm'd state at the prediction position."""
    return pick(seen.sites["final_norm"], seen.events.prediction)


def close(found, expected):
    torch.testing.assert_close(answer(found), expected, **EXACT)


@pytest.mark.parametrize("of", ["resample", "mean", "clean"])
def test_all_edges_give_the_clean_pass_and_none_the_base(clean, of):
    base, shape = bases(clean)[of], clean.decoder.settings
    own = {"embedding": clean.sites["embedding"]}
    close(routed(clean, base, every_edge(shape), own).answering, answer(clean))
    stream = base["embedding"] + sum(
        base[f"layer_{n}_z"].flatten(2) @ clean.params[f"layer_{n}.attn.W_O"].flatten(0, 1)
        + clean.params[f"layer_{n}.attn.b_O"]
        + base[f"layer_{n}_mlp_write"]
        for n in range(shape.n_layers)
    )
    final = clean.decoder.final_norm(clean.params, pick(stream, clean.events.prediction))
    for edges, given in (((), own), (every_edge(shape), {})):
        left = routed(clean, base, edges, given)
        close(left.answering, final)
    assert left.written == {}  # nothing was given, so nothing reaches anything


def test_with_all_edges_a_write_that_is_given_is_a_write_that_is_edited(clean):
    base, every = bases(clean), every_edge(clean.decoder.settings)
    for where in (
        Where("layer_0_z", heads=(1,)),
        Where("layer_0_mlp_write"),
        Where("layer_1_z", heads=(2,)),
    ):
        tap = Tap({"final_norm"}, edits((where, resample(base["resample"][where.site]))))
        clean.decoder.forward(clean.params, clean.events.tokens, tap)
        name = f"L{where.site[6]}" + (f"H{where.heads[0]}" if where.heads else "MLP")
        damaged = component_write(clean._replace(sites=base["resample"]), name)
        left = routed(clean, base["clean"], every, {name: damaged})
        close(left.answering, pick(tap.cache["final_norm"], clean.events.prediction))


@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_one_edge_changes_one_input_and_what_follows_it(clean, part):
    """Against hooks: the head's input of one kind is that of a stream with the damaged write."""
    base, shape = bases(clean), clean.decoder.settings
    sender, damaged = "L0MLP", base["resample"]["layer_0_mlp_write"]
    stream = clean.sites["layer_0_post_mlp"] + damaged - clean.sites["layer_0_mlp_write"]
    site = f"layer_1_{part}"
    other = look_on(clean, "layer_0_post_mlp", stream, frozenset({site}))[site]
    tap = Tap({"final_norm"}, edits((Where(site, heads=(2,)), resample(other))))
    clean.decoder.forward(clean.params, clean.events.tokens, tap)
    onward = [edge for edge in every_edge(shape) if edge[0] != sender]
    left = routed(clean, base["clean"], [(sender, f"L1H2.{part}"), *onward], {sender: damaged})
    close(left.answering, pick(tap.cache["final_norm"], clean.events.prediction))
    assert set(left.written) == {sender, "L1H2", "L1MLP"}
    # Without edges onward the head is alone in having been reached.
    left = routed(clean, base["clean"], [(sender, f"L1H2.{part}")], {sender: damaged})
    assert set(left.written) == {sender, "L1H2"}
    close(left.answering, answer(clean))


def test_an_edge_may_carry_a_part(clean):
    """The answer is read at the prediction position alone, so no other carries anything there."""
    base, shape = bases(clean)["resample"], clean.decoder.settings
    own = {"embedding": clean.sites["embedding"]}
    whole, edge = [("embedding", "L0H1.v"), ("L0H1", "answer")], ("L0H1", "answer")
    only = at_role(clean.events, "prediction")
    close(
        routed(clean, base, {whole[0]: lambda x: x, edge: only}, own).answering,
        answer(routed(clean, base, whole, own).answering),
    )
    only = at_role(clean.events, "support_value")
    close(
        routed(clean, base, {whole[0]: lambda x: x, edge: only}, own).answering,
        answer(routed(clean, base, (), own).answering),
    )
    every = {one: at_role(clean.events, "causal_prefix") for one in every_edge(shape)}
    close(routed(clean, base, every, own).answering, answer(clean))


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        (
            ("L2H0", "answer"),
            "edge L2H0 → answer: nothing that writes is called 'L2H0' — where: a model with 2 "
            "layers of 4 heads — expected: embedding, L0H0 to L1H3, L0MLP to L1MLP — what to do: "
            "did you mean 'L1H0'?",
        ),
        (
            ("L0H1", "L1H3"),
            "edge L0H1 → L1H3: nothing that reads is called 'L1H3' — where: a model with 2 layers "
            "of 4 heads — expected: answer, an input such as L1H0.q, .k or .v, L0MLP to L1MLP — "
            "what to do: did you mean 'L1H3.v'?",
        ),
        (
            ("L1H3", "L0MLP"),
            "edge L1H3 → L0MLP goes backwards: L0MLP reads before L1H3 has written — where: a "
            "model with 2 layers of 4 heads — expected: a receiver that the model meets after the "
            "sender — what to do: turn it round, or leave it out",
        ),
        (("L1H0", "L1H3.v"), "edge L1H0 → L1H3.v goes backwards"),
        (("answer", "L1MLP"), "nothing that writes is called 'answer'"),
    ],
)
def test_edges_that_no_model_has_are_refused(edge, message):
    shape = ModelSettings(n_layers=2, n_heads=4, d_model=16, d_ff=32, context=8)
    with pytest.raises(AnalysisError) as caught:
        require_edges([("embedding", "L1H0.q"), edge], shape)
    assert message in str(caught.value)


def test_every_edge_leads_to_what_comes_later():
    shape = ModelSettings(n_layers=2, n_heads=4, d_model=16, d_ff=32, context=8)
    edges = every_edge(shape)
    require_edges(edges, shape)
    # 11 senders; embedding 27 receivers, a head of layer 0 15, and so on.
    assert len(set(edges)) == len(edges) == 27 + 4 * 15 + 14 + 4 * 2 + 1
    assert [one for name in senders(shape) for one in inputs(name)][:4] == [
        "L0H0.q", "L0H0.k", "L0H0.v", "L0H1.q"
    ]  # fmt: skip
    assert owner("L0H1.q") == "L0H1"


@pytest.mark.parametrize(
    ("gone", "changes"),
    [
        (("embedding", "L0H2.v"), ("L0H2", "L0MLP", "L1")),
        (("L0H1", "L1H2.k"), ("L1H2", "L1MLP")),
        (("L1H2", "L1MLP"), ("L1MLP",)),
    ],
)
def test_what_another_pass_wrote_is_not_computed_again(clean, gone, changes):
    base, own = bases(clean)["resample"], {"embedding": clean.sites["embedding"]}
    every = every_edge(clean.decoder.settings)
    before = routed(clean, base, every, own).written
    known = {name: one for name, one in before.items() if not name.startswith(("e", *changes))}
    assert known
    edges = [edge for edge in every if edge != gone]
    found = routed(clean, base, edges, own, known)
    close(found.answering, answer(routed(clean, base, edges, own).answering))
    assert all(found.written[name] is one for name, one in known.items())

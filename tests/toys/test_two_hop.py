"""The planted two-hop MLP answers, by its neurons alone, and idle ones do nothing."""

import pytest

from circuit.experiments.edits import replaced, write_places
from circuit.experiments.trial import Trial
from circuit.model.sites import parse_neuron, stages
from circuit.scalars.base import look, pick
from circuit.scalars.behaviour import soft_margin
from circuit.toys.two_hop import FIRST, STAGE, TwoHop, two_hop


@pytest.fixture(scope="module")
def toy() -> TwoHop:
    return two_hop(programs=48)


def test_it_looks_up_both_facts_once_it_has_grown(toy: TwoHop) -> None:
    for state, right in zip(toy.states, (False, False, True), strict=True):
        sites = frozenset({STAGE, "final_norm"})
        seen = look(toy.decoder, state, toy.events, toy.vocabulary.value_ids, sites)
        at = toy.events.prediction
        logits = toy.decoder.unembed(seen.params, pick(seen.sites["final_norm"], at))
        assert bool((logits.argmax(-1) == toy.events.answer).all()) == right
        for readout in toy.readouts.values():
            score = (pick(seen.sites[STAGE], at) * readout).sum(-1)
            assert bool((score > 1).all()) == right


def test_idle_neurons_fire_like_others_and_nobody_reads_them(toy: TwoHop) -> None:
    shape, prefix = toy.decoder.settings, toy.events.causal_prefix
    of_layers = [f"layer_{layer}_neurons" for layer in (0, 1)]
    sites = {*of_layers, *stages(shape.n_layers)}
    about = (toy.decoder, toy.states[-1], toy.events, toy.vocabulary.value_ids, sites)
    trial, scalars = Trial.of(*about), {"margin": soft_margin()}
    means = {site: trial.clean.sites[site][prefix].mean(0) for site in of_layers}
    edits = {
        does: replaced(write_places(neurons, shape), means) for does, neurons in toy.truth.items()
    }
    lost = {
        does: float((trial.unedited(scalars)["margin"] - values["margin"]).mean())
        for (does, _), values in trial.run(edits, scalars).items()
    }
    assert lost["shared positive"] > lost[FIRST] > 1
    assert abs(lost["idle"]) < 0.2 * lost[FIRST]
    fires = {
        neuron: float(
            (trial.clean.sites[of_layers[layer]][prefix][:, number] > 0.1).double().mean()
        )
        for neurons in toy.truth.values()
        for neuron in neurons
        for layer, number in [parse_neuron(neuron, shape)]
    }
    assert min(fires.values()) > 0.5 * max(fires.values())

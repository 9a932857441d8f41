"""Coalitions of neurons on a planted two-hop MLP: identities, classes, interventions, nothing."""

from functools import partial

import pandas as pd
import pytest
import torch
from viewing import changed, outcome, viewed

from circuit.attribution.engine import Engine
from circuit.attribution.neuron_drives import neuron_drives, random_rotations
from circuit.attribution.products import grouped
from circuit.config.scalar import ScalarSettings
from circuit.errors import AnalysisError
from circuit.estimates import estimates
from circuit.experiments.edits import shuffled_change
from circuit.experiments.neuron_sets import ABLATED, ALONE, GONE, holds_from, set_effects
from circuit.measures.candidates import coalitions as found
from circuit.measuring import Table
from circuit.scalars.base import Measure, pick
from circuit.scalars.behaviour import answer_margin
from circuit.scalars.evaluate import Evaluator
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import halves_and_all
from circuit.toys.two_hop import FIRST, SECOND, STAGE, two_hop

NEURONS = [f"L{layer}N{number}" for layer in range(2) for number in range(40)]
DRAWS = 40
OF = {
    found.POSITIVE: found.POSITIVE,
    found.NEGATIVE: found.NEGATIVE,
    found.CONFLICT: found.CONFLICT,
}
OF |= {FIRST: f"specific to {FIRST}", SECOND: f"specific to {SECOND}"}


@pytest.fixture(scope="module")
def toy():
    return two_hop(grown=(0.5, 1.0), programs=160)


def scores(toy, chosen=slice(None)):
    """The candidates' scores of some of the toy's events."""

    def score(readout, seen):
        return (pick(seen.sites[STAGE], seen.events.prediction) * readout[chosen]).sum(-1)

    return {
        name: Measure("activation", frozenset({STAGE}), partial(score, readout))
        for name, readout in toy.readouts.items()
    }


def drives(toy, before, after, scalars, rule="boole", draws=DRAWS):
    ids, rotations = toy.vocabulary.value_ids, random_rotations(128, draws, 0)
    return neuron_drives(toy.decoder, before, after, toy.events, ids, scalars, rule, rotations)


def measured(toy, before, after):
    one = drives(toy, before, after, scores(toy))
    units = dict.fromkeys(toy.readouts, "activation")
    return found.coalitions((0, 1), [one], units, NEURONS, 4, 0)


@pytest.fixture(scope="module")
def planted(toy):
    return measured(toy, *toy.states)


def table(rows, **where):
    for key, value in where.items():
        rows = rows[rows[key] == value]
    return rows


def count(rows, group, against=""):
    about = {"group": group, "half": "confirmation", "against": against}
    [row] = table(rows, measure="neurons", **about).itertuples()
    return row


def test_drives_are_what_the_engine_gives_neurons_and_all_parts_sum_to_growth():
    toy = two_hop(grown=(0.7, 1.0), programs=12)
    before, after = toy.states
    ids = toy.vocabulary.value_ids
    about = (toy.decoder, toy.events, ids, {}, toy.states.__getitem__, (0, 1), 1)
    moving = build_scalar(ScalarSettings(scalar="answer_margin"), ScalarContext(*about))
    scalars = {**scores(toy), "answer": moving}
    one = drives(toy, before, after, scalars, "trapezoid", draws=2)
    layout, evaluate = toy.decoder.layout, Evaluator(toy.decoder, toy.events, ids)
    step = Engine(layout, evaluate, scalars, ["trapezoid"]).step(
        before, after, (after - before)[None]
    )
    neurons = grouped(layout, ["neuron"])["neuron"]
    of_engine = neurons.sum(step.atoms)[:, 0, [neurons.groups.index(name) for name in NEURONS]]
    exact = {"rtol": 0, "atol": 1e-9}
    torch.testing.assert_close(one.neurons.mean(1), of_engine, **exact)
    torch.testing.assert_close(one.whole, step.by_rule["trapezoid"][:, 0], **exact)
    torch.testing.assert_close(one.rebound, sum(step.rebound.values()), **exact)
    torch.testing.assert_close(one.parts["residual"], step.residual("trapezoid", 1), **exact)
    torch.testing.assert_close(sum(one.parts.values()), step.growth, **exact)
    assert float(one.rebound[-1]) != 0  # the rival changed
    assert float(one.parts["residual"].abs().max()) > 1e-6  # a coarse rule leaves something
    fine = drives(toy, before, after, scores(toy), "gauss_16", draws=2)
    assert float(fine.parts["residual"].abs().max()) < 1e-6
    # A read-out that is not turned is the candidate's own; random ones are none of it.
    own = neuron_drives(
        toy.decoder, before, after, toy.events, ids, scores(toy), "trapezoid", torch.eye(128)[None]
    )
    torch.testing.assert_close(own.random[0], own.neurons, **exact)


def test_random_read_outs_have_the_norm_and_no_direction():
    turned = random_rotations(16, 500, 3).double()
    torch.testing.assert_close(
        turned @ turned.mT, torch.eye(16).double().expand(500, 16, 16), rtol=0, atol=1e-9
    )
    assert float(turned.mean(0).abs().max()) < 0.05
    assert torch.equal(turned, random_rotations(16, 500, 3))


def test_planted_neurons_are_named_with_their_class(toy, planted):
    rows = table(planted.rows, measure="drive", half="selection", against="", candidate=FIRST)
    named = rows.set_index("neuron")["group"]
    for does, neurons in toy.truth.items():
        if does in OF:
            assert set(named[list(neurons)]) == {OF[does]}, does
            assert set(planted.sets[OF[does]]) <= set(neurons)
            chance = count(planted.rows, OF[does], against=found.READOUTS)
            again = count(planted.rows, OF[does])
            assert again.mean >= len(neurons) > chance.high
    # Those that do nothing are told to do something as often as chance has it.
    idle = named[list(toy.truth["idle"])]
    assert (idle == found.NOTHING).mean() > 0.8
    largest = [name for name in planted.sets if name.startswith(found.LARGEST)]
    assert not largest  # both candidates have neurons of their own


def test_the_growth_is_all_parts_in_every_interval(planted):
    rows = planted.rows
    for candidate in (FIRST, SECOND):
        parts = table(rows, measure="contribution", candidate=candidate)["mean"]
        [growth] = table(rows, measure="growth", candidate=candidate)["mean"]
        assert parts.sum() == pytest.approx(growth, abs=1e-9)
        assert growth > 1


@pytest.fixture(scope="module")
def effects(toy, planted):
    chosen = torch.from_numpy(halves_and_all(len(toy.events))["confirmation"][:32])
    scalars = {**scores(toy, chosen), "answer_margin": answer_margin(None)}
    ids, events = toy.vocabulary.value_ids, toy.events.select(chosen)
    about = (toy.decoder, toy.states[-1], 1, events, ids)
    return set_effects(*about, planted.sets, planted.untold, scalars, 20, 0)


def effect(rows, group, candidate, edit, against="", measure="effect"):
    where = {"group": group, "candidate": candidate, "edit": edit, "against": against}
    [row] = table(rows, step=1, measure=measure, **where).itertuples()
    return row


def test_sets_do_what_their_class_says_and_random_sets_nothing(effects):
    shared, only_first = OF[found.POSITIVE], OF[FIRST]
    whole = {c: effect(effects, shared, c, GONE).mean for c in (FIRST, SECOND)}
    for candidate in (FIRST, SECOND):
        # Ablating four of the eight that both need takes about half of either.
        assert effect(effects, shared, candidate, ABLATED).low > 0.25 * whole[candidate]
        assert effect(effects, shared, candidate, ALONE).low > 0.25 * whole[candidate]
        assert effect(effects, OF[found.NEGATIVE], candidate, ABLATED).high < 0
    assert effect(effects, only_first, FIRST, ABLATED).low > 0.15 * whole[FIRST]
    assert abs(effect(effects, only_first, SECOND, ABLATED).mean) < 0.05
    assert effect(effects, OF[found.CONFLICT], FIRST, ABLATED).low > 0.05 * whole[FIRST]
    assert effect(effects, OF[found.CONFLICT], SECOND, ABLATED).high < -0.05 * whole[SECOND]
    controls = effects[
        effects["against"].str.startswith("random") & (effects["measure"] == "effect")
    ]
    for row in table(controls, step=1).itertuples():
        of = effect(effects, row.group, row.candidate, GONE).mean
        assert max(abs(row.low), abs(row.high)) < 0.05 * abs(of), row


def test_random_sets_are_as_active_and_write_as_much(effects):
    for measure in ("rate", "write_norm"):
        rows = table(effects, step=1, measure=measure)
        own = rows[rows["against"] == ""].set_index("group")["mean"]
        like = rows[rows["against"] != ""].set_index("group")["mean"]
        assert ((like / own - 1).abs() < 0.25).all()


def test_nobody_serves_a_candidate_where_changes_have_no_direction(toy):
    before, after = toy.states
    flat = toy.decoder.initialise(torch.Generator().manual_seed(1)).double()
    moved = shuffled_change(toy.decoder.layout, flat, flat + after - before, 0)
    rows = measured(toy, flat, moved).rows
    for group in found.every_class((FIRST, SECOND)):
        chance = count(rows, group, against=found.READOUTS)
        assert count(rows, group).mean <= max(chance.high, 1)


def told(rows, folder, **to):
    settings = {
        "candidates": {
            FIRST: {"scalar": "qk_separation", "head": "L1H0"},
            SECOND: {"scalar": "qk_separation", "head": "L1H1"},
        },
        "checkpoints": [0, 1],
    }
    return viewed("coalitions", {"rows": Table(rows, "one")}, folder, settings, **to)


@pytest.fixture(scope="module")
def every(planted, effects):
    rows = pd.concat([planted.rows, effects, holds_from(effects)])
    return estimates(rows.fillna(dict.fromkeys(("neuron", "label", "stop", "edit"), "")))


def test_the_view_tells_what_was_planted(every, tmp_path):
    report = told(every, tmp_path, draw=False)
    assert outcome(report, "neurons that serve several candidates").verdict == "shown"
    for group in (OF[found.NEGATIVE], OF[found.CONFLICT], OF[FIRST], OF[SECOND]):
        assert outcome(report, "neurons of every other class", group=group).verdict == "shown"
    about = {"candidate": FIRST, "group": OF[FIRST]}
    assert outcome(report, "what is needed", **about).verdict == "shown"
    assert outcome(report, "what is enough", **about).verdict == "shown"
    about = {"candidate": SECOND, "group": OF[found.CONFLICT]}
    assert outcome(report, "what is needed", **about).verdict == "opposite"
    assert outcome(report, "miss of the path rule", candidate=FIRST).verdict == "opposite"
    about = {"candidate": FIRST, "group": OF[FIRST], "edit": ABLATED}
    assert outcome(report, "since when", **about).verdict == "shown"
    nothing = changed(every, {"measure": "neurons", "group": found.POSITIVE, "against": ""}, mean=0)
    report = told(nothing, tmp_path, draw=False)
    assert outcome(report, "neurons that serve several candidates").verdict == "open"


@pytest.mark.slow
def test_every_figure_is_drawn(every, tmp_path):
    told(every, tmp_path, draw=True)


def test_candidates_that_no_neuron_reaches_are_refused(toy):
    before, _ = toy.states
    one = drives(toy, before, before, scores(toy), "left", draws=2)
    units = dict.fromkeys(toy.readouts, "activation")
    for steps, intervals in (((0, 1), [one]), ((1,), [])):  # and where all checkpoints are one
        with pytest.raises(AnalysisError) as caught:
            found.coalitions(steps, intervals, units, NEURONS, 4, 0)
        assert str(caught.value) == (
            "no MLP lies before what first and second read, or none moved — where: candidates — "
            "expected: scalars that neurons can change, and checkpoints that differ — what to do: "
            "name heads of later layers, or other checkpoints"
        )

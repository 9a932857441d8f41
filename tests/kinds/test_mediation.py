"""Path effects on circuits that are known: identities, the planted paths, redundancy, nothing."""

from functools import partial

import pandas as pd
import pytest
import torch
from planted import untrained_twin
from pydantic import ValidationError
from viewing import changed, outcome, viewed

from circuit.estimates import EXCESS
from circuit.evidence import agreed, by_control
from circuit.experiments.changes import Where, edits, resample
from circuit.experiments.donors import OTHERS
from circuit.experiments.paths import routed, write_sites
from circuit.experiments.trial import LIKE_LENGTHS, Trial
from circuit.kinds.mediation.settings import Settings
from circuit.measures.paths.mediation import (
    AVERAGED,
    INTERACTION,
    PATH,
    RANDOM,
    TOTAL,
    averaged,
    mediation,
    path_effects,
    receivers_of,
    source_write,
)
from circuit.measuring import Table
from circuit.model.nodes import every_edge
from circuit.model.sites import stages
from circuit.model.tap import Tap
from circuit.scalars.base import over_mean, pick
from circuit.scalars.value import right_value, value_logits

EXACT = {"rtol": 0, "atol": 1e-9}
LARGEST = "largest path into each kind of input"
UNDER = "source that single paths understate most"
OVER = "source that single paths overstate most"


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(torch.arange(0, 171, 9)).crop()


def trial_of(circuit, events):
    layers, ids = circuit.decoder.settings.n_layers, circuit.vocabulary.value_ids
    sites = write_sites(layers) | set(stages(layers))
    return Trial.of(circuit.decoder, circuit.flat, events, ids, sites, LIKE_LENGTHS)


def answer(seen):
    """The right value's logit minus the mean of all others."""
    logits = value_logits(seen, pick(seen.sites["final_norm"], seen.events.prediction))
    return over_mean(logits, right_value(seen))


@pytest.mark.parametrize("source", ["embedding", "L0H1", "L0MLP"])
def test_parts_are_what_routed_passes_do_and_sum_to_what_a_tap_does(planted, events, source):
    trial = trial_of(planted, events)
    clean = trial.clean
    write = source_write(clean, source)
    damaged = write.mean((0, 1)).expand_as(write)
    found = path_effects(trial, source, damaged - write)
    onward = [edge for edge in every_edge(clean.decoder.settings) if edge[0] != source]
    receivers = [r for some in receivers_of(source, clean.decoder.settings).values() for r in some]
    assert [one for measure, one, _ in found if measure == PATH] == receivers
    for (measure, receiver, _), values in found.items():
        if measure == PATH:
            edges = [(source, receiver), *onward]
            left = routed(clean, clean.sites, edges, {source: damaged}).answering
            torch.testing.assert_close(values[:, 0], answer(clean) - answer(left), **EXACT)
    site, heads = {
        "embedding": ("embedding", None),
        "L0MLP": ("layer_0_mlp_write", None),
    }.get(source, (f"layer_{source[1]}_head_write", (int(source[-1]),) if "H" in source else None))
    other = damaged[:, :, None] if heads else damaged
    tap = Tap({"final_norm"}, edits((Where(site, heads=heads), resample(other))))
    clean.decoder.forward(clean.params, clean.events.tokens, tap)
    total = answer(clean) - answer(clean._replace(sites=tap.cache))
    torch.testing.assert_close(found[TOTAL, "", ""][:, 0], total, **EXACT)
    summed = sum(values for label, values in found.items() if label[0] in (PATH, INTERACTION))
    torch.testing.assert_close(summed, found[TOTAL, "", ""], **EXACT)
    shared = averaged(clean, source, damaged - write)
    assert {label[0] for label in shared} == {AVERAGED}
    torch.testing.assert_close(sum(shared.values()), found[TOTAL, "", ""], **EXACT)


def seen(rows, folder, **to):
    return viewed("mediation", {"rows": Table(rows, "one")}, folder, {"checkpoints": [0, 1]}, **to)


def measured(circuit, events, *flats, damage="mean"):
    """Rows of states as checkpoints 0, 1, … of a run."""
    ids, steps = circuit.vocabulary.value_ids, range(len(flats))
    return mediation(circuit.decoder, flats.__getitem__, steps, events, ids, damage, 0)


def number(rows, measure, **where):
    """One mean of the trained checkpoint."""
    keys = {"step": 1, "against": "", "measure": measure, **where}
    for key, value in keys.items():
        rows = rows[rows[key] == value]
    return rows["mean"].item()


@pytest.fixture(scope="module")
def planted_rows(planted, untrained, events):
    return measured(planted, events, untrained.flat, planted.flat)


def test_the_planted_paths_are_named_and_appear_with_the_circuit(planted, planted_rows, tmp_path):
    matching, previous = planted.matching_head, planted.previous_token_head
    largest = {
        "queries": f"embedding → {previous}.q",
        "keys": f"{previous} → {matching}.k",
        "values": f"embedding → {previous}.v",
        "the answer": f"{matching} → answer",
    }
    others = (f"{previous}.k", f"{matching}.q", f"{matching}.v")
    trained = planted_rows[(planted_rows["step"] == 1) & (planted_rows["measure"] == PATH)]
    large = {
        path: agreed(by_control(rows))
        for path, rows in trained.groupby("path")
        if by_control(rows)[f"{EXCESS} over {RANDOM}"].mean > 2
    }
    planted_paths = {*largest.values(), *(f"embedding → {one}" for one in others)}
    assert large == dict.fromkeys(planted_paths, "shown")
    report = seen(planted_rows, tmp_path)
    for kind, path in largest.items():
        told = outcome(report, LARGEST, input=kind)
        assert (told.verdict, told.about["path"]) == ("shown", path)
        assert path in report["answer"]
        assert number(planted_rows, "strongest_appears", path=path) == 1
    # Every one of the embedding's paths is needed: damaging all costs what each of them does.
    over = outcome(report, OVER)
    assert (over.verdict, over.about["source"]) == ("opposite", "embedding")
    assert "Single paths understate" not in report["answer"]


def test_a_largest_path_must_be_beyond_both_controls(planted_rows, tmp_path):
    less = planted_rows
    for kind, control in (("keys", OTHERS), ("values", RANDOM)):
        where = {"input": kind, "step": 1, "against": f"{EXCESS} over {control}"}
        less = changed(less, where, low=-1.0)
    report = seen(less, tmp_path)
    for kind, verdict in {"queries": "shown", "keys": "open", "values": "open"}.items():
        assert outcome(report, LARGEST, input=kind).verdict == verdict


def test_before_training_nothing_is_beyond_its_controls(planted_rows, tmp_path):
    first = planted_rows[planted_rows["step"] == 0]
    never = planted_rows[planted_rows["unit"] == "step"].assign(step=0, mean=float("nan"))
    nothing_said(pd.concat([first, never], ignore_index=True), tmp_path)


def nothing_said(rows, folder):
    report = seen(rows, folder, draw=False)
    assert len(report["findings"]) == 12
    assert [one for one in report["findings"] if one["verdict"] != "open"] == []
    assert report["marks"] == []


def test_of_two_heads_that_do_the_same_no_single_path_tells_it_all(redundant, events):
    trial = trial_of(redundant, events)
    heads, previous = (redundant.matching_head, redundant.second_head), "L0H1"
    assert previous == redundant.previous_token_head

    def means(effects, source):
        write = source_write(trial.clean, source)
        found = effects(source, write.mean((0, 1)) - write)
        return {label: float(values[:, 0].mean()) for label, values in found.items()}

    found = means(partial(path_effects, trial), previous)
    total = found[TOTAL, "", ""]
    for head in heads:
        assert 0.1 * total < found[PATH, f"{head}.k", "keys"] < 0.5 * total
    assert found[INTERACTION, "", ""] > 0.2 * total
    # What a head writes itself, and what the head that undoes half of it makes good.
    by = means(partial(averaged, trial.clean), heads[0])
    assert by[AVERAGED, "", "the answer"] > -by[AVERAGED, "", "values"] > 2


@pytest.mark.slow
def test_that_single_paths_understate_is_said(redundant, events, tmp_path):
    rows = measured(redundant, events, untrained_twin(redundant).flat, redundant.flat)
    report = seen(rows, tmp_path)
    told = outcome(report, UNDER)
    assert (told.verdict, told.about["source"]) == ("shown", redundant.previous_token_head)
    assert f"Single paths understate {redundant.previous_token_head}" in report["answer"]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["mean", "resample"])
@pytest.mark.parametrize("seed", range(3))
def test_untrained_models_show_nothing(planted, events, damage, seed, tmp_path):
    twins = [untrained_twin(planted, one).flat for one in (seed + 10, seed)]
    nothing_said(measured(planted, events, *twins, damage=damage), tmp_path)


def test_damage_of_an_unknown_kind_is_refused():
    with pytest.raises(ValidationError, match="Input should be 'mean' or 'resample'"):
        Settings(kind="mediation", ablation="noise")

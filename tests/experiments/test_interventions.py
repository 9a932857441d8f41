"""Edits of states: identities, what was planted moves the answer, and nothing in a twin does."""

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from circuit.estimates import EXCESS
from circuit.experiments import interventions as made
from circuit.experiments.interventions import ANOTHER, CHANGED, CONTRAST, DIVERGENCE, RANDOM
from circuit.experiments.subspaces import Subspace, energy, energy_matched, other_identity
from circuit.experiments.trial import READOUT
from circuit.scalars.behaviour import soft_margin
from circuit.task.events import read_events
from circuit.task.frozen import pair_events
from circuit.task.pairs import build_pairs

ROLES = ("prediction", "support_value", "value_distractors", "causal_prefix")
SITES = ("embedding", "layer_0_post_attn", "layer_1_post_attn", "layer_1_post_mlp")
SUBSPACES = {
    "values": (Subspace("embedding_value_identity"), (4, 16)),
    "keys": (Subspace("embedding_key_identity"), (3,)),
}
DOSES = (-0.5, 0.0, 0.25, 0.5)


@pytest.fixture(scope="module")
def sides(planted, planted_benchmark):
    """Clean and corrupted events of every kind of pair."""
    pairs = build_pairs(planted_benchmark).pairs
    return {
        kind: tuple(pair_events(some, planted.vocabulary, s) for s in ("clean", "corrupted"))
        for kind, some in pairs.groupby("kind")
    }


@pytest.fixture(scope="module")
def benches(planted):
    """A function from a state to its bench."""

    def bench(flat, step=0):
        where = made.places(SITES, ROLES, planted.decoder.settings)
        inside = made.places(SITES[1:3], ROLES[:2], planted.decoder.settings)
        return made.Bench(
            planted.decoder, flat, planted.vocabulary.value_ids, step, where, inside,
            lambda events: {"soft_margin": soft_margin()}, 13, 0,
        )  # fmt: skip

    return bench


@pytest.fixture(scope="module")
def events(planted, planted_benchmark):
    return read_events(planted_benchmark.splits["validation_iid"], planted.vocabulary, "last")


@pytest.fixture(scope="module")
def fit(planted, planted_benchmark):
    return read_events(planted_benchmark.splits["train"], planted.vocabulary, "last")


@pytest.fixture(scope="module")
def patched(benches, sides, planted):
    bench = benches(planted.flat)
    return pd.concat([made.patches(bench, kind, *pair) for kind, pair in sides.items()])


def number(rows, against="", **keys):
    """The one row of these keys."""
    chosen = rows[rows["against"] == against]
    for key, value in keys.items():
        chosen = chosen[chosen[key] == value]
    [row] = chosen.to_dict("records")
    return row


def test_clean_patched_into_clean_changes_nothing(benches, sides, planted):
    """At every kind of site: heads' parts, patterns, MLPs, neurons of two layers, scales."""
    names = ("stages", "heads.q", "heads.k", "heads.v", "heads.z", "heads.pattern", "mlp_writes")
    names = (*names, "scales", "neurons.some", "layer_1_pattern", "final_norm")
    sets = {"some": ("L0N1", "L1N3", "L1N4")}
    every = made.places(names, ROLES[:2], planted.decoder.settings, sets)
    assert len(every) == 2 * (5 + 5 * 8 + 2 + 5 + 1 + 1 + 1)
    bench, clean = benches(planted.flat), sides["support_value"][0]
    trial, scalars = bench.trial(clean, every), bench.scalars(clean)
    edits = {
        at: at.put(clean.role_mask(at.role), partial(made.states, trial.clean)) for at in every
    }
    base = trial.unedited(scalars)
    for values in trial.run(edits, scalars).values():
        for name in scalars:
            assert np.abs(values[name] - base[name]).max() < 1e-11


def test_all_states_of_the_corrupted_program_are_the_corrupted_program(patched):
    for kind in ("support_value", "query_key", "recency"):
        at = {"pair": kind, "role": "causal_prefix", "measure": f"{CONTRAST}_share"}
        for site in SITES:
            assert number(patched, site=site, **at)["mean"] == pytest.approx(1, abs=1e-4)
    whole = patched[(patched["pair"] == "distractor") & (patched["measure"] == "contrast_share")]
    assert whole["mean"].isna().all()  # nothing to take shares of


def test_the_patch_of_the_planted_variable_moves_the_answer_and_a_distractor_does_not(patched):
    share, logits = {"measure": "contrast_share"}, {"measure": CONTRAST}
    at = {"site": "layer_0_post_attn"}
    for kind, role in (("support_value", "support_value"), ("query_key", "prediction")):
        assert number(patched, pair=kind, role=role, **at, **share)["mean"] > 0.99
        excess = number(patched, f"{EXCESS} over {CHANGED}", pair=kind, role=role, **at, **logits)
        assert excess["low"] > 0
        own = number(patched, pair=kind, role=role, **at, **logits)
        assert own["low"] > number(patched, ANOTHER, pair=kind, role=role, **at, **logits)["high"]
        assert own["by_construction"] == ""
    value = {"pair": "support_value", **share}
    assert number(patched, role="prediction", site="layer_0_post_attn", **value)["mean"] < 0.01
    late = number(patched, role="prediction", site="layer_1_post_attn", **value)
    assert late["mean"] > 0.99
    assert late["by_construction"] == READOUT
    early = number(patched, role="support_value", site="embedding", **value)
    assert early["by_construction"] == made.CORRUPTION
    null = patched[(patched["pair"] == "distractor") & (patched["measure"] == CONTRAST)]
    assert null.loc[null["against"] == "", "mean"].abs().max() < 0.01
    paired = null[null["against"].str.startswith(EXCESS)]
    assert not (paired["low"] > 0).any()


def test_the_rival_is_the_other_answer_or_what_the_corruption_brings(sides):
    for kind, (clean, corrupted) in sides.items():
        for i, rival in enumerate(made.rivals(clean, corrupted).tolist()):
            before, after = clean.tokens[i].tolist(), corrupted.tokens[i].tolist()
            if kind == "distractor":
                [brought] = [b for a, b in zip(before, after, strict=True) if a != b]
                assert rival == brought
            else:
                assert rival == int(corrupted.answer[i]) != int(clean.answer[i])


def test_when_a_patch_is_shown_to_stay(benches, sides, planted, untrained, patched):
    untold = made.patches(benches(untrained.flat, 5), "support_value", *sides["support_value"])
    formed = patched[patched["pair"] == "support_value"].assign(step=9)
    [found] = made.appearance(pd.concat([untold, formed])).to_dict("records")
    assert (found["mean"], found["role"]) == (9, "support_value")
    never = made.appearance(pd.concat([formed.assign(step=5), untold.assign(step=9)]))
    assert never["mean"].isna().all()


def test_replaced_states_matter_where_the_planted_circuit_reads(benches, planted, events):
    rows = made.replaced(benches(planted.flat), ("zero", "mean", "resample"), events)
    at = {"measure": "soft_margin", "site": "layer_0_post_attn"}
    for edit in ("zero", "mean", "resample"):
        for role in ("prediction", "support_value"):
            for control in (made.PLACES, made.OTHERS):
                paired = f"{EXCESS} over {control}"
                assert number(rows, paired, edit=edit, role=role, **at)["low"] > 0
    other = number(rows, edit="mean", role="value_distractors", **at)
    assert other["mean"] < 0.1 * number(rows, edit="mean", role="support_value", **at)["mean"]
    every = rows[rows["role"] == "causal_prefix"]
    assert made.PLACES not in set(every["against"])  # there are no other positions


@pytest.fixture(scope="module")
def ranked(benches, planted, events):
    return made.ranks(benches(planted.flat), SUBSPACES, 20, events)


def test_values_are_found_at_their_planted_rank_and_keys_where_they_are_asked(ranked):
    at = {"measure": "soft_margin_share", "site": "layer_0_post_attn"}
    value = {"subspace": "values", "role": "support_value", **at}
    gone, part = (number(ranked, edit="remove", rank=rank, **value) for rank in (16, 4))
    assert gone["mean"] > 0.5 > part["mean"]
    assert gone["low"] > number(ranked, made.IDENTITY, edit="remove", rank=16, **value)["high"]
    band = number(ranked, RANDOM, edit="remove", rank=16, **value)
    assert band["low"] <= band["mean"] <= band["high"]
    key = number(ranked, edit="remove", rank=3, subspace="keys", role="prediction", **at)
    assert key["mean"] > 0.5
    late = ranked[(ranked["site"] == "layer_1_post_attn") & (ranked["role"] == "prediction")]
    assert set(late["by_construction"]) == {READOUT}


class Everything(Subspace):
    """All directions of the stream."""

    def basis(self, seen, theta, rank, fit=False):
        return torch.eye(rank, dtype=torch.float64)


def test_without_any_deviation_all_is_lost_and_with_all_of_it_all_comes_back(
    benches, planted, events
):
    width = planted.decoder.settings.d_model
    rows = made.ranks(benches(planted.flat), {"every": (Everything("every"), (width,))}, 20, events)
    at = {"subspace": "every", "measure": "soft_margin_share", "site": "layer_0_post_attn"}
    for edit in ("remove", "keep"):
        share = number(rows, edit=edit, role="support_value", **at)["mean"]
        assert share == pytest.approx(1, abs=1e-4)


def test_random_subspaces_hold_the_energy_and_are_random():
    generator = torch.Generator().manual_seed(3)
    spread = torch.diag(torch.logspace(0, -2, 24, dtype=torch.float64))
    for rank, start in ((1, 4), (4, 3), (8, 10)):
        basis = torch.eye(24, dtype=torch.float64)[:, start : start + rank]
        drawn = [energy_matched(spread, basis, generator) for _ in range(2)]
        for one in drawn:
            torch.testing.assert_close(one.T @ one, torch.eye(rank, dtype=torch.float64))
            assert energy(one, spread) == pytest.approx(energy(basis, spread), rel=1e-3)
        overlap = float((drawn[0].T @ drawn[1]).square().sum()) / rank
        assert overlap < 0.9


def test_each_identity_has_the_other_one_for_control():
    value = Subspace("embedding_value_identity")
    assert other_identity(value) == Subspace("embedding_key_identity")
    assert other_identity(other_identity(value)) == value
    assert other_identity(Subspace("head_ov_output", "L1H2")) is None


@pytest.fixture(scope="module")
def dosed(benches, planted, sides, fit):
    return made.doses(benches(planted.flat), DOSES, *sides["support_value"], fit)


def test_doses_move_the_answer_as_built(dosed):
    at = {"site": "layer_0_post_attn", "role": "support_value"}
    moved = [number(dosed, measure=CONTRAST, dose=dose, **at)["mean"] for dose in DOSES[1:]]
    assert moved[0] == 0
    assert moved == sorted(moved)
    assert moved[-1] > 8  # past the middle between the two values: 16 logits apart
    for control in (made.DIRECTIONS, made.PERMUTED):
        paired = f"{EXCESS} over {control}"
        assert number(dosed, paired, measure=CONTRAST, dose=0.25, **at)["low"] > 0
        own = number(dosed, measure=DIVERGENCE, dose=0.5, **at)
        assert own["mean"] < number(dosed, control, measure=DIVERGENCE, dose=0.5, **at)["mean"]
    back = {"site": "layer_1_post_attn", "role": "prediction", "measure": CONTRAST}
    assert number(dosed, dose=-0.5, **back)["high"] < 0
    late = {"site": "layer_1_post_attn", "role": "support_value"}
    assert number(dosed, measure=CONTRAST, dose=0.5, **late)["mean"] == 0


def test_the_divergence_leaves_out_both_answers(benches, planted, sides):
    bench, (clean, corrupted) = benches(planted.flat), sides["support_value"]
    seen, rival = bench.trial(clean, ()).clean, made.rivals(clean, corrupted)
    measured = made.divergence(seen, rival)
    assert measured(seen).abs().max() < 1e-12
    state = seen.sites["final_norm"]
    row = planted.views["embedding.token"][rival]
    towards = seen._replace(sites={**seen.sites, "final_norm": state + row[:, None]})
    logits = [s.sites["final_norm"][0, clean.prediction[0]] for s in (seen, towards)]
    p, q = ((planted.views["embedding.token"] @ x).tolist() for x in logits)
    kept = [i for i in range(len(p)) if i not in (int(clean.answer[0]), int(rival[0]))]
    p, q = ([np.exp(x[i]) / sum(np.exp(x[j]) for j in kept) for i in kept] for x in (p, q))
    by_hand = sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))
    assert float(measured(towards)[0]) == pytest.approx(by_hand, abs=1e-9)


def test_an_untrained_twin_shows_nothing(benches, untrained, sides, events, fit):
    bench = benches(untrained.flat)
    rows = [made.patches(bench, kind, *pair) for kind, pair in sides.items()]
    rows += [made.replaced(bench, ("mean", "resample"), events)]
    rows += [made.doses(bench, DOSES, *sides["support_value"], fit)]
    told = pd.concat(rows)
    told = told[~told["measure"].str.endswith("_share") & (told["role"] != "causal_prefix")]
    told = told[told["by_construction"] == ""]
    paired = told[told["against"].str.startswith(f"{EXCESS} over")]
    keys = ["edit", "pair", "site", "role", "measure", "dose"]
    low = paired.groupby(keys, dropna=False)["low"].min()  # all controls must agree
    assert not (low > 0).any()


def test_what_the_planted_head_looks_up_and_copies(planted, sides, benches):
    """It looks up by its query, copies by its value at the support value, and puts out the answer.

    Its pattern alone looks up another key, but another value is where the pattern looked before.
    """
    head, alone = planted.matching_head, dict.fromkeys(("q", "k", "v", "z", "pattern"))
    names = [f"{head}.{part}" for part in alone]
    where = made.places(names, ROLES[:2], planted.decoder.settings)
    bench = dataclasses.replace(benches(planted.flat), places=where)
    value, key = (made.patches(bench, k, *sides[k]) for k in ("support_value", "query_key"))

    def share(rows, part, role):
        at = {"site": f"{head}.{part}", "role": role, "measure": "contrast_share"}
        return number(rows, **at)["mean"]

    for rows, moves in (
        (value, {("v", "support_value"), ("z", "prediction")}),
        (key, {("q", "prediction"), ("pattern", "prediction"), ("z", "prediction")}),
    ):
        for part in alone:
            for role in ROLES[:2]:
                expected = (0.99, 1.01) if (part, role) in moves else (-0.01, 0.01)
                assert expected[0] < share(rows, part, role) < expected[1], (part, role)
    own = number(key, site=f"{head}.pattern", role="prediction", measure=CONTRAST)
    assert (
        own["low"]
        > number(key, ANOTHER, **{k: own[k] for k in ("site", "role", "measure")})["high"]
    )


def test_attention_of_another_query_is_carried_over_by_distance(planted, events, benches):
    """What would lie before the first token falls on it, so rows go on summing to 1."""
    [at] = made.places(["L0H1.pattern"], ["prediction"], planted.decoder.settings)
    trial = benches(planted.flat).trial(events, [at])
    own = made.states(trial.clean, at.where[0])
    mean = own[events.role_mask("prediction")].mean(0)
    edit = at.put(events.role_mask("prediction"), lambda _: mean)
    [(_, chain)] = edit.inside(planted.decoder.settings).items()
    after = chain[0](trial.clean.sites["layer_0_pattern"])[:, 1]
    for i, q in enumerate(events.prediction.tolist()):
        by_hand = torch.zeros(own.shape[1], dtype=torch.float64)
        for distance, mass in enumerate(mean[0].tolist()):
            by_hand[max(q - distance, 0)] += mass
        torch.testing.assert_close(after[i, q], by_hand)
        assert float(after[i, q].sum()) == pytest.approx(1)
    untouched = ~events.role_mask("prediction")
    before = trial.clean.sites["layer_0_pattern"][:, 1]
    torch.testing.assert_close(after[untouched], before[untouched])

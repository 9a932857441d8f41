"""Causal effects and what they consist of, against passes edited by a tap and sums by hand."""

import re

import numpy as np
import pytest
import torch
from path_models import three_layers
from scipy.stats import spearmanr

from circuit.experiments.donors import NEAREST, Shuffle, counterparts, exchanged
from circuit.experiments.edits import Removed, components, removal_sites, replaced, write_places
from circuit.experiments.trial import Trial
from circuit.measures.paths.answer import answer_readout, answer_weights
from circuit.measures.paths.component_effects import (
    AGREEMENT,
    RANDOM,
    component_effects,
    effects,
    parts_of,
    random_sets,
    replacements,
    write_norms,
    written,
)
from circuit.measures.paths.direct import BIASES, direct_paths, path_sites
from circuit.model.tap import Tap
from circuit.scalars.base import pick

SITES = {"H": "z", "MLP": "mlp_write", "N": "neurons"}
SETS = {
    "L0H1": ["L0H1"],
    "L0MLP": ["L0MLP"],
    "L2MLP": ["L2MLP"],
    "neurons": ["L0N3", "L1N0", "L1N7"],
    "several": ["L0H0", "L1H1", "L1MLP", "L0N5"],
}
ABLATIONS = ("mean", "resample")


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(torch.arange(0, 171, 8)).crop()


@pytest.fixture(scope="module")
def trial(planted, events):
    """A model in which every parameter matters."""
    decoder, flat = three_layers(planted.vocabulary)
    sites = path_sites(3) | removal_sites(3) | {"final_norm"}
    return Trial.of(decoder, flat, events, planted.vocabulary.value_ids, sites)


@pytest.fixture(scope="module")
def read(trial):
    clean = trial.clean
    return answer_readout(clean, answer_weights(clean.events, clean.value_ids))


@pytest.fixture(scope="module")
def states(trial):
    donor = exchanged(len(trial.clean.events), 0)
    shuffle = Shuffle(donor, counterparts(trial.clean.events, donor))
    return replacements(trial.clean, shuffle), shuffle


@pytest.fixture(scope="module")
def found(trial, read, states):
    return {ablation: effects(trial, read, SETS, states[0][ablation]) for ablation in ABLATIONS}


def tapped(trial, members, put):
    """The sites that a whole pass leaves in which a tap edits what the members write."""
    edits = {}
    for name in members:
        layer, kind, number = re.match(r"L(\d)(H|MLP|N)(\d*)", name).groups()
        site = f"layer_{layer}_{SITES[kind]}"

        def change(value, site=site, kind=kind, number=number):
            if kind == "MLP":
                return put[site]
            value = value.clone()
            value[:, :, int(number)] = put[site][:, :, int(number)]
            return value

        edits.setdefault(site, []).append(change)
    clean = trial.clean
    tap = Tap(capture=clean.sites, edits=edits)
    clean.decoder.forward(clean.params, clean.events.tokens, tap)
    return tap.cache


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("name", SETS)
def test_an_effect_is_direct_attribution_later_writes_and_the_scale(
    trial, read, states, found, name, ablation
):
    """Every part by hand from a pass edited by a tap; they sum to the answer's change."""
    clean, put = trial.clean, states[0][ablation]
    at, after = clean.events.prediction, tapped(trial, SETS[name], put)
    edited = clean._replace(sites=after)
    lost = (read.rows @ pick(after["final_norm"], at)[:, :, None])[..., 0]
    part = found[ablation][name]
    torch.testing.assert_close(part["effect"], read.whole - lost, rtol=0, atol=1e-9)
    # What writers write, biases aside: their own change and that of all others.
    own = direct_paths(clean, read)
    changed = own.values - direct_paths(edited, read).values
    direct = torch.zeros_like(lost)
    for where in write_places(SETS[name], clean.decoder.settings):
        gone = pick(clean.sites[where.site] - put[where.site], at)
        direct += (read.direction @ written(clean, where, gone)[:, :, None])[..., 0]
    torch.testing.assert_close(part["direct"], direct, rtol=0, atol=1e-9)
    x = pick(after["layer_2_post_mlp"], at)
    ratio = pick(after["final_norm_scale"], at) / pick(clean.sites["final_norm_scale"], at)
    scale = (read.direction @ x[:, :, None])[..., 0] * (1 - 1 / ratio)
    torch.testing.assert_close(part["scale"], scale, rtol=0, atol=1e-9)
    if not any(one.endswith("MLP") for one in SETS[name]):  # a tap leaves an MLP's neurons alone
        assert changed[..., [kind == BIASES for kind in own.kinds]].abs().max() == 0
        later = changed.sum(-1) - direct
        torch.testing.assert_close(part["through_others"], later, rtol=0, atol=1e-9)
    total = part["direct"] + part["through_others"] + part["scale"]
    torch.testing.assert_close(total, read.whole - lost, rtol=0, atol=1e-9)
    if name == "L2MLP":
        assert (part["through_others"] == 0).all()


def test_direct_attributions_embeddings_and_biases_sum_to_the_answer(trial, read, states):
    """With what stands in the components' place, which is the same for all programs."""
    every = components(trial.clean.decoder.settings)
    for put in states[0].values():
        split = effects(trial, read, {name: [name] for name in every}, put)
        paths = direct_paths(trial.clean, read)
        rest = [name not in every and not name.endswith("b_out") for name in paths.names]
        total = paths.values[..., rest].sum(-1)
        for name in every:
            (where,) = write_places([name], trial.clean.decoder.settings)
            stand_in = pick(put[where.site], trial.clean.events.prediction)
            stand_in = written(trial.clean, where, stand_in)
            total += split[name]["direct"] + (read.direction @ stand_in[:, :, None])[..., 0]
        torch.testing.assert_close(total, read.whole, rtol=0, atol=1e-9)


def test_the_mean_in_a_places_stead_is_the_mean_of_the_write(trial, read, found):
    names = ("L0H1", "L0MLP", "L2MLP")
    left = trial.passes({name: Removed(name, "mean") for name in names})
    for name, _, seen in left:
        state = pick(seen.sites["final_norm"], seen.events.prediction)
        effect = read.whole - (read.rows @ state[:, :, None])[..., 0]
        torch.testing.assert_close(found["mean"][name]["effect"], effect, rtol=0, atol=1e-9)


def test_resampled_writes_are_those_of_one_other_event_at_the_place_alike(trial, states):
    found, shuffle = states
    events, z = trial.clean.events, trial.clean.sites["layer_1_z"]
    donor = shuffle.donor
    assert (donor != torch.arange(len(events))).all()
    for role in ("prediction", "support_value"):
        here, there = events.role_position(role), events.role_position(role)[donor]
        assert torch.equal(pick(found["resample"]["layer_1_z"], here), pick(z[donor], there))


def test_random_sets_exchange_each_member_for_one_alike_of_like_norm(trial):
    norms = write_norms(trial.clean)
    rng = np.random.default_rng(0)
    members = ("L1N3", "L1N4", "L0N1")
    sets = random_sets(members, norms, 30, rng)
    assert len(set(sets)) == len(sets) > 20
    for one in sets:
        assert not set(one) & set(members)
        assert sorted(name[:3] for name in one) == ["L0N", "L1N", "L1N"]
        (only,) = (name for name in one if name.startswith("L0N"))
        pool = [n for n in norms if n.startswith("L0N") and n != "L0N1"]
        near = sorted(pool, key=lambda n: abs(norms[n] - norms["L0N1"]))[:NEAREST]
        assert only in near
    assert set(random_sets(("L1H0",), norms, 100, rng)) == {
        (f"L{layer}H{head}",) for layer in range(3) for head in range(2) if (layer, head) != (1, 0)
    }
    assert random_sets(("L0MLP", "L1MLP"), norms, 20, rng) == []


def test_norms_are_those_of_writes_about_their_mean(trial):
    clean, norms = trial.clean, write_norms(trial.clean)
    inside = clean.events.causal_prefix
    active = clean.sites["layer_1_neurons"][inside]
    write = active[:, 4, None] * clean.params["layer_1.mlp.W_out"][4]
    by_hand = (write - write.mean(0)).square().sum(1).mean().sqrt()
    assert norms["L1N4"] == pytest.approx(float(by_hand))
    write = clean.sites["layer_2_z"][inside][:, 1] @ clean.params["layer_2.attn.W_O"][1]
    by_hand = (write - write.mean(0)).square().sum(1).mean().sqrt()
    assert norms["L2H1"] == pytest.approx(float(by_hand))


@pytest.fixture(scope="module")
def rows(planted, events, trial):
    decoder, flat = three_layers(planted.vocabulary)
    return component_effects(
        decoder, lambda _: flat, [7], events, planted.vocabulary.value_ids,
        {"some": ["L0N3", "L0N4"]}, {"both": ["L1H0", "some"]}, 20, 3,
    )  # fmt: skip


def test_interactions_are_what_is_lost_together_beyond_the_single_effects(rows):
    own = rows[(rows["against"] == "") & (rows["step"] == 7)]
    own = own.set_index(["part", "ablation", "measure"])["mean"]
    for name, singles in {"L0H1 + L2MLP": ["L0H1", "L2MLP"], "both": ["L1H0", "some"]}.items():
        for ablation in ABLATIONS:
            total = sum(own[single, ablation, "effect"] for single in singles)
            assert own[name, ablation, "sum_of_singles"] == pytest.approx(total)
            beyond = own[name, ablation, "effect"] - total
            assert own[name, ablation, "interaction"] == pytest.approx(beyond, abs=1e-12)
    assert own["", "", "residual"] < 1e-9


def test_agreement_is_that_of_scipy_over_heads_and_mlps(rows):
    for ablation in ABLATIONS:
        of = rows[(rows["ablation"] == ablation) & (rows["against"] == "")]
        alone = of[of["kind"].isin(["head", "MLP"])].pivot(
            index="part", columns="measure", values="mean"
        )
        direct, effect = alone["direct"], alone["effect"]
        agreement = of[of["kind"] == "components"].set_index("measure")
        expected = {
            "sign_agreement": (np.sign(direct) == np.sign(effect)).mean(),
            "rank_correlation": spearmanr(direct, effect).statistic,
            "linear_correlation": np.corrcoef(direct, effect)[0, 1],
        }
        assert agreement["mean"].to_dict() == pytest.approx(expected)
        assert set(agreement.index) == set(AGREEMENT)
        assert (agreement["low"] <= agreement["mean"]).all()
        assert (agreement["mean"] <= agreement["high"]).all()


def test_sets_stand_beside_random_ones(rows):
    drawn = rows[rows["against"] == RANDOM]
    assert set(drawn["part"]) == {"some", "both"}
    assert set(drawn["measure"]) == {"effect"}
    assert (drawn["low"] < drawn["high"]).all()
    own = rows[(rows["against"] == "") & (rows["measure"] == "effect")]
    own = own.set_index(["part", "ablation"])["mean"]
    assert all(own[one.part, one.ablation] != one.mean for one in drawn.itertuples())


def test_pairs_are_all_pairs_of_heads_and_mlps(trial):
    parts = parts_of(trial.clean.decoder, {}, {})
    every = components(trial.clean.decoder.settings)
    pairs = [part for part in parts.values() if part.kind == "pair"]
    assert len(pairs) == len(every) * (len(every) - 1) // 2
    assert len(parts) == len(every) + len(pairs)


def test_a_place_holds_just_its_neurons(trial, states):
    clean, put = trial.clean, states[0]["mean"]
    places = write_places(["L1N7", "L1N2"], clean.decoder.settings)
    (edit,) = replaced(places, put).inside(clean.decoder.settings)["layer_1_neurons"]
    before = clean.sites["layer_1_neurons"]
    changed = edit(before) != before
    assert changed[..., [2, 7]].all()
    assert changed.sum() == changed[..., [2, 7]].sum()

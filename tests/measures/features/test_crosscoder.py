"""A temporal crosscoder finds planted features and their births; identities, file, resume."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn.functional import normalize

from circuit.artifacts import write_tensors
from circuit.errors import AnalysisError, CheckpointError, MismatchError
from circuit.measures.features import crosscoder as made
from circuit.measures.features.births_of_features import lives
from circuit.measures.features.crosscoder import (
    AXES,
    Crosscoder,
    alone,
    fit_crosscoder,
    load_crosscoder,
    scale_states,
    write_crosscoder,
)
from circuit.toys.planted_births import planted_births

SMALL = {"n": 2400, "checkpoints": 6, "width": 16, "features": 18, "rate": 0.08}


def asked(**changes):
    fit = {"size": 32, "active": 1.6, "steps": 700, "batch_size": 128, "learning_rate": 1e-2}
    return SimpleNamespace(**{**fit, **changes})


def scaled(states):
    """States scaled by their first three quarters."""
    return scale_states(states.copy(), np.arange(len(states)) < 0.75 * len(states))


def found_in(world, fitted, at):
    """MCC with what was planted; recall of births, share of false ones, recall of deaths."""
    truth = torch.from_numpy(world.decoder / at.scales.numpy()[:, None]).float()
    cosine = normalize(truth.flatten(1), dim=1) @ normalize(fitted.W_dec.flatten(1), dim=1).T
    planted, match = linear_sum_assignment(-cosine.numpy())
    held = at.rows(np.setdiff1d(np.arange(len(at.states)), at.fits))
    alive = (fitted.encode(held) > 0).double().mean(0).numpy() > 1e-3
    born, gone = lives(fitted.norms.numpy())
    right, ends = lives(truth.norm(dim=2).numpy())
    assert right.tolist() == world.born.tolist()
    close = alive[match] & (born[match] > 0) & (abs(born[match] - right) <= 1)
    claimed = np.flatnonzero(alive & (born > 0))
    nearest = right[cosine.argmax(0).numpy()[claimed]]
    false = (nearest == 0) | (abs(nearest - born[claimed]) > 1)
    died = ends < world.gain.shape[1]
    return SimpleNamespace(
        mcc=float(cosine[planted, match].mean()),
        recall=close[right > 0].mean(),
        false=false.mean() if len(false) else 0.0,
        deaths=(abs(gone[match] - ends) <= 1)[died].mean(),
    )


@pytest.fixture(scope="module")
def small():
    world = planted_births(seed=1, **SMALL)
    at = scaled(world.states)
    return world, at, fit_crosscoder(at, asked(), 0)


def test_planted_features_are_found_and_born_when_they_were(small):
    world, at, fitted = small
    found = found_in(world, fitted, at)
    assert found.mcc > 0.95
    assert found.recall >= 0.95
    assert found.false <= 0.05
    assert found.deaths == 1
    frozen = found_in(world, fit_crosscoder(at, asked(steps=200), 0, frozen=True), at)
    assert frozen.mcc < 0.5


@pytest.mark.slow
def test_five_seeds_find_planted_features_and_births():
    """The bounds that the crosscoder is held to."""
    found, frozen = [], []
    for seed in range(5):
        world = planted_births(n=6000, seed=seed)
        at = scaled(world.states)
        fit = asked(size=64, active=2.5, steps=3000, batch_size=256)
        found.append(found_in(world, fit_crosscoder(at, fit, seed), at))
        fit.steps = 500
        frozen.append(found_in(world, fit_crosscoder(at, fit, seed, frozen=True), at))
    assert min(one.mcc for one in found) >= 0.95
    assert max(one.mcc for one in frozen) < 0.5
    assert np.mean([one.recall for one in found]) >= 0.95
    assert np.mean([one.false for one in found]) <= 0.05
    assert min(one.deaths for one in found) == 1


def test_copies_of_one_checkpoint_have_equal_norms_and_no_births():
    world = planted_births(seed=1, **SMALL)
    states = np.repeat(world.states[:, -1:], 5, axis=1)
    fitted = fit_crosscoder(scaled(states), asked(steps=80), 0)
    norms = fitted.norms
    torch.testing.assert_close(norms, norms[:, :1].expand_as(norms), rtol=1e-4, atol=1e-6)
    assert (lives(norms.numpy())[0] == 0).all()


def test_the_order_of_checkpoints_means_nothing_to_a_crosscoder():
    """So shuffled time is an order of its curves."""
    world, order = planted_births(seed=1, **SMALL), [3, 0, 5, 1, 4, 2]
    slow = {"steps": 30, "learning_rate": 1e-3}
    plain = fit_crosscoder(scaled(world.states), asked(**slow), 0)
    turned = fit_crosscoder(scaled(world.states[:, order]), asked(**slow), 0)
    cosine = normalize(plain.W_dec[:, order].flatten(1)) @ normalize(turned.W_dec.flatten(1)).T
    assert (cosine.amax(1) > 0.999).all()
    torch.testing.assert_close(
        turned.norms[cosine.argmax(1)], plain.norms[:, order], rtol=0, atol=5e-3
    )


def test_the_same_seed_gives_the_same_bits_and_a_killed_fit_goes_on_to_them(
    small, tmp_path, monkeypatch
):
    _, at, _ = small
    whole, again, other = (fit_crosscoder(at, asked(steps=30), seed) for seed in (5, 5, 6))
    assert all(torch.equal(getattr(whole, name), getattr(again, name)) for name in AXES)
    assert not torch.equal(whole.W_dec, other.W_dec)
    taken, advance = [], made.advance

    def counting(*given):
        if len(taken) == 4 * 17:  # four tensors a step: killed in the 18th
            raise KeyboardInterrupt
        taken.append(given[-1])
        advance(*given)

    monkeypatch.setattr(made, "_SAVED", 7)
    monkeypatch.setattr(made, "advance", counting)
    saved = tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit_crosscoder(at, asked(steps=30), 5, saved=saved)
    assert saved.is_file()
    taken.clear()
    monkeypatch.setattr(made, "advance", lambda *given: (taken.append(given[-1]), advance(*given)))
    resumed = fit_crosscoder(at, asked(steps=30), 5, saved=saved)
    assert taken[0] == 14
    assert all(torch.equal(getattr(whole, name), getattr(resumed, name)) for name in AXES)
    taken.clear()
    finished = fit_crosscoder(at, asked(steps=30), 5, saved=saved)
    assert not taken
    assert torch.equal(whole.W_dec, finished.W_dec)


def test_the_state_of_another_fit_is_not_gone_on_from(small, tmp_path):
    _, at, _ = small
    saved = tmp_path / "fit.safetensors"
    fit_crosscoder(at, asked(steps=12), 5, saved=saved)
    whole = fit_crosscoder(at, asked(steps=12), 6)
    other = fit_crosscoder(at, asked(steps=12), 6, saved=saved)
    assert torch.equal(whole.W_dec, other.W_dec)


def test_what_it_encodes_and_decodes_is_the_formula(small):
    """Written again, checkpoint by checkpoint, in float64."""
    _, at, fitted = small
    part = {name: getattr(fitted, name).double().numpy() for name in AXES}
    x = at.states[:40].astype(np.float64)
    drive = part["b_enc"] + sum(x[:, t] @ part["W_enc"][t] for t in range(x.shape[1]))
    active = np.where(drive > part["threshold"], drive, 0) * (drive > 0)
    found = fitted.encode(torch.from_numpy(x).flatten(1))
    np.testing.assert_allclose(found, active, atol=1e-12)
    decoded = fitted.decode(found).unflatten(1, x.shape[1:]).numpy()
    for t in range(x.shape[1]):
        mine = active @ part["W_dec"][:, t] + part["b_dec"][t]
        np.testing.assert_allclose(decoded[:, t], mine, atol=1e-12)
    assert 0.5 < (active > 0).sum(1).mean() < 4


def test_folding_the_scale_into_one_checkpoints_dictionary_changes_nothing(small):
    world, _, fitted = small
    states = torch.from_numpy(world.states[:50]).double()
    scaled_states = (states - fitted.means) / fitted.scales[:, None]
    ones, share = torch.ones(fitted.size), fitted.b_enc / states.shape[1]
    parts = [fitted.dictionary(t, ones, share) for t in range(states.shape[1])]
    drive = sum(part.drive(states[:, t]) for t, part in enumerate(parts))
    torch.testing.assert_close(drive, fitted.drive(scaled_states.flatten(1)), rtol=1e-5, atol=1e-5)
    active = fitted.encode(scaled_states.flatten(1))
    decoded = fitted.decode(active).unflatten(1, scaled_states.shape[1:])
    for t, part in enumerate(parts):
        raw = decoded[:, t] * fitted.scales[t] + fitted.means[t]
        torch.testing.assert_close(part.decode(active), raw, rtol=1e-5, atol=1e-5)


def test_the_last_checkpoint_alone_tells_most_of_what_fires(small):
    world, at, fitted = small
    last = world.gain.shape[1] - 1
    dictionary = fitted.dictionary(last, *alone(fitted, at, last))
    held = np.setdiff1d(np.arange(len(at.states)), at.fits)
    active = fitted.encode(at.rows(held))
    own = dictionary.encode(torch.from_numpy(world.states[held, last]))
    norms = fitted.norms[:, last]
    there = (active > 0).double().mean(0) * (norms > 0.8) > 0.02
    both = torch.stack([active[:, there].flatten(), own[:, there].flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.8


def test_states_are_scaled_to_one_size_about_their_mean_at_every_checkpoint(small):
    world, at, _ = small
    fits = at.states[at.fits].astype(np.float64)
    np.testing.assert_allclose(fits.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(np.square(fits).sum(2).mean(0), 1, rtol=1e-5)
    back = at.states * at.scales.numpy()[:, None] + at.means.numpy()
    np.testing.assert_allclose(back, world.states, atol=1e-4)


def test_a_file_holds_all_of_it(small, tmp_path):
    fitted = made.replace(
        small[2], steps=(0, 10), stage="embedding", role="prediction", made={"trajectory": "abc"}
    )
    write_crosscoder(tmp_path / "crosscoder.safetensors", fitted)
    read = load_crosscoder(tmp_path / "crosscoder.safetensors", "abc")
    assert all(torch.equal(getattr(read, name), getattr(fitted, name)) for name in AXES)
    assert (read.steps, read.stage, read.role) == ((0, 10), "embedding", "prediction")
    with pytest.raises(MismatchError, match="fitted to the states of another run"):
        load_crosscoder(tmp_path / "crosscoder.safetensors", "xyz")


@pytest.mark.parametrize("damage", ["not finite", "misshapen", "lacking"])
def test_what_is_no_crosscoder_is_refused(small, tmp_path, damage):
    tensors = {name: getattr(small[2], name).clone() for name in AXES}
    if damage == "not finite":
        tensors["W_dec"][0, 0, 0] = float("nan")
    elif damage == "misshapen":
        tensors["scales"] = tensors["scales"][1:]
    else:
        del tensors["threshold"]
    about = '{"made": {"trajectory": "abc"}, "role": "", "stage": "", "steps": []}'
    write_tensors(tmp_path / "some.safetensors", tensors, {"about": about})
    with pytest.raises(CheckpointError, match=r"^not a temporal crosscoder — where: .*some"):
        load_crosscoder(tmp_path / "some.safetensors", "abc")


def test_bad_states_are_refused_with_one_message_each():
    states = planted_births(seed=1, **{**SMALL, "n": 20}).states
    with pytest.raises(AnalysisError) as caught:
        scaled(states[:, :1])
    assert str(caught.value) == (
        "states of 1 checkpoint — where: temporal crosscoder — expected: the same inputs at two "
        "checkpoints or more — what to do: look at more checkpoints; a dictionary serves for one"
    )
    broken = states.copy()
    broken[[3, 5], 2, 0] = np.nan
    with pytest.raises(AnalysisError) as caught:
        scaled(broken)
    assert str(caught.value) == (
        "2 of 20 states are not finite — where: temporal crosscoder: checkpoint 3 of 6 — expected: "
        "finite states at every checkpoint — what to do: leave the checkpoint out, or repair the "
        "model that it belongs to"
    )
    with pytest.raises(AnalysisError) as caught:
        fit_crosscoder(scaled(states), asked(size=16), 0)
    assert str(caught.value) == (
        "16 features are to be fitted to 15 inputs — where: temporal crosscoder: crosscoder — "
        "expected: at least as many inputs as features, each of which begins as one — what to do: "
        "lower size, or look at more programs"
    )


def test_a_fit_that_diverges_says_so():
    states = planted_births(seed=1, **{**SMALL, "n": 200}).states
    with pytest.raises(AnalysisError, match="the error is not finite at step"):
        fit_crosscoder(scaled(states), asked(learning_rate=1e20, steps=20), 0)


def test_the_dimensions_of_a_crosscoder_are_those_of_its_states(small):
    world, _, fitted = small
    assert isinstance(fitted, Crosscoder)
    n_features, checkpoints, width = fitted.W_dec.shape
    assert (checkpoints, width) == world.states.shape[1:]
    assert fitted.norms.shape == (n_features, checkpoints)
    torch.testing.assert_close(fitted.norms.amax(1), torch.ones(n_features))
    torch.testing.assert_close(fitted.raw_norms, fitted.norms * fitted.scales)

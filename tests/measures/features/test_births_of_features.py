"""Births, latent scaling and their nulls, on hand-made states where all of them are known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from circuit.errors import AnalysisError
from circuit.measures.features.births_of_features import (
    EVEN,
    LIVES,
    SHUFFLED,
    UNTRAINED,
    Fitted,
    Inputs,
    birth_rows,
    births,
    contexts,
    curve_rows,
    gather,
    life_table,
    lives,
    quality_rows,
    sums,
    told_rows,
)
from circuit.measures.features.crosscoder import Crosscoder, Scaled
from circuit.measures.features.reconstruction import PooledStates
from circuit.measures.sweep.behaviour import SplitReads
from circuit.statistics import draws

STEPS = (0, 10, 20, 30, 40, 50)
CHECKPOINTS, WIDTH, PROGRAMS, EACH = len(STEPS), 8, 40, 10
REAL, SHRUNK, DECOUPLED, OTHER, ALWAYS, LOST = range(6)


def made_up(seed=0):
    """Six features on six axes; what the states have, and what the crosscoder makes of it.

    REAL: in the states from checkpoint 3 on, as the decoder says. SHRUNK: always in the states, but
    the decoder is 0 before. DECOUPLED: the same, and OTHER writes it there in its place. ALWAYS and
    LOST (until checkpoint 2) are as the decoder says.
    """
    rng = np.random.default_rng(seed)
    active = np.where(rng.random((PROGRAMS * EACH, 6)) < 0.3, rng.uniform(1, 2, (400, 6)), 0)
    active[:, OTHER] = active[:, DECOUPLED]
    there = np.ones((6, CHECKPOINTS))
    there[REAL, :3] = there[LOST, 2:] = 0
    axes = np.eye(6, WIDTH)
    states = np.einsum("nf,fc,fd->ncd", np.delete(active, OTHER, 1), np.delete(there, OTHER, 0),
                       np.delete(axes, OTHER, 0))  # fmt: skip
    decoder = there[..., None] * axes[:, None]
    decoder[SHRUNK, :3] = decoder[DECOUPLED, :3] = decoder[OTHER] = 0
    decoder[OTHER, :3] = axes[DECOUPLED]
    crosscoder = Crosscoder(
        W_enc=torch.zeros(CHECKPOINTS, WIDTH, 6),
        b_enc=torch.zeros(6),
        W_dec=torch.from_numpy(decoder).float(),
        b_dec=torch.zeros(CHECKPOINTS, WIDTH),
        threshold=torch.zeros(6),
        means=torch.zeros(CHECKPOINTS, WIDTH),
        scales=torch.ones(CHECKPOINTS),
    )
    # What it encodes is given, since no one checkpoint has all of it.
    known = {x.tobytes(): f for x, f in zip(states.astype(np.float32), active, strict=True)}
    object.__setattr__(
        crosscoder,
        "encode",
        lambda x: torch.tensor(np.stack([known[row.numpy().tobytes()] for row in x])).float(),
    )
    program = torch.arange(PROGRAMS).repeat_interleave(EACH)
    fits = np.flatnonzero((program % 2 == 0).numpy())
    scaled = Scaled(states.astype(np.float32), crosscoder.means, crosscoder.scales, fits)
    inputs = Inputs(SimpleNamespace(program=program), torch.arange(len(program)), scaled)
    return Fitted(crosscoder, sums(crosscoder, inputs)), inputs, active, there


@pytest.fixture(scope="module")
def found():
    return made_up()


def test_lives_are_from_when_a_norm_stays_above_half_until_it_is_gone():
    curves = {
        "born": [0, 0.1, 0.6, 0.8, 1, 1],
        "throughout": [1, 0.6, 0.9, 0.7, 0.5, 0.5],
        "gone": [1, 1, 0.4, 0.3, 0, 0],
        "born and gone": [0, 0.2, 1, 0.9, 0.4, 0.4],
        "back again": [1, 0.2, 0.3, 0.7, 0.4, 0.8],
        "at the end": [0, 0, 0, 0, 0, 1],
    }
    born, gone = lives(np.array(list(curves.values())))
    assert born.tolist() == [2, 0, 0, 2, 5, 5]
    assert gone.tolist() == [6, 6, 2, 4, 6, 6]


def test_latent_scaling_is_the_least_squares_scale_of_the_features_contribution(found):
    fitted, inputs, active, there = found
    [left], [in_states] = fitted.scalings(draws(len(fitted.sums.square))[:1])
    states, held = inputs.scaled.states.astype(np.float64), inputs.held
    decoder = fitted.crosscoder.W_dec.numpy().astype(np.float64)
    rebuilt = np.einsum("nf,fcd->ncd", active, decoder)
    for feature in range(6):
        longest = decoder[feature, np.linalg.norm(decoder[feature], axis=1).argmax()]
        for t in range(CHECKPOINTS):
            own = np.outer(active[held, feature], longest).ravel()
            rest = (states - rebuilt)[held, t] + np.outer(
                active[held, feature], decoder[feature, t]
            )
            for scaling, target in ((left, rest), (in_states, states[held, t])):
                expected = own @ target.ravel() / (own @ own)
                assert scaling[feature, t] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(left[SHRUNK], 1, atol=1e-6)  # left over where the decoder is 0
    np.testing.assert_allclose(left[DECOUPLED, :3], 0, atol=1e-6)  # the other feature has it
    np.testing.assert_allclose(in_states[DECOUPLED], 1, atol=1e-6)
    np.testing.assert_allclose(left[REAL], there[REAL], atol=1e-6)


def test_births_that_shrinkage_and_decoupling_fake_are_told_from_real_ones(found):
    table = life_table(found[0], STEPS)
    named = dict(zip((REAL, SHRUNK, DECOUPLED, OTHER, ALWAYS, LOST), table["life"], strict=True))
    assert named[REAL] == "born"
    assert named[SHRUNK] == "shrunk"
    assert named[DECOUPLED] == "decoupled"
    assert named[ALWAYS] == "throughout"
    assert named[LOST] == named[OTHER] == "lost"
    assert set(named.values()) <= set(LIVES)
    assert table.loc[REAL, ["born", "born_left_over", "born_in_states", "from", "to"]].eq(30).all()
    assert table.loc[SHRUNK, "born_left_over"] == 0
    assert table.loc[LOST, "gone"] == 20


def test_only_confirmed_births_count_and_shuffled_time_has_few(found):
    rows = birth_rows([found[0]], None, STEPS, 0)
    own = rows[rows["against"] == ""].set_index("measure")
    assert own.loc["born_share", "mean"] == pytest.approx(1 / 6)
    assert own.loc["born_by_norm", "mean"] == pytest.approx(3 / 6)
    assert own.loc["half_born", "mean"] == 30
    counts = rows[(rows["measure"] == "births") & (rows["against"] == "")]
    assert counts.set_index("step")["mean"].to_dict() == {10: 0, 20: 0, 30: 1, 40: 0, 50: 0}
    null = rows[(rows["measure"] == "born_share") & (rows["against"] == SHUFFLED)]
    # The first checkpoint stays; REAL lives at three of the others in a row in 3 of 10 orders.
    assert null["mean"].item() == pytest.approx(3 / 10 / 6, abs=0.02)
    assert UNTRAINED not in set(rows["against"])
    assert np.isnan(own.loc["same_checkpoint", "mean"])  # one birth alone


def test_an_order_of_checkpoints_is_an_order_of_curves(found):
    fitted, *_ = found
    orders = np.stack([np.arange(CHECKPOINTS), np.arange(CHECKPOINTS)[::-1]])
    forwards, backwards = births(fitted, orders).counts
    assert forwards.tolist() == [0, 0, 0, 1, 0, 0]
    assert backwards.tolist() == [0, 0, 0, 0, 1, 0]  # LOST is born when time runs backwards


def test_births_on_one_checkpoint_cluster_and_those_spread_evenly_do_not():
    for together, expected in ((True, 1.0), (False, 0.0)):
        fitted = steps_up([3] * 5 if together else [1, 2, 3, 4, 5])
        rows = birth_rows([fitted], None, STEPS, 0)
        same = rows[rows["measure"] == "same_checkpoint"].set_index("against")
        assert same.loc["", "mean"] == expected
        assert same.loc[EVEN, "mean"] == pytest.approx(1 / 5, abs=0.03)
        assert same.loc["", "count"] == 5


def steps_up(born):
    """Features that are in all states from a checkpoint on, as the decoder says."""
    size, n = len(born), PROGRAMS // 2
    curve = (np.arange(CHECKPOINTS) >= np.array(born)[:, None]).astype(float)
    decoder = torch.from_numpy(curve[..., None] * np.eye(size, WIDTH)[:, None]).float()
    square = np.ones((n, size))
    left = np.broadcast_to(curve.T, (n, CHECKPOINTS, size)).copy()
    fake = SimpleNamespace(square=square, left=left, there=left, alive=square.sum(0) > 0)
    return Fitted(SimpleNamespace(norms=decoder.norm(dim=2), size=size), fake)


def test_several_dictionary_seeds_are_averaged_and_widen_the_interval():
    early, late = steps_up([1, 1, 1, 0]), steps_up([0, 0, 0, 4])
    rows = birth_rows([early, late, late], early, STEPS, 0)
    own = rows[(rows["measure"] == "born_share") & (rows["against"] == "")].iloc[0]
    assert own["mean"] == pytest.approx((3 + 1 + 1) / 12)
    assert own["low"] == pytest.approx(1 / 4)
    assert own["high"] == pytest.approx(3 / 4)
    null = rows[(rows["measure"] == "born_share") & (rows["against"] == UNTRAINED)]
    assert null["mean"].item() == pytest.approx(3 / 4)


def test_predicting_the_mean_explains_nothing_and_the_decoder_explains_all(found):
    fitted, inputs, *_ = found
    r2 = quality_rows(fitted, STEPS).query("measure == 'r2' and against == ''").set_index("step")
    np.testing.assert_allclose(r2.loc[[30, 40, 50], "mean"], 1, atol=1e-6)
    assert (r2.loc[[0, 10, 20], "mean"] < 0.95).all()  # SHRUNK is left over
    mean = torch.from_numpy(inputs.scaled.states[inputs.held].mean(0))
    decoder = fitted.crosscoder.W_dec * 0
    blind = replace(fitted.crosscoder, W_dec=decoder, b_dec=mean, b_enc=torch.ones(6))
    rows = quality_rows(Fitted(blind, sums(blind, inputs)), STEPS)
    r2 = rows[(rows["measure"] == "r2") & (rows["against"] == "")]["mean"]
    np.testing.assert_allclose(r2, 0, atol=1e-6)


def test_a_crosscoder_of_which_nothing_fires_is_refused(found):
    fitted, inputs, *_ = found
    with pytest.raises(AnalysisError) as caught:
        sums(replace(fitted.crosscoder, threshold=torch.ones(6)), inputs)
    assert str(caught.value) == (
        "no feature of 6 fires on 200 held-out inputs — where: temporal crosscoder — expected: "
        "features that fire, so that there are births to look at — what to do: fit for more steps, "
        "raise active, or look at more programs"
    )


def test_curves_are_shares_of_their_largest_and_scalings_of_those_shown(found):
    rows = curve_rows(found[0], {REAL: "0: it"}, STEPS)
    norm = rows[(rows["measure"] == "norm") & (rows["feature"] == REAL)]
    assert norm["mean"].tolist() == [0, 0, 0, 1, 1, 1]
    assert set(rows.loc[rows["measure"] == "left_over", "shown"]) == {"0: it"}
    assert set(rows.loc[rows["measure"] == "norm", "feature"]) == set(range(6))


def test_states_at_a_role_are_those_of_its_reads(planted, planted_benchmark, tmp_path):
    split = SplitReads(planted_benchmark.splits["train"], planted_benchmark.vocabulary, 8)
    pooled, theta = PooledStates(split, (), torch.empty(0, 0, 0)), planted.flat.float()
    decoder, args = planted.decoder, (pooled, "layer_0_post_attn")
    thetas = [lambda: theta, lambda: theta * 0.5]
    every = gather(decoder, thetas, *args, "everywhere", tmp_path / "every.f32")
    some = gather(decoder, thetas, *args, "support_value", tmp_path / "some.f32")
    assert len(every.at) == len(pooled.program)
    reads = split.reads
    writes = set(zip(reads.row.tolist(), reads.support_value.tolist(), strict=True))
    starts = pooled.lengths.cumsum(0) - pooled.lengths
    assert {(int(pooled.program[at]), int(at - starts[pooled.program[at]])) for at in some.at} == (
        writes
    )

    def raw(inputs):
        scaled = inputs.scaled
        return scaled.states * scaled.scales.numpy()[:, None] + scaled.means.numpy()

    np.testing.assert_allclose(raw(some), raw(every)[some.at], atol=1e-4)
    fitted = SimpleNamespace(sums=SimpleNamespace(active=torch.rand(len(some.at), 2)))
    seen = contexts(fitted, some, [1], planted_benchmark.vocabulary.tokens, count=2)
    for _, one in seen.groupby("context"):
        top = one[one["here"] == "yes"]
        assert top["activation"].item() == one["activation"].max()
        assert top["token"].item().startswith("V")
        assert one["activation"].isna().any()  # positions that are no inputs


def test_told_births_are_those_of_confirmed_features(found):
    table = life_table(found[0], STEPS).assign(
        against="", told=["yes", "yes", "no", "no", "yes", "no"], role="prediction",
        label="answer", named_by="context",
    )  # fmt: skip
    rows = told_rows(table, 50).set_index(["measure", "life"])["mean"]
    assert rows["told_births", ""] == 1
    assert rows["told_born", ""] == 30
    assert rows["features", "shrunk"] == 1
    assert rows.loc["features"].sum() == 6

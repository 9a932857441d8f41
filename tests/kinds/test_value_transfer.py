"""Maps of the value's code: exact ridge, identities of rescue, and the planted map carries it."""

import numpy as np
import pandas as pd
import pytest
import torch
from viewing import changed, outcome, viewed

from circuit.measures.states import value_transfer as made
from circuit.measures.states.value_code import CENTROID, LENS, WRITE, code_reads
from circuit.measuring import Table

RANK = 16  # that of the planted values
SOFT = {"measure": made.RESCUED, "outcome": "soft_margin"}


@pytest.fixture(scope="module")
def reads(planted, planted_benchmark):
    programs = planted_benchmark.splits["train"].head(224)
    return code_reads(programs, planted.vocabulary, 0)


@pytest.fixture(scope="module")
def rows(planted, untrained, reads):
    """Maps of the twin (step 0) and of the planted network (step 1)."""
    states = (untrained.flat, planted.flat)
    return made.value_transfer(
        planted.decoder, states.__getitem__, (0, 1), reads, planted.vocabulary.value_ids,
        "layer_0_post_mlp", "layer_1_post_attn", RANK, ("soft_margin", "correct"), "soft_margin",
        20, 0,
    )  # fmt: skip


def number(rows, against="", step=1, **keys):
    """The one row of these keys."""
    chosen = rows[(rows["against"] == against) & (rows["step"] == step)]
    for key, value in keys.items():
        chosen = chosen[chosen[key] == value]
    [row] = chosen.to_dict("records")
    return row


def test_the_true_code_rescues_all_and_the_mean_code_nothing(rows):
    for scalar in ("soft_margin", "correct"):
        at = {"measure": made.RESCUED, "outcome": scalar}
        for variant, whole in ((made.TRUE, 1.0), (made.MEAN, 0.0)):
            one = number(rows, variant=variant, **at)
            assert [one[end] for end in ("mean", "low", "high")] == pytest.approx(
                [whole] * 3, abs=1e-12
            )
    for variant, whole in ((made.TRUE, 1.0), (made.MEAN, 0.0)):
        assert number(rows, measure=made.R2, variant=variant)["mean"] == pytest.approx(whole)


def test_the_planted_map_carries_the_value_and_no_null_does(rows):
    source = {"variant": "source"}
    for measure, least in ((made.R2, 0.8), (CENTROID, 0.9), (LENS, 0.9), (made.RESCUED, 0.85)):
        at = {"measure": measure, **source}
        at |= {"outcome": "soft_margin"} if measure == made.RESCUED else {}
        assert number(rows, **at)["mean"] > least
        for control in (made.VALUES, WRITE, made.KEYS):
            assert number(rows, f"excess over {control}", **at)["low"] > 0
            assert number(rows, control, **at)["mean"] < 0.8 * number(rows, **at)["mean"]
    assert number(rows, f"excess over {made.SUBSPACES}", **source, **SOFT)["low"] > 0
    # Before the look-up the prediction position knows no value.
    assert number(rows, variant="context", **SOFT)["high"] < 0.2
    assert number(rows, variant="both", **SOFT)["low"] > 0.8
    when = {"measure": made.CARRIES, "outcome": "soft_margin"}
    assert number(rows, **source, **when)["mean"] == 1


def test_nothing_is_rescued_of_a_twin_whose_answer_rests_on_no_code(rows):
    lost = number(rows, step=0, measure=made.LOST, outcome="soft_margin", variant="whole")
    assert lost["mean"] < 0  # removing what there is does no harm
    twin = rows[(rows["step"] == 0) & (rows["measure"] == made.RESCUED)]
    assert len(twin)
    assert twin[["mean", "low", "high"]].isna().all(axis=None)
    named = {"measure": CENTROID, "variant": "source", "step": 0}
    beside = [
        number(rows, f"excess over {one}", **named) for one in (WRITE, made.KEYS, made.VALUES)
    ]
    assert not any(one["low"] > 0 for one in beside)


def seen(rows, folder):
    settings = {"source": "layer_0_post_mlp", "target": "layer_1_post_attn", "rank": RANK}
    return viewed("value_transfer", {"rows": Table(rows, "one map")}, folder, settings)


def test_the_planted_map_is_told_beside_its_nulls(rows, tmp_path):
    report = seen(rows, tmp_path)
    for name in ("answers that the map names", "what the map rescues"):
        found = outcome(report, name)
        assert (found.verdict, found.about["variant"]) == ("shown", "source")
        assert found.control == "key code; another write; permuted values"
    for name in ("what the source adds to the context", "directions of the code against others"):
        assert outcome(report, name).verdict == "shown"
    assert outcome(report, "map carries the value").verdict == "shown"
    assert not report["marks"]


def test_of_a_twin_nothing_is_told(rows, tmp_path):
    twin = rows[(rows["step"] == 0) | (rows["measure"] == made.CARRIES)]
    report = seen(changed(twin, {"measure": made.CARRIES}, step=0, mean=np.nan), tmp_path)
    assert {one["verdict"] for one in report["findings"]} == {"open"}


def test_a_target_that_is_the_readout_is_marked(rows, tmp_path):
    [mark] = seen(changed(rows, {}, by_construction="the readout"), tmp_path)["marks"]
    assert "by construction" in mark


def test_ridge_has_the_penalty_that_predicts_best_what_was_left_out():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(20, 4)) * [3, 1, 0.1, 0]  # the last one says nothing
    new, centre = rng.normal(size=(5, 4)), np.diag([1.0, 1, 1, 1, 0])

    def fitted(x, y, penalty):
        """Coefficients, the intercept last."""
        ones = np.column_stack([x, np.ones(len(x))])
        return np.linalg.solve(ones.T @ ones + penalty * centre, ones.T @ y)

    chosen = set()
    for noise in (0.01, 1.0, 30.0):
        y = x @ rng.normal(size=(4, 3)) + 5 + noise * rng.normal(size=(20, 3))
        errors = []
        for penalty in made.PENALTIES:
            rests = [np.delete(np.arange(20), i) for i in range(20)]
            left = [
                y[i] - np.append(x[i], 1) @ fitted(x[rest], y[rest], penalty)
                for i, rest in enumerate(rests)
            ]
            errors.append(np.square(left).sum())
        best = made.PENALTIES[int(np.argmin(errors))]
        chosen.add(best)
        ours = made.ridge(*map(torch.from_numpy, (x, np.stack([y[::-1].copy(), y]), new)))[1]
        expected = np.column_stack([new, np.ones(5)]) @ fitted(x, y, best)
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-9)
    assert len(chosen) == 3


def test_values_are_exchanged_as_groups():
    answer = torch.tensor([3, 3, 5, 5, 5, 9, 9, 11])
    for order in made.exchanged_values(answer, 20, 0):
        pairs = pd.DataFrame({"own": answer.numpy(), "given": answer[order].numpy()})
        assert (pairs["own"] != pairs["given"]).all()
        assert (pairs.groupby("own")["given"].nunique() == 1).all()
        assert pairs.groupby("given")["own"].nunique().max() == 1


def test_a_target_behind_the_last_mlp_is_the_readout(planted, reads):
    rows = made.value_transfer(
        planted.decoder, {0: planted.flat}.__getitem__, (0,), reads,
        planted.vocabulary.value_ids, "layer_0_post_mlp", "layer_1_post_mlp", 4, ("correct",),
        "correct", 20, 0,
    )  # fmt: skip
    assert (rows["by_construction"] == "the readout").all()

"""What updates sum to: a checkpoints' difference, a planted direction, or noise."""

from types import SimpleNamespace

import pytest
import torch
from tiny_run import finish, tiny_trajectory
from viewing import outcome, viewed

from circuit.measures.weights.spectra import decompose
from circuit.measures.weights.updates import FINAL, UPDATE, summed, update_geometry
from circuit.measuring import Table
from circuit.training.replay import replay


def looked(decoder, before, *parts):
    """Rows of one step from some parameters, by its components, after which training ends."""
    stacked = torch.zeros(4, decoder.layout.size, dtype=torch.float64)
    stacked[: len(parts)] = torch.stack(parts)
    after = before + stacked.sum(0)
    states = {"before": SimpleNamespace(theta=before), "after": SimpleNamespace(theta=after)}
    step = SimpleNamespace(**states, components=SimpleNamespace(stacked=lambda: stacked))
    chosen = {"L1H2": "winner", "L0H0": "bottom"}
    return update_geometry(decoder, [step], (before, after, after), chosen, (1, 20, 0), 10)


def into_one_direction(planted):
    """A change of the matching head's W_O: more of what it writes most."""
    change, views = torch.zeros_like(planted.flat), planted.decoder.layout.views
    before, _, after = torch.linalg.svd(planted.views["layer_1.attn.W_O"][2])
    views(change)["layer_1.attn.W_O"][2] = torch.outer(before[:, 0], after[0])
    return change


def test_components_sum_to_the_checkpoints_difference(planted_benchmark, tmp_path):
    """Also of products of matrices, which are no sums of their factors' changes."""
    run, verified = finish(tiny_trajectory(planted_benchmark), tmp_path), []
    decoder = run.trajectory.decoder
    steps = replay(run.trajectory, run.manifest, 3, 20, verified.append)
    found, changes = summed(decoder, steps)
    assert [one.step for one in verified] == [10, 20]
    before, after = (run.manifest.state(step).theta.double() for step in (3, 20))
    torch.testing.assert_close(changes.sum(0), after - before, rtol=0, atol=1e-14)
    first, last = (decompose(decoder.layout.views(t), decoder.settings) for t in (before, after))
    assert set(found[UPDATE]) == set(first)
    for name, change in found[UPDATE].items():
        expected = last[name].matrix - first[name].matrix
        torch.testing.assert_close(change, expected, rtol=0, atol=1e-13)


def test_a_planted_update_of_one_direction_has_rank_one_and_lies_in_itself(planted):
    change = into_one_direction(planted)
    rows = looked(planted.decoder, planted.flat, change / 4, 3 * change / 4)
    keys = ["matrix", "measure", "part", "other", "side"]
    at = (
        rows[(rows["against"] == "") & (rows["component"] == "L1H2")]
        .set_index(keys)["mean"]
        .sort_index()
    )
    for matrix in ("W_O", "W_OV"):
        for part in ("current_gradient", "momentum", UPDATE):
            assert at[matrix, "effective_rank", part, "", ""] == pytest.approx(1, abs=1e-6)
        same = at[matrix, "overlap", "current_gradient", "momentum"]
        assert same.to_list() == pytest.approx([1, 1])
    assert at["W_O", "overlap", UPDATE, FINAL, "right"] > 0.99
    assert at["W_O", "effective_rank", "weight_decay"].isna().all()


def seen(rows, folder):
    facts = {"window": [0, 10], "checkpoints": 1, "exact": 1}
    asked = {"heads": "scan", "window": (0, 10), "top": 1, "draws": 20}
    return viewed("update_geometry", {"rows": Table(rows, "one number")}, folder, asked, facts)


def test_few_directions_are_shown_where_they_were_planted_and_not_in_noise(planted, tmp_path):
    generator = torch.Generator().manual_seed(3)
    noise = 1e-3 * torch.randn(planted.flat.shape, generator=generator, dtype=torch.float64)
    change = into_one_direction(planted) + noise
    report = seen(looked(planted.decoder, planted.flat, change), tmp_path)
    few = outcome(report, "few directions", matrix="W_OV")
    assert (few.verdict, few.control) == ("shown", "random updates")
    ended = outcome(report, "into the final directions", matrix="W_OV", side="right")
    assert ended.verdict == "shown"
    report = seen(looked(planted.decoder, planted.flat, noise), tmp_path)
    for matrix in ("W_QK", "W_OV"):
        assert outcome(report, "few directions", matrix=matrix).verdict == "open"

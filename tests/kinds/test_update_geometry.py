"""What updates sum to: a checkpoints' difference, a planted direction, or noise."""

from types import SimpleNamespace

import pytest
import torch
from tiny_run import finish, tiny_trajectory
from viewing import outcome, viewed

from circuit.measures.weights.spectra import decompose
from circuit.measures.weights.updates import FINAL, UPDATE, UpdateSums, update_geometry
from circuit.measuring import Table
from circuit.training.replay import replay

CHOSEN = {"L1H2": "winner", "L0H0": "bottom"}


def summed(decoder, before, *parts):
    """Sums of one step from some parameters, by its components."""
    stacked = torch.zeros(4, decoder.layout.size, dtype=torch.float64)
    for i, part in enumerate(parts):
        stacked[i] = part
    after = before + stacked.sum(0)
    states = {"before": SimpleNamespace(theta=before), "after": SimpleNamespace(theta=after)}
    sums = UpdateSums(decoder)
    sums.see(SimpleNamespace(**states, components=SimpleNamespace(stacked=lambda: stacked)))
    return sums, after


def looked(decoder, before, *parts):
    """Rows of such a step, after which training ends."""
    sums, after = summed(decoder, before, *parts)
    return update_geometry(sums, (before + after) / 2, after, CHOSEN, (1, 20, 0), 10)


def into_one_direction(planted):
    """A change of the matching head's W_O: more of what it writes most."""
    change, views = torch.zeros_like(planted.flat), planted.decoder.layout.views
    before, _, after = torch.linalg.svd(planted.views["layer_1.attn.W_O"][2])
    views(change)["layer_1.attn.W_O"][2] = torch.outer(before[:, 0], after[0])
    return change


def at(rows, **keys):
    found = rows[rows["against"] == ""].set_index(["matrix", "component", "measure"])
    found = found.loc[(keys["matrix"], keys.get("component", "L1H2"), keys["measure"])]
    same = found[["part", "other", "side"]].to_dict("records")
    wanted = {key: keys.get(key, "") for key in ("part", "other", "side")}
    return found["mean"].iloc[[one == wanted for one in same].index(True)]


def test_components_sum_to_the_checkpoints_difference(planted_benchmark, tmp_path):
    """Also of products of matrices, which are no sums of their factors' changes."""
    run = finish(tiny_trajectory(planted_benchmark), tmp_path)
    sums, verified = UpdateSums(run.trajectory.decoder), []
    for step in replay(run.trajectory, run.manifest, 3, 20, verified.append):
        sums.see(step)
    assert [one.step for one in verified] == [10, 20]
    before, after = (run.manifest.state(step).theta.double() for step in (3, 20))
    torch.testing.assert_close(sums.vectors.sum(0), after - before, rtol=0, atol=1e-14)
    decoder = run.trajectory.decoder
    first, last = (decompose(decoder.layout.views(t), decoder.settings) for t in (before, after))
    found = sums.matrices()[UPDATE]
    assert set(found) == set(first)
    for name, change in found.items():
        expected = last[name].matrix - first[name].matrix
        torch.testing.assert_close(change, expected, rtol=0, atol=1e-13)


def test_a_planted_update_of_one_direction_has_rank_one_and_lies_in_itself(planted):
    change = into_one_direction(planted)
    rows = looked(planted.decoder, planted.flat, change / 4, 3 * change / 4)
    for matrix in ("W_O", "W_OV"):
        for part in ("current_gradient", "momentum", UPDATE):
            rank = at(rows, matrix=matrix, measure="effective_rank", part=part)
            assert rank == pytest.approx(1, abs=1e-6)
        same = {"part": "current_gradient", "other": "momentum", "measure": "overlap"}
        for side in ("left", "right"):
            assert at(rows, matrix=matrix, side=side, **same) == pytest.approx(1)
    ends = {"part": UPDATE, "other": FINAL, "side": "right", "measure": "overlap"}
    assert at(rows, matrix="W_O", **ends) > 0.99
    decay = {"matrix": "W_O", "part": "weight_decay", "measure": "effective_rank"}
    assert torch.isnan(torch.tensor(at(rows, **decay)))


def seen(rows, folder):
    facts = {"window": [0, 10], "checkpoints": 1, "exact": 1}
    tables = {"rows": Table(rows, "one number")}
    asked = {"heads": "scan", "window": (0, 10), "top": 1, "draws": 20}
    return viewed("update_geometry", tables, folder, asked, facts)


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

"""Which identities heads read and write: planted ones, and none in untrained weights."""

import numpy as np
import pytest
from planted import untrained_twin
from viewing import outcome, viewed

from circuit.measures.weights.embeddings import RANDOM, embedding_alignment
from circuit.measuring import Table

RANK = 4
NAMES = (
    "asks for key identity",
    "finds key identity",
    "finds moved key identity",
    "reads value identity",
    "writes value identity",
)


def aligned(circuit, *states):
    """Rows of states as if they were checkpoints 0, 1, … of a run."""
    chosen = {circuit.matching_head: "winner", "L0H0": "bottom"}
    steps = list(range(len(states)))
    about = (circuit.decoder, states.__getitem__, steps, circuit.vocabulary, chosen)
    # Planted values lie on axes of equal length, of which nine tenths would be arbitrary ones.
    return embedding_alignment(*about, rank=RANK, variance=0.99, draws=100, seed=0)


@pytest.fixture(scope="module")
def formed(planted, untrained):
    return aligned(planted, untrained.flat, planted.flat, planted.flat)


def seen(rows, folder):
    tables = {"rows": Table(rows, "one side")}
    return viewed("embedding_alignment", tables, folder, {"heads": "scan"})


def last(rows, circuit, measure="overlap", against=""):
    """Numbers of the matching head at the last checkpoint, by side, space and mover."""
    found = rows[(rows["measure"] == measure) & (rows["against"] == against)]
    at = found[(found["step"] == rows["step"].max()) & (found["head"] == circuit.matching_head)]
    return at.set_index(["side", "space", "mover"])["mean"].sort_index()


def test_the_matching_head_asks_for_keys_and_copies_values(formed, planted):
    """Planted: it finds keys where the previous-token head put them, and nowhere else."""
    at, mover = last(formed, planted), planted.previous_token_head
    assert at["qk_query", "key_identity", ""] > 0.99
    assert at["qk_key", "key_identity", ""] < 0.01
    assert at["qk_key", "moved_key_identity", mover] > 0.98
    assert at["qk_key", "moved_key_identity"].drop(mover).max() < 0.5
    for side in ("ov_input", "ov_output"):
        assert at[side, "value_identity", ""] > 0.98
        assert at[side, "key_identity", ""] < 0.02


def test_identities_have_as_many_directions_as_were_planted(formed, planted):
    """A mean takes one of the keys' away; values lie on both ends of half as many axes."""
    found = last(formed, planted, "directions")["qk_query"]
    assert found.to_dict() == {("key_identity", ""): 3, ("value_identity", ""): 16}


def test_overlaps_are_those_of_the_principal_angles(planted):
    """By NumPy, from the definition of the subspaces and the angles."""
    views = {name: view.numpy() for name, view in planted.views.items()}
    ids = planted.vocabulary.value_ids
    values = views["embedding.token"][ids.start : ids.stop]
    identity = np.linalg.svd(values - values.mean(0))[2][:16].T
    w_ov = views["layer_1.attn.W_QKV"][2, 2].T @ views["layer_1.attn.W_O"][2]
    written = np.linalg.svd(w_ov)[2][:RANK].T
    cosines = np.linalg.svd(identity.T @ written, compute_uv=False)
    found = last(aligned(planted, planted.flat), planted)["ov_output", "value_identity", ""]
    assert found == pytest.approx((cosines**2).mean(), abs=1e-9)


def test_random_directions_overlap_as_expected_by_chance(formed, planted):
    k = last(formed, planted, "directions")["ov_output"]
    expected = k.clip(lower=RANK) / planted.decoder.settings.d_model
    found = last(formed, planted, against=RANDOM)["ov_output"]
    assert found.to_dict() == pytest.approx(expected.to_dict(), abs=0.03)


def test_the_planted_circuit_is_shown_since_it_was_there(formed, planted, tmp_path):
    report = seen(formed, tmp_path)
    came = {name: outcome(report, name).verdict for name in NAMES}
    assert came.pop("finds key identity") != "shown"
    assert set(came.values()) == {"shown"}
    moved = outcome(report, "finds moved key identity")
    assert (moved.about["mover"], moved.control) == (planted.previous_token_head, RANDOM)
    since = last(formed, planted, "beyond_random_from")
    assert since["qk_query", "key_identity", ""] == 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_untrained_heads_overlap_no_more_than_random_directions(planted, tmp_path, seed):
    report = seen(aligned(planted, untrained_twin(planted, seed).flat), tmp_path)
    assert all(outcome(report, name).verdict == "open" for name in NAMES)

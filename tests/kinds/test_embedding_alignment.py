"""Which identities heads read and write: planted ones, and none in untrained weights."""

import numpy as np
import pytest
from planted import untrained_twin
from viewing import outcome, viewed

from circuit.measures.weights.embeddings import RANDOM, Asked, embedding_alignment
from circuit.measuring import Table

RANK = 4
# Planted values lie on axes of equal length, of which nine tenths would be arbitrary ones.
ASKED = Asked(rank=RANK, variance=0.99, draws=100, seed=0)
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
    theta = states.__getitem__
    return embedding_alignment(
        circuit.decoder, theta, range(len(states)), circuit.vocabulary, chosen, ASKED
    )


@pytest.fixture(scope="module")
def formed(planted, untrained):
    return aligned(planted, untrained.flat, planted.flat, planted.flat)


def seen(rows, folder):
    return viewed(
        "embedding_alignment", {"rows": Table(rows, "one side")}, folder, {"heads": "scan"}
    )


def last(rows, measure="overlap", against=""):
    found = rows[(rows["measure"] == measure) & (rows["against"] == against)]
    at = found[found["step"] == rows["step"].max()]
    return at.set_index(["head", "side", "space", "mover"])["mean"].sort_index()


def test_the_matching_head_asks_for_keys_and_copies_values(formed, planted):
    """Planted: it finds keys where the previous-token head put them, and nowhere else."""
    at, head = last(formed), planted.matching_head
    assert at[head, "qk_query", "key_identity", ""] > 0.99
    assert at[head, "qk_key", "key_identity", ""] < 0.01
    assert at[head, "qk_key", "moved_key_identity", planted.previous_token_head] > 0.98
    for side in ("ov_input", "ov_output"):
        assert at[head, side, "value_identity", ""] > 0.98
        assert at[head, side, "key_identity", ""] < 0.02
    moved = at[head, "qk_key", "moved_key_identity"]
    assert moved.idxmax() == planted.previous_token_head
    assert moved.drop(planted.previous_token_head).max() < 0.5


def test_identities_have_as_many_directions_as_were_planted(formed, planted):
    """A mean takes one of the keys' away; values lie on both ends of half as many axes."""
    found = last(formed, "directions").loc[planted.matching_head, "qk_query"]
    assert found["key_identity", ""] == 3
    assert found["value_identity", ""] == 16


def test_overlaps_are_those_of_the_principal_angles(planted):
    """By SciPy's definition of the angles, from the definition of the subspaces in NumPy."""
    rows = last(aligned(planted, planted.flat))
    views = {name: view.numpy() for name, view in planted.views.items()}
    ids = planted.vocabulary.value_ids
    values = views["embedding.token"][ids.start : ids.stop]
    right = np.linalg.svd(values - values.mean(0))[2]
    identity = right[:16].T
    w_ov = views["layer_1.attn.W_QKV"][2, 2].T @ views["layer_1.attn.W_O"][2]
    written = np.linalg.svd(w_ov)[2][:RANK].T
    cosines = np.linalg.svd(identity.T @ written, compute_uv=False)
    expected = (cosines**2).mean()
    found = rows[planted.matching_head, "ov_output", "value_identity", ""]
    assert found == pytest.approx(expected, abs=1e-9)


def test_random_directions_overlap_as_expected_by_chance(formed, planted):
    found = last(formed, against=RANDOM).loc[planted.matching_head, "ov_output"]
    k = last(formed, "directions").loc[planted.matching_head, "ov_output"]
    for space in ("key_identity", "value_identity"):
        expected = max(RANK, k[space, ""]) / planted.decoder.settings.d_model
        assert found[space, ""] == pytest.approx(expected, abs=0.03)


def test_the_planted_circuit_is_shown_since_it_was_there(formed, planted, tmp_path):
    report = seen(formed, tmp_path)
    came = {name: outcome(report, name).verdict for name in NAMES}
    assert came.pop("finds key identity") != "shown"
    assert set(came.values()) == {"shown"}
    moved = outcome(report, "finds moved key identity")
    assert (moved.about["mover"], moved.control) == (planted.previous_token_head, RANDOM)
    since = last(formed, "beyond_random_from")
    assert since[planted.matching_head, "qk_query", "key_identity", ""] == 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_untrained_heads_overlap_no_more_than_random_directions(planted, tmp_path, seed):
    rows = aligned(planted, untrained_twin(planted, seed).flat)
    report = seen(rows, tmp_path)
    assert all(outcome(report, name).verdict == "open" for name in NAMES)

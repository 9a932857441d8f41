"""Reads drawn from several splits, followed over checkpoints of a planted and of a flat network."""

import numpy as np
import pytest
import torch

from circuit.attribution.example_gradients import group_columns
from circuit.attribution.example_reads import READ_UNITS, choose_reads, follow_reads
from circuit.attribution.gradient_relations import SHUFFLED
from circuit.errors import AnalysisError
from circuit.estimates import UNITS
from circuit.kinds.example_gradients.settings import Settings
from circuit.model.passes import Passes
from circuit.scalars.evaluate import scalar_gradients
from circuit.scalars.routing import qk_separation
from circuit.scalars.value import ov_value_margin
from circuit.task.events import read_events

SPLITS = ("train", "heldout_pairs")
ROUTES = ("looking", "copying")
SETTINGS = {
    "kind": "example_gradients",
    "heads": "head_scan",
    "routes": {
        "looking": {"scalar": "qk_separation", "head": "winner"},
        "copying": {"scalar": "ov_value_margin", "head": "winner"},
    },
}


def chosen(benchmark, splits=SPLITS, reads=24, seed=0):
    programs = {split: benchmark.splits[split] for split in splits}
    return choose_reads(programs, benchmark.vocabulary, reads, seed)


def routes_of(network, events, value_ids):
    scalars = {"looking": qk_separation((1, 2)), "copying": ov_value_margin((1, 2), None)}

    def gradients(theta):
        return scalar_gradients(network.decoder, theta, events, value_ids, scalars).gradients

    return gradients


def followed(decoder, states, reads, routes, passes, only=("module", ())):
    columns = group_columns(decoder.layout, *only)
    of = (decoder, states.__getitem__, states, reads, ROUTES, routes)
    return follow_reads(*of, columns, memory_mb=512, seed=0, passes=passes)


@pytest.fixture(scope="module")
def found(planted, untrained, planted_benchmark, planted_events):
    """Step 0 is the untrained twin, step 100 the planted network."""
    words = planted_benchmark.vocabulary
    routes = routes_of(planted, planted_events.select(range(0, 171, 9)), words.value_ids)
    states = {0: untrained.flat, 100: planted.flat}
    passes = Passes()
    reads = chosen(planted_benchmark)
    examples = followed(planted.decoder, states, reads, routes, passes)
    return examples, passes, routes


def test_one_read_of_each_program_is_drawn(planted_benchmark):
    reads = chosen(planted_benchmark)
    labels = reads.labels
    assert len(reads.events) == len(labels) == 48
    assert labels["split"].value_counts().to_dict() == dict.fromkeys(SPLITS, 24)
    assert not labels.duplicated(["split", "sample_id"]).any()
    words = planted_benchmark.vocabulary
    for split, part in labels.groupby("split"):
        programs = planted_benchmark.splits[split]
        named = list(zip(part["sample_id"], part["read_index"], strict=True))
        again = read_events(programs, words, named)
        mine = reads.events.select(part.index.tolist()).crop()
        assert torch.equal(again.tokens, mine.tokens)
        assert [words.tokens[i] for i in again.answer] == part["answer_value"].tolist()
        assert [words.tokens[i] for i in again.query_key_id] == part["query_key"].tolist()
        assert again.writes_since_support.tolist() == part["lag"].tolist()
        assert again.prediction.tolist() == part["position"].tolist()


def test_the_draw_is_the_seeds(planted_benchmark):
    first, again, other = (chosen(planted_benchmark, seed=s).labels for s in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)
    assert first["read_index"].nunique() > 1


def test_a_counterfactual_program_may_stand_beside_its_source(planted_benchmark):
    reads = chosen(planted_benchmark, ("test_iid", "counterfactual"), 48)
    assert reads.labels["split"].value_counts().tolist() == [48, 48]


def test_too_few_programs_are_refused(planted_benchmark):
    with pytest.raises(AnalysisError, match=r"heldout_pairs has 48 programs, fewer than 49 reads"):
        chosen(planted_benchmark, reads=49)


def test_tables_have_units_and_every_read_at_every_step(found):
    examples, _, _ = found
    for frame, units in (
        (examples.rows, UNITS | {"pairs": "1"}),
        (examples.conflicts, UNITS | {"pairs": "1"}),
        (examples.reads, READ_UNITS | {f"alignment_{name}": "1" for name in ROUTES}),
    ):
        numeric = set(frame.select_dtypes("number").columns)
        assert numeric == set(units)
        averaged = frame[frame["count"] > 0] if "count" in frame else frame
        assert not averaged[sorted(numeric)].isna().any().any()
    assert examples.reads.groupby("step").size().to_dict() == {0: 48, 100: 48}
    control = examples.rows[examples.rows["against"] == SHUFFLED]
    assert set(control["which"]) == {"difference"}


def test_tensors_are_what_the_tables_tell(found):
    examples, _, _ = found
    for step, part in examples.reads.groupby("step"):
        gram, along = examples.tensors[f"gram_{step}"], examples.tensors[f"along_{step}"]
        assert gram.dtype == along.dtype == torch.float64
        np.testing.assert_allclose(gram.diagonal().sqrt(), part["gradient_norm"], rtol=1e-12)
        length = (-along[:, 0] / gram.diagonal().sqrt()).numpy() / part["alignment_looking"]
        assert length.std() / length.mean() == pytest.approx(0, abs=1e-9)  # of the route's gradient
        assert along.shape == (48, 2)


def test_a_read_supports_the_route_that_its_descent_is_closer_to(found):
    reads = found[0].reads
    looking = reads["alignment_looking"] > reads["alignment_copying"]
    assert (reads["route"] == np.where(looking, *ROUTES)).all()
    assert set(reads["route"]) == set(ROUTES)


def test_passes_and_backward_passes_are_counted(found):
    examples, passes, _ = found
    assert passes.programs == 2 * 48
    assert examples.backward == passes.whole + 2 * 2


def test_the_planted_network_is_right_and_its_twin_is_not(found):
    right = found[0].reads.groupby("step")["correct"].agg(lambda c: (c == "right").mean())
    assert right[100] == 1.0
    assert right[0] < 0.2
    rows = found[0].rows
    few = rows[(rows["step"] == 100) & (rows["relation"] == "correct")]
    assert few["measure"].tolist() == ["reads_too_few"]  # nothing to compare


def test_restricted_to_what_only_looks_copying_has_no_supporter(found, planted, planted_benchmark):
    """The query of the matching head is no part of what it copies."""
    reads, only = chosen(planted_benchmark), ("head_projection", ("L1H2.q",))
    states = {100: planted.flat}
    examples = followed(planted.decoder, states, reads, found[2], Passes(), only)
    assert (examples.reads["alignment_copying"] == 0).all()
    assert (examples.reads["alignment_looking"].abs() > 0).all()
    # All reads pull the query towards its own key's direction, so up to the sign of looking.
    supporters = examples.reads["alignment_looking"] > 0
    assert (examples.reads["route"] == np.where(supporters, *ROUTES)).all()


def test_routes_are_measured_on_other_programs_than_the_reads():
    changed = SETTINGS | {"route_split": "train"}
    with pytest.raises(ValueError, match="route_split 'train' is among splits"):
        Settings.model_validate(changed)
    one = SETTINGS | {"routes": {"looking": {"scalar": "correct_value_logit"}}}
    with pytest.raises(ValueError, match="at least 2 items"):
        Settings.model_validate(one)

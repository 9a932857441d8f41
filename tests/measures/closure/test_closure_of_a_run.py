"""Closure of a run that was really trained, thirty steps long, against slow forward passes."""

import numpy as np
import pytest
import torch
from tiny_run import finish, tiny_trajectory

from circuit.errors import AnalysisError
from circuit.kinds.closure.settings import Settings
from circuit.measures.closure import (
    CONTROL,
    POOLED,
    SHUFFLED,
    WITHIN,
    explain,
    interval_changes,
)
from circuit.model.tap import Tap
from circuit.task.publish import write_benchmark
from circuit.training.records import RunRecord

SELECTION = {"winner": "L1H0", "runner_up": "L0H1", "bottom": "L0H0"}
INTERVALS = [(3, 10), (10, 20), (20, 30)]  # the run's checkpoints inside the window
OUTCOMES = {
    "answer_margin": {"scalar": "answer_margin", "competitor": "fixed_source"},
    "correct_value_logit": {"scalar": "correct_value_logit"},
}
ROUTES = {
    "support_attention": {"scalar": "support_attention", "head": "winner"},
    "named_head": {"scalar": "support_attention", "head": "L0H1"},
    "negative_answer_loss": {"scalar": "negative_answer_loss"},
}


def closure(**changes):
    settings = {
        "kind": "closure",
        "heads": "scan",
        "window": (3, 30),
        "outcomes": OUTCOMES,
        "routes": ROUTES,
        "folds": 4,
        **changes,
    }
    return Settings.model_validate(settings)


@pytest.fixture(scope="module")
def record(planted_benchmark, tmp_path_factory):
    """A benchmark on disk and a run that was trained on it, with checkpoints 0, 3, 10, 20, 30."""
    data, run = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run")
    metadata = write_benchmark(data, planted_benchmark)
    finish(tiny_trajectory(planted_benchmark, digest=metadata.digest), run, metadata.digest)
    return RunRecord(run / "manifest.json", data)


@pytest.fixture(scope="module")
def changes(record):
    return interval_changes(closure(), record, SELECTION, (3, 30))


@pytest.fixture(scope="module")
def slow(record):
    """Per step: logits [event, V] at the prediction and patterns [event, head L0H0 … L1H1, T]."""
    events = record.probes("validation_iid")
    found = {}
    for step in (3, 10, 20, 30):
        params = record.decoder.layout.views(record.theta(step))
        logits, patterns = [], []
        for e in range(len(events)):
            at = int(events.prediction[e])
            tap = Tap(capture=("layer_0_pattern", "layer_1_pattern"))
            out = record.decoder.forward(params, events.tokens[e : e + 1, : at + 1], tap)
            logits.append(out[0, -1].double().numpy())
            both = torch.cat([tap.cache[f"layer_{n}_pattern"][0, :, -1] for n in (0, 1)])
            patterns.append(both.double().numpy())
        found[step] = (np.stack(logits), patterns)
    return events, found


def expected_changes(slow, value):
    """Changes of a value(step, event, interval's first step) in the order of the table."""
    events, _ = slow
    return [
        value(stop, e, start) - value(start, e, start)
        for start, stop in INTERVALS
        for e in range(len(events))
    ]


def test_one_row_per_interval_of_the_window_and_event(changes, record):
    count = len(record.probes("validation_iid"))
    assert count == 32
    assert changes["event"].tolist() == [*range(count)] * 3
    starts = [start for start, _ in INTERVALS for _ in range(count)]
    assert changes["start"].tolist() == starts
    assert changes["stop"].tolist() == [dict(INTERVALS)[start] for start in starts]


def test_a_logits_change_is_its_difference_between_checkpoints(changes, slow):
    events, states = slow
    expected = expected_changes(slow, lambda step, e, _: states[step][0][e, int(events.answer[e])])
    np.testing.assert_allclose(changes["correct_value_logit"], expected, rtol=0, atol=1e-5)
    assert np.abs(expected).max() > 0.1


def test_a_fixed_competitor_is_the_best_wrong_token_at_the_intervals_start(changes, slow):
    events, states = slow

    def margin(step, e, start):
        answer = int(events.answer[e])
        wrong = states[start][0][e].copy()
        wrong[answer] = -np.inf
        return states[step][0][e, answer] - states[step][0][e, wrong.argmax()]

    expected = expected_changes(slow, margin)
    np.testing.assert_allclose(changes["answer_margin"], expected, rtol=0, atol=1e-5)
    moving = expected_changes(slow, lambda step, e, _: margin(step, e, step))
    assert np.abs(np.subtract(moving, expected)).max() > 1e-3


@pytest.mark.parametrize(
    ("route", "head"),
    [("support_attention", 2), ("named_head", 1), (CONTROL + "support_attention", 0)],
)
def test_a_heads_route_is_that_heads(changes, slow, route, head):
    events, states = slow

    def attention(step, e, _):
        return states[step][1][e][head, int(events.support_value[e])]

    np.testing.assert_allclose(changes[route], expected_changes(slow, attention), rtol=0, atol=1e-6)


def test_every_route_of_a_head_has_the_bottom_head_as_its_control(changes):
    """Also one that names its head; a route without a head is its own control."""
    controls = [c for c in changes if c.startswith(CONTROL)]
    assert controls == [CONTROL + "support_attention", CONTROL + "named_head"]
    assert changes[controls[0]].equals(changes[controls[1]])
    assert not changes[controls[0]].equals(changes["support_attention"])


def test_what_is_its_own_route_is_explained_wholly(record):
    settings = closure(routes={**ROUTES, "itself": OUTCOMES["correct_value_logit"]})
    changes = interval_changes(settings, record, SELECTION, (3, 30))
    found = explain(settings, changes)
    joint = found[(found["family"] == "joint") & (found["measure"] == "r2")]
    at = joint.set_index(["outcome", "against", "compared"])["mean"]
    for compared in (POOLED, WITHIN):
        assert at["correct_value_logit", "", compared] > 0.9999
        assert at["answer_margin", "", compared] < at["correct_value_logit", "", compared]
    # Its events shuffled, it explains nothing but when.
    assert at["correct_value_logit", SHUFFLED, WITHIN] < 0.1


def test_a_head_that_the_model_lacks_is_refused(record):
    settings = closure(routes={"far": {"scalar": "support_attention", "head": "L7H0"}})
    with pytest.raises(AnalysisError, match=r"head 'L7H0' does not exist .*L0H0 to L1H1"):
        interval_changes(settings, record, SELECTION, (3, 30))

"""What a closure says of an outcome that follows the route, the bottom head, both, or nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
from planted import untrained_twin
from viewing import changed, outcome, viewed

from circuit.kinds.closure.measure import closure_tables
from circuit.kinds.closure.settings import Settings
from circuit.measures.closure import CONTROL, explain, with_components
from circuit.measures.margin_change import along_parameters, margin_changes
from circuit.measuring import Table

EVENTS, STEPS = 40, (100, 200, 300, 400)
SETTINGS = {
    "heads": "scan",
    "window": (100, 400),
    "outcomes": {"margin": {"scalar": "answer_margin", "competitor": "fixed_source"}},
    "routes": {"route": {"scalar": "qk_separation", "head": "winner"}},
}
CLAIMS = (
    "what changed the margin",
    "explained within intervals",
    "explained over all intervals",
    "gain within intervals",
    "where what is left lies",
)
HEADS = {"winner": "L1H2", "runner_up": "L1H0", "bottom": "L0H3"}


@pytest.fixture(scope="module")
def between(planted, planted_events):
    """A function from the states at the four steps to the identity and the line integral."""
    events = planted_events.select(torch.arange(0, 160, 4)).crop()

    def found(*states):
        theta = dict(zip(STEPS, states, strict=True)).__getitem__
        about = (planted.decoder, theta, STEPS, events, planted.vocabulary.value_ids)
        return margin_changes(*about), along_parameters(*about, "simpson")

    return found


@pytest.fixture(scope="module")
def grown(between, planted):
    """The matching head's output grows to what was planted."""
    states = [planted.flat.clone() for _ in STEPS]
    for flat, share in zip(states, (0.1, 0.4, 0.7, 1.0), strict=True):
        planted.decoder.layout.views(flat)["layer_1.attn.W_O"][2].mul_(share)
    return between(*states)


@pytest.fixture(scope="module")
def grown_rows(grown):
    return told_tables(grown, slope=2.0)


def told_tables(exact, slope, control_slope=0.0):
    """The kind's tables, with an outcome of these slopes."""
    rng = np.random.default_rng(0)
    route, control = rng.normal(size=(2, EVENTS * 3))
    frame = pd.DataFrame(
        {
            "margin": slope * route + control_slope * control + 0.3 * rng.normal(size=len(route)),
            "route": route,
            CONTROL + "route": control,
            "event": np.tile(np.arange(EVENTS), 3),
            "start": np.repeat(STEPS[:-1], EVENTS),
            "stop": np.repeat(STEPS[1:], EVENTS),
        }
    )
    asked = Settings.model_validate({"kind": "closure", **SETTINGS})
    found = explain(asked, with_components(frame, exact[0]), exact[0])
    return closure_tables(*exact, found, HEADS)


def seen(folder, tables, settings=None, where=None, **to):
    """The report of tables, of whose rows some are changed; it has no figures."""
    rows = changed(tables["rows"].frame, where or {}, **to)
    return shown({**tables, "rows": Table(rows, "one number")}, folder, settings)


def shown(tables, folder, settings=None):
    facts = {"window": [100, 400], "winner": "L1H2", "bottom": "L0H3"}
    return viewed("closure", tables, folder, {**SETTINGS, **(settings or {})}, facts)


@pytest.fixture(scope="module")
def report(grown_rows, tmp_path_factory):
    return shown(grown_rows, tmp_path_factory.mktemp("grown"))


def test_what_changed_the_margin_is_told_before_what_is_fitted(report):
    """The planted head; by its writes, and by its parameters beside the bottom head's."""
    most = outcome(report, "what changed the margin")
    assert (most.verdict, most.about["part"]) == ("shown", "L1H2")
    moved = outcome(report, "what the head's parameters moved")
    assert (moved.verdict, moved.about["head"]) == ("shown", "L1H2")
    assert outcome(report, "change of the answer", outcome="answer_margin").verdict == "shown"
    answer = report["answer"]
    assert answer.index("nothing fitted") < answer.index("Fitted")


def test_an_outcome_that_follows_the_route_is_explained(report):
    for name in ("explained within intervals", "explained over all intervals"):
        assert outcome(report, name, outcome="margin").verdict == "shown"
    found = outcome(report, "explained within intervals")
    assert all(name in found.control for name in ("bottom head", "shuffled", "random routes"))
    assert not report["marks"]


def test_untrained_models_show_nothing(between, planted, tmp_path):
    """Four of them, as if one became the next: neither a part, nor a route, nor a gain."""
    exact = between(*(untrained_twin(planted, seed=seed).flat for seed in range(4)))
    report = seen(tmp_path, told_tables(exact, slope=0.0))
    found = [one for one in report["findings"] if one["verdict"] == "shown"]
    names = {one["name"] for one in found if one["name"] in CLAIMS}
    assert names == set()


@pytest.mark.parametrize("slopes", [(0.0, 0.0), (1.0, 1.0)])
def test_what_a_control_explains_as_well_is_open_and_marked(slopes, grown, tmp_path):
    """Nothing explains noise; and a bottom head that explains as much takes the routes' credit."""
    report = seen(tmp_path, told_tables(grown, *slopes))
    assert outcome(report, "explained within intervals").verdict != "shown"
    assert report["marks"]


def test_a_route_that_explains_less_than_the_bottom_head_is_not_shown(grown, tmp_path):
    tables = told_tables(grown, slope=0.1, control_slope=2.0)
    rows = tables["rows"].frame
    of = (rows["measure"] == "r2") & (rows["family"] == "joint") & (rows["compared"] == "within")
    assert rows[of].set_index("against").loc["excess over bottom head", "high"] < 0
    assert outcome(seen(tmp_path, tables), "explained within intervals").verdict != "shown"


def test_a_quadrature_that_misses_too_much_is_marked(grown_rows, tmp_path):
    of_movement = {"where": {"measure": "residual_of_movement"}, "mean": 0.02}
    assert any(
        "boole leaves 2" in one for one in seen(tmp_path, grown_rows, **of_movement)["marks"]
    )
    assert not seen(tmp_path, grown_rows, {"residual_bound": 0.03}, **of_movement)["marks"]

"""From settings to a window's table: requests, replayed stretches, files, and their sums."""

from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
from stretches import replay_stretch
from tiny_run import finish, tiny_recipe, tiny_trajectory

from circuit.artifacts import read_units
from circuit.attribution.tables import OUTPUTS, gather
from circuit.attribution.window import event_growth, sum_groups, window_sums
from circuit.config.terms import COMPARATORS, COMPONENTS
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.routing import qk_separation
from circuit.task.publish import write_benchmark
from circuit.training.records import RunRecord

REQUESTS = {
    "trace": {"kind": "optimizer_trace", "window": [0, 20], "top_parameters": 2},
    "growth": {
        "kind": "update_attribution",
        "window": [0, 20],
        "heads": "scan",
        "events": 9,
        "scalars": {
            "route": {"scalar": "qk_separation", "head": "winner"},
            "own": {"scalar": "qk_separation", "head": "winner", "rank": 2, "basis": "own"},
            "margin": {"scalar": "answer_margin", "competitor": "fixed_source"},
        },
        "path_rule": "simpson",
        "comparators": ["left", "simpson"],
        "groups": ["head"],
        "summed_groups": ["neuron"],
    },
    "other": {
        "kind": "update_attribution",
        "window": [0, 20],
        "heads": "scan",
        "scalars": {"loss": {"scalar": "negative_answer_loss"}},
    },
}
STRETCHES = ((0, 10), (10, 20))
DATA = {
    **REQUESTS["growth"],
    "kind": "data_attribution",
    "data": "lag",
    "memory": 4,
    "groups": ["whole"],
}
KINDS = {name: request["kind"] for name, request in REQUESTS.items()}


@pytest.fixture(scope="module")
def trained(planted_benchmark, tmp_path_factory):
    """Manifest of a run, and the folder of its benchmark."""
    data, run = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run")
    digest = write_benchmark(data, planted_benchmark).digest
    recipe = tiny_recipe(steps=20, early_checkpoints=(), optimizer={"learning_rate": 1e-2})
    finish(tiny_trajectory(planted_benchmark, recipe, digest=digest), run, digest)
    return run / "manifest.json", data


@pytest.fixture(scope="module")
def record(trained):
    return RunRecord(*trained)


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory):
    """Every output of two replay jobs, by name, in step order."""
    paths = {output.name: [] for output in OUTPUTS}
    for stretch in STRETCHES:
        folder = tmp_path_factory.mktemp("stretch")
        for name, path in replay_stretch(*trained, REQUESTS, stretch, folder).items():
            paths[name].append(path)
    return paths


def test_the_window_sums_to_the_growth_between_its_checkpoints(record, files):
    """Per event, from files alone, against the scalar at the two checkpoints."""
    rows, values = gather(files["components"], "growth"), gather(files["values"], "growth")
    events = gather(files["events"], "growth")
    probes = record.probes("validation_iid").select(range(1, 18, 2))
    first, last = (
        scalar_values(
            record.decoder,
            record.theta(step),
            probes,
            record.value_ids,
            {"": qk_separation((1, 0))},
        )[0].double()
        for step in (0, 20)
    )
    grown = event_growth(events, "route", (0, 20))
    assert grown.mean == pytest.approx(float((last - first).mean()), abs=1e-6)
    assert grown.count == 9
    assert grown.low < grown.mean < grown.high
    sums = {(s.scalar, s.path_rule): s for s in window_sums(rows, values)}
    assert set(sums) == {(s, r) for s in ("route", "own", "margin") for r in ("simpson", "left")}
    for (scalar, rule), found in sums.items():
        expected = event_growth(events, scalar, (0, 20)).mean
        assert found.growth == pytest.approx(expected, abs=1e-6)
        total = sum((*found.components.values(), *found.terms.values(), found.residual))
        assert total == pytest.approx(found.growth, abs=1e-9)
        assert tuple(found.components) == COMPONENTS
        assert tuple(found.comparators) == COMPARATORS
        changes = values.loc[values["scalar"] == scalar, "growth"]
        assert found.movement == pytest.approx(changes.abs().sum())
        assert found.movement >= abs(found.growth)
        relative = abs(found.residual) / found.movement
        assert found.relative_residual == pytest.approx(relative)
        assert (found.relative_residual < 0.01) or rule == "left"


def test_groups_of_two_jobs_add_up_to_the_components(files):
    summed = sum_groups(gather(files["summed_groups"], "growth"))
    assert not summed.duplicated(["scalar", "component", "group", "grouping"]).any()
    rows = gather(files["components"], "growth")
    main = rows[(rows["path_rule"] == "simpson") & rows["component"].isin(COMPONENTS)]
    expected = main.groupby(["scalar", "component"])["attribution"].sum()
    for grouping in ("head", "neuron"):
        chosen = summed[summed["grouping"] == grouping]
        found = chosen.groupby(["scalar", "component"])["attribution"].sum()
        pd.testing.assert_series_equal(found, expected, rtol=1e-9, atol=1e-12)


def test_analyses_of_one_job_are_told_apart(files):
    assert set(gather(files["values"], "other")["scalar"]) == {"loss"}
    assert set(gather(files["components"], "other")["path_rule"]) == {"trapezoid", "left"}
    assert gather(files["trace"], "trace")["step"].tolist() == list(range(20))
    assert gather(files["trace"], "growth").empty
    assert len(gather(files["top_parameters"], "trace")) == 40


def test_files_have_units_and_no_gaps(files):
    for output in OUTPUTS:
        for path in files[output.name]:
            assert read_units(path) == {
                name: unit for name, unit in output.units.items() if name in output.columns
            }
        for name in KINDS:
            table = gather(files[output.name], name)
            numbers = table.select_dtypes("number").to_numpy()
            assert np.isfinite(numbers).all(), output.name


def test_tables_depend_neither_on_the_order_of_stretches_nor_on_processes(trained, tmp_path):
    """Bytes of every file: one after the other, backwards, and at once in a process each."""
    requests = {**REQUESTS, "data": DATA}

    def calls(where):
        return [(*trained, requests, s, tmp_path / where / str(s[0])) for s in STRETCHES]

    forwards = [replay_stretch(*call) for call in calls("forwards")]
    backwards = [replay_stretch(*call) for call in reversed(calls("backwards"))][::-1]
    # Processes that know nothing of this one, as jobs are.
    with get_context("spawn").Pool(len(STRETCHES)) as pool:
        apart = pool.starmap(replay_stretch, calls("apart"))
    for others in (backwards, apart):
        for one, other in zip(forwards, others, strict=True):
            for name in (output.name for output in OUTPUTS):
                assert one[name].read_bytes() == other[name].read_bytes(), name


def test_a_job_without_analyses_leaves_typed_empty_tables():
    for output in OUTPUTS:
        table = output.collect({}, {})
        assert table.empty
        assert list(table) == ["analysis", *output.columns]
        assert {name: str(table[name].dtype) for name in output.units} == {
            name: output.columns[name] for name in output.units
        }


def test_a_window_that_did_not_move_has_no_relative_residual():
    rows = pd.DataFrame(
        {
            "step": 0,
            "scalar": "s",
            "path_rule": "left",
            "component": [*COMPONENTS, "residual"],
            "attribution": [1.0, 2.0, 0.0, 0.0, -3.0],
        }
    )
    values = pd.DataFrame({"step": [0], "scalar": "s", "before": 1.0, "after": 1.0, "growth": 0.0})
    (found,) = window_sums(rows, values)
    assert found.residual == -3
    assert found.relative_residual == float("inf")

"""From settings to a window's table: requests, replayed stretches, files, and their sums."""

from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
from stretches import SELECTIONS, replay_stretch
from tiny_run import finish, tiny_recipe, tiny_trajectory

from circuit.artifacts import read_units
from circuit.attribution.tables import OUTPUTS, gather
from circuit.attribution.window import Window, event_growth, sum_groups
from circuit.config.terms import COMPARATORS, COMPONENTS
from circuit.errors import AnalysisError
from circuit.kinds.update_attribution.settings import Settings
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
        "comparators": ["left"],
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


def window_of(files):
    """The window of the analysis ``growth``."""
    settings = Settings.model_validate(REQUESTS["growth"])
    return Window(files, "growth", settings, (0, 20), SELECTIONS["scan"])


def test_the_window_sums_to_the_growth_between_its_checkpoints(record, files):
    """Per event, from files alone, against the scalar at the two checkpoints."""
    values = gather(files["values"], "growth")
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
    window = window_of(files)
    rows = window.sums()
    main = rows[rows["against"] == ""].set_index(["scalar", "path_rule", "measure", "component"])
    mean = main["mean"].to_dict()
    for scalar in ("route", "own", "margin"):
        growth = mean[scalar, "", "growth", ""]
        assert growth == pytest.approx(event_growth(events, scalar, (0, 20)).mean, abs=1e-6)
        movement = mean[scalar, "", "movement", ""]
        changes = values.loc[values["scalar"] == scalar, "growth"]
        assert movement == pytest.approx(changes.abs().sum())
        assert movement >= abs(growth)
        for rule in ("simpson", "left"):
            parts = main.loc[(scalar, rule, "contribution"), "mean"]
            assert tuple(parts.index[: len(COMPONENTS)]) == COMPONENTS
            assert parts.drop("whole").sum() == pytest.approx(growth, abs=1e-9)
            assert parts["whole"] == pytest.approx(parts[list(COMPONENTS)].sum())
            share = mean[scalar, rule, "residual_of_movement", ""]
            assert share == pytest.approx(abs(parts["residual"]) / movement)
            assert share < 0.01 or rule == "left"
    assert set(rows["against"]) == {"", *COMPARATORS}
    assert rows.set_index("scalar")["head"].to_dict() == {
        "route": "L1H0",
        "own": "L1H0",
        "margin": "model",
    }


def test_intervals_sum_to_the_window(files):
    window = window_of(files)
    keys = ["scalar", "path_rule", "component", "against"]
    intervals, rows = (
        table[table["measure"] == "contribution"].groupby(keys)["mean"].sum()
        for table in (window.intervals(), window.sums())
    )
    pd.testing.assert_series_equal(intervals, rows, rtol=1e-9, atol=1e-12)
    ends = window.intervals()
    assert (ends["stop"] == ends["step"] + 1).all()


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


def test_parts_that_do_not_sum_to_the_growth_beside_them_are_refused(files):
    window = window_of(files)
    window.components = window.components.query("component != 'momentum'")
    with pytest.raises(AnalysisError, match=r"parts sum to .* growth of route by simpson"):
        window.sums()


def test_what_is_left_of_no_movement_is_without_bound(files):
    window = window_of(files)
    parts, keys = window.components, ["step", "scalar"]
    rest, grown = parts["component"] == "residual", window.values.set_index(keys)["growth"]
    still = pd.MultiIndex.from_frame(parts.loc[rest, keys])
    parts.loc[rest, "attribution"] -= grown.loc[still].to_numpy()
    window.values = window.values.assign(growth=0.0)
    shares = window.sums().query("measure == 'residual_of_movement'")["mean"]
    assert np.isinf(shares).all()

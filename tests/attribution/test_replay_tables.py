"""The files of replay jobs: their columns, who is in them, and that the cut is no matter."""

import numpy as np
import pandas as pd
import pytest
from scalar_cases import DICTIONARIES
from tiny_run import finish, tiny_recipe, tiny_trajectory

from circuit.artifacts import write_rows
from circuit.attribution.observers import observers
from circuit.attribution.tables import OUTPUTS, gather
from circuit.attribution.window import Window, event_growth, sum_groups
from circuit.config.plan import CHORD_TABLES, REPLAY_TABLES
from circuit.kinds.update_attribution.settings import Settings
from circuit.task.publish import write_benchmark
from circuit.training.records import RunRecord
from circuit.training.replay import replay

ATTRIBUTION = {
    "kind": "update_attribution",
    "window": [0, 12],
    "heads": "scan",
    "events": 4,
    "scalars": {
        "route": {"scalar": "qk_separation", "head": "winner"},
        "logit": {"scalar": "correct_value_logit"},
    },
    "groups": ["module"],
}
REQUESTS = {
    "trace": {"kind": "optimizer_trace", "window": [0, 12], "top_parameters": 3},
    "bare_trace": {"kind": "optimizer_trace", "window": [0, 12], "top_parameters": 0},
    "growth": ATTRIBUTION,
    "layers": {**ATTRIBUTION, "groups": ["layer"], "comparators": []},
    "causes": {
        "kind": "feature_causes",
        "window": [0, 12],
        "heads": "scan",
        "events": 4,
        "scalars": {
            "born": {
                "scalar": "feature_drive",
                "dictionary": "shared",
                "features": "every",
                "role": "support_value",
            }
        },
        "top": 2,
        "groups": ["module"],
    },
}
KINDS = {name: request["kind"] for name, request in REQUESTS.items()}
SELECTIONS = {"scan": {"winner": "L1H0", "runner_up": "L0H0", "bottom": "L1H1"}}


@pytest.fixture(scope="module")
def record(planted_benchmark, tmp_path_factory):
    data, run = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run")
    digest = write_benchmark(data, planted_benchmark).digest
    recipe = tiny_recipe(steps=12, checkpoint_every=4, early_checkpoints=())
    finish(tiny_trajectory(planted_benchmark, recipe, digest=digest), run, digest)
    return RunRecord(run / "manifest.json", data)


def watched(record, start, stop):
    """The observers' tables of one stretch, by analysis."""
    watching = observers(REQUESTS, record, SELECTIONS, start, DICTIONARIES)
    for step in replay(record.trajectory, record.manifest, start, stop, lambda _: None):
        for observer in watching.values():
            observer.see(step)
    return {name: observer.tables() for name, observer in watching.items()}


@pytest.fixture(scope="module")
def tables(record):
    return watched(record, 0, 12)


@pytest.fixture(scope="module")
def paths(record, tables, tmp_path_factory):
    """Files of a window cut into so many jobs, by number of jobs and name."""
    found = {1: [tables], 3: [watched(record, start, start + 4) for start in (0, 4, 8)]}
    paths = {}
    for jobs, stretches in found.items():
        for number, stretch in enumerate(stretches):
            folder = tmp_path_factory.mktemp(f"job{jobs}-{number}")
            for output in OUTPUTS:
                path = folder / f"{output.name}.parquet"
                write_rows(path, output.collect(stretch, KINDS), output.units, output.description)
                paths.setdefault((jobs, output.name), []).append(path)
    return paths


@pytest.fixture(scope="module")
def gathered(paths):
    """A function: one analysis' rows of one file, from a window cut into so many jobs."""
    return lambda jobs, output, analysis: gather(paths[jobs, output], analysis)


def test_the_workflow_knows_the_files_by_name():
    assert tuple(output.name for output in OUTPUTS) == REPLAY_TABLES


def slow_logits(record, step):
    """Answer logit of every probe event, one forward pass each."""
    probes, params = (
        record.probes("validation_iid"),
        record.decoder.layout.views(record.theta(step)),
    )
    found = []
    for tokens, at, answer in zip(probes.tokens, probes.prediction, probes.answer, strict=True):
        logits = record.decoder.forward(params, tokens[None, : int(at) + 1])
        found.append(float(logits[0, -1, answer]))
    return found


def test_attributions_are_of_the_events_that_did_not_choose_the_head(record, tables):
    """The first ``events`` with odd numbers, at both ends of the window."""
    events = tables["growth"]["events"]
    for step in (0, 12):
        logits = slow_logits(record, step)
        at = events[(events["scalar"] == "logit") & (events["step"] == step)]
        assert at["event"].tolist() == list(range(4))
        assert at["value"].tolist() == pytest.approx(logits[1:8:2], rel=1e-4)
        assert np.abs(np.subtract(logits[1:8:2], logits[0:7:2])).min() > 1e-3
    values = tables["growth"]["values"].set_index(["step", "scalar"])
    before = np.mean(slow_logits(record, 0)[1:8:2])
    assert values.loc[(0, "logit"), "before"] == pytest.approx(before, rel=1e-4)


def test_more_events_than_confirm_are_all_that_confirm(record):
    request = {**ATTRIBUTION, "events": 10_000}
    watching = observers({"growth": request}, record, SELECTIONS, 0, {})
    for step in replay(record.trajectory, record.manifest, 0, 4, lambda _: None):
        watching["growth"].see(step)
    events = watching["growth"].tables()["events"]
    at = events[(events["scalar"] == "logit") & (events["step"] == 0)]
    assert at["value"].tolist() == pytest.approx(slow_logits(record, 0)[1::2], rel=1e-4)


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.name)
def test_a_file_has_the_columns_of_its_observers_table(tables, output):
    """None of the observer's is lost, and an empty file has the types of a full one."""
    for name in (name for name, kind in KINDS.items() if kind in output.kinds):
        table = tables[name].get(output.table)
        if table is None:
            continue
        assert set(table.columns) == set(output.columns)
        alone = output.collect({name: tables[name]}, KINDS)
        assert list(alone) == ["analysis", *output.columns]
        pd.testing.assert_frame_equal(alone[list(table)], table, check_dtype=False)
    several, none = output.collect(tables, KINDS), output.collect({}, {})
    assert len(several) > len(none) == 0
    pd.testing.assert_series_equal(several.dtypes, none.dtypes)


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.name)
def test_every_number_of_a_file_has_a_unit(tables, output):
    assert set(output.collect(tables, KINDS).select_dtypes("number")) == set(output.units)


def test_a_file_holds_the_analyses_of_its_kind_that_have_rows(tables):
    present = {o.name: set(o.collect(tables, KINDS)["analysis"]) for o in OUTPUTS}
    assert present["trace"] == present["batches"] == {"trace", "bare_trace"}
    assert present["top_parameters"] == {"trace"}
    for name in ("components", "values", "groups", "events"):
        assert present[name] == {"growth", "layers"}
    assert present["summed_groups"] == {"growth", "layers", "causes"}
    assert present["sums"] == present["event_parts"] == {"causes"}


@pytest.mark.parametrize(
    ("output", "analysis"),
    [
        ("trace", "trace"),
        ("batches", "bare_trace"),
        ("top_parameters", "trace"),
        ("values", "growth"),
        ("groups", "growth"),
    ],
)
def test_three_jobs_give_the_rows_of_one(gathered, output, analysis):
    one, three = gathered(1, output, analysis), gathered(3, output, analysis)
    pd.testing.assert_frame_equal(one, three, check_exact=True)
    assert len(one) > 0
    assert one["step"].is_monotonic_increasing


def test_three_jobs_give_the_components_of_one(gathered):
    """In each job's order of path rules."""
    keys = ["step", "scalar", "path_rule", "component"]
    one, three = (
        gathered(jobs, "components", "growth").sort_values(keys).reset_index(drop=True)
        for jobs in (1, 3)
    )
    pd.testing.assert_frame_equal(one, three, check_exact=True)


def test_three_jobs_give_the_sums_of_one(gathered):
    keys = ["scalar", "component", "data_group", "group", "grouping"]
    one, three = (
        sum_groups(gathered(jobs, "summed_groups", "growth")).set_index(keys) for jobs in (1, 3)
    )
    assert len(gathered(3, "summed_groups", "growth")) == 3 * len(one)
    pd.testing.assert_frame_equal(one, three, rtol=1e-12, atol=1e-15)
    for scalar in ATTRIBUTION["scalars"]:
        first, second = (
            event_growth(gathered(jobs, "events", "growth"), scalar, (0, 12)) for jobs in (1, 3)
        )
        assert first == second
    # A job notes its first state too, which is the last of the job before.
    assert len(gathered(3, "events", "growth")) == len(gathered(1, "events", "growth")) + 2 * 2 * 4


def test_every_feature_of_a_dictionary_is_one_scalar_and_rows_are_few(gathered):
    """Sums of three jobs are those of one; the rows of a stretch do not grow with its steps."""
    keys = ["scalar", "component", "path_rule"]
    one, three = (gathered(jobs, "sums", "causes") for jobs in (1, 3))
    features = DICTIONARIES["shared"].size
    assert list(dict.fromkeys(one["scalar"])) == [f"born {n}" for n in range(features)]
    assert len(three) == 3 * len(one) == 3 * features * 8  # parts, residual, growth
    assert list(dict.fromkeys(zip(three["step"], three["stop"], strict=True))) == [
        (0, 4),
        (4, 8),
        (8, 12),
    ]
    sums = ["attribution", "sizes"]
    first, second = (table.groupby(keys, sort=False)[sums].sum() for table in (one, three))
    pd.testing.assert_frame_equal(first, second, rtol=1e-5, atol=1e-7)
    for jobs in (1, 3):
        told = gathered(jobs, "event_parts", "causes")
        assert told.groupby("scalar").ngroups == 2
        means = told.groupby(["scalar", "component", "step"])["attribution"].mean()
        whole = gathered(jobs, "sums", "causes").set_index(["scalar", "component", "step"])
        expected = whole.loc[means.index, "attribution"]
        pd.testing.assert_series_equal(means, expected, check_names=False, rtol=1e-6, atol=1e-9)
        groups = gathered(jobs, "summed_groups", "causes")
        assert set(groups["scalar"]) == set(told["scalar"])


def test_told_features_are_those_that_grew_most_on_the_events_that_choose(record, tables):
    """Their growth on these, by hand; the rest of the dictionary grew less."""
    it, probes = DICTIONARIES["shared"], record.probes("validation_iid")
    means = []
    for step in (0, 12):
        params, found = record.decoder.layout.views(record.theta(step)), []
        for event in range(0, 8, 2):
            tap = record.decoder.tap(["layer_0_post_mlp"])
            record.decoder.forward(params, probes.tokens[event : event + 1], tap)
            state = tap.cache["layer_0_post_mlp"][0, int(probes.support_value[event])]
            found.append((state - it.b_dec.float()) @ it.W_enc.float() + it.b_enc.float())
        means.append(np.mean([row.detach().numpy() for row in found], axis=0))
    growth = means[1] - means[0]
    expected = {f"born {number}" for number in np.argsort(growth)[-2:]}
    assert set(tables["causes"]["event_parts"]["scalar"]) == expected


def test_a_window_of_three_jobs_is_that_of_one(paths):
    settings = Settings.model_validate(ATTRIBUTION)
    one, three = (
        Window(
            {name: paths[jobs, name] for name in CHORD_TABLES},
            "growth",
            settings,
            (0, 12),
            SELECTIONS["scan"],
        ).sums()
        for jobs in (1, 3)
    )
    pd.testing.assert_frame_equal(one, three, rtol=1e-9, atol=1e-15)
    # The first rule is the one whose atoms are split; later analyses rely on its place.
    assert one["path_rule"].iloc[0] == "trapezoid"


def test_gathering_keeps_the_order_of_the_files_and_one_analysis(tmp_path):
    paths = []
    for number, steps in enumerate(([0, 1], [2], [])):
        path = tmp_path / f"{number}.parquet"
        frame = pd.DataFrame({"analysis": ["a"] * len(steps) + ["b"], "step": [*steps, 99]})
        write_rows(path, frame, {"step": "step"}, "a row")
        paths.append(path)
    assert gather(paths, "a")["step"].tolist() == [0, 1, 2]
    assert gather(paths[::-1], "a")["step"].tolist() == [2, 0, 1]
    assert list(gather(paths, "a")) == ["step"]
    assert gather(paths, "nobody").empty

"""From a sweep's tables to windows: the curves, their births, and what is merged."""

import subprocess
import sys

import pytest
import torch
from birth_curves import STEPS, sweep_tables

from circuit.artifacts import write_json
from circuit.errors import AnalysisError
from circuit.measures.births.evidence import (
    Evidence,
    evidence_rows,
    gather,
    merged_windows,
    window_rows,
)
from circuit.measures.births.named_window import window_steps
from circuit.measures.births.sweep_curves import read_curves
from circuit.measures.sweep.behaviour import SplitReads
from circuit.measures.sweep.checkpoints import SweepInputs, checkpoint_sweep
from circuit.measures.sweep.probes import ProbeReads

NAMES = ["accuracy", "heldout_accuracy", "q", "r", "w", "importance", "drift", "ranks"]
RUN = (0, 1300)


def curves(tables):
    return read_curves(*tables, "iid", "heldout", 0.5, 0.8)


def windows(tables):
    evidence = [gather(one, 50, 0) for one in curves(tables)]
    return merged_windows(evidence, RUN)


def test_every_curve_is_read_off_its_own_rows():
    births = dict(zip(NAMES, (600, 700, 100, 200, 800, 300, 400, 500), strict=True))
    found = {one.name: one for one in curves(sweep_tables(births))}
    assert list(found) == NAMES
    for name, at in births.items():
        evidence = gather(found[name], 50, 0)
        assert evidence.birth == at, name
        assert evidence.moment == (STEPS[STEPS.index(at) - 1], at)
    assert found["importance"].mean.max() == 3.0  # the largest of the heads, not the MLP's 9
    assert found["drift"].steps.tolist() == STEPS[:-1]  # the reference itself says nothing
    assert found["drift"].direction == -1
    assert found["ranks"].steps.tolist() == STEPS[1:]


def test_a_model_whose_heads_have_no_order_has_no_ranks():
    rows, stages, components = sweep_tables({})
    bare = components[components["component"] != "heads"]
    assert [one.name for one in curves((rows, stages, bare))] == NAMES[:-1]


@pytest.mark.parametrize(
    ("table", "column", "value"), [(0, "split", "heldout"), (1, "stage", "final_norm")]
)
def test_missing_rows_are_refused_by_name(table, column, value):
    tables = sweep_tables({})
    tables[table] = tables[table][tables[table][column] != value]
    with pytest.raises(AnalysisError, match=r"no curve of (heldout_accuracy|drift): 0 rows"):
        curves(tables)


def test_overlapping_births_are_merged_and_touching_ones_are_not():
    evidence = [
        Evidence("b", None, 500, (300, 500), (200, 600)),
        Evidence("a", None, 400, (200, 400), (100, 900)),
        Evidence("c", None, 600, (500, 600), (500, 600)),
        Evidence("d", None, 1000, (900, 1000), (900, 1000)),
        Evidence("e", None),
    ]
    found = merged_windows(evidence, RUN)
    assert list(found) == ["main", "window_1", "window_2", "window_3", "b", "a", "c", "d", "e"]
    assert found["window_1"] == {
        "start": 200, "stop": 500, "evidence": ["a", "b"], "found": True
    }  # fmt: skip
    assert (found["window_2"]["start"], found["window_2"]["stop"]) == (500, 600)
    assert (found["window_3"]["start"], found["window_3"]["stop"]) == (900, 1000)
    assert found["main"] == found["window_1"]
    assert found["a"] == {
        "start": 100, "stop": 900, "evidence": ["a"], "found": True, "birth": 400
    }  # fmt: skip
    assert found["e"] == {
        "start": 0, "stop": 1300, "evidence": [], "found": False, "birth": None
    }  # fmt: skip


def test_the_earlier_of_equals_is_main():
    pieces = [("a", 500), ("b", 500), ("c", 900), ("d", 900), ("e", 200)]
    evidence = [Evidence(n, None, at, (at - 100, at), (at - 100, at)) for n, at in pieces]
    assert merged_windows(evidence, RUN)["main"]["stop"] == 500


def test_windows_start_before_they_stop_on_checkpoints():
    births = dict(zip(NAMES, (600, 700, 10, 200, 1300, 600, 600, 500), strict=True))
    for window in windows(sweep_tables(births)).values():
        assert window["start"] in STEPS
        assert window["stop"] in STEPS
        assert window["start"] < window["stop"]


def test_where_nothing_was_born_main_is_the_whole_run_and_says_so():
    found = windows(sweep_tables({}))
    assert found["main"] == {"start": 0, "stop": 1300, "evidence": [], "found": False}
    assert not any(name.startswith("window_") for name in found)
    assert not any(window["found"] for window in found.values())


def test_windows_are_estimates_with_their_share_of_accuracys_change():
    def rows(births):
        of = curves(sweep_tables(births))
        evidence = [gather(one, 50, 0) for one in of]
        return window_rows(merged_windows(evidence, RUN), evidence, of[0], 1300)

    found = rows({"accuracy": 600, "r": 300, "q": 300})
    at = found.set_index(["window", "measure"])
    assert at.loc[("accuracy", "share"), "mean"] == pytest.approx(1)
    assert at.loc[("main", "share"), "mean"] == pytest.approx(0)
    assert tuple(at.loc[("main", "start"), ["role", "setting", "evidence"]]) == (
        "main", "[200, 300]", "q, r"
    )  # fmt: skip
    assert (at.loc[("main", "start"), "mean"], at.loc[("main", "stop"), "mean"]) == (200, 300)
    assert at.loc[("accuracy", "pieces"), "mean"] == 1
    assert set(found.loc[found["role"] == "apart", "evidence"]) == {"accuracy"}
    missing = at.loc[("", "not_born")]
    assert (missing["mean"], missing["evidence"]) == (
        5, "heldout_accuracy, w, importance, drift, ranks"
    )  # fmt: skip
    outside = at.loc[("", "largest_change_outside_main")]
    assert (outside["mean"], outside["evidence"]) == (1, "accuracy")
    still = rows({})
    assert still.loc[still["measure"] == "share", "mean"].isna().all()


@pytest.fixture(scope="module")
def swept(planted_benchmark, planted_events):
    """A sweep of a 'run' whose parameters are given by step."""

    def sweep(decoder, theta, steps):
        vocabulary = planted_benchmark.vocabulary
        splits = {
            name: SplitReads(planted_benchmark.splits[name], vocabulary, 16)
            for name in ("validation_iid", "heldout_pairs")
        }
        reads = ProbeReads.of(planted_benchmark.splits["validation_iid"], vocabulary, 16)
        events = planted_events.select(range(0, 171, 6))
        inputs = SweepInputs(splits, reads, events, vocabulary.value_ids)
        found = checkpoint_sweep(decoder, theta, steps, inputs, steps[-1])
        return read_curves(*found.values(), "validation_iid", "heldout_pairs", 0.5, 0.8)

    return sweep


def trembling(flat, steps):
    """States that differ a little from step to step, as no two checkpoints of a run are equal."""
    generator = torch.Generator().manual_seed(0)
    return {
        step: flat(step)
        + 1e-4 * torch.randn(flat(0).shape, generator=generator, dtype=flat(0).dtype)
        for step in steps
    }


def test_a_run_that_becomes_the_planted_circuit_is_born_at_that_step(swept, planted, untrained):
    steps = range(0, 600, 100)
    states = trembling(lambda step: (untrained if step < 300 else planted).flat, steps)
    evidence = [gather(one, 50, 0) for one in swept(planted.decoder, states.__getitem__, steps)]
    main = merged_windows(evidence, (0, 500))["main"]
    assert main["found"]
    assert (main["start"], main["stop"]) == (200, 300)
    assert {"accuracy", "heldout_accuracy", "r", "w", "importance", "drift"} <= {*main["evidence"]}
    rows = evidence_rows(evidence)
    accuracy = rows[(rows["evidence"] == "accuracy") & (rows["method"] == "largest_jump")].iloc[0]
    assert accuracy["share"] == pytest.approx(1, abs=0.01)


def test_an_untrained_run_that_only_trembles_gives_birth_to_nothing(swept, untrained):
    steps = range(0, 600, 100)
    states = trembling(lambda _: untrained.flat, steps)
    found = swept(untrained.decoder, states.__getitem__, steps)
    evidence = [gather(one, 50, 0) for one in found]
    assert not merged_windows(evidence, (0, 500))["main"]["found"]
    assert not evidence_rows(evidence)["found"].any()


def test_births_need_no_torch():
    code = (
        "import sys; import circuit.measures.births.evidence; "
        "import circuit.kinds.birth_windows.measure, circuit.kinds.reference_model.measure; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# A window by its steps, or by the name under which an analysis found it


def test_a_window_is_its_steps_or_is_looked_up_by_its_name(tmp_path):
    found = {"main": {"start": 500, "stop": 800}, "accuracy": {"start": 600, "stop": 700}}
    file = tmp_path / "windows.json"
    write_json(file, {"windows": found})
    assert window_steps((100, 300), None) == (100, 300)
    assert window_steps("births.main", file) == (500, 800)
    assert window_steps("births.accuracy", file) == (600, 700)
    with pytest.raises(AnalysisError, match=r"no window 'births.q'.*one of accuracy, main"):
        window_steps("births.q", file)

"""What follows from a configuration: hosts and views, replay jobs, requests, targets, kinds."""

import re
import subprocess
import sys
from typing import Any, get_args

import pytest
from snakemake.io import regex_from_filepattern
from tiny_study import PROJECT, TINY, changed

from circuit.attribution.tables import CHORDS, OUTPUTS
from circuit.config.benchmark import SPLITS
from circuit.config.plan import (
    BENCHMARK_FILES,
    CHORD_TABLES,
    REPLAY_TABLES,
    Plan,
    ReplayJob,
    made,
)
from circuit.config.registry import KINDS, VIEWS, Analysis, files, view_files
from circuit.config.scalar import SCALAR_UNITS, ScalarName
from circuit.config.study import load_settings
from circuit.scalars.registry import SCALARS
from circuit.task.store import TABLES

RUN = "studies.quickstart.runs"
ANALYSIS = "studies.quickstart.analyses"


def plan(changes: dict[str, Any] | None = None) -> Plan:
    """The tiny study's plan, with other settings at dotted paths."""
    return Plan(load_settings(changed(TINY, changes or {})))


@pytest.fixture(scope="module")
def real() -> Plan:
    return Plan(load_settings(PROJECT / "workflow_config.yaml"))


def stretches(jobs: list[ReplayJob]) -> list[tuple[int, int]]:
    return [(job.start, job.stop) for job in jobs]


class TestViews:
    def test_a_sparser_run_of_the_same_seed_borrows_the_checkpoints(self) -> None:
        tiny = plan()
        assert tiny.runs["quickstart", "seed7_sparse"].view_of == "seed7"
        assert tiny.checkpoints("quickstart", "seed7_sparse") == {
            step: f"results/quickstart/seed7/train/checkpoints/step_{step:06d}.safetensors"
            for step in (0, 20, 40)
        }

    def test_the_run_that_keeps_more_is_the_host(self) -> None:
        tiny = plan()
        assert tiny.runs["quickstart", "seed7"].view_of is None
        assert list(tiny.checkpoints("quickstart", "seed7")) == [0, 10, 20, 30, 40]

    def test_the_reference_study_trains_three_runs_for_four(self, real: Plan) -> None:
        hosts = {name: run.view_of for (s, name), run in real.runs.items() if s == "reference"}
        assert hosts == {
            "formation_seed0007": None,
            "heldout_generalization": "formation_seed0007",
            "formation_seed0011": None,
            "formation_seed0013": None,
        }

    def test_of_two_equal_runs_the_first_is_the_host(self) -> None:
        tiny = plan({f"{RUN}.twin": {"recipe": "tiny", "seed": 7}})
        assert tiny.runs["quickstart", "twin"].view_of == "seed7"
        assert tiny.runs["quickstart", "seed7"].view_of is None

    def test_a_view_of_a_run_that_would_itself_be_a_view_goes_to_the_densest(self) -> None:
        tiny = plan(
            {
                "recipes.dense": {"base": "tiny", "checkpoint_every": 5},
                f"{RUN}.dense": {"recipe": "dense", "seed": 7},
            }
        )
        assert tiny.runs["quickstart", "seed7_sparse"].view_of == "dense"
        assert tiny.runs["quickstart", "seed7"].view_of == "dense"
        assert tiny.runs["quickstart", "dense"].view_of is None

    def test_a_run_cut_short_is_a_view_of_the_whole_one(self) -> None:
        tiny = plan({f"{RUN}.short": {"recipe": "tiny", "seed": 11, "steps": 20}})
        assert tiny.runs["quickstart", "short"].view_of == "seed11"
        assert list(tiny.checkpoints("quickstart", "short")) == [0, 10, 20]

    @pytest.mark.parametrize(
        "other",
        [
            {"recipe": "tiny", "seed": 8},
            {"recipe": "shifted", "seed": 7},
            {"recipe": "longer", "seed": 7},
            {"recipe": "faster", "seed": 7},
        ],
        ids=lambda run: f"{run['recipe']}-{run['seed']}",
    )
    def test_no_view_where_anything_that_counts_differs(self, other: dict[str, object]) -> None:
        tiny = plan(
            {
                "recipes.shifted": {"base": "tiny", "early_checkpoints": [3]},
                "recipes.longer": {"base": "sparse", "steps": 60},
                "recipes.faster": {"base": "sparse", "optimizer": {"learning_rate": 0.01}},
                f"{RUN}.seed7_sparse": other,
            }
        )
        assert tiny.runs["quickstart", "seed7_sparse"].view_of is None

    def test_runs_of_other_studies_are_no_hosts(self, real: Plan) -> None:
        assert real.runs["reference_partial", "formation_seed0007"].view_of is None


class TestReplayJobs:
    @pytest.mark.parametrize("longest", [1, 2, 3, 100])
    @pytest.mark.parametrize("attributed", [(10, 30), (0, 20), (20, 40), (0, 40)])
    @pytest.mark.parametrize("traced", [(10, 30), (30, 40), (0, 10)])
    def test_jobs_tile_every_window_exactly(
        self, longest: int, attributed: tuple[int, int], traced: tuple[int, int]
    ) -> None:
        tiny = plan(
            {
                "studies.quickstart.replay.segments_per_job": longest,
                f"{ANALYSIS}.attribution.window": list(attributed),
                f"{ANALYSIS}.data.window": list(attributed),
                f"{ANALYSIS}.causes.window": list(attributed),
                f"{ANALYSIS}.optimizer_trace.window": list(traced),
            }
        )
        jobs = stretches(tiny.replay_jobs("quickstart", "seed7"))
        assert jobs == sorted(set(jobs))
        for first, last in (attributed, traced):
            inside = stretches(tiny.replay_jobs("quickstart", "seed7", (first, last)))
            assert [start for start, _ in inside] == [first, *(stop for _, stop in inside[:-1])]
            assert inside[-1][1] == last
        covered = {s for first, last in (attributed, traced) for s in range(first, last)}
        assert sorted(covered) == [s for start, stop in jobs for s in range(start, stop)]
        assert all(stop - start <= 10 * longest for start, stop in jobs)

    def test_as_few_jobs_as_the_longest_allows(self) -> None:
        tiny = plan(
            {
                "studies.quickstart.replay.segments_per_job": 3,
                "studies.quickstart.windows.formation": [0, 40],
            }
        )
        assert stretches(tiny.replay_jobs("quickstart", "seed7")) == [(0, 30), (30, 40)]

    def test_early_checkpoints_are_segments_too(self) -> None:
        tiny = plan(
            {
                "recipes.tiny.early_checkpoints": [3],
                "studies.quickstart.windows.formation": [0, 20],
            }
        )
        assert stretches(tiny.replay_jobs("quickstart", "seed7")) == [(0, 3), (3, 10), (10, 20)]

    def test_a_run_that_nobody_looks_at_is_not_replayed(self) -> None:
        assert plan().replay_jobs("quickstart", "seed7_sparse") == []

    def test_reference_windows_have_one_job_a_segment(self, real: Plan) -> None:
        jobs = real.replay_jobs("reference", "formation_seed0007", (750, 2500))
        assert stretches(jobs) == [(s, s + 250) for s in range(750, 2500, 250)]


class TestRequests:
    def test_only_analyses_whose_window_holds_the_stretch_ask(self) -> None:
        tiny = plan({f"{ANALYSIS}.optimizer_trace.window": [20, 40]})
        asking = {
            (job.start, job.stop): list(tiny.requests("quickstart", "seed7", job.start, job.stop))
            for job in tiny.replay_jobs("quickstart", "seed7")
        }
        assert asking == {
            (10, 20): ["attribution", "causes", "data"],
            (20, 30): ["attribution", "causes", "data", "optimizer_trace"],
            (30, 40): ["optimizer_trace"],
        }

    def test_only_analyses_of_the_run_ask(self) -> None:
        assert list(plan().requests("quickstart", "seed11", 10, 20)) == ["attribution"]

    def test_a_request_carries_what_a_replay_needs_and_no_more(self) -> None:
        request = plan().requests("quickstart", "seed7", 10, 20)["attribution"]
        assert request["window"] == [10, 30]
        assert request["scalars"]["qk_separation_rank2"]["rank"] == 2
        assert not {"runs", "residual_bound", "top_groups"} & set(request)

    def test_what_is_asked_of_checkpoints_alone_is_asked_of_no_replay(self) -> None:
        tiny = plan()
        assert tiny.chords("quickstart", "seed7", "between") == (
            "results/quickstart/seed7/chords/between"
        )
        assert tiny.chords("quickstart", "seed7", "attribution") is None
        assert "between" not in tiny.replayed("quickstart", "seed7")
        assert tiny.request("quickstart", "between")["window"] == [0, 40]


class TestMeasuredWindows:
    def test_the_file_that_holds_them_is_the_finder_s_of_the_same_run(self) -> None:
        file = plan().measured_windows("quickstart", "seed7", "compare")
        assert file == "results/quickstart/seed7/births/windows.json"

    def test_steps_and_the_study_s_windows_need_no_file(self) -> None:
        tiny = plan({f"{ANALYSIS}.compare.window": "formation"})
        for name in ("compare", "competition", "paths"):
            assert tiny.measured_windows("quickstart", "seed7", name) is None

    def test_a_rule_carries_the_name_of_a_measured_window_and_the_steps_of_another(self) -> None:
        assert '"window": "births.main"' in plan().resolved("quickstart", "compare")
        assert '"window": [10, 30]' in plan().resolved("quickstart", "competition")


class TestTargets:
    @pytest.mark.parametrize("study", ["quickstart", "reference", "reference_partial"])
    def test_targets_are_unique_and_end_with_the_page(self, real: Plan, study: str) -> None:
        targets = real.targets(study)
        assert len(targets) == len(set(targets))
        assert targets[-1] == f"results/{study}/report.html"
        assert all(target.startswith(f"results/{study}/") for target in targets)

    def test_every_file_of_every_analysis_and_run_is_there(self) -> None:
        tiny, expected = plan(), {"results/quickstart/report.html"}
        for name, analysis in tiny.study("quickstart").analyses.items():
            listed = tiny.study("quickstart").runs if analysis.runs == "all" else analysis.runs
            folders = [f"{run}/{name}" for run in listed] if analysis.scope == "run" else [name]
            for folder in folders:
                made = files(analysis.kind).values()
                expected |= {f"results/quickstart/{folder}/{file}" for file in made}
        assert set(tiny.targets("quickstart")) == expected
        assert "results/quickstart/seed7_sparse/behaviour/learning_curve.svg" in expected
        assert "results/quickstart/cross_seed/growth.svg" in expected

    def test_settings_of_a_rule_hold_no_names_of_windows_or_runs(self) -> None:
        text = plan().resolved("quickstart", "attribution")
        assert '"window": [10, 30]' in text
        assert "seed11" not in text
        assert "\n" not in text

    def test_patterns_make_files_in_just_these_folders(self) -> None:
        shape, files = "results/{study}/{run}/{analysis}", {"rows": "rows.parquet"}
        folders = ["results/a/one/scan", "results/b/two/scan"]
        for asked_for, found in ((folders, folders), ([], [])):
            pattern = re.compile(regex_from_filepattern(made(asked_for, shape, files)["rows"]))
            every = [f"results/{s}/{r}/scan" for s in "ab" for r in ("one", "two", "twofold")]
            assert [f for f in every if pattern.match(f"{f}/rows.parquet")] == found


class TestRegistriesAgree:
    def test_kinds_are_the_analyses(self) -> None:
        union = get_args(get_args(Analysis)[0])
        assert set(KINDS.values()) == set(union)
        for kind, settings in KINDS.items():
            assert get_args(settings.model_fields["kind"].annotation) == (kind,)

    def test_the_tiny_study_has_every_kind(self) -> None:
        analyses = plan().study("quickstart").analyses.values()
        assert {analysis.kind for analysis in analyses} == set(KINDS)

    def test_scalars_have_units_and_nothing_else_has(self) -> None:
        assert set(SCALAR_UNITS) == set(get_args(ScalarName)) == set(SCALARS)

    def test_replay_tables_are_those_that_are_written(self) -> None:
        assert tuple(output.name for output in OUTPUTS) == REPLAY_TABLES
        assert tuple(output.name for output in CHORDS) == CHORD_TABLES

    def test_benchmark_files_are_those_that_are_written(self) -> None:
        assert set(SPLITS) <= set(TABLES) <= set(BENCHMARK_FILES)
        assert all(BENCHMARK_FILES[table] == f"{table}.parquet" for table in TABLES)

    @pytest.mark.parametrize("kind", VIEWS)
    def test_a_kind_is_a_folder_and_one_rule_block(self, kind: str) -> None:
        """Nothing else names a kind: no line of the library, the rules or the scripts."""
        rules = "\n".join(path.read_text() for path in (PROJECT / "rules").glob("*.smk"))
        base = {"run": "measure", "study": "compare"}[KINDS[kind].scope]
        [block] = re.findall(rf"^use rule {base} as {kind} with:\n(?: .*\n)+", rules, re.MULTILINE)
        assert block.count("\n") <= 8
        assert "unpack(needs(" in block
        assert f'**leaves("{kind}")' in block
        assert not re.search(rf"\b{kind}\b", rules.replace(block, ""))

    @pytest.mark.parametrize("kind", KINDS)
    def test_all_that_measuring_and_viewing_leave_is_a_target(self, kind: str) -> None:
        """Among them a figure that is called as the record that it draws."""
        left = [*KINDS[kind].measured_files().values(), *view_files(kind).values()]
        assert sorted(files(kind).values()) == sorted(set(left)) == sorted(left)

    def test_every_script_has_a_rule(self) -> None:
        rules = "".join(path.read_text() for path in (PROJECT / "rules").glob("*.smk"))
        used = set(re.findall(r'"\.\./src/scripts/(\w+)\.py"', rules))
        assert used == {path.stem for path in (PROJECT / "src" / "scripts").glob("*.py")}


def test_configuration_is_read_without_torch() -> None:
    """Every cluster job parses the Snakefile again; it must stay quick."""
    code = "import sys, circuit.config.plan, circuit.fingerprint; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

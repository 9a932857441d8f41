"""What ``snakemake -n`` says of a finished study, of the configuration and of wrong targets."""

from pathlib import Path

import pytest
from tiny_study import PROJECT, TINY, Tree, dry_runs, jobs_in

from circuit.config.plan import BENCHMARK_FILES, REPLAY_TABLES, Plan
from circuit.config.study import load_settings

CONFIG = PROJECT / "workflow_config.yaml"


@pytest.fixture(scope="module")
def unstarted(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The project's own configuration where nothing has been run."""
    tree = Tree.new(tmp_path_factory.mktemp("unstarted") / "tree")
    tree.path("workflow_config.yaml").write_bytes(CONFIG.read_bytes())
    return tree


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(load_settings(CONFIG))


def declared_files(plan: Plan, study: str) -> list[str]:
    """Every file that the rules of a study may be asked for."""
    files = plan.targets(study)
    files += [f"data/{plan.study(study).benchmark}/{name}" for name in BENCHMARK_FILES.values()]
    for run in plan.study(study).runs:
        planned = plan.runs[study, run]
        files += [planned.manifest, f"{planned.folder}/metrics.parquet"]
        files += plan.checkpoints(study, run).values()
        for job in plan.replay_jobs(study, run):
            files += [f"{job.folder}/{name}.parquet" for name in ("verification", *REPLAY_TABLES)]
    return list(dict.fromkeys(files))


def test_a_finished_study_has_nothing_to_do(finished: Tree) -> None:
    assert "Nothing to be done" in finished.dry_run(typed=True)


def test_a_copied_study_has_nothing_to_do(copied: Tree) -> None:
    assert copied.planned("quickstart") == {}


def test_a_finished_study_says_nothing_of_another(finished: Tree) -> None:
    assert finished.planned("other") == {
        "benchmark": 1,
        "train_other_alone": 1,
        "head_scan": 1,
        "view_head_scan": 1,
        "report": 1,
        "other": 1,
    }


def test_the_default_target_is_quickstart(unstarted: Tree) -> None:
    assert unstarted.planned() == unstarted.planned("quickstart")


@pytest.mark.parametrize("study", ["quickstart", "reference"])
def test_every_declared_file_is_a_target(unstarted: Tree, plan: Plan, study: str) -> None:
    files = declared_files(plan, study)
    jobs = unstarted.planned(*files)
    assert jobs.pop(study, 1) == 1
    runs = [run for (name, _), run in plan.runs.items() if name == study]
    trained = {f"train_{study}_{run.name}" for run in runs if run.view_of is None}
    assert {job for job in jobs if job.startswith("train_")} == trained
    assert jobs["replay"] == sum(len(plan.replay_jobs(study, run.name)) for run in runs)
    assert jobs["report"] == jobs["benchmark"] == 1


def test_what_nobody_asked_for_is_no_target(finished: Tree, tmp_path: Path) -> None:
    targets = [
        "quikstart",
        "results/quickstart/seed7/nonsense/report.md",
        # An analysis, a run and a stretch that exist, but not together.
        "results/quickstart/seed11/optimizer_trace/report.md",
        "results/other/alone/attention/report.md",
        "results/other/seed7/head_scan/report.md",
        "results/quickstart/seed11/replay/000030_000040/trace.parquet",
    ]
    said = dry_runs([(finished, [target]) for target in targets])
    for target, text in zip(targets, said, strict=True):
        assert f"No rule to produce {target}" in text, text
        assert "Traceback" not in text
    assert finished.call("-n", targets[0]).returncode == 1


def test_a_workflow_without_the_study_has_no_such_target(tmp_path: Path) -> None:
    config = {**TINY, "studies": {"other": TINY["studies"]["other"]}}
    tree = Tree.new(tmp_path / "tree", config)
    default, other, gone = dry_runs([(tree, []), (tree, ["other"]), (tree, ["quickstart"])])
    assert jobs_in(default) == jobs_in(other) != {}
    assert "MissingRuleException" in gone

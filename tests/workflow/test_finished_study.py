"""What a study leaves: every declared file, nothing else, and views that cost no training."""

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from tiny_study import TINY, Tree

from circuit.artifacts import read_json, read_rows, read_units
from circuit.config.plan import Plan
from circuit.config.registry import VIEWS
from circuit.config.study import load_settings
from circuit.training.checkpoints import Manifest

PLAN = Plan(load_settings(TINY))
STUDY = "results/quickstart"


def left(tree: Tree) -> set[str]:
    """Files below data/ and results/."""
    files = [f for top in ("data", "results") for f in tree.path(top).rglob("*") if f.is_file()]
    return {file.relative_to(tree.folder).as_posix() for file in files}


class TestFiles:
    def test_every_target_is_there(self, finished: Tree) -> None:
        assert set(PLAN.targets("quickstart")) <= left(finished)

    def test_nothing_is_there_that_nobody_declared(self, finished: Tree) -> None:
        folders = {str(Path(target).parent) for target in PLAN.targets("quickstart")}
        folders |= {run.folder for (study, _), run in PLAN.runs.items() if study == "quickstart"}
        folders |= {f"{STUDY}/seed7/train/checkpoints", f"{STUDY}/seed11/train/checkpoints"}
        folders |= {job.folder for at in PLAN.runs for job in PLAN.replay_jobs(*at)}
        folders |= {f"{STUDY}/seed7/chords/between"}
        assert {str(Path(file).parent) for file in left(finished)} == {*folders, "data/tiny_kv"}
        # Other files than the declared ones, were there any, would lie beside them.
        targets = {
            file
            for file in left(finished)
            if not any(part in file for part in ("/train", "/replay/", "/chords/"))
        }
        assert {f for f in targets if f.startswith("results")} == set(PLAN.targets("quickstart"))

    def test_no_unfinished_file_and_no_work_folder_is_left(self, finished: Tree) -> None:
        hidden = list(finished.path("results").rglob(".*"))
        assert hidden == []

    def test_every_table_has_units(self, finished: Tree) -> None:
        for file in finished.path(STUDY).rglob("*.parquet"):
            rows = read_rows(file)
            numbers = rows.select_dtypes(["number"]).columns
            assert set(numbers) <= set(read_units(file)), file

    def test_every_report_names_its_command_and_code(self, finished: Tree) -> None:
        for file in finished.path(STUDY).rglob("report.json"):
            report = read_json(file)
            markdown = file.with_suffix(".md").relative_to(finished.folder)
            if report["kind"] in VIEWS:
                measured = markdown.with_name("measured.json")
                assert report["command"] == f"snakemake --force {measured} {markdown}"
            assert "circuit/job.py" in json.dumps(report["provenance"])

    def test_every_replay_arrived_bit_for_bit(self, finished: Tree) -> None:
        tables = [read_rows(f) for f in finished.path(STUDY).rglob("verification.parquet")]
        assert len(tables) == 4
        assert all(table["exact"].all() for table in tables)


class TestViews:
    @pytest.fixture
    def view(self, finished: Tree) -> Manifest:
        return Manifest.read(finished.path(f"{STUDY}/seed7_sparse/train/manifest.json"))

    @pytest.fixture
    def host(self, finished: Tree) -> Manifest:
        return Manifest.read(finished.path(f"{STUDY}/seed7/train/manifest.json"))

    def test_its_checkpoints_lie_in_the_host_s_folder(self, view: Manifest) -> None:
        assert view.steps == (0, 20, 40)
        assert [entry["file"] for entry in view.checkpoints.values()] == [
            f"../../seed7/train/checkpoints/step_{step:06d}.safetensors" for step in view.steps
        ]
        assert sorted(path.name for path in view.folder.iterdir()) == [
            "manifest.json",
            "metrics.parquet",
        ]

    def test_it_reads_the_same_states(self, view: Manifest, host: Manifest) -> None:
        for step in view.steps:
            assert view.state(step).theta.equal(host.state(step).theta)

    def test_it_says_what_it_is(self, view: Manifest, host: Manifest) -> None:
        assert (view.run, view.seed) == ("seed7_sparse", 7)
        assert view.recipe.checkpoint_every == 20
        assert view.trajectory == host.trajectory

    def test_it_was_not_trained(self, finished: Tree) -> None:
        jobs = {
            "benchmark": 1,
            "train_quickstart_seed7": 1,
            "train_quickstart_seed11": 1,
            "view_quickstart_seed7_sparse": 1,
            "dataset_geometry": 1,
            "checkpoint_sweep": 3,
            "birth_windows": 1,
            "birth_window_compare": 1,
            "reference_model": 1,
            "full_evaluation": 1,
            "head_scan": 2,
            "attention_geometry": 1,
            "path_logits": 1,
            "circuit_map": 1,
            "component_effects": 1,
            "mediation": 1,
            "rescue": 1,
            "hypothesis_test": 1,
            "qk_features": 1,
            "intervention": 1,
            "coalitions": 1,
            "value_code": 1,
            "value_transfer": 1,
            "candidates": 1,
            "prompt_trace": 1,
            "weight_svd": 1,
            "embedding_alignment": 1,
            "update_geometry": 1,
            "contextual_geometry": 1,
            "scalar_progress": 1,
            "functional_write": 1,
            "dictionary": 1,
            "feature_births": 1,
            "families": 1,
            "example_gradients": 1,
            "route_features": 2,
            "foretold": 1,
            "replay": 4,
            "chords": 1,
            "optimizer_trace": 1,
            "update_attribution": 3,
            "data_attribution": 1,
            "feature_causes": 1,
            "closure": 1,
            "cross_seed": 1,
            "report": 1,
        }
        views = {f"view_{kind}": jobs[kind] for kind in VIEWS}
        assert finished.planned("--forceall", "quickstart") == {**jobs, **views}


def test_report_archive_shows_figures_and_captions(finished: Tree, tmp_path: Path) -> None:
    """``snakemake --report`` works without a network."""
    target = tmp_path / "report.zip"
    done = finished.call("--report", str(target))
    assert done.returncode == 0, done.stdout
    with ZipFile(target) as archive:
        names = {Path(name).name for name in archive.namelist()}
        html = archive.read("report/report.html").decode()
    figures = {Path(f).name for f in PLAN.targets("quickstart") if f.endswith(".svg")}
    assert figures <= names
    assert "what it shows, with intervals and controls, is in its report.md" in html

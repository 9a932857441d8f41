import json
import shutil

import pandas as pd
import pytest
from benchmark_examples import SMALL, changed

from circuit.artifacts import (
    content_sha256,
    read_json,
    read_rows,
    read_units,
    write_json,
    write_rows,
)
from circuit.config.benchmark import SPLITS, BenchmarkSettings
from circuit.errors import ArtifactError, BenchmarkError
from circuit.task.benchmark import build_benchmark
from circuit.task.publish import load_benchmark, write_benchmark
from circuit.task.store import TABLES, load_metadata, load_pairs, load_probes, load_split


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "small_kv"
    write_benchmark(path, small)
    return path


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "small_kv")


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    again = build_benchmark(BenchmarkSettings.model_validate(SMALL))
    write_benchmark(tmp_path / "anywhere", again)
    other = build_benchmark(BenchmarkSettings.model_validate(changed(SMALL, {"seed": 21})))
    write_benchmark(tmp_path / "other", other)
    files = contents(folder)
    assert set(files) == {
        *(f"{table}.parquet" for table in TABLES),
        "metadata.json",
        "audit.json",
        "audit.md",
    }
    assert contents(tmp_path / "anywhere") == files
    assert load_metadata(tmp_path / "other").digest != load_metadata(folder).digest
    for split in SPLITS:
        assert contents(tmp_path / "other")[f"{split}.parquet"] != files[f"{split}.parquet"]


def test_writing_over_an_older_benchmark_replaces_it(copy, folder, small):
    write_benchmark(copy, small)
    assert contents(copy) == contents(folder)


def test_a_benchmark_reads_back_as_it_was(folder, small, tmp_path):
    again = load_benchmark(folder)
    assert (again.settings, again.vocabulary) == (small.settings, small.vocabulary)
    assert again.heldout_pairs == small.heldout_pairs
    for split in SPLITS:
        pd.testing.assert_frame_equal(again.splits[split], small.splits[split])
    write_benchmark(tmp_path / "again", again)
    assert contents(tmp_path / "again") == contents(folder)


def test_metadata_say_what_is_in_the_files(folder, small):
    metadata = load_metadata(folder)
    assert metadata == load_metadata(folder / "metadata.json")
    plain = json.loads((folder / "metadata.json").read_text())
    assert plain["vocabulary"]["size"] == len(plain["vocabulary"]["tokens"]) == 46
    assert plain["counts"]["train"]["programs"] == 120
    assert plain["counts"]["train"]["reads"] == small.splits["train"]["reads"].sum()
    assert metadata.files == {
        table: content_sha256(folder / f"{table}.parquet") for table in TABLES
    }
    assert json.loads((folder / "audit.json").read_text())["passed"] is True
    assert (folder / "audit.md").read_text().startswith("# Benchmark audit\n\n**Passed.**")


def test_every_number_has_a_unit(folder):
    for table in TABLES:
        path = folder / f"{table}.parquet"
        numbers = read_rows(path).select_dtypes("number").columns
        assert set(numbers) <= set(read_units(path))
    assert read_units(folder / "train.parquet")["tokens"] == "id"


def test_probes_and_pairs_load(folder):
    assert len(load_probes(folder / "probes.parquet")) == 6 * 12
    assert len(load_pairs(folder / "pairs.parquet")) == 4 * 12
    skipped = read_rows(folder / "pairs_skipped.parquet")
    assert list(skipped.columns) == ["kind", "reason", "count"]


def test_a_file_of_another_split_is_refused_by_name(copy):
    shutil.copy(copy / "validation_iid.parquet", copy / "test_iid.parquet")
    found = content_sha256(copy / "test_iid.parquet")[:12]
    expected = load_metadata(copy).files["test_iid"][:12]
    with pytest.raises(BenchmarkError) as caught:
        load_split(copy / "test_iid.parquet")
    assert str(caught.value) == (
        f"test_iid.parquet is not the file that metadata.json describes (sha256 {found}…)"
        f" — where: {copy}/test_iid.parquet — expected: sha256 {expected}…"
        " — what to do: delete the benchmark's directory and let snakemake make it again"
    )
    load_split(copy / "validation_iid.parquet")
    with pytest.raises(BenchmarkError, match=r"test_iid\.parquet is not the file"):
        load_benchmark(copy)


@pytest.mark.parametrize("table", ["probes", "pairs"])
def test_changed_probes_or_pairs_are_refused_by_name(copy, table):
    path = copy / f"{table}.parquet"
    write_rows(path, read_rows(path).iloc[:-1], read_units(path))
    with pytest.raises(BenchmarkError, match=rf"{table}\.parquet is not the file"):
        {"probes": load_probes, "pairs": load_pairs}[table](path)


def test_files_of_the_wrong_kind_are_refused(folder):
    with pytest.raises(BenchmarkError) as caught:
        load_split(folder / "probes.parquet")
    assert str(caught.value) == (
        f"probes.parquet is not a file of this kind — where: {folder}/probes.parquet"
        " — expected: train.parquet or validation_iid.parquet or test_iid.parquet or"
        " heldout_pairs.parquet or structural_ood.parquet or counterfactual.parquet"
        " — what to do: pass the file's path in the benchmark's directory"
    )


def test_missing_files_are_named(copy):
    (copy / "train.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"file is missing — where: .*train\.parquet"):
        load_split(copy / "train.parquet")
    (copy / "metadata.json").unlink()
    with pytest.raises(ArtifactError, match=r"file is missing — where: .*metadata\.json"):
        load_split(copy / "test_iid.parquet")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.pop("files"), "'files'"),
        (lambda content: content.update(format=99), "format 99"),
        (lambda content: content["settings"].pop("n_keys"), "1 validation error"),
        (
            lambda content: content["files"].update(train="0" * 64),
            "digest does not follow from the digests of the splits",
        ),
    ],
)
def test_unusable_metadata_are_refused(copy, change, reason):
    path = copy / "metadata.json"
    content = read_json(path)
    change(content)
    write_json(path, content)
    with pytest.raises(BenchmarkError) as caught:
        load_metadata(copy)
    assert reason in str(caught.value)
    assert str(caught.value).startswith("metadata are not usable (")
    assert f"where: {path} — expected: metadata of a benchmark, format 1" in str(caught.value)


def test_a_benchmark_that_fails_its_audit_is_not_written(small, tmp_path):
    settings = small.settings.model_copy(update={"frequency_ceiling": 0.001})
    bad = type(small)(settings, small.vocabulary, small.heldout_pairs, small.splits)
    with pytest.raises(BenchmarkError, match="audit check most_frequent_value_before_query"):
        write_benchmark(tmp_path / "bad", bad)
    assert not (tmp_path / "bad").exists()

import pytest
import torch
from tiny_run import finish, tiny_recipe, tiny_trajectory

from circuit.config.benchmark import BenchmarkSettings
from circuit.errors import MismatchError
from circuit.task.benchmark import build_benchmark
from circuit.task.publish import write_benchmark
from circuit.task.store import load_probes
from circuit.training.records import RunRecord
from circuit.training.replay import replay


@pytest.fixture(scope="module")
def folders(planted_benchmark, tmp_path_factory):
    """A benchmark on disk and a run that was trained on it."""
    data, run = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run")
    metadata = write_benchmark(data, planted_benchmark)
    recipe = tiny_recipe(steps=4, checkpoint_every=2, early_checkpoints=())
    trajectory = tiny_trajectory(planted_benchmark, recipe, digest=metadata.digest)
    return data, finish(trajectory, run, metadata.digest).manifest.folder / "manifest.json"


def test_an_opened_run_replays_to_its_own_end(folders):
    """Everything that replaying needs comes from disk."""
    record = RunRecord(folders[1], folders[0])
    verified = []
    for _ in replay(record.trajectory, record.manifest, 0, 4, verified.append):
        pass
    assert [(v.step, v.exact) for v in verified] == [(2, True), (4, True)]


def test_probes_are_cut_at_their_read_and_in_the_order_of_the_file(folders):
    record = RunRecord(folders[1], folders[0])
    probes = load_probes(folders[0] / "probes.parquet")
    chosen = probes[probes["split"] == "validation_iid"]
    events = record.probes("validation_iid")
    assert list(events.sample_id) == chosen["sample_id"].tolist()
    assert events.prediction.tolist() == chosen["prediction"].tolist()
    assert events.answer.tolist() == chosen["answer"].tolist()
    assert record.value_ids == range(14, 46)


def test_parameters_are_those_of_the_checkpoint(folders):
    record = RunRecord(folders[1], folders[0])
    assert torch.equal(record.theta(2), record.manifest.state(2).theta)
    assert not torch.equal(record.theta(2), record.theta(4))


def test_a_run_is_not_opened_with_another_benchmark(folders, planted_benchmark, tmp_path):
    settings = planted_benchmark.settings.model_dump() | {"seed": 6}
    write_benchmark(tmp_path, build_benchmark(BenchmarkSettings.model_validate(settings)))
    with pytest.raises(MismatchError, match=r"^wrong benchmark for run tiny — where: .*"):
        RunRecord(folders[1], tmp_path)

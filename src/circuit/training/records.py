"""Opening a finished run: its manifest, its trajectory and the events it is measured on."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.model.transformer import Decoder
from circuit.task.events import ReadEvents, token_matrix
from circuit.task.frozen import probe_events
from circuit.task.store import BenchmarkMetadata, load_metadata, load_probes, load_split
from circuit.training.batches import BatchStream
from circuit.training.checkpoints import Manifest
from circuit.training.trajectory import Trajectory


class RunRecord:
    """A finished run together with its benchmark, both verified by digest.

    Args:
        manifest: path of the run's ``manifest.json``.
        benchmark: folder of the benchmark it was trained on.

    Raises:
        MismatchError: the benchmark is not the one the run was trained on.
    """

    def __init__(self, manifest: str | Path, benchmark: str | Path) -> None:
        self.manifest = Manifest.read(Path(manifest))
        self.benchmark_folder = Path(benchmark)
        self.benchmark: BenchmarkMetadata = load_metadata(benchmark)
        self.manifest.require_benchmark(self.benchmark.digest, str(benchmark))

    @cached_property
    def decoder(self) -> Decoder:
        """The run's model."""
        return self.manifest.decoder()

    @property
    def value_ids(self) -> range:
        """Token ids of values."""
        return self.benchmark.vocabulary.value_ids

    def theta(self, step: int) -> Float[Tensor, " P"]:
        """Parameters after ``step`` steps."""
        return self.manifest.state(step).theta

    def split(self, name: str) -> pd.DataFrame:
        """Programs of a split."""
        return load_split(self.benchmark_folder / f"{name}.parquet")

    def probes(self, split: str) -> ReadEvents:
        """The probe set's events of a split, programs cut at their read."""
        probes = load_probes(self.benchmark_folder / "probes.parquet")
        chosen = probes[probes["split"] == split].reset_index(drop=True)
        return probe_events(chosen, self.benchmark.vocabulary)

    @cached_property
    def trajectory(self) -> Trajectory:
        """What replays the run."""
        tokens, lengths = token_matrix(self.split(self.manifest.recipe.train_split))
        recipe, seed = self.manifest.recipe, self.manifest.seed
        stream = BatchStream(tokens, lengths, recipe.batch_size, seed)
        return Trajectory(self.decoder, recipe, seed, stream, self.manifest.trajectory)

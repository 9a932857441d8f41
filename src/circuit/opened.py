"""A finished run as kinds look at it: opened from a job's inputs, its passes counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from circuit.measuring import Job, Measured, Table
from circuit.model.counting import CountingDecoder
from circuit.scalars.dictionary_files import load_dictionaries
from circuit.scalars.features import Dictionary
from circuit.task.events import ReadEvents
from circuit.training.records import RunRecord


class OpenRun(RunRecord):
    """The run that a job looks at, whose inputs hold ``manifest`` and ``metadata``.

    Raises:
        MismatchError: the benchmark is not the one the run was trained on.
    """

    def __init__(self, job: Job[Any]) -> None:
        super().__init__(job.given["manifest"], Path(job.given["metadata"]).parent)
        self._job = job

    @property
    def steps(self) -> Sequence[int]:
        """Steps of the run's checkpoints."""
        return self.manifest.steps

    def at(self, checkpoints: Iterable[int | str]) -> list[int]:
        """Steps of some checkpoints, each once and in order; ``final`` is the last."""
        return sorted({self.steps[-1] if at == "final" else int(at) for at in checkpoints})

    @cached_property
    def counted(self) -> CountingDecoder:
        """The run's model; it counts its forward passes, which the report tells."""
        return CountingDecoder(self.decoder)

    @cached_property
    def events(self) -> ReadEvents:
        """Probe events of the analysis' split."""
        return self.probes(self._job.settings.split)

    @cached_property
    def dictionaries(self) -> dict[str, Dictionary]:
        """Dictionaries of features that the settings' scalars name."""
        given = self._job.given.get("dictionaries", [])
        asked = self._job.settings.model_dump()
        return load_dictionaries(asked, given, self.manifest.trajectory)

    def measured(
        self,
        tables: Mapping[str, Table],
        *,
        records: Mapping[str, Any] | None = None,
        files: Mapping[str, Callable[[str], None]] | None = None,
        facts: Mapping[str, Any] | None = None,
        seeds: Mapping[str, int] | None = None,
        events: int | None = None,
        backward: int = 0,
    ) -> Measured:
        """What was found, with the run's seed and what looking cost.

        Args:
            events: how many events make up a whole forward pass; None where none were counted.
            backward: how many backward passes were made.
        """
        return Measured(
            tables,
            records or {},
            files or {},
            facts or {},
            {"run": self.manifest.seed, **(seeds or {})},
            None if events is None else {**self._passes(events), "backward": backward},
        )

    def _passes(self, events: int) -> dict[str, Any]:
        passes = self.counted.passes
        return {
            "equivalent": passes.equivalent(events, self.decoder.settings.n_layers),
            "programs": events,
            "whole": passes.whole,
            "continued": passes.continued,
        }

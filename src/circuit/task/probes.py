"""The probe set: a small frozen set of read events, the same at every checkpoint.

From every split, programs are drawn without replacement and of each program one read, all with
the probe seed of the settings. So the probe set of a benchmark never changes unless its splits or
that seed do.
"""

from __future__ import annotations

import pandas as pd

from circuit.config.benchmark import SPLITS
from circuit.task.benchmark import Benchmark
from circuit.task.draws import Draws
from circuit.task.streams import SLICES, read_table


def build_probe_set(benchmark: Benchmark) -> pd.DataFrame:
    """Return one row per probe, in the order of splits and, within a split, of programs.

    Columns: split, sample_id, read_index; tokens (ids of the whole program), prediction (position
    where the answer is predicted), answer (id); and the slices of the read event.
    """
    settings = benchmark.settings.probes
    tables: list[pd.DataFrame] = []
    for split in SPLITS:
        frame = benchmark.splits[split]
        draws = Draws(settings.seed, "probes", split)
        rows = sorted(draws.sample(range(len(frame)), settings.programs_per_split))
        reads = [draws.below(int(frame["reads"].iloc[row])) for row in rows]
        programs = frame.iloc[rows].reset_index(drop=True)
        table = read_table(programs, benchmark.vocabulary)
        chosen = table[table["read_index"] == table["row"].map(dict(enumerate(reads)))]
        tables.append(
            pd.DataFrame(
                {
                    "split": split,
                    "sample_id": programs["sample_id"],
                    "read_index": chosen["read_index"].to_numpy(),
                    "tokens": programs["tokens"],
                    **{name: chosen[name].to_numpy() for name in ("prediction", "answer", *SLICES)},
                }
            )
        )
    return pd.concat(tables, ignore_index=True)

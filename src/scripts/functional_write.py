"""What a component's write does to a later state, over training, and through which part."""

from pathlib import Path

from circuit.artifacts import read_json, write_rows
from circuit.job import job
from circuit.kinds.functional_write.settings import Settings
from circuit.measures.writes.functional import UNITS, run_writes
from circuit.measures.writes.per_value import SPREAD_UNITS, VALUE_UNITS
from circuit.measures.writes.subspaces import SUBSPACE_UNITS
from circuit.model.counting import CountingDecoder
from circuit.reports import accounts_functional, figures_functional
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    decoder, selection = CountingDecoder(record.decoder), read_json(snakemake.input.heads)
    effects, by_value = run_writes(record, decoder, settings, selection)

    write_rows(out.rows, effects.rows, UNITS, "one part of one write's effect at one checkpoint")
    write_rows(
        out.positions, effects.positions, UNITS, "one write's effect at one role's positions"
    )
    write_rows(out.subspaces, effects.subspaces, SUBSPACE_UNITS, "one write subspace")
    write_rows(out.values, by_value.values, VALUE_UNITS, "one write's effect for one answer value")
    write_rows(out.value_spread, by_value.spread, SPREAD_UNITS, "one write at one checkpoint")
    figures_functional.write_effect(effects.rows, out.write_effect)
    figures_functional.write_positions(effects.positions, out.write_positions)
    figures_functional.write_subspace(effects.subspaces, out.write_subspace)
    figures_functional.write_values(by_value.values, by_value.spread, out.write_values)
    publish(
        accounts_functional.functional_write(
            effects.rows,
            effects.positions,
            effects.subspaces,
            by_value.values,
            by_value.spread,
            settings.rank,
            decoder.passes,
            decoder.settings.n_layers,
        ),
        facts,
        seeds={"run": record.manifest.seed, "controls": settings.seed},
    )

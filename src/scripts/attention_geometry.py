"""Where one head looks from the prediction position, over training."""

from pathlib import Path

from circuit.artifacts import read_json, write_rows
from circuit.config.kinds.mechanism import AttentionGeometry
from circuit.geometry.attention import PATTERN_UNITS, ROW_UNITS, attention_over_training
from circuit.job import job
from circuit.model.sites import parse_head
from circuit.reports import accounts_heads, figures_attention
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = AttentionGeometry.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    selection = read_json(snakemake.input.selection)
    name = selection.get(settings.head, settings.head)
    model = record.manifest.recipe.model
    rows, patterns = attention_over_training(
        record.decoder,
        record.theta,
        record.manifest.steps,
        record.probes(settings.split),
        record.benchmark.vocabulary,
        parse_head(name, model.n_layers, model.n_heads),
        settings.pictures,
    )

    write_rows(out.rows, rows, ROW_UNITS, "attention mass of one head on one role")
    write_rows(out.patterns_table, patterns, PATTERN_UNITS, "attention on one position")
    figures_attention.patterns(patterns, out.patterns)
    figures_attention.roles(rows, out.roles)
    publish(accounts_heads.attention(rows, name), facts, seeds={"run": record.manifest.seed})

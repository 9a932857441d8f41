"""One dictionary of features for all checkpoints, and what its features tell."""

from dataclasses import replace
from pathlib import Path

from circuit.artifacts import write_rows
from circuit.job import job
from circuit.kinds.shared_features.settings import Settings
from circuit.measures.features.families import FAMILY_UNITS, FEATURE_UNITS
from circuit.measures.features.shared import ROW_UNITS, shared_features
from circuit.measures.sweep.behaviour import SplitReads
from circuit.model.counting import CountingDecoder
from circuit.reports import accounts_features, figures_features
from circuit.reports.publish import publish
from circuit.scalars.features import write_dictionary
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    vocabulary, decoder = record.benchmark.vocabulary, CountingDecoder(record.decoder)
    split = SplitReads(record.split(settings.split), vocabulary, settings.programs)
    found = shared_features(
        decoder, record.theta, record.manifest.steps, split, vocabulary, settings
    )
    made = {
        "settings": settings.model_dump(mode="json", exclude={"runs"}),
        "trajectory": record.manifest.trajectory,
    }

    write_dictionary(out.dictionary, replace(found.dictionary, made=made))
    write_rows(out.rows, found.rows, ROW_UNITS, "one measure at one checkpoint")
    write_rows(out.features_table, found.features, FEATURE_UNITS, "one feature")
    write_rows(out.families, found.families, FAMILY_UNITS, "one family of features")
    figures_features.reconstruction(found.rows, out.reconstruction)
    figures_features.feature_births(found.rows, found.features, out.feature_births)
    figures_features.feature_families(found.rows, found.families, out.feature_families)
    publish(
        accounts_features.shared(
            found.rows,
            found.features,
            found.families,
            found.dictionary.stage,
            decoder.passes,
            (len(split.tokens), decoder.settings.n_layers),
        ),
        facts,
        seeds={"run": record.manifest.seed, "fit and shuffles": settings.seed},
    )

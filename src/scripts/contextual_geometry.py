"""How states fall into groups, and whether the weights' singular directions see the groups."""

from pathlib import Path

from circuit.artifacts import read_json, write_rows
from circuit.job import job
from circuit.kinds.contextual_geometry.settings import Settings
from circuit.measures.states.contextual import contextual_geometry
from circuit.measures.states.control_table import UNITS
from circuit.measures.states.group_pictures import PAIR_UNITS, PROJECTION_UNITS
from circuit.measures.sweep.behaviour import SplitReads
from circuit.model.counting import CountingDecoder
from circuit.model.sites import parse_head
from circuit.reports import accounts_contextual, figures_contextual
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    selection = read_json(snakemake.input.heads)
    model, vocabulary = record.manifest.recipe.model, record.benchmark.vocabulary
    decoder = CountingDecoder(record.decoder)
    split = SplitReads(record.split(settings.split), vocabulary, settings.programs)
    found = contextual_geometry(
        decoder,
        record.theta,
        record.manifest.steps,
        split,
        vocabulary,
        {
            chosen: parse_head(selection[chosen], model.n_layers, model.n_heads)
            for chosen in ("winner", "runner_up", "bottom")
        },
        settings,
    )

    write_rows(out.rows, found.rows, UNITS, "one measure of one grouping of states in one space")
    write_rows(out.alignment, found.alignment, UNITS, "one subspace compared with one other")
    write_rows(out.pairwise, found.pairwise, PAIR_UNITS, "one pair of groups at one checkpoint")
    write_rows(out.projections, found.projections, PROJECTION_UNITS, "one state in a plane")
    figures_contextual.separability(found.rows, out.separability)
    figures_contextual.alignment_curves(found.alignment, out.alignment_curves)
    figures_contextual.group_distances(found.pairwise, out.group_distances)
    figures_contextual.axes(found.projections, out.axes)
    account = accounts_contextual.contextual(
        found.rows,
        found.alignment,
        settings.rank,
        decoder.passes,
        (len(split.tokens), model.n_layers),
    )
    publish(
        account, facts, seeds={"run": record.manifest.seed, "draws and shuffles": settings.seed}
    )

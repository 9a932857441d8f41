"""What each split of the benchmark asks for, and what it changes against train."""

from circuit.artifacts import write_rows
from circuit.job import job
from circuit.kinds.dataset_geometry.settings import Settings
from circuit.measures.dataset import GRAPH_UNITS, HISTOGRAM_UNITS, UNITS, dataset_geometry
from circuit.reports import accounts_dataset, figures_dataset, figures_events
from circuit.reports.publish import publish
from circuit.task.pair_counts import OVERLAP_UNITS, PAIR_UNITS
from circuit.task.store import load_metadata, load_split

with job(snakemake, torch=False) as facts:
    given, out = snakemake.input, snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    benchmark = load_metadata(given.metadata)
    splits = {name: load_split(getattr(given, f"data_{name}")) for name in settings.splits}
    found = dataset_geometry(splits, benchmark.vocabulary, benchmark.heldout_pairs)

    write_rows(out.rows, found.rows, UNITS, "one measure of one split or slice, against train")
    write_rows(
        out.histograms,
        found.histograms,
        HISTOGRAM_UNITS,
        "how often one value of a quantity occurs",
    )
    write_rows(out.pairs, found.pairs, PAIR_UNITS, "one (key, value) pair in one split")
    write_rows(out.overlaps, found.overlaps, OVERLAP_UNITS, "the pairs of two splits")
    write_rows(out.graph, found.graph, GRAPH_UNITS, "one relation at one distance in one split")
    shortcut = accounts_dataset.best_shortcut(found.rows)
    figures_dataset.split_axes(found.rows, shortcut, out.split_axes)
    figures_dataset.distractors(found.histograms, out.distractors)
    figures_events.event_graph(found.graph, found.rows, out.event_graph)
    figures_events.pair_matrix(found.pairs, found.overlaps, out.pair_matrix)
    account = accounts_dataset.dataset(found.rows, found.pairs, found.overlaps, shortcut)
    publish(account, facts, seeds={"benchmark": benchmark.settings.seed})

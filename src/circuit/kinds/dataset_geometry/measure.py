"""What each split of the benchmark asks for, and what it changes against train."""

from circuit.kinds.dataset_geometry.settings import Settings
from circuit.measures.dataset import GRAPH_UNITS, dataset_geometry
from circuit.measuring import Job, Measured, Table
from circuit.task.pair_counts import OVERLAP_UNITS, PAIR_UNITS
from circuit.task.store import load_metadata, load_split


def measure(job: Job[Settings]) -> Measured:
    """Rows of every split; the other tables are counts that pictures are drawn from."""
    benchmark = load_metadata(job.given["metadata"])
    names: tuple[str, ...] = job.settings.splits
    splits = {name: load_split(job.given[f"data_{name}"]) for name in names}
    found = dataset_geometry(splits, benchmark.vocabulary, benchmark.heldout_pairs)
    rows = found.rows
    compared = rows[(rows["against"] == "") & (rows["group"] != "") & (rows["active_keys"] == "")]
    return Measured(
        tables={
            "rows": Table(rows, "one measure of one split"),
            "histograms": Table(
                found.histograms, "how often one value of a quantity occurs", {"value": "1"}
            ),
            "pairs": Table(found.pairs, "one (key, value) pair in one split", PAIR_UNITS),
            "overlaps": Table(found.overlaps, "the pairs of two splits", OVERLAP_UNITS),
            "graph": Table(found.graph, "one relation at one distance in one split", GRAPH_UNITS),
        },
        facts={"measures": int(compared["measure"].nunique())},
        seeds={"benchmark": benchmark.settings.seed},
    )

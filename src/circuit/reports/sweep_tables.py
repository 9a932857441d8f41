"""A sweep's tables, looked up and cut down to what a reader can take in."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from circuit.reports.document import Table
from circuit.reports.read_measures import UNITS, over_all_reads
from circuit.reports.style import thinned

CHECKPOINTS = 16
"""Rows of the table over training; the others are in ``rows.parquet``."""
_PROBED = (
    ("prediction", "answer"),
    ("prediction", "stale_value"),
    ("support_value", "query_key"),
    ("support_value", "latest"),
)
_EFFECT = ["mean", "low", "high"]
_BESIDE = {
    "answer_contribution": "logit",
    "attention_support_value": "probability",
    "attention_query_key": "probability",
    "write_norm": "state unit",
}


class SweepTables(NamedTuple):
    """What the analysis leaves; see :class:`circuit.measures.sweep.checkpoints.Sweep`."""

    rows: pd.DataFrame
    stages: pd.DataFrame
    components: pd.DataFrame
    ranking: pd.DataFrame

    @property
    def first(self) -> int:
        """The first checkpoint."""
        return int(self.rows["step"].min())

    @property
    def last(self) -> int:
        """The last checkpoint."""
        return int(self.rows["step"].max())

    @property
    def chosen(self) -> dict[str, pd.Series]:
        """Rows of the ranking: ``winner``, ``runner_up``, and, of the others, the one that matters
        least to the events that choose, ``bottom``; those that the model has enough components for.
        """
        found = dict(
            zip(("winner", "runner_up"), (r for _, r in self.ranking.iterrows()), strict=False)
        )
        rest = self.ranking.iloc[2:]
        if len(rest):
            found["bottom"] = rest.loc[rest["selection"].abs().idxmin()]
        return found

    def at_stages(
        self, measure: str, role: str, target: str = "", step: int | None = None
    ) -> pd.DataFrame:
        """One measure at every stage, in order; at the last checkpoint unless told otherwise."""
        rows = self.stages
        return rows[
            (rows["step"] == (self.last if step is None else step))
            & (rows["measure"] == measure)
            & (rows["role"] == role)
            & (rows["target"] == target)
        ]


def report_tables(tables: SweepTables, split: str) -> list[Table]:
    """All tables of the report.

    Args:
        split: whose margin, entropy and confidence stand beside the accuracies.
    """
    return [
        _over_training(tables, split),
        _probes(tables),
        _by_stage(tables),
        _components(tables),
        _ranking(tables),
    ]


def _over_training(tables: SweepTables, split: str) -> Table:
    whole = over_all_reads(tables.rows)
    wide = whole.pivot(index="step", columns=["split", "measure"], values="mean")
    splits = [name for name in dict.fromkeys(whole["split"]) if name != "probes"]
    columns = {f"accuracy on {name}": (name, "accuracy") for name in splits}
    columns |= {f"{m} on {split}": (split, m) for m in ("margin", "entropy", "confidence")}
    columns |= {measure: ("probes", measure) for measure in "qrw"}
    steps = thinned(wide.index.tolist(), CHECKPOINTS)
    frame = pd.DataFrame({name: wide.loc[steps, key] for name, key in columns.items()})
    units = {name: UNITS[measure] for name, (_, measure) in columns.items()}
    some = "" if len(steps) == len(wide) else f", {len(steps)} of {len(wide)} checkpoints"
    return Table(
        f"Behaviour over training, means over all reads{some}",
        frame.reset_index(),
        {"step": "step", **units},
    )


def _probes(tables: SweepTables) -> Table:
    parts = []
    for role, target in _PROBED:
        found = tables.at_stages("probe_accuracy", role, target)
        others = {
            "control": tables.at_stages("probe_control", role, target),
            "untrained": tables.at_stages("probe_accuracy", role, target, tables.first),
        }
        beside = {name: part["mean"].to_numpy() for name, part in others.items()}
        parts.append(found.assign(**beside)[[*_PROBE_COLUMNS]])
    return Table(
        f"What linear probes read at step {tables.last:,}, in share of scored reads (control: "
        "fitted on shuffled labels; untrained: the first checkpoint)",
        pd.concat(parts, ignore_index=True),
        dict.fromkeys(_PROBE_COLUMNS[3:], "1"),
    )


_PROBE_COLUMNS = (
    *("role", "target", "stage"),
    *("mean", "low", "high", "count", "control", "untrained"),
)


def _by_stage(tables: SweepTables) -> Table:
    lens = tables.at_stages("lens_margin", "prediction")
    columns = {
        "lens accuracy": tables.at_stages("lens_accuracy", "prediction"),
        "drift since previous": tables.at_stages("drift_previous", "prediction"),
        "drift to reference, untrained": tables.at_stages(
            "drift_reference", "prediction", step=tables.first
        ),
    }
    frame = lens[["stage", "mean", "low", "high", "count"]].rename(columns={"mean": "lens margin"})
    for name, part in columns.items():
        frame[name] = frame["stage"].map(part.set_index("stage")["mean"])
    units = {"lens margin": "logit", "low": "logit", "high": "logit", "count": "1"}
    return Table(
        f"The stream at the prediction position by stage, at step {tables.last:,} (low and high: "
        "of the lens margin)",
        frame,
        {**units, **dict.fromkeys(columns, "1")},
    )


def _components(tables: SweepTables) -> Table:
    rows = tables.components
    at = rows[(rows["step"] == tables.last) & (rows["role"] == "prediction")]
    effects = at[at["measure"] == "ablation_effect"].sort_values("mean", ascending=False)
    frame = effects[["component", *_EFFECT, "count"]].rename(columns={"mean": "ablation effect"})
    wide = at.pivot(index="component", columns="measure", values="mean")
    for measure in _BESIDE:
        frame[measure.replace("_", " ")] = frame["component"].map(wide[measure])
    units = {measure.replace("_", " "): unit for measure, unit in _BESIDE.items()}
    return Table(
        f"What every component does at the prediction position, at step {tables.last:,} (low and "
        "high: of the ablation effect)",
        frame,
        {**dict.fromkeys(("ablation effect", "low", "high"), "logit"), "count": "1", **units},
    )


def _ranking(tables: SweepTables) -> Table:
    return Table(
        f"Components by ablation effect at step {tables.last:,}: chosen on half of the events, "
        "measured on the other",
        tables.ranking,
        {**dict.fromkeys(("selection", *_EFFECT), "logit"), "count": "1"},
    )

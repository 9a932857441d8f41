"""What can be known of every candidate route at some steps, from nothing later than each."""

import pandas as pd

from circuit.estimates import estimates
from circuit.kinds.route_features.settings import Settings
from circuit.measures.candidates.early import TRAINED, run_features
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun

_MEASURES = ("strength", "gradient_norm", "alignment", "growth", "component_share")
_OWN = ("own_update_norm", "own_growth_share", "shared_cosine", "unique_growth")
_PARTS = {"alignment": TRAINED, "component_share": "momentum"}
RANKED = {name: _PARTS.get(name, "") for name in (*_MEASURES, *_OWN)}
"""Features that routes are ranked by, and the part of each that is."""
_NAMES = {"component_share": "momentum's share"}


def measure(job: Job[Settings]) -> Measured:
    """The features of every candidate at every cutoff, and who leads by them."""
    run, asked = OpenRun(job), job.settings
    rows, backward = run_features(run, run.counted, asked)
    return run.measured(
        tables={"rows": Table(feature_rows(rows), "one feature of one route at one cutoff")},
        seeds={"exchanged answers": asked.seed},
        events=len(run.events),
        backward=backward,
    )


def feature_rows(features: pd.DataFrame) -> pd.DataFrame:
    """Features with the routes' ranks by them (measure ``rank`` of a ``feature``, 1 the largest).

    ``place`` is ``first`` where no route has more of a feature's part; ``leads`` says by which of
    growth and strength a route is the first at a step.
    """
    bare = features[features["against"] == ""]
    firsts = bare.loc[bare.groupby(["step", "measure", "part"], sort=False)["mean"].idxmax()]
    rows = features.assign(feature="", place="")
    rows.loc[firsts.index, "place"] = "first"
    rows = pd.concat([rows, _ranks(bare)], ignore_index=True)
    leading = firsts[(firsts["part"] == "") & firsts["measure"].isin(("growth", "strength"))]
    by = leading.groupby(["step", "route"])["measure"].agg(" and ".join)
    leads = by.reindex(pd.MultiIndex.from_frame(rows[["step", "route"]])).fillna("")
    return estimates(rows.assign(leads=leads.to_numpy()))


def _ranks(features: pd.DataFrame) -> pd.DataFrame:
    """Ranks of the routes under every feature that they are ranked by; equals share theirs."""
    parts = [
        features[(features["measure"] == name) & (features["part"] == part)].assign(
            feature=_NAMES.get(name, name.replace("_", " ")), place=""
        )
        for name, part in RANKED.items()
    ]
    rows = pd.concat(parts)
    by = rows.groupby(["step", "feature"])["mean"]
    ranks = {"mean": by.rank(ascending=False), "count": by.transform("size"), "noun": "routes"}
    bare = rows.assign(part="", measure="rank", unit="1", low=float("nan"), high=float("nan"))
    return bare.assign(**ranks)

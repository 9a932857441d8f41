"""Growth of every feature's pre-activation by update component, gathered from the window's jobs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.attribution.tables import gather
from circuit.attribution.window import ALSO, FIRST, WHOLE, of_movement, sum_groups, top_groups
from circuit.config.attribution import GROWTH, RESIDUAL
from circuit.config.terms import COMPARATORS, COMPONENTS
from circuit.estimates import Estimates, estimates, require_sum
from circuit.kinds.feature_causes.settings import Settings
from circuit.measuring import Job, Measured, Table

PLAIN = "clipped_sgd"
_KEYS = {"scalar": "", "component": "", "path_rule": "", "asked": ""}


def measure(job: Job[Settings]) -> Measured:
    """Estimates of told features and of all of them together; every feature; parameter groups."""
    tables = {
        name: gather(job.given[name], job.facts.analysis)
        for name in ("sums", "event_parts", "summed_groups")
    }
    last, asked = job.window[1], job.settings
    every = every_feature(tables["sums"], last)
    told = told_features(tables["event_parts"], last, asked.path_rule)
    rows = pd.concat([told, together(every, list(told["scalar"].unique()), asked.path_rule)])
    groups = top_groups(sum_groups(tables["summed_groups"]), asked.top_groups)
    groups = groups.drop(columns="data_group").rename(columns={"attribution": "mean"})
    groups = estimates(groups, "activation", step=last, measure="contribution")
    return Measured(
        {
            "rows": Table(rows.reset_index(drop=True), "one number of a told feature, or of all"),
            "features": Table(every, "one number about one feature"),
            "largest_groups": Table(groups, "one part of a large parameter group", {"groups": "1"}),
        },
        facts={"features": int(every["scalar"].nunique())},
        seeds={"bootstrap": 0},
    )


def every_feature(sums: pd.DataFrame, last: int) -> pd.DataFrame:
    """Estimates of each feature; keys scalar, component, path_rule.

    ``contribution`` of every part, ``growth`` and ``movement``, and the closure residual's size as
    a share of the movement. Exact, of one trajectory on these events.

    Raises:
        AnalysisError: the parts of a feature do not sum to its growth.
    """
    keys = ["scalar", "path_rule", "component"]
    found = sums.groupby(keys, sort=False)[["attribution", "sizes"]].sum().reset_index()
    net, sizes = (
        found.pivot(index=["path_rule", "scalar"], columns="component", values=values)
        for values in ("attribution", "sizes")
    )
    booked = net.drop(columns=[GROWTH, *COMPARATORS])
    require_sum(booked.to_numpy(), net[GROWTH].to_numpy(), "growth of features")
    parts = found[found["component"] != GROWTH]
    compared = parts["component"].isin(COMPARATORS)
    parts = parts.assign(
        measure="contribution",
        against=parts["component"].where(compared, ""),
        component=parts["component"].mask(compared, WHOLE),
    ).rename(columns={"attribution": "mean"})
    wholes = {
        "growth": net[GROWTH],
        "movement": sizes[GROWTH],
        "residual_of_movement": pd.Series(
            of_movement(net[RESIDUAL].to_numpy(), sizes[GROWTH].to_numpy()), net.index
        ),
    }
    rows = [parts.drop(columns="sizes")]
    for measure, values in wholes.items():
        rows.append(values.rename("mean").reset_index().assign(measure=measure, component=""))
    unit = dict.fromkeys(("contribution", "growth", "movement"), "activation")
    unit["residual_of_movement"] = "share"
    return estimates(pd.concat(rows).fillna({"against": ""}), unit, step=last)


def told_features(parts: pd.DataFrame, last: int, path_rule: str) -> pd.DataFrame:
    """Estimates of told features, with intervals over programs, in the order of their growth.

    Every component, and all of them together, stands beside what plain steps of the clipped
    gradient from the same states would have given; excesses over that hold all at once.
    """
    names = list(parts["scalar"].unique())
    table = parts.groupby(["scalar", "component", "event"], sort=False)["attribution"].sum()
    rows = Estimates(last, {"contribution": "activation", "growth": "activation"}, families=1)
    for name in names:
        of = {
            component: one.to_numpy()
            for component, one in table[name].groupby(level="component", sort=False)
        }
        keys = {"scalar": name, "asked": FIRST if name == names[0] else ALSO}
        _add(rows, of, {**keys, "path_rule": path_rule})
        rows.add(of[GROWTH], "growth", component="", path_rule="", **keys)
    rows.excess(PLAIN)
    return rows.frame()


def _add(
    rows: Estimates, of: Mapping[str, Float[np.ndarray, " E"]], keys: Mapping[str, str]
) -> None:
    """The parts of one feature, as rows of every event."""
    booked = {name: of[name] for name in COMPONENTS}
    whole = sum(booked.values(), np.zeros(len(of[GROWTH])))
    for component, values in {**booked, WHOLE: whole}.items():
        rows.add(values, "contribution", component=component, **keys)
        rows.add(of[PLAIN], "contribution", PLAIN, component=component, **keys)
    rows.add(of[GROWTH] - whole, "contribution", component=RESIDUAL, **keys)


def together(every: pd.DataFrame, told: list[str], path_rule: str) -> pd.DataFrame:
    """Estimates of all features: which component is the largest, and how exactly parts sum.

    ``largest_for`` is the share of features of which a component gave most towards their growth, be
    it up or down; ``residual_of_movement`` that of told features, and the ``largest`` of all.
    """
    main = every[every["path_rule"] == path_rule]
    own = main[(main["measure"] == "contribution") & main["component"].isin(COMPONENTS)]
    net = own[own["against"] == ""].pivot(index="scalar", columns="component", values="mean")
    growth = main[main["measure"] == "growth"].set_index("scalar")["mean"]
    towards = net.mul(np.sign(growth), axis=0)[list(COMPONENTS)]
    share = towards.idxmax(axis=1).value_counts(normalize=True).reindex(COMPONENTS).fillna(0.0)
    shares = pd.DataFrame({"component": COMPONENTS, "mean": share, "measure": "largest_for"})
    rest = main[main["measure"] == "residual_of_movement"]
    worst = rest.loc[[rest["mean"].idxmax()]].assign(measure="largest_residual")
    rest = rest.set_index("scalar").loc[told].reset_index()
    rows = pd.concat([shares, rest, worst])[["component", "scalar", "mean", "measure"]]
    rows = rows.fillna(_KEYS).assign(path_rule=path_rule, asked="")
    counted = rows["measure"] == "largest_for"
    rows = rows.assign(count=np.where(counted, len(net), 0), noun=np.where(counted, "features", ""))
    rows = rows[[*_KEYS, "mean", "measure", "count", "noun"]]
    return estimates(rows, "share", step=every["step"].iloc[0])

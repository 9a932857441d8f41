"""A window's attribution made up for tests: the files of its jobs, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from circuit.artifacts import write_rows
from circuit.attribution.tables import CHORDS
from circuit.attribution.window import Window
from circuit.config.terms import COMPARATORS

STEPS = np.arange(500, 508)
HEADS = {"winner": "L1H2", "runner_up": "L0H0", "bottom": "L1H1"}
Parts = Mapping[tuple[str, str], float]


def files(folder: Path, parts: Mapping[str, Parts], spread: float = 0.5) -> dict[str, list[str]]:
    """Files of one job, by the name of their table.

    Args:
        parts: scalar → (component, data group) → what it gives over the window.
        spread: of growth over the twelve events.
    """
    found = [
        (step, scalar, component, group, "trapezoid", size / len(STEPS))
        for step in STEPS
        for scalar, own in parts.items()
        for (component, group), size in own.items()
    ]
    names = ["step", "scalar", "component", "data_group", "path_rule", "attribution"]
    components = pd.DataFrame(found, columns=names)
    summands = components[~components["component"].isin(COMPARATORS)]
    growth = summands.groupby(["step", "scalar"], sort=False)["attribution"].sum()
    values = growth.rename("growth").reset_index().assign(before=0.0, after=0.0)
    groups = summands[summands["component"] != "residual"].drop(columns="path_rule")
    groups = pd.concat(
        [
            groups.assign(group=name, attribution=share * groups["attribution"])
            for name, share in (("L1H2.q", 0.7), ("L1H2.k", 0.4), ("embedding", -0.1))
        ]
    ).assign(grouping="head_projection")
    keys = ["scalar", "component", "data_group", "group", "grouping"]
    around = spread * np.linspace(-1, 1, 12)
    events = pd.concat(
        pd.DataFrame({"step": step, "scalar": s, "event": range(12), "value": at + around * at})
        for s, own in growth.groupby("scalar", sort=False)
        for step, at in ((500, 0.0), (508, own.sum()))
    )
    tables = {
        "components": components,
        "values": values,
        "groups": groups,
        "summed_groups": groups.groupby(keys, sort=False)["attribution"].sum().reset_index(),
        "events": events,
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for output in CHORDS:
        frame = tables[output.name].assign(analysis="it")[["analysis", *output.columns]]
        paths[output.name] = [str(folder / f"job_{output.name}.parquet")]
        write_rows(paths[output.name][0], frame, output.units, output.description)
    return paths


def window(settings, folder: Path, parts: Mapping[str, Parts], spread: float = 0.5) -> Window:
    """The gathered window."""
    return Window(files(folder / "jobs", parts, spread), "it", settings, (500, 508), HEADS)

"""Births merged into windows that later analyses can name. No torch here.

1. Births whose moments share at least one interval between checkpoints are merged, and so on until
   none overlap: ``window_1``, ``window_2``, … in order of time. Where one ends as the next begins,
   they stay apart. Only moments are merged: slow changes would overlap with everything.
2. ``main`` is the merged window with most pieces of evidence, the earlier one of equals.
3. Every piece of evidence that was born also has a window under its own name, its extent: from
   where its change began to where it was over.
4. Evidence that was not born, and ``main`` where nothing was, get the whole run and are not
   ``found``: an analysis that names them still runs on a run that learned nothing, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from circuit.estimates import estimates
from circuit.measures.births.evidence import Evidence
from circuit.measures.births.sweep_curves import Curve

_UNITS = {"start": "step", "stop": "step", "pieces": "1", "share": "share"}


def merged_windows(evidence: Sequence[Evidence], run: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """Windows by name: start, stop, evidence (names), found; own windows also birth (step or None).

    Args:
        run: the run's first and last checkpoint step.
    """
    merged: list[dict[str, Any]] = []
    born = [(one.moment, one.name) for one in evidence if one.moment is not None]
    for (start, stop), name in sorted(born):
        if merged and start < merged[-1]["stop"]:
            merged[-1]["stop"] = max(merged[-1]["stop"], stop)
            merged[-1]["evidence"].append(name)
        else:
            merged.append({"start": start, "stop": stop, "evidence": [name], "found": True})
    whole = {"start": run[0], "stop": run[1], "evidence": [], "found": False}
    main = max(merged, key=lambda window: len(window["evidence"]), default=whole)
    windows = {"main": main} | {f"window_{i + 1}": window for i, window in enumerate(merged)}
    for one in evidence:
        start, stop = one.extent or run
        windows[one.name] = {
            "start": start,
            "stop": stop,
            "evidence": [one.name] if one.extent else [],
            "found": one.extent is not None,
            "birth": one.birth,
        }
    return windows


def window_rows(
    windows: dict[str, dict[str, Any]], evidence: Sequence[Evidence], curve: Curve, last: int
) -> pd.DataFrame:
    """Every window as estimates, and what the windows leave out.

    Keys: window, role (``main``, ``apart`` for other merged ones, ``own``), setting (the steps as a
    study's ``windows`` name them), evidence. Measures: start, stop, pieces (of evidence), share (of
    the curve's change from first to last checkpoint; missing where it does not move). Without a
    window: ``not_born``, and ``largest_change_outside_main``, whose mean is how many curves the
    evidence names.

    Args:
        last: the run's last checkpoint step.
    """
    at = dict(zip(curve.steps.tolist(), curve.mean.tolist(), strict=True))
    main = windows["main"]
    rows = []
    for name, window in windows.items():
        start, stop = window["start"], window["stop"]
        is_main = not name.startswith("window_") or (start, stop) == (main["start"], main["stop"])
        role = "own" if "birth" in window else "main" if is_main else "apart"
        keys = (name, role, f"[{start}, {stop}]", ", ".join(window["evidence"]))
        share = (at[stop] - at[start]) / curve.change if curve.moves else np.nan
        values = (start, stop, len(window["evidence"]), share)
        rows += [(*keys, *pair) for pair in zip(_UNITS, values, strict=True)]
    jumps = pd.concat([one.rows for one in evidence])
    jumps = jumps[jumps["method"].str.startswith("largest_") & jumps["found"].astype(bool)]
    outside = (jumps["start"] >= main["stop"]) | (jumps["stop"] <= main["start"])
    for measure, names in (
        ("not_born", [one.name for one in evidence if one.extent is None]),
        ("largest_change_outside_main", list(jumps.loc[outside, "evidence"])),
    ):
        rows.append(("", "", "", ", ".join(names), measure, len(names)))
    columns = ["window", "role", "setting", "evidence", "measure", "mean"]
    frame = pd.DataFrame(rows, columns=columns)
    return estimates(frame.assign(unit=frame["measure"].map(_UNITS).fillna("1")), step=last)

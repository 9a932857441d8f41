"""One dictionary of features for the states of all checkpoints, and what its features tell."""

import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from circuit.estimates import estimates
from circuit.kinds.dictionary.settings import Settings
from circuit.landmarks import from_then_on
from circuit.measures.features.dictionary import dictionary_of_run
from circuit.measures.features.families import FEATURE_UNITS
from circuit.measures.features.reconstruction import EXPLAINED
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun
from circuit.scalars.dictionary_files import configuration, write_weights

_HALF = 0.5


def measure(job: Job[Settings]) -> Measured:
    """The dictionary, how good it is at every checkpoint, its families, and its features."""
    run, asked = OpenRun(job), job.settings
    work = job.unfinished()
    found = dictionary_of_run(
        run.counted,
        run.theta,
        run.steps,
        run.split(asked.split),
        run.benchmark.vocabulary,
        asked,
        work,
    )
    made = {
        **found.dictionary.made,
        "settings": asked.model_dump(mode="json", exclude={"runs"}),
        "trajectory": run.manifest.trajectory,
    }
    dictionary = replace(found.dictionary, made=made)
    shutil.rmtree(work)
    return run.measured(
        tables={
            "rows": Table(landmarks(found.rows), "one number of the dictionary, a family or label"),
            "features": Table(found.features, "one feature", FEATURE_UNITS),
        },
        records={"cfg": configuration(dictionary)},
        files={"sae_weights": lambda path: write_weights(path, dictionary)},
        seeds={"fit and shuffles": asked.seed},
        events=asked.programs,
    )


def landmarks(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with events in time below them.

    ``explains_half``: from when on the explained variance is at least half. ``rise_begins`` and
    ``rise_ends``: the checkpoints between which a family's score rose most; missing where it never
    rises.
    """
    last, own = int(rows["step"].max()), rows[rows["against"] == ""]
    good = own[own["measure"] == EXPLAINED].sort_values("step")
    half = from_then_on(good["step"].to_numpy(), good["mean"].to_numpy() >= _HALF)
    found = [{"measure": "explains_half", "mean": np.nan if half is None else half}]
    scores = own[own["measure"] == "score"].sort_values("step")
    for _, score in scores.groupby("family", sort=False):
        about = score.iloc[0][["family", "role", "label", "named_by", "members"]].to_dict()
        rise, between = score["mean"].diff().to_numpy()[1:], list(pairwise(score["step"]))
        ends = (np.nan, np.nan)
        if len(rise) and rise.max() > 0:
            ends = between[int(rise.argmax())]
        found += [
            {**about, "measure": f"rise_{end}", "mean": step}
            for end, step in zip(("begins", "ends"), ends, strict=True)
        ]
    keys = dict.fromkeys(("family", "role", "label", "named_by", "members"), "")
    when = estimates(pd.DataFrame(found).fillna(keys), "step", step=last)
    return pd.concat([rows, when], ignore_index=True)

"""A crosscoder of a run's checkpoints, the births of its features, and the nulls of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.artifacts import digest_json, digest_tensors, sha256_bytes
from circuit.kinds.feature_births.settings import Settings
from circuit.measures.features.births_of_features import (
    CONFIRMED,
    Fitted,
    Inputs,
    birth_rows,
    contexts,
    curve_rows,
    gather,
    known_of,
    life_table,
    quality_rows,
    sums,
    told_rows,
)
from circuit.measures.features.crosscoder import AXES, alone, fit_crosscoder, write_crosscoder
from circuit.measures.features.families import (
    FEATURE_UNITS,
    choose_families,
    features_table,
    labels_of,
    share_rows,
)
from circuit.measures.features.reconstruction import PooledStates
from circuit.measures.sweep.behaviour import SplitReads
from circuit.measuring import Job, Measured, Table
from circuit.model.sites import state_site
from circuit.opened import OpenRun
from circuit.scalars.features import write_dictionary
from circuit.training.checkpoints import initial_state

_STEPS = dict.fromkeys(("born_left_over", "born_in_states", "from", "to"), "step")
_UNTRAINED = 1_000_003  # seeds of models that were never trained begin after it


def measure(job: Job[Settings]) -> Measured:
    """The crosscoder, the births of its features, what they tell, and one checkpoint's dictionary."""
    run, asked = OpenRun(job), job.settings
    words = run.benchmark.vocabulary
    steps = list(run.steps) if asked.checkpoints == "all" else run.at(asked.checkpoints)
    site = state_site(asked.stage, run.decoder.settings.n_layers)
    split = SplitReads(run.split(asked.split), words, asked.programs)
    pooled = PooledStates(split, {})
    # Unfinished work lies beside what is made, where Snakemake does not delete it.
    work = Path(job.facts.output["measured"]).parent / ".unfinished"

    def fitted(
        name: str, thetas: Sequence[Callable[[], Float[Tensor, " P"]]], seeds: Sequence[int]
    ) -> tuple[Inputs, list[Fitted]]:
        """Crosscoders of the states of some models."""
        states = work / f"{name}.f32"
        inputs = gather(run.counted, thetas, pooled, site, asked.role, states)
        found = []
        for seed in seeds:
            saved = work / f"{name}_{seed}.safetensors"
            called = f"crosscoder of {name} states, seed {seed}"
            one = fit_crosscoder(inputs.scaled, asked, seed, saved=saved, name=called)
            found.append(Fitted(one, sums(one, inputs)))
        return inputs, found

    seeds = [asked.seed + i for i in range(asked.fits)]
    inputs, found = fitted("trained", [partial(run.theta, step) for step in steps], seeds)
    never = [_UNTRAINED + asked.seed + i for i in range(len(steps))]
    recipe = run.manifest.recipe
    others = [lambda s=s: initial_state(run.decoder, recipe, s).theta for s in never]
    untrained = fitted("untrained", others, seeds[:1])[1][0] if asked.untrained else None
    first = found[0]
    known = known_of(first, inputs, labels_of(pooled, words, asked))
    features = share_rows(features_table(known, life_table(first, steps)), steps[-1])
    families = choose_families(known, asked.family, asked.least_rate)
    rows = [
        quality_rows(first, steps),
        birth_rows(found, untrained, steps, asked.seed),
        told_rows(features, steps[-1]),
    ]
    keys = ("life", "role", "label", "named_by")
    every = pd.concat(rows, ignore_index=True)
    every = every[[*keys, *(c for c in every if c not in keys)]].fillna(dict.fromkeys(keys, ""))
    shown = chosen(features, asked.shown)
    made = {
        "settings": asked.model_dump(mode="json", exclude={"runs"}),
        "trajectory": run.manifest.trajectory,
    }
    about = {"stage": site, "role": asked.role, "steps": tuple(steps), "made": made}
    crosscoder = replace(first.crosscoder, **about)
    at = len(steps) - 1
    members = {family.keys["family"]: tuple(family.members.tolist()) for family in families}
    last = crosscoder.dictionary(at, *alone(crosscoder, inputs.scaled, at))
    said = {
        **about,
        "tensors": digest_tensors({name: getattr(crosscoder, name) for name in AXES}),
        "states": sha256_bytes(np.ascontiguousarray(inputs.scaled.states).data),
        "inputs": len(inputs.at),
        "scales": dict(zip(map(str, steps), crosscoder.scales.tolist(), strict=True)),
        "dictionary": {"step": steps[-1], "scale": float(crosscoder.scales[-1])},
        "fit": digest_json(made),
    }
    for left in work.glob("*"):
        left.unlink()
    work.rmdir()
    return run.measured(
        tables={
            "rows": Table(every, "one number of the crosscoder, or of features of one sort"),
            "features": Table(features, "one feature", {**FEATURE_UNITS, **_STEPS}),
            "curves": Table(
                curve_rows(first, shown, steps), "one feature at one checkpoint", {"feature": "id"}
            ),
            "contexts": Table(
                contexts(first, inputs, list(shown), words.tokens),
                "one token of an input on which a feature fires most",
                {
                    "feature": "id",
                    "context": "id",
                    "position": "position",
                    "activation": "activation",
                },
            ),
        },
        records={"about": said},
        files={
            "crosscoder": lambda path: write_crosscoder(path, crosscoder),
            "dictionary": lambda path: write_dictionary(path, replace(last, families=members)),
        },
        seeds={"fits and shuffles": asked.seed, "models never trained": never[0]},
        events=len(split.tokens),
    )


def chosen(features: pd.DataFrame, count: int) -> dict[int, str]:
    """Names of the features that are drawn: told ones by their excess, those that are born first."""
    own = features[features["against"] == ""].set_index("feature")
    shuffled = features[features["against"] != ""].set_index("feature")["mean"]
    order = own.assign(excess=own["mean"] - shuffled, born_late=own["life"] == CONFIRMED)
    order = order[order["told"] == "yes"]
    order = order.sort_values(["born_late", "excess"], ascending=False, kind="stable")
    return {
        int(i): f"{i}: {one['label']} {one['group']}".replace("_", " ")
        for i, one in order.head(count).iterrows()
    }

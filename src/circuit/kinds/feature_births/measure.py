"""A crosscoder of a run's checkpoints, the births of its features, and the nulls of both."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.artifacts import digest_tensors
from circuit.config.recipe import RecipeSettings
from circuit.estimates import FIXED, estimates
from circuit.kinds.feature_births.settings import Settings
from circuit.measures.features.births_of_features import (
    CONFIRMED,
    SILENT,
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
from circuit.measures.features.crosscoder import (
    AXES,
    Crosscoder,
    alone,
    digest_states,
    fit_crosscoder,
    write_crosscoder,
)
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
from circuit.model.transformer import Decoder
from circuit.opened import OpenRun
from circuit.scalars.dictionary_files import configuration, write_weights
from circuit.scalars.features import Dictionary
from circuit.task.vocabulary import Vocabulary
from circuit.training.checkpoints import initial_state

_STEPS = dict.fromkeys(("born_left_over", "born_in_states", "from", "to"), "step")
_UNTRAINED = 1_000_003  # seeds of models that were never trained begin after it
_KEYS = ("life", "role", "label", "named_by")
Thetas = Sequence[Callable[[], Float[Tensor, " P"]]]


class Found(NamedTuple):
    """The first crosscoder, its tables by name, one checkpoint's dictionary, and digests."""

    crosscoder: Crosscoder
    dictionary: Dictionary
    tables: Mapping[str, Table]
    about: Mapping[str, object]


def measure(job: Job[Settings]) -> Measured:
    """The crosscoder, the births of its features, what they tell, and the last one's dictionary."""
    run, asked = OpenRun(job), job.settings
    steps = list(run.steps) if asked.checkpoints == "all" else run.at(asked.checkpoints)
    split = SplitReads(run.split(asked.split), run.benchmark.vocabulary, asked.programs)
    seeds = [_UNTRAINED + asked.seed + i for i in range(len(steps))] if asked.untrained else []
    found = feature_births(
        run.counted,
        {step: partial(run.theta, step) for step in steps},
        [partial(_initial, run.decoder, run.manifest.recipe, seed) for seed in seeds],
        split,
        run.benchmark.vocabulary,
        asked,
        job.unfinished(),
        run.manifest.trajectory,
    )
    return run.measured(
        tables=found.tables,
        records={"about": found.about, "cfg": configuration(found.dictionary)},
        files={
            "crosscoder": lambda path: write_crosscoder(path, found.crosscoder),
            "sae_weights": lambda path: write_weights(path, found.dictionary),
        },
        seeds={"fits and shuffles": asked.seed, "models never trained": _UNTRAINED + asked.seed},
        events=len(split.tokens),
    )


def feature_births(
    decoder: Decoder,
    trained: Mapping[int, Callable[[], Float[Tensor, " P"]]],
    untrained: Thetas,
    split: SplitReads,
    words: Vocabulary,
    asked: Settings,
    work: Path,
    trajectory: str,
) -> Found:
    """Fit crosscoders to states of checkpoints, by step, and of models that were never trained.

    Args:
        untrained: parameters of as many models, or none, for no such null.
        work: folder of states and of what unfinished fits go on from; removed at the end.
    """
    steps, site = list(trained), state_site(asked.stage, decoder.settings.n_layers)
    pooled = PooledStates(split, (), torch.empty(0, 0, 0))

    def fitted(name: str, thetas: Thetas, seeds: Sequence[int]) -> tuple[Inputs, list[Fitted]]:
        """Crosscoders of the states of some models."""
        inputs = gather(decoder, thetas, pooled, site, asked.role, work / f"{name}.f32")
        found = []
        for seed in seeds:
            saved = work / f"{name}_{seed}.safetensors"
            called = f"crosscoder of {name} states, seed {seed}"
            one = fit_crosscoder(inputs.scaled, asked, seed, saved=saved, name=called)
            found.append(Fitted(one, sums(one, inputs)))
        return inputs, found

    seeds = [asked.seed + i for i in range(asked.fits)]
    inputs, found = fitted("trained", list(trained.values()), seeds)
    null = fitted("untrained", untrained, seeds[:1])[1][0] if untrained else None
    first, last = found[0], len(steps) - 1
    known = known_of(first, inputs, labels_of(pooled, words, asked))
    features = share_rows(features_table(known, life_table(first, steps)), steps[last])
    rows = pd.concat(
        [
            quality_rows(first, steps),
            birth_rows(found, null, steps, asked.seed),
            told_rows(features, steps[last]),
        ],
        ignore_index=True,
    ).fillna(dict.fromkeys(_KEYS, ""))
    shown = chosen(features, asked.shown)
    settings = asked.model_dump(mode="json", exclude={"runs"})
    made = {"settings": settings, "trajectory": trajectory, "states": len(inputs.scaled.fits)}
    crosscoder = replace(
        first.crosscoder, stage=site, role=asked.role, steps=tuple(steps), made=made
    )
    families = choose_families(known, asked.family, asked.least_rate)
    members = {family.keys["family"]: tuple(family.members.tolist()) for family in families}
    alone_at_last = crosscoder.dictionary(last, *alone(crosscoder, inputs.scaled, last))
    said = {
        **made,
        "stage": site,
        "tensors": digest_tensors({name: getattr(crosscoder, name) for name in AXES}),
        "digest_of_states": digest_states(inputs.scaled),
        "inputs": len(inputs.at),
        "scales": dict(zip(map(str, steps), crosscoder.scales.tolist(), strict=True)),
        "dictionary": {"step": steps[last], "scale": float(crosscoder.scales[last])},
    }
    what = {"feature": "id", "context": "id", "position": "position", "activation": "activation"}
    tables = {
        "rows": Table(
            estimates(rows[[*_KEYS, *FIXED]]),
            "one number of the crosscoder, or of features of a sort",
        ),
        "features": Table(features, "one feature", {**FEATURE_UNITS, **_STEPS}),
        "curves": Table(
            curve_rows(first, shown, steps), "one feature at one checkpoint", {"feature": "id"}
        ),
        "contexts": Table(
            contexts(first, inputs, list(shown), words.tokens),
            "one token around an input on which a feature fires most",
            what,
        ),
    }
    shutil.rmtree(work)
    return Found(crosscoder, replace(alone_at_last, families=members), tables, said)


def _initial(decoder: Decoder, recipe: RecipeSettings, seed: int) -> Float[Tensor, " P"]:
    """Parameters of a model that was never trained."""
    return initial_state(decoder, recipe, seed).theta


def chosen(features: pd.DataFrame, count: int) -> dict[int, str]:
    """Names of the features that are drawn: told ones come first, of these those that are born."""
    own = features[features["against"] == ""].set_index("feature")
    shuffled = features[features["against"] != ""].set_index("feature")["mean"]
    order = own.assign(excess=own["mean"] - shuffled, is_born=own["life"] == CONFIRMED)
    order = order[order["life"] != SILENT]
    order = order.sort_values(["told", "is_born", "excess"], ascending=False, kind="stable")
    found = order.head(count)
    labels = (found["label"] + " " + found["group"]).where(found["told"] == "yes", "not told")
    return {int(i): f"{i}: {label}".replace("_", " ") for i, label in labels.items()}

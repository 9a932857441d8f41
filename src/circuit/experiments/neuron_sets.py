"""What sets of neurons do: taken away alone, and left alone in MLPs whose every neuron is gone.

1. *Gone* is a neuron whose activation is its mean over all positions of all events.
2. *Set ablated*: effect = S(clean) − S(set gone), the damage. *Set alone*: effect = S(all but the
   set gone, in the MLPs that hold it) − S(all of them gone), the repair. Shares are of *all
   ablated*, S(clean) − S(all of them gone), as ratios of means.
3. Control: random sets. For every member another neuron of its MLP, drawn from those that are most
   like it in how often they are active and in the norm of what they write about its mean. Excesses
   over them hold for all sets, edits and candidates of a checkpoint at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import Estimates, estimates
from circuit.evidence import agreed, by_control
from circuit.experiments.donors import sets_alike
from circuit.experiments.edits import replaced, write_places
from circuit.experiments.trial import LIKE_LENGTHS, Trial
from circuit.landmarks import held_from
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar, Seen
from circuit.statistics import TINY, band
from circuit.task.events import ReadEvents

ABLATED, ALONE, GONE = "set ablated", "set alone", "all ablated"
RANDOM_SETS = "random sets of like rate and norm"


def set_effects(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    step: int,
    events: ReadEvents,
    value_ids: range,
    sets: Mapping[str, Sequence[str]],
    pool: Sequence[str],
    scalars: Mapping[str, Scalar],
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Estimates of every set by group, edit and candidate (the scalar), with shares and controls.

    ``pool`` are the neurons that random sets are drawn from; where a set's MLP has too few of them,
    all of its neurons outside the set are.
    """
    shape = decoder.settings
    sites = {f"layer_{layer}_neurons" for layer in range(shape.n_layers)}
    sites.update(stages(shape.n_layers), *(scalar.sites for scalar in scalars.values()))
    trial = Trial.of(decoder, theta, events, value_ids, sites, LIKE_LENGTHS)
    means = {
        site: states[events.causal_prefix].mean(0)
        for site, states in trial.clean.sites.items()
        if site.endswith("_neurons")
    }
    base, like, parts = trial.unedited(scalars), _like(trial.clean), list[pd.DataFrame]()
    families = len(sets) * len(scalars)
    for name, members in sets.items():
        rng = np.random.default_rng([seed, step, *name.encode()])
        every = [members, *_random_sets(members, set(pool), like, draws, rng)]
        held = tuple({neuron.partition("N")[0] + "N" for neuron in members})
        all_of = [neuron for neuron in like.index if neuron.startswith(held)]
        gone = {(GONE, 0): all_of}
        for number, one in enumerate(every):
            gone[ABLATED, number] = list(one)
            gone[ALONE, number] = [neuron for neuron in all_of if neuron not in one]
        edits = {edit: replaced(write_places(of, shape), means) for edit, of in gone.items()}
        found = {edit: values for (edit, _), values in trial.run(edits, scalars).items()}
        labels = {"candidate": "", "group": name}
        for candidate, scalar in scalars.items():
            clean, none = base[candidate], found[GONE, 0][candidate]
            rows = Estimates(step, {"effect": scalar.unit}, seed=seed, families=families)
            rows.add(clean - none, "effect", edit=GONE)
            for edit, sign, start in ((ABLATED, -1, clean), (ALONE, 1, none)):
                effects = [sign * (found[edit, n][candidate] - start) for n in range(len(every))]
                rows.add(effects[0], "effect", edit=edit)
                rows.add_draws(np.stack(effects[1:]), "effect", RANDOM_SETS, edit=edit)
            rows.share_of(edit=GONE)
            parts.append(rows.frame().assign(**labels | {"candidate": candidate}))
        parts.append(_sizes(every, like).assign(**labels, edit="", step=step))
    return pd.concat(parts, ignore_index=True)


def holds_from(rows: pd.DataFrame) -> pd.DataFrame:
    """From which checkpoint on each effect is beyond its random sets, to the last; else missing."""
    keys = ["group", "candidate", "edit"]
    effects = rows[(rows["measure"] == "effect") & rows["edit"].isin((ABLATED, ALONE))]
    found = []
    for labels, one in effects.groupby(keys, sort=False):
        by_step = one.groupby("step")
        held = {step: agreed(by_control(part)) == "shown" for step, part in by_step}
        found.append(dict(zip(keys, labels, strict=True), mean=held_from(held)))
    last = int(rows["step"].max())
    return estimates(pd.DataFrame(found), "step", step=last, measure="holds_from")


def _like(clean: Seen) -> pd.DataFrame:
    """Of every neuron, by name: how often it is active, and the norm of what it writes."""
    parts = []
    for layer in range(clean.decoder.settings.n_layers):
        active = clean.sites[f"layer_{layer}_neurons"][clean.events.causal_prefix].double()
        norm = clean.params[f"layer_{layer}.mlp.W_out"].double().norm(dim=1)
        frame = {"rate": (active > 0).double().mean(0), "write_norm": active.std(0) * norm}
        names = [f"L{layer}N{number}" for number in range(len(norm))]
        parts.append(pd.DataFrame({k: v.detach().numpy() for k, v in frame.items()}, names))
    return pd.concat(parts)


def _random_sets(
    members: Sequence[str],
    pool: Collection[str],
    like: pd.DataFrame,
    draws: int,
    rng: np.random.Generator,
) -> list[list[str]]:
    """For each member, in turn, one of the neurons most like it that are still free."""
    apart = like.assign(write_norm=np.log(like["write_norm"] + TINY))
    apart = apart / apart.std().where(apart.std() > 0, 1.0)
    nearest = []
    for member in members:
        same = [name for name in like.index if name.startswith(member.partition("N")[0] + "N")]
        few = sum(name in pool for name in same) < 2 * len(members)
        free = [name for name in same if name not in members and (few or name in pool)]
        distance = (apart.loc[free] - apart.loc[member]).pow(2).sum(axis=1)
        nearest.append([str(name) for name in distance.sort_values(kind="stable").index])
    return sets_alike(nearest, draws, rng)


def _sizes(every: Sequence[Sequence[str]], like: pd.DataFrame) -> pd.DataFrame:
    """How active sets are, and the norm of what they write, beside their random sets'."""
    parts = []
    for measure, unit in (("rate", "share"), ("write_norm", "state unit")):
        of = np.array([like.loc[list(one), measure].pow(2).mean() ** 0.5 for one in every])
        mean, low, high = band(of[1:])
        rows = {"against": ["", RANDOM_SETS], "mean": [of[0], mean], "low": [np.nan, low]}
        rows |= {"high": [np.nan, high], "count": [0, len(of) - 1], "noun": ["", RANDOM_SETS]}
        parts.append(pd.DataFrame(rows).assign(measure=measure, unit=unit))
    return pd.concat(parts)

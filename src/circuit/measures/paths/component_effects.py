"""What every head, MLP and set of neurons does to the answer: by itself, through others, together.

1. The *answer* is the right value's logit minus the mean of all other values'
   (:mod:`circuit.measures.paths.answer`), linear in the logits. A *part* is a head, an MLP, or
   a set of these or of neurons.
2. *Causal effect*: the answer minus what it is with the part's write replaced at all positions and
   everything after it recomputed. In its place: the ``mean`` over all positions of all events, or
   (``resample``) what another event writes at the place alike, all events in one random cycle.
3. With σ the final LayerNorm's scale in the clean pass, σ' in the edited one, x and x' the stream
   at the prediction position and u what reads it (centred, times gain),

       effect = u · (write − replacement) / σ          ``direct``
              + u · (later writes − those edited) / σ   ``through_others``
              + u · x' (1/σ − 1/σ')                     ``scale``

   exactly: embeddings and biases do not change. The first is direct attribution, whose scale is
   frozen: with LayerNorm differentiated, a write that is most of the stream would seem to do
   nothing.
4. *Interaction* of several parts: the effect of replacing them together minus the sum of their
   single effects. Above 0, single ablations understate: the parts stand in for each other, or one
   makes good what the other loses. Below 0 they overstate: the parts need each other.
5. Controls: the same number for the answers of other programs, as for every such answer, with
   intervals of excesses that hold for all numbers of a checkpoint at once. Sets have random sets
   too: each member exchanged for one of its kind (a neuron: of its layer) that is not in the set,
   one of the ``NEAREST`` by norm of write, as a band of draws.
6. *Agreement* of direct attribution and causal effect over heads and MLPs: share of equal signs,
   rank and linear correlation of their means, over resampled events.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from circuit.estimates import Estimates, estimates, over
from circuit.experiments.changes import Where
from circuit.experiments.donors import OTHERS, Shuffle, random_cycle, sets_alike, stand_in
from circuit.experiments.edits import components, removal_sites, replaced, write_places
from circuit.experiments.trial import Trial
from circuit.measures.paths.answer import add_beside_others, answer_readout, answer_weights
from circuit.measures.paths.direct import Readout, direct_paths, path_sites
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, pick
from circuit.scalars.write import removed_write
from circuit.statistics import TINY, correlations, draws, told
from circuit.task.events import ReadEvents

HEAD, MLP, NEURONS, PAIR, GROUP, EVERY = "head", "MLP", "neurons", "pair", "group", "components"
SPLIT = ("effect", "direct", "through_others", "scale")
SINGLES, INTERACTION, RESIDUAL = "sum_of_singles", "interaction", "residual"
AGREEMENT = {"sign_agreement": "share", "rank_correlation": "1", "linear_correlation": "1"}
RANDOM = "random sets"
BEYOND = over(OTHERS)
TOGETHER = " + "
KEYS = ("kind", "part", "one", "other", "ablation")
_SCALE = "final_norm_scale"

Members = Mapping[str, Sequence[str]]
"""Heads, MLPs and neurons by the name of the set that they make up."""


class Part(NamedTuple):
    """What is replaced as one: its kind, the parts whose single effects it is compared with (none
    of a single one), and all its heads, MLPs and neurons.
    """

    kind: str
    singles: tuple[str, ...]
    members: tuple[str, ...]


def component_effects(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    events: ReadEvents,
    value_ids: range,
    neurons: Members,
    groups: Members,
    random_draws: int,
    seed: int,
) -> pd.DataFrame:
    """Effects of all parts at every step.

    Args:
        neurons: sets of neurons, such as ``L0N17``.
        groups: sets of heads, MLPs and sets of neurons by their names.
        random_draws: random sets for each of these.
        seed: of the cycle of events and of the random sets.

    Returns:
        Estimates by ``kind``, ``part`` (a pair is ``one`` and the ``other``) and ``ablation``, in
        logits, of

        - the numbers of ``SPLIT`` (step 3; of pairs the ``effect`` alone), ``sum_of_singles`` and
          ``interaction`` of pairs and groups, each with its control and the paired excess, effects
          of sets with random sets too;
        - the numbers of ``AGREEMENT``, of kind ``components``;
        - ``residual``, exact: the largest distance over events of the sum of direct paths,
          embeddings and biases from the answer.

    Raises:
        AnalysisError: a part does not exist, there are fewer than three events, or all have the
            same answer.
    """
    parts = parts_of(decoder, neurons, groups)
    shuffle = random_cycle(events, seed)
    layers = decoder.settings.n_layers
    sites = path_sites(layers) | removal_sites(layers) | {"final_norm"}
    tables = []
    for step in steps:
        trial = Trial.of(decoder, theta(step).double(), events, value_ids, sites)
        rng = np.random.default_rng([seed, step])
        with torch.no_grad():
            tables.append(_at(step, trial, parts, shuffle, random_draws, rng))
    rows = pd.concat(tables, ignore_index=True).fillna(dict.fromkeys(KEYS, ""))
    return estimates(rows)


def parts_of(decoder: Decoder, neurons: Members, groups: Members) -> dict[str, Part]:
    """All parts by name: every head and MLP, sets of neurons, every pair of the first, groups."""
    every = components(decoder.settings)
    found = {name: Part(MLP if name.endswith(MLP) else HEAD, (), (name,)) for name in every}
    found |= {name: Part(NEURONS, (), tuple(members)) for name, members in neurons.items()}
    for pair in combinations(every, 2):
        found[TOGETHER.join(pair)] = Part(PAIR, pair, pair)
    for name, singles in groups.items():
        members = tuple(one for single in singles for one in found[single].members)
        found[name] = Part(GROUP, tuple(singles), members)
    return found


def _at(
    step: int,
    trial: Trial,
    parts: Mapping[str, Part],
    shuffle: Shuffle,
    random_draws: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """All rows of one checkpoint."""
    clean, sets = trial.clean, {name: part.members for name, part in parts.items()}
    read = answer_readout(clean, answer_weights(clean.events, clean.value_ids))
    wide = [name for name, part in parts.items() if part.kind in (NEURONS, GROUP)]
    norms = write_norms(clean) if wide else {}
    randoms = {name: random_sets(sets[name], norms, random_draws, rng) for name in wide}
    alone = [name for name, part in parts.items() if part.kind in (HEAD, MLP)]
    units = dict.fromkeys((*SPLIT, SINGLES, INTERACTION), "logit")
    rows, tables = Estimates(step, units, families=1), []
    for ablation, states in replacements(clean, shuffle).items():
        split = effects(trial, read, sets, states)
        for name, part in parts.items():
            pair = part.singles if part.kind == PAIR else ("", "")
            keys = dict(zip(KEYS, (part.kind, name, *pair, ablation), strict=True))
            numbers = split[name] if part.kind != PAIR else {"effect": split[name]["effect"]}
            if part.singles:
                singles = torch.stack([split[one]["effect"] for one in part.singles]).sum(0)
                together = {SINGLES: singles, INTERACTION: split[name]["effect"] - singles}
                numbers = {**numbers, **together}
            for measure, values in numbers.items():
                add_beside_others(rows, values, measure, **keys)
            if drawn := effects(trial, read, dict(enumerate(randoms.get(name, ()))), states):
                random = torch.stack([one["effect"][:, 0] for one in drawn.values()])
                rows.add_draws(random.numpy(), "effect", RANDOM, **keys)
        found = _agreement([split[name] for name in alone]).assign(ablation=ablation)
        tables.append(estimates(found, noun="events", step=step, count=len(clean.events)))
    rows.excesses(OTHERS)
    missed = float((direct_paths(clean, read).values.sum(-1) - read.whole).abs().max())
    exact = pd.DataFrame([{"kind": EVERY, "measure": RESIDUAL, "mean": missed}])
    tables += [rows.frame(), estimates(exact, "logit", step=step)]
    return pd.concat(tables, ignore_index=True)


def replacements(clean: Seen, shuffle: Shuffle) -> dict[str, dict[str, Tensor]]:
    """What stands in a write's place at every site, by ablation (step 2)."""
    every = [
        f"layer_{layer}_{site}"
        for layer in range(clean.decoder.settings.n_layers)
        for site in ("z", "mlp_write", "neurons")
    ]
    own = {site: clean.sites[site] for site in every}
    inside = clean.events.causal_prefix
    return {
        ablation: {site: stand_in(ablation, one, inside, shuffle) for site, one in own.items()}
        for ablation in ("mean", "resample")
    }


Name = TypeVar("Name", bound=Hashable)


def effects(
    trial: Trial,
    read: Readout,
    sets: Mapping[Name, Sequence[str]],
    states: Mapping[str, Tensor],
) -> dict[Name, dict[str, Float[Tensor, "E R"]]]:
    """The numbers of ``SPLIT`` for sets of heads, MLPs and neurons, each replaced as a whole.

    Args:
        trial: with a clean pass that has what the sets write, ``final_norm`` and its scale.
        read: how the answer is read off.
        states: what stands in the place of what is written, by site.
    """
    clean, at = trial.clean, trial.clean.events.prediction
    places = {name: write_places(one, clean.decoder.settings) for name, one in sets.items()}
    scale, linear = pick(clean.sites[_SCALE], at), read.whole - read.constant
    edits = {name: replaced(where, states) for name, where in places.items()}
    found = {}
    for name, _, left in trial.passes(edits, frozenset({"final_norm", _SCALE})):
        lost = [
            written(clean, where, pick(clean.sites[where.site] - states[where.site], at))
            for where in places[name]
        ]
        direct = _read(read.direction, torch.stack(lost).sum(0))
        answer = _read(read.rows, pick(left.sites["final_norm"], at)) - read.constant
        frozen = answer * pick(left.sites[_SCALE], at) / scale
        through = linear - frozen - direct
        # Where nothing comes after, what rounding leaves must not look like an exact effect.
        through = through.where(through.abs() > TINY * (1 + linear.abs()), 0)
        numbers = linear - answer, direct, through, frozen - answer
        found[name] = dict(zip(SPLIT, numbers, strict=True))
    return found


def _read(rows: Float[Tensor, "E R d"], states: Float[Tensor, "E d"]) -> Float[Tensor, "E R"]:
    return (rows @ states[:, :, None])[..., 0]


def written(seen: Seen, where: Where, states: Float[Tensor, "... k"]) -> Float[Tensor, "... d"]:
    """What a site's states at some place write into the residual stream; b_out is in an MLP's."""
    layer = where.site.rpartition("_")[0].removesuffix("_mlp")
    if where.heads is not None:
        heads = list(where.heads)
        return torch.einsum(
            "...hk,hkd->...d", states[..., heads, :], seen.params[f"{layer}.attn.W_O"][heads]
        )
    if where.entries is not None:
        neurons = list(where.entries)
        return states[..., neurons] @ seen.params[f"{layer}.mlp.W_out"][neurons]
    return states


def write_norms(clean: Seen) -> dict[str, float]:
    """Of every head, MLP and neuron the root mean square of its write about its mean, over all
    positions.
    """
    inside = clean.events.causal_prefix
    found: dict[str, float] = {}
    for layer in range(clean.decoder.settings.n_layers):
        active = clean.sites[f"layer_{layer}_neurons"][inside]
        sizes = active.std(0, correction=0) * clean.params[f"layer_{layer}.mlp.W_out"].norm(dim=1)
        found |= {f"L{layer}N{n}": size for n, size in enumerate(sizes.tolist())}
    for name in components(clean.decoder.settings):
        write = removed_write(clean, name, "mean")[inside]
        found[name] = float(write.square().sum(-1).mean().sqrt())
    return found


def random_sets(
    members: Sequence[str],
    norms: Mapping[str, float],
    count: int,
    rng: np.random.Generator,
) -> list[tuple[str, ...]]:
    """At most ``count`` different sets with every member exchanged (step 5); none where a kind has
    too few that are not in the set.
    """
    alike = {name: re.sub(r"\d+$|^L\d+(?=H|MLP)", "", name) for name in norms}
    nearest = []
    for member in members:
        kind = [one for one in norms if alike[one] == alike[member]]
        others = [one for one in kind if one not in members]
        if len(others) < len(kind) - len(others):
            return []
        apart = np.abs([norms[one] - norms[member] for one in others])
        nearest.append([others[i] for i in apart.argsort(kind="stable")])
    found = [tuple(sorted(one)) for one in sets_alike(nearest, count, rng)]
    return list(dict.fromkeys(found))


def _agreement(singles: Sequence[Mapping[str, Float[Tensor, "E 2"]]]) -> pd.DataFrame:
    """How far direct attribution and causal effect agree over components (step 6)."""
    n = len(singles[0]["effect"])
    weights = draws(n) / n
    direct, effect = (
        weights @ torch.stack([one[measure][:, 0] for one in singles], 1).numpy()
        for measure in ("direct", "effect")
    )
    same = (np.sign(direct) == np.sign(effect)).mean(1)
    ranks = correlations(rankdata(direct, axis=1), rankdata(effect, axis=1))
    found = told(np.stack([same, ranks, correlations(direct, effect)], 1))
    frame = pd.DataFrame(dict(zip(("mean", "low", "high"), found, strict=True)))
    return frame.assign(measure=list(AGREEMENT), unit=list(AGREEMENT.values()), kind=EVERY)

"""How often intervals cover what is true, and how often nothing is told as shown.

Simulated experiments are told by the tables that the kinds use. A program's damage is skewed, as
effects on margins are; how much of it comes back differs between programs and goes with the damage,
so that the ratio of means is no mean of ratios.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom

from circuit.config.recipe import ModelSettings
from circuit.estimates import EXCESS, Estimates
from circuit.evidence import agreed, by_control
from circuit.experiments import interventions as made
from circuit.experiments.subspaces import Subspace
from circuit.measures.paths.component_effects import KEYS, component_effects
from circuit.model.transformer import Decoder
from circuit.scalars.behaviour import soft_margin
from circuit.task.events import read_events
from circuit.task.frozen import pair_events
from circuit.task.pairs import build_pairs

pytestmark = pytest.mark.slow

EXPERIMENTS = 2000
FRACTION, MORE = 0.6, 0.02
MODELS = 200
FEWER = 40
"""Models whose subspaces and doses are edited, which takes longest."""
STAGES = ("embedding", "layer_0_post_attn", "layer_0_post_mlp")
IDENTITIES = {
    "values": (Subspace("embedding_value_identity"), (1, 4)),
    "keys": (Subspace("embedding_key_identity"), (1, 3)),
}
CHANCE = 0.05


@pytest.mark.parametrize(
    ("n", "spread", "least"),
    [(24, 0.4, 0.93), (48, 0.4, 0.93), (96, 0.4, 0.93), (24, 0.8, 0.89), (96, 0.8, 0.92)],
)
def test_effects_and_rescued_fractions_are_covered(n, spread, least):
    """Of n programs; a spread of 0.4 is a skewness of 1.3; one of 0.8, 3.7, too much for 95%."""
    rng, held = np.random.default_rng(n), dict[tuple[str, str, str], int]()
    mean = np.exp(1 + spread**2 / 2)
    variance = (np.exp(spread**2) - 1) * mean**2 + 1
    back = FRACTION * mean + MORE * variance
    truth = {
        ("all", "", "logit"): mean,
        ("part", "", "logit"): back,
        ("part", EXCESS, "logit"): 0.7 * back,
        ("part", "", "logit_share"): back / mean,
        ("part", EXCESS, "logit_share"): 0.7 * back / mean,
    }
    for _ in range(EXPERIMENTS):
        lost = rng.lognormal(1, spread, n) + rng.normal(size=n)
        found = (FRACTION + MORE * (lost - mean)) * lost + rng.normal(size=n)
        table = Estimates(0, {"logit": "logit"}, "programs")
        table.add(lost, "logit", what="all")
        table.add(found, "logit", what="part")
        table.add(0.3 * found + rng.normal(size=n), "logit", "control", what="part")
        table.excess("control")
        table.share_of(what="all")
        rows = table.frame().set_index(["what", "against", "measure"])
        for key, true in truth.items():
            covers = rows.at[key, "low"] <= true <= rows.at[key, "high"]
            held[key] = held.get(key, 0) + covers
    covered = {key: count / EXPERIMENTS for key, count in held.items()}
    print(n, spread, covered)
    assert len(covered) == len(truth)
    assert all(least <= share <= 0.97 for share in covered.values()), covered


def shown(rows: pd.DataFrame, keys: list[str]) -> int:
    """How many numbers are shown beside all their controls."""
    rows = rows[~rows["measure"].str.endswith("_share")]
    verdicts = [
        agreed(by_control(one))
        for _, one in rows.groupby([*keys, "measure"])
        if one["against"].str.startswith(EXCESS).any()
    ]
    assert len(verdicts) > 10
    return verdicts.count("shown")


def test_of_untrained_models_hardly_any_shows_anything(planted_benchmark):
    """With nothing to show, at most 5% of models tell any of all their numbers as shown."""
    words, pairs = planted_benchmark.vocabulary, build_pairs(planted_benchmark).pairs
    shape = ModelSettings(
        n_layers=2, n_heads=2, d_model=16, d_ff=16, context=64, initialisation="torch_default"
    )
    decoder = Decoder(shape, words.size)
    sides = {
        kind: [pair_events(some, words, side) for side in ("clean", "corrupted")]
        for kind, some in pairs.groupby("kind")
    }
    events = read_events(planted_benchmark.splits["validation_iid"], words, "last")
    fit = read_events(planted_benchmark.splits["train"], words, "last")
    roles = ("prediction", "support_value")
    where, inside = (made.places(at, roles, shape) for at in (("stages", "heads.z"), STAGES))
    told = {"patches": 0, "replaced": 0, "ranks": 0, "doses": 0, "component_effects": 0}
    for seed in range(MODELS):
        theta = decoder.initialise(torch.Generator().manual_seed(seed))
        bench = made.Bench(
            decoder, theta, words.value_ids, 0, where, inside,
            lambda _: {"soft_margin": soft_margin()}, len(sides) + 1 + 2 * len(inside), seed,
        )  # fmt: skip
        patched = pd.concat([made.patches(bench, kind, *pair) for kind, pair in sides.items()])
        keys = ["edit", "pair", "site", "role"]
        told["patches"] += shown(patched[patched["by_construction"] == ""], keys) > 0
        replaced = made.replaced(bench, ("mean", "resample"), events)
        told["replaced"] += shown(replaced[replaced["by_construction"] == ""], keys) > 0
        if seed < FEWER:
            ranks = made.ranks(bench, IDENTITIES, 20, events)
            free = ranks[(ranks["by_construction"] == "") & (ranks["subspace"] != made.ALL)]
            told["ranks"] += shown(free, ["edit", "subspace", "rank", "site", "role"]) > 0
            doses = made.doses(bench, (-0.5, 0.5, 1.0), *sides["support_value"], fit)
            free = doses[(doses["by_construction"] == "") & (doses["measure"] == made.CONTRAST)]
            told["doses"] += shown(free, ["dose", "site", "role"]) > 0
        effects = component_effects(
            decoder, lambda _, theta=theta: theta, [0], events, words.value_ids,
            {"some": ("L0N1", "L1N3")}, {}, 20, seed,
        )  # fmt: skip
        told["component_effects"] += shown(effects, list(KEYS)) > 0
    print(told, "of", MODELS, "and, of ranks and doses,", FEWER)
    for name, count in told.items():
        models = FEWER if name in ("ranks", "doses") else MODELS
        assert count <= binom.ppf(0.99, models, CHANCE), told

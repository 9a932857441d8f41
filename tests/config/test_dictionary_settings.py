"""Which dictionaries settings name, and which of their features there are."""

import copy
from typing import Any

import pytest
import yaml

from circuit.config.plan import Plan
from circuit.config.scalar import dictionary_names
from circuit.config.study import load_settings
from circuit.errors import ConfigError

SCORE = {
    "scalar": "feature_score",
    "dictionary": "features",
    "features": "query_key@support_value",
    "role": "support_value",
}
CAUSES = {
    "kind": "feature_causes",
    "window": "formation",
    "heads": "scan",
    "scalars": {"born": {**SCORE, "scalar": "feature_drive", "features": "every"}},
}
EXAMPLES = {"kind": "example_gradients", "heads": "scan", "routes": {"p": SCORE, "q": SCORE}}
AT = "configuration: studies.small.analyses"
FIRES = f"{AT}.competition.candidates.fires"
SMALL: dict[str, Any] = yaml.safe_load(
    """
benchmarks:
  kv:
    n_keys: 4
    n_values: 32
    seed: 20
    in_distribution:
      samples: {train: 200, validation_iid: 32, test_iid: 48, heldout_pairs: 32}
      active_keys: [2, 3]
      overwrites: 6
      reads: [4, 5]
      query_lag: [1, 2]
    structural_ood:
      samples: 32
      active_keys: [3, 4]
      overwrites: [7, 8]
      reads: [4, 5]
      query_lag: [2, 3]
    counterfactual: {samples: 32}
    heldout_pair_fraction: 0.2
    probes: {programs_per_split: 24}
    pairs: {pairs_per_kind: 12}
recipes:
  tiny:
    model: {n_layers: 2, n_heads: 4, d_model: 16, d_ff: 32, context: 64}
    optimizer: {learning_rate: 0.002}
    batch_size: 8
    steps: 40
    checkpoint_every: 10
studies:
  small:
    title: A small study
    benchmark: kv
    focus: one
    runs: {one: {recipe: tiny, seed: 1}, two: {recipe: tiny, seed: 2}}
    windows: {formation: [10, 30]}
    analyses:
      scan: {kind: head_scan}
      features: {kind: dictionary, stage: layer_0_post_attn, programs: 128, size: 32}
      competition:
        kind: candidates
        window: formation
        train_programs: 16
        candidates: {looking: {scalar: qk_separation, head: every}}
"""
)


def plan(**analyses: dict[str, Any]) -> Plan:
    """The plan of the small study with some of an analysis' settings changed or added."""
    settings = copy.deepcopy(SMALL)
    for name, changes in analyses.items():
        block = settings["studies"]["small"]["analyses"].setdefault(name, {})
        block.update(copy.deepcopy(changes))
    return Plan(load_settings(settings))


def refused(**analyses: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(**analyses)
    return str(caught.value)


def fires(**score: Any) -> dict[str, Any]:
    return {"candidates": {"fires": {**SCORE, **score}}}


def test_dictionaries_are_named_once_and_in_order_by_one_analysis_or_several() -> None:
    one = plan(competition=fires()).analysis("small", "competition")
    assert dictionary_names(one.model_dump()) == ["features"]
    assert dictionary_names(one.model_dump(mode="json")) == ["features"]
    several = {
        "b": {"scalars": {"x": {**SCORE, "dictionary": "late"}, "y": SCORE}, "window": [10, 20]},
        "a": {"routes": {"x": SCORE}},
        "trace": {"kind": "optimizer_trace"},
    }
    assert dictionary_names(several) == ["features", "late"]
    assert dictionary_names(list(several.values())) == ["features", "late"]
    assert dictionary_names({}) == []
    assert dictionary_names({"scalars": {"dictionary": SCORE}}) == ["features"]  # a scalar's name


def test_features_of_a_dictionary_may_be_named_by_family_or_number() -> None:
    plan(competition=fires())
    plan(competition=fires(features=[0, 31]))


def test_families_are_candidates_with_routes_or_without_and_name_their_dictionary() -> None:
    for others in ({}, {"candidates": {}}):
        families = {"families": {"dictionary": "features"}, **others}
        settings = plan(competition=families).analysis("small", "competition")
        assert dictionary_names(settings.model_dump()) == ["features"]


def test_every_feature_may_be_asked_for_by_a_kind_that_takes_so_many() -> None:
    settings = plan(causes=CAUSES).analysis("small", "causes")
    assert settings.rules == ("midpoint",)  # of the rules of its order, the one with one node
    stretch = plan(causes=CAUSES).requests("small", "one", 10, 20)["causes"]
    assert stretch["scalars"]["born"]["features"] == "every"
    assert "residual_bound" not in stretch
    assert "top_groups" not in stretch


def causes(**scalar: Any) -> dict[str, Any]:
    return {**CAUSES, "scalars": {"born": {**CAUSES["scalars"]["born"], **scalar}}}


REFUSED = {
    "every feature where there is room for few": (
        {"competition": fires(scalar="feature_drive", features="every")},
        "kind 'candidates' takes no scalar for every feature — where: "
        f"{FIRES}.features — expected: numbers of features or a family, or a "
        "kind among feature_causes — what to do: name some features",
    ),
    "a feature that there is not, among causes": (
        {"causes": causes(features=[32])},
        f"analysis 'features' makes no feature 32 — where: {AT}.causes.scalars.born.features",
    ),
    "causes of a dictionary that there is not": (
        {"causes": causes(dictionary="featurs")},
        f"analysis 'featurs' does not exist — where: {AT}.causes.scalars.born.dictionary",
    ),
    "causes of another scalar": (
        {"causes": {**CAUSES, "scalars": {"seen": {"scalar": "soft_margin"}}}},
        "scalars.seen is a soft_margin, and this kind asks about features of a dictionary; name a "
        "feature_drive, or use update_attribution",
    ),
    "a dictionary that there is not": (
        {"competition": fires(dictionary="featurs")},
        f"analysis 'featurs' does not exist — where: {FIRES}.dictionary — "
        "expected: one of scan, features, competition — what to do: did you mean 'features'?",
    ),
    "an analysis of another kind": (
        {"competition": fires(dictionary="scan")},
        f"analysis 'scan' is of kind 'head_scan' — where: {FIRES}.dictionary "
        "— expected: an analysis of kind 'dictionary' or 'feature_births' or 'families' — what to "
        "do: name one of features",
    ),
    "a dictionary of other runs": (
        {"competition": fires(), "features": {"runs": ["one"]}},
        "analysis 'features' does not cover run 'two', which 'competition' covers — where: "
        f"{FIRES}.dictionary — expected: an analysis of at least the same "
        "runs — what to do: add the run to features.runs, or take it out of competition.runs",
    ),
    "a family that it does not find": (
        {"competition": fires(features="answer@support_key")},
        f"family 'answer@support_key' does not exist — where: {FIRES}."
        "features — expected: one of query_key@prediction, answer@prediction, "
        "query_key@support_value, answer@support_value — what to do: did you mean "
        "'answer@support_value'?",
    ),
    "a feature beyond its last": (
        {"competition": fires(features=[3, 32])},
        f"analysis 'features' makes no feature 32 — where: {FIRES}.features "
        "— expected: 0 to 31 — what to do: choose other features, or raise features.size",
    ),
    "a kind that reads none": (
        {"examples": EXAMPLES},
        f"kind 'example_gradients' reads no dictionary of features — where: {AT}.examples.routes.p."
        "dictionary — expected: a scalar without one, or a kind among candidates, closure, "
        "coalitions, data_attribution, feature_causes, update_attribution — what to do: "
        "name another scalar",
    ),
    "families of a dictionary that there is not": (
        {"competition": {"families": {"dictionary": "featurs"}}},
        f"analysis 'featurs' does not exist — where: {AT}.competition.families.dictionary — ",
    ),
    "families of an analysis that finds none": (
        {"competition": {"families": {"dictionary": "scan"}}},
        f"analysis 'scan' is of kind 'head_scan' — where: {AT}.competition.families.dictionary — ",
    ),
    "nothing that competes": (
        {"competition": {"candidates": {}}},
        "neither candidates nor families are named, so nothing competes; name routes under "
        "candidates, or a dictionary under families",
    ),
    "a stage that there is not": (
        {"features": {"stage": "layer_2_post_attn"}},
        "unknown site 'layer_2_post_attn' in run 'one' — where: studies.small.analyses.features."
        "stage — expected: ",
    ),
    "more features active than there are": (
        {"features": {"architecture": "batchtopk", "k": 33}},
        f"k 33 is more than size 32 — where: {AT}.features.k — expected: at most 32 — what to do: "
        "lower k, or raise size",
    ),
    "wider than its data supports": (
        {"features": {"programs": 4, "size": 641, "first": 0}},
        "size 641 is more than the 640 states that half of 4 programs can have at 5 checkpoints of "
        "run 'one' — where: studies.small.analyses.features.size — expected: at most as many "
        "features as states that they are fitted to — what to do: lower size, or raise programs",
    ),
    "a first checkpoint that is none": (
        {"features": {"first": 12}},
        "run 'one' has no checkpoint at step 12 — where: studies.small.analyses.features.first — ",
    ),
}


@pytest.mark.parametrize(("analyses", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_before_anything_runs(
    analyses: dict[str, Any], message: str
) -> None:
    assert refused(**analyses).startswith(message)


def families(**changes: Any) -> dict[str, Any]:
    """An analysis of kind ``families``."""
    return {
        "kind": "families",
        "dictionaries": ["features"],
        "earlier": 10,
        "programs": 32,
        **changes,
    }


def test_families_may_be_named_by_scalars() -> None:
    plan(found=families(), competition=fires(dictionary="found", features="b@support_value"))
    plan(found=families(), competition=fires(dictionary="found", features=[31]))


@pytest.mark.parametrize(
    ("analyses", "problem"),
    [
        (
            {"found": families(), "competition": fires(dictionary="found", features=[32])},
            f"analysis 'features' makes no feature 32 — where: {FIRES}."
            "features — expected: 0 to 31",
        ),
        (
            {
                "found": families(families=1),
                "competition": fires(dictionary="found", features="b@prediction"),
            },
            f"family 'b@prediction' does not exist — where: {FIRES}.features "
            "— expected: one of a@prediction, a@support_value",
        ),
        (
            {
                "wide": {"kind": "dictionary", "stage": "layer_0_post_attn", "size": 64},
                "found": families(dictionaries=["features", "wide"]),
            },
            "analysis 'wide' has 64 features of states at layer_0_post_attn, 'features' 32 of "
            f"states at layer_0_post_attn — where: {AT}.found.dictionaries — expected: "
            "dictionaries of one stage and size that differ in their seed",
        ),
        (
            {"found": families(checkpoints=[0, 20])},
            f"earlier 10 is none of checkpoints, or their last — where: {AT}.found.earlier — "
            "expected: one of checkpoints with another one after it",
        ),
        (
            {"found": families(dictionaries=["scan"])},
            f"analysis 'scan' is of kind 'head_scan' — where: {AT}.found.dictionaries",
        ),
    ],
)
def test_families_that_cannot_be_are_refused(analyses: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan(**analyses)
    assert str(error.value).startswith(problem)

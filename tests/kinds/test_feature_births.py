"""Births of features in a 'run' in which the previous-token head begins to write, and its twin."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from viewing import changed, outcome, viewed

from circuit.config.plan import Plan
from circuit.config.study import load_settings
from circuit.errors import ConfigError
from circuit.kinds.feature_births.measure import chosen, feature_births
from circuit.kinds.feature_births.settings import Settings
from circuit.measures.features.crosscoder import load_crosscoder, write_crosscoder
from circuit.measures.sweep.behaviour import SplitReads
from circuit.scalars.dictionary_files import configuration, load_dictionary, write_dictionary

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
from tiny_study import TINY

SETTINGS = {
    "stage": "layer_0_post_attn",
    "programs": 32,
    "size": 48,
    "active": 6.0,
    "steps": 200,
    "batch_size": 128,
    "learning_rate": 1e-2,
    "draws": 5,
    "shown": 3,
}
STEPS = tuple(range(0, 1200, 100))


def asked(**changes):
    return Settings.model_validate({"kind": "feature_births", **SETTINGS, **changes})


@pytest.fixture(scope="module")
def found(planted, planted_benchmark, tmp_path_factory):
    """The head writes at the last six of twelve checkpoints; models without training are noise."""
    last = planted.flat.float()
    before, head = last.clone(), int(planted.previous_token_head[3])
    planted.decoder.layout.views(before)["layer_0.attn.W_O"][head] = 0
    trained = {step: (lambda theta=last if step >= 600 else before: theta) for step in STEPS}
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(len(last), generator=generator) * 0.02 for _ in STEPS]
    return feature_births(
        planted.decoder,
        trained,
        [lambda part=part: part for part in noise],
        SplitReads(planted_benchmark.splits["train"], planted_benchmark.vocabulary, 32),
        planted_benchmark.vocabulary,
        asked(),
        tmp_path_factory.mktemp("work") / "unfinished",
        "planted",
    )


def seen(found, folder, **tables):
    made = {**found.tables, **tables}
    return viewed(
        "feature_births",
        made,
        folder,
        SETTINGS,
        records={"about": found.about, "cfg": configuration(found.dictionary)},
    )


def test_features_of_what_the_head_begins_to_write_are_born_when_it_does(found, tmp_path):
    report = seen(found, tmp_path)
    born = outcome(report, "features that are born")
    assert born.verdict == "shown"
    half = outcome(report, "half of the births")
    assert half.verdict == "shown"
    rows = found.tables["rows"].frame
    assert rows.loc[rows["measure"] == "half_born", "mean"].item() == 600
    own = rows[(rows["measure"] == "births") & (rows["against"] == "")].set_index("step")["mean"]
    assert own.idxmax() == 600
    assert own[600] >= 0.8 * own.sum()
    told = outcome(report, "told features born by", label="query_key", role="support_value")
    assert told.verdict == "shown"
    assert "Births cluster" in report["answer"]


def test_models_that_were_never_trained_have_no_births(found):
    rows = found.tables["rows"].frame
    null = rows[(rows["measure"] == "born_share") & (rows["against"] == "untrained models")]
    assert null["mean"].item() < 0.1


def test_births_no_more_than_in_shuffled_time_are_not_shown(found, tmp_path):
    rows = found.tables["rows"]
    where = {"measure": "born_share", "against": ""}
    fewer = changed(rows.frame, where, mean=0.01, low=0.0, high=0.02)
    report = seen(found, tmp_path, rows=rows.__class__(fewer, rows.what))
    assert outcome(report, "features that are born").verdict != "shown"


def test_shown_are_told_features_and_those_that_are_born_come_first(found):
    features = found.tables["features"].frame
    own = features[features["against"] == ""].set_index("feature")
    shown = chosen(features, 3)
    assert set(found.tables["contexts"].frame["feature"]) == set(shown)
    assert (own.loc[list(shown), "told"] == "yes").all()
    lives = list(own.loc[list(shown), "life"])
    assert lives == sorted(lives, key=lambda life: life != "born")
    assert "born" in lives
    untold = chosen(changed(features, {"against": ""}, told="no"), 3)
    assert all(name.endswith("not told") for name in untold.values())


def test_what_is_left_can_be_read_again_and_nothing_unfinished_is(found, tmp_path):
    write_crosscoder(tmp_path / "crosscoder.safetensors", found.crosscoder)
    read = load_crosscoder(tmp_path / "crosscoder.safetensors", "planted")
    assert (read.steps, read.role) == (STEPS, "everywhere")
    assert found.about["scales"] == dict(zip(map(str, STEPS), read.scales.tolist(), strict=True))
    dictionary = load_dictionary(write_dictionary(tmp_path, found.dictionary))
    assert dictionary.families == found.dictionary.families
    assert dictionary.stage == "layer_0_post_attn"
    assert set(dictionary.families) == set(asked().family_names)


REFUSED = {
    "a step without a checkpoint": ({"checkpoints": [0, 15]}, "run 'seed7' has no checkpoint at"),
    "one checkpoint": ({"checkpoints": ["final"]}, "Value should have at least 2 items"),
    "more active than there are": ({"active": 32.0}, "active 32.0 is more than size 16"),
    "a stage that there is not": ({"stage": "layer_9_post_mlp"}, "unknown site 'layer_9_post_mlp'"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_fitted_is_refused_before_anything_runs(changes, message):
    config = copy.deepcopy(TINY)
    config["studies"]["quickstart"]["analyses"]["feature_births"].update(changes)
    with pytest.raises(ConfigError) as caught:
        Plan(load_settings(config))
    assert str(caught.value).startswith(message)
    assert "feature_births." + next(iter(changes)) in str(caught.value)


def test_scalars_may_name_the_last_checkpoints_dictionary():
    config = copy.deepcopy(TINY)
    config["studies"]["quickstart"]["analyses"]["looks"] = {
        "kind": "candidates",
        "runs": ["seed7"],
        "window": "formation",
        "train_programs": 16,
        "candidates": {
            "fires": {
                "scalar": "feature_score",
                "dictionary": "feature_births",
                "features": "answer@prediction",
                "role": "prediction",
            }
        },
    }
    plan = Plan(load_settings(config))
    asked = plan.analysis("quickstart", "looks").model_dump()
    assert plan.dictionaries("quickstart", "seed7", asked) == [
        "results/quickstart/seed7/feature_births/sae_weights.safetensors"
    ]

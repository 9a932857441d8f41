"""One dictionary over a 'run' that ends in the planted circuit, and over untrained twins."""

import numpy as np
import pytest
import torch
from planted import untrained_twin

from circuit.config.scalar import ScalarSettings
from circuit.errors import AnalysisError
from circuit.kinds.dictionary.settings import Settings
from circuit.measures.features.dictionary import dictionary_of_run
from circuit.measures.features.families import CONTEXT, OTHERS, SHUFFLED
from circuit.model.counting import CountingDecoder
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.task.events import read_events

STEPS = (0, 600, 1200)
N_KEYS = 4


def found_in(circuit, states, benchmark, decoder=None, **changes):
    """Small dictionaries, fitted in seconds."""
    settings = Settings.model_validate(
        {
            "kind": "dictionary",
            "stage": "layer_0_post_attn",
            "size": 96,
            "steps": 600,
            "learning_rate": 1e-2,
            "seeds": 1,
            "programs": 160,
            "family": N_KEYS,
            **changes,
        }
    )
    return dictionary_of_run(
        decoder or circuit.decoder,
        dict(zip(STEPS, states, strict=True)).__getitem__,
        STEPS,
        benchmark.splits["train"],
        benchmark.vocabulary,
        settings,
    )


@pytest.fixture(scope="module")
def passes(planted):
    return CountingDecoder(planted.decoder)


def without(planted, head):
    """The planted circuit before a head writes anything; in float32, as runs are."""
    flat = planted.flat.float()
    layer, number = int(head[1]), int(head[3])
    planted.decoder.layout.views(flat)[f"layer_{layer}.attn.W_O"][number] = 0
    return flat


@pytest.fixture(scope="module")
def formed(planted, planted_benchmark, passes):
    """The previous-token head begins to write between the last two checkpoints."""
    before = without(planted, planted.previous_token_head)
    states = [before, before, planted.flat.float()]
    return found_in(planted, states, planted_benchmark, passes, seeds=2)


@pytest.fixture(scope="module")
def answered(planted, planted_benchmark):
    """The matching head does, and there is a feature for every value."""
    before = without(planted, planted.matching_head)
    changes = {"stage": "layer_1_post_attn", "family": planted.vocabulary.n_values, "first": 600}
    return found_in(
        planted, [before, before, planted.flat.float()], planted_benchmark, size=160, **changes
    )


def family(found, name):
    """Its share, that of shuffled labels, and how many of its features are told."""
    rows = found.rows[found.rows["family"] == name].set_index(["measure", "against"])
    share, shuffled = (rows.loc[("label_share", of)] for of in ("", SHUFFLED))
    told = rows.loc[("members_told", ""), "mean"]
    return {**share, "shuffled_high": shuffled["high"], "members_told": told}


def score(found, name, against=""):
    rows = found.rows[(found.rows["family"] == name) & (found.rows["measure"] == "score")]
    return rows[rows["against"] == against].set_index("step")


def features(found):
    return found.features[found.features["against"] == ""]


def test_features_of_a_written_values_key_are_found_once_the_previous_token_head_writes_it(formed):
    """Planted: L0H1 writes the key of a written value onto it, in a block of its own."""
    name = "query_key@support_value"
    told = family(formed, name)
    assert told["named_by"] == CONTEXT
    assert told["members_told"] == N_KEYS
    assert told["low"] > 0.8 > told["shuffled_high"]
    mine = score(formed, name)
    assert mine.loc[[0, 600], "high"].max() < 0.1 * mine.loc[1200, "low"]
    assert score(formed, name, OTHERS).loc[1200, "high"] < 0.5 * mine.loc[1200, "low"]
    members = features(formed).loc[list(formed.dictionary.families[name])]
    assert set(members["group"]) == {"K00", "K01", "K02", "K03"}  # one feature for each key
    assert (members["role"] == "support_value").all()


def test_no_feature_tells_an_answer_at_the_prediction_before_the_matching_head_wrote_it(formed):
    """Nothing of layer 0 knows it: shuffled labels do as well."""
    told = family(formed, "answer@prediction")
    assert told["low"] < told["shuffled_high"]


def test_features_of_the_answer_are_found_where_the_matching_head_wrote_it(answered, planted):
    told = family(answered, "answer@prediction")
    assert told["named_by"] == CONTEXT
    assert told["low"] > 0.5 > told["shuffled_high"]
    every = features(answered)
    tells = (every["role"] == "prediction") & (every["label"] == "answer")
    values = every.loc[tells & (every["told"] == "yes"), "group"]
    assert values.nunique() > 0.7 * planted.vocabulary.n_values
    mine = score(answered, "answer@prediction")
    assert mine.loc[600, "high"] < 0.2 * mine.loc[1200, "low"]
    assert sorted(answered.rows["step"].unique()) == [600, 1200]


def test_in_the_untrained_twins_no_features_tell_the_answer(planted, planted_benchmark):
    """Over seeds, the share of the best of them lies about that of shuffled labels."""
    more = []
    for seed in range(3):
        twin = untrained_twin(planted, seed).flat.float()
        found = found_in(
            planted, [twin] * 3, planted_benchmark, stage="layer_1_post_attn", first=1200, steps=100
        )
        told = family(found, "answer@prediction")
        more.append(told["mean"] - told["shuffled_high"])
        assert told["low"] < told["shuffled_high"]
    assert np.mean(more) < 0.02


def test_the_dictionary_is_judged_at_every_checkpoint(formed):
    about = formed.rows["measure"].isin(("explained_variance", "active_features", "dead_share"))
    quality = formed.rows[about]
    assert len(quality) == len(STEPS) * 7
    own = (quality["measure"] == "explained_variance") & (quality["against"] == "")
    explained = quality[own].set_index("step")
    assert (explained["low"] <= explained["mean"]).all()
    assert (explained["mean"] <= explained["high"]).all()
    assert (explained["mean"] > 0.5).all()
    assert formed.dictionary.stage == "layer_0_post_attn"
    assert len(features(formed)) == formed.dictionary.size == 96
    assert features(formed)["feature"].tolist() == list(range(96))
    assert set(features(formed)["born"].dropna()) <= set(STEPS)


def number(found, measure, against=""):
    rows = found.rows[(found.rows["measure"] == measure) & (found.rows["against"] == against)]
    return rows.set_index("step").loc[1200]


def test_the_answer_is_recovered_and_more_than_by_as_many_principal_components(formed):
    """Without any state it is lost; ratios are those of the means beside them."""
    named = ("", "mean ablation", "zero ablation")
    own, ablated, zero = (number(formed, "kl", name)["mean"] for name in named)
    assert 0 < own < ablated
    recovered = number(formed, "kl_recovered")
    assert recovered["mean"] == pytest.approx(1 - own / ablated)
    assert recovered["low"] <= recovered["mean"] <= recovered["high"] <= 1
    assert number(formed, "kl_recovered", "excess over principal components")["low"] > 0
    assert number(formed, "explained_variance", "excess over frozen decoder")["low"] > 0
    assert number(formed, "kl_recovered_of_zero")["mean"] == pytest.approx(1 - own / zero)
    loss = {n: number(formed, "answer_loss", n)["mean"] for n in ("", "clean", "mean ablation")}
    ratio = (loss["mean ablation"] - loss[""]) / (loss["mean ablation"] - loss["clean"])
    assert number(formed, "ce_recovered")["mean"] == pytest.approx(ratio)


def test_dictionaries_of_other_seeds_are_nearer_than_random_directions(formed):
    for measure in ("mean_max_cosine", "matched_cosine"):
        own, random = (number(formed, measure, name) for name in ("", "random directions"))
        assert own["mean"] > random["mean"] + 0.2
        assert (own["count"], own["noun"]) == (1, "dictionary seeds")
        assert np.isnan(own["low"])  # one seed says nothing of others
    assert number(formed, "matched_cosine")["mean"] <= number(formed, "mean_max_cosine")["mean"]


def test_it_costs_one_pass_per_checkpoint_and_those_of_replaced_states(formed, passes):
    assert formed.rows["step"].nunique() == 3
    assert passes.passes.programs == 3 * 160 + 80  # those that score, once whole
    assert passes.passes.continued > 0


def test_a_familys_score_is_the_scalar_of_its_name(formed, planted, planted_benchmark):
    """On the same programs; reads that share a support write count once in the rows."""
    programs = planted_benchmark.splits["train"].head(160).iloc[1::2]
    events = read_events(programs, planted_benchmark.vocabulary)
    value_ids, name = planted.vocabulary.value_ids, "query_key@prediction"
    context = ScalarContext(
        planted.decoder,
        events,
        value_ids,
        {},
        lambda _: planted.flat,
        (0, 1),
        1,
        dictionaries={"it": formed.dictionary},
    )
    settings = ScalarSettings(
        scalar="feature_score", dictionary="it", features=name, role="prediction"
    )
    scalars = {"score": build_scalar(settings, context)}
    values = scalar_values(planted.decoder, planted.flat.float(), events, value_ids, scalars)
    assert float(values.mean()) == pytest.approx(score(formed, name).loc[1200, "mean"], rel=1e-5)


def test_the_same_seed_gives_the_same_dictionary(planted, planted_benchmark):
    states = [planted.flat.float()] * 3
    first, again = (
        found_in(planted, states, planted_benchmark, steps=30, first=1200) for _ in range(2)
    )
    assert torch.equal(first.dictionary.W_enc, again.dictionary.W_enc)
    assert first.dictionary.families == again.dictionary.families
    assert first.features.equals(again.features)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first": 1300}, "no checkpoint is left from step 1300 on — "),
        ({"stage": "layer_0_neurons"}, "site 'layer_0_neurons' does not hold residual states — "),
        (
            {"sparsity": 1e3, "steps": 100, "first": 1200},
            "no feature of the dictionary fires at prediction or support_value — where: states at "
            "layer_0_post_attn, step 1200 — ",
        ),
        ({"stage": "layer_7_post_mlp"}, "unknown site 'layer_7_post_mlp' — "),
    ],
)
def test_what_cannot_be_is_refused(planted, planted_benchmark, changes, message):
    with pytest.raises(AnalysisError) as caught:
        found_in(planted, [planted.flat] * 3, planted_benchmark, **changes)
    assert str(caught.value).startswith(message)

from dataclasses import replace
from typing import get_args

import pytest
from scalar_cases import CASES, WITHOUT_HEAD, random_dictionary

from circuit.config.scalar import SCALAR_UNITS, ScalarName, ScalarSettings
from circuit.errors import AnalysisError, MismatchError
from circuit.scalars.registry import SCALARS, build_scalar


def refusal(world, **settings):
    with pytest.raises(AnalysisError) as caught:
        world.build(**settings)
    return str(caught.value)


def test_every_name_in_the_settings_is_built_and_tested():
    assert set(get_args(ScalarName)) == set(SCALARS) == {s["scalar"] for s in CASES.values()}
    assert set(SCALAR_UNITS) == set(SCALARS)


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_a_scalar_has_the_unit_that_reports_print(world, settings):
    unit = world.build(**settings).unit
    assert unit == ScalarSettings.model_validate(settings).unit
    if settings["scalar"] == "attention_separation":
        assert unit == {"scores": "score", "probabilities": "probability"}[settings["measure"]]
    elif settings.get("reading") == "readout":
        assert unit == "logit"
    elif "outcome" in settings:
        assert unit == SCALAR_UNITS[settings["outcome"]]
    else:
        assert unit == SCALAR_UNITS[settings["scalar"]]


def test_heads_are_named_or_chosen(world):
    named = world.values(world.build(scalar="qk_separation", head="L0H1"))
    assert named.equal(world.values(world.build(scalar="qk_separation", head="runner_up")))
    assert not named.equal(world.values(world.build(scalar="qk_separation", head="winner")))


@pytest.mark.parametrize("name", [name for name in SCALARS if name != "subspace_projection"])
def test_a_head_is_needed_by_measures_of_one_head_and_refused_by_others(world, name):
    if name not in WITHOUT_HEAD:
        assert refusal(world, scalar=name) == (
            f"scalar {name} needs a head — where: scalar settings — expected: head: winner, "
            "runner_up, bottom or a name such as L1H3 — what to do: add head"
        )
    else:
        of_features = name.startswith("feature_")
        case = CASES["score of features"] | {"scalar": name}
        world.build(**(case if of_features else {"scalar": name}))
        assert refusal(world, scalar=name, head="winner").startswith(f"scalar {name} takes no head")


@pytest.mark.parametrize("head", ["L2H0", "L0H2", "L0", "L0MLP", "L0N3", "loser", "l0h0", ""])
def test_a_head_that_does_not_exist_is_refused(world, head):
    assert refusal(world, scalar="support_attention", head=head) == (
        f"head {head!r} does not exist — where: a model with 2 layers of 2 heads — expected: L0H0 "
        "to L1H1 — what to do: name an existing head, or winner / runner_up / bottom"
    )


@pytest.mark.parametrize("basis", ["own", "source", "final", 10])
def test_a_rank_above_the_heads_width_is_refused(world, basis):
    message = refusal(world, scalar="qk_separation", head="L0H0", rank=9, basis=basis)
    assert message == (
        "rank 9 is too large for W_QK — where: a head of width 8 — expected: 1 to 8 — what to do: "
        "choose a smaller rank, or leave rank out for full scores"
    )


OPTIONS = {
    "rank": 2,
    "basis": "own",
    "measure": "probabilities",
    "competitor": "fixed_source",
    "stage": "embedding",
    "role": "prediction",
    "subspace": "head_qk_key",
    "reading": "readout",
    "outcome": "negative_answer_loss",
    "part": "skip",
    "gradient": "integrated",
    "dictionary": "shared",
    "features": [1],
}
FEATURES = {"feature_score", "feature_drive"}
TAKEN = {
    "rank": {"qk_separation", "subspace_projection"},
    "basis": {
        "qk_separation",
        "head_margin_dla_fixed_readout",
        "subspace_projection",
        "functional_write",
    },
    "measure": {"attention_separation"},
    "competitor": {s["scalar"] for s in CASES.values() if "competitor" in s},
    "stage": {"subspace_projection", "functional_write", "rescue"},
    "role": {"subspace_projection", "functional_write", "rescue", *FEATURES},
    **{name: {"subspace_projection"} for name in ("subspace", "reading")},
    "outcome": {"functional_write", "rescue"},
    **{name: {"functional_write"} for name in ("part", "gradient")},
    **dict.fromkeys(("dictionary", "features"), FEATURES),
}


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_without_effect_is_refused(world, name, option):
    if name in TAKEN[option]:
        return
    head = {} if name in {*WITHOUT_HEAD, "subspace_projection"} else {"head": "L0H0"}
    what, where, expected, do = refusal(
        world, scalar=name, **head, **{option: OPTIONS[option]}
    ).split(" — ")
    assert what == f"scalar {name} takes no {option}"
    assert where == "where: scalar settings"
    assert expected.startswith(f"expected: {option} only with ")
    assert set(expected.split(" only with ")[1].split(", ")) == TAKEN[option]
    assert do == f"what to do: leave {option} out"


def test_a_basis_without_a_rank_is_refused(world):
    assert refusal(world, scalar="qk_separation", head="L0H0", basis="own") == (
        "scalar qk_separation takes a basis only together with a rank — where: scalar settings — "
        "expected: rank and basis, or neither (full scores) — what to do: add rank, or leave basis "
        "out"
    )


@pytest.mark.parametrize("basis", ["own", "source"])
def test_a_fixed_readout_is_a_checkpoints(world, basis):
    message = refusal(world, scalar="head_margin_dla_fixed_readout", head="L0H0", basis=basis)
    assert message.startswith(
        f"scalar head_margin_dla_fixed_readout takes no basis {basis} — where: scalar settings — "
        "expected: final or a checkpoint step, whose final LayerNorm scale is held fixed — "
    )


INSIDE = CASES["squared norm in embedding_value_identity"]
OF_HEAD = CASES["squared norm in head_qk_key"]
REFUSED = {
    "nothing but its name": (
        {"scalar": "subspace_projection"},
        "needs stage and role and subspace and rank — where: scalar settings — expected: stage, "
        "role, subspace and rank — what to do: add stage and role and subspace and rank",
    ),
    "no rank": ({**INSIDE, "rank": None}, "needs rank — "),
    "a head's subspace without one": (
        {**OF_HEAD, "head": None},
        "needs a head with head_qk_key — where: scalar settings — expected: a head with a head's "
        "subspace, and with no other — what to do: add head",
    ),
    "a head where none is meant": (
        {**INSIDE, "head": "L0H0"},
        "takes no head with embedding_value_identity — ",
    ),
    "a rival of a norm": (
        {**INSIDE, "competitor": "fixed_source"},
        "takes a competitor only for its readout — ",
    ),
    "a readout that is none": (
        {**OF_HEAD, "reading": "readout"},
        "has no readout at layer_1_attn_input — where: scalar settings — expected: a stage of the "
        "residual stream: embedding, layer_0_post_attn, layer_0_post_mlp, layer_1_post_attn, "
        "layer_1_post_mlp, final_norm — what to do: choose a stage, or reading: squared_norm",
    ),
    "a role that some events lack": (
        {**INSIDE, "role": "prior_answers"},
        "finds no prior_answers in some events — ",
    ),
}


@pytest.mark.parametrize(
    ("case", "widest"),
    [
        ("embedding_key_identity", 3),  # four keys about their mean
        ("embedding_value_identity", 16),
        ("head_qk_query", 8),
        ("head_ov_output", 8),
        ("pca(layer_1_post_attn, support_key)", 4),
    ],
)
def test_a_subspace_has_no_more_directions_than_it_has(world, case, widest):
    settings = CASES[f"squared norm in {case}"]
    world.build(**{**settings, "rank": widest})
    message = refusal(world, **{**settings, "rank": widest + 1})
    assert message.startswith(f"{case} has no {widest + 1} directions — ")
    assert f"expected: 1 to {widest} " in message


@pytest.mark.parametrize("stage", ["layer_0_neurons", "layer_1_ln1_scale", "layer_0_pattern"])
def test_states_of_another_space_are_refused(world, stage):
    message = refusal(world, **{**INSIDE, "stage": stage})
    assert message.startswith(f"site {stage!r} does not hold residual states — ")


def test_a_subspace_that_there_is_not_is_refused_by_its_settings():
    for name in ("embedding", "pca", "pca(embedding)", "pca(embedding, answer)", "head_qk"):
        with pytest.raises(ValueError, match="subspace"):
            ScalarSettings.model_validate({**INSIDE, "subspace": name})


FOLLOWED = CASES["write of L0H1, whole"]
UNREACHED = {
    "nothing but its source": (
        {"scalar": "functional_write", "head": "winner"},
        "needs stage and role — where: scalar settings — expected: stage and role — what to do: "
        "add stage and role",
    ),
    "a stage before the source": (
        {**FOLLOWED, "head": "L1H0", "stage": "layer_0_post_mlp"},
        "cannot follow the write of L1H0 to layer_0_post_mlp — where: scalar settings — expected: "
        "a stage that it reaches: layer_1_post_attn, layer_1_post_mlp — what to do: ",
    ),
    "a stage that is no sum": (
        {**FOLLOWED, "stage": "final_norm"},
        "cannot follow the write of L0H1 to final_norm — ",
    ),
    "parts of a write that is one": (
        {**FOLLOWED, "head": "L1MLP", "part": "skip"},
        "has no parts at layer_1_post_mlp of a write of L1MLP — ",
    ),
    "parts after attention": (
        {**FOLLOWED, "stage": "layer_1_post_attn", "part": "mlp"},
        "has no parts at layer_1_post_attn of a write of L0H1 — ",
    ),
    "a margin whose rival moves": (
        {**FOLLOWED, "outcome": "answer_margin"},
        "cannot have a competitor that moves: what is compared has one and the same — ",
    ),
    "a basis that moves": ({**FOLLOWED, "basis": "own"}, "takes no basis own — "),
    "a basis that follows": ({**FOLLOWED, "basis": "source"}, "takes no basis source — "),
    "a role that some events lack": (
        {**FOLLOWED, "role": "prior_answers"},
        "finds no prior_answers in some events — ",
    ),
    "a state that nothing reads": (
        {**FOLLOWED, "role": "support_value"},
        "is nothing but 0: no answer depends on layer_1_post_mlp at support_value — ",
    ),
}


def test_a_write_has_a_competitor_for_a_margin_only(world):
    message = refusal(world, **FOLLOWED, competitor="fixed_target")
    assert message.startswith("scalar correct_value_logit takes no competitor — ")


@pytest.mark.parametrize("source", ["L2H0", "L0H2", "L2MLP", "L0N3", "mlp"])
def test_a_source_that_does_not_exist_is_refused(world, source):
    assert refusal(world, **{**FOLLOWED, "head": source}).startswith(f"head {source!r} does not ")


SCORED = CASES["score of features"]
UNSCORED = {
    "nothing but its name": (
        {"scalar": "feature_score"},
        "needs dictionary and features and role — where: scalar settings — expected: dictionary, "
        "features and role — what to do: add dictionary and features and role",
    ),
    "a dictionary that there is not": (
        {**SCORED, "dictionary": "sharde"},
        "finds no dictionary 'sharde' — where: scalar settings — expected: one of shared — what to "
        "do: did you mean 'shared'?",
    ),
    "a family that there is not": (
        {**SCORED, "features": "answers@prediction"},
        "finds no family 'answers@prediction' — where: scalar settings — expected: one of "
        "answer@prediction — what to do: did you mean 'answer@prediction'?",
    ),
    "a feature beyond the last": (
        {**SCORED, "features": [3, 12]},
        "finds no feature 12 in dictionary 'shared' — where: scalar settings — expected: 0 to 11 — "
        "what to do: choose other features",
    ),
    "every feature at once": (
        {**SCORED, "scalar": "feature_drive", "features": "every"},
        "is one number, not one of every feature — where: scalar settings — expected: numbers of "
        "features, or a family — what to do: name some, or use the kind feature_causes",
    ),
    "a role that some events lack": (
        {**SCORED, "role": "prior_answers"},
        "finds no prior_answers in some events — ",
    ),
}


@pytest.mark.parametrize("case", [*REFUSED.values(), *UNREACHED.values(), *UNSCORED.values()])
def test_what_has_no_meaning_is_refused(world, case):
    settings, message = case
    assert refusal(world, **settings).startswith(f"scalar {settings['scalar']} {message}")


def test_a_dictionary_of_another_models_states_is_refused(world):
    def build(dictionary):
        context = replace(world.context(), dictionaries={"shared": dictionary})
        return build_scalar(ScalarSettings.model_validate(SCORED), context)

    with pytest.raises(MismatchError) as caught:
        build(random_dictionary(17))
    assert str(caught.value) == (
        "dictionary 'shared' reads states of width 17 — where: scalar feature_score — expected: "
        "width 16, that of the model's states — what to do: name a dictionary that was made for "
        "this model"
    )
    with pytest.raises(AnalysisError, match="unknown site 'layer_2_post_mlp'"):
        build(random_dictionary(16, stage="layer_2_post_mlp"))


@pytest.mark.parametrize("features", [[], [-1], "answer", "answer@nowhere", "@prediction"])
def test_features_that_cannot_be_are_refused_by_their_settings(features):
    with pytest.raises(ValueError, match="features"):
        ScalarSettings.model_validate({**SCORED, "features": features})

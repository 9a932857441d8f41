"""What writes do later: found where they were planted, with exact parts, and not in twins."""

import numpy as np
import pytest
import torch
from planted import untrained_twin

from circuit.config.scalar import ScalarSettings
from circuit.errors import AnalysisError
from circuit.kinds.functional_write.settings import Settings
from circuit.measures.writes.functional import effect_sites, follow_writes, role_masks
from circuit.model.counting import CountingDecoder
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.registry import ScalarContext, build_scalar, resolve_write
from circuit.scalars.write import PARTS, functional_write

ROLES = ("prediction", "support_value", "support_key", "value_distractors")
BASE = {
    "scalar": "functional_write",
    "outcome": "answer_margin",
    "competitor": "fixed_target",
    "gradient": "integrated",
    "role": "prediction",
}
WRITES = {
    "answer": {**BASE, "head": "L1H2", "stage": "layer_1_post_mlp"},
    "previous_key": {**BASE, "head": "L0H1", "stage": "layer_1_post_attn"},
    "key_of_the_value": {
        **BASE,
        "head": "L0H1",
        "stage": "layer_0_post_mlp",
        "role": "support_value",
    },
    "noise": {**BASE, "head": "L0MLP", "stage": "layer_1_post_mlp"},
}
BOTTOM = "L1H0"


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 171, 4))


def context(planted, states, events):
    ids, ends = planted.vocabulary.value_ids, (min(states), max(states))
    return ScalarContext(planted.decoder, events, ids, {}, states.__getitem__, ends, ends[1])


def writes_of(setting):
    specs = {name: ScalarSettings.model_validate(spec) for name, spec in WRITES.items()}
    return {name: resolve_write(spec, setting) for name, spec in specs.items()}


def followed(decoder, states, events, value_ids, writes):
    """Effects over states by step; the last one is the reference."""
    mature = dict.fromkeys(writes, max(states))
    return follow_writes(
        decoder, states.__getitem__, list(states), events, value_ids, writes, mature, BOTTOM,
        ROLES, 4, 0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def states(planted, untrained):
    """A 'run' on the straight line from untrained to planted."""
    shares = {0: 0.0, 50: 0.5, 100: 1.0}
    return {step: torch.lerp(untrained.flat, planted.flat, u) for step, u in shares.items()}


@pytest.fixture(scope="module")
def counting(planted):
    return CountingDecoder(planted.decoder)


@pytest.fixture(scope="module")
def writes(planted, states, events):
    return writes_of(context(planted, states, events))


@pytest.fixture(scope="module")
def formed(planted, states, events, counting, writes):
    return followed(counting, states, events, planted.vocabulary.value_ids, writes)


def at(table, step, **chosen):
    """The one row that is meant: of effects themselves, where nothing else is said."""
    row = table[table["step"] == step]
    meant = {"measure": "effect", "side": "", "against": "", "part": "whole"}
    if chosen.get("measure", "effect") != "effect":
        meant = {"against": ""}
    for name, value in {**meant, **chosen}.items():
        row = row[row[name] == value]
    assert len(row) == 1
    return row.iloc[0]


def test_the_matching_heads_write_is_worth_what_its_removal_costs(formed):
    """Nothing lies between its target and the answer, and the gradient is integrated."""
    own = at(formed, 100, write="answer")
    cost = at(formed, 100, write="answer", against="ablation")
    assert own["low"] > 5
    assert own["mean"] == pytest.approx(cost["mean"], rel=1e-6)
    bottom = at(formed, 100, write="answer", against="bottom head")
    assert abs(bottom["mean"]) < 0.01 * own["mean"]


def test_another_events_gradient_reads_nothing_of_it(formed):
    foreign = at(formed, 100, write="answer", against="gradient of another event")
    assert foreign["low"] < 0 < foreign["high"]


def test_parts_sum_to_the_whole_at_every_checkpoint(formed):
    effects = formed[(formed["measure"] == "effect") & (formed["side"] == "")]
    wide = effects.pivot_table(
        index=["step", "write", "against"], columns="part", values="mean"
    ).dropna()
    assert len(wide) > 20
    np.testing.assert_allclose(wide["skip"] + wide["mlp"], wide["whole"], rtol=1e-11, atol=1e-14)
    planted = wide.loc[(100, "answer", "")]
    assert abs(planted["mlp"]) < 0.05 * planted["skip"]  # the planted MLPs are noise


def test_the_previous_token_heads_write_acts_from_the_written_values(formed):
    """The matching head meets it at the support value; what it writes elsewhere does nothing."""
    source = {
        role: at(formed, 100, write="previous_key", side="source", role=role)["mean"]
        for role in (*ROLES, "other", "together")
    }
    assert max(source, key=source.get) == "support_value"
    whole = at(formed, 100, write="previous_key")["mean"]
    assert sum(source.values()) == pytest.approx(whole, rel=1e-9)
    assert abs(source["support_key"]) < 0.01 * whole
    target = {
        role: at(formed, 100, write="key_of_the_value", side="target", role=role)["mean"]
        for role in ROLES
    }
    assert max(target, key=target.get) == "support_value"
    own = at(formed, 100, write="key_of_the_value")["mean"]
    assert target["support_value"] == pytest.approx(own, rel=1e-9)


def test_a_write_in_the_last_layer_acts_from_its_own_position_only(formed):
    source = formed[(formed["write"] == "answer") & (formed["side"] == "source")]
    elsewhere = source[source["role"] != "prediction"]
    assert elsewhere["mean"].abs().max() < 1e-12


def test_an_excess_is_what_the_control_does_not_have(formed):
    for control in ("gradient of another event", "bottom head"):
        excess = at(formed, 100, write="answer", against=f"excess over {control}")
        own, other = (at(formed, 100, write="answer", against=name) for name in ("", control))
        assert excess["mean"] == pytest.approx(own["mean"] - other["mean"])
        assert 0 < excess["low"] < excess["mean"] < excess["high"]


def test_the_effect_is_half_way_where_it_stays_at_half_its_last_value(formed):
    found = at(formed, 100, write="answer", measure="half_way")
    curve = [at(formed, step, write="answer")["mean"] for step in (0, 50, 100)]
    assert found["mean"] == (50 if curve[1] >= curve[2] / 2 else 100)
    assert found["unit"] == "step"


def test_write_subspaces_turn_from_chance_to_the_mature_ones(formed):
    overlaps = {"write": "answer", "measure": "overlap"}
    start = at(formed, 0, **overlaps, role="prediction")
    end = at(formed, 100, **overlaps, role="prediction")
    assert start["mean"] < 0.3
    assert end["mean"] == pytest.approx(1)
    assert end["low"] == pytest.approx(1)
    chance = at(formed, 0, **overlaps, against="random subspaces")
    assert chance["mean"] == 4 / 64
    assert chance["low"] < 4 / 64 < chance["high"]
    of = formed[formed["measure"] == "overlap"]
    assert (of["low"] <= of["mean"]).all()
    assert (of["mean"] <= of["high"] + 1e-12).all()
    assert set(of.loc[of["role"] == "support_value", "side"]) == {"own role", "other role"}


def test_a_write_subspace_is_that_of_numpy(planted, states, formed, events):
    """Principal components of the writes themselves, at the positions of the role."""
    bases = []
    for step in (50, 100):
        views = planted.decoder.layout.views(states[step])
        tap = planted.decoder.tap(capture=["layer_1_head_write"])
        planted.decoder.forward(views, events.tokens, tap)
        written = tap.cache["layer_1_head_write"][:, :, 2]
        rows = written[torch.arange(len(events)), events.support_value].numpy()
        _, _, vh = np.linalg.svd(rows - rows.mean(0))
        bases.append(vh[:4])
    overlap = np.linalg.norm(bases[0] @ bases[1].T) ** 2 / 4
    found = at(formed, 50, write="answer", role="support_value", measure="overlap")
    assert found["mean"] == pytest.approx(overlap, rel=1e-9)


def test_the_untrained_twins_writes_do_nothing_beyond_their_intervals(planted, events):
    """Read by the planted reference, over seeds; step 100 is the planted network itself."""
    means, some, ids = [], events.select(range(12)), planted.vocabulary.value_ids
    writes = writes_of(context(planted, {100: planted.flat}, some))
    for seed in range(3):
        states = {0: untrained_twin(planted, seed).flat, 100: planted.flat}
        found = followed(planted.decoder, states, some, ids, writes)
        chosen = (found["measure"] == "effect") & (found["part"] == "whole")
        own = found[chosen & (found["side"] == "") & (found["against"] == "")]
        means += own.loc[own["step"] == 0, "mean"].tolist()
        largest = own.groupby("step")["mean"].max()
        assert largest[0] < 0.15 * largest[100]
    assert min(means) < 0 < max(means)


def test_effects_are_the_scalars_own(planted, states, formed, events, writes):
    spec = ScalarSettings.model_validate({**WRITES["answer"], "part": "skip"})
    scalars = {
        (name, part): functional_write(write, planted.decoder.settings, part)
        for name, write in writes.items()
        for part in PARTS
    }
    scalars["answer", "skip"] = build_scalar(spec, context(planted, states, events))
    values = scalar_values(
        planted.decoder, states[50], events, planted.vocabulary.value_ids, scalars
    )
    for (name, part), row in zip(scalars, values, strict=True):
        found = at(formed, 50, write=name, part=part)["mean"]
        assert found == pytest.approx(float(row.mean()), rel=1e-9, abs=1e-12)


def test_every_effect_has_an_interval_and_a_count(formed, events):
    effects = formed[formed["measure"] == "effect"]
    assert (effects["count"] == len(events)).all()
    assert not effects.isna().any().any()
    keys = ["step", "write", "measure", "side", "role", "against", "part"]
    assert not formed.duplicated(keys).any()


def test_one_whole_pass_per_checkpoint(formed, states, counting):
    assert counting.passes.whole == len(states)
    assert counting.passes.continued > 0


def test_a_bottom_head_that_does_not_reach_the_target_is_no_control(planted, formed):
    controls = formed[formed["against"] == "bottom head"]
    assert set(controls["write"]) == {"answer", "previous_key", "noise"}
    assert effect_sites(planted.decoder, {}, BOTTOM) == {"final_norm"}


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (("prediction", "query_key"), "role 'prediction' shares positions with 'query_key'"),
        (("support_value", "causal_prefix"), "shares positions with 'causal_prefix'"),
        (("prior_answers",), "some events have no 'prior_answers'"),
    ],
)
def test_roles_must_share_out_the_positions(events, roles, message):
    with pytest.raises(AnalysisError, match=message):
        role_masks(events, roles)


@pytest.mark.parametrize(
    "spec", [{"scalar": "correct_value_logit"}, {**WRITES["answer"], "part": "skip"}]
)
def test_what_is_no_whole_write_is_refused_before_anything_runs(spec):
    asked = {"kind": "functional_write", "heads": "scan", "writes": {"it": spec}}
    with pytest.raises(ValueError, match="must be a functional_write without a part"):
        Settings.model_validate(asked)

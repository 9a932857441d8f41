"""Paths over checkpoints: the tables, their units and halves, and what formation looks like."""

import pytest
import torch

from circuit.errors import AnalysisError
from circuit.measures.paths.direct import TARGETS
from circuit.measures.paths.logits import path_logits
from circuit.model.counting import CountingDecoder

STEPS = (0, 40)


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(torch.arange(0, 171, 4)).crop()


def tables_of(circuit, states, events, second_order=(40,), decoder=None):
    states = dict(zip(STEPS, states, strict=True))
    return path_logits(
        decoder or circuit.decoder, states.__getitem__, STEPS, events,
        circuit.vocabulary.value_ids, second_order, 3, "mean",
    )  # fmt: skip


@pytest.fixture(scope="module")
def formation(planted, untrained, events):
    """A 'run' that starts untrained and ends planted."""
    return tables_of(planted, [untrained.flat, planted.flat], events, STEPS)


def of(rows, *measures, against=""):
    return rows[rows["measure"].isin(measures) & (rows["against"] == against)]


def of_margin(frame, step, half="all"):
    chosen = (frame["step"] == step) & (frame["target"] == "value_margin")
    return frame[chosen & (frame["half"] == half)]


def test_every_half_and_target_has_every_path_with_interval_and_count(formation, events):
    rows = of(formation, "direct_path")
    sizes = rows.groupby(["step", "target", "half"], sort=False).size()
    assert set(sizes.index.unique("half")) == {"selection", "confirmation", "all"}
    assert set(sizes.index.unique("target")) == set(TARGETS)
    assert sizes.nunique() == 1
    assert (rows["low"] <= rows["mean"]).all()
    assert (rows["mean"] <= rows["high"]).all()
    counts = rows.groupby("half")["count"].unique().map(list).to_dict()
    n = len(events)
    assert counts == {"all": [n], "selection": [(n + 1) // 2], "confirmation": [n // 2]}


def test_means_of_paths_sum_to_the_mean_of_the_whole_at_every_checkpoint(formation):
    direct = of(formation, "direct_path")
    for _, part in direct.groupby(["step", "target", "half"]):
        by = part.set_index("path")["mean"]
        assert by.drop("whole").sum() == pytest.approx(by["whole"], rel=1e-10, abs=1e-12)
    at = direct.set_index(["step", "target", "half", "path"])["mean"]
    for place, part in of(formation, "chain").groupby(["step", "target", "half"]):
        whole = at[(*place, "whole")]
        assert part["mean"].sum() == pytest.approx(whole, rel=1e-10, abs=1e-12)
    paths = of(formation, "path_through_module")
    paths = paths[paths["positions"] != "all"]
    for place, part in paths.groupby(["step", "target", "half", "through"]):
        assert part["mean"].sum() == pytest.approx(at[place], rel=1e-10, abs=1e-12)


def test_identities_hold_on_every_event(formation):
    largest = of(formation, "residual", "largest_value").pivot(
        index=["step", "path", "target"], columns="measure", values="mean"
    )
    names = {"direct paths", "paths through modules", "chains"}
    assert set(largest.index.unique("path")) == names
    assert (largest["residual"] < 1e-10 * largest["largest_value"]).all()


def test_the_matching_head_comes_to_carry_the_margin(formation, planted):
    before, after = (
        of_margin(of(formation, "direct_path"), step).set_index("path") for step in STEPS
    )
    head = planted.matching_head
    assert after.loc[head, "low"] > 0.9 * after.loc["whole", "mean"] > 0
    heads = [path for path in before.index if "H" in path]
    # Intervals over events of one network: not 0, but far from anything planted.
    assert before.loc[heads, ["low", "high"]].abs().max(axis=None) < 0.05 * after.loc[head, "mean"]


def test_ablation_agrees_with_the_direct_path_of_the_head_that_writes_the_answer(
    formation, planted
):
    effects = of_margin(of(formation, "ablation_effect"), 40, "confirmation").set_index("path")
    controls = of(formation, "ablation_effect", against="direct_attribution")
    direct = of_margin(controls, 40, "confirmation").set_index("path")["mean"]
    agree = of_margin(of(formation, "sign_agreement"), 40, "confirmation").set_index("path")["mean"]
    head, looked_with = planted.matching_head, planted.previous_token_head
    assert effects.index[0] == head
    assert agree[head] > 0.9
    assert effects.loc[head, "mean"] > 0.5 * direct[head]
    # The previous-token head writes nothing to the answer, and yet without it there is none.
    assert abs(direct[looked_with]) < 0.1 * direct[head]
    assert effects.loc[looked_with, "mean"] > 0.5 * direct[head]


def test_paths_cost_one_pass_per_checkpoint_and_ablations_continue_from_it(
    planted, untrained, events
):
    decoder = CountingDecoder(planted.decoder)
    found = tables_of(planted, [untrained.flat, planted.flat], events, (40,), decoder)
    assert decoder.passes.whole == len(STEPS)
    heads = planted.decoder.settings.n_heads
    # Heads of layer 0 run its MLP and layer 1, its MLP layer 1, heads of layer 1 their MLP.
    continued = len(events) * (heads * 1.5 + 1 + heads * 0.5)
    assert decoder.passes.program_layers == len(STEPS) * len(events) * 2 + continued
    for measure in ("path_through_module", "chain", "ablation_effect"):
        assert set(of(found, measure)["step"]) == {40}


def test_a_step_without_checkpoint_no_step_and_one_event_are_refused(planted, events):
    states = [planted.flat, planted.flat]
    with pytest.raises(AnalysisError, match=r"no checkpoint at step 41.*one of 0, 40, or final"):
        tables_of(planted, states, events, (0, 41))
    with pytest.raises(AnalysisError, match="no step is named"):
        tables_of(planted, states, events, ())
    with pytest.raises(AnalysisError, match="one event is too few"):
        tables_of(planted, states, events.select(torch.tensor([0])))


def test_floats_of_any_width_are_decomposed_in_float64(planted, untrained, events):
    states = [untrained.flat.float(), planted.flat.float()]
    found = tables_of(planted, states, events)
    residual, size = (of(found, name)["mean"].to_numpy() for name in ("residual", "largest_value"))
    assert (residual < 1e-10 * size).all()

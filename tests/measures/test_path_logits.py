"""Paths over checkpoints: the tables, their units and halves, and what formation looks like."""

import numpy as np
import pytest
import torch

from circuit.errors import AnalysisError
from circuit.experiments import direct_effects
from circuit.measures.paths.direct import TARGETS
from circuit.measures.paths.logits import (
    IDENTITY_UNITS,
    READOUT_UNITS,
    ROW_UNITS,
    path_logits,
)
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


def of_margin(frame, step, half="all"):
    chosen = (frame["step"] == step) & (frame["target"] == "value_margin")
    return frame[chosen & (frame["half"] == half)]


def test_every_half_and_target_has_every_path_with_interval_and_count(formation, events):
    rows = formation.rows
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
    for (_, _, _), part in formation.rows.groupby(["step", "target", "half"]):
        by = part.set_index("path")["mean"]
        assert by.drop("whole").sum() == pytest.approx(by["whole"], rel=1e-10, abs=1e-12)
    deep = formation.second_order
    for (step, target, half), part in deep.groupby(["step", "target", "half"]):
        rows = formation.rows.set_index(["step", "target", "half", "path"])["mean"]
        chains = part[part["kind"] == "chain"]["mean"].sum()
        assert chains == pytest.approx(rows[step, target, half, "whole"], rel=1e-10, abs=1e-12)
        paths = part[(part["kind"] == "path") & (part["positions"] != "all")]
        for module, terms in paths.groupby("through"):
            direct = rows[step, target, half, module]
            assert terms["mean"].sum() == pytest.approx(direct, rel=1e-10, abs=1e-12)


def test_identities_hold_on_every_event(formation, events):
    rows = formation.identities
    assert set(rows["identity"]) == {"direct", "modules", "chains"}
    assert (rows["residual"] < 1e-10 * rows["size"]).all()
    assert (rows["count"] == len(events)).all()


def test_the_matching_head_comes_to_carry_the_margin(formation, planted):
    before, after = (of_margin(formation.rows, step).set_index("path") for step in STEPS)
    head = planted.matching_head
    assert after.loc[head, "low"] > 0.9 * after.loc["whole", "mean"] > 0
    heads = [path for path in before.index if "H" in path]
    # Intervals over events of one network: not 0, but far from anything planted.
    assert before.loc[heads, ["low", "high"]].abs().max(axis=None) < 0.05 * after.loc[head, "mean"]


def test_ablation_agrees_with_the_direct_path_of_the_head_that_writes_the_answer(
    formation, planted
):
    rows = formation.ablations
    part = rows[(rows["step"] == 40) & (rows["target"] == "value_margin")]
    at = part.set_index(["component", "measure"])["mean"]
    head, looked_with = planted.matching_head, planted.previous_token_head
    assert part["component"].iloc[0] == head
    assert at[head, "sign_agreement"] > 0.9
    assert at[head, "effect"] > 0.5 * at[head, "direct"]
    # The previous-token head writes nothing to the answer, and yet without it there is none.
    assert abs(at[looked_with, "direct"]) < 0.1 * at[head, "direct"]
    assert at[looked_with, "effect"] > 0.5 * at[head, "direct"]


def test_every_number_has_a_unit(formation):
    units = (ROW_UNITS, ROW_UNITS, READOUT_UNITS, direct_effects.UNITS, IDENTITY_UNITS)
    for frame, of in zip(formation, units, strict=True):
        assert set(frame.select_dtypes("number")) == set(of)
        assert not frame.isna().any(axis=None)


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
    assert set(found.second_order["step"]) == set(found.ablations["step"]) == {40}


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
    assert found.rows["mean"].dtype == np.float64
    assert (found.identities["residual"] < 1e-10 * found.identities["size"]).all()

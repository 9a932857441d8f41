"""What changed the answer: exact sums, on the planted circuit and on changes made by hand."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from planted import untrained_twin

from circuit.config.scalar import ScalarSettings
from circuit.errors import AnalysisError
from circuit.estimates import EXCESS
from circuit.measures.closure import (
    JOINT,
    RESIDUAL,
    STATE,
    WRITES,
    explain,
    families,
    with_components,
)
from circuit.measures.margin_change import (
    ALL,
    AT_SOURCE,
    AT_TARGET,
    FIXED_SOURCE,
    FIXED_TARGET,
    MOVING,
    OTHERS,
    READOUT,
    SCALE,
    SOFT,
    STAYS,
    SWITCH,
    SWITCHES,
    TARGETS,
    along_parameters,
    branch_rows,
    interval_rows,
    margin_changes,
    part_rows,
)
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.registry import ScalarContext, build_scalar

OUTCOME = {"margin": {"scalar": "answer_margin", "competitor": "fixed_source"}}


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(torch.arange(0, 171, 6)).crop()


@pytest.fixture(scope="module")
def of(planted, events):
    """A function from states, as checkpoints 0, 1, …, to what changed between them."""
    ids = planted.vocabulary.value_ids
    return lambda *states: margin_changes(
        planted.decoder, states.__getitem__, range(len(states)), events, ids
    )


@pytest.fixture(scope="module")
def states(planted, untrained):
    """From the untrained twin to the planted circuit, in three intervals."""
    return [torch.lerp(untrained.flat, planted.flat, at) for at in (0.0, 0.5, 0.8, 1.0)]


@pytest.fixture(scope="module")
def formed(of, states):
    return of(*states)


def scalars(planted, events, states, window, **spec):
    """A scalar's values on every event at both ends of a window."""
    about = planted.decoder, events, planted.vocabulary.value_ids, {}, states.__getitem__
    context = ScalarContext(*about, window, len(states) - 1)
    measure = {"it": build_scalar(ScalarSettings(**spec), context)}
    return [
        scalar_values(planted.decoder, states[at], events, about[2], measure)[0].numpy()
        for at in window
    ]


def changed(planted, **by):
    """The planted parameters with some tensors multiplied."""
    flat = planted.flat.clone()
    views = planted.decoder.layout.views(flat)
    for name, factor in by.items():
        views[name.replace("__", ".")].mul_(factor)
    return flat


def test_parts_sum_to_the_models_own_change(formed, planted, events, states):
    """To 1e-9, of both targets and in every interval; the moving margin's switches are a part."""
    assert formed.missed < 1e-9
    assert np.abs(formed.values).max() > 1
    for spec in ({"scalar": "answer_margin"}, {"scalar": "correct_value_logit"}):
        target = TARGETS.index(spec["scalar"])
        for number, window in enumerate(pairwise(range(len(states)))):
            before, after = scalars(planted, events, states, window, **spec)
            parts = formed.values[number, :, target, 0].sum(-1)
            np.testing.assert_allclose(parts, after - before, rtol=0, atol=1e-9)


def test_branches_are_exact_in_every_row(formed, planted, events, states):
    rows = formed.branches
    for fixed, switch in ((FIXED_SOURCE, AT_TARGET), (FIXED_TARGET, AT_SOURCE)):
        np.testing.assert_allclose(rows[fixed] + rows[switch], rows[MOVING], rtol=0, atol=1e-12)
    assert (rows[AT_TARGET] <= 0).all()
    assert (rows[AT_SOURCE] >= 0).all()
    stays = rows["among"] == STAYS
    assert (rows.loc[stays, [AT_TARGET, AT_SOURCE]] == 0).all(axis=None)
    assert (rows.loc[~stays, AT_TARGET] < 0).all()
    assert set(rows["among"]) == {STAYS, SWITCHES}
    for name, spec in {
        FIXED_SOURCE: {"scalar": "answer_margin", "competitor": FIXED_SOURCE},
        FIXED_TARGET: {"scalar": "answer_margin", "competitor": FIXED_TARGET},
        SOFT: {"scalar": "soft_margin"},
    }.items():
        for number, window in enumerate(pairwise(range(len(states)))):
            before, after = scalars(planted, events, states, window, **spec)
            mine = rows[rows["start"] == number][name]
            np.testing.assert_allclose(mine, after - before, rtol=0, atol=1e-9)


def test_branch_rows_are_means_over_the_rows_that_they_name(formed):
    rows = branch_rows(formed).set_index(["among", "measure"])
    for among, mine in {
        ALL: formed.branches,
        SWITCHES: formed.branches[formed.branches["among"] == SWITCHES],
    }.items():
        for name in (MOVING, AT_TARGET, SOFT):
            row = rows.loc[among, name]
            assert row["mean"] == pytest.approx(mine[name].mean())
            assert row["low"] < row["mean"] < row["high"]
        assert rows.loc[among, "rows"]["mean"] == pytest.approx(len(mine) / len(formed.branches))


def test_of_no_rows_that_switch_there_is_no_number(of, planted):
    rows = branch_rows(of(planted.flat, planted.flat)).set_index(["among", "measure"])
    assert rows.loc[STAYS, MOVING]["mean"] == 0
    assert np.isnan(rows.loc[SWITCHES, MOVING]["mean"])
    assert rows.loc[SWITCHES, "rows"]["mean"] == 0


def moved(changes):
    """Parts that are anything in any event, of the right logit."""
    values = np.abs(changes.values[:, :, TARGETS.index("correct_value_logit"), 0]).max((0, 1))
    return {part for part, size in zip(changes.parts, values, strict=True) if size > 1e-12}


def test_only_what_changed_has_a_part(of, planted):
    """The last layer's copying changes its heads, the MLP that reads them, and the scale."""
    head = planted.matching_head
    last = {f"L1H{n}" for n in range(planted.decoder.settings.n_heads)}
    found = moved(of(planted.flat, changed(planted, layer_1__attn__W_O=1.5)))
    assert {head, SCALE} <= found <= {*last, "L1MLP", SCALE}
    assert moved(of(planted.flat, changed(planted, final_norm__gain=1.5))) == {READOUT}


def test_a_write_alone_is_its_change_under_the_frozen_readout(of, planted, events):
    """The head's part against its write, taken from two passes by hand."""
    from circuit.model.tap import Tap
    from circuit.scalars.base import pick

    head, decoder = planted.matching_head, planted.decoder
    both = planted.flat, changed(planted, layer_1__attn__W_O=1.5)
    writes, scales = [], []
    for flat in both:
        tap = Tap(capture=("layer_1_head_write", "final_norm_scale"))
        decoder.forward(decoder.layout.views(flat), events.tokens, tap)
        write = pick(tap.cache["layer_1_head_write"], events.prediction)[:, int(head[-1])]
        writes.append(write)
        scales.append(pick(tap.cache["final_norm_scale"], events.prediction).squeeze(-1))
    params = decoder.layout.views(planted.flat)
    change = writes[1] - writes[0]
    centred = (change - change.mean(-1, keepdim=True)) * params["final_norm.gain"]
    read = (centred * params["embedding.token"][events.answer]).sum(-1)
    expected = read * (1 / scales[0] + 1 / scales[1]) / 2
    changes = of(*both)
    found = changes.values[0, :, TARGETS.index("correct_value_logit"), 0]
    np.testing.assert_allclose(found[:, changes.parts.index(head)], expected, rtol=1e-9)


def test_the_planted_head_changed_the_margin_and_untrained_models_show_nothing(of, planted):
    grown = of(changed(planted, layer_1__attn__W_O=0.1), planted.flat)
    rows = part_rows(grown).set_index(["outcome", "measure", "part", "against"]).sort_index()
    margin = rows.loc["answer_margin", "part"]
    excess = margin.xs(EXCESS, level="against")
    assert excess["mean"].drop(SWITCH).idxmax() == planted.matching_head
    assert excess.loc[planted.matching_head, "low"] > 0
    assert abs(margin.loc[(planted.matching_head, OTHERS), "mean"]) < 0.2 * float(
        margin.loc[(planted.matching_head, ""), "mean"]
    )
    twins = [untrained_twin(planted, seed=seed).flat for seed in (1, 2, 3)]
    nothing = part_rows(of(*twins)).query("measure == 'part' and against == 'excess'")
    assert ((nothing["low"] <= 1e-12) & (nothing["high"] >= -1e-12)).all()


def test_parts_of_intervals_sum_to_their_change(formed, planted):
    rows = interval_rows(formed, planted.matching_head)
    sums = rows.groupby(["outcome", "step", "measure"])["mean"].sum().unstack()
    np.testing.assert_allclose(sums["part"], sums["change"], atol=1e-9)
    assert planted.matching_head in set(rows["part"])


def test_no_number_of_the_target_is_in_the_writes_that_are_fitted(of, planted):
    """The target's readout may be anything: it moves the outcome, and no column."""
    plain = of(planted.flat, changed(planted, layer_1__attn__W_O=1.5))
    read = {"layer_1__attn__W_O": 1.5, "final_norm__gain": 3.0}
    other = of(planted.flat, changed(planted, **read))
    np.testing.assert_array_equal(plain.writes, other.writes)
    np.testing.assert_array_equal(plain.state, other.state)
    assert np.abs(plain.values - other.values).max() > 1


def test_the_line_integral_sums_to_the_change_and_names_what_changed(planted, events):
    head = planted.matching_head
    states = [planted.flat, changed(planted, layer_1__attn__W_O=1.2)]
    ids = planted.vocabulary.value_ids
    about = planted.decoder, states.__getitem__, (0, 1), events, ids
    rows = along_parameters(*about, "boole").set_index(["outcome", "measure"])
    for outcome, spec in {
        "answer_margin": {"scalar": "answer_margin"},
        "soft_margin": {"scalar": "soft_margin"},
    }.items():
        before, after = scalars(planted, events, states, (0, 1), **spec)
        whole = (after - before).mean()
        parts = rows.loc[outcome, "line_integral"]
        assert parts["mean"].sum() == pytest.approx(whole, abs=1e-9)
        assert rows.loc[(outcome, "integrated"), "mean"].item() == pytest.approx(whole, abs=1e-9)
        of_head = rows.loc[(outcome, "line_integral_of_head")].set_index("head")["mean"]
        assert of_head.idxmax() == head
        assert parts.set_index("part").loc["residual", "mean"] == pytest.approx(0, abs=1e-3)
        assert (parts.loc[parts["part"] == "QK", "mean"] == 0).all()


def question(**routes):
    from circuit.kinds.closure.settings import Settings

    fixed = {"kind": "closure", "heads": "scan", "window": (0, 3), "folds": 4}
    return Settings.model_validate({**fixed, "outcomes": OUTCOME, "routes": routes})


@pytest.fixture(scope="module")
def fitted(formed):
    """A margin whose change is known, and two routes of which one is half of it."""
    rng = np.random.default_rng(0)
    table = formed.branches[["event", "start", "stop"]].copy()
    table["margin"] = formed.branches[FIXED_SOURCE]
    head = formed.values[:, :, 0, 0, formed.parts.index("L1H2")].ravel()
    table["look"], table["copy"] = rng.normal(size=len(table)), head
    asked = question(
        look={"scalar": "qk_separation", "head": "winner"},
        copy={"scalar": "ov_value_margin", "head": "winner"},
    )
    table = with_components(table, formed)
    return asked, table, explain(asked, table, formed)


def test_families_are_nested_and_hold_no_outcome(fitted):
    asked, table, _ = fitted
    found = families(asked, table)
    assert list(found) == ["QK", JOINT, WRITES, RESIDUAL]
    for inside, family in pairwise(found.values()):
        assert set(inside) < set(family)
    assert found[JOINT] == ["look", "copy"]
    assert "margin" not in found[RESIDUAL]
    assert sum(column.startswith(STATE) for column in found[RESIDUAL]) == table.shape[1] - (
        4 + 2 + len(found[WRITES]) - 2
    )


def test_what_is_a_part_gains_and_what_is_noise_does_not(fitted):
    rows = fitted[2].query("compared == 'within'").set_index(["measure", "family", "against"])
    rows = rows.sort_index()
    assert rows.loc[("r2", "QK", ""), "mean"] < 0.05
    gain = rows.loc["gain", JOINT]
    assert gain.loc[f"{EXCESS} over shuffled events", "low"] > 0
    assert gain.loc["", "low"] > gain.loc["random routes", "high"]


def test_what_is_left_is_shared_out_whole(fitted):
    rows = fitted[2]
    parts = rows.query("measure == 'left_by_part'")
    assert parts["mean"].sum() == pytest.approx(1, abs=1e-9)
    slices = rows.query("measure == 'left_by_slice'").set_index(["against", "among"])["mean"]
    for against in ("", "share of the rows"):
        assert slices.loc[against, [STAYS, SWITCHES]].sum() == pytest.approx(1)
        assert slices.loc[against].sum() == pytest.approx(4)  # four ways to tell rows apart


def test_events_that_compare_nothing_are_refused(planted, events):
    ids = planted.vocabulary.value_ids
    with pytest.raises(AnalysisError, match=r"2 events with \d different answers are too few"):
        margin_changes(
            planted.decoder, lambda _: planted.flat, (0, 1), events.select(torch.arange(2)), ids
        )

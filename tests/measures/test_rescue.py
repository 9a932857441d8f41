"""Rescue after a source's removal: identities, and what was planted brings the answer back."""

import numpy as np
import pytest
import torch
from path_models import three_layers

from circuit.experiments.changes import Where, replace
from circuit.experiments.donors import random_cycle
from circuit.experiments.subspaces import Subspace
from circuit.experiments.trial import Trial
from circuit.measures.paths import rescue as made
from circuit.measures.paths.answer import answers
from circuit.measures.paths.rescue import Asked, Source, damaged, source_changes
from circuit.model.sites import sites
from circuit.model.tap import Tap
from circuit.scalars.base import pick

ROLES = ("prediction", "support_value")
SOURCES = {
    "set": Source(("L0H1", "L1H0", "L1N3")),
    "pattern": Source(("L1H1.pattern",)),
    "code": Source((), "embedding_value_identity", "layer_0_post_attn", "support_value"),
}
# The first stage, of those that are patched, behind all of the damage; names sort as stages do.
REACHES = {"set": "layer_2", "pattern": "layer_2", "code": "layer_0"}


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(torch.arange(0, 171, 8)).crop()


@pytest.fixture(scope="module")
def trial(planted, events):
    """A model in which every parameter matters, float64, with every site."""
    decoder, flat = three_layers(planted.vocabulary)
    every = {site for site in sites(3) if not site.endswith(("scores", "_scale", "head_write"))}
    return Trial.of(decoder, flat, events, planted.vocabulary.value_ids, every), flat


@pytest.fixture(scope="module")
def hurt(trial, events):
    """By source and ablation: the damaged pass."""
    trial, flat = trial
    cycle = random_cycle(events, 0)
    name = "embedding_value_identity"
    bases = {name: Subspace(name).basis(trial.clean, flat, 32, fit=True)}
    return {
        (source, ablation): damaged(
            trial, source_changes(trial.clean, SOURCES[source], ablation, cycle, bases)
        )
        for source in SOURCES
        for ablation in ("mean", "resample", "zero")
    }


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("ablation", ["mean", "resample", "zero"])
def test_the_clean_state_rescues_all_and_the_damaged_one_nothing(hurt, source, ablation, events):
    one = hurt[source, ablation]
    clean, left = one.clean, one.trial.clean
    whole = answers(clean) - answers(left)
    assert whole[:, 0].abs().mean() > 1e-3
    everywhere = events.causal_prefix
    repairs = {
        (stage, state): ((Where(stage, everywhere), replace(seen.sites[stage])),)
        for stage in ("embedding", "layer_0_post_mlp", "layer_2_post_attn", "layer_2_post_mlp")
        for state, seen in (("clean", clean), ("damaged", left))
    }
    for (stage, state), found in one.rescued(repairs).items():
        if stage == "layer_0_post_mlp" and source == "set":
            continue  # some of the damage comes before it, some behind
        reached = one.construction(stage, "causal_prefix")
        assert reached == (made.NONE if stage < REACHES[source] else made.ALL)
        due = whole if state == "clean" and reached == made.ALL else 0 * whole
        torch.testing.assert_close(found, due, rtol=0, atol=1e-9)


def test_restored_writes_are_those_of_a_pass_that_a_tap_edits(hurt):
    """Sets of later components, event by event, with what of the damage comes behind them."""
    one = hurt["set", "resample"]
    clean, parts = one.clean, one.later(SOURCES["set"])
    assert parts == ["L0MLP", "L1H1", "L2H0", "L2H1", "L2MLP"]
    generator = torch.Generator().manual_seed(0)
    held = torch.rand(len(clean.events), len(parts), generator=generator) < 0.5
    edits = {}

    def add(site, head, mask):
        def change(value):
            back = value.clone()
            at = (mask, slice(None), head) if head is not None else (mask,)
            back[at] = clean.sites[site][at]
            return back

        edits.setdefault(site, []).append(change)

    for where, change in one.changes:
        edits.setdefault(where.site, []).append(
            lambda value, where=where, change=change: torch.where(
                where.mask(value), change(value), value
            )
        )
    for name, mask in zip(parts, held.T, strict=True):
        mlp = name.endswith("MLP")
        site = f"layer_{name[1]}_{'mlp_write' if mlp else 'z'}"
        add(site, None if mlp else int(name[3:]), mask)
    tap = Tap(capture={"final_norm"}, edits=edits)
    clean.decoder.forward(clean.params, clean.events.tokens, tap)
    by_hand = answers(clean._replace(sites=tap.cache)) - answers(one.trial.clean)
    sets = {(0,): held, (1,): held & False, (2,): held | True}
    found = one.together(parts, sets)
    torch.testing.assert_close(found[0,], by_hand, rtol=0, atol=1e-9)
    assert found[1,].abs().max() < 1e-12
    assert (found[2,] - by_hand).abs().max() > 1e-3


def test_what_a_source_is_in_is_not_behind_it(hurt):
    source = Source(("L1H0.pattern", "L1H1.pattern", "L0N3"))
    assert source.components == {"L1H0", "L1H1", "L0MLP"}
    assert hurt["pattern", "mean"].later(SOURCES["pattern"]) == ["L1MLP", "L2H0", "L2H1", "L2MLP"]


def test_a_resampled_pattern_is_another_events_row_and_sums_to_one(hurt, events):
    for ablation, total in (("resample", 1.0), ("zero", 0.0)):
        ((where, change),) = hurt["pattern", ablation].changes
        own = hurt["pattern", ablation].clean.sites["layer_1_pattern"]
        assert where.heads == (1,)
        rows = pick(change(own).transpose(1, 2), events.prediction)[:, 1]
        assert rows.sum(-1) == pytest.approx(np.full(len(events), total), abs=1e-9)
    ((_, change),) = hurt["pattern", "mean"].changes
    assert change(own)[0, 1, 3] == pytest.approx(own[:, 1, 3].mean(0))


def rescued(circuit, events, source, groups=None):
    """Rows after the removal of one head."""
    return made.rescue(
        circuit.decoder, [circuit.flat].__getitem__, [0], events, circuit.vocabulary.value_ids,
        {"source": Source((source,))}, ["mean"], Asked(ROLES, groups=groups or {}, orders=2),
    )  # fmt: skip


def number(rows, against="", **keys):
    """The one row of these keys."""
    chosen = rows[rows["against"] == against]
    for key, value in {"measure": "rescue_share", **keys}.items():
        chosen = chosen[chosen[key] == value]
    [row] = chosen.to_dict("records")
    return row


def test_two_heads_that_do_the_same_stand_in_for_each_other(redundant, events):
    both = [redundant.matching_head, redundant.second_head]
    rows = rescued(redundant, events, redundant.previous_token_head, {"both": both})
    path = {"role": made.EVERYWHERE}
    single = [number(rows, repair="write", what=head, **path)["mean"] for head in both]
    group = number(rows, repair="group", what="both", **path)
    together = number(rows, repair="interaction", what="both", **path)
    assert group["mean"] > 0.95
    assert min(single) > 0.6
    assert together["mean"] == pytest.approx(group["mean"] - sum(single), abs=1e-3)
    assert together["high"] < 0
    assert group["low"] > number(rows, made.ALIKE, repair="group", what="both", **path)["mean"]
    shares = [number(rows, repair=made.AVERAGED, what=head, **path)["mean"] for head in both]
    assert shares[0] == pytest.approx(shares[1], rel=0.15)
    assert sum(shares) > 0.6
    # What undoes half of the answer takes away as it comes back.
    assert number(rows, repair=made.AVERAGED, what=redundant.anti_head, **path)["mean"] < 0


def test_after_one_of_two_heads_the_one_that_undoes_half_had_made_good(redundant, events):
    rows = rescued(redundant, events, redundant.matching_head)
    told = number(rows, repair="write", what=redundant.anti_head, role=made.EVERYWHERE)
    assert told["high"] < -0.5

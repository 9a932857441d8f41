"""Moved features: the edit is that of a tap, and the reconstruction error stays."""

import pytest
import torch
from torch.nn.functional import normalize

from circuit.measures.features.family_effects import Bench
from circuit.model.tap import Tap
from circuit.scalars.base import pick
from circuit.scalars.behaviour import answer_margin
from circuit.scalars.features import Dictionary

SITE, ROLES = "layer_0_post_attn", ("prediction", "support_value")


@pytest.fixture(scope="module")
def bench(planted, planted_events):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(12, 64, generator=generator, dtype=torch.float64)
    zeros = torch.zeros(64, dtype=torch.float64)
    dictionary = Dictionary(rows.T, zeros[:12] - 0.3, normalize(rows, dim=1), zeros + 0.1, SITE)

    def at(flat, chosen):
        events = planted_events.select(chosen).crop()
        ids = planted.vocabulary.value_ids
        return Bench.of(planted.decoder, flat, events, ids, dictionary, ROLES)

    return at


def by_hand(one, moved):
    """The answer's margin with states moved at roles by a tap."""
    seen = one.trial.clean

    def change(x):
        x = x.clone()
        for role, by in moved.items():
            x[torch.arange(len(x)), seen.events.role_position(role)] += by
        return x

    tap = Tap(capture={"final_norm"}, edits={SITE: [change]})
    seen.decoder.forward(seen.params, seen.events.tokens, tap)
    return answer_margin(None)(seen._replace(sites=tap.cache))


def test_silent_features_take_their_part_of_the_state_only(planted, bench):
    one = bench(planted.flat, range(0, 171, 19))
    parts = [("prediction", [1, 4]), ("support_value", range(12))]
    d, moved = one.dictionary.W_dec, {}
    for role, some in parts:
        x = pick(one.trial.clean.sites[SITE], one.trial.clean.events.role_position(role))
        active = (x - 0.1) @ one.dictionary.W_enc - 0.3
        moved[role] = -active.relu()[:, list(some)] @ d[list(some)]
    costs = one.costs({"both": one.moved(parts)})["both"]
    due = answer_margin(None)(one.trial.clean) - by_hand(one, moved)
    assert due.abs().max() > 1e-3
    torch.testing.assert_close(torch.from_numpy(costs), due, rtol=0, atol=1e-9)


def test_a_sub_patch_leaves_the_error_and_of_the_same_state_nothing_changes(
    planted, untrained, bench
):
    events = range(0, 171, 19)
    one, other = bench(planted.flat, events), bench(untrained.flat, events)
    role, every = "support_value", list(range(12))
    edit = one.moved([(role, every)], to=other.active)
    at = one.trial.clean.events.role_position(role)
    x = pick(one.trial.clean.sites[SITE], at)
    after = pick(edit.stream(one.trial.clean, SITE), at)
    theirs = pick(other.trial.clean.sites[SITE], at)
    rebuilt = one.dictionary.rebuild(theirs)
    torch.testing.assert_close(after, rebuilt + (x - one.dictionary.rebuild(x)))
    same = one.costs({"": one.moved([(role, every)], to=one.active)})[""]
    assert abs(same).max() < 1e-12

"""Scalars of a write under four conditions: against the registry, and against edited passes.

The oracle runs one read at a time. Forced attention is an edit of the pattern, shuffled values are
an edit of the values; what the head then writes is read off the edited pass.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from program_text import reads_of

from circuit.config.scalar import ScalarSettings
from circuit.errors import AnalysisError
from circuit.experiments.donors import counterparts, draw_donors, draw_shuffles, places
from circuit.measures.writes.measured import CONDITIONS, SCALARS, setting
from circuit.measures.writes.progress import measure_heads
from circuit.model.tap import Tap
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.task.events import read_events

STEPS = (0, 20, 40)
SEED = 3


@pytest.fixture(scope="module")
def programs(planted_benchmark):
    return planted_benchmark.splits["heldout_pairs"].head(10)


@pytest.fixture(scope="module")
def events(programs, planted):
    return read_events(programs, planted.vocabulary)


@pytest.fixture(scope="module")
def reads(programs, planted):
    return list(reads_of(programs, planted.vocabulary))


@pytest.fixture(scope="module")
def states(planted, untrained):
    """A 'run' that starts untrained and ends planted."""
    flats = [torch.lerp(untrained.flat, planted.flat, share) for share in (0.0, 0.7, 1.0)]
    return dict(zip(STEPS, flats, strict=True))


@pytest.fixture(scope="module")
def measured(planted, states, events):
    """The heads' writes, with one shuffle."""
    return {
        competitor: heads_of(planted, states, events, competitor)
        for competitor in ("fixed_source", "fixed_target")
    }


def heads_of(planted, states, events, competitor="fixed_source", shuffles=1):
    ids = planted.vocabulary.value_ids
    args = (planted.decoder, states.__getitem__, STEPS, events, ids, competitor, shuffles, SEED)
    return measure_heads(*args)


def at(progress, step, head, scalar, condition):
    """One value per event."""
    scalars, heads = list(SCALARS), progress.heads
    place = STEPS.index(step), heads.index(head), scalars.index(scalar), CONDITIONS.index(condition)
    return torch.from_numpy(progress.values[place])


def context_of(planted, states, events):
    ids = planted.vocabulary.value_ids
    return ScalarContext(planted.decoder, events, ids, {}, states.__getitem__, (0, 40), 40)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("competitor", ["fixed_source", "fixed_target"])
@pytest.mark.parametrize("head", ["L0H1", "L1H2", "L1H3"])
def test_real_attention_and_values_give_the_registrys_scalars(
    planted, states, events, measured, competitor, head
):
    """So what is found fit is what ``update_attribution`` attributes under the told settings."""
    ids, context = planted.vocabulary.value_ids, context_of(planted, states, events)
    for scalar in SCALARS:
        told = setting(scalar, head, competitor)
        options = dict(pair.split(": ") for pair in told.strip("{}").split(", "))
        built = {scalar: build_scalar(ScalarSettings.model_validate(options), context)}
        for step in STEPS:
            expected = scalar_values(planted.decoder, states[step], events, ids, built)[0]
            close(at(measured[competitor], step, head, scalar, ("real", "real")), expected)


def test_outcomes_are_the_registrys_too(planted, states, events, measured):
    ids, context = planted.vocabulary.value_ids, context_of(planted, states, events)
    for competitor, progress in measured.items():
        specs = [
            {"scalar": "answer_margin", "competitor": competitor},
            {"scalar": "correct_value_logit"},
            {"scalar": "negative_answer_loss"},
        ]
        built = {
            spec["scalar"]: build_scalar(ScalarSettings.model_validate(spec), context)
            for spec in specs
        }
        for number, step in enumerate(STEPS):
            expected = scalar_values(planted.decoder, states[step], events, ids, built)
            close(torch.from_numpy(progress.outcomes[number]), expected)


class Edited:
    """What a head writes in one read where its pattern or values are edited, and its logits."""

    def __init__(self, planted, flat, event, events, donor):
        self.planted, self.flat = planted, flat
        self.views = planted.decoder.layout.views(flat)
        self.tokens = self._prefix(events, event)
        self.donor_tokens = self._prefix(events, int(donor.donor[event]))
        self.position = donor.position[event, : len(self.tokens)]
        self.support = int(events.support_value[event])

    def _prefix(self, events, event):
        return events.tokens[event, : int(events.length[event])]

    def write(self, layer, head, forced, shuffled):
        def force(pattern):
            pattern = pattern.clone()
            pattern[:, :, -1] = 0
            pattern[:, :, -1, self.support] = 1
            return pattern

        tap = Tap(capture=[f"layer_{layer}_v"])
        self.planted.decoder.forward(self.views, self.donor_tokens[None], tap)
        lent = tap.cache[f"layer_{layer}_v"][:, self.position]
        edits = {}
        if forced:
            edits[f"layer_{layer}_pattern"] = [force]
        if shuffled:
            edits[f"layer_{layer}_v"] = [lambda _: lent]
        tap = Tap([f"layer_{layer}_head_write", f"layer_{layer}_pattern"], edits)
        self.planted.decoder.forward(self.views, self.tokens[None], tap)
        mass = tap.cache[f"layer_{layer}_pattern"][0, head, -1, self.support]
        return tap.cache[f"layer_{layer}_head_write"][0, -1, head], mass

    def scale(self):
        tap = Tap(["final_norm_scale"])
        self.planted.decoder.forward(self.views, self.tokens[None], tap)
        return tap.cache["final_norm_scale"][0, -1]

    def direct(self, write, scale=None):
        scale = self.scale() if scale is None else scale
        normed = (write - write.mean()) / scale * self.views["final_norm.gain"]
        return self._values(normed)

    def lens(self, write):
        return self._values(self.planted.decoder.final_norm(self.views, write))

    def _values(self, state):
        ids = self.planted.vocabulary.value_ids
        return self.views["embedding.token"][ids.start : ids.stop] @ state


def best_wrong(logits, right):
    return max((float(v), i) for i, v in enumerate(logits) if i != right)[1]


@pytest.mark.parametrize("step", STEPS[1:])
@pytest.mark.parametrize(("layer", "head"), [(0, 1), (1, 2)])
def test_every_condition_equals_an_edited_pass(
    planted, states, events, reads, measured, step, layer, head
):
    """Rivals and the frozen scale are those of the last checkpoint."""
    (donor,) = draw_shuffles(events, 1, SEED)
    name, progress = f"L{layer}H{head}", measured["fixed_target"]
    for event in range(0, len(events), 5):
        right = int(reads[event].answer[1:])
        end = Edited(planted, states[STEPS[-1]], event, events, donor)
        now = Edited(planted, states[step], event, events, donor)
        rival = best_wrong(end.direct(end.write(layer, head, False, False)[0]), right)
        lens_rival = best_wrong(end.lens(end.write(layer, head, True, False)[0]), right)
        for attention, values in CONDITIONS:
            forced, shuffled = attention == "forced", values == "shuffled"
            write, mass = now.write(layer, head, forced, shuffled)
            logits, frozen = now.direct(write), now.direct(write, end.scale())
            rest = [v for i, v in enumerate(logits) if i != right]
            lens = now.lens(now.write(layer, head, True, shuffled)[0])
            expected = {
                "head_value_margin_dla_fixed": logits[right] - logits[rival],
                "head_value_margin_dla_moving": logits[right] - max(rest),
                "head_margin_dla_fixed_readout": frozen[right] - frozen[rival],
                "head_value_over_mean_dla": logits[right] - sum(rest) / len(rest),
                "ov_value_margin_fixed": lens[right] - lens[lens_rival],
                "support_mass_ov_value_margin_fixed": mass * (lens[right] - lens[lens_rival]),
            }
            for scalar in SCALARS:
                found = at(progress, step, name, scalar, (attention, values))[event]
                close(found, expected[scalar])


def test_several_shuffles_are_averaged(planted, states, events, measured):
    one = measured["fixed_source"].values
    both = heads_of(planted, states, events, shuffles=2).values
    generator = torch.Generator().manual_seed(SEED)
    first = draw_donors(events.answer, generator)
    assert torch.equal(first, draw_shuffles(events, 2, SEED)[0].donor)
    assert (one[..., 0, :] == both[..., 0, :]).all()  # real values do not know of shuffles
    assert (one[..., 1, :] != both[..., 1, :]).any()


def test_places_are_disjoint_and_cover_every_event(events):
    total = torch.stack(list(places(events).values())).sum(0)
    assert torch.equal(total, events.causal_prefix.long())


def test_an_event_that_is_its_own_donor_reads_its_own_states(events):
    own = torch.arange(len(events))
    everywhere = torch.arange(events.tokens.shape[1]).expand(events.tokens.shape)
    assert torch.equal(counterparts(events, own), everywhere)


def test_a_position_is_exchanged_for_one_of_the_same_place_in_the_donor(events):
    (shuffle,) = draw_shuffles(events, 1, SEED)
    here, alike = places(events), {"prior_answer": "other_value", "read_key": "other_key"}
    exchanged = 0
    for event, donor in enumerate(shuffle.donor.tolist()):
        for name, mask in here.items():
            taken = shuffle.position[event][mask[event]]
            offered = here[name][donor]
            if name in alike and not offered.any():
                offered = here[alike[name]][donor]
                exchanged += len(taken)
            assert offered[taken].all(), name
            # The latest for the latest, and so on; the earliest of a donor with fewer again.
            ordered = offered.nonzero()[:, 0].tolist()[::-1]
            expected = [ordered[min(i, len(ordered) - 1)] for i in range(len(taken))]
            assert taken.tolist()[::-1] == expected
    assert exchanged > 0  # events of a first read do occur


@given(answers=st.lists(st.integers(0, 6), min_size=2, max_size=40), seed=st.integers(0, 1000))
def test_donors_are_a_permutation_without_an_event_of_the_same_answer(answers, seed):
    answer, generator = torch.tensor(answers), torch.Generator().manual_seed(seed)
    if 2 * max(map(answers.count, answers)) > len(answers):
        with pytest.raises(AnalysisError, match="events have the same answer"):
            draw_donors(answer, generator)
        return
    donor = draw_donors(answer, generator)
    assert sorted(donor.tolist()) == list(range(len(answers)))
    assert (answer[donor] != answer).all()


def test_donors_follow_the_seed(events):
    first, again = (draw_shuffles(events, 2, 5) for _ in range(2))
    assert all(torch.equal(a.donor, b.donor) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].donor, first[1].donor)
    assert not torch.equal(first[0].donor, draw_shuffles(events, 1, 6)[0].donor)

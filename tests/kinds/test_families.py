"""Families of a planted dictionary: found, useful once they are read, fed by who writes them."""

from dataclasses import replace

import pytest
import torch
from planted import untrained_twin
from torch.nn.functional import normalize
from viewing import changed, outcome, viewed

from circuit.errors import AnalysisError
from circuit.estimates import over
from circuit.kinds.families.measure import families_of_run
from circuit.kinds.families.settings import Settings
from circuit.measures.features.family_effects import RANDOM
from circuit.measuring import Table
from circuit.scalars.features import Dictionary
from circuit.task.frozen import pair_events
from circuit.task.pairs import build_pairs

FLAG, KEY = "a@support_value", "b@support_value"
UNWRITTEN, UNLINKED, UNREAD, WHOLE = range(4)
ASKED = {
    "dictionaries": ["features"],
    "roles": ["support_value"],
    "earlier": UNLINKED,
    "programs": 64,
    "agreement": 0.5,
    "bootstraps": 10,
    "draws": 10,
}


@pytest.fixture(scope="module")
def dictionary(planted):
    """By number: 3 features that share the write flag, 2 for each previous key, then those of
    positions (either end of each axis) and of values, which stand for nothing that is looked up.
    """
    bases, generator = planted.bases, torch.Generator().manual_seed(0)
    flag = bases["write_flag"].T.repeat(3, 1)
    keys = bases["previous_key"].T.repeat_interleave(2, 0)
    ends = [side * bases[name].T for name in ("position", "token_value") for side in (1, -1)]
    rows = torch.cat([flag, keys, *ends])
    shares = torch.cat([torch.full((3,), 1 / 3), torch.full((8,), 1 / 2), torch.ones(len(rows))])
    noise = 0.02 * torch.randn(rows.shape, generator=generator, dtype=rows.dtype)
    W_dec = normalize(rows + noise, dim=1)
    W_enc = (rows * shares[: len(rows), None]).T
    zeros = torch.zeros(len(rows) + 64, dtype=rows.dtype)
    return Dictionary(W_enc, zeros[: len(rows)], W_dec, zeros[-64:], "layer_0_post_attn")


@pytest.fixture(scope="module")
def states(planted):
    """Nobody writes the flag; nobody writes the previous key; nobody copies the value; all do."""
    flats = {}
    for step, (layer, head) in {UNWRITTEN: (0, 2), UNLINKED: (0, 1), UNREAD: (1, 2)}.items():
        flats[step] = planted.flat.clone()
        planted.decoder.layout.views(flats[step])[f"layer_{layer}.attn.W_O"][head] = 0
    return {**flats, WHOLE: planted.flat}


@pytest.fixture(scope="module")
def found(planted, planted_benchmark, dictionary):
    words, pairs = planted_benchmark.vocabulary, build_pairs(planted_benchmark).pairs

    def families(states, given=(dictionary,), **asked):
        settings = Settings.model_validate({"kind": "families", **ASKED, **asked})
        some = pairs[pairs["kind"] == settings.pair]
        sides = pair_events(some, words, "clean"), pair_events(some, words, "corrupted")
        programs = planted_benchmark.splits["train"]
        return families_of_run(
            planted.decoder, states.__getitem__, list(states), programs, sides, words,
            given, settings,
        )  # fmt: skip

    return families


@pytest.fixture(scope="module")
def told(found, states):
    return found(states)


@pytest.fixture(scope="module")
def report(told, tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    return viewed("families", {"rows": Table(told.rows, "one")}, folder, ASKED)


def number(rows, measure, against="", step=WHOLE, half="all", **keys):
    wanted = {"measure": measure, "against": against, "step": step, "half": half, **keys}
    for key, value in wanted.items():
        rows = rows[rows[key] == value]
    [row] = rows.to_dict("records")
    return row


def test_planted_families_are_found_and_named_in_the_dictionary_s_file(told):
    families = told.dictionary.families
    assert sorted(families[FLAG]) == [0, 1, 2]
    first, second = sorted(families[KEY])
    assert first in (3, 5, 7, 9)
    assert second == first + 1
    for name in (FLAG, KEY):
        assert number(told.rows, "agreement", family=name)["low"] > 0.9
        assert number(told.rows, "together", family=name)["mean"] == 1
        assert number(told.rows, "label_share", family=name)["low"] > 0.9
    assert number(told.rows, "agreement", over(RANDOM), family=FLAG)["low"] > 0.5
    about = number(told.rows, "effect", family=FLAG)
    assert (about["label"], about["group"]) == ("event_part", "write value")
    assert number(told.rows, "effect", family=KEY)["label"] == "query_key"


def test_it_is_active_when_it_is_written_and_useful_when_it_is_read(told, report):
    for finding, step in (("active", UNLINKED), ("useful", WHOLE)):
        assert outcome(report, f"a family becomes {finding}", family=FLAG).verdict == "shown"
        assert number(told.rows, f"born_{finding}", family=FLAG)["mean"] == step
    assert outcome(report, "how a family's effect changed", family=FLAG).verdict == "shown"


def test_the_family_that_the_look_up_rests_on_carries_all_of_the_margin(told, report):
    """All values that are written have the flag, so the one without it is not looked at."""
    assert outcome(report, "what a family carries", family=FLAG).verdict == "shown"
    assert number(told.rows, "effect_share", family=FLAG)["mean"] == pytest.approx(1, abs=1e-3)
    # One key of four, and random features of its rate are those of other keys, too.
    assert 0.1 < number(told.rows, "effect_share", family=KEY)["mean"] < 0.5
    member = number(told.rows, "member_effect", family=FLAG, rank="1")
    assert 0 < member["mean"] < number(told.rows, "effect", family=FLAG)["mean"]


def test_a_later_part_brings_an_earlier_state_what_it_lacks(told):
    brought = {
        name: number(told.rows, "sub_patch", step=UNLINKED, family=name) for name in (FLAG, KEY)
    }
    assert brought[KEY]["low"] > 1
    assert abs(brought[FLAG]["mean"]) < 0.1 * brought[KEY]["mean"]
    # The value that a pair's other program writes is in none of the two.
    assert number(told.rows, "pair_patch", family="all features")["low"] > 10
    for name in (FLAG, KEY):
        assert abs(number(told.rows, "pair_patch_share", family=name)["mean"]) < 1e-3


def test_what_writes_a_family_feeds_it(told, report, planted):
    fed = outcome(report, "what feeds a family", family=FLAG)
    assert (fed.verdict, fed.about["component"]) == ("shown", planted.op_head)
    head = {"family": KEY, "component": planted.previous_token_head}
    assert number(told.rows, "lineage_share", **head)["low"] > 0.5


def test_without_both_nothing_is_lost_twice(told, report):
    """Either alone loses a program of the key, so both cost less than the sum."""
    rows, pair = told.rows, {"family": FLAG, "rival": KEY}
    told_as = outcome(report, "whether two families stand in for each other", **pair)
    assert told_as.verdict == "opposite"
    one, two = (number(rows, "effect", family=name)["mean"] for name in (FLAG, KEY))
    interaction = number(rows, "interaction", **pair)["mean"]
    assert interaction == pytest.approx(-two, rel=1e-3)
    averaged = [
        number(rows, "order_averaged", family=family, rival=rival)["mean"]
        for family, rival in ((FLAG, KEY), (KEY, FLAG))
    ]
    assert sum(averaged) == pytest.approx(one + two + interaction, rel=1e-9)
    assert number(rows, "difference", **pair)["mean"] == pytest.approx(one - two, rel=1e-9)


def test_an_untrained_twin_shows_nothing(found, planted, tmp_path):
    states = {step: untrained_twin(planted, step).flat for step in (0, 1)}
    twin = found(states, earlier=0, programs=32)
    rows = changed(twin.rows, {"measure": "together"}, noun="resamples")  # told, not drawn
    report = viewed("families", {"rows": Table(rows, "one")}, tmp_path, ASKED)
    for name in ("a family becomes useful", "the member that carries most"):
        told = [one for one in report["findings"] if one["name"] == name]
        assert len(told) == 2
        assert {one["verdict"] for one in told} == {"open"}
    excess = twin.rows[twin.rows["against"] == over(RANDOM)]
    for measure in ("effect", "sub_patch", "interaction", "difference"):
        some = excess[excess["measure"] == measure]
        assert len(some)
        assert ((some["low"] <= 0) & (some["high"] >= 0)).all()


@pytest.mark.slow
def test_the_same_seed_finds_the_same_with_a_second_dictionary_in_another_order(
    found, states, dictionary
):
    """Co-association goes by what features are, not by their numbers."""
    order = torch.arange(dictionary.size).flip(0)
    turned = Dictionary(
        dictionary.W_enc[:, order], dictionary.b_enc, dictionary.W_dec[order], dictionary.b_dec,
        dictionary.stage,
    )  # fmt: skip
    few = {step: states[step] for step in (UNLINKED, WHOLE)}
    again = found(few, (dictionary, turned), programs=48, dictionaries=["features", "turned"])
    assert sorted(again.dictionary.families[FLAG]) == [0, 1, 2]
    assert number(again.rows, "together", family=FLAG)["mean"] == 1


def test_an_earlier_state_that_is_not_earlier_is_refused(found, states):
    with pytest.raises(AnalysisError) as error:
        found(states, earlier=WHOLE)
    assert str(error.value) == (
        "step 3 is not a checkpoint before the last, 3 — where: families: earlier — expected: one "
        "of 0, 1, 2 — what to do: name an earlier checkpoint"
    )


def test_a_dictionary_that_is_silent_is_refused(found, states, dictionary):
    silent = replace(dictionary, b_enc=dictionary.b_enc - 100)
    with pytest.raises(AnalysisError) as error:
        found(states, (silent,))
    assert str(error.value) == (
        "0 features of the dictionary fire at support_value — where: states at layer_0_post_attn, "
        "the last checkpoint — expected: at least two, which may agree — what to do: lower "
        "least_rate, or take another role or dictionary"
    )


def test_a_role_from_which_nothing_reaches_the_answer_is_refused(found, states, dictionary):
    late = replace(dictionary, stage="layer_1_post_attn")
    with pytest.raises(AnalysisError) as error:
        found(states, (late,))
    assert str(error.value).startswith(
        "nothing that features do at layer_1_post_attn reaches the answer but at the prediction "
        "position — where: families: roles — expected: prediction alone"
    )

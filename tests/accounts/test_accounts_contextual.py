"""What contextual geometry says, on real rows of a 'run' that ends in the planted circuit."""

import pytest
from account_checks import numbers_of, written

from circuit.kinds.contextual_geometry.settings import Settings
from circuit.measures.states import contextual as library
from circuit.measures.sweep.behaviour import SplitReads
from circuit.model.passes import Passes
from circuit.reports.accounts_contextual import contextual, matched
from circuit.reports.figures_contextual import TOKEN_GROUPS, contextual_cells

HEADS = {"winner": (1, 2), "runner_up": (0, 1), "bottom": (1, 0)}
PASSES = Passes(whole=3, programs=288, program_layers=576.0)


def found_in(circuit, states, benchmark, **changes):
    settings = Settings.model_validate(
        {"kind": "contextual_geometry", "heads": "head_scan", "draws": 8, **changes}
    )
    split = SplitReads(benchmark.splits["train"], benchmark.vocabulary, 160)
    return library.contextual_geometry(
        circuit.decoder,
        dict(zip((0, 600, 1200), states, strict=True)).__getitem__,
        (0, 600, 1200),
        split,
        benchmark.vocabulary,
        HEADS,
        settings,
    )


@pytest.fixture(scope="module")
def formed(planted, untrained, planted_benchmark):
    return found_in(planted, [untrained.flat, untrained.flat, planted.flat], planted_benchmark)


@pytest.fixture(scope="module")
def unformed(planted, untrained, planted_benchmark):
    return found_in(planted, [untrained.flat] * 3, planted_benchmark)


def tell(found):
    return contextual(found.rows, found.alignment, 4, PASSES, (96, 2))


def test_the_answer_says_when_where_and_against_what(formed, tmp_path):
    account = tell(formed)
    content, _ = written(account, "contextual_geometry", tmp_path)
    assert content["question"].startswith("When and where do states come to know the key")
    assert account.answer.startswith(
        "From step 1,200 on states at prediction separate by answer, most clearly from "
        "layer_1_post_attn on: there a linear probe names the answer of 100% of held-back states "
        "at step 1,200 (95% interval 100% to 100%; untrained "
    )
    assert (
        "From step 1,200 on states at support value separate by query key, most clearly from "
        "layer_0_post_attn on: "
    ) in account.answer
    assert "top 4 singular directions of the winner L1H2 see these groups better" in account.answer
    seen = matched(formed.alignment).set_index(["chosen", "side"])
    row = seen.loc[("winner", "qk_query")]
    assert row["low"] > 0.95
    assert (
        f"QK query {row['mean']:.0%} of the variance by query key at prediction (random "
        f"{row['random']:.0%}, shuffled labels {row['shuffled']:.0%})"
    ) in account.answer
    assert account.answer.endswith("The bottom control L1H0 does on 0 of 4.")


def test_where_nothing_formed_it_says_so(unformed, tmp_path):
    account = tell(unformed)
    written(account, "contextual_geometry", tmp_path)
    assert account.answer.startswith(
        "At no stage do states at prediction separate by answer beyond shuffled labels and the "
        "untrained network to the end: at "
    )
    assert "on 0 of 4 sides. The bottom control L1H0 does on 0 of 4." in account.answer
    onsets = [n for n in account.numbers if n.name.startswith("first step")]
    assert [n.value for n in onsets] == [None, None]


def test_separation_that_does_not_last_is_none(planted, untrained, planted_benchmark, tmp_path):
    states = [untrained.flat, planted.flat, untrained.flat]
    account = tell(found_in(planted, states, planted_benchmark))
    written(account, "contextual_geometry", tmp_path)
    assert account.answer.startswith("At no stage do states at prediction separate by answer")


def test_numbers_are_those_of_the_tables(formed):
    numbers = numbers_of(tell(formed))
    rows = formed.rows[(formed.rows["space"] == "full") & (formed.rows["step"] == 1200)]
    row = rows.set_index(["role", "group", "site", "measure"]).loc[
        ("prediction", "answer", "layer_1_post_attn", "probe_accuracy")
    ]
    number = numbers["probe accuracy for answer at prediction, layer_1_post_attn, at step 1,200"]
    assert (number.value, number.low, number.count) == (row["mean"], row["low"], row["count"])
    assert number.unit == "share"
    onset = numbers["first step with lasting separation, answer at prediction, layer_1_post_attn"]
    assert (onset.value, onset.unit) == (1200, "step")
    name = (
        "share of the variance between groups by query key at support value in QK key of winner "
        "L1H2, at step 1,200"
    )
    seen = matched(formed.alignment).set_index(["chosen", "side"])
    assert numbers[name].value == seen.loc[("winner", "qk_key"), "mean"]
    assert numbers["forward passes"].value == 3


def test_heads_are_told_in_order_with_what_they_see(formed):
    seen = matched(formed.alignment)
    assert list(seen["chosen"].drop_duplicates()) == ["winner", "runner_up", "bottom"]
    assert len(seen) == 12
    by = seen.set_index(["chosen", "side"])
    assert by.loc["winner", "sees"][["qk_query", "qk_key", "ov_input"]].all()
    assert not by.loc["bottom", "sees"].any()
    assert by.loc[("winner", "qk_query"), "untrained"] < 0.2
    assert by.loc[("winner", "ov_input"), "group"] == "answer"


def test_tables_are_small_and_say_what_a_token_names(formed):
    account = tell(formed)
    assert all(len(table.frame) <= 40 for table in account.tables)
    stages = account.tables[0].frame
    token = stages[stages["known_by"] == "token"]
    assert set(zip(token["role"], token["group"], strict=True)) <= set(TOKEN_GROUPS)
    assert (token["mean"] == 1).all()
    assert len(stages) == 2 * len(token)


def test_only_groups_that_tokens_name(planted, untrained, planted_benchmark, tmp_path):
    """With nothing else to tell, the token's own groups are told: known before any training."""
    states = [untrained.flat, untrained.flat, planted.flat]
    found = found_in(planted, states, planted_benchmark, roles=["prediction"], groups=["query_key"])
    assert contextual_cells(found.rows) == [("prediction", "query_key")]
    account = tell(found)
    written(account, "contextual_geometry", tmp_path)
    assert account.answer.startswith("At no stage do states at prediction separate by query key")

"""What the attention geometry says, on real tables of a 'run' that ends in the planted circuit."""

import pandas as pd
import pytest
from account_checks import numbers_of, written

from circuit.measures.heads import attention as geometry
from circuit.measures.heads.chain import LINKS
from circuit.model.passes import Passes
from circuit.reports import accounts_attention
from circuit.reports.accounts_attention import attention, chain_levels
from circuit.reports.passes import passes_number

STEPS = [0, 1200]
CHAIN = {"winner": "L1H2", "runner_up": "L1H0", "bottom": "L0H3"}
PASSES = passes_number(Passes(whole=2, programs=86, program_layers=172), 43, 2)


@pytest.fixture(scope="module")
def found(planted, untrained, planted_events):
    states = dict(zip(STEPS, (untrained.flat, planted.flat), strict=True))
    return geometry.attention_geometry(
        planted.decoder,
        states.__getitem__,
        STEPS,
        planted_events.select(range(0, 171, 4)),
        planted.vocabulary,
        list(CHAIN.values()),
        1,
        2,
        3,
    )


def told(found, chain=CHAIN, **changes):
    tables = {**found._asdict(), **changes}
    del tables["patterns"]
    return attention(**tables, chain=chain, passes=PASSES)


def with_levels(found, measure, role="prediction", head="L1H2", **numbers):
    """The rows in which one measure of a head ends elsewhere."""
    rows = found.rows.copy()
    chosen = (rows["step"] == STEPS[-1]) & (rows["head"] == head)
    chosen &= (rows["measure"] == measure) & (rows["role"] == role)
    assert chosen.sum() == 1
    rows.loc[chosen, list(numbers)] = list(numbers.values())
    return rows


def with_moves(found, **columns):
    """The table of moves with other numbers for the told head, one per link."""
    moves = found.moves.copy()
    for column, values in columns.items():
        moves[column] = moves[column].astype(object)
        moves.loc[moves["head"] == "L1H2", column] = pd.Series(
            values, index=moves.index[moves["head"] == "L1H2"]
        )
    return moves.infer_objects()


def test_a_whole_chain_is_told_from_score_to_logit(found, tmp_path):
    account = told(found)
    written(account, "attention_geometry", tmp_path)
    at = found.rows[found.rows["step"] == 1200].set_index(["head", "measure"])["mean"]
    score, direct = at["L1H2", "qk_separation"], at["L1H2", "head_value_margin_dla"]
    first = account.answer.partition(". ")[0]
    assert first.startswith("At step 1,200, L1H2 finds the support value (+")
    assert "100% of its attention), reads the answer there by +" in first
    assert score > 50
    assert f"to the logits by {direct:+.2f}" in first
    assert "L0H1 looks most from the support value back to its key: 100%" in account.answer
    assert "Beside it, the runner-up L1H0 has 0 of 5 links, 4% mass" in account.answer
    assert "the bottom control L0H3 has " in account.answer
    assert account.question == (
        "How does L1H2 retrieve the answer, and which link of its chain moved first?"
    )


def test_a_run_that_learned_nothing_is_told_so(planted, untrained, planted_events, tmp_path):
    nothing = geometry.attention_geometry(
        planted.decoder,
        dict.fromkeys(STEPS, untrained.flat).__getitem__,
        STEPS,
        planted_events.select(range(0, 171, 4)),
        planted.vocabulary,
        list(CHAIN.values()),
        1,
        2,
        3,
    )
    account = told(nothing)
    written(account, "attention_geometry", tmp_path)
    assert account.answer.startswith("At step 1,200, L1H2 does not look the answer up: it scores")
    assert "where even attention puts 4%" in account.answer
    assert "No link of its chain rose beyond its interval since step 0." in account.answer
    names = {number.name for number in account.numbers}
    assert not any(name.startswith("step of") for name in names)


def test_a_head_that_finds_but_does_not_say_is_told_so(found):
    rows = with_levels(found, "head_value_margin_dla", mean=-0.5, low=-0.6, high=-0.4)
    over = with_levels(found, "head_value_over_mean_dla", mean=0.6)
    rows.loc[over.index[over["mean"] == 0.6], "mean"] = 0.6
    answer = told(found, rows=rows).answer
    assert "finds the support value (+" in answer
    assert (
        "but what it writes does not single the answer out directly: its direct logit is "
        "−0.50 logit against the best other value, +0.60 logit against the mean of all others."
        in answer
    )


def test_a_missing_link_between_is_named(found):
    rows = with_levels(found, "ov_value_margin", "support_value", mean=-1.0, low=-1.5, high=-0.5)
    answer = told(found, rows=rows).answer
    assert "but not at every link: its support value margin is −1.00 logit." in answer


LATE = {
    "half_way": [700.0, 650.0, 720.0, 800.0, 900.0],
    "half_way_low": [690.0, 640.0, 700.0, 790.0, 890.0],
    "half_way_high": [710.0, 660.0, 740.0, 810.0, 910.0],
    "half_way_after": [600.0, 600.0, 700.0, 700.0, 800.0],
    "half_way_by": [700.0, 700.0, 800.0, 800.0, 900.0],
    "lag": [50.0, 0.0, 70.0, 150.0, 250.0],
    "lag_low": [40.0, 0.0, -5.0, 130.0, 230.0],
    "lag_high": [60.0, 0.0, 140.0, 170.0, 270.0],
}


def test_the_first_link_is_named_with_its_interval_and_what_follows_it(found):
    """The score's lag is beyond its interval, but no checkpoint lies between it and the mass."""
    answer = told(found, moves=with_moves(found, **LATE)).answer
    assert (
        "Of the 5 links that rose, the mass got half-way first, at step 650 (95% interval 640 to "
        "660; between the checkpoints 600 and 700); the score and the support value margin cannot "
        "be told apart from it; then came the attended value margin 150 steps (130 to 170) later, "
        "the direct logit 250 steps (230 to 270) later." in answer
    )


def test_a_single_link_that_rose_has_nothing_to_be_first_of(found):
    moved = with_moves(found, **LATE, moved=[False, True, False, False, False])
    answer = told(found, moves=moved).answer
    assert "Only one link rose since step 0: the mass got half-way first, at step 650 (" in answer


def test_a_head_of_the_first_layer_has_no_heads_before_it(found):
    answer = told(found, chain={"chosen": "L1H0", "winner": "L1H2"}).answer
    assert "Of the heads before it" in answer
    chain = {"bottom": "L0H3", "winner": "L1H2"}
    assert "Of the heads before it" not in told(found, chain=chain).answer


def test_numbers_have_interval_count_and_the_unit_of_their_measure(found):
    numbers = numbers_of(told(found))
    mass = numbers["mass of L1H2, at step 1,200"]
    assert (mass.unit, mass.count) == ("probability", 43)
    assert 0.98 < mass.low <= mass.value <= mass.high <= 1
    assert numbers["score of L1H2, at step 1,200"].unit == "score"
    assert numbers["direct logit of L1H2, at step 1,200"].unit == "logit"
    assert numbers["step of half-way of the direct logit of L1H2"].value == pytest.approx(600)
    assert numbers["even attention on support_value"].value == pytest.approx(0.0415, abs=0.003)
    assert str(numbers["entropy of attention of L1H2, at step 1,200"])[0] not in "+−"
    roles = [n for n in numbers if n.startswith("attention of L1H2 on ")]
    assert len(roles) == len(geometry.ROLES)
    assert numbers["forward passes"].value == 2


def test_presence_needs_the_interval_beyond_its_floor(found):
    levels = chain_levels(found.rows, CHAIN, 1200).set_index(["head", "link"])
    assert levels.loc["L1H2", "present"].all()
    rows = with_levels(found, "attention_mass", "support_value", low=0.001)
    assert (
        not chain_levels(rows, CHAIN, 1200)
        .set_index(["head", "link"])
        .loc[("L1H2", "mass"), "present"]
    )
    rows = with_levels(found, "qk_separation", "support_value", low=0.0)
    changed = chain_levels(rows, CHAIN, 1200).set_index(["head", "link"])
    assert not changed.loc[("L1H2", "score"), "present"]
    assert list(dict.fromkeys(levels.index.get_level_values("link"))) == list(LINKS)


def test_the_tables_stay_small_and_name_each_position_once(found):
    account = told(found)
    assert all(len(table.frame) <= 40 for table in account.tables)
    largest = next(t for t in account.tables if t.title.startswith("Role map")).frame
    assert set(largest["head"]) == {f"L{layer}H{head}" for layer in range(2) for head in range(4)}
    assert not largest.duplicated(["head", "query_role", "mean"]).any()
    assert (largest["mean"] > largest["even"]).all()


def test_units_are_those_of_the_measures():
    """Copied there so that tables can be told about without torch; they must stay the same."""
    for link, (_, measure) in LINKS.items():
        assert accounts_attention.LINK_UNITS[link] == geometry.MEASURES[measure]

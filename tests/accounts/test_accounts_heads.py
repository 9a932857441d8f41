"""What the head scan says, on real rows of a 'run' that ends in the planted circuit."""

import pytest
from account_checks import numbers_of, written
from circuit.reports.accounts_heads import scan
from planted import untrained_twin

from circuit.measures.heads import scan as heads
from circuit.measures.heads.scan import correlations, head_scan, select_heads
from circuit.reports import accounts_heads

WINDOW = (0, 1200)


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 171, 4))


def scanned(circuit, states, events):
    """The account of a scan over two states, and its selection."""
    states = dict(zip(WINDOW, states, strict=True))
    ids = circuit.vocabulary.value_ids
    rows, values = head_scan(circuit.decoder, states.__getitem__, WINDOW, events, ids, 2)
    selection = select_heads(values, "qk_separation", WINDOW)
    return rows, selection, lambda chosen: scan(rows, chosen, correlations(rows), 2)


@pytest.fixture(scope="module")
def formed(planted, untrained, events):
    return scanned(planted, [untrained.flat, planted.flat], events)


def test_the_scan_names_the_head_and_how_far_it_grew_beyond_the_others(formed, tmp_path):
    _, selection, tell = formed
    found = tell(selection)
    written(found, "head_scan", tmp_path)
    by = {entry["head"]: entry for entry in selection["ranking"]}
    won, bottom = by["L1H2"], selection["bottom"]
    assert found.answer.startswith(
        "L1H2 learned to look at the support value: its qk_separation grew by "
        f"{won['confirmation']:+.2f} score (95% interval {won['low']:+.2f} to {won['high']:+.2f}) "
        "from step 0 to 1,200 on events that did not choose it, "
    )
    assert f"{by[bottom]['confirmation']:+.2f} for the bottom control {bottom}" in found.answer
    assert "beats every distractor's in 100% of reads" in found.answer
    assert found.marks == []


def test_growths_are_of_the_half_that_did_not_choose_with_sign_interval_and_count(formed, events):
    _, selection, tell = formed
    numbers = numbers_of(tell(selection))
    for role in ("winner", "runner_up", "bottom"):
        head = selection[role]
        entry = next(e for e in selection["ranking"] if e["head"] == head)
        label = f"growth of qk_separation of {role.replace('_', '-')} {head}, step 0 to 1,200"
        number = numbers[label]
        assert (number.value, number.unit) == (entry["confirmation"], "score")
        assert (number.low, number.high) == (entry["low"], entry["high"])
        assert number.low < number.value < number.high
        assert number.count == len(events) // 2
        assert str(number)[0] in "+−"


def test_the_table_of_growths_has_every_head_and_a_unit_for_every_number(formed):
    _, selection, tell = formed
    table = tell(selection).tables[0]
    assert table.frame.to_dict("records") == selection["ranking"]
    assert table.units == {
        **dict.fromkeys(("selection", "confirmation", "low", "high"), "score"),
        "count": "1",
    }
    assert "bottom control: of the others, the one that changed least" in table.title


def test_every_measure_of_the_three_heads_is_there_with_its_interval(formed):
    rows, selection, tell = formed
    numbers = numbers_of(tell(selection))
    at = rows[rows["half"] == "all"].set_index(["step", "head", "measure"])
    for role in ("winner", "runner_up", "bottom"):
        head = selection[role]
        for measure, unit in heads.MEASURES.items():
            number = numbers[f"{measure} of {role.replace('_', '-')} {head}, at step 1,200"]
            row = at.loc[(1200, head, measure)]
            assert (number.value, number.low) == (row["mean"], row["low"])
            assert number.unit == unit


def test_a_winner_that_is_not_confirmed_is_marked(formed):
    _, selection, tell = formed
    assert tell({**selection, "confirmed": False}).marks == [
        "The confirmation half of the events would have chosen another head than L1H2."
    ]


def with_winner(selection, **changes):
    """The selection with other numbers of its winner."""
    ranking = [dict(entry) for entry in selection["ranking"]]
    ranking[0].update(changes)
    return {**selection, "ranking": ranking}


def with_beats(rows, winner, share):
    """The rows in which the winner's support value beats every distractor this often at the end."""
    changed = rows.copy()
    at = (rows["head"] == winner) & (rows["measure"] == "support_beats_all")
    changed.loc[at & (rows["step"] == WINDOW[1]) & (rows["half"] == "all"), "mean"] = share
    return changed


LEARNED = "L1H2 learned to look at the support value: its qk_separation grew by +30.00"
BEGAN = (
    "L1H2 began to look at the support value but does not single it out: its qk_separation grew by "
    "+30.00"
)
NOT = (
    "No head learned to look at the support value: the qk_separation of L1H2, the best on the "
    "events that choose, changed by +30.00"
)


@pytest.mark.parametrize(
    ("low", "beats", "start"),
    [
        (29.0, 1.0, LEARNED),
        (0.1, 0.5, LEARNED),
        (29.0, 0.49, BEGAN),
        (0.1, 0.0, BEGAN),
        (0.0, 1.0, NOT),
        (-1.0, 0.2, NOT),
    ],
)
def test_learning_needs_a_growth_above_0_and_a_support_value_that_wins(
    formed, low, beats, start, tmp_path
):
    rows, selection, _ = formed
    changed = with_winner(selection, confirmation=30.0, low=low, high=31.0)
    found = scan(with_beats(rows, "L1H2", beats), changed, correlations(rows), 2)
    written(found, "head_scan", tmp_path)
    assert found.answer.startswith(f"{start} score (95% interval {low:+.2f} to +31.00) from")


def test_where_the_matching_head_is_lost_none_is_said_to_have_learned(
    planted, untrained, events, tmp_path
):
    """From planted back to untrained the matching head's separation shrinks; others hardly move."""
    rows, selection, tell = scanned(
        planted, [planted.flat, untrained_twin(planted, 1).flat], events
    )
    assert selection["ranking"][-1]["head"] == "L1H2"
    found = tell(selection)
    written(found, "head_scan", tmp_path)
    assert "learned to look at the support value: its" not in found.answer
    winner = selection["winner"]
    at = rows[rows["half"] == "all"].set_index(["step", "head", "measure"])["mean"]
    assert at[1200, winner, "support_beats_all"] < 0.5


def test_units_are_those_of_the_measures():
    """Copied here so that tables can be told about without torch; they must stay the same."""
    assert accounts_heads._UNITS == heads.MEASURES

"""What a cross-seed analysis says: repeated, not repeated."""

from account_checks import numbers_of, written

from circuit.config.terms import COMPONENTS
from circuit.measures.replication.seeds import SeedResult, compare_seeds
from circuit.reports.accounts_closure import seeds


def run(seed, winner, runner_up, bottom, birth=600, momentum=6.0):
    heads = {"winner": winner, "runner_up": runner_up, "bottom": bottom}
    selection = {
        **{role: f"L{i}H{seed % 4}" for i, role in enumerate(heads)},
        "unit": "score",
        "ranking": [
            {
                "head": f"L{i}H{seed % 4}",
                "selection": 9,
                "confirmation": growth,
                "low": growth - 0.5,
                "high": growth + 0.25,
                "count": 48,
            }
            for i, growth in enumerate(heads.values())
        ],
    }
    components = dict(zip(COMPONENTS, (2.0, momentum, 0.0, 0.0), strict=True))
    return SeedResult(f"seed{seed}", seed, selection, {**components, "residual": 0.0}, birth)


def told(*results):
    return seeds(compare_seeds(list(results), seed=0))


FIVE = [run(seed, 6.0 + seed, 2.0, -1.0) for seed in range(5)]


def test_five_seeds_that_agree_have_no_mark(tmp_path):
    found = told(*FIVE)
    written(found, "cross_seed", tmp_path)
    assert found.marks == []
    assert found.answer == (
        "In 5 of 5 runs a head's separation grows: winners L0H0, L0H1, L0H2, L0H3, L0H0, mean "
        "growth over the scan's window +8.00 score against -1.00 for the bottom controls. Of the "
        "winners' growth over the attribution's window, momentum carries +75% and the current "
        "gradient +25% on average."
    )


def test_means_have_sign_unit_interval_and_number_of_runs(tmp_path):
    found = told(*FIVE)
    _, text = written(found, "cross_seed", tmp_path)
    numbers = numbers_of(found)
    assert str(numbers["growth of the winner"]).startswith("+8")
    assert str(numbers["growth of the bottom"]).startswith("−1")
    assert str(numbers["share_momentum of the winner"]).startswith("+75")
    assert "% (95% interval +75" in str(numbers["share_momentum of the winner"])
    birth = numbers["birth_step of the model"]
    assert str(birth).startswith("600 step")
    assert {number.count for number in numbers.values()} == {5}
    assert "+8" in text


def test_runs_in_which_the_winner_shrinks_are_not_counted():
    found = told(*FIVE[:4], run(4, -3.0, -4.0, -5.0))
    assert found.answer.startswith("In 4 of 5 runs")


def test_fewer_than_five_seeds_are_marked():
    for n in (3, 4):
        assert told(*FIVE[:n]).marks == [
            f"{n} seeds: the interval over seeds is rough; read it with the single runs."
        ]


def test_a_runner_up_that_overtakes_is_marked():
    found = told(*FIVE[:4], run(4, 2.0, 3.0, -1.0))
    assert found.marks == [
        "In run seed4 the runner-up grows no less than the winner on the events that did not "
        "choose them."
    ]


def test_runs_without_birth_are_marked_and_counted_out(tmp_path):
    found = told(*FIVE[:3], run(3, 8.0, 1.0, 0.0, None), run(4, 8.0, 1.0, 0.0, None))
    written(found, "cross_seed", tmp_path)
    assert found.marks == [
        "The behaviour never forms in seed3, seed4; the mean birth step leaves them out."
    ]
    assert numbers_of(found)["birth_step of the model"].count == 3
    one = told(*FIVE[:4], run(4, 8.0, 1.0, 0.0, None))
    assert one.marks[0].endswith("in seed4; the mean birth step leaves it out.")

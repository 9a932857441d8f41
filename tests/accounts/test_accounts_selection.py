"""What the account of a selection says, for every verdict that there may be."""

import numpy as np
import pandas as pd
import pytest
from account_checks import numbers_of, written

from circuit.measures.replication.foretold import (
    CHANCE,
    CORRELATION,
    FIRST_BORN,
    KNOWN,
    NO_BETTER,
    NOT_TOLD,
    NOTHING,
    POOLED,
    SCORE_UNITS,
    STRONGEST,
    advantage,
)
from circuit.measures.replication.selection import BASELINES, BIRTH_UNITS, RANKING
from circuit.reports.accounts_selection import foretold

HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]
STEPS = (0, 100, 300)


def births(runs=3, born=True):
    """In every run L1H2 is born at step 100 and L1H3 at step 600, if any is."""
    step = np.array([np.nan] * 6 + [100.0, 600.0]) if born else np.full(8, np.nan)
    table = {"head": HEADS, "born": ~np.isnan(step), "step": step, "order": 1.0, "level": 2.0}
    table |= {"final": 7.0, "low": 6.5, "high": 7.5, "count": 96}
    return pd.concat([pd.DataFrame({"run": f"seed{i}", **table}) for i in range(runs)])


def scored(value=0.6, rivals=0.3, runs=3, steps=STEPS):
    """Correlations and hits of the ranking, the baselines, one more feature and chance."""
    found = []

    def add(run, step, predictor, score, middle, count, chance=0.0):
        ends = (middle - 0.4, middle + 0.3, middle - 0.5, middle + 0.35, 0.55)
        if score in (FIRST_BORN, STRONGEST):
            ends = (0.01, 0.91, np.nan, np.nan, np.nan)
        found.append((run, step, predictor, score, middle, *ends, chance, count))

    for step in steps:
        add(POOLED, step, RANKING, CORRELATION, value, runs)
        add(POOLED, step, "growth", CORRELATION, 0.1, runs)
        add(POOLED, step, CHANCE, CORRELATION, 0.0, runs)
        for i, name in enumerate(BASELINES):
            add(POOLED, step, name, CORRELATION, rivals - 0.01 * i, runs)
            add(POOLED, step, RANKING, advantage(name), value - rivals, runs)
        for score in (FIRST_BORN, STRONGEST):
            add(POOLED, step, RANKING, score, 1 / 3, runs, 0.25)
        for run in range(runs):
            add(f"seed{run}", step, RANKING, CORRELATION, value, 8)
    columns = ["run", "step", "predictor", "score", *list(SCORE_UNITS)[1:]]
    return pd.DataFrame(found, columns=columns)


def told(*verdicts, baselines="", values=(0.2, 0.6, 0.4), runs=3, born=True, others=None):
    at = pd.DataFrame(
        {
            "step": STEPS,
            "verdict": verdicts,
            "baselines": [baselines if v != NOTHING else "" for v in verdicts],
            "value": values,
            "strict_low": np.array(values) - 0.5,
            "strict_high": np.array(values) + 0.35,
            "strict_chance": 0.55,
            "count": runs,
        }
    )
    at.loc[at["verdict"] == NOTHING, ["value", "strict_low", "strict_high", "strict_chance"]] = (
        np.nan
    )
    kept = tuple(at.loc[at["verdict"] != NOTHING, "step"])
    other = at.assign(verdict=[NOTHING, *verdicts[1:]]) if others is None else others(at)
    return foretold(scored(runs=runs, steps=kept), at, births(runs, born), 0.25, {0.4: other})


RHO = "rank correlation +0.60, 95% interval +0.20 to +0.90 over 3 runs; "
STRICT = "for 3 cutoffs at once +0.10 to +0.95, and random orders reach +0.55"
HIT = (
    "The route that it ranks first there is the first born in 1 of 3 runs (95% interval 1% to "
    "91%; drawing a candidate: 25%)."
)


def test_what_could_not_be_told_is_said_with_what_came_closest(tmp_path):
    found = told(NOT_TOLD, NOT_TOLD, NOT_TOLD)
    written(found, "foretold", tmp_path)
    assert found.answer == (
        "That it could be known before birth which routes training would reinforce is not shown: "
        "at none of 3 cutoffs (steps 0, 100 and 300) does the ranking agree with the order of "
        f"births beyond chance; it comes closest at step 100 ({RHO}{STRICT}). {HIT}"
    )
    assert numbers_of(found)["earliest cutoff at which it could be known"].value is None


def test_a_baseline_that_tells_what_the_ranking_does_not_is_in_the_first_sentence(tmp_path):
    found = told(NOT_TOLD, NOT_TOLD, NOT_TOLD, baselines="strength")
    written(found, "foretold", tmp_path)
    assert (
        f"{STRICT}); by itself, strength at steps 0, 100 and 300 does (of {3 * len(BASELINES)} "
        f"pairs of baseline and cutoff). {HIT}"
    ) in found.answer
    assert "Baselines that tell" not in found.answer


def test_what_could_be_known_is_told_at_the_earliest_cutoff(tmp_path):
    found = told(NOT_TOLD, KNOWN, KNOWN)
    written(found, "foretold", tmp_path)
    assert found.answer == (
        "It could be known before birth which routes training would reinforce: at step 100 the "
        "ranking agrees with the order of births better than chance and than every baseline "
        f"({RHO}{STRICT}). {HIT} That holds at 2 of 3 cutoffs (steps 100 and 300); at step 0 the "
        "ranking could not be told from chance."
    )
    assert numbers_of(found)["earliest cutoff at which it could be known"].value == 100


def test_a_baseline_that_does_as_well_is_named(tmp_path):
    found = told(NOT_TOLD, NO_BETTER, NOTHING, baselines="strength, layer")
    written(found, "foretold", tmp_path)
    assert found.answer.startswith(
        "Which routes training would reinforce could be told before birth, but no better than a "
        f"baseline tells it: at step 100 the ranking agrees with the order of births ({RHO}"
    )
    assert "and so does strength alone (+0.30, 95% interval −0.10 to +0.60)." in found.answer
    assert found.answer.endswith(
        "Baselines that tell by themselves: strength at steps 0 and 100; layer at steps 0 and 100."
    )
    assert found.marks[-1] == "Nothing was left to foretell at step 300."


def test_without_births_there_is_nothing_to_foretell(tmp_path):
    found = told(NOTHING, NOTHING, NOTHING, born=False)
    written(found, "foretold", tmp_path)
    assert found.answer == (
        "There was nothing to foretell: none of 24 candidate routes was born in 3 runs."
    )


def test_where_no_order_is_left_it_is_said(tmp_path):
    found = told(NOTHING, NOTHING, NOTHING)
    written(found, "foretold", tmp_path)
    assert found.answer == (
        "There was nothing left to foretell: at every cutoff (steps 0, 100 and 300) the routes "
        "that remained were born together or not at all."
    )


def test_numbers_have_rivals_chance_and_hits():
    found = numbers_of(told(NOT_TOLD, KNOWN, KNOWN))
    for name in (
        "rank correlation of the ranking at step 100",
        "rank correlation of the strength at step 100",
        "rank correlation of the layer at step 100",
        "rank correlation of orders drawn at random at step 100",
        "advantage over gradient norm of the ranking at step 100",
    ):
        assert (found[name].count, found[name].unit) == (3, "1")
    hit = found["first born of the ranking at step 100"]
    assert (hit.unit, hit.count, hit.note) == ("share", 3, "drawing a candidate would hit in 25%")


def test_doubts_are_marked():
    marks = told(NOT_TOLD, NOT_TOLD, NOT_TOLD).marks
    assert marks[0].startswith("3 runs of up to 8 heads: intervals over so few are rough and wide.")
    assert marks[1].startswith("3 cutoffs and 5 predictors were looked at. Verdicts take intervals")
    many = told(NOT_TOLD, NOT_TOLD, NOT_TOLD, runs=6).marks
    assert not any("rough" in mark for mark in many)


def test_another_threshold_with_another_verdict_is_marked():
    found = told(
        NOT_TOLD, KNOWN, KNOWN, others=lambda at: at.assign(verdict=[NOT_TOLD, NOT_TOLD, KNOWN])
    )
    assert found.marks[-1] == (
        "With births at 40% of the largest final strength the verdict at step 100 would be: could "
        "not be told from chance."
    )
    assert found.tables[-1].frame["threshold"].tolist() == [0.4] * 3


def test_tables_count_who_was_left_out_and_stay_small():
    tables = told(NOT_TOLD, KNOWN, KNOWN).tables
    verdict = tables[0].frame.set_index("step")
    assert verdict["born_already"].tolist() == [0, 3, 3]
    assert verdict["candidates"].tolist() == [24, 21, 21]
    assert all(len(table.frame) <= 40 for table in tables)


@pytest.mark.parametrize("runs", [1, 30])
def test_any_number_of_runs_is_told(runs, tmp_path):
    written(told(NOT_TOLD, NOT_TOLD, NOT_TOLD, runs=runs), "foretold", tmp_path)


def test_the_frames_here_are_those_of_the_library():
    assert set(births().select_dtypes("number")) == set(BIRTH_UNITS)
    assert set(scored().select_dtypes("number")) == set(SCORE_UNITS)

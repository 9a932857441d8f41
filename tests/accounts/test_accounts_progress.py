"""What the progress of write scalars says, on a 'run' that ends in the planted circuit."""

import pytest
import torch
from account_checks import numbers_of, written
from planted import untrained_twin

from circuit.measures.writes.agreement import outcome_correlations
from circuit.measures.writes.fitness import Bounds, verdicts
from circuit.measures.writes.measured import progress_rows, write_births
from circuit.measures.writes.names import CRITERIA, MODEL, SCALARS
from circuit.measures.writes.parts import growth_parts
from circuit.measures.writes.progress import measure_heads
from circuit.reports.accounts_progress import progress, standings
from circuit.reports.document import Number

STEPS = (0, 100, 200, 300, 400, 500, 600)
SHARES = (0.0, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0)
ROLES = {"winner": "L1H2", "runner_up": "L0H1", "bottom": "L1H0"}
BOUNDS = Bounds(0.5, 0.2, 0.2)
PASSES = Number("forward passes", 7.0, "1")
BEST = "head_value_over_mean_dla"


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 171, 3))


def analysed(circuit, first, last, events):
    """All tables of a 'run' along the line between two states."""
    states = dict(zip(STEPS, (torch.lerp(first, last, u) for u in SHARES), strict=True))
    ids = circuit.vocabulary.value_ids
    found = measure_heads(
        circuit.decoder, states.__getitem__, STEPS, events, ids, "fixed_source", 2, 0
    )
    rows = progress_rows(found)
    judged = verdicts(found, list(ROLES.values()), BOUNDS)
    return rows, write_births(rows, 0), outcome_correlations(found), growth_parts(found), judged


@pytest.fixture(scope="module")
def formed(planted, untrained, events):
    return analysed(planted, untrained.flat, planted.flat, events)


def tell(tables, **changes):
    rows, births, correlations, parts, judged = tables
    given = {"births": births, "correlations": correlations, "verdicts": judged, **changes}
    return progress(
        rows,
        given["births"],
        given["correlations"],
        parts,
        given["verdicts"],
        ROLES,
        BOUNDS,
        "fixed_source",
        PASSES,
    )


def with_criterion(judged, head, scalar, half, **changes):
    """The verdicts with some criteria of one scalar otherwise."""
    table = judged.copy()
    chosen = (table["head"] == head) & (table["half"] == half)
    chosen &= table["scalar"].isin([scalar] if scalar else list(SCALARS))
    for name, value in changes.items():
        table.loc[chosen, name] = value
    table.loc[chosen, "fit"] = table.loc[chosen, list(CRITERIA)].all(axis=1)
    return table


def only_chosen(judged, scalar):
    """The verdicts with one scalar of the winner chosen."""
    chosen = (judged["head"] == "L1H2") & (judged["scalar"] == scalar)
    return judged.assign(chosen=chosen)


def test_the_answer_names_the_scalar_its_growth_and_what_other_values_give(formed, tmp_path):
    judged = only_chosen(formed[4], BEST)
    found = tell(formed, verdicts=judged)
    written(found, "scalar_progress", tmp_path)
    at = judged.set_index(["head", "scalar", "half"]).loc[("L1H2", BEST, "confirmation")]
    assert found.answer.startswith(
        f"Of what L1H2 writes, {BEST} (direct logit of the answer over the mean of all other "
        "values) is fit to be attributed: from step 0 to 600 it grew by +"
    )
    attention, values = f"{at['attention_share']:.0%}", f"{at['values_share']:.0%}"
    assert f"{attention} came as the head looked more at the support value" in found.answer
    assert f"{values} as what it reads there said more about the answer" in found.answer
    unfit = dict(part.split(" ", 1) for part in found.answer.partition("Not fit: ")[2].split("; "))
    assert "does not see where the head looks" in unfit["ov_value_margin_fixed"]
    assert "has a rival that changes" in unfit["head_value_margin_dla_moving"]
    assert "none of the bottom control L1H0 are fit" in found.answer
    assert found.marks == []


def test_every_scalar_comes_with_its_configuration(formed):
    found = tell(formed, verdicts=only_chosen(formed[4], "head_value_margin_dla_fixed"))
    table = found.tables[0].frame.set_index(["head", "scalar"])["configuration"]
    assert table["L1H2", "head_value_margin_dla_fixed"] == (
        "{scalar: head_value_margin_dla, head: L1H2, competitor: fixed_source}"
    )
    assert table["L1H2", BEST] == ("{scalar: head_value_margin_dla, head: L1H2, competitor: mean}")


def test_numbers_are_of_the_half_that_did_not_choose_beside_the_other_heads(formed):
    judged = only_chosen(formed[4], BEST)
    numbers = numbers_of(tell(formed, verdicts=judged))
    told = judged[judged["half"] == "confirmation"].set_index(["head", "scalar"])
    for scalar in SCALARS:
        number = numbers[f"growth of {scalar} of L1H2"]
        row = told.loc[("L1H2", scalar)]
        assert (number.value, number.low, number.high) == tuple(
            row[["growth", "growth_low", "growth_high"]]
        )
        assert (number.unit, number.count) == ("logit", row["count"])
        other = numbers[f"growth with other events' values of {scalar} of L1H2"]
        assert other.value == row["shuffled"]
    control = numbers[f"growth of {BEST} of bottom control L1H0"]
    assert control.value == told.loc[("L1H0", BEST), "growth"]
    assert numbers[f"correlation of {BEST} of L1H2 with answer_margin over checkpoints"].count == 7
    assert numbers["step at which answer_margin is half-way"].unit == "step"
    assert numbers["forward passes"] == PASSES


def test_tables_hold_the_three_heads_and_the_outcomes(formed):
    criteria, parts, correlations, births = (table.frame for table in tell(formed).tables)
    assert list(dict.fromkeys(criteria["head"])) == list(ROLES.values())
    assert list(dict.fromkeys(parts["head"])) == list(ROLES.values())
    assert len(criteria) == len(parts) == 3 * len(SCALARS)
    total = parts[["shuffled", "attention", "values", "elsewhere"]].sum(axis=1)
    assert total.to_numpy() == pytest.approx(parts["growth"].to_numpy())
    assert list(dict.fromkeys(correlations["scalar"])) == list(SCALARS)
    assert set(births["head"]) == {*ROLES.values(), MODEL}


def test_a_choice_that_the_other_half_does_not_confirm_is_marked(formed, tmp_path):
    judged = only_chosen(formed[4], BEST)
    judged = with_criterion(judged, "L1H2", BEST, "confirmation", specific=False)
    found = tell(formed, verdicts=judged)
    written(found, "scalar_progress", tmp_path)
    assert "was chosen as fit but is not: from step" in found.answer
    assert found.marks[0] == (
        f"On the events that did not choose it, {BEST} of L1H2 changes with other events' values "
        "too."
    )


def test_a_bottom_control_that_passes_is_marked(formed, tmp_path):
    judged = formed[4]
    for half in ("selection", "confirmation"):
        judged = with_criterion(judged, "L1H0", BEST, half, **dict.fromkeys(CRITERIA, True))
    found = tell(formed, verdicts=judged)
    written(found, "scalar_progress", tmp_path)
    assert f"The bottom control L1H0 passes too: {BEST}." in found.marks
    assert "1 of the bottom control L1H0 are fit" in found.answer


def test_a_run_that_learned_nothing_has_no_fit_scalar(planted, untrained, events, tmp_path):
    tables = analysed(planted, untrained.flat, untrained_twin(planted, 1).flat, events)
    found = tell(tables)
    written(found, "scalar_progress", tmp_path)
    assert found.answer.startswith("No measure of what L1H2 writes is fit to be attributed: ")
    assert "came as the head looked" not in found.answer
    assert "by the same criteria" in found.answer.lower()


def test_of_a_scalar_that_is_not_born_only_what_it_is_blind_to_is_said(formed):
    judged = with_criterion(
        formed[4], "L1H2", None, "selection", born=False, specific=False, at_support=False
    )
    missed = standings(judged.set_index(["head", "scalar"]).loc["L1H2"])
    assert missed[BEST] == ["born"]
    assert missed["ov_value_margin_fixed"] == ["born", "sees_attention", "sees_size"]


@pytest.mark.parametrize(
    ("low", "said"),
    [
        ((0.1, 0.1, 0.1), "all with intervals above 0."),
        ((0.1, -0.1, 0.1), "2 of 3 with an interval above 0: that levels agree"),
        ((-0.1, -0.1, -0.1), "none with an interval above 0: what they share is that all of them"),
    ],
)
def test_correlated_changes_are_told_apart_from_a_common_rise(formed, low, said):
    correlations = formed[2].copy()
    chosen = (correlations["head"] == "L1H2") & (correlations["scalar"] == BEST)
    chosen &= correlations["over"] == "intervals"
    correlations.loc[chosen, "low"] = low
    found = tell(formed, correlations=correlations, verdicts=only_chosen(formed[4], BEST))
    assert said in found.answer

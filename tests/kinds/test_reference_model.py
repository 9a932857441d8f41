"""What the choice of a reference model says, on candidates made by hand."""

import pandas as pd
import pytest
from viewing import outcome, viewed

from circuit.measures.sweep.choice import candidate_rows, choose
from circuit.measuring import Table


def seen(folder, *candidates):
    frame = pd.DataFrame(candidates, columns=["run", "step", "validation", "heldout"])
    for name in ("validation", "heldout"):
        accuracy = frame.pop(name)
        ends = {"accuracy": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02, "count": 100}
        frame = frame.assign(**{f"{name}_{end}": values for end, values in ends.items()})
    table = Table(candidate_rows(frame, 0.9), "a candidate")
    settings, records = {"sweep": "behaviour"}, {"choice": choose(frame, 0.9)}
    facts = {"candidates": len(frame)}
    return viewed("reference_model", {"rows": table}, folder, settings, facts, records)


@pytest.mark.parametrize(("validation", "verdict"), [(0.95, "shown"), (0.91, "open")])
def test_the_choice_is_told_with_its_bias_and_its_floor(validation, verdict, tmp_path):
    report = seen(tmp_path, ("a", 10, 0.8, 0.99), ("b", 20, validation, 0.6))
    chosen = outcome(report, "validation accuracy")
    assert (chosen.about["run"], chosen.verdict) == ("b", verdict)
    assert "biased upwards" in report["answer"]
    assert not report["marks"]
    assert [row[0] for row in report["tables"][0]["rows"]] == ["b"]


def test_a_reference_below_the_floor_is_marked(tmp_path):
    report = seen(tmp_path, ("a", 10, 0.5, 0.9), ("a", 20, 0.6, 0.1))
    assert outcome(report, "validation accuracy").verdict == "opposite"
    [mark] = report["marks"]
    assert "No checkpoint reaches" in mark

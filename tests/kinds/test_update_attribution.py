"""What is said of a scalar's growth: shown or not, from which parts, and how exactly."""

import pytest
from attributed import window
from viewing import outcome, viewed

from circuit.kinds.attributed import attribution_tables
from circuit.kinds.update_attribution.settings import Settings

ASKED = {
    "kind": "update_attribution",
    "window": [500, 508],
    "heads": "head_scan",
    "scalars": {
        "looking": {"scalar": "qk_separation", "head": "winner"},
        "margin": {"scalar": "answer_margin"},
    },
    "groups": ["head_projection"],
}
GREW = {
    ("current_gradient", ""): 9.0,
    ("momentum", ""): -3.0,
    ("weight_decay", ""): -0.5,
    ("raw_sgd", ""): 0.4,
    ("clipped_sgd", ""): 0.3,
    ("residual", ""): 0.01,
}


def seen(folder, own, spread=0.5, **asked):
    """The report of a window whose first scalar has these parts."""
    settings = Settings.model_validate({**ASKED, **asked})
    of = window(settings, folder, {"looking": own, "margin": GREW}, spread)
    tables = attribution_tables(of, of.sums(), of.intervals())
    given = {name: value for name, value in {**ASKED, **asked}.items() if name != "kind"}
    return viewed("update_attribution", tables, folder, given, {"asked": "looking and margin"})


def test_growth_its_parts_and_parameters_are_told_of_the_first_scalar(tmp_path):
    report = seen(tmp_path, GREW)
    grew = outcome(report, "growth", scalar="looking")
    assert (grew.verdict, grew.about["head"]) == ("shown", "L1H2")
    assert outcome(report, "growth", scalar="margin").about["head"] == "model"
    assert "looking (L1H2) grew" in report["answer"]
    assert "margin (model)" not in report["answer"]
    numbers = {number["name"]: number["value"] for number in report["numbers"]}
    assert numbers["looking (L1H2): momentum"] == pytest.approx(-3)
    assert numbers["looking by head projection: L1H2.q"] == pytest.approx(0.7 * 5.5)
    assert report["answer"].index("the current gradient") < report["answer"].index("momentum")
    assert not report["marks"]


def test_plain_gradient_steps_are_the_control_of_the_update(tmp_path):
    report = seen(tmp_path, GREW)
    found = outcome(report, "against plain gradient descent")
    assert (found.verdict, found.control) == ("shown", "raw sgd; clipped sgd")
    less = {**GREW, ("momentum", ""): -8.4}
    assert outcome(seen(tmp_path / "less", less), found.name).verdict == "open"


def test_growth_that_events_do_not_share_is_open_and_a_fall_is_opposite(tmp_path):
    assert (
        outcome(seen(tmp_path / "a", GREW, spread=9.0), "growth", scalar="looking").verdict
        == "open"
    )
    fell = {part: -size for part, size in GREW.items()}
    assert outcome(seen(tmp_path / "b", fell), "growth", scalar="looking").verdict == "opposite"


def test_a_residual_above_the_bound_is_marked(tmp_path):
    left = {**GREW, ("residual", ""): 1.0}
    report = seen(tmp_path, left)
    assert outcome(report, "residual", scalar="looking").verdict == "shown"
    [mark] = report["marks"]
    assert "looking" in mark
    assert not seen(tmp_path / "wide", left, residual_bound=0.5)["marks"]


def test_differences_of_checkpoints_have_no_plain_gradient_step(tmp_path):
    own = {("checkpoint_difference", ""): 5.0, ("residual", ""): 0.0}
    settings = Settings.model_validate({**ASKED, "update": "checkpoint_difference"})
    of = window(settings, tmp_path, {"looking": own, "margin": own})
    tables = attribution_tables(of, of.sums(), of.intervals())
    given = {name: value for name, value in ASKED.items() if name != "kind"}
    report = viewed("update_attribution", tables, tmp_path, given, {"asked": "looking"})
    assert "against plain gradient descent" not in {f["name"] for f in report["findings"]}
    assert outcome(report, "growth", scalar="looking").verdict == "shown"

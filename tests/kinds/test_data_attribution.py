"""What is said of data that built a scalar: by group, through which memory, beside chance."""

import pandas as pd
import pytest
from attributed import window
from viewing import outcome, viewed

from circuit.attribution.window import group_rows
from circuit.estimates import EXCESS, estimates
from circuit.kinds.attributed import attribution_tables
from circuit.kinds.data_attribution.measure import removal_rows
from circuit.kinds.data_attribution.settings import Settings
from circuit.measuring import Table

ASKED = {
    "window": [500, 508],
    "heads": "head_scan",
    "scalars": {"looking": {"scalar": "qk_separation", "head": "winner"}},
}
TARGETS = {"lag 1": 0.1, "lag 2": 0.1, "other_tokens": 0.8}
APART = {
    ("momentum", "before_window"): 0.5,
    ("weight_decay", ""): -0.2,
    ("residual", ""): 0.001,
    **{(name, group): 0.1 for name in ("raw_sgd", "clipped_sgd") for group in TARGETS},
}


def by_group(*sizes):
    """A quarter of every group's contribution at once, the rest through momentum."""
    return {
        (memory, group): share * size
        for group, size in zip(TARGETS, sizes, strict=True)
        for memory, share in (("current_gradient", 0.25), ("momentum", 0.75))
    } | APART


def pushes():
    """First order at two checkpoints."""
    shares = {"scalar": "", "data_group": list(TARGETS), "mean": list(TARGETS.values())}
    of_none = pd.DataFrame({**shares, "measure": "share_of_targets", "unit": "share"})
    some = {"scalar": "looking", "data_group": list(TARGETS), "low": -0.5, "high": 0.5}
    parts = [of_none, pd.DataFrame({**some, "measure": "contribution", "unit": "score", "mean": 0})]
    for against in ("", "shuffled answers", EXCESS):
        named = {"measure": "alignment", "unit": "cosine", "against": against, "mean": 0.1}
        parts.append(pd.DataFrame({**some, **named}))
    rows = pd.concat(parts).fillna({"against": ""})
    return estimates(pd.concat([rows.assign(step=step) for step in (500, 508)]), noun="programs")


def removal(missed):
    keys = pd.MultiIndex.from_product(
        [TARGETS, (0.01, 1.0), ("D and c held", "in full")], names=["data_group", "share", "redone"]
    ).to_frame(index=False)
    parts = [keys.assign(scalar="", measure="parameters_missed", unit="share", mean=missed)]
    for name in ("predicted", "actual", "predicted_per_share", "actual_per_share"):
        change = keys["data_group"].str.len() * 0.1
        parts.append(keys.assign(scalar="looking", measure=name, unit="score", mean=change))
    return estimates(pd.concat(parts), step=500)


def seen(folder, own, data="lag", missed=0.001):
    settings = Settings.model_validate({"kind": "data_attribution", **ASKED, "data": data})
    of = window(settings, folder, {"looking": own})
    first = pushes()
    targets = first[first["measure"] == "share_of_targets"]
    sums = of.sums()
    more = group_rows(sums, "trapezoid", targets, data == "sample")
    rows = pd.concat([sums, of.labelled(more, step=508)])
    tables = {
        **attribution_tables(of, rows, of.intervals()),
        "first_order": Table(of.labelled(first), "one measure"),
        "removal": Table(removal_rows(of, removal(missed)), "one share", {"share": "share"}),
    }
    facts = {"asked": "looking"}
    return viewed("data_attribution", tables, folder, {**ASKED, "data": data}, facts)


def test_groups_memories_and_what_is_no_data_sum_to_the_growth(tmp_path):
    report = seen(tmp_path, by_group(4.0, -1.0, 2.0))
    numbers = {number["name"]: number["value"] for number in report["numbers"]}
    groups = {name: numbers[f"looking (L1H2): {name.replace('_', ' ')}"] for name in TARGETS}
    assert groups == pytest.approx({"lag 1": 4, "lag 2": -1, "other_tokens": 2})
    parts = [value for name, value in numbers.items() if name.startswith("looking (L1H2), all")]
    assert sum(parts) == pytest.approx(numbers["growth of looking (L1H2)"]) == 5.301
    most = outcome(report, "most for its number of targets")
    assert most.about["data_group"] == "lag 1"
    assert "data: sample" in most.control
    assert not report["marks"]


def test_groups_that_undo_each_other_are_marked(tmp_path):
    report = seen(tmp_path, by_group(100.0, -99.0, 2.0))
    assert outcome(report, "left of the groups' sizes").verdict == "opposite"
    assert len(report["marks"]) == 1


def test_random_buckets_say_how_far_chance_puts_them_apart(tmp_path):
    assert "chance" not in {f["name"] for f in seen(tmp_path / "a", by_group(4, 3, 2))["findings"]}
    report = seen(tmp_path / "b", by_group(4.0, 3.0, 2.0), data="sample")
    numbers = {number["name"]: number["value"] for number in report["numbers"]}
    assert numbers["looking (L1H2): how far random buckets lie apart"] == pytest.approx(2.0)


def test_a_removal_that_was_not_foreseen_is_marked(tmp_path):
    report = seen(tmp_path, by_group(4.0, 3.0, 2.0), missed=0.4)
    assert outcome(report, "removal", redone="in full").verdict == "shown"
    assert len(report["marks"]) == 2

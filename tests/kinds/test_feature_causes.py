"""Which component built each feature: sums that must close, what is told and what is marked."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from viewing import changed, outcome, viewed

from circuit.artifacts import write_rows
from circuit.attribution.tables import OUTPUTS
from circuit.config.terms import COMPARATORS, COMPONENTS
from circuit.errors import AnalysisError
from circuit.kinds.feature_causes.measure import every_feature, measure
from circuit.kinds.feature_causes.settings import Settings
from circuit.measuring import Job

DRIVE = {
    "scalar": "feature_drive",
    "dictionary": "features",
    "features": "every",
    "role": "prediction",
}
ASKED = {
    "window": [500, 600],
    "heads": "head_scan",
    "scalars": {"born": DRIVE},
}
GREW = {
    "born 3": (1.0, 3.0, -0.5, 0.001),
    "born 0": (2.0, 1.0, -0.2, 0.0),
    "born 1": (-0.5, -2.0, 0.1, 0.0),
    "born 2": (0.01, 0.02, 0.0, 0.0),
}
"""Feature → what the four components give over the window; the first two are told."""


def given(folder, left=0.001, lost=0.0, plain_step=0.3):
    """Files of two jobs; ``left`` is the first feature's residual, ``lost`` what no row has."""
    around = 1 + 0.2 * np.linspace(-1, 1, 12)
    paths = {name: [] for name in ("sums", "event_parts", "summed_groups")}
    for number, (start, stop) in enumerate(((500, 550), (550, 600))):
        span = {"step": start, "stop": stop}
        sums, events, groups = [], [], []
        for place, (scalar, sizes) in enumerate(GREW.items()):
            rest = left if place == 0 else 0.0
            growth = sum(sizes) + rest + (lost if place == 0 else 0.0)
            parts = dict(zip(COMPONENTS, sizes, strict=True))
            parts |= dict.fromkeys(COMPARATORS, plain_step) | {"residual": rest, "growth": growth}
            for component, size in parts.items():
                row = {"scalar": scalar, "component": component, "path_rule": "midpoint"}
                sums.append({**row, "attribution": size / 2, "sizes": abs(size) / 2, **span})
                if place > 1 or component == "residual":
                    continue
                plain = component in COMPARATORS  # on other events than the update's
                for event, factor in enumerate(around[::-1] if plain else around):
                    value = {"event": event, "attribution": factor * size / 2}
                    events.append({"scalar": scalar, "component": component, **value, **span})
                if component in COMPONENTS:
                    for group, share in (("L1H0.q", 0.75), ("embedding", 0.25)):
                        of = {"group": group, "grouping": "module", "data_group": ""}
                        named = {"scalar": scalar, "component": component, **of}
                        groups.append({**named, "attribution": share * size / 2})
        frames = {"sums": sums, "event_parts": events, "summed_groups": groups}
        for output in OUTPUTS:
            if output.name in frames:
                frame = pd.DataFrame(frames[output.name]).assign(analysis="it")
                path = folder / f"{output.name}{number}.parquet"
                ordered = frame[["analysis", *output.columns]]
                write_rows(path, ordered, output.units, output.description)
                paths[output.name].append(str(path))
    return paths


def measured(folder, **changes):
    folder.mkdir(exist_ok=True)
    settings = Settings.model_validate({"kind": "feature_causes", **ASKED})
    return measure(Job(settings, given(folder, **changes), SimpleNamespace(analysis="it")))


def seen(folder, **changes):
    """The report; of other numbers than those of the fixture no figure is drawn again."""
    found = measured(folder, **changes)
    tables = found.tables
    if changes:
        frame = changed(tables["rows"].frame, {"scalar": "born 3"})
        tables = {**tables, "rows": replace(tables["rows"], frame=frame)}
    return viewed("feature_causes", tables, folder, ASKED, found.facts)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return seen(tmp_path_factory.mktemp("it"))


def test_the_largest_component_is_told_beside_plain_gradient_steps(report):
    grew = outcome(report, "growth", scalar="born 3")
    assert (grew.verdict, grew.about["asked"]) == ("shown", "first")
    for scalar, component in (("born 3", "momentum"), ("born 0", "current_gradient")):
        most = outcome(report, "largest component", scalar=scalar)
        assert (most.verdict, most.about["component"]) == ("shown", component)
        assert most.control == "clipped sgd"
    assert "momentum gave more to it" in report["answer"]
    assert "Of 4 features, born 3 grew most" in report["answer"]
    numbers = {number["name"]: number for number in report["numbers"]}
    most = numbers["born 3, momentum"]
    assert most["value"] == pytest.approx(3)
    assert most["low"] < 3 < most["high"]
    assert not report["marks"]


def test_a_component_that_does_no_more_than_plain_steps_is_open(tmp_path):
    report = seen(tmp_path, plain_step=2.9)
    assert outcome(report, "largest component", scalar="born 3").verdict == "open"


def test_all_features_are_counted_by_the_component_that_gave_most(report):
    numbers = {number["name"]: number["value"] for number in report["numbers"]}
    led = "features of which {} gave most towards their change"
    assert numbers[led.format("momentum")] == 0.75  # one of the three changed downwards
    assert numbers[led.format("current gradient")] == 0.25


def test_rows_of_every_feature_sum_to_its_growth(tmp_path):
    every = measured(tmp_path).tables["features"].frame
    own = every[every["against"] == ""].set_index(["scalar", "measure"])["mean"].sort_index()
    for scalar, sizes in GREW.items():
        rest = 0.001 if scalar == "born 3" else 0.0
        assert own[scalar, "contribution"].sum() == pytest.approx(sum(sizes) + rest)
        assert own[scalar, "growth"].sum() == pytest.approx(sum(sizes) + rest)


def test_parts_that_do_not_sum_to_the_growth_are_refused(tmp_path):
    with pytest.raises(AnalysisError, match="where: growth of features"):
        measured(tmp_path, lost=0.1)


def test_a_residual_above_the_bound_is_marked(tmp_path):
    [mark] = seen(tmp_path, left=0.5)["marks"]
    assert mark.startswith("born 3: the closure residual is")


def test_features_that_never_moved_have_no_residual(tmp_path):
    paths = given(tmp_path)
    sums = pd.concat(pd.read_parquet(path) for path in paths["sums"])
    still = sums.assign(attribution=0.0, sizes=0.0).drop(columns="analysis")
    found = every_feature(still, 600)
    assert (found.loc[found["measure"] == "residual_of_movement", "mean"] == 0).all()

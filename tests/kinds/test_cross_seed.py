"""What is told of a finding over seeds: where it repeats, where it does not, what is marked."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from attributed import window
from viewing import changed, outcome, viewed

from circuit.artifacts import write_json, write_rows
from circuit.config.terms import COMPONENTS
from circuit.errors import AnalysisError
from circuit.estimates import CONFIRMATION, EXCESS, Whole, estimates
from circuit.kinds.cross_seed.measure import measure
from circuit.kinds.update_attribution.settings import Settings as Attribution
from circuit.measures.replication.seeds import SeedResult, compare_seeds
from circuit.measuring import Table


def study(growths, births):
    """Rows of runs whose winner, runner-up and bottom head grow as given."""
    results = []
    for seed, (grown, birth) in enumerate(zip(growths, births, strict=True)):
        mean = np.array([*grown, grown[0] - grown[2], grown[1] - grown[2]])
        scan = pd.DataFrame({"mean": mean, "low": mean - 0.5, "high": mean + 0.5, "step": 900})
        scan["head"] = ["L1H0", "L1H1", "L0H0", "L1H0", "L1H1"]
        scan["chosen"] = ["winner", "runner_up", "bottom", "winner", "runner_up"]
        scan["against"] = ["", "", "", EXCESS, EXCESS]
        scan = scan.assign(half=CONFIRMATION, measure="growth", count=48)
        parts = dict(zip((*COMPONENTS, "residual"), (2.0, 6.0, -0.4, 0.0, 0.4), strict=True))
        whole = Whole(8.0, pd.Series(parts), "growth")
        results.append(
            SeedResult(f"run{seed}", seed, estimates(scan, "score", "events"), whole, birth)
        )
    return compare_seeds(results, 0)


def seen(rows, folder):
    settings = {"sweep": "a", "scan": "b", "attribution": "c", "scalar": "qk_separation"}
    facts = {"winners": ["L1H0", "L1H0", "L1H0"]}
    return viewed("cross_seed", {"rows": Table(rows, "one number")}, folder, settings, facts)


@pytest.fixture(scope="module")
def rows():
    return study([(8, 3, 0.1), (9, 2, 0.0), (7, 4, -0.1)], [600, 700, 800])


def test_growth_over_all_seeds_is_shown_beyond_the_bottom_heads(rows, tmp_path):
    report = seen(rows, tmp_path)
    grown = outcome(report, "mean growth", chosen="winner")
    assert (grown.verdict, grown.control) == ("shown", "bottom")
    assert outcome(report, "mean birth of the behaviour").verdict == "shown"
    assert len(report["marks"]) == 1
    assert "3 seeds" in report["marks"][0]


def test_growth_that_its_interval_leaves_open_is_open(rows, tmp_path):
    paired = {"measure": "growth", "run": "mean", "chosen": "winner", "against": EXCESS}
    report = seen(changed(rows, paired, low=-1.0), tmp_path)
    assert outcome(report, "mean growth", chosen="winner").verdict == "open"


def test_an_unborn_run_and_a_leading_runner_up_are_marked(tmp_path):
    report = seen(study([(8, 3, 0.1), (1, 2, 0.0), (7, 4, -0.1)], [600, 700, None]), tmp_path)
    assert sum("run2" in mark for mark in report["marks"]) == 1
    assert sum("run1" in mark for mark in report["marks"]) == 1


def test_where_no_run_is_born_that_is_said(tmp_path):
    report = seen(study([(8, 3, 0.1), (9, 2, 0.0)], [None, None]), tmp_path)
    assert outcome(report, "mean birth of the behaviour").verdict == "open"
    assert sum("never born" in mark for mark in report["marks"]) == 2


UPDATES = {"current_gradient": 6.0, "momentum": -4.0, "residual": 0.5}
PARTS = {
    "no term": UPDATES,
    "a switch of the rival": {**UPDATES, "branch_switch": -2.0},
    "all terms": {**UPDATES, "branch_switch": -2.0, "basis_motion": 1.0, "rank_cut_jump": 0.25},
    "a chord": {"checkpoint_difference": 3.0, "branch_switch": -1.0, "residual": 0.1},
    "a part of tomorrow": {**UPDATES, "weather": 7.0},
}


def measured_shares(folder, parts, lost=()):
    """The shares that ``cross_seed`` finds in files of an attribution with these parts."""
    asked = {"window": [500, 508], "heads": "s", "scalars": {"it": {"scalar": "answer_margin"}}}
    settings = Attribution.model_validate({"kind": "update_attribution", **asked})
    given = {(name, ""): size for name, size in parts.items()}
    rows = window(settings, folder, {"it": given}).sums()
    scan = pd.DataFrame({"chosen": ["winner", "runner_up", "bottom"], "mean": [3.0, 1.0, 0.0]})
    scan = estimates(
        scan.assign(head="L1H0", half=CONFIRMATION, measure="growth", step=508), "score"
    )
    sweep = estimates(pd.DataFrame({"mean": [500.0]}), "step", measure="birth", step=508)
    tables = {"scan": scan, "attribution": rows[~rows["component"].isin(lost)], "sweep": sweep}
    paths = {}
    for name, frame in tables.items():
        table = Table(frame, "one number")
        paths[name] = [folder / f"{name}.parquet"]
        write_rows(paths[name][0], table.frame, table.every_unit, table.what)
    paths["manifests"] = [folder / "manifest.json"]
    write_json(paths["manifests"][0], {"seed": 7})
    facts = SimpleNamespace(runs=("seed7",))
    job = SimpleNamespace(given=paths, settings=SimpleNamespace(scalar="it", seed=0), facts=facts)
    found = measure(job).tables["rows"].frame
    shares = found[(found["measure"] == "share") & (found["run"] == "seed7")]
    return shares.set_index("component")["mean"].to_dict()


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_shares_are_of_the_growth_whatever_its_parts(parts, tmp_path):
    shares = measured_shares(tmp_path, parts)
    assert shares == pytest.approx({p: size / sum(parts.values()) for p, size in parts.items()})


def test_parts_that_miss_their_whole_are_refused(tmp_path):
    with pytest.raises(AnalysisError) as caught:
        measured_shares(tmp_path, PARTS["a switch of the rival"], lost=["branch_switch"])
    assert str(caught.value) == (
        "parts sum to 2.5, their whole is 0.5 — where: attributed growth of it — expected: all "
        "parts of one whole, and nothing besides — what to do: name every part where the rows are "
        "chosen; if they are, the table is not whole: delete it and let snakemake make it again"
    )

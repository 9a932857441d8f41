"""The quickstart study, really run: it learns the task and its attributions close.

Minutes long, so ``make test-slow`` runs it; where its results are already there and fresh,
Snakemake has nothing to do and only the numbers are read.
"""

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from page_reader import Reader, require_self_contained

from circuit.artifacts import read_json
from circuit.reports.text import numbers_as_text

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
STUDY = ROOT / "results" / "quickstart"
RUNS = ("formation_seed0007", "formation_seed0011", "formation_seed0013")


@pytest.fixture(scope="module", autouse=True)
def finished():
    command = [sys.executable, "-m", "snakemake", "quickstart", "--cores", "2"]
    subprocess.run(command, cwd=ROOT, check=True)


def overall(run: str, split: str) -> pd.Series:
    rows = pd.read_parquet(STUDY / run / "behaviour" / "rows.parquet")
    chosen = (rows["slice"] == "all") & (rows["measure"] == "accuracy") & (rows["split"] == split)
    chosen &= rows["against"] == ""
    return rows[chosen].set_index("step")["mean"].sort_index()


@pytest.mark.parametrize("run", RUNS)
def test_training_learns_what_the_untrained_model_cannot(run):
    accuracy = overall(run, "validation_iid")
    assert accuracy.iloc[0] <= 0.05
    assert accuracy.iloc[-1] >= 0.95


@pytest.mark.parametrize("run", RUNS)
def test_what_is_learnt_is_no_positional_shortcut(run):
    # The second last written value is never right on structural_ood.
    assert overall(run, "structural_ood").iloc[-1] >= 0.5


@pytest.mark.parametrize("run", RUNS)
def test_the_head_that_was_chosen_is_confirmed_on_the_other_half(run):
    assert read_json(STUDY / run / "head_scan" / "heads.json")["confirmed"]


def test_attributions_close_over_the_formation_window():
    rows = pd.read_parquet(STUDY / RUNS[0] / "write_attribution" / "rows.parquet")
    left = rows[(rows["path_rule"] == "trapezoid") & (rows["component"] == "residual")]
    residual = left[left["measure"] == "contribution"].set_index("scalar")["mean"].abs()
    of = {name: part.set_index("scalar")["mean"] for name, part in rows.groupby("measure")}
    assert len(residual) == 3
    assert (of["growth"] > 1).all()
    assert (residual <= 0.01 * of["movement"]).all()


def test_components_and_residual_sum_to_the_growth_at_every_step():
    rows = pd.read_parquet(STUDY / RUNS[0] / "write_attribution" / "intervals.parquet")
    place = ["step", "scalar"]
    growth = rows[rows["measure"] == "growth"].set_index(place)["mean"]
    summands = rows[(rows["measure"] == "contribution") & (rows["component"] != "whole")]
    sums = summands.groupby(["path_rule", *place])["mean"].sum()
    assert len(growth) == 3 * 500
    for rule in ("trapezoid", "left"):
        assert (sums[rule] - growth).abs().max() < 1e-12


def test_every_replayed_checkpoint_is_reached_bit_for_bit():
    files = list(STUDY.glob("*/replay/*/verification.parquet"))
    assert {file.parents[2].name for file in files} == set(RUNS)
    tables = [pd.read_parquet(file) for file in files]
    assert all(len(table) and table["exact"].all() for table in tables)


def test_checkpoints_take_an_eightieth_of_a_dump_of_every_step():
    files = list((STUDY / RUNS[0] / "train" / "checkpoints").glob("*.safetensors"))
    one = max(file.stat().st_size for file in files)
    manifest = read_json(STUDY / RUNS[0] / "train" / "manifest.json")
    dump = manifest["recipe"]["steps"] * one
    assert sum(file.stat().st_size for file in files) <= dump / 80


def test_the_page_can_be_taken_in_and_stands_alone():
    html = (STUDY / "report.html").read_text()
    require_self_contained(html)
    unfolded = " ".join(Reader(html).unfolded)  # the words of its figures among them
    assert 1_000 < len(unfolded.split()) <= 6_000
    assert len(html.encode()) <= 8_000_000
    top = html.partition("<header>")[2].partition("</header>")[0]
    assert top.count("<dt>") == 4
    assert top.count("<svg") >= 1


def test_key_numbers_and_findings_are_cells_of_their_reports():
    html = unescape((STUDY / "report.html").read_text())
    reports = [read_json(file) for file in STUDY.glob("**/report.json")]
    cells = {c for one in reports for row in numbers_as_text(one["numbers"]).rows for c in row}
    top = html.partition("<dl")[2].partition("</dl>")[0]
    table = html.partition('class="found"')[2].partition("</table>")[0]
    keys = re.findall(r"<dd><b>(.*?)</b> <span>95% interval (.*?), n = .*?</span>", top)
    lines = re.findall(r'<td class="number">(.*?)</td>\n?<td class="number">(.*?)</td>', table)
    assert len(keys) == 4
    assert len(lines) > 20
    assert {cell for pair in (*keys, *lines) for cell in pair} <= cells | {""}


def test_nothing_is_left_to_do():
    command = [sys.executable, "-m", "snakemake", "quickstart", "-n"]
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "Nothing to be done" in result.stdout + result.stderr

"""What a dictionary's report says, of a 'run' in which the previous-token head begins to write."""

from types import SimpleNamespace

import numpy as np
import pytest
from viewing import changed, outcome, viewed

from circuit.kinds.dictionary.measure import landmarks
from circuit.kinds.dictionary.settings import Settings
from circuit.measures.features.dictionary import dictionary_of_run
from circuit.measures.features.families import FEATURE_UNITS
from circuit.measuring import Job, Table

SETTINGS = {
    "stage": "layer_0_post_attn",
    "size": 96,
    "steps": 250,
    "learning_rate": 1e-2,
    "seeds": 4,
    "programs": 160,
}
EXPLAINED = {"measure": "explained_variance", "against": ""}


@pytest.fixture(scope="module")
def found(planted, planted_benchmark):
    """Without the previous-token head's write at the first two checkpoints."""
    last = planted.flat.float()
    before, head = last.clone(), int(planted.previous_token_head[3])
    planted.decoder.layout.views(before)["layer_0.attn.W_O"][head] = 0
    return dictionary_of_run(
        planted.decoder,
        {0: before, 600: before, 1200: last}.__getitem__,
        (0, 600, 1200),
        planted_benchmark.splits["train"],
        planted_benchmark.vocabulary,
        Settings(kind="dictionary", **SETTINGS),
    )


def seen(rows, found, folder):
    tables = {
        "rows": Table(landmarks(rows), "one number"),
        "features": Table(found.features, "one feature", FEATURE_UNITS),
    }
    return viewed("dictionary", tables, folder, SETTINGS)


def test_what_the_planted_head_writes_is_told_and_what_it_does_not_is_not(found, tmp_path):
    report = seen(found.rows, found, tmp_path)
    written = outcome(report, "what a family tells", family="query_key@support_value")
    assert (written.verdict, written.control) == ("shown", "shuffled labels")
    unwritten = outcome(report, "what a family tells", family="answer@prediction")
    assert unwritten.verdict != "shown"
    rose = outcome(report, "how active a family becomes", family="query_key@support_value")
    assert rose.verdict == "shown"
    assert outcome(report, "explains states").verdict == "shown"
    assert outcome(report, "keeps the answer").verdict != "opposite"
    assert outcome(report, "found again with another seed").verdict == "shown"
    assert not report["marks"]
    families = "what a family tells that the token names"
    assert outcome(report, families, family="query_key@prediction").verdict == "shown"


def test_landmarks_are_where_the_score_rises_and_r2_stays(found):
    rows = landmarks(found.rows)
    when = rows[rows["unit"] == "step"].set_index(["family", "measure"])["mean"]
    assert when["query_key@support_value", "rise_begins"] == 600
    assert when["query_key@support_value", "rise_ends"] == 1200
    assert when["", "explains_half"] == 0
    late = changed(
        found.rows, {"measure": "explained_variance", "against": "", "step": 600}, mean=0.3
    )
    again = landmarks(late)
    assert again.loc[again["measure"] == "explains_half", "mean"].item() == 1200


@pytest.mark.parametrize(("gain", "verdict"), [(-0.05, "opposite"), (0.0, "open")])
def test_a_dictionary_no_better_than_principal_components_is_said_to_be(
    found, tmp_path, gain, verdict
):
    rows = found.rows
    for control in ("principal components", "frozen decoder"):
        paired = {"measure": "explained_variance", "against": f"excess over {control}"}
        rows = changed(rows, paired, mean=gain, low=gain - 0.01, high=gain + 0.01)
    assert outcome(seen(rows, found, tmp_path), "explains states").verdict == verdict


def test_a_dictionary_that_explains_little_is_marked(found, tmp_path):
    rows = changed(
        found.rows, {"measure": "explained_variance", "against": "", "step": 1200}, mean=0.3
    )
    assert np.isnan(landmarks(rows).query("measure == 'explains_half'")["mean"].item())
    report = seen(rows, found, tmp_path)
    assert outcome(report, "explains half").verdict == "open"
    assert len(report["marks"]) == 1


def test_unfinished_fits_of_other_code_are_thrown_away(tmp_path):
    def unfinished(*code):
        facts = SimpleNamespace(code=code, output={"measured": str(tmp_path / "measured.json")})
        return Job(None, {}, facts).unfinished()

    kept = unfinished("one")
    (kept / "fit_0.safetensors").touch()
    assert unfinished("one") == kept
    assert (kept / "fit_0.safetensors").exists()
    assert [unfinished("another")] == [*tmp_path.iterdir()]


def test_where_an_ablation_costs_nothing_there_is_nothing_to_recover(found, tmp_path):
    """As in an untrained model: nothing is said of it, and the report and all figures are there."""
    rows = found.rows.copy()
    rows.loc[rows["measure"].str.contains("_recovered"), ["mean", "low", "high"]] = np.nan
    told = {one["name"] for one in seen(rows, found, tmp_path)["findings"]}
    assert "explains states" in told
    assert "keeps the answer" not in told

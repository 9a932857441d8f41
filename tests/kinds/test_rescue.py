"""Where the answer comes back after a removal: on the planted path, and nowhere in a twin."""

import pytest
import torch
from viewing import changed, outcome, viewed

from circuit.estimates import EXCESS
from circuit.experiments.donors import OTHERS
from circuit.measures.paths import rescue as made
from circuit.measures.paths.rescue import Asked, Source, rescue
from circuit.measuring import Table

SOURCES = {"previous": ["L0H1"], "looking": ["L1H2.pattern"]}
STATE, WRITE = "state that brings back most", "later write that brings back most"
MISS = "miss of the whole stage"
INPUT = "input of a later head that brings back most"


@pytest.fixture(scope="module")
def rows(planted, untrained, planted_events):
    """The untrained twin at step 0, the planted circuit at step 1."""
    events = planted_events.select(torch.arange(0, 171, 6)).crop()
    flats, sources = (untrained.flat, planted.flat), {n: Source(s) for n, s in SOURCES.items()}
    return rescue(
        planted.decoder, flats.__getitem__, [0, 1], events, planted.vocabulary.value_ids,
        sources, ["mean"], Asked(("prediction", "support_value")),
    )  # fmt: skip


def seen(rows, folder):
    settings = {"sources": SOURCES, "ablations": ["mean"]}
    return viewed("rescue", {"rows": Table(rows, "one")}, folder, settings)


@pytest.fixture(scope="module")
def report(rows, tmp_path_factory):
    return seen(rows, tmp_path_factory.mktemp("planted"))


def number(rows, against="", **keys):
    """The one row of these keys, of the planted circuit."""
    wanted = {"measure": "rescue_share", "step": 1, "source": "previous", "against": against}
    for key, value in {**wanted, **keys}.items():
        rows = rows[rows[key] == value]
    [row] = rows.to_dict("records")
    return row


def test_what_the_planted_path_carries_comes_back_on_it(rows, planted):
    """The previous token's key: at the value, through the matching head's key."""
    assert number(rows, repair="whole")["mean"] == 1
    state = {"repair": "state", "what": "layer_0_post_attn"}
    assert number(rows, **state, role="support_value")["mean"] > 0.5
    assert number(rows, **state, role="prediction")["mean"] < 0.01
    head, path = planted.matching_head, {"role": made.EVERYWHERE}
    for key in ({"repair": "write", "what": head}, {"repair": "input", "what": f"{head}.k"}):
        assert number(rows, **key, **path)["mean"] > 0.99
        for control in (OTHERS, made.ANOTHER):
            assert number(rows, f"{EXCESS} over {control}", **key, **path)["low"] > 0
    for part in "qv":
        assert abs(number(rows, repair="input", what=f"{head}.{part}", **path)["mean"]) < 0.05
    averaged = rows[(rows["repair"] == made.AVERAGED) & (rows["against"] == "")]
    averaged = averaged[(averaged["measure"] == "rescue_share") & (averaged["step"] == 1)]
    averaged = averaged[averaged["source"] == "previous"].set_index("what")["mean"]
    assert averaged.idxmax() == head
    assert averaged.sum() == pytest.approx(1, abs=1e-3)
    assert rows.loc[rows["measure"] == "miss", "mean"].max() < 1e-9


def test_the_view_names_the_planted_path(report, planted):
    for name, what in ((WRITE, planted.matching_head), (INPUT, f"{planted.matching_head}.k")):
        told = outcome(report, name, source="previous")
        assert (told.verdict, told.about["what"]) == ("shown", what)
    told = outcome(report, STATE, source="previous")
    assert (told.verdict, told.about["role"]) == ("shown", "support_value")
    # Behind the planted head nothing is left to come back by but the answer itself.
    assert outcome(report, WRITE, source="looking").verdict == "open"
    assert report["marks"] == []


def test_an_untrained_twin_shows_nothing_beyond_its_controls(rows, tmp_path):
    twin = rows[rows["step"] == 0]
    paired = twin[twin["against"].str.startswith(EXCESS) & (twin["by_construction"] == "")]
    assert len(paired) > 100
    paired = paired.assign(beyond=(paired["low"] > 0) | (paired["high"] < 0))
    assert not paired.groupby([*made.KEYS, "measure"])["beyond"].all().any()
    told = [one for one in seen(twin, tmp_path)["findings"] if one["name"] != MISS]
    assert len(told) >= 2
    assert {one["verdict"] for one in told} == {"open"}


def test_a_share_of_nothing_is_not_reported(rows):
    shares = rows[(rows["measure"] == "rescue_share")]
    whole = rows[(rows["repair"] == "whole") & (rows["against"] == "")]
    for (step, source), one in whole[whole["measure"] == "rescue"].groupby(["step", "source"]):
        held = (one["low"] <= 0).all() and (one["high"] >= 0).all()
        told = shares[(shares["step"] == step) & (shares["source"] == source)]
        assert len(told)
        assert told["mean"].isna().eq(held).all()


def test_a_whole_stage_that_misses_the_clean_answer_is_marked(rows, tmp_path):
    [mark] = seen(changed(rows, {"measure": "miss", "step": 1}, mean=0.1), tmp_path)["marks"]
    assert mark.startswith("A clean stage put back as a whole misses")

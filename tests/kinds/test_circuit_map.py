"""The circuit as nodes and edges: the planted one is found, and none in an untrained model."""

import re
from itertools import pairwise

import pytest
import torch
from planted import untrained_twin
from viewing import changed, outcome, viewed

from circuit.estimates import EXCESS
from circuit.experiments.donors import OTHERS
from circuit.measures.paths.circuit_map import circuit_map, circuit_record
from circuit.measures.paths.mediation import RANDOM, mediation
from circuit.measuring import Table
from circuit.model.nodes import owner
from circuit.reports.bespoke.circuit_map import layout, spread
from circuit.reports.quantities import format_value

PARTS = ["part", "source", "target"]


@pytest.fixture(scope="module")
def mapped(planted, planted_events):
    """A function from states, as checkpoints 0, 1, … of a run, to the kind's rows."""
    events = planted_events.select(torch.arange(0, 171, 8)).crop()
    ids = planted.vocabulary.value_ids
    return lambda *states: circuit_map(
        mediation(
            planted.decoder, states.__getitem__, range(len(states)), events, ids, "mean", seed=0
        )
    )


@pytest.fixture(scope="module")
def formed(mapped, untrained, planted):
    return mapped(untrained.flat, planted.flat)


def seen(rows, folder, **to):
    circuit = circuit_record(rows)
    last = circuit["checkpoints"][-1]
    facts = {"node": len(last["nodes"]), "edge": len(last["edges"])}
    table = {"rows": Table(rows, "one number")}
    return viewed(
        "circuit_map", table, folder, {"paths": "paths"}, facts, records={"circuit": circuit}, **to
    )


@pytest.fixture(scope="module")
def drawn(formed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("formed")
    return seen(formed, folder, draw=True), folder


def beyond(rows, step):
    """Names of what is beyond its control, edges as pairs."""
    at = next(one for one in circuit_record(rows)["checkpoints"] if one["step"] == step)
    nodes = {one["source"] for one in at["nodes"] if one["verdict"] != "open"}
    edges = {(e["source"], e["target"]) for e in at["edges"] if e["verdict"] != "open"}
    return nodes, edges


def test_the_planted_circuit_is_found(formed, planted, drawn):
    nodes, edges = beyond(formed, 1)
    head = planted.matching_head
    earlier = {planted.previous_token_head, planted.op_head}
    assert {"embedding", "answer", head, planted.previous_token_head} <= nodes
    assert {("embedding", f"{head}.q"), ("embedding", f"{head}.v"), (head, "answer")} <= edges
    assert edges & {(one, f"{head}.k") for one in earlier}
    report, _ = drawn
    largest = outcome(report, "largest edge")
    assert largest.verdict == "shown"
    assert owner(largest.about["target"]) in {head, *earlier}
    node = outcome(report, "head or MLP that the answer rests on most")
    assert node.verdict == "shown"
    assert node.about["source"] in (head, planted.previous_token_head, planted.op_head)
    first = outcome(report, "first edge to stay")
    assert first.verdict == "shown"
    assert owner(first.about["target"]) in {head, *earlier}


def test_nothing_is_shown_of_untrained_models(mapped, untrained, planted, drawn, tmp_path):
    assert outcome(drawn[0], "edges beyond their controls at the run's start").verdict == "open"
    rows = mapped(untrained.flat, untrained_twin(planted, 1).flat)
    assert beyond(rows, 0) == beyond(rows, 1) == (set(), set())
    report = seen(rows, tmp_path, draw=True)
    assert "no circuit to draw" in report["answer"]
    assert outcome(report, "first edge to stay").verdict == "open"
    assert not re.search("#2166ac|#b2182b", (tmp_path / "circuit_over_training.svg").read_text())


def test_numbers_are_those_of_the_paths_and_counts_those_of_the_verdicts(formed):
    effects = formed[formed["measure"] == "effect"].set_index([*PARTS, "step", "against"])
    for at in circuit_record(formed)["checkpoints"]:
        for part, name in (("node", "nodes"), ("edge", "edges")):
            for one in at[name]:
                place = (part, one["source"], one["target"], at["step"])
                own = effects.loc[(*place, "")]
                assert list(one["effect"].values()) == list(own[["mean", "low", "high"]])
                assert set(one["controls"]) == {OTHERS} | (
                    {RANDOM} if one["source"] != "answer" else set()
                )
                for control, number in one["controls"].items():
                    excess = effects.loc[(*place, f"{EXCESS} over {control}"), "mean"]
                    assert one["excesses"][control]["mean"] == excess
                    assert excess == pytest.approx(own["mean"] - number["mean"])
            count = sum(one["verdict"] != "open" for one in at[name])
            told = formed.query(
                "measure == 'beyond_controls' and part == @part and step == @at_step",
                local_dict={"part": part, "at_step": at["step"]},
            )
            assert told["mean"].item() == count


def test_every_number_in_the_picture_is_its_cell(formed, drawn):
    text = (drawn[1] / "circuit.svg").read_text()
    written = re.findall(r">(?:[qkv] )?([+−][\d.,]+)</text>", text)
    at = formed[(formed["measure"] == "effect") & (formed["step"] == 1) & (formed["against"] == "")]
    shown = {
        format_value(row.mean, "logit", row.low, row.high).removesuffix(" logit")
        for row in at[["mean", "low", "high"]].itertuples(index=False)
    }
    nodes = at[at["part"] == "node"]
    assert set(written) <= shown
    assert len(written) > len(nodes)
    for name in nodes["source"]:
        assert f">{name}</text>" in text


def test_the_same_rows_give_the_same_bytes(formed, drawn, tmp_path):
    seen(formed, tmp_path, draw=True)
    for name in ("circuit.svg", "circuit_over_training.svg"):
        assert (tmp_path / name).read_bytes() == (drawn[1] / name).read_bytes()


def test_an_edge_that_lowers_the_answer_is_told_as_such(formed, planted, tmp_path):
    head = {"part": "edge", "source": planted.matching_head, "target": "answer", "step": 1}
    where = {**head, "measure": "effect"}
    lower = changed(formed, {**where, "against": ""}, mean=-99.0, low=-99.5, high=-98.5)
    for control in (OTHERS, RANDOM):
        beside = {**where, "against": f"{EXCESS} over {control}"}
        lower = changed(lower, beside, mean=-99.0, low=-99.5, high=-98.5)
    assert outcome(seen(lower, tmp_path), "largest edge").verdict == "opposite"


def test_edges_at_the_start_are_marked(formed, tmp_path):
    where = {"part": "edge", "measure": "beyond_controls", "step": 0}
    [mark] = seen(changed(formed, where, mean=3.0), tmp_path)["marks"]
    assert mark.startswith("3 edges")


def test_a_chosen_strip_holds_both_ends_and_columns_follow_the_model():
    steps = [{"step": step} for step in (0, 10, 30, *range(100, 1400, 100))]
    assert [at["step"] for at in spread(steps, 6)] == [0, 300, 500, 800, 1000, 1300]
    assert [at["step"] for at in spread(steps[:1], 6)] == [0]
    names = ["embedding", "L0H0", "L0H1", "L0MLP", "L1H0", "L1H1", "L1MLP", "answer"]
    places = layout(names)
    assert len(set(places.values())) == len(names)
    columns = [
        places[name][0] for name in ("embedding", "L0H1", "L0MLP", "L1H0", "L1MLP", "answer")
    ]
    assert all(left < right for left, right in pairwise(columns))

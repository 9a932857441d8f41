"""A hypothesis of a circuit: the planted one is accepted, mutilated ones are rejected."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from viewing import changed, outcome, viewed

from circuit.estimates import CONFIRMATION, SELECTION
from circuit.evidence import by_control, verdict
from circuit.experiments import hypothesis as made
from circuit.experiments.circuits import (
    Circuit,
    Subspace,
    other_edges,
    pruned,
    random_circuits,
    whole,
)
from circuit.kinds.hypothesis_test.settings import Settings
from circuit.measuring import Table
from circuit.model.nodes import owner

ASKED = Settings(kind="hypothesis_test")
VALUE = ("embedding", "L1H2.v")
STATED = Circuit(
    {
        **dict.fromkeys(("embedding", f"{head}.{i}") for head in ("L0H1", "L0H2") for i in "qkv"),
        **dict.fromkeys([("L0H1", "L1H2.k"), ("L0H2", "L1H2.k"), ("embedding", "L1H2.q")]),
        VALUE: Subspace("embedding_value_identity", 16),
        ("L1H2", "answer"): None,
    },
    {"L1H2": ("prediction",), "L0H1": ("support_value", "value_distractors", "prior_answers")},
)


def exchanged(old, new):
    """The circuit with another component, or another input, in the place of one."""
    edges = {
        tuple(name.replace(old, new) for name in edge): one for edge, one in STATED.edges.items()
    }
    return replace(STATED, edges=edges)


MUTILATED = {
    **{
        " ".join(edge): replace(STATED, edges={e: s for e, s in STATED.edges.items() if e != edge})
        for edge in (
            ("embedding", "L0H1.v"),
            ("L0H1", "L1H2.k"),
            ("L0H2", "L1H2.k"),
            ("embedding", "L1H2.q"),
            VALUE,
        )
    },
    "another previous-token head": exchanged("L0H1", "L0H0"),
    "another matching head": exchanged("L1H2", "L1H1"),
    "queries in the place of keys": exchanged("L1H2.k", "L1H2.q"),
    "the wrong identity": replace(
        STATED, edges={**STATED.edges, VALUE: Subspace("embedding_key_identity", 3)}
    ),
    "the wrong positions": replace(STATED, roles={**STATED.roles, "L0H1": ("prediction",)}),
}


@pytest.fixture(scope="module")
def bench(planted, untrained, planted_events):
    """A function to benches: of a half of some events, in the planted network or its twin."""

    def bench(half=CONFIRMATION, formed=True, damage="resample", scalars=None):
        events = planted_events.select(range(half == CONFIRMATION, 96, 4)).crop()
        circuit, ids = (planted if formed else untrained), planted.vocabulary.value_ids
        return made.Bench(circuit.decoder, circuit.flat, events, ids, damage, 0, scalars)

    return bench


@pytest.fixture(scope="module")
def shape(planted):
    return planted.decoder.settings


def tables_of(bench, shape, circuits, formed=(True,)):
    """The kind's tables; every circuit stands as a split."""
    rows, edges = [], []
    for step, there in enumerate(formed):
        here = bench(formed=there)
        for name, circuit in circuits.items():
            randoms = random_circuits(circuit, shape, 20, 0)
            others = other_edges(circuit, shape, 5, 0)
            found = made.tested(here, step, circuit, randoms, others)
            rows.append(found.assign(split=name, ablation="resample"))
        edges.append(made.needed_edges(here, step, next(iter(circuits.values()))))
    halves = {half: bench(half, formed[-1]) for half in (SELECTION, CONFIRMATION)}
    smaller = made.pruning(halves, len(formed) - 1, next(iter(circuits.values())))
    rows, edges = pd.concat(rows), pd.concat(edges)
    marks = made.landmarks(rows, edges, smaller, ASKED.criteria).assign(ablation="resample")
    rows = pd.concat([rows, marks], ignore_index=True).fillna({"split": "", "test": ""})
    return {
        "rows": Table(rows, "one test"),
        "edges": Table(edges, "one edge"),
        "pruned": Table(smaller, "one size", {"edges": "1"}),
    }


def seen(tables, folder):
    facts = {"edges": len(STATED.edges), "nodes": sorted(STATED.nodes)}
    return viewed("hypothesis_test", tables, folder, {"ablations": ["resample"]}, facts)


@pytest.fixture(scope="module")
def judged(bench, shape):
    """Tables of an untrained and a formed checkpoint: the planted circuit and one without a key."""
    circuits = {"stated": STATED, "without": MUTILATED["L0H1 L1H2.k"]}
    return tables_of(bench, shape, circuits, formed=(False, True))


def shares(rows):
    """Sufficiency, necessity and the whole, as estimates."""
    own = rows[(rows["measure"] == "answer_share") & (rows["against"] == "")]
    return {test: by_control(one)[""] for test, one in own.groupby("test")}


def test_the_planted_circuit_is_accepted_and_one_without_its_keys_is_rejected(judged, tmp_path):
    report = seen(judged, tmp_path)
    assert outcome(report, "accepted on {split}", split="stated").verdict == "shown"
    assert outcome(report, "accepted on {split}", split="without").verdict == "opposite"
    clauses = [one["clause"] for one in report["findings"] if one["clause"]]
    assert [clause.startswith("with all else damaged, ") for clause in clauses] == [True, True]
    assert [clause.endswith("of the answer") for clause in clauses] == [True, False]
    assert outcome(report, "accepted from then on", split="every split").verdict == "open"
    assert outcome(report, "accepted from then on", split="stated").verdict == "shown"
    rows = judged["rows"].frame
    when = rows[rows["measure"] == "accepted"].set_index("split")["mean"]
    assert when["stated"] == 1
    assert when[["without", "every split"]].isna().all()


def test_it_keeps_all_of_the_answer_and_takes_away_all_of_it(judged):
    rows = judged["rows"].frame
    rows = rows[(rows["split"] == "stated") & (rows["step"] == 1)]
    found = shares(rows)
    assert found["sufficiency"].mean >= 0.99
    assert found["necessity"].mean >= 0.99
    elsewhere = rows[(rows["measure"] == "answer_share") & (rows["against"] == made.OTHERS)]
    assert elsewhere["high"].item() < 0.05


@pytest.mark.parametrize("name", MUTILATED)
def test_a_mutilated_circuit_is_rejected(bench, name):
    found = shares(made.tested(bench(), 0, MUTILATED[name], [], []))
    assert verdict(found["sufficiency"], bound=ASKED.sufficient) == "opposite"


def test_an_edge_that_carries_all_that_the_head_reads_is_enough_and_one_direction_is_not(bench):
    found = {}
    for rank in (16, 1):
        carried = {**STATED.edges, VALUE: Subspace("head_input", rank)}
        rows = made.tested(bench(), 0, replace(STATED, edges=carried), [], [])
        found[rank] = shares(rows)["sufficiency"]
    assert found[16].mean >= 0.99
    assert found[1].high < 0.5


def test_of_an_untrained_model_nothing_is_accepted(bench, shape, tmp_path):
    tables = tables_of(bench, shape, {"stated": STATED}, formed=(False,))
    rows = changed(tables["rows"].frame, {})  # as they are, but drawn by another test
    report = seen({**tables, "rows": Table(rows, "one test")}, tmp_path)
    verdicts = {one["name"]: one["verdict"] for one in report["findings"]}
    assert verdicts["accepted from then on"] == "open"
    assert verdicts.get("accepted on {split}", "open") != "shown"
    assert verdicts["edges that it needs"] == "open"


def test_edges_that_are_needed_are_told_from_one_that_is_not(bench, shape):
    idle = replace(
        STATED, edges={**STATED.edges, ("embedding", "L0H3.v"): None, ("L0H3", "answer"): None}
    )
    rows = made.needed_edges(bench(), 0, idle)
    rows = rows[(rows["measure"] == "answer") & (rows["against"] == "excess")].set_index(
        ["source", "target"]
    )
    core = [VALUE, ("L0H1", "L1H2.k"), ("L1H2", "answer")]
    assert (rows.loc[core, "low"] > 0).all()
    assert abs(rows.loc[("L0H3", "answer"), "mean"]) < 0.01


@pytest.mark.parametrize("damage", ["resample", "mean"])
@pytest.mark.parametrize("formed", [True, False])
def test_keeping_all_or_damaging_nothing_is_clean_and_the_other_way_round(
    bench, shape, damage, formed
):
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-9)
    here, every, none = bench(damage=damage, formed=formed), whole(shape), Circuit({})
    for values in (here.kept(every), here.without(none)):
        close(values["answer"], here.clean["answer"])
    close(here.without(every)["answer"], here.damaged["answer"])
    # At all positions is without roles; what is kept at none is damaged.
    names = {owner(receiver) for _, receiver in every.edges} | {"embedding"}
    anywhere = replace(every, roles=dict.fromkeys(names, ("causal_prefix",)))
    close(here.kept(anywhere)["answer"], here.clean["answer"])
    close(here.without(anywhere)["answer"], here.damaged["answer"])


def test_without_one_edge_is_the_circuit_less_the_edge(bench):
    here = bench()
    for edge, values in here.kept_less(STATED).items():
        less = here.kept(STATED.less([edge]))
        np.testing.assert_allclose(values["answer"], less["answer"], rtol=0, atol=1e-9)


def kinds(circuit):
    """How many edges feed each kind of input, and how many nodes there are in each layer."""
    inputs = sorted(r[-1] if "." in r else r[-3:] for _, r in circuit.edges)
    return inputs, sorted(node[:3] for node in circuit.nodes), len(circuit.live)


def test_random_circuits_are_like_the_circuit_and_all_alive(shape):
    every = set(whole(shape).edges)
    found = random_circuits(STATED, shape, 50, 0)
    assert all(kinds(one) == kinds(STATED) for one in found)
    assert all(set(one.edges) <= every for one in found)
    assert len({frozenset(one.edges) for one in found}) > 40
    assert {tuple(one.roles.values()) for one in found} == {tuple(STATED.roles.values())}
    again = random_circuits(STATED, shape, 50, 0)
    assert [one.edges for one in again] == [one.edges for one in found]


def test_other_edges_are_none_of_the_circuit(shape):
    for one in other_edges(STATED, shape, 10, 0):
        assert len(one.edges) == len(STATED.edges)
        assert not set(one.edges) & set(STATED.edges)


def test_pruning_leaves_what_is_worth_most():
    worth = {("embedding", "L0MLP"): 3.0, ("L0MLP", "answer"): 3.0, ("embedding", "answer"): 1.0}
    found = pruned(Circuit(dict.fromkeys(worth)), lambda one: {e: -worth[e] for e in one.edges})
    # Without one half of a way, the other half is on none.
    assert [len(one.edges) for one in found] == [3, 2, 0]


def test_what_is_found_is_the_largest_of_at_most_the_size_and_never_nothing(bench, monkeypatch):
    sizes = [Circuit(dict(list(STATED.edges.items())[:count])) for count in (9, 4, 0)]
    monkeypatch.setattr(made, "pruned", lambda circuit, without: sizes)
    assert [len(made.found_circuit(bench(), size).edges) for size in (12, 8, 1)] == [9, 4, 4]


@pytest.mark.slow
def test_the_planted_circuit_is_found(bench):
    found = made.found_circuit(
        bench(SELECTION, scalars={made.OUTCOME: made.SCALARS[made.OUTCOME]}), 12
    )
    core = {
        ("L0H1", "L1H2.k"),
        ("L0H2", "L1H2.k"),
        ("L1H2", "answer"),
        ("embedding", "L0H1.v"),
        VALUE,
    }
    assert core <= set(found.edges)
    assert shares(made.tested(bench(), 0, found, [], []))["sufficiency"].mean >= 0.99

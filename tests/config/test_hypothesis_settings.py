"""Circuits that no model could have, or that are none, are refused at once."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from circuit.config.plan import Plan
from circuit.config.study import load_settings
from circuit.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
AT = "studies.quickstart.analyses.test"
NODES = {"L0MLP": ["support_value"], "L1H2": ["prediction"]}
CHAIN = ["embedding -> L0MLP", "L0MLP -> L1H2.v", "L1H2 -> answer"]
VALUE = {"edge": "L0MLP -> L1H2.v", "subspace": "embedding_value_identity", "rank": 16}


@pytest.fixture(scope="module")
def configuration() -> dict[str, Any]:
    """The project's, with the quickstart alone."""
    data = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text(encoding="utf-8"))
    study = data["studies"]["quickstart"]
    kept = {name: one for name, one in study["analyses"].items() if name == "head_scan"}
    return {**data, "studies": {"quickstart": {**study, "analyses": kept}}}


def planned(configuration: dict[str, Any], **settings: Any) -> Plan:
    data = copy.deepcopy(configuration)
    asked = {"kind": "hypothesis_test", **settings}
    data["studies"]["quickstart"]["analyses"]["test"] = asked
    return Plan(load_settings(data))


def circuit(*edges: Any, nodes: dict[str, list[str]] = NODES) -> dict[str, Any]:
    return {"circuit": {"nodes": nodes, "edges": list(edges)}}


def test_a_circuit_is_stated_or_found(configuration: dict[str, Any]) -> None:
    planned(configuration, circuit="found", size=12)
    planned(configuration, **circuit(CHAIN[0], VALUE, CHAIN[2]))
    chain = [edge.replace("L1H2", "winner") for edge in CHAIN]
    nodes = {"L0MLP": ["support_value"], "winner": ["prediction"]}
    planned(configuration, heads="head_scan", **circuit(*chain, nodes=nodes))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            circuit(*CHAIN, "embedding -> L1H3.q"),
            f"node 'L1H3' does not exist — where: configuration: {AT}.circuit.edges: embedding -> "
            "L1H3.q — expected: one of L0MLP, L1H2, answer — what to do: did you mean 'L1H2'?",
        ),
        (
            circuit(
                *CHAIN, "L0MLP -> L1H9", "L1H9 -> answer", nodes={**NODES, "L1H9": ["prediction"]}
            ),
            "edge L0MLP → L1H9.q: nothing that reads is called 'L1H9.q' in run "
            f"'formation_seed0007' — where: {AT}.circuit.edges — expected: answer, an input such "
            "as L1H0.q, .k or .v, L0MLP to L1MLP",
        ),
        (
            circuit(*CHAIN, "L1H2 -> L0MLP"),
            "edge L1H2 → L0MLP goes backwards: L0MLP reads before L1H2 has written in run "
            f"'formation_seed0007' — where: {AT}.circuit.edges — expected: a receiver that the "
            "model meets after the sender — what to do: turn it round, or leave it out",
        ),
        (
            circuit(CHAIN[0], {**VALUE, "rank": 32}, CHAIN[2]),
            "embedding_value_identity of run 'formation_seed0007' has no 32 directions — where: "
            f"{AT}.circuit.edges.rank — expected: 1 to 31 — what to do: lower the rank",
        ),
        (
            circuit(CHAIN[0], {**VALUE, "subspace": "head_input", "rank": 17}, CHAIN[2]),
            "head_input of run 'formation_seed0007' has no 17 directions",
        ),
        (
            circuit({**VALUE, "edge": CHAIN[0], "subspace": "head_input"}, *CHAIN[1:]),
            "edge 'embedding -> L0MLP' ends at no head, so there is no head_input; name another "
            "subspace",
        ),
        (
            circuit(CHAIN[0], {"edge": CHAIN[1], "rank": 2}, CHAIN[2]),
            "edge 'L0MLP -> L1H2.v' has a subspace without a rank, or a rank without a subspace; "
            "give both, or neither for all of the write",
        ),
        (
            {"splits": ["validation_ood"]},
            "Input should be 'train', 'validation_iid', 'test_iid', 'heldout_pairs'",
        ),
        (
            circuit(),
            f"edges is empty — where: configuration: {AT}.circuit.edges — expected: at least one",
        ),
        (
            circuit(*CHAIN, nodes={**NODES, "L1H2": []}),
            f"L1H2 is empty — where: configuration: {AT}.circuit.nodes.L1H2 — expected: at least",
        ),
        (
            circuit(*CHAIN, nodes={**NODES, "L0H1": ["prediction"]}),
            "L0H1 is on no way from the embedding to the answer — where: configuration: "
            f"{AT}.circuit — expected: edges that lead from the embedding through every node to "
            "the answer — what to do: add the edges that are missing, or take this away",
        ),
        (circuit(*CHAIN[:2]), "embedding -> L0MLP is on no way from the embedding to the answer"),
        (
            circuit(*CHAIN, "L0MLP -> L1H2"),
            f"edge L0MLP -> L1H2.v is stated twice — where: configuration: {AT}.circuit.edges: "
            "L0MLP -> L1H2 — expected: each edge once; L0MLP -> L1H2.v has it already",
        ),
        (
            circuit("embedding -> winner", "winner -> answer", nodes={"winner": ["prediction"]}),
            "head 'winner' is one that a scan chooses, and none is named — where: configuration: "
            f"{AT}.circuit.nodes — expected: heads: the name of an analysis of kind head_scan",
        ),
        (
            circuit("embedding to L0MLP"),
            "edge 'embedding to L0MLP' is not of the form SENDER -> RECEIVER, such as "
            "L0MLP -> L1H2.k",
        ),
    ],
)
def test_what_is_no_circuit_is_refused(
    configuration: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(configuration, **settings)
    assert message in str(caught.value)

"""Edits that no run or benchmark could have are refused at once."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from circuit.config.plan import Plan
from circuit.config.study import load_settings
from circuit.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
AT = "studies.quickstart.analyses.edits"
VALUES = {"subspace": "embedding_value_identity", "ranks": [4]}


def planned(**settings: Any) -> Plan:
    """The project's configuration with one intervention."""
    data = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text(encoding="utf-8"))
    study = copy.deepcopy(data["studies"]["quickstart"])
    study["analyses"]["edits"] = {"kind": "intervention", **settings}
    return Plan(load_settings({**data, "studies": {"quickstart": study}}))


def test_by_default_nothing_needs_to_be_said() -> None:
    planned()
    every = ["stages", "heads.z", "heads.pattern", "mlp_writes", "scales", "neurons.some"]
    planned(sites=[*every, "L1H3.v"], neurons={"some": ["L0N3"]}, subspaces={"values": VALUES})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"subspaces": {"values": {**VALUES, "ranks": [4, 32]}}},
            "embedding_value_identity of run 'formation_seed0007' has no 32 directions — where: "
            f"{AT}.subspaces.values.ranks — expected: 1 to 31 — what to do: lower the rank",
        ),
        (
            {"subspaces": {"keys": {"subspace": "embedding_key_identity", "ranks": [4]}}},
            "embedding_key_identity of run 'formation_seed0007' has no 4 directions — where: "
            f"{AT}.subspaces.keys.ranks — expected: 1 to 3 — what to do: lower the rank",
        ),
        (
            {"subspaces": {"read": {"subspace": "head_qk_key", "ranks": [17], "head": "L1H2"}}},
            "head_qk_key of run 'formation_seed0007' has no 17 directions — where: "
            f"{AT}.subspaces.read.ranks — expected: 1 to 16 — what to do: lower the rank",
        ),
        (
            {"subspaces": {"read": {"subspace": "head_qk_key", "ranks": [4]}}},
            "head_qk_key needs a head, and none is given — where: configuration: "
            f"{AT}.subspaces.read — expected: a head with a head's subspace, and with no other — "
            "what to do: add head",
        ),
        (
            {"subspaces": {"values": {**VALUES, "head": "L1H2"}}},
            "embedding_value_identity takes no head — where: configuration: "
            f"{AT}.subspaces.values — expected: a head with a head's subspace, and with no other — "
            "what to do: leave head out",
        ),
        (
            {"subspaces": {"r": {"subspace": "head_qk_key", "ranks": [4], "head": "winner"}}},
            "head 'winner' is one that a scan chooses, and none is named — where: configuration: "
            f"{AT}.subspaces.r.head — expected: heads: the name of an analysis of kind head_scan — "
            "what to do: add heads, or name a head such as L1H3",
        ),
        (
            {"sites": ["layer_1_scores"]},
            "site 'layer_1_scores' is edited as a pattern in run 'formation_seed0007' — where: "
            f"{AT}.sites — expected: a pattern: a query's scores do nothing but give its row of "
            "the pattern — what to do: name layer_1_pattern",
        ),
        (
            {"sites": ["neurons.most"], "neurons": {"some": ["L0N3"]}},
            "there is no 'neurons.most' to edit in run 'formation_seed0007' — where: "
            f"{AT}.sites — expected: one of heads.q, heads.k, heads.v, heads.z, heads.pattern, "
            "neurons.some — what to do: correct the name, or add the set",
        ),
        ({"sites": ["heads.o"]}, "there is no 'heads.o' to edit in run 'formation_seed0007'"),
        ({"neurons": {"some": ["L0N256"]}}, "neuron 'L0N256' does not exist"),
        ({"sites": ["layer_9_z"]}, "unknown site 'layer_9_z' in run 'formation_seed0007'"),
        (
            {"sites": ["scales"], "replace": ["zero"]},
            "zero in place of scales, which a LayerNorm divides by — where: configuration: "
            f"{AT}.replace — expected: mean or resample where sites are scales — what to do: "
            "leave zero out, or ask for scales in an analysis of their own",
        ),
        (
            {"stages": ["layer_0_neurons"]},
            "site 'layer_0_neurons' does not hold residual states in run 'formation_seed0007' — "
            f"where: {AT}.stages — expected: a stage, or what a layer reads or writes, such as "
            "layer_0_attn_input — what to do: choose another stage",
        ),
        ({"sites": ["L2H0.v"]}, "head 'L2H0' does not exist"),
        ({"outcome": "accuracy"}, "outcome 'accuracy' does not exist"),
        ({"drawn": ["support_key"]}, "role 'support_key' does not exist"),
        ({"pairs": ["stale_value"]}, "Input should be 'support_value', 'query_key', 'recency'"),
        ({"checkpoints": [150]}, "run 'formation_seed0007' has no checkpoint at step 150"),
    ],
)
def test_what_does_not_exist_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(**settings)
    assert message in str(caught.value)


def test_heads_that_a_scan_chose_may_be_named() -> None:
    read = {"subspace": "head_qk_key", "ranks": [4], "head": "winner"}
    planned(heads="head_scan", subspaces={"read": read})

"""Candidates that no neuron can drive, and names that outcomes have, are refused at once."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from circuit.config.plan import Plan
from circuit.config.study import load_settings
from circuit.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
AT = "studies.quickstart.analyses.coalitions"
LOOKING = {"scalar": "qk_separation", "head": "L1H1"}
COPYING = {"scalar": "ov_value_margin", "head": "L1H1"}
LATER = (
    "expected: a head or a stage of a later layer, or layer_0_post_mlp: neurons write what it "
    "reads — what to do: name a later one"
)


def planned(candidates: dict[str, Any], **settings: Any) -> Plan:
    """The project's configuration with one coalition map."""
    data = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text(encoding="utf-8"))
    study = copy.deepcopy(data["studies"]["quickstart"])
    asked = {"kind": "coalitions", "runs": ["formation_seed0007"], "checkpoints": [0, "final"]}
    study["analyses"]["coalitions"] = {**asked, "candidates": candidates, **settings}
    return Plan(load_settings({**data, "studies": {"quickstart": study}}))


def test_two_candidates_and_two_checkpoints_are_enough() -> None:
    planned({"looking": LOOKING, "copying": COPYING})


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        (
            "copying",
            {**COPYING, "head": "L0H1"},
            f"no MLP lies before head L0H1 — where: configuration: {AT}.candidates.copying.head — "
            + LATER,
        ),
        (
            "value",
            {
                "scalar": "subspace_projection",
                "stage": "layer_0_post_attn",
                "role": "prediction",
                "subspace": "embedding_value_identity",
                "rank": 4,
            },
            "no MLP lies before stage layer_0_post_attn — where: configuration: "
            f"{AT}.candidates.value.stage — {LATER}",
        ),
        (
            "active",
            {
                "scalar": "feature_score",
                "dictionary": "features",
                "features": [0],
                "role": "prediction",
            },
            "no MLP lies before dictionary layer_0_post_attn — where: configuration: "
            f"{AT}.candidates.active.dictionary — {LATER}",
        ),
        (
            "write",
            {
                "scalar": "rescue",
                "head": "L0H0",
                "stage": "layer_0_post_mlp",
                "role": "prediction",
            },
            "rescue is no candidate: it runs MLPs a second time, with another state — where: "
            f"configuration: {AT}.candidates.write.scalar — expected: a scalar that is read off "
            "one pass — what to do: name another scalar, such as feature_score or qk_separation",
        ),
        (
            "answer_margin",
            COPYING,
            "a candidate cannot be called 'answer_margin' — where: configuration: "
            f"{AT}.candidates.answer_margin — expected: another name: the answer's margin is "
            "measured beside all candidates — what to do: rename it",
        ),
        (
            "copying",
            {**COPYING, "head": "winner"},
            "head 'winner' is one that a scan chooses, and none is named — where: configuration: "
            f"{AT}.candidates.copying.head — expected: heads: the name of an analysis of kind "
            "head_scan — what to do: add heads, or name a head such as L1H3",
        ),
    ],
)
def test_candidates_that_cannot_be(name: str, other: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned({"looking": LOOKING, name: other})
    assert str(caught.value) == message


def test_one_candidate_or_one_checkpoint_is_none() -> None:
    for candidates, checkpoints, field in (
        ({"looking": LOOKING}, [0, "final"], "candidates"),
        ({"looking": LOOKING, "copying": COPYING}, ["final"], "checkpoints"),
    ):
        with pytest.raises(ConfigError) as caught:
            planned(candidates, checkpoints=checkpoints)
        assert f"{AT}.{field}" in str(caught.value)
        assert "at least 2 items" in str(caught.value)

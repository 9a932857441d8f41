"""Codes and maps that no run could have are refused at once."""

import copy
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from circuit.config.plan import Plan
from circuit.config.study import load_settings
from circuit.errors import ConfigError
from circuit.kinds.value_transfer.settings import Outcome
from circuit.measures.states.value_transfer import OUTCOMES
from circuit.measuring import Job

PROJECT = Path(__file__).resolve().parents[2]
AT = "studies.quickstart.analyses.it"
MAP = {"kind": "value_transfer", "source": "layer_0_post_mlp", "target": "layer_1_post_attn"}
CODE = {"kind": "value_code"}


def planned(**settings: Any) -> Plan:
    """The project's configuration with one analysis more."""
    data = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text(encoding="utf-8"))
    study = copy.deepcopy(data["studies"]["quickstart"])
    study["analyses"]["it"] = settings
    return Plan(load_settings({**data, "studies": {"quickstart": study}}))


def test_what_is_said_by_default_is_accepted() -> None:
    planned(**CODE)
    planned(**MAP)
    assert set(get_args(Outcome)) == set(OUTCOMES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {**CODE, "stages": ["layer_0_z"]},
            "'layer_0_z' is no stage of the stream that the model goes on from; name embedding, or "
            "one such as layer_0_post_attn or layer_0_post_mlp",
        ),
        (
            {**CODE, "stages": ["layer_2_post_mlp"]},
            "unknown site 'layer_2_post_mlp' in run 'formation_seed0007' — where: "
            f"{AT}.stages — expected: a site such as 'embedding' or its TransformerLens name",
        ),
        (
            {**CODE, "ranks": [8, 40]},
            "value_code of run 'formation_seed0007' has no 40 directions — where: "
            f"{AT}.ranks — expected: 1 to 31 — what to do: lower the rank",
        ),
        (
            {**CODE, "ranks": [1, 4]},
            f"rank '8' does not exist — where: configuration: {AT}.rank — expected: one of 1, 4",
        ),
        (
            {**CODE, "removed_at": [100]},
            "checkpoint '100' does not exist — where: configuration: "
            f"{AT}.removed_at — expected: one of final",
        ),
        (
            {**MAP, "target": "layer_0_post_mlp"},
            "target 'layer_0_post_mlp' is not after source 'layer_0_post_mlp' — where: "
            f"configuration: {AT}.target — expected: a later stage than the source's — what to do: "
            "exchange them, or name a later target",
        ),
        (
            {**MAP, "rank": 32},
            "value_code of run 'formation_seed0007' has no 32 directions — where: "
            f"{AT}.rank — expected: 1 to 31 — what to do: lower the rank",
        ),
        (
            {**MAP, "outcomes": ["correct"]},
            f"outcome 'soft_margin' does not exist — where: configuration: {AT}.outcome — "
            "expected: one of correct",
        ),
        (
            {**MAP, "programs": 4000},
            "programs 4000 is more than the 512 programs of validation_iid — where: "
            f"{AT}.programs — expected: at most 512",
        ),
    ],
)
def test_what_no_run_has_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        planned(**settings)
    assert message in str(error.value)


def test_a_source_of_rescue_may_be_a_head_that_a_scan_chose() -> None:
    sources = {"looking": ["winner.pattern"], "both": ["winner", "L0H1"]}
    plan = planned(kind="rescue", heads="head_scan", sources=sources, runs=["formation_seed0007"])
    job = Job(plan.analysis("quickstart", "it"), {}, None)
    job.__dict__["heads"] = {"winner": "L1H3"}
    assert [job.named(one) for one in sources["both"]] == ["L1H3", "L0H1"]
    assert job.named("winner.pattern") == "L1H3.pattern"

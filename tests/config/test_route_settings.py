"""Settings of competing routes and of subspaces that no run could follow are refused at once."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from circuit.config.plan import Plan
from circuit.config.study import load_settings
from circuit.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
AT = "studies.quickstart.analyses.routes.candidates.it"
INSIDE = {
    "scalar": "subspace_projection",
    "stage": "layer_1_post_mlp",
    "role": "prediction",
    "subspace": "embedding_value_identity",
    "rank": 31,
}


def planned(kind: str = "candidates", name: str = "it", **route: Any) -> Plan:
    """The project's configuration with one analysis that has one route."""
    data = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    study = copy.deepcopy(data["studies"]["quickstart"])
    analysis: dict[str, Any] = {"kind": kind, "window": [500, 1300]}
    analysis["candidates" if kind == "candidates" else "routes"] = {name: route}
    if kind == "closure":
        analysis |= {"outcomes": {"logit": {"scalar": "correct_value_logit"}}}
        analysis |= {"heads": "head_scan"}
    study["analyses"]["routes"] = analysis
    return Plan(load_settings({**data, "studies": {"quickstart": study}}))


def refusal(**route: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(**route)
    return str(caught.value)


@pytest.mark.parametrize("head", ["every", "L1H3"])
def test_a_route_has_a_head_or_stands_for_all(head: str) -> None:
    planned(scalar="qk_separation", head=head, rank=16)


@pytest.mark.parametrize("head", ["winner", "runner_up", "bottom"])
def test_a_route_is_of_no_selected_head(head: str) -> None:
    assert refusal(scalar="qk_separation", head=head) == (
        f"a route's head cannot be {head!r}: no analysis has selected heads for it — where: "
        f"{AT}.head — expected: 'every', for one route per head, or a name such as L1H3 — what to "
        "do: write head: every"
    )


def test_every_head_is_no_head_elsewhere() -> None:
    planned("closure", scalar="qk_separation", head="winner")
    assert refusal(kind="closure", scalar="qk_separation", head="every").startswith(
        "head 'every' does not exist in run 'formation_seed0007' — "
    )


def test_no_route_of_a_closure_is_an_outcome() -> None:
    assert refusal(kind="closure", scalar="soft_margin") == (
        "route 'it' is an outcome: it would explain itself — where: configuration: "
        "studies.quickstart.analyses.routes.routes.it — expected: a scalar of a part of the "
        "model, not answer_margin, correct_value_logit, negative_answer_loss, soft_margin, under "
        "a name that no outcome has — what to do: take it out of the routes, or give it another "
        "name"
    )
    route = {"scalar": "qk_separation", "head": "winner"}
    with pytest.raises(ConfigError, match="route 'logit' is an outcome"):
        planned("closure", name="logit", **route)


def test_a_head_that_there_is_not_is_no_route() -> None:
    message = refusal(scalar="qk_separation", head="L5H0")
    assert message.startswith("head 'L5H0' does not exist in run 'formation_seed0007' — where: ")


def test_a_rank_is_bounded_by_a_heads_width_only_where_a_heads_maps_are_cut() -> None:
    planned(**INSIDE)
    of_head = {**INSIDE, "subspace": "head_qk_key", "head": "every"}
    planned(**{**of_head, "rank": 16})
    assert refusal(**{**of_head, "rank": 17}).startswith("rank 17 is too large for W_QK")


@pytest.mark.parametrize(
    "route",
    [
        {**INSIDE, "stage": "layer_2_post_mlp"},
        {**INSIDE, "subspace": "pca(layer_2_post_mlp, prediction)"},
    ],
)
def test_a_stage_that_a_run_does_not_have_is_refused(route: dict[str, Any]) -> None:
    message = refusal(**route)
    assert message.startswith(
        f"unknown site 'layer_2_post_mlp' in run 'formation_seed0007' — where: {AT}.stage — "
    )

"""Groupings in settings: their names and their lists are checked before anything runs."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from circuit.config.plan import Plan
from circuit.config.study import load_settings
from circuit.errors import ConfigError
from circuit.kinds.data_attribution.settings import Settings as DataAttribution
from circuit.kinds.update_attribution.settings import Settings as UpdateAttribution

PROJECT = Path(__file__).resolve().parents[2]
ATTRIBUTION: dict[str, Any] = {
    "kind": "update_attribution",
    "window": [500, 1300],
    "heads": "head_scan",
    "scalars": {"logit": {"scalar": "correct_value_logit"}},
}
CIRCUIT = {"look_up": ["L1H2.q", "winner.k"], "embeddings": ["embedding"]}


@pytest.mark.parametrize("field", ["groups", "summed_groups"])
@pytest.mark.parametrize(
    "name", ["circuit", "layer/head/head_projection", "circuit/neuron_part", "layer/circuit/token"]
)
def test_built_in_groupings_lists_and_nested_ones_are_taken(field: str, name: str) -> None:
    given = {**ATTRIBUTION, "groupings": {"circuit": CIRCUIT}, field: ["module", name]}
    assert getattr(UpdateAttribution.model_validate(given), field) == ("module", name)
    data = {**given, "kind": "data_attribution"}
    assert DataAttribution.model_validate(data).groupings["circuit"]["embeddings"] == ("embedding",)


REFUSED = {
    "an unknown grouping": ({"groups": ["heads"]}, "unknown grouping 'heads'; there are whole, "),
    "with its nearest": ({"groups": ["heads"]}, ", atom, circuit; did you mean 'head'?"),
    "a misspelt list": ({"groups": ["circiut"]}, "; did you mean 'circuit'?"),
    "an unknown part": (
        {"summed_groups": ["layer/heads/token"]},
        "unknown grouping 'heads' in 'layer/heads/token'; there are whole, ",
    ),
    "a missing part": ({"groups": ["layer/"]}, "unknown grouping '' in 'layer/'; there are whole"),
    "a name that is taken": (
        {"groupings": {"head": CIRCUIT}},
        "grouping 'head' is built in; give the list another name",
    ),
    "no groups": (
        {"groupings": {"circuit": {}}},
        "groupings.circuit\n  Dictionary should have at least 1 item",
    ),
    "a group that is the rest": (
        {"groupings": {"circuit": {"rest": ["L0H0"]}}},
        "grouping 'circuit' has a group 'rest', but that is what no other group holds; give it "
        "another name",
    ),
    "an empty group": (
        {"groupings": {"circuit": {**CIRCUIT, "copy": []}}},
        "groupings.circuit.copy\n  Value should have at least 1 item",
    ),
    "a group that is no name": (
        {"groupings": {"circuit": {"a/b": ["L0H0"]}}},
        "name 'a/b' becomes a folder",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_groupings_without_a_meaning_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="1 validation error") as caught:
        UpdateAttribution.model_validate(
            {**ATTRIBUTION, "groupings": {"circuit": CIRCUIT}, **changes}
        )
    assert message in str(caught.value)


def planned(**groups: list[str]) -> Plan:
    """The project's quickstart with one attribution whose grouping has these groups."""
    data = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    study = copy.deepcopy(data["studies"]["quickstart"])
    study["analyses"]["it"] = {
        **ATTRIBUTION,
        "groups": ["circuit"],
        "groupings": {"circuit": groups},
    }
    return Plan(load_settings({**data, "studies": {"quickstart": study}}))


def refusal(**groups: list[str]) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(**groups)
    return str(caught.value)


def test_lists_of_what_the_runs_have_are_taken() -> None:
    """Whether roles overlap with other groups is not known before heads are selected."""
    planned(look_up=["L1H2.q", "winner"], copy=["L0N255.out", "runner_up.o"], last=["token_45"])


def test_a_list_of_what_a_run_does_not_have_is_refused() -> None:
    assert refusal(look_up=["L1H2.q", "L1H7.k"]) == (
        "no parameter group is called 'L1H7.k' in run 'formation_seed0007' — where: "
        "studies.quickstart.analyses.it.groupings.circuit — expected: a group of any grouping, "
        "such as layer_0, L0H0, L0H0.q or embedding, or winner, runner_up, bottom in place of a "
        "head — what to do: did you mean 'L1H3.k'?"
    )
    assert "what to do: did you mean 'winner.q'?" in refusal(look_up=["winer.q"])


def test_groups_that_share_parameters_are_refused_where_that_can_be_known() -> None:
    assert refusal(heads=["L1H2"], asks=["winner.k", "L1H2.q"]).startswith(
        "groups 'heads' and 'asks' share parameters: those that 'L1H2' and 'L1H2.q' both select in "
        "run 'formation_seed0007' — where: studies.quickstart.analyses.it.groupings.circuit — "
    )

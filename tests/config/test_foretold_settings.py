"""Births that features cannot be said to foretell, and gradients that nobody has, are refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from circuit.config.study import WorkflowSettings, load_settings
from circuit.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
AT = "studies.quickstart.analyses"


def loaded(**changes: dict[str, Any]) -> WorkflowSettings:
    """The project's configuration with some settings of the quickstart's analyses changed."""
    data = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    study = copy.deepcopy(data["studies"]["quickstart"])
    for name, settings in changes.items():
        study["analyses"][name] |= settings
    return load_settings({**data, "studies": {"quickstart": study}})


def test_births_of_the_routes_that_have_features_are_taken() -> None:
    loaded()
    loaded(
        early={"route": {"scalar": "qk_separation", "head": "every", "rank": 4}},
        foretold={"measure": "qk_separation_rank"},
    )


def test_births_of_another_scalar_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(foretold={"measure": "support_attention"})
    assert str(caught.value) == (
        "features are those of qk_separation, births would be those of support_attention — where: "
        f"configuration: {AT}.foretold.measure — expected: the route of 'early', which the scan "
        "follows too — what to do: let measure and early.route mean the same scalar"
    )


def test_features_on_the_events_that_tell_births_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(early={"split": "validation_iid"}, head_scan={"split": "validation_iid"})
    assert str(caught.value) == (
        "features and births are both measured on the probe events of validation_iid, so they "
        f"share their chance — where: configuration: {AT}.foretold.features — expected: features "
        "on events that do not say when routes are born — what to do: give early another split "
        "than head_scan"
    )


@pytest.mark.parametrize("name", ["head_projection", "layer/head"])
def test_gradients_may_be_restricted_to_groups_of_any_grouping(name: str) -> None:
    loaded(example_gradients={"grouping": name})


def test_gradients_of_no_grouping_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown grouping 'heads'.*did you mean 'head'"):
        loaded(example_gradients={"grouping": "heads"})

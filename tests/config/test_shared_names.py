"""Names that settings repeat from elsewhere, so that nothing heavy is imported, stay the same."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from circuit.config.consistency import _RULES
from circuit.config.recipe import ModelSettings
from circuit.config.registry import KINDS
from circuit.config.scalar import ScalarName, ScalarSettings
from circuit.config.study import load_settings
from circuit.config.terms import GROUPINGS, SCALAR_UNITS
from circuit.errors import ConfigError
from circuit.kinds.update_attribution.settings import Settings
from circuit.model.layout import Layout

PROJECT = Path(__file__).resolve().parents[2]
ATTRIBUTION: dict[str, Any] = {
    "kind": "update_attribution",
    "window": [0, 10],
    "heads": "scan",
    "scalars": {"logit": {"scalar": "correct_value_logit"}},
}


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_every_grouping_that_settings_accept_is_one_the_layout_makes(grouping: str) -> None:
    shape = ModelSettings(n_layers=2, n_heads=2, d_model=8, d_ff=4, context=8)
    groups = Layout(shape, 12).groups(grouping)
    assert len(groups) == len(Layout(shape, 12).atoms)
    assert (groups.nunique() == 1) == (grouping == "whole")


def test_every_scalar_has_a_unit_and_every_unit_a_scalar() -> None:
    assert list(SCALAR_UNITS) == list(get_args(ScalarName))


@pytest.mark.parametrize("name", get_args(ScalarName))
def test_a_scalars_unit_is_the_tables_but_of_probabilities(name: str) -> None:
    """What the scalars themselves say is compared in tests/scalars."""
    assert ScalarSettings(scalar=name).unit == SCALAR_UNITS[name]
    other = ScalarSettings(scalar=name, measure="probabilities").unit
    probability = name == "attention_separation"
    assert other == ("probability" if probability else SCALAR_UNITS[name])


@pytest.mark.parametrize("field", ["groups", "summed_groups"])
def test_a_grouping_that_there_is_not_is_refused_before_anything_runs(field: str) -> None:
    for name in GROUPINGS:
        Settings.model_validate({**ATTRIBUTION, field: [name]})
    with pytest.raises(ValueError, match="unknown grouping 'heads'; there are whole, layer, "):
        Settings.model_validate({**ATTRIBUTION, field: ["module", "heads"]})


def named(study: str) -> dict[str, Any]:
    """The project's configuration with its quickstart study called otherwise."""
    data = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    return {**data, "studies": {study: data["studies"]["quickstart"]}}


@pytest.mark.parametrize("name", ["benchmark", "replay", "report", *KINDS])
def test_a_study_cannot_be_called_like_a_rule(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(named(name))
    assert str(caught.value) == (
        f"a study cannot be called {name!r} — where: configuration: studies.{name} — expected: a "
        "name that no rule has, since `snakemake NAME` asks for the study — what to do: rename it"
    )


def test_a_study_may_be_called_anything_else() -> None:
    assert list(load_settings(named("reports")).studies) == ["reports"]


def test_the_rules_are_those_of_the_workflow() -> None:
    found = [
        name
        for path in (PROJECT / "rules").glob("*.smk")
        for name in re.findall(
            r"^(?:rule|checkpoint|use rule \w+ as) (\w+)(?: with)?:", path.read_text(), re.MULTILINE
        )
    ]
    assert sorted(found) == sorted(_RULES)

"""Names that settings repeat from elsewhere, so that nothing heavy is imported, stay the same."""

import re
from pathlib import Path
from typing import Any

import pytest

from circuit.config.checks import _RULES, check_references
from circuit.config.recipe import ModelSettings
from circuit.config.registry import KINDS
from circuit.config.scalar import SCALAR_UNITS, ScalarSettings
from circuit.config.study import load_settings
from circuit.config.terms import GROUPINGS
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


@pytest.mark.parametrize("name", SCALAR_UNITS)
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


def test_a_study_cannot_be_called_like_a_rule() -> None:
    settings = load_settings(PROJECT / "workflow_config.yaml")

    def called(name: str) -> None:
        studies = {name: settings.studies["quickstart"]}
        check_references(settings.model_copy(update={"studies": studies}), "here")

    called("reports")
    for name in ("benchmark", "replay", "report", *KINDS):
        with pytest.raises(ConfigError) as caught:
            called(name)
        assert str(caught.value) == (
            f"a study cannot be called {name!r} — where: here: studies.{name} — expected: a name "
            "that no rule has, since `snakemake NAME` asks for the study — what to do: rename it"
        )


def test_the_rules_are_those_of_the_workflow() -> None:
    found = [
        name
        for path in (PROJECT / "rules").glob("*.smk")
        for name in re.findall(
            r"^(?:rule|checkpoint|use rule \w+ as) (\w+)(?: with)?:", path.read_text(), re.MULTILINE
        )
    ]
    assert sorted(found) == sorted(_RULES)

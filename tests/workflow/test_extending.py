"""What docs/extending.md shows works as shown: analyses in YAML, and a kind in one folder."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml
from tiny_study import PROJECT, TINY, Tree, changed

from circuit.artifacts import read_json
from circuit.config.plan import Plan
from circuit.config.study import load_settings

_DOC = (PROJECT / "docs" / "extending.md").read_text()
_FIRST = _DOC.partition("## 1. An analysis: YAML only")[2].partition("## 2.")[0]
SHOWN = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", _FIRST, re.DOTALL)]
CONFIG = PROJECT / "workflow_config.yaml"


def laid_over(base: dict, more: dict) -> dict:
    """One configuration laid over another, key by key, as --configfile does it."""
    both = dict(base)
    for key, value in more.items():
        deep = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = laid_over(both[key], value) if deep else value
    return both


@pytest.mark.parametrize(
    "shown", SHOWN, ids=lambda s: next(iter(s["studies"]["quickstart"]["analyses"]))
)
def test_every_shown_analysis_is_a_valid_one_of_the_project(shown: dict) -> None:
    plan = Plan(load_settings(laid_over(yaml.safe_load(CONFIG.read_text()), shown)))
    [name] = shown["studies"]["quickstart"]["analyses"]
    assert f"results/quickstart/formation_seed0007/{name}/report.md" in plan.targets("quickstart")


def test_the_first_one_as_the_command_line_shows_it(tmp_path: Path) -> None:
    tree = Tree.new(tmp_path / "tree")
    tree.path("workflow_config.yaml").write_bytes(CONFIG.read_bytes())
    tree.path("mine.yaml").write_text(yaml.safe_dump(SHOWN[0]))
    [name] = SHOWN[0]["studies"]["quickstart"]["analyses"]
    target = f"results/quickstart/formation_seed0007/{name}/report.md"
    assert f"snakemake {target} --configfile mine.yaml" in _FIRST
    jobs = tree.planned(target, "--configfile", "mine.yaml")
    assert jobs.pop("path_logits") == jobs.pop("view_path_logits") == 1
    assert set(jobs) == {"benchmark", "train_quickstart_formation_seed0007"}


def test_one_analysis_more_adds_its_job_and_the_page(copied: Tree) -> None:
    [shown] = SHOWN[0]["studies"]["quickstart"]["analyses"].values()
    mine = {**shown, "runs": ["seed7"], "second_order": [20, "final"]}
    copied.configure(changed(TINY, {"studies.quickstart.analyses.mine": mine}))
    assert copied.planned("quickstart") == {"path_logits": 1, "view_path_logits": 1, "report": 1}
    copied.run("quickstart")
    report = read_json(copied.path("results/quickstart/seed7/mine/report.json"))
    assert report["settings"]["split"] == "heldout_pairs"
    assert "mine" in copied.path("results/quickstart/report.html").read_text()
    assert copied.planned("quickstart") == {}


_KIND = _DOC.partition("## 4. A kind of analysis")[2].partition("## 5.")[0]


def block(language: str, start: str) -> str:
    """The code block of the section on kinds that begins like this, its indentation taken off."""
    for found in re.findall(rf"^( *)```{language}\n(.*?)^ *```", _KIND, re.DOTALL | re.MULTILINE):
        text = textwrap.dedent(found[1])
        if text.startswith(start):
            return text
    raise AssertionError(f"no {language} block that starts with {start!r}")


def test_a_kind_is_one_folder_and_one_rule_block(copied: Tree) -> None:
    """As shown: the kind's files, its rule and its YAML, and no other line anywhere."""
    folder = copied.path("src/circuit/kinds/parameter_norms")
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "settings.py").write_text(block("python", '"""Settings of'))
    (folder / "measure.py").write_text(block("python", '"""Norm of'))
    (folder / "view.py").write_text(block("python", '"""Which parameters'))
    rules = copied.path("rules/weights.smk")
    rules.write_text(f"{rules.read_text()}\n\n{block('snakemake', 'use rule')}")
    shown = yaml.safe_load(block("yaml", "studies:"))["studies"]["quickstart"]["analyses"]["norms"]
    analysis = {"studies.quickstart.analyses.norms": {**shown, "runs": ["seed7"]}}
    copied.configure(changed(TINY, analysis))
    expected = {"parameter_norms": 1, "view_parameter_norms": 1, "report": 1}
    assert copied.planned("quickstart") == expected
    copied.run("quickstart")
    report = read_json(copied.path("results/quickstart/seed7/norms/report.json"))
    [finding] = report["findings"]
    assert finding["verdict"] == "shown"
    assert finding["control"] == "step 0"
    # Two layers of 4 heads, their biases, an MLP and 2 LayerNorms; embeddings; the final LayerNorm.
    assert finding["compared"] == 18
    assert "norms" in copied.path("results/quickstart/report.html").read_text()

"""What docs/extending.md shows as "YAML only" is that: no line of code, and nothing else reruns."""

import re
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
    assert jobs.pop("path_logits") == 1
    assert set(jobs) == {"benchmark", "train_quickstart_formation_seed0007"}


def test_one_analysis_more_adds_its_job_and_the_page(copied: Tree) -> None:
    [shown] = SHOWN[0]["studies"]["quickstart"]["analyses"].values()
    mine = {**shown, "runs": ["seed7"], "second_order": [20, "final"]}
    copied.configure(changed(TINY, {"studies.quickstart.analyses.mine": mine}))
    assert copied.planned("quickstart") == {"path_logits": 1, "report": 1}
    copied.run("quickstart")
    report = read_json(copied.path("results/quickstart/seed7/mine/report.json"))
    assert report["settings"]["split"] == "heldout_pairs"
    assert "mine" in copied.path("results/quickstart/report.html").read_text()
    assert copied.planned("quickstart") == {}

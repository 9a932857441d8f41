"""The workflow as a module of another Snakefile: everything is found where the workflow lies."""

import subprocess
from pathlib import Path

from tiny_study import PROJECT, TINY, Tree

OUTER = """\
{before}
configfile: "config.yaml"


module circuit:
    snakefile:
        "workflows/circuit/Snakefile"
    config:
        config["circuit"]


use rule * from circuit as circuit_*


rule all:
    default_target: True
    input:
        "data/tiny_kv/audit.json",
"""


def outer(folder: Path, before: str = "") -> Tree:
    """A folder with a workflow that uses this one, which lies in a folder of it."""
    inner = Tree.new(folder / "workflows" / "circuit", {})
    inner.path("workflow_config.yaml").unlink()  # only what the outer one gives counts
    tree = Tree(folder)
    tree.configure({"circuit": TINY})
    tree.path("workflow_config.yaml").rename(tree.path("config.yaml"))
    tree.path("Snakefile").write_text(OUTER.format(before=before))
    return tree


def test_scripts_and_library_are_those_of_the_module(tmp_path: Path) -> None:
    tree = outer(tmp_path)
    module = tree.path("workflows/circuit/src/circuit/task/benchmark.py")
    module.write_text(f"{module.read_text()}\nimport sys\nprint(__file__, file=sys.stderr)\n")
    assert str(module) in tree.run()
    assert tree.path("data/tiny_kv/audit.md").is_file()
    assert not tree.path("workflows/circuit/data").exists()
    assert tree.planned() == {}
    study = tree.planned("results/quickstart/report.html")
    assert study["circuit_train_quickstart_seed7"] == study["circuit_report"] == 1
    assert all(rule.startswith("circuit_") for rule in study)


def test_another_copy_of_the_library_is_refused(tmp_path: Path) -> None:
    loading = f"import sys\nsys.path.insert(0, {str(PROJECT / 'src')!r})\nimport circuit\n"
    done: subprocess.CompletedProcess[str] = outer(tmp_path, loading).call("-n")
    assert done.returncode != 0
    assert (
        "error: another copy of the library was loaded before"
        f" — where: {PROJECT}/src/circuit/__init__.py"
        f" — expected: the one beside this Snakefile, in {tmp_path}/workflows/circuit/src"
        " — what to do: have one checkout in a workflow, and import none of it before"
    ) in done.stdout
    assert "Traceback" not in done.stdout

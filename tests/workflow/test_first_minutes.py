"""What a call shows while it runs, and the unfinished page that it leaves where it fails."""

import re
import subprocess

from tiny_study import Tree

STUDY = "results/quickstart"
LOG = "logs/report/quickstart.unfinished.log"


def quick(tree: Tree, *arguments: str) -> str:
    """Call snakemake with the tree's own plugin, which makes pages without waiting."""
    code = tree.path("src/snakemake_logger_plugin_circuit/pages.py")
    code.write_text(re.sub(r"(?m)^EVERY = .*$", "EVERY = 0.0", code.read_text()))
    done = subprocess.run(
        tree.command("--cores", "1", *arguments),
        cwd=tree.folder,
        env={**tree.environment, "PYTHONPATH": str(tree.path("src"))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout


def test_what_is_done_stands_on_an_unfinished_page_until_the_whole_one_is_there(
    copied: Tree,
) -> None:
    page, unfinished = (copied.path(f"{STUDY}/{n}.html") for n in ("report", "unfinished"))
    of = len(list(copied.path(STUDY).rglob("report.json")))
    for name in ("births", "head_scan", "circuit", "weights"):
        copied.path(f"{STUDY}/seed7/{name}/report.json").unlink()
    page.unlink()
    broken = copied.path(f"{STUDY}/seed7/circuit/rows.parquet")
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-100])

    said = quick(copied, "quickstart", "--keep-going")
    assert "\n6 jobs to do; Snakemake's own log is .snakemake/log/" in said
    assert "Error in rule view_circuit_map:" in said
    assert said.count("error: ") == 2  # as it happens, and once more with the log
    assert re.search(r"\n3 of 6 jobs done, 1 failed, in [\w ]+\n$", said)
    assert "Finished jobid" not in said

    broken.write_bytes(whole)
    assert copied.path(LOG).read_text() == ""
    banner = re.search(r"Unfinished: (\d+) of (\d+) reports", unfinished.read_text())
    assert banner is not None
    assert int(banner[2]) == of
    assert of - 4 < int(banner[1]) < of
    assert not page.exists()
    assert copied.planned("quickstart") == {"view_circuit_map": 1, "report": 1}

    said = quick(copied, "quickstart")
    assert re.search(r"\n3 of 3 jobs done, in [\w ]+\n$", said)
    assert page.exists()
    assert not unfinished.exists()
    assert 'role="status"' not in page.read_text()
    assert copied.planned("quickstart") == {}

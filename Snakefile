"""Which artifact needs which. What to study is in workflow_config.yaml; docs/guide.md explains."""

import os
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
# Jobs and the helpers below find the library where it lies, installed or not.
sys.path.insert(0, str(ROOT / "src"))
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(ROOT / "src"), os.environ.get("PYTHONPATH")) if part
)

from circuit.config.analysis import KINDS
from circuit.config.plan import BENCHMARK_FILES, REPLAY_TABLES, Plan, canonical
from circuit.config.study import load_settings
from circuit.errors import CircuitError
from circuit.fingerprint import module_fingerprints, resolved_versions


configfile: "workflow_config.yaml"


try:
    PLAN = Plan(load_settings(config))
except CircuitError as error:
    sys.exit(f"error: {error}")
STUDIES = PLAN.settings.studies
NUMERICS = resolved_versions("torch", "numpy")
TABLES = resolved_versions("pandas", "pyarrow", "numpy")


def code(script):
    """Fingerprints of the library modules a script reaches, one parameter value per module."""
    return module_fingerprints(f"src/scripts/{script}.py", project_root=str(ROOT))


def only(names):
    """Wildcard pattern of exactly these names."""
    return "|".join(sorted(names)) or "(?!)"


def analysis_files(kind, scope="run"):
    """Output files of a kind of analysis; figures and reports also go into `snakemake --report`."""
    folder = "results/{study}/{run}/{analysis}" if scope == "run" else "results/{study}/{analysis}"
    shown = {"run": "{run}"} if scope == "run" else {}
    files = {}
    for name, file in KINDS[kind].files().items():
        path = f"{folder}/{file}"
        if name in KINDS[kind].figures or name == "report_md":
            path = report(
                path,
                caption=f"../report/{kind}.rst",
                category="Study {study}",
                subcategory="{analysis}",
                labels={**shown, "what": name.replace("_", " ")},
            )
        files[name] = path
    return files


def run_inputs(w):
    """A finished run and its benchmark: manifest, every checkpoint, metadata."""
    run = PLAN.runs[w.study, w.run]
    return {
        "manifest": run.manifest,
        "checkpoints": list(PLAN.checkpoints(w.study, w.run).values()),
        "metadata": f"data/{run.benchmark}/metadata.json",
    }


def tables(w, *names):
    """Tables of the run's benchmark, by name."""
    return {f"data_{n}": f"data/{PLAN.runs[w.study, w.run].benchmark}/{n}.parquet" for n in names}


def result(w, analysis, file, run=None):
    """A file of another analysis of the same run (or of another run of the study)."""
    return PLAN.files(w.study, run or w.run, analysis)[file]


def settings(w):
    """Settings of the analysis, as one self-describing parameter."""
    return PLAN.resolved(w.study, w.analysis)


wildcard_constraints:
    study=only(STUDIES),
    run=only({run for s in STUDIES.values() for run in s.runs}),
    benchmark=only(PLAN.settings.benchmarks),
    start=r"\d{6}",
    stop=r"\d{6}",


# One target per study: `snakemake quickstart`, `snakemake reference`, ...
for _study in STUDIES:

    rule:
        name:
            _study
        default_target: _study == "quickstart"
        input:
            PLAN.targets(_study),
        localrule: True


include: "rules/benchmark.smk"
include: "rules/training.smk"
include: "rules/behaviour.smk"
include: "rules/heads.smk"
include: "rules/replay.smk"
include: "rules/synthesis.smk"

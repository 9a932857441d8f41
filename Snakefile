"""Which artifact needs which. What to study is in workflow_config.yaml; docs/guide.md explains."""

import os
import sys
from contextlib import suppress
from pathlib import Path

# Where this file lies, also as a module of another Snakefile. Jobs and the helpers below find the
# library there, installed or not.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
sys.path.insert(0, str(ROOT / "src"))
os.environ.update(
    PYTHONPATH=os.pathsep.join(
        part for part in (str(ROOT / "src"), os.environ.get("PYTHONPATH")) if part
    )
)

import circuit

if ROOT.resolve() not in Path(circuit.__file__).resolve().parents:
    sys.exit(
        f"error: another copy of the library was loaded before — where: {circuit.__file__}"
        f" — expected: the one beside this Snakefile, in {ROOT / 'src'}"
        " — what to do: have one checkout in a workflow, and import none of it before"
    )

from circuit.config.registry import KINDS, VIEWS, view_files
from circuit.config.plan import BENCHMARK_FILES, CHORD_TABLES, REPLAY_TABLES, Plan
from circuit.config.plan import canonical, made, parquet
from circuit.config.study import load_settings, read_yaml
from circuit.errors import CircuitError
from circuit.fingerprint import Fingerprints
from snakemake_logger_plugin_circuit.pages import PLANNED


configfile: "workflow_config.yaml"


try:
    if workflow.is_main_process:
        for _file in workflow.configfiles:  # Snakemake keeps the last of a key given twice
            read_yaml(Path(_file))
    PLAN = Plan(load_settings(config))
except CircuitError as error:
    sys.exit(f"error: {error}")
STUDIES = PLAN.settings.studies
FINGERPRINTS = Fingerprints(project_root=ROOT, known=".snakemake/fingerprints.json")


include: "rules/common.smk"


wildcard_constraints:
    study=only(STUDIES),
    run=only({run for s in STUDIES.values() for run in s.runs}),
    analysis=r"[^/]+",
    benchmark=only(PLAN.settings.benchmarks),
    start=r"\d+",
    stop=r"\d+",


# One target per study: `snakemake quickstart`, `snakemake reference`, ...
for _study in STUDIES:

    rule:
        name:
            _study
        default_target: _study == "quickstart"
        input:
            PLAN.targets(_study),
        localrule: True
        message:
            f"Study {_study} is complete"


include: "rules/kinds.smk"
include: "rules/data.smk"
include: "rules/training.smk"
include: "rules/behaviour.smk"
include: "rules/mechanism.smk"
include: "rules/weights.smk"
include: "rules/replay.smk"
include: "rules/synthesis.smk"


FINGERPRINTS.keep()


def plan_pages(dag):
    """Tell the logger plugin which pages are to come, and which job makes what stands on them."""
    made_by = {str(file): job.jobid for job in dag.needrun_jobs() for file in job.output}
    for job in dag.needrun_jobs():
        if job.rule.name == "report":
            study = STUDIES[job.wildcards.study]
            PLANNED[job.jobid] = {
                "study": job.wildcards.study,
                "title": study.title,
                "focus": study.focus,
                "page": str(job.output.page),
                "reports": {file: made_by.get(file) for file in map(str, job.input.reports)},
                "audits": {file: made_by.get(file) for file in [str(job.input.audit)]},
            }


onstart:
    # A job that was killed leaves the file it was writing beside the one it was meant to be.
    for _job in workflow.dag.needrun_jobs():
        for _file in map(Path, _job.output):
            for _left in _file.parent.glob(f".tmp-*-{_file.name}"):
                _left.unlink(missing_ok=True)
    plan_pages(workflow.dag)


onsuccess:
    # Unfinished trainings lie there; it goes with the last of them.
    if workflow.is_main_process:
        with suppress(OSError):
            Path("results/.work").rmdir()

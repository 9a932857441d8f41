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

from circuit.config.plan import BENCHMARK_FILES, Plan, canonical, settings_of
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


wildcard_constraints:
    study="|".join(STUDIES) or "none",
    run="|".join(sorted({run for s in STUDIES.values() for run in s.runs})) or "none",
    benchmark="|".join(PLAN.settings.benchmarks) or "none",


localrules:
    quickstart,


rule quickstart:
    default_target: True
    input:
        PLAN.targets("quickstart") if "quickstart" in STUDIES else [],


include: "rules/benchmark.smk"
include: "rules/training.smk"

"""The profiles: what a call gets without asking, and the same study planned for a cluster."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from tiny_study import PROJECT, Tree, dry_runs, jobs_in

DEFAULT = yaml.safe_load((PROJECT / "profiles" / "default" / "config.yaml").read_text())
SLURM = yaml.safe_load((PROJECT / "profiles" / "slurm" / "config.yaml").read_text())

needs_slurm = pytest.mark.skipif(
    find_spec("snakemake_executor_plugin_slurm") is None,
    reason="the slurm extra is not installed",
)


@pytest.mark.parametrize("profile", [DEFAULT, SLURM], ids=["default", "slurm"])
def test_a_killed_job_is_run_again_without_asking(profile: dict[str, object]) -> None:
    assert profile["rerun-incomplete"] is True
    assert "keep-incomplete" not in profile


@pytest.mark.parametrize("profile", [DEFAULT, SLURM], ids=["default", "slurm"])
def test_no_profile_asks_for_conda(profile: dict[str, object]) -> None:
    """The environment is the one that snakemake runs in, unless the user wants otherwise."""
    assert not {"sdm", "software-deployment-method", "use-conda"} & set(profile)


@needs_slurm
def test_slurm_profile_plans_the_same_jobs(finished: Tree, tmp_path: Path) -> None:
    slurm = ["--workflow-profile", "profiles/slurm"]
    targets = [["other"], ["other", *slurm], ["quickstart", *slurm]]
    local, cluster, done = dry_runs([(finished, target) for target in targets])
    assert "Using workflow specific profile profiles/slurm" in cluster
    assert jobs_in(cluster) == jobs_in(local) != {}
    assert jobs_in(done) == {}

"""The exact versions: complete, public, within the declared ranges, and the same for conda."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
PINS = [
    line
    for line in (PROJECT / "envs" / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
]
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
EXTRAS = DECLARED["optional-dependencies"]
ORACLE = [
    line
    for line in (PROJECT / "envs" / "transformer_lens.lock").read_text().splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize("pin", [*PINS, *ORACLE])
def test_pin_is_one_public_version(pin: str) -> None:
    """No build tag, no path, no address: anyone's index can serve it."""
    assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin)


@pytest.mark.parametrize("declared", [*DECLARED["dependencies"], *EXTRAS["dev"], *EXTRAS["slurm"]])
def test_pin_lies_in_the_declared_range(declared: str) -> None:
    pins = {canonicalize_name(name): version for name, version in (p.split("==") for p in PINS)}
    requirement = Requirement(declared)
    version = pins.get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in the lock; run `make lock`"
    assert requirement.specifier.contains(version), f"{requirement} excludes {version}"


def test_conda_environment_has_the_same_pins() -> None:
    environment = yaml.safe_load((PROJECT / "envs" / "circuit.yaml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert environment["dependencies"][-1] == {"pip": PINS}


def test_the_oracle_adds_to_the_lock_and_changes_nothing_of_it() -> None:
    locked, added = ({canonicalize_name(p.split("==")[0]) for p in pins} for pins in (PINS, ORACLE))
    assert "transformer-lens" in added
    assert not locked & added

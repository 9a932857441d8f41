"""The exact versions: complete, public, within the declared ranges, and the same for conda."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]


def pins(name: str) -> list[str]:
    lines = (PROJECT / "envs" / name).read_text().splitlines()
    return [line for line in lines if not line.startswith(("#", "--"))]


def names(lock: list[str]) -> set[str]:
    return {canonicalize_name(pin.split("==")[0]) for pin in lock}


RUN, TEST, ORACLE = pins("requirements.lock"), pins("test.lock"), pins("transformer_lens.lock")
SAELENS = pins("sae_lens.lock")  # in a folder of its own, with another transformer-lens
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
EXTRAS = DECLARED["optional-dependencies"]


@pytest.mark.parametrize("pin", [*RUN, *TEST, *ORACLE, *SAELENS])
def test_pin_is_one_public_version(pin: str) -> None:
    """No build tag, no path, no address: anyone's index can serve it."""
    assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin)


def assert_in_range(declared: str, lock: list[str]) -> None:
    pinned = {canonicalize_name(name): version for name, version in (p.split("==") for p in lock)}
    requirement = Requirement(declared)
    version = pinned.get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in the lock; run `make lock`"
    assert requirement.specifier.contains(version), f"{requirement} excludes {version}"


@pytest.mark.parametrize("declared", DECLARED["dependencies"])
def test_what_a_study_needs_lies_in_the_declared_range(declared: str) -> None:
    assert_in_range(declared, RUN)


@pytest.mark.parametrize("declared", [*EXTRAS["dev"], *EXTRAS["slurm"]])
def test_what_checks_and_tests_need_lies_in_the_declared_range(declared: str) -> None:
    assert_in_range(declared, TEST)


def test_conda_environment_has_the_pins_of_a_study() -> None:
    environment = yaml.safe_load((PROJECT / "envs" / "circuit.yaml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert environment["dependencies"][-1] == {"pip": RUN}


def test_each_lock_adds_to_those_before_and_changes_nothing_of_them() -> None:
    assert "--requirement requirements.lock" in (PROJECT / "envs" / "test.lock").read_text()
    assert {"pytest", "mypy", "transformers"} <= names(TEST)
    assert "transformer-lens" in names(ORACLE)
    assert not names(RUN) & names(TEST)
    for oracle in (ORACLE, SAELENS):
        assert not (names(RUN) | names(TEST)) & names(oracle)


def test_a_study_s_packages_need_none_of_the_tools() -> None:
    """Where the lock is installed, as here, nothing in it asks for what only the test lock has."""
    for pin in RUN:
        for line in distribution(pin.split("==")[0]).requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) not in names(TEST), f"{pin} needs {needed}"

"""One finished tiny study for all tests of the workflow."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_study import Tree


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The tiny study, run once from end to end. Tests that change anything take a copy."""
    tree = Tree.new(tmp_path_factory.mktemp("tiny_study") / "tree")
    tree.run("quickstart", cores=2)
    return tree


@pytest.fixture
def copied(finished: Tree, tmp_path: Path) -> Tree:
    """A copy of the finished study that a test may change."""
    return finished.copy(tmp_path / "tree")


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., Tree]:
    """Make the workflow anew, without results, under a configuration."""

    def make(*arguments: object) -> Tree:
        return Tree.new(tmp_path / "tree", *arguments)

    return make


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    """Contents of all files below a folder."""

    def take(folder: Path) -> dict[str, bytes]:
        files = [file for file in folder.rglob("*") if file.is_file()]
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}

    return take

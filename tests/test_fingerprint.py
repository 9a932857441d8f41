"""What changes a module's fingerprint, which modules a script reaches, and the blind spots."""

import ast
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from circuit import fingerprint
from circuit.config.registry import KINDS
from circuit.errors import ConfigError
from circuit.fingerprint import Fingerprints

PROJECT = Path(__file__).resolve().parents[1]
LIBRARY = PROJECT / "src" / "circuit"

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file below a toy project; its time is always the same, and stands for nothing."""

    def _write(path: str, text: str) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (1_000_000_000, 1_000_000_000))
        return file

    for package in ("lib", "lib/scalars", "lib/model"):
        _write(f"src/{package}/__init__.py", "")
    _write("src/lib/scalars/qk.py", "from lib.model import tap\n\ndef qk(x):\n    return 2 * x\n")
    _write("src/lib/model/tap.py", "from ..errors import Wrong\n")
    _write("src/lib/errors.py", "class Wrong(Exception):\n    pass\n")
    _write("src/lib/unused.py", "import torch\n")
    _write("src/scripts/analyse.py", "import torch\nfrom lib.scalars.qk import qk\n")
    return _write


def toy(folder: Path | str, known: Path | None = None) -> Fingerprints:
    return Fingerprints("src/lib", project_root=folder, known=known)


@pytest.fixture
def reached(tmp_path: Path, write: Write) -> Callable[[], dict[str, str]]:
    """The toy script's fingerprints, module to digest."""

    def _reached() -> dict[str, str]:
        values = toy(tmp_path).of("src/scripts/analyse.py")
        assert len(values) == len(set(values))
        return dict(value.split("@") for value in values)

    return _reached


Reached = Callable[[], dict[str, str]]
SCRIPT = {"scripts/analyse.py", "torch", "cpu"}
TRANSITIVE = SCRIPT | {
    "lib/__init__.py",
    "lib/errors.py",
    "lib/model/__init__.py",
    "lib/model/tap.py",
    "lib/scalars/__init__.py",
    "lib/scalars/qk.py",
}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before | after if before.get(name) != after.get(name)}


def test_follows_imports_with_the_packages_on_the_way(reached: Reached) -> None:
    found = reached()
    assert set(found) == TRANSITIVE
    digests = [digest for name, digest in found.items() if name.endswith(".py")]
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)
    assert list(found)[-2:] == ["torch", "cpu"]


@pytest.mark.parametrize(
    "text",
    [
        "from lib.model import tap\n\n\n# why\ndef qk(x):  # twice\n    return (2 * x)\n",
        '"""A."""\nfrom lib.model import tap\n\ndef qk(x):\n    """B."""\n    return 2 * x\n',
    ],
    ids=["comments, blank lines, parentheses", "docstrings"],
)
def test_text_for_people_changes_nothing(write: Write, reached: Reached, text: str) -> None:
    before = reached()
    write("src/lib/scalars/qk.py", text)
    assert changed(before, reached()) == set()


def test_attribute_and_class_documentation_changes_nothing(write: Write, reached: Reached) -> None:
    write("src/lib/errors.py", "class Wrong:\n    rank: int = 8\n    async def f(s): return 1\n")
    before = reached()
    write(
        "src/lib/errors.py",
        'class Wrong:\n    "A"\n    rank: int = 8\n    "B"\n'
        '    async def f(s):\n        "C"\n        return 1\n',
    )
    assert changed(before, reached()) == set()


@pytest.mark.parametrize(
    "text",
    [
        "from lib.model import tap\n\ndef qk(x):\n    return 3 * x\n",
        "from lib.model import tap\n\ndef qk(x):\n    return '2' * x\n",
        "from lib.model import tap\n\ndef qk(y):\n    return 2 * y\n",
        "from lib.model import tap\n\ndef qk(x, scale=1):\n    return 2 * x\n",
    ],
)
def test_formula_changes_its_module_only(write: Write, reached: Reached, text: str) -> None:
    before = reached()
    write("src/lib/scalars/qk.py", text)
    assert changed(before, reached()) == {"lib/scalars/qk.py"}


def test_text_that_is_a_value_is_not_documentation(write: Write, reached: Reached) -> None:
    write("src/lib/errors.py", "def unit():\n    return 'nats'\n")
    before = reached()
    write("src/lib/errors.py", "def unit():\n    return 'bits'\n")
    assert changed(before, reached()) == {"lib/errors.py"}


def test_edit_of_a_module_not_reached_changes_nothing(write: Write, reached: Reached) -> None:
    before = reached()
    write("src/lib/unused.py", "import numpy\n")
    assert changed(before, reached()) == set()


def test_script_is_one_of_them(write: Write, reached: Reached) -> None:
    before, text = reached(), "import torch\nfrom lib.scalars.qk import qk\n"
    write("src/scripts/analyse.py", f"# a remark\n{text}")
    assert changed(before, reached()) == set()
    write("src/scripts/analyse.py", f"{text}print(qk(1))\n")
    assert changed(before, reached()) == {"scripts/analyse.py"}


@pytest.mark.parametrize(
    ("statement", "new"),
    [
        ("import lib.extra.late", {"lib/extra/__init__.py", "lib/extra/late.py"}),
        ("import lib.extra.late as late", {"lib/extra/__init__.py", "lib/extra/late.py"}),
        ("from lib.extra import late", {"lib/extra/__init__.py", "lib/extra/late.py"}),
        ("from lib.extra.late import value", {"lib/extra/__init__.py", "lib/extra/late.py"}),
        ("from lib.extra import NAME", {"lib/extra/__init__.py"}),
        ("from ..extra import late", {"lib/extra/__init__.py", "lib/extra/late.py"}),
        ("from .. import extra", {"lib/extra/__init__.py"}),
        ("from . import near", {"lib/scalars/near.py"}),
        ("from .near import value", {"lib/scalars/near.py"}),
        (
            "def f():\n    if True:\n        from ..extra.late import value",
            {"lib/extra/__init__.py", "lib/extra/late.py"},
        ),
    ],
)
def test_new_import_appears(write: Write, reached: Reached, statement: str, new: set[str]) -> None:
    write("src/lib/extra/__init__.py", "NAME = 1\n")
    write("src/lib/extra/late.py", "value = 1\n")
    write("src/lib/scalars/near.py", "value = 1\n")
    assert set(reached()) == TRANSITIVE
    write("src/lib/scalars/qk.py", f"from lib.model import tap\n{statement}\n")
    assert set(reached()) == TRANSITIVE | new


def test_import_that_goes_away(write: Write, reached: Reached) -> None:
    write("src/lib/scalars/qk.py", "def qk(x):\n    return 2 * x\n")
    gone = {"lib/errors.py", "lib/model/__init__.py", "lib/model/tap.py"}
    assert set(reached()) == TRANSITIVE - gone


def test_circular_imports_end(write: Write, reached: Reached) -> None:
    write("src/lib/errors.py", "def f():\n    import lib.scalars.qk\n")
    assert set(reached()) == TRANSITIVE


def test_module_beside_the_script_counts(write: Write, reached: Reached) -> None:
    write("src/scripts/common.py", "import lib.unused\n")
    write("src/scripts/analyse.py", "import common\n")
    assert set(reached()) == SCRIPT | {"scripts/common.py", "lib/__init__.py", "lib/unused.py"}


def test_module_wins_over_a_bare_folder_of_its_name(write: Write, reached: Reached) -> None:
    write("src/lib/errors/notes.txt", "")
    assert "lib/errors.py" in reached()


def test_values_do_not_depend_on_where_the_project_lies(
    tmp_path: Path, reached: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute = reached()
    monkeypatch.chdir(tmp_path)
    relative = toy(".").of("src/scripts/analyse.py")
    assert dict(value.split("@") for value in relative) == absolute


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are parsed from now on."""
    names: list[str] = []
    parse = fingerprint._parse

    def noted(file: Path, content: bytes) -> ast.Module:
        names.append(file.name)
        return parse(file, content)

    monkeypatch.setattr(fingerprint, "_parse", noted)
    return names


@pytest.mark.usefixtures("write")
def test_each_file_is_parsed_once(tmp_path: Path, parsed: list[str]) -> None:
    known, script = tmp_path / "kept" / "known.json", "src/scripts/analyse.py"
    first, modules = toy(tmp_path, known), [at for at in TRANSITIVE if at.endswith(".py")]
    values = first.of(script)
    assert first.of(script) == values
    assert len(parsed) == len(modules)
    first.keep()
    assert toy(tmp_path, known).of(script) == values
    assert len(parsed) == len(modules)


def test_only_what_changed_is_parsed_again(
    tmp_path: Path, write: Write, reached: Reached, parsed: list[str]
) -> None:
    """Its time and size tell nothing."""
    first = toy(tmp_path, tmp_path / "known.json")
    before = first.of("src/scripts/analyse.py")
    first.keep()
    write("src/lib/errors.py", "class Wrong(Exception):\n    0 / 0\n")
    parsed.clear()
    after = toy(tmp_path, tmp_path / "known.json").of("src/scripts/analyse.py")
    assert parsed == ["errors.py"]
    assert after != before
    assert dict(value.split("@") for value in after) == reached()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"python": "2.7", "sources": {}}', "null"])
def test_what_is_kept_may_be_damaged(tmp_path: Path, reached: Reached, damage: str) -> None:
    known = tmp_path / "known.json"
    known.write_text(damage)
    found = toy(tmp_path, known)
    assert dict(value.split("@") for value in found.of("src/scripts/analyse.py")) == reached()
    found.keep()
    assert known.read_text() != damage


def error(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


def test_syntax_error_names_file_and_line(tmp_path: Path, write: Write, reached: Reached) -> None:
    write("src/lib/errors.py", "x = 1\ny = = 2\n")
    assert error(reached) == (
        "Python file does not parse (invalid syntax)"
        f" — where: {tmp_path}/src/lib/errors.py:2 — expected: valid Python"
        " — what to do: repair the line; which artifacts are stale is read from this file"
    )


def test_missing_script(tmp_path: Path, write: Write) -> None:
    assert error(lambda: toy(tmp_path).of(tmp_path / "no.py")) == (
        f"script does not exist — where: {tmp_path}/no.py — expected: a Python file"
        " — what to do: correct the path in the rule"
    )


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("import lib.modle.tap", "lib.modle.tap"),
        ("from lib.nothing import x", "lib.nothing"),
        ("import lib.scalars.qk.deeper", "lib.scalars.qk.deeper"),
    ],
)
def test_import_of_nothing(
    tmp_path: Path, write: Write, reached: Reached, statement: str, named: str
) -> None:
    write("src/lib/errors.py", f"\n{statement}\n")
    assert error(reached) == (
        f"imports {named}, which does not exist — where: {tmp_path}/src/lib/errors.py:2"
        " — expected: a module of the library"
        " — what to do: correct the import, or write the module"
    )


def test_versions_of_what_decides_numbers_and_pictures(write: Write, reached: Reached) -> None:
    """Of each package that a module imports at its top; pandas stores tables with pyarrow.

    What only computes decides the numbers wherever it is imported; matplotlib in a function may
    be for one of its callers.
    """
    write("src/lib/errors.py", "import ast, pydantic, sklearn.linear_model\nfrom . import model\n")
    text = "from pandas import x\nfrom ..errors import y\n"
    text += "def f():\n    import matplotlib\n    from scipy.special import ndtri\n"
    write("src/lib/model/tap.py", text)
    versions = {name: at for name, at in reached().items() if not name.endswith(".py")}
    assert versions.pop("cpu")
    assert versions == {
        name: metadata.version(name)
        for name in ("pandas", "pyarrow", "scikit-learn", "scipy", "torch")
    }


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch, reached: Reached) -> None:
    monkeypatch.setitem(fingerprint._DECIDING, "torch", ("no-such-thing",))
    assert reached()["no-such-thing"] == "absent"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors, other instructions")
@pytest.mark.parametrize("asked", ["", "default", "avx2"])
def test_the_processor_is_told_as_torch_tells_it(asked: str) -> None:
    """An environment variable holds torch to fewer instructions than the processor has."""
    call = [sys.executable, "-c"]
    told = "from circuit.fingerprint import _cpu; print(*_cpu())"
    right = "import torch; print('cpu@' + torch.backends.cpu.get_cpu_capability())"
    where = {**os.environ, "ATEN_CPU_CAPABILITY": asked}
    mine, torchs = (
        subprocess.run([*call, code], env=where, capture_output=True, text=True, check=True).stdout
        for code in (told, right)
    )
    assert mine == torchs


LOADERS = r"(importlib(?!\.(metadata|resources))|pkgutil|runpy)(\..*)?|.*\.\*|__import__|exec|eval"


def dynamic_imports(text: str) -> list[str]:
    """What could load code by a computed name, unseen by fingerprints."""
    named = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            named.append(ast.unparse(node.func).removeprefix("builtins."))
    return [name for name in named if re.fullmatch(LOADERS, name)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import importlib", True),
        ("from importlib import import_module, resources", True),
        ("import runpy, importlib.util", True),
        ("from lib.model import *", True),
        ("__import__('x')", True),
        ("x = builtins.eval('1')", True),
        ("import importlib.metadata", False),
        ("from importlib.resources import files", False),
        ("from importlib import metadata", False),
        ("model.eval()", False),
    ],
)
def test_dynamic_imports_are_found(line: str, found: bool) -> None:
    assert bool(dynamic_imports(line)) == found


def test_the_library_has_no_dynamic_imports_but_of_kinds_which_no_script_reaches() -> None:
    """What a rule's job takes from a kind, its script imports by name."""
    loading = [f for f in LIBRARY.rglob("*.py") if dynamic_imports(f.read_text())]
    assert loading == [LIBRARY / "config" / "registry.py"]
    fingerprints = Fingerprints(project_root=PROJECT)
    for script in (PROJECT / "src" / "scripts").glob("*.py"):
        reached = {value.partition("@")[0] for value in fingerprints.of(script)}
        assert "circuit/job.py" in reached
        assert "circuit/config/registry.py" not in reached
        assert not [name for name in reached if name.startswith("circuit/kinds/")]


def test_every_package_of_the_library_has_an_init_without_imports() -> None:
    """A package that re-exports its modules would make every artifact depend on all of them."""
    folders = {file.parent for file in LIBRARY.rglob("*.py")}
    assert folders, "the library has moved"
    for folder in sorted(folders):
        init = folder / "__init__.py"
        assert init.is_file(), f"{folder} lacks its __init__.py"
        body = ast.parse(init.read_text()).body
        assert len(body) == (ast.get_docstring(ast.Module(body, [])) is not None), (
            f"{init} does more than say what the package is for"
        )


@pytest.mark.parametrize("kind", KINDS)
def test_measuring_reaches_no_words_and_viewing_no_tensors(kind: str) -> None:
    """A word or a colour never recomputes a tensor, and a view costs no import of torch.

    So a version of torch recomputes what is computed with it, one of matplotlib what is drawn.
    """
    reached = Fingerprints(project_root=PROJECT)
    home = f"circuit.kinds.{kind}"
    measured = reached.of("src/scripts/measure.py", [f"{home}.measure", f"{home}.settings"])
    assert not [module for module in measured if module.startswith("circuit/reports/")]
    floors = ("measures", "experiments", "attribution", "scalars", "training", "model")
    below = tuple(f"circuit/{floor}/" for floor in floors)
    viewed = reached.of("src/scripts/view.py", [f"{home}.view"])
    assert not [module for module in viewed if module.startswith(below)]
    assert any(module.startswith(f"circuit/kinds/{kind}/view.py@") for module in viewed)
    drawing, computing = (f"{name}@{metadata.version(name)}" for name in ("matplotlib", "torch"))
    assert (drawing in viewed, computing in viewed) == (True, False)
    assert (drawing in measured, computing in measured) == (False, KINDS[kind].torch)
    # Every kind states intervals, and their ends are SciPy's special functions.
    assert f"scipy@{metadata.version('scipy')}" in measured


def test_what_only_refuses_makes_no_training_stale() -> None:
    """Not a formula of the feasibility check either, nor the version of the SciPy it asks."""
    fingerprints = Fingerprints(project_root=PROJECT).of("src/scripts/train.py")
    trained = {at.partition("@")[0] for at in fingerprints}
    assert {"torch", "numpy", "circuit/config/benchmark.py"} <= trained
    assert not trained & {"scipy", "circuit/config/feasibility.py", "circuit/config/checks.py"}
    # Nor does a further scalar, or a further setting of an analysis.
    assert not {at for at in trained if at.startswith(("circuit/scalars/", "circuit/kinds/"))}
    assert not trained & {f"circuit/config/{name}.py" for name in ("scalar", "analysis", "marks")}

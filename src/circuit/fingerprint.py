"""Which code a workflow script runs: one short digest for each module, one version a package.

Snakemake looks at the time of a job's script, and not at the library behind it. Each rule therefore
carries the fingerprints of its script and of the modules that it reaches, as parameters:

1. parse the script and list what it imports, at the top or inside functions;
2. resolve each name to a file of the library, together with the ``__init__.py`` of every
   package on the way, since Python runs those too;
3. repeat with every file found, until none is new;
4. digest each file's syntax tree without docstrings (comments are not in the tree anyway);
5. of each package that decides numbers or pictures and that one of them imports at its top, take
   the version, and of those that do nothing but compute wherever they are imported; with torch's,
   the vector instructions of the processor, by which it chooses kernels.

So changing a formula changes one value in just the rules that reach it, and rewording a
docstring changes none. Modules beside the script count as library.

Blind spots: imports by a name computed at run time (a test keeps the library free of them but for
one: the registry of kinds, which no script reaches, since each imports its own kind's settings by
name), and data files read by code (declare those as inputs).
Imports under ``if TYPE_CHECKING`` are followed too: too many reruns beat too few. The digests
are those of one minor version of Python, since the form of its syntax trees changes with it.

The standard library is all this needs: the Snakefile imports it, and every cluster job parses
the Snakefile again.
"""

import ast
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from circuit.errors import ConfigError

StrPath = str | os.PathLike[str]

_DIGITS = 16
_DECIDING = {
    **{name: (name,) for name in ("jinja2", "matplotlib", "numpy", "scipy", "torch")},
    "pandas": ("pandas", "pyarrow"),  # which stores its tables
    "sklearn": ("scikit-learn",),
}
"""Packages that decide a number or a picture: the distributions that importing one stands for."""
_COMPUTING = {"numpy", "scipy", "sklearn"}
"""Those that functions import late just to start fast. The others are imported late by functions
that only read files (torch, pandas): who computes or draws with them imports them at its top."""


class _Import(NamedTuple):
    """One import statement's target: `level` leading dots, a module, names taken from it."""

    line: int
    level: int
    module: str
    names: tuple[str, ...]


class _Source(NamedTuple):
    """What a file with this SHA-256 says, and the distributions that decide what it makes."""

    sha256: str
    digest: str
    packages: list[str]
    imports: tuple[_Import, ...]


class Fingerprints:
    """What the scripts of one project reach: each file is read once, each import resolved once.

    Relative paths are relative to ``project_root``. ``known`` is a file that keeps what was read
    for the next call, by path and content of each file; None to parse everything anew.
    """

    def __init__(
        self,
        package_root: StrPath = "src/circuit",
        *,
        project_root: StrPath = ".",
        known: StrPath | None = None,
    ) -> None:
        self._project_root = Path(project_root)
        self._source_root = Path(project_root, package_root).parent
        self._known = None if known is None else Path(known)
        self._kept = _kept(self._known)
        self._sources: dict[Path, _Source] = {}
        self._reached: dict[Path, list[Path]] = {}
        # Many files import the same: each name is looked up, and each file named, once.
        self._resolve = cache(_resolve)
        self._label = cache(lambda file: _label(file, self._source_root))

    def of(self, script_path: StrPath, loads: Sequence[str] = ()) -> list[str]:
        """Return ``circuit/scalars/qk.py@0123456789abcdef`` for each module the script reaches.

        The script itself is one of them. After modules come versions, as ``torch@2.13.0``, and
        ``cpu@AVX2`` beside torch's. ``loads`` are dotted names of modules that the script loads by
        a computed name. Paths are relative to the folder that holds the package.

        Raises:
            ConfigError: the script or a module is missing or does not parse, or imports a module
                that the library does not have.
        """
        script = self._project_root / script_path
        roots = list(dict.fromkeys([self._source_root, script.parent]))
        found = {script: self._read(script)}
        pending = [script]
        for name in loads:
            loaded = self._resolve(self._source_root, tuple(name.split(".")))
            if loaded is None:
                raise ConfigError(
                    f"there is no module {name}",
                    where=script,
                    expected="a module of the library",
                    do="correct the name in the rule, or write the module",
                )
            found |= {file: self._read(file) for file in loaded}
            pending += loaded
        while pending:
            for file in self._imported(pending.pop(), roots):
                if file not in found:
                    found[file] = self._read(file)
                    pending.append(file)
        modules = [f"{self._label(at)}@{read.digest}" for at, read in found.items()]
        packages = {name for read in found.values() for name in read.packages}
        versions = [f"{name}@{_version(name)}" for name in packages]
        return [*sorted(modules), *sorted(versions), *(_cpu() if "torch" in packages else ())]

    def keep(self) -> None:
        """Write down what was read, if there is a place for it and something new."""
        read = {self._name(file): source for file, source in self._sources.items()}
        if self._known is None or read.items() <= self._kept.items():
            return
        content = {"python": sys.version, "sources": {**self._kept, **read}}
        beside = self._known.with_name(f".tmp-{os.getpid()}-{self._known.name}")
        # What cannot be kept is read again next time: nothing is lost.
        with contextlib.suppress(OSError):
            self._known.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(content), encoding="utf-8")
            beside.replace(self._known)

    def _name(self, file: Path) -> str:
        """A file's name in what is kept: the same wherever the project lies."""
        return os.path.relpath(file, self._project_root)

    def _imported(self, importer: Path, roots: Sequence[Path]) -> list[Path]:
        """The files of ours that one file imports."""
        if importer not in self._reached:
            local_names = {entry.removesuffix(".py") for root in roots for entry in _entries(root)}
            self._reached[importer] = [
                file
                for statement in self._read(importer).imports
                for file in _targets(importer, statement, roots, local_names, self._resolve)
            ]
        return self._reached[importer]

    def _read(self, file: Path) -> _Source:
        """What a file says, which is kept as long as its content is the same."""
        if file not in self._sources:
            try:
                content = file.read_bytes()
            except FileNotFoundError as error:
                raise ConfigError(
                    "script does not exist",
                    where=file,
                    expected="a Python file",
                    do="correct the path in the rule",
                ) from error
            sha256 = hashlib.sha256(content).hexdigest()
            known = self._kept.get(self._name(file))
            if known is None or known.sha256 != sha256:
                tree = _parse(file, content)
                imports, packages = tuple(_imports(tree)), _packages(tree)
                known = _Source(sha256, _digest(tree), packages, imports)
            self._sources[file] = known
        return self._sources[file]


def _kept(known: Path | None) -> dict[str, _Source]:
    """What an earlier call has read, if it was by the same Python and the file is whole."""
    try:
        content = json.loads(known.read_text(encoding="utf-8")) if known else {}
        if content.get("python") != sys.version:
            return {}
        return {
            file: _Source._make(
                [*rest, tuple(_Import._make([*at, tuple(names)]) for *at, names in imports)]
            )
            for file, (*rest, imports) in content["sources"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


@cache
def _version(distribution: str) -> str:
    """The version installed, or ``absent``. Nothing is imported."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


@cache
def _cpu() -> tuple[str, ...]:
    """``cpu@AVX2``: the capability that torch runs with, found as torch does, without importing it.

    Nothing where the system does not tell the processor's instructions.
    """
    asked = os.environ.get("ATEN_CPU_CAPABILITY", "")
    if asked not in ("default", "avx2", "avx512"):
        try:
            flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
        except OSError:
            return ()
        wide = {"avx512vl", "avx512bw", "avx512dq", "fma"} <= flags
        asked = "avx512" if wide else "avx2" if {"avx2", "fma"} <= flags else "default"
    return (f"cpu@{asked.upper()}",)


def _targets(
    importer: Path,
    statement: _Import,
    roots: Sequence[Path],
    local_names: set[str],
    resolve: Callable[[Path, tuple[str, ...]], list[Path] | None],
) -> Iterator[Path]:
    """Yield the files of ours that one import statement runs."""
    if statement.level:
        # One dot is the importer's folder, each further dot the folder above.
        folder = importer.parents[statement.level - 1]
        root = _top(folder)
        prefix = folder.relative_to(root).parts
        candidates = [root]
    else:
        prefix = ()
        candidates = list(roots)
    parts = (*prefix, *(part for part in statement.module.split(".") if part))
    if not statement.level and parts[0] not in local_names:
        return  # the standard library or a dependency

    for root in candidates:
        files = resolve(root, parts)
        if files is not None:
            yield from files
            for name in statement.names:
                # `from package import name` runs a submodule, if there is one of that name.
                yield from resolve(root, (*parts, name)) or ()
            return
    raise ConfigError(
        f"imports {'.'.join(parts)}, which does not exist",
        where=f"{importer}:{statement.line}",
        expected="a module of the library",
        do="correct the import, or write the module",
    )


def _resolve(root: Path, parts: Sequence[str]) -> list[Path] | None:
    """Return the files run on importing a dotted name below `root`, or None if it is no module."""
    files: list[Path] = []
    folder = root
    for position, part in enumerate(parts):
        folder = folder / part
        last = position == len(parts) - 1
        # The order is Python's: a package, then a module, then a folder without __init__.py.
        if (init := folder / "__init__.py").is_file():
            files.append(init)
        elif last and (module := folder.with_name(f"{part}.py")).is_file():
            files.append(module)
        elif not folder.is_dir():
            return None
    return files


def _top(folder: Path) -> Path:
    """Return the first folder at or above `folder` that is not a package."""
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _label(file: Path, source_root: Path) -> str:
    """Name a file from the source folder on, or, lying elsewhere, by its folder and name."""
    if file.is_relative_to(source_root):
        return file.relative_to(source_root).as_posix()
    return f"{file.parent.name}/{file.name}"


def _entries(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _parse(file: Path, content: bytes) -> ast.Module:
    try:
        return ast.parse(content)
    except SyntaxError as error:
        raise ConfigError(
            f"Python file does not parse ({error.msg})",
            where=f"{file}:{error.lineno}",
            expected="valid Python",
            do="repair the line; which artifacts are stale is read from this file",
        ) from error


def _packages(tree: ast.Module) -> list[str]:
    """Distributions whose versions decide what a module computes or draws."""
    top: list[ast.stmt] = [
        node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    first, anywhere = (
        {each.module.partition(".")[0] for each in _imports(within)}
        for within in (ast.Module(top, []), tree)
    )
    named = first | anywhere & _COMPUTING
    return sorted(name for module in named for name in _DECIDING.get(module, ()))


def _imports(tree: ast.Module) -> Iterator[_Import]:
    for block in _blocks(tree):
        for node in block:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield _Import(node.lineno, 0, alias.name, ())
            elif isinstance(node, ast.ImportFrom):
                names = tuple(alias.name for alias in node.names)
                yield _Import(node.lineno, node.level, node.module or "", names)


def _digest(tree: ast.Module) -> str:
    """Digest a tree without the text that does nothing; the tree is changed in doing so."""
    for block in _blocks(tree):
        # Not only docstrings: a text that documents an attribute stands below it, and no
        # constant that is a statement of its own does anything.
        block[:] = [line for line in block if not _is_bare(line)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:_DIGITS]


def _blocks(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield every list of statements of a tree: far fewer nodes than `ast.walk` visits."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(tree, field, None)
        if isinstance(block, list):
            yield block
            for statement in block:
                yield from _blocks(statement)
    for part in (*getattr(tree, "handlers", ()), *getattr(tree, "cases", ())):
        yield from _blocks(part)


def _is_bare(line: ast.AST) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)

"""Calls of snakemake, and their jobs, as forks of processes that have loaded what they load.

Two thirds of a job of a small study, and half of a dry run, are spent on imports. Here each of
three servers imports once, and becomes what is asked for by a fork, as if typed in a folder:

- ``snakemake``: calls in folders whose library is not the project's, and imports its own;
- ``workflow``: calls in folders whose library says what the project's does, which is loaded;
- ``jobs``: the scripts of the latter.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import runpy
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

LIBRARY = Path(__file__).resolve().parents[2] / "src"
_JOBS = "CIRCUIT_TEST_JOBS"  # tells a call where its jobs' server listens


def _times(library: Path) -> dict[str, float]:
    """When each file of a library was written; copies keep it."""
    files = (Path(folder, name) for folder, _, names in os.walk(library) for name in names)
    return {str(f.relative_to(library)): f.stat().st_mtime for f in files if f.suffix == ".py"}


# -- those who ask ---------------------------------------------------------------------------------


def call(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], output: IO[str]
) -> int:
    """The exit status of ``snakemake`` with these arguments, its output left in a file."""
    same = _times(folder / "src") == _times(LIBRARY)
    where = dict(environment)
    if same and "-n" not in arguments:
        where[_JOBS] = _server("jobs")
    server = _server("workflow" if same else "snakemake")
    with _asked(server, output, output, folder=str(folder), say=list(arguments), where=where) as it:
        it.readline()
        return int(it.readline())


@contextlib.contextmanager
def _asked(server: str, out: IO[str], error: IO[str], **what: Any) -> Any:
    """What a server answers: the number of the process, and, once it has ended, its status."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(server)
        socket.send_fds(line, [json.dumps(what).encode() + b"\n"], [out.fileno(), error.fileno()])
        with line.makefile() as answer:
            yield answer


@cache
def _server(role: str) -> str:
    """The socket of a server, which is started where it is first asked for."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    listening = folder / "socket"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE_")}
    server = subprocess.Popen(
        [sys.executable, __file__, role, str(listening)],
        env=environment,
    )
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.kill)
    while not listening.exists():
        assert server.poll() is None, f"the server of {role} ended"
        time.sleep(0.02)
    return str(listening)


# -- those who answer ------------------------------------------------------------------------------


class _Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Serves until the one who started it ends, however that ends."""

    run: Callable[..., None]
    asker = os.getppid()

    def service_actions(self) -> None:
        super().service_actions()
        if os.getppid() != self.asker:
            sys.exit()


class _Handler(socketserver.BaseRequestHandler):
    """Runs in a fork of the server, and forks once more for what is asked."""

    server: _Server

    def handle(self) -> None:
        text, files, _, _ = socket.recv_fds(self.request, 1 << 20, 2)
        while not text.endswith(b"\n"):
            text += self.request.recv(1 << 20)
        process = os.fork()
        if process == 0:
            for number, file in enumerate(files, 1):
                os.dup2(file, number)
            os._exit(_status(lambda: self.server.run(**json.loads(text))))
        self.request.sendall(f"{process}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        self.request.sendall(f"{status}\n".encode())


def _status(run: Callable[[], None]) -> int:
    """The exit status of a program, its last words said as Python says them."""
    try:
        run()
        status: object = None
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else int(status is not None)


def _snakemake(folder: str, say: Sequence[str], where: Mapping[str, str]) -> None:
    """Become a call of snakemake."""
    import snakemake.cli

    os.environ.clear()
    os.environ.update(where)
    os.chdir(folder)
    if "circuit" in sys.modules:  # as if it was read from there: it says the same
        sys.modules["circuit"].__file__ = str(Path(folder, "src", "circuit", "__init__.py"))
    sys.argv = ["snakemake", *say]
    snakemake.cli.main()


def _script(folder: str, script: str) -> None:
    """Become a script."""
    os.chdir(folder)
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")


def _load_snakemake() -> None:
    """Snakemake, and what it and the Snakefile look up."""
    for name in ("pydantic", "scipy.optimize", "smart_open"):
        importlib.import_module(name)
    import snakemake.cli
    from snakemake.benchmark import benchmarked
    from snakemake.script import PythonScript

    snakemake.cli.get_argument_parser()  # looks all plugins up
    plainly = PythonScript.execute_script

    def execute(self: Any, script: str, edit: bool = False) -> None:
        """Have a script run by the server of jobs, where the call was told of one."""
        if _JOBS not in os.environ:
            return plainly(self, script, edit)
        streams = sys.__stdout__, sys.__stderr__
        asked = _asked(os.environ[_JOBS], *streams, folder=os.getcwd(), script=script)
        with asked as answer, benchmarked(int(answer.readline()), self.bench_record):
            status = int(answer.readline())
        if status:
            raise subprocess.CalledProcessError(status, script)

    PythonScript.execute_script = execute


def _load_workflow() -> None:
    _load_snakemake()
    sys.path.insert(0, str(LIBRARY))
    importlib.import_module("circuit.config.plan")


def _load_jobs() -> None:
    """What scripts load."""
    sys.path.insert(0, str(LIBRARY))
    for kind in sorted(LIBRARY.glob("circuit/kinds/*/")):
        for part in ("settings", "measure", "view"):
            if (kind / f"{part}.py").exists():
                importlib.import_module(f"circuit.kinds.{kind.name}.{part}")
    for name in ("circuit.training.replay", "circuit.reports.page", "snakemake.script"):
        importlib.import_module(name)


_ROLES = {
    "snakemake": (_load_snakemake, _snakemake),
    "workflow": (_load_workflow, _snakemake),
    "jobs": (_load_jobs, _script),
}


def main() -> None:
    """Serve in a role, on a socket."""
    role, listening = sys.argv[1:]
    load, run = _ROLES[role]
    load()
    with _Server(listening + ".new", _Handler) as server:
        server.run = run
        os.rename(listening + ".new", listening)
        server.serve_forever()


if __name__ == "__main__":
    main()

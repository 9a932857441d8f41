"""Where an artifact came from: enough to make it again and to notice that it is stale.

A record holds nothing about who made it or where: no host name, no user, and no path outside
the project, so that published results are the same from every machine but for the hardware. Nor
does it say how long the job took, which is another each time: the workflow's benchmark files do.
"""

import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from circuit._artifacts.files import StrPath, sha256_file
from circuit._artifacts.identity import place
from circuit._artifacts.records import digest_json

_COMPUTING = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow")
_DISTRIBUTIONS = ("circuit-formation", *_COMPUTING, "snakemake")


def provenance(
    *,
    inputs: Mapping[str, StrPath | Sequence[StrPath]],
    settings: Any,
    modules: Sequence[str],
    seeds: Mapping[str, int],
    threads: int,
    device: str = "cpu",
) -> dict[str, Any]:
    """Return the provenance block of a report, ready for `write_json`.

    Args:
        inputs: name to file, or to several files, that the computation read. A path inside the
            working directory is recorded relative to it, one outside by its file name only.
        settings: the validated settings that were used, in JSON's types.
        modules: `circuit.fingerprint.Fingerprints.of` the script that calls this.
        seeds: what each seed was for, and its value.
        threads: CPU threads the job was given.
        device: the torch device that computed, such as "cpu" or "cuda:0".

    Raises:
        ArtifactError: an input is missing.
    """
    return {
        "inputs": {name: _describe(given) for name, given in sorted(inputs.items())},
        "settings": settings,
        "settings_sha256": digest_json(settings),
        "code": sorted(modules),
        "versions": _versions(),
        "device": _device(device),
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "cpu": _cpu_model(),
        },
        "threads": threads,
        "seeds": dict(seeds),
    }


def _describe(given: StrPath | Sequence[StrPath]) -> Any:
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [_describe(path) for path in given]
    return {"path": place(given), "sha256": sha256_file(given)}


def _versions() -> dict[str, str]:
    """Versions of Python and of what decides numbers; read from metadata, nothing is imported."""
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _device(name: str) -> str:
    """The device with the accelerator's model where torch, already loaded, knows it."""
    torch = sys.modules.get("torch")
    if not name.startswith("cuda") or torch is None or not torch.cuda.is_available():
        return name
    return f"{name} ({torch.cuda.get_device_name(name)})"


def _cpu_model() -> str:
    """The processor's model name; Linux does not tell it through `platform`."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()

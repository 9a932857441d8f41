"""What planning a study costs: ``snakemake -n``, as a ratio to starting Snakemake at all.

Calls are interleaved and compared by medians. Run it with ``make bench``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).parents[1]
CALLS = {
    "start": ["--version"],
    "quickstart": ["-n", "quickstart"],
    "reference": ["-n", "reference"],
}


def main() -> None:
    """Time every call and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in CALLS}
    for _ in range(options.rounds):
        for name, arguments in CALLS.items():
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "snakemake", *arguments],
                cwd=PROJECT,
                capture_output=True,
                check=True,
            )
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(t) for name, t in times.items()}
    for name, seconds in medians.items():
        print(f"{name:10s} {seconds:5.2f} s  {seconds / medians['start']:5.2f} × start")


if __name__ == "__main__":
    main()

"""What patching every head at every role of every pair costs, in plain forward passes.

The patches are those of the kind ``intervention`` at one reference-size checkpoint: each head's
output (or query, key, value, pattern) at each role, in every pair of each kind, with both controls
and the estimates made of them. A plain pass is the forward pass of the same programs in one full
batch, to logits at every position. CPU seconds are compared, plain passes before and after every
kind, so that neighbours change the ratio little. Run it with ``make bench``.

    patches     every patch and its two controls: three edited passes each
    plain       as many passes as there are patches, without controls
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from typing import get_args

import torch

from circuit.config.analysis import RoleName
from circuit.config.study import load_settings
from circuit.experiments.interventions import Bench, patches, places
from circuit.model.transformer import Decoder
from circuit.scalars.behaviour import soft_margin
from circuit.task.benchmark import build_benchmark
from circuit.task.events import ReadEvents
from circuit.task.frozen import pair_events
from circuit.task.pairs import build_pairs
from circuit.training.checkpoints import initial_state

BOUND = 1.3


def main() -> None:
    """Time patches of every kind of pair and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="z,pattern", help="of q, k, v, z, pattern")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = load_settings(Path(__file__).parents[1] / "workflow_config.yaml")
    recipe = settings.recipes["reference_formation"]
    benchmark = build_benchmark(settings.benchmarks["symbolic_kv_base"])
    words, pairs = benchmark.vocabulary, build_pairs(benchmark).pairs
    decoder = Decoder(recipe.model, words.size)
    theta = initial_state(decoder, recipe, 7).theta
    ratios = {}
    for part in options.parts.split(","):
        where = places([f"heads.{part}"], get_args(RoleName), recipe.model)
        bench = Bench(
            decoder, theta, words.value_ids, 0, where, (), lambda events: {"soft": soft_margin()},
            {"soft": "logit"}, 1, 0,
        )  # fmt: skip
        spent = plain = 0.0
        for kind, some in pairs.groupby("kind"):
            clean, corrupted = (pair_events(some, words, s) for s in ("clean", "corrupted"))
            passes = plain_passes(decoder, theta, clean)
            start = time.process_time()
            patches(bench, str(kind), clean, corrupted)
            spent += time.process_time() - start
            passes += plain_passes(decoder, theta, clean)
            plain += len(where) * statistics.median(passes)
        ratios[part] = spent / plain
        print(f"{part}: {len(where)} places, {len(pairs)} pairs, {spent:.0f} s of CPU")
        print(f"patches / plain: {ratios[part]:.2f} (at most {BOUND}); {ratios[part] / 3:.2f} each")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux
    print(f"{peak:.0f} MB at most")
    if options.json:
        record = {"threads": options.threads, "ratios": ratios, "peak_mb": peak}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


@torch.no_grad()
def plain_passes(decoder: Decoder, theta: torch.Tensor, events: ReadEvents) -> list[float]:
    """CPU seconds of forward passes over all programs, to logits; the first one is not counted."""
    params, found = decoder.layout.views(theta), []
    for _ in range(5):
        start = time.process_time()
        decoder.forward(params, events.tokens)
        found.append(time.process_time() - start)
    return found[1:]


if __name__ == "__main__":
    main()

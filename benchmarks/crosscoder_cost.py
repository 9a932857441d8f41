"""What fitting a temporal crosscoder costs at reference size, in minutes and memory.

States of 24 checkpoints at the reference model's width lie in a memory-mapped file, as the kind
``feature_births`` lays them; drawn at random, since what they hold changes no step's cost. A few
steps are timed, in CPU seconds, and extrapolated to the kind's default number. Run it with
``make bench``.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from circuit.config.study import load_settings
from circuit.kinds.feature_births.settings import Settings
from circuit.measures.features.crosscoder import fit_crosscoder, mapped_states, scale_states

BOUND_MINUTES, BOUND_MB = 25, 3000


def main() -> None:
    """Time some steps and print what a whole fit takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=int, default=24)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--timed", type=int, default=20, help="steps that are timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = load_settings(Path(__file__).parents[1] / "workflow_config.yaml").recipes
    width = recipe["reference_formation"].model.d_model
    asked = Settings(kind="feature_births", stage="layer_0_post_attn", size=options.features)
    rng, shape = np.random.default_rng(0), (options.inputs, options.checkpoints, width)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        states = mapped_states(Path(folder) / "states.f32", shape)
        for t in range(shape[1]):
            states[:, t] = rng.standard_normal((shape[0], width), dtype=np.float32)
        scaled = scale_states(states, np.arange(shape[0]) % 2 == 0)
        gathered = time.process_time() - start
        spent = []
        for steps in (2, 2 + options.timed):
            few = asked.model_copy(update={"steps": steps})
            start = time.process_time()
            fit_crosscoder(scaled, few, 0, name=f"{steps} steps")
            spent.append(time.process_time() - start)
    each = (spent[1] - spent[0]) / options.timed
    minutes = (gathered + spent[0] + each * asked.steps) / 60
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux
    print(f"gathered in {gathered:.0f} s; {each * 1e3:.0f} ms a step of {asked.batch_size} inputs")
    print(f"{asked.steps:,} steps: {minutes:.1f} minutes (at most {BOUND_MINUTES})")
    print(f"{peak:.0f} MB at most (bound {BOUND_MB})")
    if options.json:
        record = {"threads": options.threads, "minutes": minutes, "peak_mb": peak}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()

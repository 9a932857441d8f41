"""What replay and attribution cost, as ratios to a plain training step at reference size.

Everything is timed in one process, in interleaved rounds, and compared by medians, so that a slow
machine or a noisy neighbour changes seconds but hardly ratios. Run it with ``make bench``.

    plain            a training step: forward, backward, clip, AdamW
    products         just the matrix products of that step (linear maps and attention)
    replay           a replayed step with the exact split of its update
    one scalar       ... and one scalar attributed (trapezoid; atoms, all parameter groups)
    six scalars      ... and six scalars attributed from one shared forward pass
    with data        ... and the update split over data groups, through momentum
    500 features     a replayed step and 500 scalars attributed to 4 components in forward mode
    feature_causes   what the kind adds: 2 comparators, and groups of the told features

The 500 scalars are drives of random features at the last stage of the residual stream, so their
pass is as long as it can be. What gradients, and directions carried along, cost in plain passes is
what the engine chooses its mode by.

Then a process of its own for each of two stretches of different length attributes six scalars to
data groups, step by step: the ratio of their peak memories says what a longer stretch costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from circuit.attribution.data_labels import label_programs
from circuit.attribution.engine import Engine
from circuit.attribution.growth import Growth, StretchSums
from circuit.attribution.observers import AttributionObserver, FeatureObserver
from circuit.attribution.products import grouped
from circuit.attribution.sources import GroupMemory, OptimizerStep, UpdateSource
from circuit.config.scalar import ScalarSettings
from circuit.config.study import load_settings
from circuit.model.transformer import Decoder
from circuit.scalars.evaluate import Evaluator
from circuit.scalars.features import Dictionary, each_feature
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.task.benchmark import build_benchmark
from circuit.task.events import token_matrix
from circuit.task.frozen import probe_events
from circuit.task.probes import build_probe_set
from circuit.training.batches import BatchStream
from circuit.training.checkpoints import TrainState, initial_state
from circuit.training.replay import ReplayedStep
from circuit.training.trajectory import Trajectory

SIX = {
    "qk_separation": ScalarSettings(scalar="qk_separation", head="L1H0"),
    "qk_rank4": ScalarSettings(scalar="qk_separation", head="L1H0", rank=4, basis=0),
    "support_attention": ScalarSettings(scalar="support_attention", head="L1H0"),
    "ov_value_margin": ScalarSettings(scalar="ov_value_margin", head="L1H0"),
    "mass_times_ov": ScalarSettings(scalar="support_mass_ov_value_margin", head="L1H0"),
    "answer_margin": ScalarSettings(scalar="answer_margin", competitor="fixed_source"),
}
GROUPS = "head_projection"
DATA = "query_key"
STRETCHES = (3, 12)  # steps whose peak memories are compared
ONE = {"qk_separation": SIX["qk_separation"]}
FEATURES = 500
TOLD = 6
DRIVES = ScalarSettings(
    scalar="feature_drive", dictionary="random", features="every", role="prediction"
)
COSTED = (1, 9), (1, 6)  # scalars in reverse mode, and directions in forward mode


def main() -> None:
    """Time every variant and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--events", type=int, default=48, help="probe events per scalar")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)  # see peak_memory
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    variants, counts, costs = build(options.events)
    if options.peak_of:
        for _ in range(options.peak_of):
            variants["with data"]()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    for run in variants.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name, run in variants.items():
            times[name].append(timed(run))
    medians = {name: statistics.median(t) for name, t in times.items()}
    plain = medians["plain"]
    print(f"{options.threads} thread(s), {options.events} probe events, {options.rounds} rounds")
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    for name, seconds in medians.items():
        print(f"{name:14s} {seconds * 1e3:8.1f} ms  {seconds / plain:5.2f} × plain")
    seconds = {name: min(timed(run) for _ in range(options.rounds)) for name, run in costs.items()}
    in_passes = {name: value / seconds["a pass"] for name, value in seconds.items()}
    for name, passes in in_passes.items():
        print(f"{name:28s} {passes:6.2f} passes")
    print(f"plain / products: {plain / medians['products']:.2f}")
    added = (medians["with data"] - medians["six scalars"]) / plain
    print(f"data groups add {added:.2f} plain steps to six scalars")
    peaks = {steps: peak_memory(steps, options.events) for steps in STRETCHES}
    few, many = peaks.values()
    print(
        ", ".join(f"{mb:.0f} MB after {steps} steps" for steps, mb in peaks.items()),
        f"with data: ratio {many / few:.3f}",
    )
    if options.json:
        record = {
            "threads": options.threads,
            "events": options.events,
            "counts": counts,
            "seconds": medians,
            "passes": in_passes,
            "peak_mb": peaks,
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n")


def timed(run: Callable[[], object]) -> float:
    """Seconds that something takes once."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory(steps: int, n_events: int) -> float:
    """Peak resident memory in MB of a new process that attributes so many steps to data groups."""
    command = [sys.executable, __file__, "--peak-of", str(steps), "--events", str(n_events)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    kilobytes = int(done.stdout)  # as Linux counts them
    return kilobytes / 1024


Runs = dict[str, Callable[[], object]]


def build(n_events: int) -> tuple[Runs, dict[str, int], Runs]:
    """The variants, each a function that takes one step; how many there are of what; passes."""
    settings = load_settings(Path(__file__).parents[1] / "workflow_config.yaml")
    recipe = settings.recipes["reference_formation"]
    benchmark = build_benchmark(settings.benchmarks["symbolic_kv_base"])
    decoder = Decoder(recipe.model, benchmark.vocabulary.size)
    tokens, lengths = token_matrix(benchmark.splits["train"])
    stream = BatchStream(tokens, lengths, recipe.batch_size, 7)
    trajectory = Trajectory(decoder, recipe, 7, stream, "benchmark")
    probes = build_probe_set(benchmark)
    chosen = probes[probes["split"] == "validation_iid"].head(n_events).reset_index(drop=True)
    events = probe_events(chosen, benchmark.vocabulary).crop()
    state = initial_state(decoder, recipe, 7)
    width, draw = recipe.model.d_model, torch.Generator().manual_seed(0)
    random = Dictionary(
        torch.randn(width, FEATURES, generator=draw),
        torch.zeros(FEATURES),
        torch.randn(FEATURES, width, generator=draw),
        torch.zeros(width),
        f"layer_{recipe.model.n_layers - 1}_post_mlp",
    )
    context = ScalarContext(
        decoder=decoder,
        events=events,
        value_ids=benchmark.vocabulary.value_ids,
        heads={},
        theta=lambda step: state.theta.clone(),
        window=(0, 0),
        last=0,
        dictionaries={"random": random},
    )

    labels = label_programs(benchmark.splits["train"], benchmark.vocabulary, DATA)
    memory = GroupMemory(decoder, recipe.optimizer, labels)
    groups = grouped(decoder.layout, [GROUPS])
    components = OptimizerStep()

    def observed(specs: dict[str, ScalarSettings], source: UpdateSource) -> Callable[[], object]:
        scalars = {name: build_scalar(spec, context) for name, spec in specs.items()}
        engine = Engine(
            decoder.layout,
            Evaluator(decoder, events, benchmark.vocabulary.value_ids),
            scalars,
            ["trapezoid"],
        )
        growth = Growth(engine, source.parts, source.summands, groups, {}, [])
        observer = AttributionObserver(growth, source, since=0)
        own = state.clone()
        return lambda: observer.see(replayed(trajectory, own))

    evaluate = Evaluator(decoder, events, benchmark.vocabulary.value_ids)
    drives = {
        name: build_scalar(settings, context)
        for name, settings in each_feature({"born": DRIVES}, context.dictionaries).items()
    }

    def summed(told: list[str]) -> StretchSums:
        engine = Engine(decoder.layout, evaluate, drives, ["midpoint"], "events")
        return StretchSums(engine, components.parts, components.summands, told)

    def features() -> Callable[[], object]:
        """500 scalars and 4 components."""
        own, sums = state.clone(), summed([])
        sums.parts = components.parts[: components.summands]

        def run() -> None:
            step = replayed(trajectory, own)
            ends = step.before.theta, step.after.theta
            sums.attribute((step.step, step.step + 1), *ends, step.components.stacked())

        return run

    def causes() -> Callable[[], object]:
        """All that a job does for feature_causes."""
        told = {name: drives[name] for name in list(drives)[:TOLD]}
        engine = Engine(decoder.layout, evaluate, told, ["midpoint"])
        growth = Growth(engine, components.parts, components.summands, groups, {}, [])
        observer = FeatureObserver(summed(list(told)), growth, components, since=0)
        own = state.clone()
        return lambda: observer.see(replayed(trajectory, own))

    few = [dict(list(drives.items())[:n]) for n in COSTED[0]]
    updates = torch.randn((COSTED[1][1], decoder.layout.size), generator=draw) * 1e-4
    costs: Runs = {"a pass": lambda: evaluate.values(state.theta, few[0])}
    for some in few:
        costs[f"{len(some)} gradients"] = lambda some=some: evaluate(state.theta, some)
    for n in COSTED[1]:
        costs[f"{n} directions"] = lambda n=n: evaluate.along(state.theta, drives, updates[:n])

    plain, split = state.clone(), state.clone()
    batch = stream.batch(0).tokens
    variants = {
        "plain": lambda: trajectory.take_step(plain),
        "products": products(decoder, len(batch), batch.shape[1] - 1),
        "replay": lambda: replayed(trajectory, split).components,
        "one scalar": observed(ONE, components),
        "six scalars": observed(SIX, components),
        "with data": observed(SIX, memory),
        f"{FEATURES} features": features(),
        "feature_causes": causes(),
    }
    counts = {
        "scalars": len(SIX),
        "parameter groups": len(groups[GROUPS].groups),
        "components": components.summands,
        "data groups": len(labels.groups),
    }
    return variants, counts, costs


def replayed(trajectory: Trajectory, state: TrainState) -> ReplayedStep:
    """One step as `circuit.training.replay` yields it, without reading checkpoints."""
    before, number = state.clone(), state.step
    taken = trajectory.take_step(state)
    return ReplayedStep(trajectory, number, before, state, taken)


def products(decoder: Decoder, batch: int, length: int) -> Callable[[], object]:
    """The step's matrix products on random numbers: forward, and two per product backward."""
    s, rows = decoder.settings, batch * length
    linear = [
        (s.d_model, 3 * s.d_model),
        (s.d_model, s.d_model),
        (s.d_model, s.d_ff),
        (s.d_ff, s.d_model),
    ] * s.n_layers + [(s.d_model, decoder.vocab_size)]
    operands = [(torch.randn(rows, i), torch.randn(o, i), torch.randn(rows, o)) for i, o in linear]
    heads = (batch * s.n_heads, length, s.d_head)
    q, k = torch.randn(heads), torch.randn(heads)
    scores = torch.randn(batch * s.n_heads, length, length)

    def run() -> None:
        for x, w, g in operands:
            x @ w.T
            g @ w
            g.T @ x
        for _ in range(s.n_layers):
            for _ in range(2):  # scores = q kᵀ and z = pattern v, with two products backward each
                q @ k.transpose(1, 2)
                scores @ k
                scores.transpose(1, 2) @ q

    return run


if __name__ == "__main__":
    main()

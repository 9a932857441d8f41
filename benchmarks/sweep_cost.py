"""What a sweep of one checkpoint costs, against the same measurement with TransformerLens' hooks.

Both sides measure the probe events of one reference-size checkpoint: logit lens and drift at every
stage, every head's attention to the query key and the support value, every component's write norms,
answer contribution and mean-ablation effect. Both end with the same averages and intervals, and the
means must agree before anything is timed. Linear probes and whole splits are left out: they would
cost both sides the same.

    here      one pass, and passes that continue where a component was removed
    hooks     run_with_cache, then run_with_hooks once for every head and MLP

Everything is timed in one process, in interleaved rounds, and compared by medians. Run it with
``make bench``, which installs TransformerLens.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from circuit.config.study import load_settings
from circuit.measures.sweep.event_pass import (
    ROLES,
    Columns,
    StageStates,
    averaged,
    event_rows,
    event_states,
)
from circuit.model.counting import CountingDecoder
from circuit.model.huggingface import to_huggingface
from circuit.model.passes import Passes
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import margin, pick
from circuit.task.benchmark import build_benchmark
from circuit.task.events import ReadEvents
from circuit.task.frozen import probe_events
from circuit.task.probes import build_probe_set
from circuit.training.checkpoints import initial_state

TOLERANCE = 2e-3  # logits of an untrained reference model are of order 10, in float32


def main() -> None:
    """Check that both sides agree, time them and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = load_settings(Path(__file__).parents[1] / "workflow_config.yaml")
    recipe = settings.recipes["reference_formation"]
    benchmark = build_benchmark(settings.benchmarks["symbolic_kv_base"])
    probes = build_probe_set(benchmark)
    chosen = probes[probes["split"] == "validation_iid"].reset_index(drop=True)
    events = probe_events(chosen, benchmark.vocabulary).crop()
    values = benchmark.vocabulary.value_ids
    decoder = CountingDecoder(Decoder(recipe.model, benchmark.vocabulary.size))
    theta, other = (initial_state(decoder, recipe, seed).theta for seed in (7, 11))
    elsewhere = event_states(decoder, other, events, values)
    with tempfile.TemporaryDirectory() as folder:
        exported = to_huggingface(decoder, theta)
        exported.save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder, hf_model=exported)

    def here() -> dict[str, pd.DataFrame]:
        found, _ = event_rows(decoder, theta, events, values, "mean", None, elsewhere)
        return {name: found[name] for name in ("stages", "components")}

    def hooks() -> dict[str, pd.DataFrame]:
        with torch.no_grad():
            return averaged(by_hooks(bridge, events, values, elsewhere))

    variants = {"here": here, "hooks": hooks}
    decoder.passes = Passes()
    require_agreement(here(), hooks())
    equivalent = decoder.passes.equivalent(len(events), recipe.model.n_layers)
    passes = {"here": equivalent, "hooks": 1 + recipe.model.n_layers * (recipe.model.n_heads + 1)}
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(t) for name, t in times.items()}
    print(f"{options.threads} thread(s), {len(events)} probe events, {options.rounds} rounds")
    for name, seconds in medians.items():
        print(f"{name:6s} {seconds * 1e3:8.1f} ms, {passes[name]:.1f} forward passes")
    print(f"hooks / here: {medians['hooks'] / medians['here']:.2f}")
    if options.json:
        record = {"threads": options.threads, "seconds": medians, "passes": passes}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


def by_hooks(
    bridge: Any, events: ReadEvents, values: range, elsewhere: StageStates
) -> dict[str, Columns]:
    """The measurement as a user of TransformerLens would write it."""
    at, answer = events.prediction, events.answer
    logits, cache = bridge.run_with_cache(events.tokens)
    config = bridge.cfg
    names = ["blocks.0.hook_resid_pre"]
    for layer in range(config.n_layers):
        names += [f"blocks.{layer}.hook_resid_mid", f"blocks.{layer}.hook_resid_post"]
    by_stage: Columns = {}
    by_component: Columns = {}
    right = answer - values.start
    for i, stage in enumerate(stages(config.n_layers)):
        whole = cache[names[min(i, len(names) - 1)]]
        if stage == "final_norm":
            whole = bridge.ln_final(whole)
        state = pick(whole, at)
        read = state if stage == "final_norm" else bridge.ln_final(state)
        margins = margin((read @ bridge.W_U)[:, values.start : values.stop], right, None)
        by_stage[stage, "prediction", "", "lens_accuracy"] = (margins > 0).float()
        by_stage[stage, "prediction", "", "lens_margin"] = margins
        for j, role in enumerate(ROLES):
            there = elsewhere[i, j]
            moved = (pick(whole, events.role_position(role)) - there).norm(dim=-1)
            by_stage[stage, role, "", "drift_reference"] = moved / there.norm(dim=-1)
    clean = margin(pick(logits, at), answer, None)
    unembedding = bridge.W_U.T[values.start : values.stop]
    others = (unembedding.sum(0) - unembedding[right]) / (len(unembedding) - 1)
    direction = bridge.ln_final.weight * (unembedding[right] - others)
    direction = direction - direction.mean(-1, keepdim=True)
    direction = direction / pick(cache["ln_final.hook_scale"], at)
    for layer in range(config.n_layers):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        z = cache[f"blocks.{layer}.attn.hook_z"]
        for head in range(config.n_heads):
            name = f"L{layer}H{head}"
            row = pick(pattern[:, head], at)
            for role in ("query_key", "support_value"):
                attended = pick(row, events.role_position(role))
                by_component[name, "prediction", f"attention_{role}"] = attended
            write = z[:, :, head] @ bridge.W_O[layer, head]
            note_write(by_component, name, write, events, direction)
            changed = bridge.run_with_hooks(
                events.tokens,
                fwd_hooks=[
                    (f"blocks.{layer}.attn.hook_z", partial(mean_head, head=head, events=events))
                ],
            )
            effect = clean - margin(pick(changed, at), answer, None)
            by_component[name, "prediction", "ablation_effect"] = effect
        name = f"L{layer}MLP"
        write = cache[f"blocks.{layer}.hook_mlp_out"]
        note_write(by_component, name, write, events, direction)
        changed = bridge.run_with_hooks(
            events.tokens,
            fwd_hooks=[(f"blocks.{layer}.hook_mlp_out", partial(mean_write, events=events))],
        )
        effect = clean - margin(pick(changed, at), answer, None)
        by_component[name, "prediction", "ablation_effect"] = effect
    return {"stages": by_stage, "components": by_component}


def note_write(
    found: Columns, name: str, write: Tensor, events: ReadEvents, direction: Tensor
) -> None:
    """Norms of a write at both roles, and what it adds along the answer direction."""
    for role in ROLES:
        found[name, role, "write_norm"] = pick(write, events.role_position(role)).norm(dim=-1)
    direct = (pick(write, events.prediction) * direction).sum(-1)
    found[name, "prediction", "answer_contribution"] = direct


def mean_head(z: Tensor, hook: object, head: int, events: ReadEvents) -> Tensor:
    """Put a head's mean over all positions of all events in place of it."""
    z = z.clone()
    z[:, :, head] = z[:, :, head][events.causal_prefix].mean(0)
    return z


def mean_write(write: Tensor, hook: object, events: ReadEvents) -> Tensor:
    """Put an MLP's mean write in place of it."""
    return write[events.causal_prefix].mean(0).expand_as(write)


def require_agreement(one: dict[str, pd.DataFrame], two: dict[str, pd.DataFrame]) -> None:
    """Both sides must have measured the same."""
    for name, table in one.items():
        keys = [c for c in table.columns if c not in ("mean", "low", "high", "count")]
        a, b = (part.set_index(keys)["mean"].sort_index() for part in (table, two[name]))
        pd.testing.assert_series_equal(a, b, rtol=TOLERANCE, atol=TOLERANCE)


if __name__ == "__main__":
    main()

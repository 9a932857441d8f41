"""A mistake in the configuration is named before anything runs, with what to do about it."""

import copy
import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import yaml
from tiny_study import ABSENT, TINY, Tree, changed

from circuit.config.plan import Plan
from circuit.config.registry import KINDS, VIEWS
from circuit.config.study import load_settings, read_yaml
from circuit.errors import ConfigError

ANALYSIS = "studies.quickstart.analyses"
RUN = "studies.quickstart.runs"
BENCHMARK = "benchmarks.tiny_kv"
SETTINGS = "expected: settings as docs/guide.md describes them — what to do: correct this key"
WINDOW = (
    "does not lie between checkpoints of run 'seed7' (0..40, every 10) — "
    f"where: {ANALYSIS}.competition.window — expected: two checkpoint steps of the run, the first "
    "smaller — what to do: move the window onto checkpoints, or change checkpoint_every"
)
ANALYSES = ", ".join(TINY["studies"]["quickstart"]["analyses"])
FOLDER = (
    "becomes a folder, so it may hold only letters, digits, '_' and '-' (no path separators, dots "
    "or spaces)"
)


def message(changes: dict[str, Any]) -> str:
    """What is said about the tiny configuration with some values changed."""
    with pytest.raises(ConfigError) as caught:
        Plan(load_settings(changed(TINY, changes)))
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "guess", "where"),
    [
        (f"{ANALYSIS}.closure.fold", "folds", f"{ANALYSIS}.closure"),
        (f"{ANALYSIS}.closure.routes.qk_separation.rnk", "rank", None),
        ("studies.quickstart.windws", "windows", "studies.quickstart"),
        ("studies.quickstart.replay.segment_per_job", "segments_per_job", None),
        (f"{RUN}.seed7.sed", "seed", f"{RUN}.seed7"),
        (f"{BENCHMARK}.n_vals", "n_values", BENCHMARK),
        (f"{BENCHMARK}.in_distribution.query_lags", "query_lag", None),
        ("recipes.other.learning_rat", None, "recipes.other"),
        ("recipes.other.optimizer.learning_rte", "learning_rate", "recipes.other.optimizer"),
        ("recipes.other.model.n_layer", "n_layers", "recipes.other.model"),
    ],
)
def test_unknown_key_is_named_with_its_nearest_spelling(
    key: str, guess: str | None, where: str | None
) -> None:
    text = message({key: 1})
    start = f"unknown key {key.rpartition('.')[2]!r}; "
    assert text.startswith(start + (f"did you mean {guess!r}? " if guess else "valid keys: "))
    assert f"where: configuration: {where or key.rpartition('.')[0]} — " in text


def test_unknown_key_at_the_top() -> None:
    assert message({"bencmarks": {}}) == (
        "unknown key 'bencmarks'; did you mean 'benchmarks'? valid keys: benchmarks, recipes, "
        f"studies — where: configuration — {SETTINGS}"
    )


def test_keys_that_hold_anchors_are_let_through() -> None:
    load_settings(changed(TINY, {"x-scalars": {"anything": 1}}))


def _most(most: int, given: int) -> str:
    return f"Input should be less than or equal to {most} (given: {given})"


BAD_VALUES = {
    "too few values": (
        {f"{BENCHMARK}.n_values": 11},
        "11 values are too few for programs of up to 12 writes (structural_ood), whose values are "
        f"all different — where: configuration: {BENCHMARK}.n_values — expected: at least 13, one "
        "more than the writes for a counterfactual — what to do: raise n_values, or lower "
        "structural_ood.active_keys or structural_ood.overwrites",
    ),
    "lag too long": (
        {f"{BENCHMARK}.in_distribution.query_lag": [1, 9]},
        "the longest query lag, 9, never occurs with 3 active keys and 6 overwrites — where: "
        f"configuration: {BENCHMARK}.in_distribution.query_lag — expected: at most 4 — what to do: "
        "lower in_distribution.query_lag, or raise in_distribution.active_keys or "
        "in_distribution.overwrites",
    ),
    "range upside down": (
        {f"{BENCHMARK}.in_distribution.active_keys": [3, 2]},
        "range [3, 2] starts above its end (given: [3, 2]) — where: configuration: "
        f"{BENCHMARK}.in_distribution.active_keys — {SETTINGS}",
    ),
    "folds": (
        {f"{ANALYSIS}.closure.folds": 1},
        "Input should be greater than or equal to 2 (given: 1) — where: configuration: "
        f"{ANALYSIS}.closure.folds — {SETTINGS}",
    ),
    "checkpoint_every": (
        {"recipes.other": {**TINY["recipes"]["other"], "steps": 45}},
        "steps 45 is not a multiple of checkpoint_every 10 — where: configuration: recipes.other — "
        f"{SETTINGS}",
    ),
    "steps of a run": (
        {f"{RUN}.seed11.steps": 15},
        "steps 15 is not a multiple of checkpoint_every 10 — where: "
        f"{RUN}.seed11.steps — expected: a multiple of 10 — what to do: choose another number of "
        "steps",
    ),
    "heads do not divide": (
        {"recipes.other.model.n_heads": 3},
        "d_model 16 is not a multiple of n_heads 3 — where: configuration: recipes.other.model — "
        f"{SETTINGS}",
    ),
    "context too short": (
        {"recipes.other.model.context": 20},
        "context 20 is too short for benchmark 'other_kv', whose programs have up to 53 tokens — "
        "where: recipes.other.model.context — expected: at least 53 — what to do: raise the "
        "context, or choose a benchmark with shorter programs",
    ),
    "nothing to attribute": (
        {f"{ANALYSIS}.attribution.scalars": {}},
        f"scalars is empty — where: configuration: {ANALYSIS}.attribution.scalars — expected: at "
        "least one — what to do: add one, or take the analysis away",
    ),
    "window outside the run": (
        {"studies.quickstart.windows.formation": [10, 50]},
        f"window 10..50 {WINDOW}",
    ),
    "window beside checkpoints": (
        {"studies.quickstart.windows.formation": [10, 25]},
        f"window 10..25 {WINDOW}",
    ),
    "window upside down": (
        {"studies.quickstart.windows.formation": [30, 10]},
        f"window 30..10 {WINDOW}",
    ),
    "a measured window of no analysis": (
        {f"{ANALYSIS}.compare.window": "birth.main"},
        "analysis 'birth' does not exist — where: configuration: "
        f"{ANALYSIS}.compare.window — expected: one of {ANALYSES} — what to do: did you mean "
        "'births'?",
    ),
    "a measured window of an analysis that finds none": (
        {f"{ANALYSIS}.compare.window": "behaviour.main"},
        "analysis 'behaviour' is of kind 'checkpoint_sweep' — where: configuration: "
        f"{ANALYSIS}.compare.window — expected: an analysis of kind 'birth_windows' — what to do: "
        "name one of births",
    ),
    "a measured window of another run": (
        {f"{ANALYSIS}.compare.runs": ["seed11"]},
        "analysis 'births' does not cover run 'seed11', which 'compare' covers — where: "
        f"configuration: {ANALYSIS}.compare.window — expected: an analysis of at least the same "
        "runs — what to do: add the run to births.runs, or take it out of compare.runs",
    ),
    "a measured window among the study's": (
        {"studies.quickstart.windows.measured": "births.main"},
        "Input should be a valid tuple (given: 'births.main') — where: configuration: "
        f"studies.quickstart.windows.measured — {SETTINGS}",
    ),
    "no such event": (
        {f"{ANALYSIS}.prompt.event": 24},
        f"event 24 is not among the 24 probe events — where: {ANALYSIS}.prompt.event — expected: 0 "
        "to 23 — what to do: name one of these events, or raise benchmarks.tiny_kv.probes",
    ),
    "no such head": (
        {f"{ANALYSIS}.attention.head": "L2H0"},
        f"head 'L2H0' does not exist in run 'seed7' — where: {ANALYSIS}.attention.head — expected: "
        "L0H0 to L1H3 — what to do: name an existing head, or winner / runner_up / bottom",
    ),
    "no such head in a scalar": (
        {f"{ANALYSIS}.closure.routes.qk_separation.head": "winer"},
        f"head 'winer' does not exist in run 'seed7' — where: {ANALYSIS}.closure.routes."
        "qk_separation.head — expected: L0H0 to L1H3 — what to do: name an existing head, or "
        "winner / runner_up / bottom",
    ),
    "too many folds": (
        {f"{ANALYSIS}.closure.folds": 25},
        f"25 folds are more than the 24 probe events — where: {ANALYSIS}.closure.folds — expected: "
        "2 to 24 — what to do: lower folds, or raise benchmarks.tiny_kv.probes",
    ),
    "no runs": (
        {f"{ANALYSIS}.closure.runs": []},
        f"runs is empty — where: configuration: {ANALYSIS}.closure.runs — expected: at least one — "
        "what to do: add one, or take the analysis away",
    ),
    "no outcomes": (
        {f"{ANALYSIS}.closure.outcomes": {}},
        f"outcomes is empty — where: configuration: {ANALYSIS}.closure.outcomes — expected: at "
        "least one — what to do: add one, or take the analysis away",
    ),
    "no settings": (
        {"recipes.other": 3},
        f"further keys are missing (given: 3) — where: configuration: recipes.other — {SETTINGS}",
    ),
}


for _field, _value, _step, _near in [
    ("paths.second_order", ["final", 25], 25, 20),
    ("behaviour.reference", 5, 5, 0),
    ("prompt.checkpoint", 35, 35, 30),
    ("attribution.scalars.qk_separation_rank2.basis", 15, 15, 10),
    ("full_evaluation.checkpoint", 100, 100, 40),
]:
    BAD_VALUES[_field] = (
        {f"{ANALYSIS}.{_field}": _value},
        f"run 'seed7' has no checkpoint at step {_step} — where: {ANALYSIS}.{_field} — expected: a "
        "checkpoint step (0..40, every 10) — what to do: use a step with a checkpoint (the nearest "
        f"is {_near})",
    )
for _field in [
    "head_scan.rank",
    "contextual.rank",
    "attention.directions",
    "weights.top",
    "attribution.scalars.qk_separation_rank2.rank",
]:
    _name = _field.rpartition(".")[2]
    BAD_VALUES[_field] = (
        {f"{ANALYSIS}.{_field}": 5},
        f"{_name} 5 is too large for W_QK of run 'seed7' — where: {ANALYSIS}.{_field} — expected: "
        f"1 to 4, the width of a head — what to do: lower {_name}",
    )


OTHER = "recipes.other"
for _field, _value, _what in [
    # Of another type than the field's.
    (f"{RUN}.seed7.seed", True, "Input should be a valid integer (given: True)"),
    (f"{RUN}.seed7.seed", "7", "Input should be a valid integer (given: '7')"),
    (f"{OTHER}.checkpoint_every", True, "Input should be a valid integer (given: True)"),
    (f"{OTHER}.optimizer.clip", True, "Input should be a valid number (given: True)"),
    (
        f"{OTHER}.optimizer.learning_rate",
        "1e-3",
        "Input should be a valid number; YAML needs a point and a sign in such a number: 1.0e-3 "
        "(given: '1e-3')",
    ),
    (f"{OTHER}.optimizer.learning_rate", math.inf, "Input should be a finite number (given: inf)"),
    (f"{ANALYSIS}.contextual.shrinkage", math.inf, "Input should be a finite number (given: inf)"),
    # Larger than any machine holds.
    (f"{ANALYSIS}.head_scan.rank", 10**9, _most(10**6, 10**9)),
    (f"{ANALYSIS}.features.size", 10**9, _most(65_536, 10**9)),
    (f"{ANALYSIS}.weights.shifts", 10**9, _most(10_000, 10**9)),
    (f"{OTHER}.batch_size", 10**9, _most(65_536, 10**9)),
    (f"{OTHER}.model.d_model", 10**9, _most(8192, 10**9)),
    (f"{RUN}.seed7.seed", 10**30, _most(2**32 - 1, 10**30)),
    (f"{BENCHMARK}.in_distribution.samples.train", 10**12, _most(10**6, 10**12)),
    # An entry twice.
    (f"{ANALYSIS}.closure.runs", ["seed7", "seed7"], None),
    (f"{ANALYSIS}.behaviour.splits", ["heldout_pairs", "heldout_pairs"], None),
    (f"{ANALYSIS}.early.cutoffs", [0, 0], None),
    (f"{ANALYSIS}.examples.checkpoints", ["final", "final"], None),
    (f"{ANALYSIS}.compare.groups", ["head", "head"], None),
    (f"{OTHER}.early_checkpoints", [5, 5], None),
]:
    _said = _what or f"{_value[0]!r} is named twice; name each once (given: {_value})"
    BAD_VALUES[f"{_field} {_value}"] = (
        {_field: _value},
        f"{_said} — where: configuration: {_field} — {SETTINGS}",
    )
for _field in ["compare.roles", "behaviour.splits", "full_evaluation.splits", "compare.groups"]:
    _name = _field.rpartition(".")[2]
    BAD_VALUES[f"no {_field}"] = (
        {f"{ANALYSIS}.{_field}": []},
        f"{_name} is empty — where: configuration: {ANALYSIS}.{_field} — expected: at least one — "
        "what to do: add one, or take the analysis away",
    )
for _field, _value, _split, _most_programs, _size in [
    ("data.programs", 201, "train", 200, "in_distribution.samples.train"),
    ("data.buckets", 201, "train", 200, "in_distribution.samples.train"),
    ("examples.reads", 33, "heldout_pairs", 32, "in_distribution.samples.heldout_pairs"),
    ("behaviour.programs", 33, "validation_iid", 32, "in_distribution.samples.validation_iid"),
    ("competition.train_programs", 33, "validation_iid", 32, None),
    ("early.train_programs", 201, "train", 200, "in_distribution.samples.train"),
]:
    _name = _field.rpartition(".")[2]
    BAD_VALUES[f"{_field} above its split"] = (
        {f"{ANALYSIS}.{_field}": _value},
        f"{_name} {_value} is more than the {_most_programs} programs of {_split} — where: "
        f"{ANALYSIS}.{_field} — expected: at most {_most_programs} — what to do: lower {_name}, or "
        f"raise {BENCHMARK}.{_size or 'in_distribution.samples.validation_iid'}",
    )
BAD_VALUES |= {
    "events that there are not": (
        {f"{ANALYSIS}.attribution.events": 13},
        "13 events are more than the 12 probe events that confirm — where: "
        f"{ANALYSIS}.attribution.events — expected: 2 to 12, one half of the probe events — what "
        "to do: lower events, or raise benchmarks.tiny_kv.probes",
    ),
    "a group without members": (
        {f"{ANALYSIS}.effects.groups.both": []},
        "Value should have at least 2 items after validation, not 0 (given: []) — where: "
        f"configuration: {ANALYSIS}.effects.groups.both — {SETTINGS}",
    ),
    "a set without neurons": (
        {f"{ANALYSIS}.effects.neurons.some": []},
        f"some is empty — where: configuration: {ANALYSIS}.effects.neurons.some — expected: at "
        "least one — what to do: add one, or take the analysis away",
    ),
    "a component that there is not": (
        {f"{ANALYSIS}.effects.groups.both": ["L1H0", "L2H0"]},
        f"component 'L2H0' does not exist — where: {ANALYSIS}.effects.groups.both — expected: one "
        "of L0H0, L0H1, L0H2, L0H3, L1H0, L1H1, L1H2, L1H3, L0MLP, L1MLP, some — what to do: did "
        "you mean 'L1H0'?",
    ),
    "a neuron that there is not": (
        {f"{ANALYSIS}.effects.neurons.some": ["L0N32"]},
        f"neuron 'L0N32' does not exist in run 'seed7' — where: {ANALYSIS}.effects.neurons.some — "
        "expected: L0N0 to L1N31 — what to do: name an existing neuron",
    ),
    "a set called like a component": (
        {f"{ANALYSIS}.effects.neurons.L0MLP": ["L0N1"]},
        f"the name 'L0MLP' is taken — where: configuration: {ANALYSIS}.effects.neurons — expected: "
        "names of their own for sets of neurons and groups, none like L0MLP — what to do: rename "
        "it",
    ),
    "a neuron twice in a group": (
        {f"{ANALYSIS}.effects.groups.both": ["L1MLP", "some"]},
        "group 'both' holds neuron L1N7 twice — where: configuration: "
        f"{ANALYSIS}.effects.groups.both — expected: members that share no neuron, so that single "
        "effects can be summed — what to do: leave one of the members out",
    ),
    "a source that there is not": (
        {f"{ANALYSIS}.rescue.sources.first": ["L0H1", "L1N32"]},
        f"neuron 'L1N32' does not exist in run 'seed7' — where: {ANALYSIS}.rescue.sources.first — "
        "expected: L0N0 to L1N31 — what to do: name an existing neuron",
    ),
    "a pattern that there is not": (
        {f"{ANALYSIS}.rescue.sources.first": ["L0MLP.pattern"]},
        f"head 'L0MLP' does not exist in run 'seed7' — where: {ANALYSIS}.rescue.sources.first — "
        "expected: L0H0 to L1H3 — what to do: name an existing head, or winner / runner_up / "
        "bottom",
    ),
    "a group that comes before its source": (
        {f"{ANALYSIS}.rescue.groups.both": ["L1H0", "L0H2"]},
        "L0H2 comes after no source, so nothing of it is lost — where: configuration: "
        f"{ANALYSIS}.rescue.groups.both — expected: heads and MLPs that all come after a source — "
        "what to do: leave it out, or name an earlier source",
    ),
    "a source that a scan chooses, and none is named": (
        {f"{ANALYSIS}.rescue.sources.first": ["winner.pattern"]},
        "head 'winner' is one that a scan chooses, and none is named — where: configuration: "
        f"{ANALYSIS}.rescue.sources.first — expected: heads: the name of an analysis of kind "
        "head_scan — what to do: add heads, or name a head such as L1H3",
    ),
    "a feature named twice": (
        {f"{ANALYSIS}.between.scalars.active.features": [1, 1]},
        "1 is named twice; name each once (given: [1, 1]) — where: configuration: "
        f"{ANALYSIS}.between.scalars.active.features — {SETTINGS}; 2 more problem(s) follow",
    ),
    "a window of another type": (
        {f"{ANALYSIS}.closure.window": [0, -1]},
        "Input should be greater than or equal to 0 (given: -1) — where: configuration: "
        f"{ANALYSIS}.closure.window.1 — {SETTINGS}; 2 more problem(s) follow",
    ),
    "a rule compared with itself": (
        {f"{ANALYSIS}.attribution.comparators": ["trapezoid"]},
        "path_rule 'trapezoid' is among comparators, and a rule compared with itself says nothing; "
        f"name others, or none — where: configuration: {ANALYSIS}.attribution — {SETTINGS}",
    ),
    "a threshold compared with itself": (
        {f"{ANALYSIS}.foretold.other_thresholds": [0.25]},
        "0.25 is named twice; name each once — where: configuration: "
        f"{ANALYSIS}.foretold — {SETTINGS}",
    ),
    "one split for two": (
        {f"{ANALYSIS}.births.heldout_split": "validation_iid"},
        "heldout_split and split are both validation_iid — where: configuration: "
        f"{ANALYSIS}.births.heldout_split — expected: two that differ, since they are compared — "
        "what to do: change heldout_split or split",
    ),
    "more chunks than programs": (
        {f"{ANALYSIS}.early.chunks": 17},
        f"chunks 17 is more than train_programs 16 — where: configuration: {ANALYSIS}.early.chunks "
        "— expected: at most 16 — what to do: lower chunks, or raise train_programs",
    ),
    "too few probes": (
        {f"{BENCHMARK}.probes.programs_per_split": 2},
        f"2 probe events per split are too few to measure anything on — where: {BENCHMARK}.probes."
        "programs_per_split — expected: at least 8: one half chooses heads, the other confirms — "
        "what to do: raise it",
    ),
    "too few heads": (
        {f"{OTHER}.model.n_layers": 1, f"{OTHER}.model.n_heads": 2},
        "run 'alone' has 2 heads, too few for head_scan — where: studies.other.analyses.head_scan "
        "— expected: a model of at least 3 heads — what to do: add layers or heads, or leave the "
        "run out of the analysis' runs",
    ),
    "too many checkpoints": (
        {f"{OTHER}.steps": 16000, f"{OTHER}.checkpoint_every": 1},
        "checkpoint_every 1 of 16000 steps keeps 16001 checkpoints, more than the 2000 that can be "
        "planned; raise it, and name single steps in early_checkpoints — where: configuration: "
        f"{OTHER} — {SETTINGS}",
    ),
    "no studies": (
        {"studies": {}},
        "studies is empty — where: configuration: studies — expected: at least one — what to do: "
        "add one, or take the analysis away",
    ),
    "a name too long for a folder": (
        {f"studies.quickstart.windows.{'a' * 101}": [0, 10]},
        f"name {'a' * 101!r} has 101 letters; a folder's may have up to 100 (given: {'a' * 101!r}) "
        f"— where: configuration: studies.quickstart.windows.{'a' * 101} — {SETTINGS}",
    ),
    "one rule for two runs": (
        {
            f"{RUN}.sgd_seed7": {"recipe": "tiny", "seed": 9},
            "studies.quickstart_sgd": {
                **TINY["studies"]["other"],
                "focus": "seed7",
                "runs": {"seed7": {"recipe": "other", "seed": 1}},
            },
        },
        "run 'seed7' and a run of study 'quickstart' make one rule's name, "
        "train_quickstart_sgd_seed7 — where: configuration: studies.quickstart_sgd.runs.seed7 — "
        "expected: names of study and run that joined by '_' name this run alone — what to do: "
        "rename the run or the study",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_impossible_value(changes: dict[str, Any], expected: str) -> None:
    assert message(changes) == expected


@pytest.mark.parametrize("name", ["optimizer_trace", "attribution", "head_scan"])
def test_what_an_analysis_finds_is_no_window_to_replay_or_to_select_in(name: str) -> None:
    """Which steps are replayed, and by which heads, must be known before anything runs."""
    text = message({f"{ANALYSIS}.{name}.window": "births.main"})
    assert text.startswith("window 'births.main' is found by an analysis, but the steps of this ")
    assert f"where: configuration: {ANALYSIS}.{name}.window" in text


def test_a_kind_without_a_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(VIEWS, "closure")
    assert re.fullmatch(
        "kind 'closure' has no view — where: .*/circuit/kinds/closure — expected: a file view.py "
        "beside its settings.py — what to do: write it, as docs/extending.md shows",
        message({}),
    )


@pytest.mark.parametrize("name", ["a/b", "../up", "two words", "", ".hidden"])
@pytest.mark.parametrize("block", ["runs", "analyses", "windows"])
def test_a_name_that_is_no_folder(name: str, block: str) -> None:
    config = changed(TINY, {})
    values = {"runs": {"recipe": "tiny", "seed": 1}, "analyses": {"kind": "head_scan"}}
    config["studies"]["quickstart"][block][name] = values.get(block, [0, 10])
    with pytest.raises(ConfigError) as caught:
        load_settings(config)
    where = f"where: configuration: studies.quickstart.{block}.{name}"
    assert str(caught.value) == f"name {name!r} {FOLDER} (given: {name!r}) — {where} — {SETTINGS}"


BAD_REFERENCES = {
    "recipe": (
        {f"{RUN}.seed7.recipe": "tyny"},
        f"recipe 'tyny' does not exist — where: configuration: {RUN}.seed7.recipe — expected: one "
        "of tiny, sparse, other — what to do: did you mean 'tiny'?",
    ),
    "base": (
        {"recipes.sparse.base": "tinny"},
        "recipe 'sparse' has base 'tinny', which does not exist — where: configuration: recipes."
        "sparse.base — expected: a recipe that does not build on this one — what to do: did you "
        "mean 'tiny'?",
    ),
    "base of itself": (
        {"recipes.tiny.base": "sparse"},
        "recipe 'sparse' has base 'tiny', which leads back to itself — where: configuration: "
        "recipes.sparse.base — expected: a recipe that does not build on this one — what to do: "
        "name another base, or none",
    ),
    "train split": (
        {"recipes.tiny.train_split": "trian"},
        "split 'trian' does not exist — where: configuration: recipes.tiny.train_split — expected: "
        "one of train, validation_iid, test_iid, heldout_pairs, structural_ood, counterfactual — "
        "what to do: did you mean 'train'?",
    ),
    "benchmark": (
        {"studies.quickstart.benchmark": "tiny"},
        "benchmark 'tiny' does not exist — where: configuration: studies.quickstart.benchmark — "
        "expected: one of tiny_kv, other_kv — what to do: did you mean 'tiny_kv'?",
    ),
    "focus": (
        {"studies.quickstart.focus": "x"},
        "run 'x' does not exist — where: configuration: studies.quickstart.focus — expected: one "
        "of seed7, seed7_sparse, seed11 — what to do: correct the name or add it",
    ),
    "window": (
        {f"{ANALYSIS}.closure.window": "forming"},
        f"window 'forming' does not exist — where: configuration: {ANALYSIS}.closure.window — "
        "expected: one of formation — what to do: did you mean 'formation'?",
    ),
    "analysis": (
        {f"{ANALYSIS}.closure.heads": "headscan"},
        f"analysis 'headscan' does not exist — where: configuration: {ANALYSIS}.closure.heads "
        f"— expected: one of {ANALYSES} — what to do: did you mean 'head_scan'?",
    ),
    "analysis of another kind": (
        {f"{ANALYSIS}.closure.heads": "behaviour"},
        f"analysis 'behaviour' is of kind 'checkpoint_sweep' — where: configuration: {ANALYSIS}."
        "closure.heads — expected: an analysis of kind 'head_scan' — what to do: name one of "
        "head_scan",
    ),
    "analysis of other runs": (
        {f"{ANALYSIS}.closure.runs": ["seed7_sparse"]},
        "analysis 'head_scan' does not cover run 'seed7_sparse', which 'closure' covers — where: "
        f"configuration: {ANALYSIS}.closure.heads — expected: an analysis of at least the same "
        "runs — what to do: add the run to head_scan.runs, or take it out of closure.runs",
    ),
    "run of an analysis": (
        {f"{ANALYSIS}.closure.runs": ["seed8"]},
        f"run 'seed8' does not exist — where: configuration: {ANALYSIS}.closure.runs — expected: "
        "one of seed7, seed7_sparse, seed11 — what to do: did you mean 'seed7'?",
    ),
    "scalar of an attribution": (
        {f"{ANALYSIS}.cross_seed.scalar": "qk"},
        f"scalar 'qk' does not exist — where: configuration: {ANALYSIS}.cross_seed.scalar — "
        "expected: one of qk_separation, qk_separation_rank2 — what to do: correct the name or "
        "add it",
    ),
    "split that is not measured": (
        {f"{ANALYSIS}.behaviour.best_by": "test_iid"},
        f"measured split 'test_iid' does not exist — where: configuration: {ANALYSIS}.behaviour."
        "best_by — expected: one of validation_iid, heldout_pairs — what to do: correct the name "
        "or add it",
    ),
    "split of births that its sweep does not measure": (
        {f"{ANALYSIS}.births.heldout_split": "structural_ood"},
        "measured split 'structural_ood' does not exist — where: configuration: "
        f"{ANALYSIS}.births.heldout_split — expected: one of validation_iid, heldout_pairs — what "
        "to do: correct the name or add it",
    ),
    "split that a sweep no longer measures": (
        {f"{ANALYSIS}.behaviour.splits": ["heldout_pairs"]},
        "measured split 'validation_iid' does not exist — where: configuration: "
        f"{ANALYSIS}.births.split — expected: one of heldout_pairs — what to do: correct the name "
        "or add it",
    ),
    "split of a choice that its sweep does not measure": (
        {f"{ANALYSIS}.reference_model.heldout_split": "test_iid"},
        "measured split 'test_iid' does not exist — where: configuration: "
        f"{ANALYSIS}.reference_model.heldout_split — expected: one of validation_iid, "
        "heldout_pairs — what to do: correct the name or add it",
    ),
    "kind": (
        {f"{ANALYSIS}.closure.kind": "closur"},
        f"unknown kind 'closur'; did you mean 'closure'? valid kinds: {', '.join(KINDS)} — where: "
        f"configuration: {ANALYSIS}.closure — {SETTINGS}",
    ),
    "no kind": (
        {f"{ANALYSIS}.closure.kind": ABSENT},
        f"kind is missing — where: configuration: {ANALYSIS}.closure — {SETTINGS}",
    ),
    "name of a run and an analysis": (
        {f"{ANALYSIS}.seed7": {"kind": "head_scan", "rank": 2}},
        "'seed7' names both a run and an analysis — where: configuration: studies.quickstart — "
        "expected: different names, since both become folders — what to do: rename one of them",
    ),
    "name of a rule": (
        {"studies.closure": TINY["studies"]["other"]},
        "a study cannot be called 'closure' — where: configuration: studies.closure — expected: a "
        "name that no rule has, since `snakemake NAME` asks for the study — what to do: rename it",
    ),
    "name of another folder": (
        {f"{ANALYSIS}.replay": {"kind": "head_scan", "rank": 2}},
        f"an analysis cannot be called 'replay' — where: configuration: {ANALYSIS}.replay — "
        "expected: a name whose folder is not in use: beside a run's analyses lie train, replay "
        "and chords — what to do: rename it",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD_REFERENCES.values(), ids=BAD_REFERENCES)
def test_name_that_leads_nowhere(changes: dict[str, Any], expected: str) -> None:
    assert message(changes) == expected


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """What stands where in a configuration, by keys and places in lists."""
    if here:
        yield value, here
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, part in value.items():
            yield from paths(part, (*here, key))


# What stands twice under one name (two like benchmarks, the runs of analyses) is tried once.
PLACES = {(path[-1], repr(value)): path for value, path in paths(TINY)}.values()


@pytest.mark.parametrize(
    "value",
    [None, -1, 0, 1.5, 10**30, math.nan, "", "x", True, [], {}, [None], ["a", "a"], {"x": 1}],
    ids=repr,
)
def test_any_value_in_any_place_is_taken_or_refused(value: Any) -> None:
    """Whatever stands in the file, nobody sees a traceback."""
    for path in PLACES:
        config = copy.deepcopy(TINY)
        place: Any = config
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        with suppress(ConfigError):
            Plan(load_settings(config))


class TestOnScreen:
    """What the user of the command line sees."""

    @pytest.mark.parametrize(
        "changes",
        [
            {f"{ANALYSIS}.closure.fold": 3},
            {f"{BENCHMARK}.n_values": 11},
            {"studies.quickstart.windows.formation": [10, 25]},
        ],
        ids=["unknown key", "impossible benchmark", "window"],
    )
    def test_one_line_and_no_traceback(
        self, fresh: Callable[..., Tree], changes: dict[str, Any]
    ) -> None:
        done = fresh(changed(TINY, changes)).call("-n")
        assert done.returncode == 1
        assert [line for line in done.stdout.splitlines() if line] == [
            "Using workflow specific profile profiles/default for setting default command line "
            "arguments.",
            f"error: {message(changes)}",
        ]

    def test_a_value_given_on_the_command_line_is_checked_too(
        self, fresh: Callable[..., Tree]
    ) -> None:
        done = fresh().call("-n", "--config", "studis={}")
        assert done.returncode == 1
        assert "error: unknown key 'studis'; did you mean 'studies'?" in done.stdout
        assert "Traceback" not in done.stdout

    def test_a_key_given_twice_is_told_though_snakemake_takes_the_last(
        self, fresh: Callable[..., Tree]
    ) -> None:
        tree = fresh()
        with tree.path("workflow_config.yaml").open("a", encoding="utf-8") as file:
            file.write("recipes: {}\n")
        done = tree.call("-n")
        assert done.returncode == 1
        assert "error: key 'recipes' is given twice, in lines " in done.stdout
        assert "Traceback" not in done.stdout

    def test_steps_of_seven_digits_are_planned(self, fresh: Callable[..., Tree]) -> None:
        changes = {
            "recipes.tiny.steps": 2_000_000,
            "recipes.tiny.checkpoint_every": 500_000,
            "recipes.sparse.checkpoint_every": 1_000_000,
            "studies.quickstart.windows.formation": [1_000_000, 2_000_000],
            f"{ANALYSIS}.between.window": [0, 2_000_000],
            f"{ANALYSIS}.closure.window": [0, 2_000_000],
            f"{ANALYSIS}.early.cutoffs": [0, 500_000],
            f"{ANALYSIS}.feature_births.checkpoints": [0, 500_000],
        }
        assert fresh(changed(TINY, changes)).planned()["replay"] == 4

    def test_more_threads_than_cores(self, fresh: Callable[..., Tree]) -> None:
        tree = fresh(changed(TINY, {"recipes.other.threads": 64}))
        done = tree.call("--cores", "1", "results/other/alone/train/manifest.json")
        assert done.returncode == 1
        assert (
            "error: run 'alone' trains with 64 threads on 1 cores — where: threads of its recipe "
            "— expected: a core for each, since the run's bits depend on their number — what to "
            "do: give Snakemake more --cores, or lower threads"
        ) in done.stdout


class TestFile:
    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("a: {x: 1}\nb: 2\na: {x: 3}\n", "key 'a' is given twice, in lines 1 and 3"),
            ("a:\n  seed: 1\n  b: 2\n  seed: 3\n", "key 'seed' is given twice, in lines 2 and 4"),
            ("a: {x: 1, x: 2}\n", "key 'x' is given twice, in lines 1 and 1"),
            ("a: {seed: 010}\n", "010 in line 1 would be read as 8"),
            ("a: 1\nb: 0x10\n", "0x10 in line 2 would be read as 16"),
            ("a: 1:30\n", "1:30 in line 1 would be read as 90"),
            ("a: .inf\n", ".inf in line 1 would be read as inf"),
        ],
    )
    def test_what_yaml_reads_as_something_else(self, tmp_path: Any, text: str, what: str) -> None:
        file = tmp_path / "study.yaml"
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            read_yaml(file)
        assert str(caught.value) == (
            f"{what} — where: {file} — expected: every key once in its block, and numbers in plain "
            "decimals — what to do: correct the line named"
        )

    def test_merged_keys_and_plain_numbers_are_let_through(self, tmp_path: Any) -> None:
        file = tmp_path / "study.yaml"
        file.write_text(
            "a: &a {x: 0, y: -1.5e-3}\nb: {<<: *a, x: 1_000}\nc: {z: .5, é: 1.}\n", "utf-8"
        )
        assert read_yaml(file)["b"] == {"x": 1000, "y": -1.5e-3}

    def test_missing(self, tmp_path: Any) -> None:
        file = tmp_path / "study.yaml"
        with pytest.raises(ConfigError) as caught:
            load_settings(file)
        assert str(caught.value) == (
            f"configuration file is missing — where: {file} — expected: a YAML file with "
            "benchmarks, recipes and studies — what to do: restore it or name another with "
            "--configfile"
        )

    def test_not_yaml(self, tmp_path: Any) -> None:
        file = tmp_path / "study.yaml"
        file.write_text("studies: [\n")
        with pytest.raises(ConfigError, match=r"^configuration is not valid YAML \(.*line 2"):
            load_settings(file)

    def test_empty(self, tmp_path: Any) -> None:
        file = tmp_path / "study.yaml"
        file.write_text("# nothing yet\n")
        with pytest.raises(ConfigError, match=r"^configuration is empty — where: "):
            load_settings(file)

    def test_a_part_is_missing(self, tmp_path: Any) -> None:
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump(changed(TINY, {"studies": ABSENT})))
        with pytest.raises(ConfigError) as caught:
            load_settings(file)
        assert str(caught.value) == f"Field required — where: {file}: studies — {SETTINGS}"

"""A mistake in the configuration is named before anything runs, with what to do about it."""

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import yaml
from tiny_study import ABSENT, TINY, Tree, changed

from circuit.config.plan import Plan
from circuit.config.registry import KINDS, VIEWS
from circuit.config.study import load_settings
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
        "scalars is empty; name at least one scalar — where: configuration: "
        f"{ANALYSIS}.attribution — {SETTINGS}",
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
    [None, -1, 0, 1.5, 1000, "", "x", True, [], {}, [None], ["a", "a"], {"x": 1}],
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


class TestFile:
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

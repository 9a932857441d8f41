"""What recomputes what: change one thing in a finished study, and exactly its dependants run.

The expected sets are written by hand from what the analyses mean, not from the workflow's rules:
they name what is measured anew, and each of that is viewed anew too. An analysis that ran again
makes everything that reads its files run again, also where the files came out the same; so a change
of what replays are asked for reaches every table of those replays.
"""

import ast
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_study import ABSENT, TINY, Tree, changed, dry_runs, jobs_in

from circuit.artifacts import read_json, read_rows, read_units, write_rows
from circuit.config.registry import VIEWS

Change = Callable[[Tree], None]
Jobs = dict[str, int]

ANALYSIS = "studies.quickstart.analyses"
RUN = "studies.quickstart.runs"
OTHER = "studies.other"
DATA = "data/tiny_kv"
LIBRARY = "src/circuit"
CHECKPOINTS = "results/quickstart/seed7/train/checkpoints"

PAGE: Jobs = {"report": 1}
SEEDS: Jobs = {"cross_seed": 1, **PAGE}
REPLAYS: Jobs = {
    "replay": 4,
    "optimizer_trace": 1,
    "update_attribution": 2,
    "data_attribution": 1,
    "feature_causes": 1,
    **SEEDS,
}
# One attribution looks at checkpoints alone.
ATTRIBUTIONS: Jobs = {**REPLAYS, "chords": 1, "update_attribution": 3}
SELECTIONS: Jobs = {
    "embedding_alignment": 1,
    "update_geometry": 1,
    "attention_geometry": 1,
    "hypothesis_test": 1,
    "qk_features": 1,
    "contextual_geometry": 1,
    "closure": 1,
    "scalar_progress": 1,
    "functional_write": 1,
    "example_gradients": 1,
    "foretold": 1,
    **ATTRIBUTIONS,
}
BIRTHS: Jobs = {"birth_windows": 1, "birth_window_compare": 1, "weight_svd": 1, **PAGE}
SWEEPS: Jobs = {
    "checkpoint_sweep": 3,
    "reference_model": 1,
    "full_evaluation": 1,
    **BIRTHS,
    **SEEDS,
}
PROBED: Jobs = {
    "path_logits": 1,
    "circuit_map": 1,
    "component_effects": 1,
    "mediation": 1,
    "rescue": 1,
    "intervention": 1,
    "coalitions": 1,
    "candidates": 1,
    "prompt_trace": 1,
    **PAGE,
}
EARLY: Jobs = {"route_features": 2, "foretold": 1, **PAGE}
UNPROBED: Jobs = {
    "dictionary": 1,
    "feature_births": 1,
    "families": 1,
    "value_code": 1,
    "value_transfer": 1,
}
ANALYSES: Jobs = {"head_scan": 2, **UNPROBED, **SWEEPS, **SELECTIONS, **PROBED, **EARLY}
TRAININGS: Jobs = {
    "train_quickstart_seed7": 1,
    "train_quickstart_seed11": 1,
    "view_quickstart_seed7_sparse": 1,
}
FROM_TRAINING: Jobs = {**TRAININGS, **ANALYSES}
ALL_VIEWS: Jobs = {
    **{f"view_{kind}": ANALYSES.get(kind, 1) for kind in VIEWS},
    **PAGE,
}
EVERYTHING: Jobs = {"benchmark": 1, "dataset_geometry": 1, **FROM_TRAINING}
NOTHING: Jobs = {}


# -- changes -------------------------------------------------------------------------------------


def setting(path: str, value: Any) -> Change:
    """Another value in the configuration."""
    return settings({path: value})


def settings(changes: Mapping[str, Any]) -> Change:
    return lambda tree: tree.configure(changed(TINY, changes))


def respelt(tree: Tree) -> None:
    """The same configuration, as another hand would write it."""
    defaults = {"recipes.tiny.threads": 1, f"{ANALYSIS}.closure.seed": 0}
    config = {"x-nothing": {"a": 1}, **changed(TINY, defaults)}
    text = yaml.safe_dump(dict(reversed(config.items())), sort_keys=False, default_flow_style=True)
    tree.path("workflow_config.yaml").write_text(f"# The same study.\n{text}")


class _Turned(ast.NodeTransformer):
    """Turns the first product, quotient or difference into a sum."""

    turned = False

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if not self.turned and isinstance(node.op, ast.Sub | ast.Mult | ast.Div):
            self.turned = True
            return ast.BinOp(node.left, ast.Add(), node.right)
        return self.generic_visit(node)


def formula(module: str) -> Change:
    """Another formula in a module of the library."""

    def change(tree: Tree) -> None:
        file = tree.path(f"{LIBRARY}/{module}")
        turn = _Turned()
        text = ast.unparse(turn.visit(ast.parse(file.read_text())))
        assert turn.turned, f"{module} has no formula to change"
        file.write_text(text)

    return change


def statement(module: str) -> Change:
    """One more statement in a module of the library."""

    def change(tree: Tree) -> None:
        file = tree.path(f"{LIBRARY}/{module}")
        file.write_text(f"{file.read_text()}\n_ONE_MORE = 1\n")

    return change


def new_setting(kind: str) -> Change:
    """One more setting, with a default, of a kind of analysis."""

    def change(tree: Tree) -> None:
        file = tree.path(f"{LIBRARY}/kinds/{kind}/settings.py")
        file.write_text(f"{file.read_text()}\n    one_more: int = 0\n")

    return change


def reworded(modules: Iterable[str]) -> Change:
    """Other comments and docstrings, blank lines and line breaks, and the same code."""

    def change(tree: Tree) -> None:
        for module in modules:
            file = tree.path(f"{LIBRARY}/{module}")
            text = file.read_text().replace('"""', '"""Said otherwise. ', 1)
            assert "Said otherwise." in text
            text = text.replace("\ndef ", "\n# A remark.\n\n\ndef ")
            file.write_text(f"{text}\n# The end.\n")

    return change


def rewritten(table: str) -> Change:
    """Other rows in a table, its columns and units kept."""

    def change(tree: Tree) -> None:
        file = tree.path(table)
        rows, units = read_rows(file), read_units(file)
        write_rows(file, rows.iloc[::-1].reset_index(drop=True), units, "the same, backwards")

    return change


def touched(*patterns: str) -> Change:
    """New times, old contents."""

    def change(tree: Tree) -> None:
        files = [file for pattern in patterns for file in tree.folder.glob(pattern)]
        assert files
        for file in files:
            os.utime(file)

    return change


def removed(file: str) -> Change:
    return lambda tree: tree.path(file).unlink()


def both(first: Change, second: Change) -> Change:
    def change(tree: Tree) -> None:
        first(tree)
        second(tree)

    return change


def said_otherwise(module: str, old: str, new: str) -> Change:
    """Another word, colour or option in a module of the library."""

    def change(tree: Tree) -> None:
        file = tree.path(f"{LIBRARY}/{module}")
        text = file.read_text()
        assert old in text, f"{module} does not say {old!r}"
        file.write_text(text.replace(old, new, 1))

    return change


def other_version(package: str) -> Change:
    """Another version of an installed package."""
    found = "return metadata.version(distribution)"
    return said_otherwise("fingerprint.py", found, f'{found} + "1" * (distribution == "{package}")')


def at_its_time(file: str, change: Change) -> Change:
    """A change that leaves a file's time as it was."""

    def kept(tree: Tree) -> None:
        before = tree.path(file).stat()
        change(tree)
        os.utime(tree.path(file), ns=(before.st_atime_ns, before.st_mtime_ns))
        assert tree.path(file).stat().st_size == before.st_size

    return kept


def and_views(jobs: Jobs) -> Jobs:
    """What is measured is viewed."""
    return jobs | {f"view_{kind}": jobs[kind] for kind in VIEWS if kind in jobs}


def edited_scripts(line: str, *names: str) -> Change:
    """One more line at the end of scripts, of all if none is named."""

    def change(tree: Tree) -> None:
        for file in tree.path("src/scripts").glob("*.py"):
            if not names or file.stem in names:
                file.write_text(f"{file.read_text()}\n{line}\n")

    return change


def reordered(tree: Tree) -> None:
    """The analyses of a study in another order of the file."""
    analyses = TINY["studies"]["quickstart"]["analyses"]
    tree.configure(changed(TINY, {ANALYSIS: dict(reversed(analyses.items()))}))


_CLOSURE = TINY["studies"]["quickstart"]["analyses"]["closure"]
_ATTRIBUTION = TINY["studies"]["quickstart"]["analyses"]["attribution"]
_WORDS = (
    "scalars/routing.py",
    "measures/closure.py",
    "training/optimizers.py",
    "task/benchmark.py",
    "job.py",
    "errors.py",
    "__init__.py",
)

CASES: dict[str, tuple[Change, Jobs]] = {
    # A setting of an analysis
    "closure.folds": (setting(f"{ANALYSIS}.closure.folds", 4), {"closure": 1, **PAGE}),
    "closure.routes": (
        setting(f"{ANALYSIS}.closure.routes.ov_value_margin.competitor", "fixed_source"),
        {"closure": 1, **PAGE},
    ),
    "behaviour.programs": (setting(f"{ANALYSIS}.behaviour.programs", 8), SWEEPS),
    "full_evaluation.checkpoint": (
        setting(f"{ANALYSIS}.full_evaluation.checkpoint", "final"),
        {"full_evaluation": 1, **PAGE},
    ),
    "births.threshold": (setting(f"{ANALYSIS}.births.threshold", 0.4), BIRTHS),
    "a measured window of another name": (
        setting(f"{ANALYSIS}.compare.window", "births.accuracy"),
        {"birth_window_compare": 1, **PAGE},
    ),
    "steps in place of a measured window": (
        setting(f"{ANALYSIS}.compare.window", [10, 30]),
        {"birth_window_compare": 1, **PAGE},
    ),
    "competition.candidates": (
        setting(f"{ANALYSIS}.competition.candidates.qk.rank", 2),
        {"candidates": 1, **PAGE},
    ),
    "head_scan.rank": (
        setting(f"{ANALYSIS}.head_scan.rank", 3),
        {"head_scan": 2, **SELECTIONS},
    ),
    "optimizer_trace.top_parameters": (
        setting(f"{ANALYSIS}.optimizer_trace.top_parameters", 3),
        {**REPLAYS, "replay": 2, "update_attribution": 1},
    ),
    "attribution.scalars": (
        setting(f"{ANALYSIS}.attribution.scalars.qk_separation_rank2.rank", 3),
        REPLAYS,
    ),
    "attribution.residual_bound": (
        setting(f"{ANALYSIS}.attribution.residual_bound", 0.5),
        {"view_update_attribution": 2, **PAGE},
    ),
    "between.path_rule": (
        setting(f"{ANALYSIS}.between.path_rule", "gauss_16"),
        {"chords": 1, "update_attribution": 1, **PAGE},
    ),
    "data.memory": (
        setting(f"{ANALYSIS}.data.memory", 3),
        {**REPLAYS, "replay": 2, "update_attribution": 1},
    ),
    "data.programs": (
        setting(f"{ANALYSIS}.data.programs", 24),
        {"data_attribution": 1, **PAGE},
    ),
    "features.sparsity": (
        setting(f"{ANALYSIS}.features.sparsity", 0.2),
        # The replays attribute its features, and its families are candidates.
        {
            "dictionary": 1,
            "candidates": 1,
            "families": 1,
            "chords": 1,
            **REPLAYS,
            "replay": 2,
            "update_attribution": 2,
        },
    ),
    "early.cutoffs": (setting(f"{ANALYSIS}.early.cutoffs", [0, 20]), EARLY),
    "foretold.threshold": (
        setting(f"{ANALYSIS}.foretold.threshold", 0.5),
        {"foretold": 1, **PAGE},
    ),
    "cross_seed.seed": (setting(f"{ANALYSIS}.cross_seed.seed", 1), SEEDS),
    "title": (setting("studies.quickstart.title", "Another title"), PAGE),
    "segments_per_job": (
        setting("studies.quickstart.replay.segments_per_job", 2),
        {**REPLAYS, "replay": 2},
    ),
    "window": (
        setting("studies.quickstart.windows.formation", [10, 20]),
        {**REPLAYS, "replay": 2, "candidates": 1, "update_geometry": 1},
    ),
    # An analysis more, or less
    "another closure": (
        setting(f"{ANALYSIS}.closure_again", {**_CLOSURE, "seed": 1}),
        {"closure": 1, **PAGE},
    ),
    "another attribution elsewhere": (
        setting(f"{ANALYSIS}.late", {**_ATTRIBUTION, "runs": ["seed7"], "window": [30, 40]}),
        {"replay": 1, "update_attribution": 1, **PAGE},
    ),
    "one analysis less": (setting(f"{ANALYSIS}.attention", ABSENT), PAGE),
    # A run or its recipe
    "learning rate": (setting("recipes.tiny.optimizer.learning_rate", 0.003), FROM_TRAINING),
    "checkpoints of the view": (
        setting("recipes.sparse.checkpoint_every", 40),
        {
            "view_quickstart_seed7_sparse": 1,
            "checkpoint_sweep": 1,
            "reference_model": 1,
            **PAGE,
        },
    ),
    "seed": (
        setting(f"{RUN}.seed11.seed", 12),
        {
            "train_quickstart_seed11": 1,
            "checkpoint_sweep": 1,
            "head_scan": 1,
            "replay": 2,
            "update_attribution": 1,
            "route_features": 1,
            "foretold": 1,
            **SEEDS,
        },
    ),
    "another run": (
        setting(f"{RUN}.seed13", {"recipe": "tiny", "seed": 13}),
        {"train_quickstart_seed13": 1, "checkpoint_sweep": 1, **PAGE},
    ),
    "benchmark": (setting("benchmarks.tiny_kv.seed", 22), EVERYTHING),
    # What changes no result
    "the same, spelt otherwise": (respelt, NOTHING),
    "another study": (
        settings(
            {
                f"{OTHER}.title": "Something else",
                f"{OTHER}.analyses.head_scan.rank": 1,
                f"{OTHER}.runs.alone.seed": 2,
                "recipes.other.steps": 80,
                "benchmarks.other_kv.seed": 23,
            }
        ),
        NOTHING,
    ),
    "one study less": (
        settings({OTHER: ABSENT, "recipes.other": ABSENT, "benchmarks.other_kv": ABSENT}),
        NOTHING,
    ),
    "the order of analyses": (reordered, PAGE),
    # The library
    "scalars/routing.py": (
        formula("scalars/routing.py"),
        {k: n for k, n in ANALYSES.items() if k != "feature_births"},
    ),
    "measures/closure.py": (
        formula("measures/closure.py"),
        {"closure": 1, **PAGE},
    ),
    "reports/page.py": (statement("reports/page.py"), PAGE),
    "attribution/engine.py": (
        formula("attribution/engine.py"),
        {"closure": 1, "coalitions": 1, "candidates": 1, **ATTRIBUTIONS},
    ),
    "attribution/sources.py": (formula("attribution/sources.py"), REPLAYS),
    "attribution/window.py": (
        statement("attribution/window.py"),
        {"update_attribution": 3, "data_attribution": 1, "feature_causes": 1, **SEEDS},
    ),
    "attribution/removal.py": (
        formula("attribution/removal.py"),
        {"data_attribution": 1, **PAGE},
    ),
    "training/optimizers.py": (formula("training/optimizers.py"), FROM_TRAINING),
    "task/benchmark.py": (formula("task/benchmark.py"), EVERYTHING),
    "config/plan.py": (statement("config/plan.py"), NOTHING),
    "config/checks.py": (statement("config/checks.py"), NOTHING),
    # A new setting of a kind reruns that kind alone, and what depends on its outputs.
    "a new setting of closure": (new_setting("closure"), {"closure": 1, **PAGE}),
    "a new setting of head_scan": (new_setting("head_scan"), {"head_scan": 2, **SELECTIONS}),
    "a new setting of update_attribution": (
        new_setting("update_attribution"),
        {"update_attribution": 3, **SEEDS},
    ),
    "words only": (reworded(_WORDS), NOTHING),
    "a formula at its old time": (
        at_its_time(
            f"{LIBRARY}/measures/closure.py",
            said_otherwise("measures/closure.py", "own - np.maximum", "own + np.maximum"),
        ),
        {"closure": 1, **PAGE},
    ),
    "a remark in every script": (edited_scripts("# a remark"), NOTHING),
    "the script that views": (edited_scripts("_ONE_MORE = 1", "view"), ALL_VIEWS),
    "torch's version": (other_version("torch"), FROM_TRAINING),
    "another processor": (said_otherwise("fingerprint.py", 'f"cpu@', 'f"cpu@other'), FROM_TRAINING),
    "scikit-learn's version": (other_version("scikit-learn"), {"closure": 1, **PAGE}),
    "jinja2's version": (
        other_version("jinja2"),
        {"view_prompt_trace": 1, "view_feature_births": 1, **PAGE},
    ),
    # What is seen and said, and nothing that is computed
    "a sentence": (
        said_otherwise("kinds/head_scan/view.py", "learned to look at", "came to look at"),
        {"view_head_scan": 2, **PAGE},
    ),
    "a caption": (
        said_otherwise("kinds/head_scan/view.py", "often the support", "much the support"),
        {"view_head_scan": 2, **PAGE},
    ),
    "an option of a figure": (
        said_otherwise("kinds/head_scan/view.py", 'series="head"', 'series="head", log=True'),
        {"view_head_scan": 2, **PAGE},
    ),
    "a colour": (said_otherwise("reports/style.py", "#332288", "#332289"), ALL_VIEWS),
    "how curves are drawn": (statement("reports/draw/curves.py"), ALL_VIEWS),
    "matplotlib's version": (other_version("matplotlib"), ALL_VIEWS),
    # Files
    "other programs in validation_iid": (
        rewritten(f"{DATA}/validation_iid.parquet"),
        {
            "dataset_geometry": 1,
            "contextual_geometry": 1,
            "candidates": 1,
            "families": 1,
            "intervention": 1,
            "value_code": 1,
            "value_transfer": 1,
            **SWEEPS,
        },
    ),
    "other programs in train": (
        rewritten(f"{DATA}/train.parquet"),
        {"dataset_geometry": 1, **FROM_TRAINING},
    ),
    "files touched": (touched(f"{DATA}/*", "results/*/*/*/*", "results/*/*/*/*/*"), NOTHING),
    # Snakemake makes what is asked for; a file in between is missed once somebody reads it again.
    "a checkpoint missing": (removed(f"{CHECKPOINTS}/step_000020.safetensors"), NOTHING),
    "a checkpoint missing that a job reads": (
        both(
            removed(f"{CHECKPOINTS}/step_000020.safetensors"),
            setting(f"{ANALYSIS}.closure.folds", 4),
        ),
        {
            "train_quickstart_seed7": 1,
            "view_quickstart_seed7_sparse": 1,
            "head_scan": 1,
            **SELECTIONS,
            **SWEEPS,
            **PROBED,
            **EARLY,
            **UNPROBED,
            "checkpoint_sweep": 2,
            "replay": 2,
            "update_attribution": 2,
            "route_features": 1,
        },
    ),
    "a report missing": (
        removed("results/quickstart/seed7/closure/report.md"),
        {"view_closure": 1, **PAGE} if "closure" in VIEWS else {"closure": 1, **PAGE},
    ),
}


@pytest.fixture(scope="module")
def said(finished: Tree, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What ``snakemake -n`` says after each change."""
    folder = tmp_path_factory.mktemp("recompute")
    calls = []
    for number, (change, _) in enumerate(CASES.values()):
        tree = finished.copy(folder / f"tree{number}")
        change(tree)
        calls.append((tree, []))
    return dict(zip(CASES, dry_runs(calls), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_exactly_these_jobs_run(said: dict[str, str], name: str) -> None:
    assert "Traceback" not in said[name], said[name]
    assert jobs_in(said[name]) == and_views(CASES[name][1]), said[name]


def test_the_reason_names_the_module(said: dict[str, str]) -> None:
    text = said["measures/closure.py"]
    [reason] = [line for line in text.splitlines() if "circuit/measures/closure.py@" in line]
    assert reason.startswith("Reason: Params have changed")
    assert reason.count("@") == 2  # before and now, and no other module


def test_the_reason_names_the_setting(said: dict[str, str]) -> None:
    [reason] = [line for line in said["closure.folds"].splitlines() if '"folds": 3' in line]
    assert '"folds": 4' in reason


def test_the_jobs_are_those_of_the_run_that_changed(said: dict[str, str]) -> None:
    jobs = [line for line in said["seed"].splitlines() if line.startswith("Job ")]
    of_runs = [line for line in jobs if " seed" in line]
    # One training, two replays, four analyses measured and viewed.
    assert len(of_runs) == 11
    assert all(line.endswith(" seed11") for line in of_runs)


def test_a_rerun_makes_the_same_results(
    finished: Tree, copied: Tree, snapshot: Callable[[Path], dict[str, bytes]]
) -> None:
    """Tables, figures and choices are functions of their inputs, byte by byte.

    What a killed attempt was writing is taken away; files of other jobs are left alone.
    """
    folder, other = "results/quickstart/seed7/closure", "results/quickstart/seed7/head_scan"
    left = [copied.path(f"{f}/.tmp-4242-0123456789ab-rows.parquet") for f in (folder, other)]
    for file in left:
        file.write_bytes(b"half a table")
    statement("measures/closure.py")(copied)
    copied.run(f"{folder}/report.md")
    again, before = snapshot(copied.path(folder)), snapshot(finished.path(folder))
    assert again.keys() == before.keys()
    # Reports name the code that made them, and that has changed.
    same = {name for name in before if not name.startswith(("report.", "measured."))}
    assert {name for name in before if again[name] == before[name]} == same
    assert [file.exists() for file in left] == [False, True]


def test_what_training_does_not_read_trains_nothing_anew(fresh: Callable[..., Tree]) -> None:
    """Training adopts the checkpoints that its trajectory and its code have published."""
    manifest = "results/quickstart/seed7/train/manifest.json"

    def made(config: Mapping[str, Any]) -> dict[str, Any]:
        tree.configure(config)
        tree.run(manifest)
        found: dict[str, Any] = read_json(tree.path(manifest))
        return found

    tree = fresh()
    first = made(TINY)
    bounds = {"frequency_ceiling": 0.9, "probes.seed": 5, "counterfactual.samples": 24}
    second = made(changed(TINY, {f"benchmarks.tiny_kv.{k}": v for k, v in bounds.items()}))
    assert first.pop("benchmark_digest") != second.pop("benchmark_digest")
    assert first == second

import numpy as np
import pandas as pd
import pytest
import torch
from scalar_cases import CASES, World
from tiny_run import finish, tiny_recipe, tiny_trajectory
from tiny_steps import attribute, scalars_along

from circuit.attribution.engine import Engine
from circuit.attribution.growth import WHOLE, Growth
from circuit.attribution.observers import AttributionObserver, TraceObserver
from circuit.attribution.products import grouped
from circuit.attribution.sources import OptimizerStep
from circuit.config.terms import COMPARATORS, COMPONENTS, TRACE_UNITS
from circuit.scalars.evaluate import Evaluator
from circuit.training.replay import replay

RULES = ("trapezoid", "left")
CHOSEN = (
    "qk_separation",
    "qk_separation rank 3 own",
    "qk_separation rank 3 source",
    "answer_margin moving",
    "head_value_margin_dla fixed_target",
)
CHECKPOINTS = (0, 4, 8, 12)


def observer_of(world, scalars, per_step=("head_projection", "module"), summed=("neuron",)):
    layout = world.decoder.layout
    engine = Engine(layout, Evaluator(world.decoder, world.events, world.value_ids), scalars, RULES)
    source = OptimizerStep()
    growth = Growth(
        engine,
        source.parts,
        source.summands,
        grouped(layout, per_step),
        grouped(layout, summed),
        CHECKPOINTS,
    )
    return AttributionObserver(growth, source, since=0)


@pytest.fixture(scope="module")
def chosen(scalars):
    return {name: scalars[name] for name in CHOSEN}


@pytest.fixture(scope="module")
def watched(world, steps, chosen):
    """Tables of steps 2 to 9, so that the stretch starts and ends between checkpoints."""
    observer = observer_of(world, chosen)
    for step in steps[2:10]:
        observer.see(step)
    return observer.tables()


def sums(table, *keys):
    return table.groupby(list(keys), sort=False)["attribution"].sum()


def test_tables_are_whole_and_without_gaps(watched):
    steps, scalars = 8, len(CHOSEN)
    components = len(COMPONENTS) + 1 + len(COMPARATORS)
    terms = 1 + 2 + 1  # of the own basis, of the source basis, of the moving margin
    assert len(watched["rows"]) == steps * (scalars * components + terms) * len(RULES)
    assert len(watched["values"]) == steps * scalars
    for name, table in watched.items():
        assert not table.isna().any().any(), name
        numbers = table.select_dtypes("number").to_numpy()
        assert np.isfinite(numbers).all(), name
        keys = [c for c in table.columns if c not in ("attribution", "value", "growth")]
        assert not table.duplicated(keys).any(), name
    assert set(watched["rows"]["step"]) == set(range(2, 10))
    assert list(dict.fromkeys(watched["rows"]["scalar"])) == list(CHOSEN)
    assert list(dict.fromkeys(watched["rows"]["component"])) == [
        *COMPONENTS,
        *COMPARATORS,
        "residual",
        "rank_cut_jump",
        "basis_motion",
        "branch_switch",
    ]
    assert set(watched["rows"]["data_group"]) == {""}


def test_rows_sum_to_the_growth_with_terms_and_residual_and_without_comparators(watched):
    rows = watched["rows"]
    summands = rows[~rows["component"].isin(COMPARATORS)]
    found = sums(summands, "path_rule", "step", "scalar")
    growth = watched["values"].set_index(["step", "scalar"])["growth"]
    for rule in RULES:
        pd.testing.assert_series_equal(
            found[rule], growth, check_names=False, rtol=1e-12, atol=1e-13
        )


def test_values_are_the_scalars_at_both_ends_of_each_step(watched, world, steps, chosen):
    values = watched["values"].set_index(["step", "scalar"])
    for step in steps[2:10]:
        for name, scalar in chosen.items():
            row = values.loc[(step.step, name)]
            before, after = (
                float(world.values(scalar, s.theta).mean()) for s in (step.before, step.after)
            )
            assert row["before"] == pytest.approx(before, rel=1e-12)
            assert row["after"] == pytest.approx(after, rel=1e-12)
            assert row["growth"] == pytest.approx(after - before, rel=1e-9, abs=1e-14)


def test_every_scalar_starts_a_step_where_it_ended_the_last(watched):
    """Also those that are bound anew in between: that is what their terms are for."""
    values = watched["values"]
    for name in CHOSEN:
        one = values[values["scalar"] == name]
        assert (one["before"].to_numpy()[1:] == one["after"].to_numpy()[:-1]).all(), name


def test_rows_are_the_engines(watched, world, steps, chosen):
    results = attribute(world, steps[2:10], chosen, RULES)
    keys = ["path_rule", "step", "scalar", "component"]
    rows = watched["rows"].set_index(keys)["attribution"].sort_index()
    for step, result in zip(steps[2:10], results, strict=True):
        for row, name in enumerate(CHOSEN):
            for rule in RULES:
                found = rows[rule, step.step, name]
                expected = result.by_rule[rule][row].tolist()
                assert found[[*COMPONENTS, *COMPARATORS]].tolist() == expected
                assert found["residual"] == float(result.residual(rule, len(COMPONENTS))[row])


def test_groups_of_every_step_sum_to_the_component_rows(watched):
    groups, rows = watched["groups"], watched["rows"]
    main = rows[(rows["path_rule"] == RULES[0]) & rows["component"].isin(COMPONENTS)]
    expected = main.set_index(["step", "scalar", "component"])["attribution"]
    assert set(groups["component"]) == set(COMPONENTS)
    for name in ("head_projection", "module"):
        found = sums(groups[groups["grouping"] == name], "step", "scalar", "component")
        pd.testing.assert_series_equal(found, expected, check_names=False, rtol=1e-9, atol=1e-13)


def test_summed_groups_are_sums_over_the_stretch(watched):
    keys = ["grouping", "scalar", "component", "group"]
    summed = watched["summed_groups"].set_index(keys)["attribution"]
    over_steps = sums(watched["groups"], *keys)
    assert set(watched["summed_groups"]["grouping"]) == {"head_projection", "module", "neuron"}
    for name in ("head_projection", "module"):
        pd.testing.assert_series_equal(
            summed[name], over_steps[name], check_names=False, rtol=1e-9, atol=1e-13
        )
    totals = summed.groupby(["grouping", "scalar", "component"], sort=False).sum()
    pd.testing.assert_series_equal(totals["neuron"], totals["module"], rtol=1e-9, atol=1e-13)
    assert "L1N11" in set(watched["summed_groups"]["group"])


def test_events_are_kept_at_the_start_and_at_checkpoints(watched, world, chosen):
    events = watched["events"]
    assert list(dict.fromkeys(events["step"])) == [2, 4, 8]
    for (step, name), part in events.groupby(["step", "scalar"]):
        values = world.values(chosen[name], world.states[step])
        np.testing.assert_allclose(part["value"], values.numpy(), rtol=1e-12)
        assert part["event"].tolist() == list(range(len(world.events)))


def test_a_stretch_cut_in_two_has_the_same_rows(watched, world, steps, chosen):
    """Jobs replay stretches apart; their tables, one below the other, are the window's."""
    parts = []
    for stretch in (steps[2:5], steps[5:10]):
        observer = observer_of(world, chosen)
        for step in stretch:
            observer.see(step)
        parts.append(observer.tables())
    for name in ("rows", "values", "groups"):
        keys = [c for c in watched[name].columns if watched[name][c].dtype != np.float64]
        joined = pd.concat([part[name] for part in parts]).set_index(keys).sort_index()
        whole = watched[name].set_index(keys).sort_index()
        pd.testing.assert_frame_equal(joined, whole, rtol=1e-11, atol=1e-14)


def test_intervals_of_many_steps_are_one_part_and_telescope(world, steps, chosen):
    """The difference of distant states, with more nodes, against the growth itself."""
    layout = world.decoder.layout
    evaluate = Evaluator(world.decoder, world.events, world.value_ids)
    engine = Engine(layout, evaluate, chosen, ("gauss_16", "gauss_8"))
    growth = Growth(engine, WHOLE, 1, grouped(layout, ("head",)), {}, (2, 6, 10))
    for first, last in ((2, 6), (6, 10)):
        before, after = (world.states[step] for step in (first, last))
        growth.attribute((first, last), before, after, (after - before)[None])
    tables = growth.tables()
    rows, values = tables["rows"], tables["values"]
    assert set(rows.loc[rows["step"] == 2, "component"]) >= {"checkpoint_difference", "residual"}
    assert list(dict.fromkeys(tables["events"]["step"])) == [2, 6, 10]
    for name in CHOSEN:
        start, stop = (float(world.values(chosen[name], world.states[s]).mean()) for s in (2, 10))
        grown = values.loc[values["scalar"] == name, "growth"].sum()
        assert grown == pytest.approx(stop - start, rel=1e-9)
        one = rows[(rows["scalar"] == name) & (rows["path_rule"] == "gauss_16")]
        total = sums(one, "component")
        assert total.sum() == pytest.approx(grown, rel=1e-9)
        moved = values.loc[values["scalar"] == name, "growth"].abs().sum()
        assert abs(total["residual"]) < 1e-6 * moved, name
        heads = tables["groups"][tables["groups"]["scalar"] == name]["attribution"].sum()
        assert heads == pytest.approx(total["checkpoint_difference"], rel=1e-9)


def test_an_observer_does_not_keep_the_atoms_of_past_steps(world, steps, chosen):
    """They are megabytes a step on the reference model; a window has a thousand steps."""
    observer = observer_of(world, chosen, per_step=("module",), summed=())
    for step in steps[:3]:
        observer.see(step)
    kept = [
        tensor
        for seen in observer.growth._seen
        for tensor in seen
        if isinstance(tensor, torch.Tensor)
    ]
    atoms = len(world.decoder.layout.atoms)
    assert kept
    assert all(tensor.untyped_storage().nbytes() < 8 * atoms for tensor in kept)


@pytest.fixture(scope="module")
def trace(planted_benchmark, tmp_path_factory):
    """A finished float32 run and the tables of its replay from step 3 to 10."""
    run = finish(tiny_trajectory(planted_benchmark, tiny_recipe()), tmp_path_factory.mktemp("run"))
    observer = TraceObserver(0, top_parameters=3)
    steps = []
    for step in replay(run.trajectory, run.manifest, 3, 10, lambda _: None):
        observer.see(step)
        steps.append((step.before.theta, step.after.theta.clone(), step.components))
    return run, steps, observer.tables()


def test_a_trace_has_the_metrics_of_training(trace):
    run, _, tables = trace
    columns = list(run.metrics.columns)
    pd.testing.assert_frame_equal(
        tables["rows"][columns], run.metrics[3:10].reset_index(drop=True), check_exact=True
    )
    units = set(TRACE_UNITS)
    assert set(tables["rows"]) <= units
    assert set(tables["top_parameters"]) - {"parameter"} <= units


def test_a_trace_has_the_norms_of_update_and_components(trace):
    _, steps, tables = trace
    for (before, after, parts), row in zip(steps, tables["rows"].itertuples(), strict=True):
        update = after.double().numpy() - before.double().numpy()
        assert row.update_norm == pytest.approx(np.sqrt((update**2).sum()), rel=1e-12)
        for name in COMPONENTS:
            vector = getattr(parts, name).numpy()
            expected = np.sqrt((vector**2).sum())
            assert getattr(row, f"{name}_norm") == pytest.approx(expected, rel=1e-12)
        assert row.rounding_norm < 1e-3 * row.update_norm


def test_a_trace_names_the_programs_of_every_batch(trace):
    run, _, tables = trace
    batches = tables["batches"]
    for step, part in batches.groupby("step"):
        assert part["row"].tolist() == run.trajectory.stream.rows(step).tolist()
    assert batches["step"].unique().tolist() == list(range(3, 10))


def test_a_trace_ranks_the_tensors_that_moved_most(trace):
    run, steps, tables = trace
    layout = run.trajectory.decoder.layout
    for number, (before, after, _) in enumerate(steps, start=3):
        top = tables["top_parameters"][tables["top_parameters"]["step"] == number]
        moved = {
            name: float(view.norm())
            for name, view in layout.views(after.double() - before.double()).items()
        }
        assert top["rank"].tolist() == [1, 2, 3]
        assert top["parameter"].tolist() == sorted(moved, key=moved.get, reverse=True)[:3]
        assert top["update_norm"].tolist() == pytest.approx(sorted(moved.values())[:-4:-1])
        sizes = layout.views(before)
        assert top["parameter_norm"].tolist() == pytest.approx(
            [float(sizes[name].norm()) for name in top["parameter"]], rel=1e-5
        )


def test_a_replayed_run_is_attributed_like_its_states(trace, planted_events, planted_benchmark):
    """From checkpoint to checkpoint, growth in the tables is that between the checkpoints."""
    run = trace[0]
    states = {step: run.manifest.state(step).theta for step in (3, 10)}
    value_ids = planted_benchmark.vocabulary.value_ids
    world = World(run.trajectory.decoder, states, planted_events.select(range(6)), value_ids)
    names = ("qk_separation", "answer_margin fixed_source")
    scalars = scalars_along(world, {name: CASES[name] for name in names})
    observer = observer_of(world, scalars)
    for step in replay(run.trajectory, run.manifest, 3, 10, lambda _: None):
        observer.see(step)
    tables = observer.tables()
    rows = tables["rows"]
    main = rows[(rows["path_rule"] == "trapezoid") & ~rows["component"].isin(COMPARATORS)]
    for name, scalar in scalars.items():
        first, last = (float(world.values(scalar, states[s]).double().mean()) for s in (3, 10))
        total = main.loc[main["scalar"] == name, "attribution"].sum()
        assert total == pytest.approx(last - first, abs=1e-9)
        residual = main.loc[
            (main["scalar"] == name) & (main["component"] == "residual"), "attribution"
        ].sum()
        assert abs(residual) < 0.02 * abs(last - first) + 1e-5

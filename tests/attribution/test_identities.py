"""Every scalar, every source of updates, every grouping: what sums to what, in float64.

One engine attributes every scalar case to the parts of all sources at once, so that an interval
costs as many evaluations as with one source. A residual makes any rows sum to the growth, so here
it is given nothing to hide: eight Gauss-Legendre nodes are exact on a step this small, the growth
is measured by passes of its own, and parts and terms alone have to make it up.
"""

import pytest
import torch
from scalar_cases import CASES
from tiny_run import tiny_recipe, tiny_trajectory
from tiny_steps import float64_steps, scalars_along, world_of

from circuit.attribution.data_labels import GROUPINGS as DATA
from circuit.attribution.data_labels import label_programs
from circuit.attribution.engine import Engine
from circuit.attribution.products import grouped
from circuit.attribution.sources import GroupMemory, OptimizerStep
from circuit.config.terms import CHECKPOINT_DIFFERENCE, GROUPINGS
from circuit.scalars.evaluate import Evaluator, scalar_values

RULE = "gauss_8"
STEP, REMEMBERED = 6, 2  # so there is momentum from data that is remembered, and from before
RATES = {"adamw": 3e-3, "sgd": 2e-3, "sgd_momentum": 0.05}
STATES = 12  # scalars refer to the run's state 10 and to its last
LISTS = {
    "circuit": {"look_up": ["winner.q", "winner.k"], "copy": ["winner.v", "winner.o"]},
    "few": {"embedding": ["embedding"], "neurons": ["L0N1", "L1N3.in"]},
}
HEADS = {"winner": "L1H0"}
NAMES = (*GROUPINGS, *LISTS, "layer/head/head_projection", "module/neuron", "few/circuit/parameter")


def assert_sums(parts, whole):
    """The last axis sums to the whole: to 1e-9 of it, or to rounding where far larger parts cancel.

    Rounding is 1e-15 of their sizes, so parts may cancel a million times over before it is looser.
    """
    miss = (parts.sum(-1) - whole).abs()
    assert (miss <= torch.maximum(1e-9 * whole.abs(), 1e-15 * parts.abs().sum(-1))).all()


class Attributed:
    """An interval of a run, attributed to all sources of its update that there are.

    ``parts``: [S, C, A] by source, summands of the update only. ``growth`` [S]: measured apart.
    """

    def __init__(self, benchmark, events, kind, length=1):
        recipe = tiny_recipe(kind, optimizer={"learning_rate": RATES[kind]})
        steps = float64_steps(tiny_trajectory(benchmark, recipe), STATES)
        world = world_of(steps, events, benchmark.vocabulary.value_ids)
        self.layout = world.decoder.layout
        self.scalars = scalars_along(world, CASES)
        where = (world.decoder, world.events, world.value_ids)
        engine = Engine(self.layout, Evaluator(*where), self.scalars, (RULE,))
        before, after = (world.states[step] for step in (STEP, STEP + length))
        updates = {CHECKPOINT_DIFFERENCE: (after - before)[None]}
        if length == 1:
            gradients = engine.start(before).gradients
            updates |= {
                name: source.split(steps[STEP], gradients)[: source.summands]
                for name, source in _sources(steps, benchmark).items()
            }
        result = engine.step(before, after, torch.cat([*updates.values()]))
        atoms = result.atoms.split([len(rows) for rows in updates.values()], dim=1)
        self.parts = dict(zip(updates, atoms, strict=True))
        self.terms = torch.stack([*result.rebound.values()], dim=-1)
        self.residual = result.residual(RULE, 1)
        first, last = (
            scalar_values(where[0], at, *where[1:], self.scalars).mean(-1) for at in (before, after)
        )
        self.growth, self.size = last - first, torch.maximum(first.abs(), last.abs())
        # What comes back is a difference of two margins, and known to the rounding of these.
        differences = torch.tensor(["rescue" in name for name in CASES])
        self.size = self.size.where(~differences, self.size.clamp(min=1.0))


def _sources(steps, benchmark):
    """The optimizer's components, and every grouping of data, with a memory of some steps."""
    trajectory, programs = steps[0].trajectory, benchmark.splits["train"]
    found = {"optimizer_step": OptimizerStep()}
    for data in DATA:
        labels = label_programs(programs, benchmark.vocabulary, data)
        memory = GroupMemory(trajectory.decoder, trajectory.recipe.optimizer, labels, REMEMBERED)
        # Who supports is told by a scalar's gradient at every step: that memory starts here.
        for step in () if memory.by_gradient else steps[STEP - REMEMBERED : STEP]:
            memory.remember(step, None)
        found[data] = memory
    return found


@pytest.fixture(scope="module", params=[*RATES, "two steps"])
def attributed(request, planted_benchmark, planted_events):
    """A step under each optimizer, and the difference of two states with a step between them."""
    events = planted_events.select(range(0, 171, 57))
    if request.param == "two steps":
        return Attributed(planted_benchmark, events, "adamw", 2)
    return Attributed(planted_benchmark, events, request.param)


def sums(attributed, source):
    """What has to be the growth: attributions to a source's parts, and terms."""
    return torch.cat([attributed.parts[source].sum(-1), attributed.terms], dim=-1)


def test_all_there_is_is_crossed(attributed):
    assert len(attributed.growth) == len(CASES)
    assert bool((attributed.growth != 0).all())
    assert bool(attributed.terms.any())
    alone = {CHECKPOINT_DIFFERENCE}
    assert set(attributed.parts) in (alone, {*alone, "optimizer_step", *DATA})


def test_parts_and_terms_sum_to_the_growth_and_leave_no_residual(attributed):
    """The values themselves are only known to their rounding."""
    rounding = 1e-14 * attributed.size
    for source in attributed.parts:
        miss = (sums(attributed, source).sum(-1) - attributed.growth).abs()
        assert (miss <= 1e-9 * attributed.growth.abs() + rounding).all(), source
    assert (attributed.residual.abs() <= 1e-9 * attributed.growth.abs() + rounding).all()


def test_parts_of_every_source_sum_to_what_the_whole_update_has(attributed):
    whole = attributed.parts[CHECKPOINT_DIFFERENCE].sum(-1)[:, 0]
    for parts in attributed.parts.values():
        assert_sums(parts.sum(-1), whole)


@pytest.mark.parametrize("name", NAMES)
def test_every_grouping_sums_to_every_part(attributed, name):
    grouping = grouped(attributed.layout, [name], LISTS, HEADS)[name]
    assert len(grouping.groups) > 1 or name == "whole"
    for parts in attributed.parts.values():
        assert_sums(grouping.sum(parts), parts.sum(-1))


def test_a_part_that_is_a_little_wrong_is_noticed(attributed):
    """One millionth of any source's largest part, in every scalar."""
    for source in attributed.parts:
        found = sums(attributed, source)
        largest = found.abs().argmax(-1, keepdim=True)
        wrong = found.scatter_add(-1, largest, 1e-6 * found.gather(-1, largest))
        for row, growth in zip(wrong, attributed.growth, strict=True):
            assert abs(float(row.sum() - growth)) > 1e-9 * abs(float(growth)), source


def test_a_group_that_is_left_out_is_noticed(attributed):
    grouping = grouped(attributed.layout, ["head_projection"])["head_projection"]
    for parts in attributed.parts.values():
        with pytest.raises(AssertionError):
            assert_sums(grouping.sum(parts)[..., 1:], parts.sum(-1))

"""Which data pushes a scalar at a checkpoint, against gradients taken group by group."""

import numpy as np
import pytest
import torch

from circuit.attribution.data_labels import OTHER, label_programs
from circuit.attribution.first_order import SHUFFLED, first_order, pushed_programs
from circuit.errors import AnalysisError
from circuit.estimates import EXCESS
from circuit.scalars.evaluate import scalar_gradients
from circuit.scalars.routing import qk_separation
from circuit.statistics import bootstrap_means
from circuit.task.events import read_events
from circuit.training.trajectory import batch_gradient

KNOWN = ("token", "query_key", "lag", "sample")


@pytest.fixture(scope="module")
def split(planted_benchmark):
    return planted_benchmark.splits["train"], planted_benchmark.vocabulary


@pytest.fixture(scope="module")
def programs(split):
    return pushed_programs(*split, 24)


@pytest.fixture(scope="module")
def gradients(world):
    heads = {"a": (1, 0), "b": (0, 1)}
    return {n: world.gradient(qk_separation(h), world.states[9]) for n, h in heads.items()}


def rows_of(world, split, programs, gradients, data):
    labels = label_programs(*split, data)
    units = dict.fromkeys(gradients, "score")
    found = first_order(world.decoder, world.states[9], 9, programs, labels, gradients, units)
    return labels, found


@pytest.fixture(scope="module", params=KNOWN)
def found(request, world, split, programs, gradients):
    return rows_of(world, split, programs, gradients, request.param)


def mean_gradient(world, batch, mask):
    """Gradient of the mean loss of the marked targets."""
    some = batch._replace(targets=batch.targets.masked_fill(~mask, -100))
    return batch_gradient(world.decoder, world.states[9], some).gradient


def test_pushes_and_alignments_are_products_with_the_groups_gradients(
    found, world, programs, gradients
):
    labels, rows = found
    keys = ["scalar", "measure", "against", "data_group"]
    table = rows.set_index(keys)["mean"].sort_index()
    groups = labels.of(programs.batch)
    for against, batch in (("", programs.batch), (SHUFFLED, programs.exchanged)):
        for number, group in enumerate(labels.groups):
            own = mean_gradient(world, batch, groups == number)
            for name, slope in gradients.items():
                push = -float(own @ slope)
                if against and (name, "push", against, group) not in table.index:
                    assert group in (OTHER, "operation", "key", "written_value", "end")
                    continue
                assert table[name, "push", against, group] == pytest.approx(push, rel=1e-8)
                cosine = push / float(own.norm() * slope.norm())
                found_cosine = table[name, "alignment", against, group]
                assert found_cosine == pytest.approx(cosine, rel=1e-8)


def test_contributions_sum_to_the_push_of_the_training_loss(found, world, programs, gradients):
    _, rows = found
    whole = batch_gradient(world.decoder, world.states[9], programs.batch).gradient
    for name, slope in gradients.items():
        part = rows[(rows["scalar"] == name) & (rows["measure"] == "contribution")]
        assert part["mean"].sum() == pytest.approx(-float(whole @ slope), rel=1e-10)


def test_contribution_is_push_times_share_of_targets(found):
    _, rows = found
    share = rows[rows["measure"] == "share_of_targets"].set_index("data_group")["mean"]
    assert share.sum() == pytest.approx(1.0)
    lead = rows[(rows["scalar"] == "a") & (rows["against"] == "")].pivot(
        index="data_group", columns="measure", values="mean"
    )
    np.testing.assert_allclose(lead["contribution"], lead["push"] * share[lead.index], rtol=1e-9)


def test_intervals_are_over_programs(found, world, split, programs, gradients):
    """Contributions are plain means over programs, so their bootstrap can be done again."""
    labels, rows = found
    groups = labels.of(programs.batch)
    sums = np.zeros((24, len(labels.groups)))
    count = int((programs.batch.targets >= 0).sum())
    for row in range(24):
        for group in range(len(labels.groups)):
            mask = torch.zeros_like(programs.batch.targets, dtype=torch.bool)
            mask[row] = groups[row] == group
            if mask.any():
                own = mean_gradient(world, programs.batch, mask) * int(mask.sum())
                sums[row, group] = -float(own @ gradients["b"]) * 24 / count
    part = rows[(rows["scalar"] == "b") & (rows["measure"] == "contribution")]
    expected = bootstrap_means(sums)
    np.testing.assert_allclose(part[["mean", "low", "high"]].to_numpy().T, expected, rtol=1e-7)
    has = (groups[..., None] == torch.arange(len(labels.groups))).any(1).sum(0)
    assert part["count"].tolist() == has.tolist()


def test_exchanged_answers_are_the_same_answers_elsewhere(programs, split):
    """Nothing but answers changes, and no answer is lost."""
    labels = label_programs(*split, "token").of(programs.batch)
    answer = labels == 3
    changed = programs.batch.targets != programs.exchanged.targets
    assert changed.any()
    assert not (changed & ~answer).any()
    kept = (batch.targets[answer].sort().values for batch in programs)
    assert torch.equal(*kept)


def test_who_supports_has_the_sign_it_was_grouped_by(world, split, programs, gradients):
    whole = batch_gradient(world.decoder, world.states[9], programs.batch).gradient
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(len(whole), generator=generator, dtype=torch.float64)
    divides = {"first": drawn - (drawn @ whole) * whole / (whole @ whole), **gradients}
    _, rows = rows_of(world, split, programs, divides, "supports_opposes")
    lead = rows[(rows["scalar"] == "first") & (rows["measure"] == "push")]
    lead = lead[lead["against"] == ""]
    lead = lead.set_index("data_group")["mean"]
    assert lead["supports"] > 0 > lead["opposes"]
    share = rows[rows["measure"] == "share_of_targets"]
    assert share["mean"].sum() == pytest.approx(1.0)


def test_rows_have_units_and_finite_intervals(found):
    _, rows = found
    assert np.isfinite(rows[["mean", "low", "high"]].to_numpy()).all()
    assert (rows["low"] <= rows["high"]).all()
    cosines = rows[rows["measure"] == "alignment"]
    assert cosines.loc[cosines["against"] != EXCESS, ["low", "high"]].abs().to_numpy().max() <= 1
    assert (cosines["unit"] == "cosine").all()
    pushes = rows[rows["measure"] == "push"]
    assert (pushes["unit"] == "score per unit of learning rate").all()
    assert not rows.duplicated(["scalar", "data_group", "measure", "against"]).any()


def test_a_group_that_was_not_drawn_has_no_row(world, split, gradients):
    few = pushed_programs(*split, 2)
    labels, rows = rows_of(world, split, few, gradients, "answer_value")
    present = {labels.groups[g] for g in labels.of(few.batch).unique().tolist() if g >= 0}
    assert set(rows["data_group"]) == present
    assert len(present) < len(labels.groups)


def test_programs_are_drawn_by_seed_and_keep_their_rows(split):
    one, again, other = (pushed_programs(*split, 24, seed) for seed in (0, 0, 1))
    assert torch.equal(one.exchanged.targets, again.exchanged.targets)
    assert one.batch.rows.tolist() == again.batch.rows.tolist() != other.batch.rows.tolist()
    for row, tokens in zip(one.batch.rows, one.batch.tokens.tolist(), strict=True):
        expected = list(split[0]["tokens"].iloc[row])
        assert tokens[: len(expected)] == expected


def test_more_programs_than_there_are_are_refused(split):
    with pytest.raises(AnalysisError, match="500 programs cannot be drawn from 256"):
        pushed_programs(*split, 500)


def pushes_of_answers(circuit, benchmark):
    """How right and exchanged answers push the matching head to look, by kind of answer's key."""
    programs, vocabulary = benchmark.splits["train"], benchmark.vocabulary
    events = read_events(benchmark.splits["test_iid"], vocabulary, "last")
    scalar = {"looking": qk_separation((1, 2))}
    slope = scalar_gradients(
        circuit.decoder, circuit.flat, events, vocabulary.value_ids, scalar
    ).gradients[0]
    rows = first_order(
        circuit.decoder,
        circuit.flat,
        0,
        pushed_programs(programs, vocabulary, 48),
        label_programs(programs, vocabulary, "token"),
        {"looking": slope},
        {"looking": "score"},
    )
    rows = rows[(rows["data_group"] == "answer") & (rows["measure"] == "push")]
    return rows.set_index("against")


def test_a_circuit_that_looks_up_is_pushed_by_wrong_answers_only(planted, planted_benchmark):
    """The planted look-up is done: right answers ask for no more of it, exchanged ones for less."""
    found = pushes_of_answers(planted, planted_benchmark)
    assert abs(found.loc["", "mean"]) < 0.05 * abs(found.loc[SHUFFLED, "mean"])
    assert found.loc[SHUFFLED, "high"] < 0


def test_an_untrained_model_cannot_tell_right_answers_from_wrong_ones(untrained, planted_benchmark):
    found = pushes_of_answers(untrained, planted_benchmark)
    assert found.loc["", "low"] < found.loc[SHUFFLED, "mean"] < found.loc["", "high"]

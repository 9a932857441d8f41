"""Inner products of single reads' gradients: exact, whatever the blocks, and in bounded memory."""

import subprocess
import sys

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from circuit.attribution import example_gradients
from circuit.attribution.example_gradients import (
    BlockPlan,
    gradient_blocks,
    gradient_products,
    group_columns,
    plan_blocks,
)
from circuit.attribution.gradient_relations import cosines, pair_matrices, relation_rows
from circuit.errors import AnalysisError
from circuit.model.passes import Passes
from circuit.scalars.behaviour import negative_answer_loss
from circuit.scalars.evaluate import scalar_gradients, scalar_values


@pytest.fixture(scope="module")
def events(planted_events):
    """Reads of several lengths, in no order of length."""
    return planted_events.select(list(range(0, 171, 15)))


@pytest.fixture(scope="module")
def oracle(untrained, events):
    """Gradients [N, P] by a loop of ordinary backward passes over one program each."""
    rows = []
    for number in range(len(events)):
        one = events.select([number]).crop()
        theta = untrained.flat.clone().requires_grad_()
        logits = untrained.decoder.forward(untrained.decoder.layout.views(theta), one.tokens)
        loss = F.cross_entropy(logits[0, one.prediction], one.answer)
        rows.append(torch.autograd.grad(loss, theta)[0])
    return torch.stack(rows)


@pytest.fixture(scope="module")
def directions(untrained):
    generator = torch.Generator().manual_seed(3)
    size = untrained.decoder.layout.size
    return torch.randn(2, size, generator=generator, dtype=torch.float64)


def everything(network):
    return torch.arange(network.decoder.layout.size)


def test_products_are_those_of_a_loop_of_backward_passes(untrained, events, oracle, directions):
    found = gradient_products(
        untrained.decoder, untrained.flat, events, everything(untrained), directions, 64
    )
    torch.testing.assert_close(found.gram, oracle @ oracle.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.along, oracle @ directions.T, rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(found.directions, directions @ directions.T, rtol=1e-12, atol=0)
    assert torch.equal(found.gram, found.gram.T)


@pytest.mark.parametrize("width", [1, 777, 20_000])
@pytest.mark.parametrize("chunk", [1, 5])
def test_blocks_of_any_size_give_the_same(
    untrained, events, oracle, directions, width, chunk, monkeypatch
):
    # Some of everything, with gaps, so that single columns are few enough to go one by one.
    columns = everything(untrained)[40 :: 4001 if width == 1 else 3].clone()
    plan = BlockPlan(width, chunk, tile=100, size=0)
    monkeypatch.setattr(example_gradients, "plan_blocks", lambda *_: plan)
    found = gradient_products(untrained.decoder, untrained.flat, events, columns, directions, 64)
    sliced = oracle[:, columns]
    torch.testing.assert_close(found.gram, sliced @ sliced.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        found.along, sliced @ directions[:, columns].T, rtol=1e-12, atol=1e-11
    )


@pytest.mark.parametrize(
    ("grouping", "groups"),
    [
        ("head_projection", ["L1H2.q", "L0H1.o"]),
        ("module", ["layer_0.mlp", "final_norm"]),
        ("neuron", ["L1N3", "L0N17"]),
        ("layer", ["layer_1"]),
        ("token", ["token_14"]),
    ],
)
def test_restriction_is_slicing(untrained, events, oracle, directions, grouping, groups):
    layout = untrained.decoder.layout
    columns = group_columns(layout, grouping, groups)
    labels = layout.groups(grouping).repeat(layout.atoms["size"]).reset_index(drop=True)
    sliced = oracle[:, torch.tensor(labels.isin(groups))]
    assert len(columns) == sliced.shape[1] > 0
    found = gradient_products(untrained.decoder, untrained.flat, events, columns, directions, 64)
    torch.testing.assert_close(found.gram, sliced @ sliced.T, rtol=1e-12, atol=1e-14)


def test_groups_that_part_the_model_sum_to_the_whole(untrained, events, oracle, directions):
    layout = untrained.decoder.layout
    total = torch.zeros(len(events), len(events), dtype=torch.float64)
    for group in layout.groups("module").unique():
        columns = group_columns(layout, "module", [group])
        total += gradient_products(
            untrained.decoder, untrained.flat, events, columns, directions, 64
        ).gram
    torch.testing.assert_close(total, oracle @ oracle.T, rtol=1e-12, atol=1e-12)


def test_groups_of_a_nested_grouping_are_those_of_its_finest_part(untrained):
    layout = untrained.decoder.layout
    nested = group_columns(layout, "layer/head", ["layer_1/L1H2"])
    assert torch.equal(nested, group_columns(layout, "head", ["L1H2"]))


def test_no_group_means_all_parameters(untrained):
    layout = untrained.decoder.layout
    assert torch.equal(group_columns(layout, "module", []), everything(untrained))


def test_gradients_sum_to_that_of_the_batch(untrained, events):
    columns, n = everything(untrained), len(events)
    plan = BlockPlan(30_000, 5, 100, 0)
    losses, right = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.bool)
    total = torch.cat(
        [
            block.sum(0)
            for _, block in gradient_blocks(
                untrained.decoder, untrained.flat, events, columns, plan, losses, right
            )
        ]
    )
    batch = scalar_gradients(
        untrained.decoder, untrained.flat, events, range(0), {"loss": negative_answer_loss()}
    )
    torch.testing.assert_close(-total / n, batch.gradients[0], rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(-losses, batch.values[0], rtol=1e-12, atol=0)


def test_losses_and_answers_are_those_of_the_model(planted, untrained, events, directions):
    columns = everything(planted)[:64]
    for network, share in ((planted, 1.0), (untrained, 0.0)):
        found = gradient_products(network.decoder, network.flat, events, columns, directions, 64)
        loss = {"loss": negative_answer_loss()}
        values = scalar_values(network.decoder, network.flat, events, range(0), loss)
        torch.testing.assert_close(found.losses, -values[0], rtol=1e-9, atol=1e-12)
        assert found.right.double().mean() == share


def test_float32_gradients_differ_by_their_rounding(untrained, events, oracle, directions):
    found = gradient_products(
        untrained.decoder, untrained.flat.float(), events, everything(untrained), directions, 64
    )
    exact = oracle @ oracle.T
    assert found.gram.dtype == torch.float64
    scale = exact.diagonal().sqrt()
    assert ((found.gram - exact).abs() < 1e-5 * scale[:, None] * scale).all()


def test_a_read_pushes_exactly_like_itself(untrained, events, directions):
    twice = events.select([*range(6), *range(6)])
    found = gradient_products(
        untrained.decoder, untrained.flat, twice, everything(untrained), directions, 64
    )
    cosine = cosines(found.gram.numpy(), found.gram.diagonal().numpy())
    assert cosine[range(6), range(6, 12)] == pytest.approx(1, abs=1e-12)
    assert (abs(cosine[:6, :6]) < 1 - 1e-6).sum() == 30


def test_passes_are_counted(untrained, events, directions):
    passes, columns = Passes(), everything(untrained)[:1000]
    gradient_products(untrained.decoder, untrained.flat, events, columns, directions, 64, passes)
    n = len(events)
    assert passes == Passes(whole=1, programs=n, program_layers=2.0 * n)


def test_an_unknown_group_is_refused_by_its_nearest(untrained):
    with pytest.raises(AnalysisError, match=r"'head' has no group 'L1H9'.*did you mean 'L1H3'"):
        group_columns(untrained.decoder.layout, "head", ["L0H1", "L1H9"])
    with pytest.raises(AnalysisError, match=r"did you mean 'head'"):
        group_columns(untrained.decoder.layout, "heads", ["L1H1"])


@given(
    reads=st.integers(1, 5000),
    parameters=st.integers(1, 2_000_000),
    share=st.floats(0, 1),
    itemsize=st.sampled_from([4, 8]),
    memory=st.integers(16, 2000),
)
def test_a_plan_stays_within_the_memory(reads, parameters, share, itemsize, memory):
    columns = max(1, int(share * parameters))
    assume(2 * parameters * itemsize + (8 + itemsize) * reads <= memory * 10**6)
    plan = plan_blocks(reads, columns, parameters, itemsize, memory)
    held = reads * plan.width * itemsize  # the block
    held += 2 * plan.chunk * parameters * itemsize  # a chunk's gradients, made and summed
    held += 8 * reads * plan.tile  # a tile in float64
    assert held == plan.size <= memory * 10**6
    assert 1 <= plan.width <= columns
    assert 1 <= plan.chunk <= reads
    assert 1 <= plan.tile <= columns


def test_what_does_not_fit_is_refused_with_what_would():
    with pytest.raises(AnalysisError, match=r"expected: at least 17 MB for a model of 2,000,000"):
        plan_blocks(1000, 10, 2_000_000, 4, 16)
    assert plan_blocks(1000, 10, 2_000_000, 4, 17).size <= 17 * 10**6


_MEASURED = """
import sys
sys.path.insert(0, "tests")
import torch
from planted import PLANTED_BENCHMARK, planted_decoder, untrained_twin
from circuit.attribution.example_gradients import gradient_products
from circuit.task.benchmark import build_benchmark
from circuit.task.events import read_events
torch.set_num_threads(1)
network = untrained_twin(planted_decoder())
benchmark = build_benchmark(PLANTED_BENCHMARK)
events = read_events(benchmark.splits["train"], benchmark.vocabulary)
size = network.decoder.layout.size
def products(reads):
    none = torch.zeros(0, size, dtype=torch.float64)
    some = events.select(torch.arange(reads))
    return gradient_products(network.decoder, network.flat, some, torch.arange(size), none, 24)
def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1e3
products(40)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak so far is forgotten
before = status("VmRSS")
products(300)
print(status("VmHWM") - before, 300 * size * 8 / 1e6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory_held_is_that_of_the_plan_not_of_all_gradients(pytestconfig):
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=True,
    )
    grown, whole = map(float, done.stdout.split())
    assert whole > 110  # MB that the gradients of all reads would take
    # 24 MB of gradients, 0.7 MB of products (twice where they are put in order), and passes.
    assert grown < 60


@pytest.fixture(scope="module")
def halves(planted, untrained, planted_events):
    """Differences of mean cosine by (network, projection of the matching head), as (low, high)."""
    reads = planted_events.select(torch.arange(0, 171, 2))
    labels = pd.DataFrame(
        {
            "query_key": reads.query_key_id.numpy(),
            "answer_value": reads.answer.numpy(),
            "lag": reads.writes_since_support.numpy(),
        }
    )
    none, found = torch.zeros(0, planted.flat.numel(), dtype=torch.float64), {}
    for name, network in (("planted", planted), ("untrained", untrained)):
        for side in ("q", "v"):
            columns = group_columns(planted.decoder.layout, "head_projection", [f"L1H2.{side}"])
            products = gradient_products(network.decoder, network.flat, reads, columns, none, 64)
            cosine = {"cosine": pair_matrices(products)["cosine"]}
            rows = relation_rows(cosine, labels).set_index(["which", "relation"])
            rows = rows.loc["difference"]
            found[name, side] = {r: (rows.low[r], rows.high[r]) for r in rows.index}
    return found


def test_keys_push_alike_where_the_planted_head_asks_and_values_where_it_copies(halves):
    asks, copies = halves["planted", "q"], halves["planted", "v"]
    assert asks["query_key"][0] > 0.25
    assert asks["answer_value"][0] < 0 < asks["answer_value"][1]
    assert copies["answer_value"][0] > 0.5
    assert copies["query_key"][0] < 0 < copies["query_key"][1]


def test_the_untrained_twin_asks_for_nothing_in_particular(halves):
    asks = halves["untrained", "q"]
    # Where it asks, reads of one key are no more alike than reads of one value.
    assert asks["query_key"][0] < asks["answer_value"][1]
    assert asks["answer_value"][0] < asks["query_key"][1]
    for sides in halves.values():
        assert sides["lag"][0] < 0 < sides["lag"][1]

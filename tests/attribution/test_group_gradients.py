"""The loss's gradient split over groups of targets, against losses that hold one group alone."""

import pytest
import torch
import torch.nn.functional as F

from circuit.attribution import group_gradients as module
from circuit.attribution.data_labels import GROUPINGS, label_programs
from circuit.attribution.group_gradients import group_gradients
from circuit.training.trajectory import batch_gradient

KNOWN = tuple(data for data in GROUPINGS if data != "supports_opposes")
CLOSE = {"rtol": 1e-10, "atol": 1e-14}


@pytest.fixture(scope="module")
def theta(steps):
    return steps[6].before.theta


@pytest.fixture(scope="module")
def batch(steps):
    return steps[6].taken.batch


@pytest.fixture(scope="module", params=KNOWN)
def labelled(request, planted_benchmark, batch):
    """Labels of a batch, and how many groups there are in the split."""
    programs, vocabulary = planted_benchmark.splits["train"], planted_benchmark.vocabulary
    found = label_programs(programs, vocabulary, request.param)
    return found.of(batch), len(found.groups)


def alone(decoder, theta, batch, mask):
    """Gradient of the plain loss of the marked targets over the number of all targets."""
    theta = theta.detach().requires_grad_()
    logits = decoder.forward(decoder.layout.views(theta), batch.tokens[:, :-1])
    loss = F.cross_entropy(logits.mT, batch.targets, reduction="none")
    share = loss[mask].sum() / (batch.targets >= 0).sum()
    return torch.autograd.grad(share, theta)[0]


@pytest.fixture(scope="module")
def expected(curved, theta, batch, labelled):
    labels, n_groups = labelled
    return torch.stack(
        [alone(curved.decoder, theta, batch, labels == group) for group in range(n_groups)]
    )


@pytest.fixture(scope="module")
def total(curved, theta, batch):
    return batch_gradient(curved.decoder, theta, batch).gradient


WAYS = {
    "as it pays": {},
    **{
        f"{count} together": {"_sharing": lambda work, whole, count=count: list(work)[:count]}
        for count in (0, 2, 1000)
    },
    **{f"{count} pieces": {"_PIECES": count} for count in (1, 3, 50)},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_each_group_has_the_gradient_of_its_targets(
    curved, theta, batch, labelled, expected, total, monkeypatch, way
):
    for name, value in way.items():
        monkeypatch.setattr(module, name, value)
    found = group_gradients(curved.decoder, theta, batch, *labelled)
    torch.testing.assert_close(found, expected, **CLOSE)
    torch.testing.assert_close(found.sum(0), total, **CLOSE)


def test_the_remainder_is_the_gradient_of_the_group_that_was_not_run(
    curved, theta, batch, labelled, expected, total
):
    found = group_gradients(curved.decoder, theta, batch, *labelled, total)
    torch.testing.assert_close(found, expected, **CLOSE)


def test_a_group_without_a_target_has_no_gradient(curved, theta, batch, total):
    labels = torch.where(batch.targets >= 0, 1, -1)
    found = group_gradients(curved.decoder, theta, batch, labels, 3, total)
    assert not found[0].any()
    assert not found[2].any()
    assert torch.equal(found[1], total)


def test_float32_runs_put_their_rounding_into_the_remainder(curved, theta, batch, labelled):
    single = theta.float()
    whole = batch_gradient(curved.decoder, single, batch).gradient
    found = group_gradients(curved.decoder, single, batch, *labelled, whole)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.sum(0), whole.double(), rtol=0, atol=1e-16)
    every = group_gradients(curved.decoder, single, batch, *labelled)
    torch.testing.assert_close(found, every, rtol=1e-3, atol=2e-6 * float(whole.abs().max()))


def test_programs_run_only_as_far_as_their_last_target(batch, labelled):
    labels, n_groups = labelled
    for group in range(n_groups):
        mask = labels == group
        pieces = module._pieces(batch, mask)
        assert sum(len(piece.tokens) for piece in pieces) == int(mask.any(1).sum())
        assert sum(int((piece.targets >= 0).sum()) for piece in pieces) == int(mask.sum())
        lengths = [piece.tokens.shape[1] for piece in pieces]
        assert lengths == sorted(lengths)
        for piece in pieces:
            last = torch.where(piece.targets >= 0, piece.at, -1).max()
            assert int(last) + 1 == piece.tokens.shape[1]


@pytest.mark.parametrize(
    ("work", "shared"),
    [
        ({0: 10.0, 1: 10.0, 2: 10.0}, [0, 1, 2]),  # 90 alone; 70 together
        ({0: 10.0}, []),  # 30 either way
        ({0: 4.0, 1: 5.0, 2: 6.0}, []),
        ({0: 10.0, 1: 1.0, 2: 9.5, 3: 9.0}, [0, 2, 3]),
    ],
)
def test_one_forward_pass_is_shared_where_it_pays(work, shared):
    assert module._sharing(work, 10.0) == shared

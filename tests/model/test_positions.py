"""A pass that answers for some positions only, against the whole pass."""

import pytest
import torch
import torch.nn.functional as F


@pytest.fixture(scope="module")
def asked(planted, planted_events):
    """Programs, and three positions in each; repeated and unordered ones are fine."""
    events = planted_events.select(range(12)).crop()
    last = events.length - 1
    return events.tokens, torch.stack([last, last // 2, last // 2], 1)


def test_logits_at_positions_are_those_of_the_whole_pass(planted, asked):
    tokens, at = asked
    some = planted.decoder.forward(planted.views, tokens, at=at)
    whole = planted.decoder.forward(planted.views, tokens)
    expected = whole.gather(1, at[..., None].expand(-1, -1, whole.shape[-1]))
    torch.testing.assert_close(some, expected, rtol=1e-9, atol=1e-9)


def test_gradients_at_positions_are_those_of_the_whole_pass(planted, asked):
    tokens, at = asked
    targets = tokens.gather(1, at)

    def gradient(positions):
        theta = planted.flat.detach().requires_grad_()
        views = planted.decoder.layout.views(theta)
        logits = planted.decoder.forward(views, tokens, at=positions)
        if positions is None:
            logits = logits.gather(1, at[..., None].expand(-1, -1, logits.shape[-1]))
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return torch.autograd.grad(loss, theta)[0]

    torch.testing.assert_close(gradient(at), gradient(None), rtol=1e-8, atol=1e-10)


def test_one_position_may_be_given_without_its_axis(planted, asked):
    tokens, at = asked
    x = planted.decoder.residual(planted.views, tokens, planted.decoder.tap())
    one = planted.decoder.onward(planted.views, "layer_1_post_mlp", x, at=at[:, 0])
    assert torch.equal(
        one, planted.decoder.onward(planted.views, "layer_1_post_mlp", x, at=at[:, :1])
    )

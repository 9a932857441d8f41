"""A transformer whose MLPs look up two facts about a key in two hops, by neurons set by hand.

The residual stream holds orthonormal directions, none of them with a mean: one for every key, one
*bridge* for every key, one for every value, one for every idle neuron, and the *ballast*, a large
constant, so that LayerNorm divides by nearly the same number whatever neurons write. No head does
anything.

1. *Hop 1* (layer 0): neurons that detect a key write its bridge. Some write it backwards.
2. *Hop 2* (layer 1): neurons that detect a bridge write a value: the ``first`` fact of the key or
   the ``second``. Some write the first and take away the second.
3. *Idle* neurons detect the same, and write as much, each into a direction that nobody reads.
4. All others are noise, drawn anew at every checkpoint.

A *candidate* is a fact, and its score is what the last state at the prediction position has along
the fact's value, over the mean of those of the other keys' facts of its kind: linear, so that
nothing but neurons moves it. So what each neuron does for either candidate is known
(:attr:`TwoHop.truth`). At checkpoint t the weights of all planted neurons have the share
``grown[t]`` of what they come to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.model.transformer import Decoder
from circuit.task.events import ReadEvents, read_events
from circuit.task.vocabulary import BOS, EOS, READ, WRITE, Vocabulary

FIRST, SECOND = "first", "second"
STAGE = "layer_1_post_mlp"
"""Where a candidate's score is read."""
_BOTH, _NEITHER, _CONFLICT = "shared positive", "shared negative", "conflict"
_IDLE = "idle"
_KEYS, _WIDTH, _NEURONS = 4, 128, 40
_BALLAST = 5.0
_TURN_ON = 2.0  # a detector's preactivation at what it detects, and minus that elsewhere
_PLAN: tuple[tuple[int, str, int, float], ...] = (
    (0, _BOTH, 2, 0.75),
    (0, _NEITHER, 1, 0.5),
    (0, _IDLE, 2, 0.75),
    (0, _IDLE, 2, 0.5),
    (1, FIRST, 2, 0.75),
    (1, SECOND, 2, 1.25),
    (1, _CONFLICT, 2, 0.75),
    (1, _IDLE, 2, 0.75),
    (1, _IDLE, 1, 1.25),
)
"""Layer, what its neurons do, how many there are for each key, and the norm that they write."""


@dataclass(frozen=True, eq=False)
class TwoHop:
    """The planted network, its checkpoints and what is known of it.

    Attributes:
        states: parameters [P] of every checkpoint, float64.
        events: reads of two-write programs; the answer is the first fact of the key asked for.
        readouts: for each candidate [E, d]: its score is the inner product with the state at
            ``STAGE`` and the prediction position.
        truth: what neurons do → their names. ``first`` and ``second`` are of one candidate alone;
            ``idle`` ones fire and write as much as those, for nobody.
    """

    decoder: Decoder
    vocabulary: Vocabulary
    states: tuple[Float[Tensor, " P"], ...]
    events: ReadEvents
    readouts: Mapping[str, Float[Tensor, "E d"]]
    truth: Mapping[str, tuple[str, ...]]


def two_hop(
    grown: tuple[float, ...] = (0.0, 0.5, 1.0),
    programs: int = 384,
    noise: float = 0.003,
    seed: int = 0,
) -> TwoHop:
    """Build the network, its checkpoints and programs; ``noise`` is that of all weights."""
    words = Vocabulary(_KEYS, 2 * _KEYS)
    settings = ModelSettings(n_layers=2, n_heads=4, d_model=_WIDTH, d_ff=_NEURONS, context=16)
    decoder = Decoder(settings, words.size)
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(_WIDTH, _WIDTH, generator=generator, dtype=torch.float64)
    start[:, 0] = 1.0  # all others are orthogonal to the ones: they have no mean
    _, ballast, *axes = torch.linalg.qr(start).Q.T
    tokens, slack = torch.stack(axes[: words.size]), iter(axes[words.size + _KEYS :])
    bridges = torch.stack(axes[words.size : words.size + _KEYS])
    keys, values = tokens[list(words.key_ids)], tokens[list(words.value_ids)]
    base = torch.zeros(decoder.layout.size, dtype=torch.float64)
    views = decoder.layout.views(base)
    views["embedding.token"].copy_(tokens)
    views["embedding.position"].copy_((_BALLAST * ballast).expand(settings.context, -1))
    for name, view in views.items():
        if name.endswith("gain"):
            view.fill_(1.0)
    writes = {
        _BOTH: bridges,
        _NEITHER: -bridges,
        FIRST: values[:_KEYS],
        SECOND: values[_KEYS:],
        _CONFLICT: (values[:_KEYS] - values[_KEYS:]) / 2**0.5,
    }
    planted, truth = torch.zeros_like(base), dict[str, tuple[str, ...]]()
    views = decoder.layout.views(planted)
    free: tuple[Iterator[int], Iterator[int]] = (count(), count())
    fires = torch.nn.functional.gelu(torch.tensor(_TURN_ON, dtype=torch.float64))
    for layer, does, each, norm in _PLAN:
        # How long LayerNorm makes a part of norm 1: beside the ballast are one such part, or two.
        seen, length = keys if layer == 0 else bridges, (_WIDTH / (_BALLAST**2 + 1 + layer)) ** 0.5
        for key in (key for key in range(_KEYS) for _ in range(each)):
            neuron = next(free[layer])
            views[f"layer_{layer}.mlp.W_in"][neuron] = 2 * _TURN_ON / length * seen[key]
            views[f"layer_{layer}.mlp.b_in"][neuron] = -_TURN_ON
            write = next(slack) if does == _IDLE else writes[does][key]
            views[f"layer_{layer}.mlp.W_out"][neuron] = norm / fires * write
            truth[does] = (*truth.get(does, ()), f"L{layer}N{neuron}")
    states = []
    for share in grown:
        flat = base + share * planted
        for name, view in decoder.layout.views(flat).items():
            if ".W_" in name:
                drawn = torch.randn(view.shape, generator=generator, dtype=torch.float64)
                view.add_(drawn, alpha=noise)
        states.append(flat)
    events = read_events(_programs(words, programs, seed), words, "last")
    asked = events.query_key_id - words.key_ids.start
    readouts = {}
    for fact, of in ((FIRST, values[:_KEYS]), (SECOND, values[_KEYS:])):
        readouts[fact] = (of[asked] * _KEYS - of.sum(0)) / (_KEYS - 1)
    return TwoHop(decoder, words, tuple(states), events, readouts, truth)


def _programs(words: Vocabulary, programs: int, seed: int) -> pd.DataFrame:
    """Two keys are written with their first facts, and one of them is read."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(programs):
        first, second = rng.permutation(_KEYS)[:2].tolist()
        events = ((WRITE, first), (WRITE, second), (READ, int(rng.choice([first, second]))))
        stream = [BOS]
        for op, key in events:
            stream += [op, words.key_id(key), words.value_id(key)]
        rows.append({"sample_id": f"two_hop_{number:04d}", "tokens": [*stream, EOS]})
    return pd.DataFrame(rows)

"""A transformer that performs latest-write lookup by construction, as the tests' known answer.

The residual stream is a sum of orthogonal subspaces, the *blocks*:

    op, token_key, token_value    what the token is
    position, recency             circles (cos, sin) that tell offsets; a straight line in time
    previous_key, write_flag      empty until layer 0 writes them
    slack                         the rest, with the direction (1, 1, …, 1) that LayerNorm removes

1. ``previous_token_head`` (L0H1) attends one position back and writes that token's key into
   ``previous_key``: a value token then knows whose value it is.
2. ``op_head`` (L0H2) attends two positions back and writes whether a W stands there into
   ``write_flag``: a written value then differs from an answer.
3. ``matching_head`` (L1H2) asks with the key it stands on. A position scores ``match`` if its
   previous_key is that key, ``write`` if its write_flag is set, and ``slope`` per token of
   recency: with match, write ≫ slope > 0, the value of the latest write to the key wins.
4. Its OV map copies token_value to token_value, with gain ``answer``, so the tied unembedding
   reads the answer off at the prediction position.

Values lie on both ends of ``n_values / 2`` axes (``V000`` = +axis 0, ``V001`` = −axis 0, …): their
mean is zero and they fit the rank of one head. All other heads, and the MLPs, are small noise, and
a smaller noise lies on the planted ones, so that no singular value or score is exactly tied.

So LayerNorm's mean is zero. A token's vector, a position's circles and its line have norm 1 each,
so LayerNorm divides each kind of token by one known number, and the strengths above are met in
nats up to the noise.

A second network (:func:`redundant_decoder`) is one in which single ablations mislead:

5. Two heads of layer 1 (``matching_head`` and ``second_head``, L1H3) do step 3 and 4 alike.
6. ``anti_head`` (L2H1) attends to its own position and takes half of the value in it back. A large
   constant, the *ballast*, which layer 1's b_O writes and layer 2's takes away, lets LayerNorm
   divide what the anti head reads by one number: so with one of the two heads gone it takes back
   half as much, and makes good half of the loss. The final LayerNorm, which sees no ballast, makes
   good most of the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.benchmark import BenchmarkSettings
from circuit.config.recipe import ModelSettings
from circuit.model.transformer import Decoder
from circuit.task.benchmark import Benchmark, build_benchmark
from circuit.task.events import ReadEvents, read_events
from circuit.task.vocabulary import READ, WRITE, Vocabulary

PLANTED_BENCHMARK = BenchmarkSettings.model_validate(
    {
        "n_keys": 4,
        "n_values": 32,
        "seed": 5,
        "in_distribution": {
            "samples": {"train": 256, "validation_iid": 48, "test_iid": 48, "heldout_pairs": 48},
            "active_keys": [2, 3],
            "overwrites": 5,
            "reads": [3, 4],
            "query_lag": [1, 2],
        },
        "structural_ood": {
            "samples": 48,
            "active_keys": 4,
            "overwrites": 6,
            "reads": [4, 5],
            "query_lag": [2, 3],
        },
        "counterfactual": {"samples": 48},
        "heldout_pair_fraction": 0.2,
        "probes": {"programs_per_split": 32},
        "pairs": {"pairs_per_kind": 24},
    }
)

_N_CIRCLES = 8
_D_HEAD = 2 * _N_CIRCLES  # a positional head's query and key are the circles
_TOKEN, _POSITION = 1.0, 2.0  # squared norms: one identity; the circles and the line, 1 each
_PEAK = 42.0  # nats of a positional head's score at its offset; the next best is 20 below


class Strengths(NamedTuple):
    """What the planted heads do: scores in nats, writes in units of one token identity."""

    match: float = 80.0
    write: float = 80.0
    slope: float = 1.0
    answer: float = 4.0


_WORLD = Vocabulary.of(PLANTED_BENCHMARK)
_STRENGTHS = Strengths()


_BALLAST = 30.0  # far above what the heads of layer 1 write


@dataclass(frozen=True, eq=False)
class PlantedCircuit:
    """The planted network and what is in it.

    Attributes:
        flat: its parameters [P].
        bases: orthonormal basis [d_model, r] of every block named in the module docstring.
    """

    decoder: Decoder
    flat: Float[Tensor, " P"]
    vocabulary: Vocabulary
    strengths: Strengths
    bases: MappingProxyType[str, Float[Tensor, "d r"]]
    previous_token_head: str = "L0H1"
    op_head: str = "L0H2"
    matching_head: str = "L1H2"

    @property
    def views(self) -> dict[str, Tensor]:
        """Named parameters, sharing the flat vector's memory."""
        return self.decoder.layout.views(self.flat)


@dataclass(frozen=True, eq=False)
class RedundantCircuit(PlantedCircuit):
    """The network of steps 5 and 6."""

    second_head: str = "L1H3"
    anti_head: str = "L2H1"


def planted_decoder(
    vocabulary: Vocabulary = _WORLD,
    strengths: Strengths = _STRENGTHS,
    context: int = 64,
    noise: float = 0.01,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> PlantedCircuit:
    """Build the planted network for a vocabulary of at most 12 keys and 32 values.

    Args:
        vocabulary: the world's keys and values.
        strengths: how strongly the planted heads act.
        context: longest stream; 64 is also as far as the positional heads' codes are sharp.
        noise: standard deviation of the weights of everything that is not planted; a tenth of it
            lies on the planted heads.
        seed: of the noise.
        dtype: of the parameters; they are built in float64.
    """
    decoder, flat, bases = _noisy(vocabulary, 2, context, noise, seed, ((0, 1), (0, 2), (1, 2)))
    views = decoder.layout.views(flat)
    _plant_look_up(views, (2,), strengths, context, bases)
    return PlantedCircuit(decoder, flat.to(dtype), vocabulary, strengths, MappingProxyType(bases))


def redundant_decoder(
    vocabulary: Vocabulary = _WORLD,
    strengths: Strengths = _STRENGTHS,
    context: int = 64,
    noise: float = 0.01,
    seed: int = 0,
) -> RedundantCircuit:
    """Build the network in which two heads do the same and a third undoes half of it.

    Arguments are those of :func:`planted_decoder`.
    """
    heads = ((0, 1), (0, 2), (1, 2), (1, 3), (2, 1))
    decoder, flat, bases = _noisy(vocabulary, 3, context, noise, seed, heads)
    views = decoder.layout.views(flat)
    _plant_look_up(views, (2, 3), strengths, context, bases)
    views["layer_1.attn.b_O"] += _BALLAST * bases["slack"][:, 0]
    views["layer_2.attn.b_O"] -= _BALLAST * bases["slack"][:, 0]
    value, written = bases["token_value"], (2.2 * strengths.answer) ** 2
    squared = _TOKEN + _POSITION + _BALLAST**2 + written
    _plant_positional(views, (2, 1), 0, value, -value / 2, bases, squared)
    return RedundantCircuit(decoder, flat, vocabulary, strengths, MappingProxyType(bases))


def _noisy(
    vocabulary: Vocabulary,
    n_layers: int,
    context: int,
    noise: float,
    seed: int,
    planted: tuple[tuple[int, int], ...],
) -> tuple[Decoder, Tensor, dict[str, Tensor]]:
    """A decoder, its parameters, which are embeddings and noise, and the blocks' bases."""
    settings = ModelSettings(n_layers=n_layers, n_heads=4, d_model=64, d_ff=32, context=context)
    decoder = Decoder(settings, vocabulary.size)
    generator = torch.Generator().manual_seed(seed)
    bases = _blocks(vocabulary, settings.d_model, generator)
    flat = torch.zeros(decoder.layout.size, dtype=torch.float64)
    views = decoder.layout.views(flat)
    for name, view in views.items():
        if name.endswith("gain"):
            view.fill_(1.0)
        elif ".W_" in name:
            view.normal_(0.0, noise, generator=generator)
    for layer, head in planted:
        views[f"layer_{layer}.attn.W_QKV"][:, head] *= 0.1
        views[f"layer_{layer}.attn.W_O"][head] *= 0.1
    views["embedding.token"].copy_(_token_embedding(vocabulary, bases))
    views["embedding.position"].copy_(_position_embedding(context, bases))
    return decoder, flat, bases


def _plant_look_up(
    views: dict[str, Tensor],
    matching: tuple[int, ...],
    strengths: Strengths,
    context: int,
    bases: dict[str, Tensor],
) -> None:
    """Steps 1 to 4, with some heads of layer 1 that match."""
    is_write, squared = bases["op"][:, :1], _TOKEN + _POSITION
    _plant_positional(views, (0, 1), 1, bases["token_key"], bases["previous_key"], bases, squared)
    _plant_positional(views, (0, 2), 2, is_write, bases["write_flag"], bases, squared)
    for head in matching:
        _plant_matching(views, head, strengths, context, bases)


def untrained_twin(planted: PlantedCircuit, seed: int = 0) -> PlantedCircuit:
    """Return the same architecture with freshly initialised parameters: nothing is planted."""
    flat = planted.decoder.initialise(torch.Generator().manual_seed(seed)).to(planted.flat.dtype)
    return replace(planted, flat=flat)


def _blocks(
    vocabulary: Vocabulary, width: int, generator: torch.Generator
) -> dict[str, Float[Tensor, "d r"]]:
    """Orthonormal bases of the blocks; only the slack is not orthogonal to (1, 1, …, 1)."""
    sizes = {
        "op": 3,  # W, R, every other special token
        "token_key": vocabulary.n_keys,
        "token_value": math.ceil(vocabulary.n_values / 2),
        "position": 2 * _N_CIRCLES,
        "recency": 2,
        "previous_key": vocabulary.n_keys,
        "write_flag": 1,
    }
    sizes["slack"] = width - sum(sizes.values())
    assert sizes["slack"] >= 1
    assert max(sizes["token_key"] + 2, sizes["token_value"]) <= _D_HEAD
    start = torch.randn(width, width, generator=generator, dtype=torch.float64)
    start[:, 0] = 1.0
    rotation = torch.linalg.qr(start).Q.roll(-1, dims=1)  # the ones' direction comes last
    return dict(zip(sizes, rotation.split(list(sizes.values()), dim=1), strict=True))


def _token_embedding(vocabulary: Vocabulary, bases: dict[str, Tensor]) -> Float[Tensor, "V d"]:
    write, read, special = bases["op"].T
    rows = special.repeat(vocabulary.size, 1)
    rows[WRITE], rows[READ] = write, read
    rows[list(vocabulary.key_ids)] = bases["token_key"].T
    ends = torch.stack([bases["token_value"].T, -bases["token_value"].T], 1).flatten(0, 1)
    rows[list(vocabulary.value_ids)] = ends[: vocabulary.n_values]
    return rows


def _frequencies() -> Float[Tensor, " F"]:
    """Radians per token of the position circles."""
    return math.pi * 1.6 ** -torch.arange(_N_CIRCLES, dtype=torch.float64)


def _line(context: int) -> Float[Tensor, " T"]:
    """The recency coordinate: a straight line within (−1, 1)."""
    return torch.linspace(-0.9, 0.9, context, dtype=torch.float64)


def _position_embedding(context: int, bases: dict[str, Tensor]) -> Float[Tensor, "T d"]:
    angles = torch.arange(context, dtype=torch.float64)[:, None] * _frequencies()
    circles = torch.cat([angles.cos(), angles.sin()], 1) / math.sqrt(_N_CIRCLES)
    line = _line(context)
    arc = torch.stack([line, (1 - line**2).sqrt()], 1)
    return circles @ bases["position"].T + arc @ bases["recency"].T


def _normalised(squared_norm: float, width: int) -> float:
    """What LayerNorm multiplies a zero-mean state of this squared norm by."""
    return math.sqrt(width / squared_norm)


def _plant_positional(
    views: dict[str, Tensor],
    at: tuple[int, int],
    back: int,
    source: Float[Tensor, "d r"],
    target: Float[Tensor, "d r"],
    bases: dict[str, Tensor],
    squared: float,
) -> None:
    """Let a head copy a block from ``back`` positions before into another block.

    The states that it reads have the squared norm ``squared``. The query is the position's circles
    turned back by ``back`` tokens, so its product with a key's circles is the sum of
    cos(ω (t − back − j)), largest at j = t − back.
    """
    layer, head = at
    w_qkv, w_o = views[f"layer_{layer}.attn.W_QKV"], views[f"layer_{layer}.attn.W_O"]
    unit = _normalised(squared, w_o.shape[-1])
    turn = torch.diag(torch.cat([(_frequencies() * back).cos()] * 2))
    sine = torch.diag((_frequencies() * back).sin())
    turn[:_N_CIRCLES, _N_CIRCLES:] = sine
    turn[_N_CIRCLES:, :_N_CIRCLES] = -sine
    gain = math.sqrt(_PEAK * math.sqrt(_D_HEAD)) / unit
    w_qkv[0, head] += gain * turn @ bases["position"].T
    w_qkv[1, head] += gain * bases["position"].T
    rank = source.shape[1]
    w_qkv[2, head, :rank] += source.T / unit
    w_o[head, :rank] += target.T


def _plant_matching(
    views: dict[str, Tensor],
    head: int,
    strengths: Strengths,
    context: int,
    bases: dict[str, Tensor],
) -> None:
    """Let a head of layer 1 find the latest write to the key it stands on, and copy its value.

    Keys differ a little in strength, and so do values: otherwise the singular vectors of the
    head's maps would be arbitrary.
    """
    w_qkv, b_qkv = views["layer_1.attn.W_QKV"], views["layer_1.attn.b_QKV"]
    w_o = views["layer_1.attn.W_O"]
    width, n_keys = w_o.shape[-1], bases["token_key"].shape[1]
    # A written value token carries a previous key and the flag besides its identity.
    asks = _normalised(_TOKEN + _POSITION, width)
    answers = _normalised(_TOKEN + _POSITION + 2 * _TOKEN, width)
    scale = math.sqrt(_D_HEAD)
    per_token = float(_line(context)[1] - _line(context)[0])

    gain = math.sqrt(strengths.match * scale)
    spread = torch.linspace(1.0, 1.2, n_keys, dtype=torch.float64)[:, None]
    w_qkv[0, head, :n_keys] += gain * spread * bases["token_key"].T / asks
    w_qkv[1, head, :n_keys] += gain * bases["previous_key"].T / answers
    # Constant queries come from the bias: they ask for writes, and for late ones.
    for row, block, strength in (
        (n_keys, bases["write_flag"], strengths.write),
        (n_keys + 1, bases["recency"], strengths.slope / per_token),
    ):
        gain = math.sqrt(strength * scale)
        b_qkv[0, head, row] += gain
        w_qkv[1, head, row] += gain * block[:, 0] / answers

    rank = bases["token_value"].shape[1]
    spread = torch.linspace(1.0, 1.2, rank, dtype=torch.float64)[:, None]
    w_qkv[2, head, :rank] += bases["token_value"].T / answers
    w_o[head, :rank] += strengths.answer * spread * bases["token_value"].T


@pytest.fixture(scope="session")
def planted() -> PlantedCircuit:
    """The planted network in float64; its tensors are shared, so change copies only."""
    return planted_decoder()


@pytest.fixture(scope="session")
def redundant() -> RedundantCircuit:
    """The network whose single ablations mislead; change copies only."""
    return redundant_decoder()


@pytest.fixture(scope="session")
def untrained(planted: PlantedCircuit) -> PlantedCircuit:
    """The planted network's untrained twin."""
    return untrained_twin(planted)


@pytest.fixture(scope="session")
def planted_benchmark() -> Benchmark:
    """A small benchmark that the planted network solves: streams of up to 47 tokens."""
    return build_benchmark(PLANTED_BENCHMARK)


@pytest.fixture(scope="session")
def planted_events(planted_benchmark: Benchmark) -> ReadEvents:
    """All reads of the small benchmark's test_iid split."""
    return read_events(planted_benchmark.splits["test_iid"], planted_benchmark.vocabulary)

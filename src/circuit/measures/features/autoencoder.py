"""A sparse autoencoder: directions that states are sums of, few at a time (Bricken et al. 2023).

1. States are centred on their mean and divided by one number, their root mean square distance to
   it. So the squared error is the share of variance that is left over, and the sparsity weighs the
   same at every stage; what states owe to their checkpoint stays in them.
2. A feature's drive is (x - b_dec) W_enc + b_enc; which features are active by it depends on the
   architecture (:mod:`circuit.measures.features.activations`). The decoder is f W_dec + b_dec with
   rows of norm 1: an activation is the length of its feature's part of the state. Minimised is the
   mean over states of |x - x̂|², and with

   - relu: sparsity · Σ f (L1);
   - jumprelu: sparsity · (L0 / k - 1)², L0 being the mean number of active features;
   - topk, batchtopk, matryoshka: AuxK / 32 over features that no batch of the last 100 fired
     (Gao et al. 2024). Matryoshka's error is that of nested prefixes, averaged.
3. Decoder rows begin as the directions of states drawn at random, and encoder columns as the same
   directions: features start where states are. With a *frozen* decoder its rows are random
   directions and stay: how well an encoder can do that was given no features (the baseline).
4. Adam without weight decay, on batches drawn with replacement. The sparsity rises from 0 over the
   first tenth of the steps, the learning rate falls to 0 over the last half.
5. The division is undone in b_enc, b_dec and thresholds, so the result reads and writes states as
   they are. Features are numbered by their mean squared activation, the largest first, in
   matryoshka within what one prefix adds to the one before.

States may lie on disk (:class:`Rows`): a step reads its batch only. The state of a fit is kept
every ``KEEP_EVERY`` steps where a path is given; a fit that was killed goes on from there and ends
with the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from circuit.artifacts import digest_json, read_tensors, write_tensors
from circuit.config.recipe import OptimizerSettings
from circuit.errors import AnalysisError, CircuitError
from circuit.measures.features.activations import (
    AUX_WEIGHT,
    aux_k,
    batch_top_k,
    count_above,
    jump_relu,
    nested_error,
    prefixes,
    running_threshold,
    top_k,
)
from circuit.scalars.features import Dictionary
from circuit.training.optimizers import advance, moment_names

KEEP_EVERY = 500
_WARM_UP, _DECAY = 0.1, 0.5  # shares of the steps
_JITTER = 1e-3  # of a state's length: the same state may be drawn twice
_TINY = 1e-12
_CHUNK = 8192  # states that are read at once
_LEVELS = 4  # nested prefixes
_PATIENCE = 100  # batches without firing after which a feature is dead
_THRESHOLD, _WINDOW = 0.05, 0.05  # of a jumprelu at first, and around it; in units of step 1


@dataclass(frozen=True, eq=False)
class Rows:
    """Chosen states of every checkpoint, which may lie on disk; numbered checkpoint after
    checkpoint.
    """

    states: Float[Tensor, "S n d"]
    chosen: Int[Tensor, " m"]

    @classmethod
    def of(cls, states: Float[Tensor, "n d"]) -> Rows:
        """All of some states."""
        return cls(states[None], torch.arange(len(states)))

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.states) * len(self.chosen)

    def pick(self, numbers: Int[Tensor, " k"]) -> Float[Tensor, "k d"]:
        """Those with these numbers."""
        n, width = self.states.shape[1:]
        place = n * (numbers // len(self.chosen)) + self.chosen[numbers % len(self.chosen)]
        return self.states.view(-1, width).index_select(0, place)

    def chunks(self) -> Iterator[Float[Tensor, "c d"]]:
        """All of them, some thousand at a time."""
        for states in self.states:
            for some in self.chosen.split(_CHUNK):
                yield states[some]


class Weights(NamedTuple):
    """An autoencoder's tensors; thresholds are 0 where nothing is learned or estimated."""

    W_enc: Float[Tensor, "d F"]
    b_enc: Float[Tensor, " F"]
    W_dec: Float[Tensor, "F d"]
    b_dec: Float[Tensor, " d"]
    threshold: Float[Tensor, " F"]

    def drive(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n F"]:
        """What the encoder says of states."""
        return (x - self.b_dec) @ self.W_enc + self.b_enc


class Fit(Protocol):
    """How large a dictionary is, and how it is fitted."""

    size: int
    sparsity: float
    k: int
    steps: int
    batch_size: int
    learning_rate: float

    @property
    def architecture(self) -> str: ...


class Progress(NamedTuple):
    """All that a fit goes on from: what is learned and its moments, how many batches each feature
    was silent for, the running threshold, and the generator's state.
    """

    flat: Float[Tensor, " P"]
    moments: dict[str, Tensor]
    silent: Int[Tensor, " F"]
    running: Float[Tensor, ""] | None
    generator: torch.Generator


def fit_autoencoder(
    states: Rows,
    asked: Fit,
    seed: int,
    *,
    stage: str,
    frozen: bool = False,
    keep: Path | None = None,
) -> Dictionary:
    """Fit an autoencoder of ``asked.size`` features to states; the same seed, the same bits.

    Args:
        stage: the site whose states they are.
        frozen: whether decoder rows stay the random directions that they begin as.
        keep: the file in which the fit's state is kept, and found if an earlier try was killed.

    Raises:
        AnalysisError: there are fewer states than features.
    """
    if states.count < asked.size:
        raise AnalysisError(
            what=f"a dictionary of {asked.size:,} features is wider than {states.count:,} states "
            "support",
            where=f"the fit at {stage}",
            expected="at least as many states as features",
            do="lower size, or take more programs or checkpoints",
        )
    mean, scale = _centre(states)
    shapes = _shapes(asked, states.states.shape[2], frozen)
    said = {name: getattr(asked, name) for name in (*Fit.__annotations__, "architecture")}
    said |= {"threads": torch.get_num_threads()}
    said |= {"seed": seed, "frozen": frozen, "mean": mean.tolist(), "scale": float(scale)}
    key = digest_json(said)
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Float[Tensor, "count d"]:
        numbers = torch.randint(states.count, (count,), generator=generator)
        return (states.pick(numbers) - mean) / scale

    begun = _beginning(draw(asked.size), asked, generator, frozen)
    now = Progress(
        torch.cat([getattr(begun, name).reshape(-1) for name in shapes]),
        {},
        torch.zeros(asked.size, dtype=torch.int64),
        None,
        generator,
    )
    adam = OptimizerSettings(learning_rate=asked.learning_rate, betas=(0.9, 0.999), weight_decay=0)
    now = now._replace(moments={name: torch.zeros_like(now.flat) for name in moment_names(adam)})
    start, now = _kept(keep, key, now)
    bar = tqdm(range(start, asked.steps), desc=f"fit {seed}", unit="step", mininterval=15)
    for step in bar:
        done = step / asked.steps
        x, dead = draw(asked.batch_size), now.silent >= _PATIENCE
        leaf = now.flat.detach().requires_grad_()
        with torch.enable_grad():
            weights = _views(leaf, shapes, begun)
            loss, active = minimised(weights, x, asked, min(1.0, done / _WARM_UP), dead)
            (gradient,) = torch.autograd.grad(loss, leaf)
        rate = asked.learning_rate * min(1.0, (1 - done) / _DECAY)
        settings = adam.model_copy(update={"learning_rate": rate})
        advance(settings, now.flat, now.moments, gradient, step)
        if asked.architecture not in ("relu", "jumprelu"):
            fired = (active > 0).any(0)
            now = now._replace(silent=torch.where(fired, 0, now.silent + 1))
        if asked.architecture in ("batchtopk", "matryoshka"):
            now = now._replace(running=running_threshold(now.running, active))
        if keep is not None and ((step + 1) % KEEP_EVERY == 0 or step + 1 == asked.steps):
            _keep(keep, key, step + 1, now)
    weights = _views(now.flat, shapes, begun)
    if now.running is not None:
        weights = weights._replace(threshold=now.running.expand(asked.size).clone())
    return _ordered(_folded(weights, mean, scale, asked, stage), states, asked)


def minimised(
    weights: Weights, x: Float[Tensor, "n d"], asked: Fit, weight: float, dead: Tensor
) -> tuple[Float[Tensor, ""], Float[Tensor, "n F"]]:
    """What is minimised (step 2 of the module), and the activations.

    Args:
        weight: by how much of it the sparsity counts yet.
        dead: which features have not fired for long.
    """
    drive, kind = weights.drive(x), asked.architecture
    if kind == "relu":
        active = drive.relu()
    elif kind == "jumprelu":
        active = jump_relu(drive, weights.threshold, _WINDOW)
    elif kind == "topk":
        active = top_k(drive, asked.k)
    else:
        active = batch_top_k(drive, asked.k)
    ends = prefixes(asked.size, _LEVELS if kind == "matryoshka" else 1)
    loss = nested_error(x, active, weights.W_dec, weights.b_dec, ends)
    if kind == "relu":
        return loss + weight * asked.sparsity * active.sum(1).mean(), active.detach()
    if kind == "jumprelu":
        l0 = count_above(drive, weights.threshold, _WINDOW).mean()
        return loss + weight * asked.sparsity * (l0 / asked.k - 1).square(), active.detach()
    if dead.any():
        residual = x - active @ weights.W_dec - weights.b_dec
        loss = loss + AUX_WEIGHT * aux_k(residual, drive, dead, weights.W_dec)
    return loss, active.detach()


def _centre(states: Rows) -> tuple[Float[Tensor, " d"], Float[Tensor, ""]]:
    """Mean and root mean square distance to it, summed in float64."""
    kept = states.states.dtype
    mean = torch.zeros(states.states.shape[2], dtype=torch.float64)
    for some in states.chunks():
        mean += some.double().sum(0) / states.count
    square = torch.zeros((), dtype=torch.float64)
    for some in states.chunks():
        square += (some.double() - mean).square().sum() / states.count
    return mean.to(kept), square.sqrt().clamp(min=_TINY).to(kept)


def _shapes(asked: Fit, width: int, frozen: bool) -> dict[str, tuple[int, ...]]:
    """What is learned, in the order in which it lies in the flat vector."""
    size = asked.size
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (width, size), "b_enc": (size,)}
    if not frozen:
        shapes["W_dec"] = (size, width)
    shapes["b_dec"] = (width,)
    return {**shapes, "threshold": (size,)} if asked.architecture == "jumprelu" else shapes


def _beginning(
    rows: Float[Tensor, "F d"], asked: Fit, generator: torch.Generator, frozen: bool
) -> Weights:
    """Step 3 of the module, from as many states as features."""
    noise = torch.randn(rows.shape, generator=generator, dtype=rows.dtype)
    directions = normalize(noise if frozen else rows + _JITTER * noise, dim=1)
    zeros, first = rows.new_zeros, _THRESHOLD if asked.architecture == "jumprelu" else 0.0
    size, width = rows.shape
    return Weights(
        directions.T, zeros(size), directions, zeros(width), rows.new_full((size,), first)
    )


def _views(
    flat: Float[Tensor, " P"], shapes: dict[str, tuple[int, ...]], begun: Weights
) -> Weights:
    """What a flat vector stands for, beside what is not learned; decoder rows of norm 1."""
    parts = flat.split([torch.Size(shape).numel() for shape in shapes.values()])
    learned = {n: p.view(shape) for p, (n, shape) in zip(parts, shapes.items(), strict=True)}
    if "W_dec" in learned:
        learned["W_dec"] = normalize(learned["W_dec"], dim=1)
    return begun._replace(**learned)


def _folded(weights: Weights, mean: Tensor, scale: Tensor, asked: Fit, stage: str) -> Dictionary:
    """Step 5 of the module: the dictionary of states as they are."""
    thresholds = asked.architecture not in ("relu", "topk")
    plain = Dictionary(
        *weights[:4],
        stage=stage,
        threshold=weights.threshold.clamp(min=0) if thresholds else None,
        k=asked.k if asked.architecture == "topk" else None,
    )
    found = plain.of_scaled(1 / float(scale))
    return replace(found, b_dec=found.b_dec + mean)


def _ordered(found: Dictionary, states: Rows, asked: Fit) -> Dictionary:
    """Features by their mean squared activation."""
    squares = torch.zeros(asked.size, dtype=torch.float64)
    for some in states.chunks():
        squares += found.encode(some).double().square().sum(0)
    begin, parts = 0, []
    for end in prefixes(asked.size, _LEVELS if asked.architecture == "matryoshka" else 1):
        parts.append(begin + squares[begin:end].argsort(descending=True, stable=True))
        begin = end
    order = torch.cat(parts)
    return replace(
        found,
        W_enc=found.W_enc[:, order],
        b_enc=found.b_enc[order],
        W_dec=found.W_dec[order],
        threshold=None if found.threshold is None else found.threshold[order],
    )


def _keep(path: Path, key: str, step: int, now: Progress) -> None:
    tensors = {"flat": now.flat, "silent": now.silent, "generator": now.generator.get_state()}
    tensors |= {f"moment.{name}": moment for name, moment in now.moments.items()}
    if now.running is not None:
        tensors["running"] = now.running
    write_tensors(path, tensors, {"key": key, "step": json.dumps(step)}, vouched=True)


def _kept(path: Path | None, key: str, begun: Progress) -> tuple[int, Progress]:
    """The step to go on with, and from what: kept of the same fit, or else its beginning."""
    try:
        tensors, about = read_tensors(path) if path else ({}, {})
    except CircuitError:  # none, or none that is whole
        return 0, begun
    if about.get("key") != key:
        return 0, begun
    begun.generator.set_state(tensors["generator"])
    moments = {name: tensors[f"moment.{name}"] for name in begun.moments}
    return int(about["step"]), Progress(
        tensors["flat"], moments, tensors["silent"], tensors.get("running"), begun.generator
    )

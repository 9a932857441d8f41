"""A temporal crosscoder: one feature, a decoder for every checkpoint (Lindsey et al. 2024).

1. The same input is seen at C checkpoints: states x_t, t = 1 … C, at one position of one program.
   Every checkpoint's states are centred on their own mean and divided by one number, their own root
   mean square distance to it: norms of states grow in training, and without that everything would
   seem to be born late. ``scales`` undo the division.
2. One encoder reads all checkpoints and every checkpoint has a decoder:

       f = BatchTopK(Σ_t W_enc^t x_t + b_enc),    x̂_t = W_dec^t f + b_dec^t

   BatchTopK leaves of a batch of n states the k · n largest drives, each weighted by Σ_t‖W_dec^t‖
   of its feature (:mod:`circuit.measures.features.activations`), so that a feature cannot buy its
   place by short decoders. Minimised is the mean over states and checkpoints of |x_t - x̂_t|², and a
   part of what dead features leave of the rest (AuxK).
3. A feature begins as the states of one input drawn at random, encoder and decoder alike, over all
   checkpoints: copies of one checkpoint so have equal norms from the first step to the last.
4. Adam without weight decay; the learning rate falls to 0 over the last half of the steps. The
   batch of a step is drawn by seed and step alone, so a fit that was killed goes on from its last
   saved state and ends with the same bytes.
5. After the fit a running threshold stands for BatchTopK. Features are brought to
   max_t‖W_dec^t‖ = 1 and numbered by their mean squared activation, the largest first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from circuit.artifacts import digest_json, read_tensors, write_tensors
from circuit.config.recipe import OptimizerSettings
from circuit.errors import AnalysisError, CheckpointError, CircuitError, MismatchError
from circuit.measures.features.activations import (
    AUX_WEIGHT,
    aux_k,
    batch_top_k,
    jump_relu,
    running_threshold,
)
from circuit.scalars.features import Dictionary
from circuit.training.optimizers import advance, moment_names

_DECAY = 0.5  # share of the steps over which the learning rate falls
_JITTER = 1e-3  # of a state's length: the same input may be drawn twice
_DEAD = 20_000  # states without firing after which a feature counts as dead
_SAVED = 200  # steps between saved states
_CHUNK = 4096  # states whose activations are held at once
_TINY = 1e-12


class Fit(Protocol):
    """How large a crosscoder is, and how it is fitted."""

    size: int
    active: float
    steps: int
    batch_size: int
    learning_rate: float


class Scaled(NamedTuple):
    """Step 1: scaled states, means and scales of every checkpoint, and the inputs that fit."""

    states: Float[np.ndarray, "n C d"]
    means: Float[Tensor, "C d"]
    scales: Float[Tensor, " C"]
    fits: Int[np.ndarray, " m"]

    def rows(self, chosen: Int[np.ndarray, " k"]) -> Float[Tensor, "k C*d"]:
        """States of some inputs, those of all checkpoints in a row."""
        return torch.from_numpy(self.states[chosen]).flatten(1)

    def chunks(self) -> Iterator[Float[Tensor, "k C*d"]]:
        """All states that fit, some inputs at a time."""
        for chosen in np.array_split(self.fits, -(-len(self.fits) // _CHUNK)):
            yield self.rows(chosen)


def digest_states(scaled: Scaled) -> str:
    """SHA-256 of all scaled states."""
    return sha256(scaled.states.data).hexdigest()


def mapped_states(path: Path, shape: tuple[int, int, int]) -> Float[np.ndarray, "n C d"]:
    """Room for float32 states in a file: memory holds the pages that are in use, not the whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return np.memmap(path, dtype=np.float32, mode="w+", shape=shape)


def scale_states(states: Float[np.ndarray, "n C d"], fits: Bool[np.ndarray, " n"]) -> Scaled:
    """Scale states in place, by means and scales of the inputs that fit.

    Raises:
        AnalysisError: there are fewer than two checkpoints, or a state is not finite.
    """
    if states.shape[1] < 2:
        raise AnalysisError(
            f"states of {states.shape[1]} checkpoint",
            where="temporal crosscoder",
            expected="the same inputs at two checkpoints or more",
            do="look at more checkpoints; a dictionary serves for one",
        )
    chosen, means, scales = np.flatnonzero(fits), [], []
    for t in range(states.shape[1]):
        at = states[:, t].astype(np.float64)
        if not np.isfinite(at).all():
            raise AnalysisError(
                f"{int((~np.isfinite(at)).any(1).sum())} of {len(at)} states are not finite",
                where=f"temporal crosscoder: checkpoint {t + 1} of {states.shape[1]}",
                expected="finite states at every checkpoint",
                do="leave the checkpoint out, or repair the model that it belongs to",
            )
        mean = at[chosen].mean(0)
        scale = max(np.sqrt(np.square(at[chosen] - mean).sum(1).mean()), _TINY)
        states[:, t] = (at - mean) / scale
        means.append(mean)
        scales.append(scale)
    of_checkpoints = torch.tensor(np.array(means)).float(), torch.tensor(scales).float()
    return Scaled(states, *of_checkpoints, chosen)


AXES = {
    "W_enc": "CdF",
    "b_enc": "F",
    "W_dec": "FCd",
    "b_dec": "Cd",
    "threshold": "F",
    "means": "Cd",
    "scales": "C",
}
"""Tensors of a crosscoder's file: C checkpoints, states of width d, F features."""


@dataclass(frozen=True, eq=False)
class Crosscoder:
    """F features of states of width d at C checkpoints, at ``stage`` and ``role``.

    It reads and writes scaled states. A feature fires where its drive exceeds its ``threshold``.
    ``made`` tells how it was made, among that the ``trajectory`` of its run.
    """

    W_enc: Float[Tensor, "C d F"]
    b_enc: Float[Tensor, " F"]
    W_dec: Float[Tensor, "F C d"]
    b_dec: Float[Tensor, "C d"]
    threshold: Float[Tensor, " F"]
    means: Float[Tensor, "C d"]
    scales: Float[Tensor, " C"]
    _: KW_ONLY
    steps: tuple[int, ...] = ()
    stage: str = ""
    role: str = ""
    made: Mapping[str, object] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.b_enc)

    @property
    def norms(self) -> Float[Tensor, "F C"]:
        """‖W_dec^t‖ of every feature, of scaled states; the largest is 1."""
        norms: Tensor = torch.linalg.vector_norm(self.W_dec, dim=2)
        return norms

    @property
    def raw_norms(self) -> Float[Tensor, "F C"]:
        """The same of states as they are, which grow in training."""
        return self.norms * self.scales

    def drive(self, x: Float[Tensor, "n C*d"]) -> Float[Tensor, "n F"]:
        """What the encoder says of scaled states."""
        return x @ self.W_enc.flatten(0, 1).to(x) + self.b_enc.to(x)

    def encode(self, x: Float[Tensor, "n C*d"]) -> Float[Tensor, "n F"]:
        """Activations of all features."""
        return jump_relu(self.drive(x), self.threshold.to(x))

    def decode(self, f: Float[Tensor, "n F"]) -> Float[Tensor, "n C*d"]:
        """The scaled states that activations stand for."""
        return f @ self.W_dec.flatten(1).to(f) + self.b_dec.flatten().to(f)

    def dictionary(
        self, at: int, gain: Float[Tensor, " F"], bias: Float[Tensor, " F"]
    ) -> Dictionary:
        """An ordinary dictionary of checkpoint number ``at``, of states as they are.

        Its drive is  gain · W_enc^t x_t + bias,  with the scale folded in; with gains 1 and biases
        b_enc / C the drives of all checkpoints sum to the crosscoder's (:func:`alone` has others).
        """
        scale, encoder = self.scales[at], self.W_enc[at] * gain
        return Dictionary(
            W_enc=encoder / scale,
            b_enc=bias + self.b_dec[at] @ encoder,
            W_dec=self.W_dec[:, at] * scale,
            b_dec=self.means[at] + self.b_dec[at] * scale,
            stage=self.stage,
            made=self.made,
            threshold=self.threshold,
            scale=float(scale),
        )


def alone(
    crosscoder: Crosscoder, scaled: Scaled, at: int
) -> tuple[Float[Tensor, " F"], Float[Tensor, " F"]]:
    """Gain and bias by which one checkpoint's share of the drive tells most of the whole drive.

    Least squares over the inputs that fit, feature by feature.
    """
    encoder = crosscoder.W_enc[at].double()
    sums = torch.zeros(4, crosscoder.size, dtype=torch.float64)
    for x in map(Tensor.double, scaled.chunks()):
        whole = crosscoder.drive(x) - crosscoder.b_enc
        own = x.unflatten(1, crosscoder.means.shape)[:, at] @ encoder
        sums += torch.stack([own.sum(0), whole.sum(0), (own * own).sum(0), (own * whole).sum(0)])
    own, whole, square, product = sums / len(scaled.fits)
    gain = (product - own * whole) / (square - own.square()).clamp(min=_TINY)
    bias = whole - gain * own + crosscoder.b_enc
    return gain.float(), bias.float()


class _State(NamedTuple):
    """What a fit goes on from: weights and moments, running threshold, states without firing."""

    weights: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]
    threshold: Tensor | None
    silent: Int[Tensor, " F"]
    step: int


def fit_crosscoder(
    scaled: Scaled,
    settings: Fit,
    seed: int,
    *,
    frozen: bool = False,
    saved: Path | None = None,
    name: str = "crosscoder",
) -> Crosscoder:
    """Fit a crosscoder of ``settings.size`` features; the same seed, the same bits.

    Args:
        frozen: decoders are random and stay so: the baseline, of which only the encoder learns.
        saved: file of the fit's state, from which it goes on, or which is its end.
        name: what its progress bar says.

    Raises:
        AnalysisError: more features are asked for than there are inputs, or the fit diverged.
    """
    _, checkpoints, width = scaled.states.shape
    if settings.size > len(scaled.fits):
        raise AnalysisError(
            f"{settings.size} features are to be fitted to {len(scaled.fits)} inputs",
            where=f"temporal crosscoder: {name}",
            expected="at least as many inputs as features, each of which begins as one",
            do="lower size, or look at more programs",
        )
    key = digest_json(
        {
            "states": digest_states(scaled),
            "fits": sha256(scaled.fits.data).hexdigest(),
            "settings": {field: getattr(settings, field) for field in Fit.__annotations__},
            "seed": seed,
            "frozen": frozen,
            "threads": torch.get_num_threads(),
        }
    ) if saved else ""  # fmt: skip
    state = (saved and _read_state(saved, key)) or _first_state(scaled, settings, seed, frozen)
    adam = OptimizerSettings(
        learning_rate=settings.learning_rate, betas=(0.9, 0.999), weight_decay=0
    )
    weights, moments, threshold, silent, begin = state
    bar = tqdm(
        range(begin, settings.steps), name, settings.steps, initial=begin, unit="step",
        mininterval=0.5 if sys.stderr.isatty() else 15,
    )  # fmt: skip
    for step in bar:
        if saved and step > begin and step % _SAVED == 0:
            _write_state(saved, key, _State(weights, moments, threshold, silent, step))
        drawn = np.random.default_rng((seed, step + 1)).integers(
            len(scaled.fits), size=settings.batch_size
        )
        x = scaled.rows(scaled.fits[drawn])
        norms = weights["W_dec"].unflatten(1, (checkpoints, width)).norm(dim=2).sum(1)
        with torch.enable_grad():
            leaves = {n: part.detach().requires_grad_() for n, part in weights.items()}
            drive = x @ leaves["W_enc"] + leaves["b_enc"]
            active = batch_top_k(drive, settings.active, norms)
            left = x - active @ leaves["W_dec"] - leaves["b_dec"]
            loss = left.square().sum(1).mean()
            dead = silent > _DEAD
            if dead.any():
                loss = loss + AUX_WEIGHT * aux_k(left, drive, dead, leaves["W_dec"])
            learnt = {n: leaf for n, leaf in leaves.items() if not (frozen and n == "W_dec")}
            gradients = torch.autograd.grad(loss / checkpoints, list(learnt.values()))
        if not loss.isfinite():
            bar.close()
            raise AnalysisError(
                f"the error is not finite at step {step}",
                where=f"temporal crosscoder: {name}",
                expected="an error that falls",
                do="lower learning_rate",
            )
        active = active.detach()
        threshold = running_threshold(threshold, active * norms)
        silent = torch.where((active > 0).any(0), 0, silent + len(x))
        rate = settings.learning_rate * min(1.0, (1 - step / settings.steps) / _DECAY)
        now = adam.model_copy(update={"learning_rate": rate})
        for (n, _), gradient in zip(learnt.items(), gradients, strict=True):
            advance(now, weights[n], moments[n], gradient, step)
    if saved and begin < settings.steps:  # so that a job of several fits makes none twice
        _write_state(saved, key, _State(weights, moments, threshold, silent, settings.steps))
    return _finished(weights, threshold, scaled)


def _first_state(scaled: Scaled, settings: Fit, seed: int, frozen: bool) -> _State:
    """Step 3 of the module."""
    rng, (_, checkpoints, width) = np.random.default_rng((seed, 0)), scaled.states.shape
    whole = checkpoints * width
    rows = scaled.rows(rng.choice(scaled.fits, settings.size, replace=False))
    noise = torch.from_numpy(rng.standard_normal((settings.size, width), dtype=np.float32))
    if frozen:
        rows = torch.from_numpy(rng.standard_normal((settings.size, whole), dtype=np.float32))
    # The same for all checkpoints, which are to stay equal where their states are.
    directions = normalize(rows + _JITTER * noise.repeat(1, checkpoints), dim=1)
    weights = {
        "W_enc": directions.T.contiguous(),
        "b_enc": torch.zeros(settings.size),
        "W_dec": directions.clone(),
        "b_dec": torch.zeros(whole),
    }
    names = moment_names(OptimizerSettings(learning_rate=1.0))
    moments = {n: {m: torch.zeros_like(w) for m in names} for n, w in weights.items()}
    return _State(weights, moments, None, torch.zeros(settings.size, dtype=torch.int64), 0)


def _finished(
    weights: Mapping[str, Tensor],
    threshold: Tensor | None,
    scaled: Scaled,
) -> Crosscoder:
    """Step 5 of the module."""
    shape = scaled.states.shape[1:]
    decoder = weights["W_dec"].unflatten(1, shape)
    norms = decoder.norm(dim=2)
    largest = norms.amax(1).clamp(min=_TINY)
    level = torch.zeros(()) if threshold is None else threshold
    found = Crosscoder(
        W_enc=(weights["W_enc"] * largest).unflatten(0, shape),
        b_enc=weights["b_enc"] * largest,
        W_dec=decoder / largest[:, None, None],
        b_dec=weights["b_dec"].unflatten(0, shape),
        threshold=level * largest / norms.sum(1).clamp(min=_TINY),
        means=scaled.means,
        scales=scaled.scales,
    )
    squares = torch.zeros(found.size, dtype=torch.float64)
    for x in scaled.chunks():
        squares += found.encode(x).double().square().sum(0)
    by = squares.argsort(descending=True, stable=True)
    return replace(
        found,
        W_enc=found.W_enc[..., by],
        b_enc=found.b_enc[by],
        W_dec=found.W_dec[by],
        threshold=found.threshold[by],
    )


def _write_state(path: Path, key: str, state: _State) -> None:
    tensors = dict(state.weights)
    for name, moments in state.moments.items():
        tensors |= {f"{name}.{moment}": part for moment, part in moments.items()}
    tensors["silent"] = state.silent
    if state.threshold is not None:
        tensors["threshold"] = state.threshold
    write_tensors(path, tensors, {"key": key, "step": str(state.step)})


def _read_state(path: Path, key: str) -> _State | None:
    """The state of the same fit that a killed job left; None where there is none that is whole."""
    try:
        tensors, about = read_tensors(path)
    except CircuitError:
        return None
    if about.get("key") != key:
        return None
    threshold, silent = tensors.pop("threshold", None), tensors.pop("silent")
    weights = {name: part for name, part in tensors.items() if "." not in name}
    moments: dict[str, dict[str, Tensor]] = {name: {} for name in weights}
    for name in tensors.keys() - weights.keys():
        weight, moment = name.split(".")
        moments[weight][moment] = tensors[name]
    order = ("W_enc", "b_enc", "W_dec", "b_dec")
    return _State({n: weights[n] for n in order}, moments, threshold, silent, int(about["step"]))


def write_crosscoder(path: str | Path, crosscoder: Crosscoder) -> None:
    """Write a crosscoder, whole or not at all."""
    said = {"stage": crosscoder.stage, "role": crosscoder.role, "steps": list(crosscoder.steps)}
    about = json.dumps({**said, "made": dict(crosscoder.made)}, sort_keys=True)
    write_tensors(path, {name: getattr(crosscoder, name) for name in AXES}, {"about": about})


def load_crosscoder(path: str | Path, trajectory: str) -> Crosscoder:
    """Read a crosscoder of this run.

    Raises:
        CheckpointError: the file is missing, damaged or no crosscoder.
        MismatchError: it was fitted to another run's states.
    """
    tensors, said = read_tensors(path)
    sizes: dict[str, int] = {}
    sound = tensors.keys() == AXES.keys() and "about" in said and all(
        part.isfinite().all()
        and part.ndim == len(AXES[name])
        and all(sizes.setdefault(a, n) == n for a, n in zip(AXES[name], part.shape, strict=True))
        for name, part in tensors.items()
    )  # fmt: skip
    if not sound:
        shapes = ", ".join(f"{name} [{', '.join(axes)}]" for name, axes in AXES.items())
        raise CheckpointError(
            "not a temporal crosscoder",
            where=path,
            expected=f"finite tensors {shapes}, and metadata that say whose states they read",
            do="let snakemake make it again, or give another file",
        )
    about = json.loads(said["about"])
    if about["made"].get("trajectory") != trajectory:
        raise MismatchError(
            "the crosscoder was fitted to the states of another run",
            where=path,
            expected=f"one of the trajectory {trajectory[:8]}",
            do="give the file that this run's analysis left",
        )
    steps = tuple(about.pop("steps"))
    return Crosscoder(*(tensors[name] for name in AXES), steps=steps, **about)

"""What a write does for each answer value, and whether values differ by more than noise.

1. An *observation* is one written value of one program: the mean effect over the program's reads of
   it. Values are written once per program, so observations of one value come from different
   programs. More programs than the probes are run, in chunks, at few checkpoints.
2. Per value: mean effect over observations, interval over resampled programs.
3. One-way random effects: with mean squares between and within values and n₀ the size of a value's
   group (adjusted where sizes differ), the variance between values is (MS_between - MS_within) / n₀
   and the *share* of it in the sum of both is what an observation's value says about its effect
   (the intraclass correlation). Below 0 where values differ less than noise would make them.
4. Chance: the share with values exchanged between observations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import estimates
from circuit.model.transformer import Decoder
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.write import Write, functional_write
from circuit.statistics import LEVEL, draws, interval, shuffled
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import Vocabulary

EXCHANGED = "exchanged values"
_EXCHANGES = 1000
_CHUNK = 256  # events whose gradients are held at a time
Theta = Callable[[int], Float[Tensor, " P"]]


def effects_per_value(
    decoder: Decoder,
    theta: Theta,
    steps: Sequence[int],
    events: ReadEvents,
    vocabulary: Vocabulary,
    writes_of: Callable[[ReadEvents], Mapping[str, Write]],
    seed: int,
) -> pd.DataFrame:
    """Effects of writes per answer value at some steps; see the module.

    Estimates by write and value (its token, empty for what is told of all values). Measures:
    ``value_effect``, its ``mean_over_observations``, standard deviations ``between_values`` and
    ``within_values``, ``value_share``, whose control has the exchanges below it of which 95% are
    the lowest, and the share of ``exchanges_that_reach_it``.

    Args:
        events: all reads of some programs.
        writes_of: the writes, with gradients of the events given.
        seed: of the order in which observations exchange their values.
    """
    found: dict[tuple[int, str, str], Float[np.ndarray, " E"]] = {}
    for chosen in events.length.argsort().split(_CHUNK):
        part = events.select(chosen).crop()
        writes = writes_of(part)
        scalars = {name: functional_write(w, decoder.settings) for name, w in writes.items()}
        for step in steps:
            rows = scalar_values(decoder, theta(step), part, vocabulary.value_ids, scalars)
            for (name, scalar), row in zip(scalars.items(), rows, strict=True):
                whole = found.setdefault((step, name, scalar.unit), np.empty(len(events)))
                whole[chosen.numpy()] = row.double().numpy()
    seen = Observations.of(events, vocabulary)
    frames = []
    for (step, name, unit), effects in found.items():
        grid = seen.grid(effects)
        per_value = estimates(
            seen.per_value(grid), unit, "programs", measure="value_effect", step=0
        )
        for rows in (per_value, seen.spread(grid, seed, unit)):
            frames.append(rows.assign(step=step, write=name))
    return pd.concat(frames, ignore_index=True).fillna({"value": ""})


class Observations(NamedTuple):
    """Which program (row) has which answer value (column), and each read's place among them.

    ``tokens`` are the values' tokens, ``reads`` [P, V] the reads of each.
    """

    tokens: tuple[str, ...]
    program: Int[np.ndarray, " E"]
    value: Int[np.ndarray, " E"]
    reads: Int[np.ndarray, "P V"]

    @classmethod
    def of(cls, events: ReadEvents, vocabulary: Vocabulary) -> Observations:
        """The observations behind some read events."""
        programs, program = np.unique(np.array(events.sample_id), return_inverse=True)
        ids, value = np.unique(events.answer.numpy(), return_inverse=True)
        reads = np.zeros((len(programs), len(ids)), dtype=np.int64)
        np.add.at(reads, (program, value), 1)
        return cls(tuple(vocabulary.tokens[i] for i in ids), program, value, reads)

    def grid(self, effects: Float[np.ndarray, " E"]) -> Float[np.ndarray, "P V"]:
        """The mean effect of every observation; 0 where there is none."""
        sums = np.zeros(self.reads.shape)
        np.add.at(sums, (self.program, self.value), effects)
        means: Float[np.ndarray, "P V"] = sums / np.maximum(self.reads, 1)
        return means

    def per_value(self, grid: Float[np.ndarray, "P V"]) -> pd.DataFrame:
        """Columns: value, mean, low, high, count (programs)."""
        held = (self.reads > 0).astype(np.float64)
        weights = draws(len(grid))
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (weights @ grid) / (weights @ held)
        # A resample without any program of a value has no mean; it stands for the value's own.
        low, high = interval(np.where(np.isfinite(means[1:]), means[1:], means[0]))
        columns = {"value": self.tokens, "mean": means[0], "low": low, "high": high}
        return pd.DataFrame({**columns, "count": held.sum(0).astype(np.int64)})

    def spread(self, grid: Float[np.ndarray, "P V"], seed: int, unit: str) -> pd.DataFrame:
        """Variance between values and within them, and the share by chance, as estimates.

        A share is compared with its exchanges, so it stands as it is: what was observed.
        """
        program, value = np.nonzero(self.reads)
        observed = grid[program, value]
        belongs = np.eye(len(self.tokens))[value]
        orders = shuffled(observed, _EXCHANGES, seed)
        between, within, share = variance_shares(np.vstack([observed, orders]), belongs)
        by_chance = share[1:]
        measured = [
            ("mean_over_observations", "", unit, observed.mean(), len(observed)),
            ("between_values", "", unit, np.sqrt(max(between[0], 0)), len(observed)),
            ("within_values", "", unit, np.sqrt(within[0]), len(observed)),
            ("value_share", "", "share", share[0], 0),
            ("exchanges_that_reach_it", "", "share", (by_chance >= share[0]).mean(), 0),
            ("values", "", "1", len(self.tokens), 0),
            ("value_share", EXCHANGED, "share", by_chance.mean(), 0),
        ]
        frame = pd.DataFrame(measured, columns=["measure", "against", "unit", "mean", "count"])
        control = frame["against"] == EXCHANGED
        frame["low"] = np.where(control, by_chance.min(), np.nan)
        frame["high"] = np.where(control, np.quantile(by_chance, LEVEL), np.nan)
        return estimates(frame, noun="written values", step=0)


def variance_shares(
    observed: Float[np.ndarray, "q n"], belongs: Float[np.ndarray, "n V"]
) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, " q"], Float[np.ndarray, " q"]]:
    """Variance between groups, variance within them and the share of the first in their sum.

    One-way random effects by the analysis of variance (Searle, Casella & McCulloch 1992, 3.6).

    Args:
        observed: q sets of n observations; some group has two.
        belongs: 1 where an observation is of a group, else 0; no group is empty.

    Raises:
        AnalysisError: there is one group, or none has two observations.
    """
    size, (n, groups) = belongs.sum(0), belongs.shape
    if not 1 < groups < n:
        raise AnalysisError(
            what=f"{n} observations of {groups} answer values have no spread to compare",
            where="functional_write: programs",
            expected="two answer values or more, some of them in more than one program",
            do="raise programs",
        )
    centred = observed - observed.mean(1, keepdims=True)
    sums = centred @ belongs
    among = (sums**2 / size).sum(1)
    within = ((centred**2).sum(1) - among) / (n - groups)
    typical = (n - (size**2).sum() / n) / (groups - 1)
    between = (among / (groups - 1) - within) / typical
    total = between + within
    return between, within, np.divide(between, total, out=np.zeros_like(total), where=total > 0)

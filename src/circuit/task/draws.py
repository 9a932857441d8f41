"""Named random draws whose results depend on their names only, also across NumPy versions.

NumPy keeps `SeedSequence` and the raw output of `PCG64` stable for ever, but not the methods of
`Generator`. So:

1. a path of names and numbers under a seed selects one PCG64 stream
   (``Draws(7, "train", 12, 0)``: benchmark seed 7, split train, sample 12, first attempt);
2. every draw takes the next 64-bit word w of the stream and maps it to ⌊w·n / 2⁶⁴⌋, which is
   uniform on 0..n−1 up to a bias below n / 2⁶⁴.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_BLOCK = 64  # words fetched at once; a program needs about 40


class Draws:
    """An endless stream of draws, a pure function of `seed` and `path`."""

    def __init__(self, seed: int, *path: str | int) -> None:
        sequence = np.random.SeedSequence(entropy=seed, spawn_key=tuple(map(_number, path)))
        self._words = _stream(np.random.PCG64(sequence))

    def below(self, n: int) -> int:
        """Return a whole number from 0 to `n` − 1."""
        return next(self._words) * n >> 64

    def between(self, lo: int, hi: int) -> int:
        """Return a whole number from `lo` to `hi`, both included."""
        return lo + self.below(hi - lo + 1)

    def choice(self, items: Sequence[T]) -> T:
        """Return one of `items`, of which there is at least one."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """Return `k` different positions' items in random order (a partial Fisher-Yates)."""
        pool = list(items)
        for i in range(k):
            j = i + self.below(len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:k]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return all `items` in random order."""
        return self.sample(items, len(items))


def _number(part: str | int) -> int:
    """Return a path part as the 32-bit number that a spawn key is made of."""
    if isinstance(part, int):
        return part
    return int.from_bytes(hashlib.sha256(part.encode()).digest()[:4], "little")


def _stream(generator: np.random.PCG64) -> Iterator[int]:
    while True:
        yield from generator.random_raw(_BLOCK).tolist()

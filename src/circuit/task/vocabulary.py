"""Token ids of the symbolic world: special and reserved ids, then keys, then values.

    0 <pad>   1 <bos>   2 <eos>   3 W   4 R   5..9 <reserved…>   10.. K00…   10+n_keys.. V000…

Inside a program keys and values are indices from 0; only :class:`Vocabulary` turns them into ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from circuit.config.benchmark import SPECIAL_IDS, BenchmarkSettings
from circuit.errors import BenchmarkError

PAD, BOS, EOS, WRITE, READ = range(5)
_SPECIAL = ("<pad>", "<bos>", "<eos>", "W", "R")
_NAMES = (*_SPECIAL, *(f"<reserved{i}>" for i in range(SPECIAL_IDS - len(_SPECIAL))))


@dataclass(frozen=True)
class Vocabulary:
    """The token ids of ``n_keys`` keys and ``n_values`` values."""

    n_keys: int
    n_values: int

    @classmethod
    def of(cls, settings: BenchmarkSettings) -> Vocabulary:
        """Return the vocabulary of a benchmark."""
        return cls(settings.n_keys, settings.n_values)

    @property
    def size(self) -> int:
        """Number of ids; ids run from 0 to ``size − 1``."""
        return SPECIAL_IDS + self.n_keys + self.n_values

    @property
    def key_ids(self) -> range:
        """Ids of all keys, in order."""
        return range(SPECIAL_IDS, SPECIAL_IDS + self.n_keys)

    @property
    def value_ids(self) -> range:
        """Ids of all values, in order."""
        return range(self.key_ids.stop, self.size)

    def key_id(self, key: int) -> int:
        """Return the id of key number `key`; a number outside the world is an IndexError."""
        return self.key_ids[key]

    def value_id(self, value: int) -> int:
        """Return the id of value number `value`; a number outside the world is an IndexError."""
        return self.value_ids[value]

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The text of every id, in order of ids."""
        return (
            *_NAMES,
            *(f"K{key:02d}" for key in range(self.n_keys)),
            *(f"V{value:03d}" for value in range(self.n_values)),
        )

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {text: token for token, text in enumerate(self.tokens)}

    def text(self, ids: list[int]) -> str:
        """Return ids as readable text, tokens separated by one space."""
        return " ".join(self.tokens[token] for token in ids)

    def ids(self, text: str) -> list[int]:
        """Return the ids of tokens separated by white space.

        Raises:
            BenchmarkError: a token is not in the vocabulary.
        """
        unknown = [token for token in text.split() if token not in self._ids]
        if unknown:
            raise BenchmarkError(
                f"token {unknown[0]!r} is not in the vocabulary",
                where=repr(text),
                expected=f"W, R, {self.tokens[self.key_ids[0]]}..{self.tokens[self.key_ids[-1]]}, "
                f"{self.tokens[self.value_ids[0]]}..{self.tokens[-1]} or a special token",
                do="correct the token, or use a benchmark with more keys or values",
            )
        return [self._ids[token] for token in text.split()]

"""Settings of a benchmark: how large the symbolic world is and which programs are drawn from it.

Whether any benchmark can satisfy them is what :func:`circuit.config.feasibility.check_feasible`
tells, which a configuration is asked as it is read: every job reaches these types, and what only
refuses must not make its results stale.

In YAML, a range may be a pair or, for a fixed number, an integer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BeforeValidator, Field

from circuit.config.base import Count, Frozen, Seed

SPECIAL_IDS = 10
"""Token ids before the first key: five in use, five reserved."""

SplitName = Literal[
    "train",
    "validation_iid",
    "test_iid",
    "heldout_pairs",
    "structural_ood",
    "counterfactual",
]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
"""Every split, in the order of generation: a later one never repeats a program of an earlier."""
PairKind = Literal["support_value", "query_key", "recency", "distractor"]
"""Which causal variable the two programs of a pair differ in; a distractor is none."""


class Range(NamedTuple):
    """Whole numbers from ``lo`` to ``hi``, both included, drawn uniformly."""

    lo: Annotated[int, Field(ge=0, le=1000, strict=True)]
    hi: Annotated[int, Field(ge=0, le=1000, strict=True)]

    def __str__(self) -> str:
        return f"{self.lo}..{self.hi}" if self.lo < self.hi else str(self.lo)


def _as_range(value: Any) -> Any:
    """Accept a plain integer as the range of that one number, and refuse a range upside down."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Range(value, value)
    if isinstance(value, list | tuple) and len(value) == 2:
        lo, hi = value
        if isinstance(lo, int) and isinstance(hi, int) and lo > hi:
            raise ValueError(f"range [{lo}, {hi}] starts above its end")
    return value


CountRange = Annotated[Range, BeforeValidator(_as_range)]


class ProgramSettings(Frozen):
    """The rules a program is drawn by; each number is uniform on its range.

    ``active_keys`` counts keys that are written at all, ``overwrites`` the writes after each
    active key's first, ``reads`` the read events, and ``query_lag`` the writes to other keys
    between a read and the write that answers it.
    """

    active_keys: CountRange
    overwrites: CountRange
    reads: CountRange
    query_lag: CountRange


class SplitSettings(ProgramSettings):
    """Rules of one split and how many programs it has."""

    samples: Count


class SplitSamples(Frozen):
    """Programs in each split that shares the in-distribution rules."""

    train: Count
    validation_iid: Count
    test_iid: Count
    heldout_pairs: Count


class InDistributionSettings(ProgramSettings):
    """Rules of the four in-distribution splits and how many programs each has."""

    samples: SplitSamples


class CounterfactualSettings(Frozen):
    """How many ``test_iid`` programs get a counterfactual twin."""

    samples: Count


class ProbeSettings(Frozen):
    """The frozen probe set: programs per split, one read event of each, drawn with ``seed``."""

    programs_per_split: Count = 96
    seed: Seed = 0


class PairSettings(Frozen):
    """Clean/corrupted pairs: how many of each kind, from which split, drawn with ``seed``."""

    pairs_per_kind: Count = 96
    split: SplitName = "test_iid"
    seed: Seed = 0


class BenchmarkSettings(Frozen):
    """A whole benchmark."""

    n_keys: Annotated[int, Field(ge=1, le=1000)]
    n_values: Annotated[int, Field(ge=1, le=100_000)]
    seed: Seed
    in_distribution: InDistributionSettings
    structural_ood: SplitSettings
    counterfactual: CounterfactualSettings
    heldout_pair_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    frequency_ceiling: Annotated[float, Field(gt=0, le=1)] = 0.4
    probes: ProbeSettings = ProbeSettings()
    pairs: PairSettings = PairSettings()

    @property
    def vocab_size(self) -> int:
        """Number of token ids: special and reserved ones, keys, values."""
        return SPECIAL_IDS + self.n_keys + self.n_values

    @property
    def max_length(self) -> int:
        """Tokens of the longest stream that any split may hold, ``<bos>`` and ``<eos>`` counted."""
        return max(
            2 + 3 * (rules.active_keys.hi + rules.overwrites.hi + rules.reads.hi)
            for rules in (self.in_distribution, self.structural_ood)
        )

    @property
    def n_heldout_pairs(self) -> int:
        """Number of (key, value) pairs held out."""
        return round(self.heldout_pair_fraction * self.n_keys * self.n_values)

    def rules(self, split: SplitName) -> ProgramSettings:
        """Return the rules that the programs of `split` obey."""
        return self.structural_ood if split == "structural_ood" else self.in_distribution

    @property
    def sizes(self) -> dict[str, int]:
        """Number of programs in each split, in their order, by the setting that says it."""
        shared = self.in_distribution.samples.model_dump()
        return {
            **{f"in_distribution.samples.{split}": count for split, count in shared.items()},
            "structural_ood.samples": self.structural_ood.samples,
            "counterfactual.samples": self.counterfactual.samples,
        }

    def samples(self, split: SplitName) -> int:
        """Return the number of programs in `split`."""
        return list(self.sizes.values())[SPLITS.index(split)]

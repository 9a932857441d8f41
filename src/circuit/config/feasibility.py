"""Whether benchmark settings can be satisfied at all, decided before anything is drawn.

1. A stream's writes come in *rounds*: every active key is written once, then, since the least
   overwritten key comes next, overwritten once per round. So with n keys and o overwrites no
   write is asked for after more than ``longest_lag(n, o)`` further writes.
2. A *place* is a (slot, key) at which a read is allowed. ``most_places`` is the largest number of
   places that any order of writes leaves: within a round, the keys still to be overwritten and
   the moments at which they are form an assignment problem, and rounds do not influence each
   other, because keys are interchangeable.
3. Values differ within a program, so each key needs as many allowed values as a program has
   writes, plus one for the counterfactual's replacement; then no draw can run into a dead end.
4. Held-out pairs are spread evenly over the keys; each key needs as many as it can have writes.

What remains unknown until the draws (whether enough *different* programs exist, and whether an
order with enough places is found) is refused by the generator, with the same error type.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from circuit.errors import BenchmarkError

if TYPE_CHECKING:
    from circuit.config.benchmark import BenchmarkSettings, ProgramSettings, Range


def longest_lag(n_keys: int, overwrites: int) -> int:
    """Return the most writes that can lie between an overwrite and the next one of its key.

    A key that comes first in one round and last in the next waits 2n − 2 writes; with two keys (of
    at least two that are active) the order is forced and every key waits one. ``overwrites``, the
    writes after the first round, bound the lag too.
    """
    wait = 1 if n_keys == 2 else 2 * n_keys - 2
    return min(wait, overwrites - 1)


def most_places(n_keys: int, overwrites: int, query_lag: Range) -> int:
    """Return the most (slot, key) places that any order of writes allows a read at."""
    lo, hi = query_lag.lo, min(query_lag.hi, longest_lag(n_keys, overwrites))
    if hi < n_keys:
        # Repeating one order of keys puts a key at every lag below n in every slot.
        return sum(overwrites - lag for lag in range(lo, hi + 1))
    total = 0
    for start in range(0, overwrites, n_keys):
        written = min(n_keys, overwrites - start)
        # Keys already overwritten in this round, whatever their order ...
        total += sum(max(0, min(hi, p) - lo + 1) for p in range(written))
        # ... and keys still waiting, whose support is an overwrite from the second round on.
        if start:
            total += _most_waiting_places(n_keys, written, lo, hi)
    return total


def _most_waiting_places(n_keys: int, written: int, lo: int, hi: int) -> int:
    """Return the most places that keys waiting for their turn in one round can have.

    The key that was written at position q of the previous round, and waits through positions
    p < t of this one, lies n + p − q writes back at each of them.
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    gain = np.zeros((n_keys, n_keys), dtype=np.int64)
    for q in range(n_keys):
        for turn in range(n_keys):
            waits = range(min(turn, written))
            gain[q, turn] = sum(lo <= n_keys + p - q <= hi for p in waits)
    gain[n_keys - 1, 0] = -(n_keys**2)  # consecutive writes go to different keys
    rows, turns = linear_sum_assignment(gain, maximize=True)
    return int(gain[rows, turns].sum())


def check_feasible(settings: BenchmarkSettings) -> None:
    """Raise unless the settings can be satisfied, as far as settings alone can tell.

    Raises:
        BenchmarkError: naming the field, what it would have to be, and what to change.
    """
    _check_rules("in_distribution", settings.in_distribution, settings.n_keys)
    _check_rules("structural_ood", settings.structural_ood, settings.n_keys)
    _check_values(settings)
    _check_heldout(settings)
    _check_samples(settings)


def _check_rules(field: str, rules: ProgramSettings, n_keys: int) -> None:
    """Refuse counts of keys, overwrites, reads and lags that contradict each other."""
    keys, overwrites, reads, lag = (
        rules.active_keys,
        rules.overwrites,
        rules.reads,
        rules.query_lag,
    )
    if keys.lo < 2:
        raise BenchmarkError(
            f"{keys.lo} active keys leave no other key for the next write",
            where=f"{field}.active_keys",
            expected="at least 2, since consecutive writes go to different keys",
            do=f"raise {field}.active_keys",
        )
    if keys.hi > n_keys:
        raise BenchmarkError(
            f"{keys.hi} active keys are more than the {n_keys} keys there are",
            where=f"{field}.active_keys",
            expected=f"at most n_keys = {n_keys}",
            do=f"lower {field}.active_keys or raise n_keys",
        )
    if reads.lo < 1:
        raise BenchmarkError(
            "programs without a read ask nothing",
            where=f"{field}.reads",
            expected="at least 1",
            do=f"raise {field}.reads",
        )
    if lag.lo < 1:
        raise BenchmarkError(
            "a query lag of 0 asks for the value that was written last",
            where=f"{field}.query_lag",
            expected="at least 1, so that last_value_before_query scores 0",
            do=f"raise {field}.query_lag",
        )
    for end, n, o, wanted in (
        ("shortest", keys.lo, overwrites.lo, lag.lo),
        ("longest", keys.hi, overwrites.hi, lag.hi),
    ):
        longest = longest_lag(n, o)
        if wanted > longest:
            raise BenchmarkError(
                f"the {end} query lag, {wanted}, never occurs with {n} active keys and "
                f"{o} overwrites",
                where=f"{field}.query_lag",
                expected=f"at most {longest}",
                do=f"lower {field}.query_lag, or raise {field}.active_keys or {field}.overwrites",
            )
    for n in range(keys.lo, keys.hi + 1):
        places = most_places(n, overwrites.lo, lag)
        if reads.hi > places:
            raise BenchmarkError(
                f"{reads.hi} reads do not fit into a program of {n} active keys, "
                f"{overwrites.lo} overwrites and query lag {lag}",
                where=f"{field}.reads",
                expected=f"at most {places}, the number of (slot, key) places that can be allowed",
                do=f"lower {field}.reads, raise {field}.overwrites or widen {field}.query_lag",
            )


def _check_values(settings: BenchmarkSettings) -> None:
    """Refuse too few values for the distinct writes of one program."""
    blocks = {
        "in_distribution": settings.in_distribution,
        "structural_ood": settings.structural_ood,
    }
    most = {field: rules.active_keys.hi + rules.overwrites.hi for field, rules in blocks.items()}
    field = max(most, key=lambda name: most[name])
    writes = most[field]
    if settings.n_values < writes + 1:
        raise BenchmarkError(
            f"{settings.n_values} values are too few for programs of up to {writes} writes "
            f"({field}), whose values are all different",
            where="n_values",
            expected=f"at least {writes + 1}, one more than the writes for a counterfactual",
            do=f"raise n_values, or lower {field}.active_keys or {field}.overwrites",
        )
    left = settings.n_values - ceil(settings.n_heldout_pairs / settings.n_keys)
    if left < writes + 1:
        raise BenchmarkError(
            f"holding out {settings.heldout_pair_fraction:g} of all pairs leaves a key "
            f"{left} values, too few for programs of up to {writes} writes ({field})",
            where="heldout_pair_fraction",
            expected=f"at least {writes + 1} values left to every key",
            do="lower heldout_pair_fraction or raise n_values",
        )


def _check_heldout(settings: BenchmarkSettings) -> None:
    """Refuse too few held-out pairs for programs that write nothing else."""
    rules = settings.in_distribution
    per_key = settings.n_heldout_pairs // settings.n_keys
    needed = 1 + ceil(rules.overwrites.hi / rules.active_keys.lo)
    if per_key < needed:
        raise BenchmarkError(
            f"holding out {settings.heldout_pair_fraction:g} of all pairs gives a key only "
            f"{per_key} held-out values, and one key may be written {needed} times",
            where="heldout_pair_fraction",
            expected=f"at least {needed} held-out values for every key, for split heldout_pairs",
            do="raise heldout_pair_fraction or n_values, or lower in_distribution.overwrites",
        )


def _check_samples(settings: BenchmarkSettings) -> None:
    """Refuse counts of samples that depend on a split too small for them."""
    sources, twins = settings.in_distribution.samples.test_iid, settings.counterfactual.samples
    if twins > sources:
        raise BenchmarkError(
            f"{twins} counterfactual programs need as many sources, test_iid has {sources}",
            where="counterfactual.samples",
            expected=f"at most in_distribution.samples.test_iid = {sources}",
            do="lower counterfactual.samples or raise in_distribution.samples.test_iid",
        )
    probes = settings.probes.programs_per_split
    field, fewest = min(settings.sizes.items(), key=lambda named: named[1])
    if probes > fewest:
        raise BenchmarkError(
            f"{probes} probe programs per split are more than one split has",
            where="probes.programs_per_split",
            expected=f"at most {field} = {fewest}",
            do=f"lower probes.programs_per_split or raise {field}",
        )

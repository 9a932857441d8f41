"""When the features of a temporal crosscoder are born, and whether they are.

1. **States** are those of one stage at many checkpoints, of the same inputs: all positions of some
   programs up to their ``<eos>``, or those of one role of their reads. Programs with even numbers
   fit, those with odd ones score.
2. A feature *lives* at a checkpoint where ‖W_dec^t‖ is at least half of its largest. It is *gone*
   from the checkpoint from which it lives no more, and *born* at the one from which it lives until
   then. A birth is *one step* where it did not live at any checkpoint before.
3. A crosscoder may drop a decoder though the feature is there: sparsity pays for that (*complete
   shrinkage*), or other features tell it at some checkpoints (*decoupling*; Minder et al. 2025).
   **Latent scaling** asks the states: with d the feature's decoder where it is longest and f its
   activation, ``left_over`` is the least squares β of  β f d ≈ x_t - x̂_t + f W_dec^t,  of what all
   other features leave over; ``in_states`` that of  β f d ≈ x_t - b_dec^t,  where others' part
   counts. Both are taken on held-out programs.
4. A birth is *confirmed* where it is after the first checkpoint, in one step, and by both scalings
   too, where it may lie one checkpoint earlier, but not at the first.
   Otherwise it is *shrunk* (left over before), *decoupled* (in the states before), or the feature
   has *returned*, since it lived before.
5. Nulls. *Shuffled time*: the order of all checkpoints but the first is drawn anew (what the first
   one has is not born in any order); a crosscoder knows no order, so that is an order of its
   curves, without another fit. *Untrained models*: a crosscoder of states
   of as many models that were never trained, each initialised by a seed of its own. Copies of one
   checkpoint have equal norms by construction and therefore no births.
6. Births *cluster* where two of them fall on the same checkpoint more often than if they were
   spread evenly over all but the first.

Intervals resample held-out programs: latent scalings are taken anew, norms are what they are. With
several dictionary seeds these are resampled too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import EXCESS, estimates
from circuit.landmarks import stays_from, step_at
from circuit.measures.features.crosscoder import Crosscoder, Scaled, mapped_states, scale_states
from circuit.measures.features.families import EVERYWHERE, Known, Label, told
from circuit.measures.features.reconstruction import PooledStates
from circuit.measures.states.scatter import Groups
from circuit.model.tap import Tap
from circuit.model.transformer import Decoder
from circuit.statistics import band, draws, interval, occurrences, shuffled
from circuit.statistics import told as value_and_ends
from circuit.task.vocabulary import PAD

HALF = 0.5
CONFIRMED, SILENT = "born", "silent"
LIVES = ("throughout", "lost", CONFIRMED, "shrunk", "decoupled", "returned", SILENT)
"""What became of a feature: there from the first checkpoint on, to the last or not; a confirmed
birth; a birth of its norm alone, since it was left over or in the states before; back after it had
lived before; or it never fires on held-out programs."""
SHUFFLED, UNTRAINED, EVEN = "shuffled time", "untrained models", "births spread evenly"
COMPONENTS = "principal components"
_CHUNK = 2048
_TINY = 1e-12
_ORDERS = 200  # orders of checkpoints that are drawn


class Inputs(NamedTuple):
    """Inputs and their states: ``at`` are their numbers among all positions of the programs."""

    pooled: PooledStates
    at: Int[Tensor, " n"]
    scaled: Scaled

    @property
    def program(self) -> Int[np.ndarray, " n"]:
        """Program of every input."""
        return self.pooled.program[self.at].numpy()

    @property
    def held(self) -> Int[np.ndarray, " h"]:
        """Inputs of programs with odd numbers."""
        return np.flatnonzero(self.program % 2)


def gather(
    decoder: Decoder,
    thetas: Sequence[Callable[[], Float[Tensor, " P"]]],
    pooled: PooledStates,
    site: str,
    role: str,
    path: Path,
    batch: int = 256,
) -> Inputs:
    """One pass per checkpoint, ended at the site; its states go into the file at ``path``."""
    split, every = pooled.split, torch.arange(len(pooled.program))
    reads = split.reads
    at = every if role == EVERYWHERE else pooled.place(reads.row, getattr(reads, role)).unique()
    width = decoder.settings.d_model
    states = mapped_states(path, (len(at), len(thetas), width))
    tap, inside = Tap(capture=(site,), stop=True), split.tokens != PAD
    for t, theta in enumerate(thetas):
        params, parts = decoder.layout.views(theta()), []
        for start in range(0, len(split.tokens), batch):
            part = slice(start, start + batch)
            with torch.no_grad():
                decoder.forward(params, split.tokens[part], tap)
            parts.append(tap.cache[site][inside[part]])
        states[:, t] = torch.cat(parts)[at].float().numpy()
    fits = (pooled.program[at] % 2 == 0).numpy()
    return Inputs(pooled, at, scale_states(states, fits))


def _held(norms: Float[np.ndarray, "... C"]) -> Bool[np.ndarray, "... C"]:
    """At which checkpoints curves are at least at half of their largest value."""
    return np.asarray(norms >= HALF * norms.max(-1, keepdims=True).clip(_TINY))


def lives(norms: Float[np.ndarray, "... C"]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the checkpoints at which features are born and gone (C: never gone)."""
    held = _held(norms)
    gone = stays_from(~held)
    return stays_from(held | (np.arange(held.shape[-1]) >= gone[..., None])), gone


class Sums(NamedTuple):
    """What latent scaling needs of P held-out programs, and what is left of their states.

    ``left`` and ``there`` hold Σ f d·(what is left over, with the feature's own part) and
    Σ f d·(x_t - b_dec^t); ``square`` Σ f² |d|². ``errors`` hold per checkpoint the squared
    distance of states to their mean, to the reconstruction and to that of principal components;
    ``firing`` counts inputs and features that fire. ``active`` are the activations of all inputs.
    """

    left: Float[np.ndarray, "P C F"]
    there: Float[np.ndarray, "P C F"]
    square: Float[np.ndarray, "P F"]
    errors: Float[np.ndarray, "P C 3"]
    firing: Float[np.ndarray, "P 2"]
    active: Float[Tensor, "n F"]

    @property
    def alive(self) -> Bool[np.ndarray, " F"]:
        """Features that fire on held-out programs."""
        return np.asarray(self.square.sum(0) > 0)


def sums(crosscoder: Crosscoder, inputs: Inputs) -> Sums:
    """Step 3 of the module, before anything is divided.

    Raises:
        AnalysisError: no feature fires on held-out programs.
    """
    scaled, held = inputs.scaled, inputs.held
    checkpoints, width = scaled.states.shape[1:]
    active = torch.cat(
        [crosscoder.encode(scaled.rows(at)) for at in np.array_split(np.arange(len(scaled.states)),
         -(-len(scaled.states) // _CHUNK))]
    )  # fmt: skip
    if not (active[held] > 0).any():
        raise AnalysisError(
            f"no feature of {crosscoder.size} fires on {len(held)} held-out inputs",
            where="temporal crosscoder",
            expected="features that fire, so that there are births to look at",
            do="fit for more steps, raise active, or look at more programs",
        )
    decoder, bias = crosscoder.W_dec, crosscoder.b_dec.flatten()
    longest = decoder[torch.arange(crosscoder.size), crosscoder.norms.argmax(1)]
    own = torch.einsum("fcd,fd->cf", decoder, longest)
    least = int((active[held] > 0).double().sum(1).mean().ceil())
    axes = _principal_axes(scaled, least)
    programs, number = np.unique(inputs.program[held], return_inverse=True)
    mean = torch.from_numpy(scaled.states[held].mean(0, dtype=np.float64)).float().flatten()
    shape = (len(programs), checkpoints, crosscoder.size)
    left, there = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    square = torch.zeros(len(programs), crosscoder.size, dtype=torch.float64)
    errors = torch.zeros(len(programs), checkpoints, 3, dtype=torch.float64)
    firing = torch.zeros(len(programs), 2, dtype=torch.float64)
    for part in np.array_split(np.arange(len(held)), -(-len(held) // _CHUNK)):
        x, f = scaled.rows(held[part]), active[held[part]]
        of = torch.from_numpy(number[part])
        rest = x - crosscoder.decode(f)
        square.index_add_(0, of, f.double().square())
        firing.index_add_(0, of, torch.stack([torch.ones(len(f)), (f > 0).sum(1)], 1).double())
        flat = x - x @ axes @ axes.T
        distances = [
            one.unflatten(1, (checkpoints, width)).square().sum(2) for one in (x - mean, rest, flat)
        ]
        errors.index_add_(0, of, torch.stack(distances, 2).double())
        for t in range(checkpoints):
            at = slice(t * width, (t + 1) * width)
            for into, states in ((left, rest[:, at]), (there, x[:, at] - bias[at])):
                product = f * (states @ longest.T)
                into[:, t].index_add_(0, of, product.double())
    left += square[:, None] * own.double()
    square *= longest.double().square().sum(1)
    return Sums(left.numpy(), there.numpy(), square.numpy(), errors.numpy(), firing.numpy(), active)


def _principal_axes(scaled: Scaled, count: int) -> Float[Tensor, "w k"]:
    """Of the states that fit, those of all checkpoints in a row."""
    whole = scaled.states.shape[1] * scaled.states.shape[2]
    scatter = torch.zeros(whole, whole)
    for x in scaled.chunks():
        scatter.addmm_(x.T, x)
    axes: Tensor = torch.linalg.eigh(scatter).eigenvectors[:, -count:]
    return axes


class Lives(NamedTuple):
    """When F features are born and gone, and which births are confirmed (step 4 of the module).

    ``born_left`` and ``born_there`` are births by the two latent scalings.
    """

    born: Int[np.ndarray, "... F"]
    gone: Int[np.ndarray, "... F"]
    one_step: Bool[np.ndarray, "... F"]
    born_left: Int[np.ndarray, "... F"]
    born_there: Int[np.ndarray, "... F"]
    checkpoints: int

    @property
    def confirmed(self) -> Bool[np.ndarray, "... F"]:
        """Births after the first checkpoint, in one step, that no latent scaling contradicts."""
        late = ~(self._early(self.born_left) | self._early(self.born_there))
        return np.asarray((self.born > 0) & self.one_step & late)

    def _early(self, scaled: Int[np.ndarray, "... F"]) -> Bool[np.ndarray, "... F"]:
        """Where a latent scaling has a feature live before its norm says so."""
        return np.asarray(scaled < np.maximum(self.born - 1, 1))

    @property
    def names(self) -> np.ndarray:
        """One of ``LIVES`` for every feature."""
        first = self.born == 0
        early = self._early(self.born_left), self._early(self.born_there)
        why = [first & (self.gone == self.checkpoints), first, ~self.one_step, *early]
        names = ["throughout", "lost", "returned", "shrunk", "decoupled"]
        return np.select(why, names, CONFIRMED)


def lives_of(
    norms: Float[np.ndarray, "... F C"],
    left: Float[np.ndarray, "... F C"],
    there: Float[np.ndarray, "... F C"],
) -> Lives:
    """Lives by curves of norms and of both latent scalings."""
    born, gone = lives(norms)
    before = np.arange(norms.shape[-1]) < born[..., None]
    one_step = np.asarray(~(_held(norms) & before).any(-1))
    return Lives(born, gone, one_step, lives(left)[0], lives(there)[0], norms.shape[-1])


class Fitted(NamedTuple):
    """A crosscoder with what held-out programs say of it."""

    crosscoder: Crosscoder
    sums: Sums

    @property
    def norms(self) -> Float[np.ndarray, "F C"]:
        """Of the features that fire."""
        return np.asarray(self.crosscoder.norms.numpy()[self.sums.alive])

    def scalings(
        self, weights: Float[np.ndarray, "r P"], features: Bool[np.ndarray, " F"] | None = None
    ) -> tuple[Float[np.ndarray, "r F C"], Float[np.ndarray, "r F C"]]:
        """Both latent scalings, with programs so weighted, of features that fire or of others."""
        chosen = self.sums.alive if features is None else features
        square = (weights @ self.sums.square[:, chosen])[..., None]
        parts = (self.sums.left, self.sums.there)
        drawn = (
            np.einsum("rp,pcf->rfc", weights, one[..., chosen], optimize=True) for one in parts
        )
        left, there = (one / np.maximum(square, _TINY) for one in drawn)
        return left, there


class Births(NamedTuple):
    """Births of one crosscoder, the value first, then over resamples of programs.

    ``counts`` are confirmed births at every checkpoint, ``shares`` those of live features that are
    born by their norms alone and that are confirmed.
    """

    counts: Float[np.ndarray, "r C"]
    shares: Float[np.ndarray, "r 2"]


def births(fitted: Fitted, orders: Int[np.ndarray, "o C"] | None = None) -> Births:
    """Confirmed births over resamples of programs, or over other orders of the checkpoints."""
    checkpoints, norms = fitted.norms.shape[1], fitted.norms
    weights = draws(len(fitted.sums.square))
    counts, shares = [], []
    if orders is not None:
        [left], [there] = fitted.scalings(weights[:1])
    for part in np.array_split(np.arange(len(weights) if orders is None else len(orders)), 20):
        if orders is None:
            found = lives_of(norms[None], *fitted.scalings(weights[part]))
        else:
            curves = (one[:, orders[part]].swapaxes(0, 1) for one in (norms, left, there))
            found = lives_of(*curves)
        yes = found.confirmed
        at = np.arange(checkpoints)[:, None]
        counts.append((yes[:, None] & (found.born[:, None] == at)).sum(2))
        by_norm = np.broadcast_to((found.born > 0) & found.one_step, yes.shape)
        shares.append(np.stack([by_norm.mean(1), yes.mean(1)], 1))
    return Births(np.concatenate(counts).astype(np.float64), np.concatenate(shares))


def _together(counts: Float[np.ndarray, "r C"]) -> Float[np.ndarray, " r"]:
    """Chance that two births fall on the same checkpoint; NaN for fewer than two births."""
    total = counts.sum(1)
    pairs = total * (total - 1)
    same = (counts * (counts - 1)).sum(1)
    return np.asarray(np.divide(same, pairs, out=np.full_like(same, np.nan), where=pairs > 0))


def _half_born(counts: Float[np.ndarray, "r C"], steps: Sequence[int]) -> Float[np.ndarray, " r"]:
    """Step by which half of the births have happened; NaN where there is none."""
    reached = counts.cumsum(1) >= np.maximum(counts.sum(1, keepdims=True), 1) / 2
    number = np.where(reached.any(1), reached.argmax(1), counts.shape[1])
    return step_at(np.asarray(steps), number)


def birth_rows(
    fitted: Sequence[Fitted], untrained: Fitted | None, steps: Sequence[int], seed: int
) -> pd.DataFrame:
    """Estimates of births: how many, when, and whether they cluster.

    ``births`` at every checkpoint, ``born_share`` and ``born_by_norm`` of live features,
    ``same_checkpoint`` and ``half_born``; with nulls. Over several dictionary seeds they are means,
    and seeds are resampled with programs.
    """
    later = shuffled(np.arange(1, len(steps)), _ORDERS, seed)
    orders = np.concatenate([np.zeros((_ORDERS, 1), dtype=np.int64), later], axis=1)
    own = _averaged([births(one) for one in fitted])
    nulls = {SHUFFLED: _averaged([births(one, orders) for one in fitted], resample=False)}
    if untrained is not None:
        nulls[UNTRAINED] = births(untrained)
    rng = np.random.default_rng((seed, len(steps)))
    total = round(own.counts[0].sum())
    even = rng.multinomial(total, np.ones(len(steps) - 1) / (len(steps) - 1), size=1000)
    alive = int(np.mean([one.sums.alive.sum() for one in fitted]))
    found: list[dict[str, object]] = []

    def add(
        measure: str, against: str, ends: Float[np.ndarray, "3 k"], step: Sequence[int]
    ) -> None:
        for at, (mean, low, high) in zip(step, ends.T, strict=True):
            keys = {"measure": measure, "against": against, "step": at}
            found.append({**keys, "mean": mean, "low": low, "high": high, "count": alive})

    for against, one in ({"": own} | nulls).items():
        ends = band if against == SHUFFLED else lambda drawn: np.stack(value_and_ends(drawn))
        add("births", against, ends(one.counts)[:, 1:], steps[1:])
        for number, measure in enumerate(("born_by_norm", "born_share")):
            add(measure, against, ends(one.shares[:, number : number + 1]), steps[-1:])
    together, half = _together(own.counts), _half_born(own.counts, steps)
    for measure, drawn in (("same_checkpoint", together), ("half_born", half)):
        kept = drawn[1:][np.isfinite(drawn[1:])]
        low, high = interval(kept) if len(kept) else (np.nan, np.nan)
        add(measure, "", np.array([[drawn[0]], [low], [high]]), steps[-1:])
    if total > 1:
        chance = _together(even.astype(np.float64))
        add("same_checkpoint", EVEN, band(chance)[:, None], steps[-1:])
    return estimates(pd.DataFrame(found), UNITS, "features")


UNITS = {
    **dict.fromkeys(("births", "features", "active_features", "told_births"), "1"),
    **dict.fromkeys(("born_share", "born_by_norm", "same_checkpoint", "r2"), "share"),
    **dict.fromkeys(("norm", "raw_norm", "left_over", "in_states"), "1"),
    "dead_share": "share",
    **dict.fromkeys(("half_born", "told_born"), "step"),
}


def _averaged(one_each: Sequence[Births], resample: bool = True) -> Births:
    """Means over dictionary seeds, which are drawn again in every resample."""
    n, draws_made = len(one_each), len(one_each[0].counts)
    weights = np.ones((draws_made, n)) / n
    if resample and n > 1:
        weights[1:] = occurrences(n, 1)[: draws_made - 1] / n
    return Births(
        *(np.einsum("rs,srk->rk", weights, np.stack(part)) for part in zip(*one_each, strict=True))
    )


def quality_rows(fitted: Fitted, steps: Sequence[int]) -> pd.DataFrame:
    """Estimates of r2 at every checkpoint, beside principal components, of L0 and dead features."""
    weights = draws(len(fitted.sums.firing))
    errors = np.einsum("rp,pcm->rcm", weights, fitted.sums.errors)
    r2, baseline = (1 - errors[..., i] / np.maximum(errors[..., 0], _TINY) for i in (1, 2))
    inputs, firing = np.moveaxis(weights @ fitted.sums.firing, -1, 0)
    count, parts = int(fitted.sums.firing[:, 0].sum()), []
    for against, drawn in (("", r2), (COMPONENTS, baseline), (EXCESS, r2 - baseline)):
        mean, low, high = value_and_ends(drawn)
        numbers = {"step": steps, "mean": mean, "low": low, "high": high, "count": count}
        parts.append(
            pd.DataFrame({**numbers, "measure": "r2", "against": against, "noun": "states"})
        )
    mean, low, high = value_and_ends(firing / inputs)
    numbers = {"step": steps[-1], "mean": mean, "low": low, "high": high, "count": count}
    parts.append(pd.DataFrame([{**numbers, "measure": "active_features", "noun": "states"}]))
    dead = {"measure": "dead_share", "mean": 1 - fitted.sums.alive.mean(), "step": steps[-1]}
    parts.append(pd.DataFrame([{**dead, "count": len(fitted.sums.alive), "noun": "features"}]))
    return estimates(pd.concat(parts, ignore_index=True), UNITS)


def known_of(fitted: Fitted, inputs: Inputs, labels: Sequence[Label]) -> list[Known]:
    """What every label tells of every feature's activation, of labels whose states are inputs."""
    number = torch.full((len(inputs.pooled.program),), -1)
    number[inputs.at] = torch.arange(len(inputs.at))
    fits, active, found = torch.from_numpy(inputs.program % 2 == 0), fitted.sums.active, []
    for label in labels:
        at = number[label.states]
        kept, groups = at >= 0, label.groups
        if not kept.any() or (label.role != EVERYWHERE and not kept.all()):
            continue
        chosen = Groups(
            groups.codes[kept],
            groups.names,
            groups.program[kept],
            groups.n_programs,
            groups.shuffled[:, kept],
        )
        one = label._replace(states=at[kept], groups=chosen)
        found.append(Known(one, told(active, one, fits), told(active, one, ~fits)))
    return found


def life_table(fitted: Fitted, steps: Sequence[int]) -> pd.DataFrame:
    """One row per feature: life, born and gone by its norm, born by both latent scalings, the
    first of them with its interval.
    """
    alive, every = fitted.sums.alive, np.asarray(steps)
    weights = draws(len(fitted.sums.square))
    [left], [there] = fitted.scalings(weights[:1])
    found = lives_of(fitted.norms, left, there)
    again = np.concatenate(
        [lives(fitted.scalings(part)[0])[0] for part in np.array_split(weights[1:], 20)]
    )
    low, high = np.quantile(again, [0.025, 0.975], axis=0, method="nearest")
    never = {"gone": found.gone, "born": found.born, "born_left_over": found.born_left}
    numbers = {**never, "born_in_states": found.born_there, "from": low, "to": high}
    table = pd.DataFrame({"life": np.full(len(alive), SILENT, dtype=object)})
    table.loc[alive, "life"] = found.names
    for name, at in numbers.items():
        table[name] = np.nan
        table.loc[alive, name] = step_at(every, at)
    return table


def told_rows(features: pd.DataFrame, step: int) -> pd.DataFrame:
    """Estimates, by label, of ``told_births``, confirmed births of features that it tells, and of
    ``told_born``, the step by which half of them have happened; and ``features`` of every life.
    """
    own, parts = features[features["against"] == ""], []
    for life in LIVES:
        parts.append(
            {"life": life, "measure": "features", "mean": int((own["life"] == life).sum())}
        )
    born = own[(own["told"] == "yes") & (own["life"] == CONFIRMED)]
    for (role, label, by), some in born.groupby(["role", "label", "named_by"], sort=True):
        keys = {"role": role, "label": label, "named_by": by}
        parts.append({**keys, "measure": "told_births", "mean": len(some)})
        half = float(np.sort(some["born"])[(len(some) - 1) // 2])
        parts.append({**keys, "measure": "told_born", "mean": half})
    rows = pd.DataFrame(parts, columns=["life", "role", "label", "named_by", "measure", "mean"])
    keys = dict.fromkeys(("life", "role", "label", "named_by"), "")
    return estimates(rows.fillna(keys), UNITS, "features", step=step, count=len(own))


def curve_rows(fitted: Fitted, shown: Mapping[int, str], steps: Sequence[int]) -> pd.DataFrame:
    """Estimates of every feature's ``norm`` and ``raw_norm``, each as a share of its largest, and
    of both latent scalings of the features ``shown``, by the name under which they are.
    """
    crosscoder, alive = fitted.crosscoder, fitted.sums.alive
    names = [shown.get(i, "") for i in range(crosscoder.size)]
    parts = []
    for measure, norms in (("norm", crosscoder.norms), ("raw_norm", crosscoder.raw_norms)):
        share = (norms / norms.amax(1, keepdim=True).clamp(min=_TINY)).numpy()[alive]
        numbers = np.flatnonzero(alive)
        keys = {"feature": np.repeat(numbers, len(steps)), "step": np.tile(steps, len(numbers))}
        parts.append(pd.DataFrame({**keys, "measure": measure, "mean": share.ravel()}))
    chosen = np.isin(np.arange(crosscoder.size), list(shown))
    drawn = fitted.scalings(draws(len(fitted.sums.square)), chosen)
    for measure, one in zip(("left_over", "in_states"), drawn, strict=True):
        mean, low, high = (part.ravel() for part in value_and_ends(one))
        numbers = np.flatnonzero(chosen)
        keys = {"feature": np.repeat(numbers, len(steps)), "step": np.tile(steps, len(numbers))}
        ends = {"mean": mean, "low": low, "high": high, "count": len(fitted.sums.square)}
        parts.append(pd.DataFrame({**keys, "measure": measure, **ends, "noun": "programs"}))
    rows = pd.concat(parts, ignore_index=True)
    rows.insert(1, "shown", [names[i] for i in rows["feature"]])
    return estimates(rows.fillna({"count": 0, "noun": ""}), UNITS)


def contexts(
    fitted: Fitted,
    inputs: Inputs,
    features: Sequence[int],
    tokens: Sequence[str],
    count: int = 4,
    around: int = 12,
) -> pd.DataFrame:
    """Where some features fire most on held-out programs, one input a program.

    One row per token within ``around`` positions: feature, context, position, token, activation
    (missing where the position is no input), and whether the feature fires most ``here``.
    """
    pooled, held, program = inputs.pooled, inputs.held, inputs.program
    number = torch.full((len(pooled.program),), -1)
    number[inputs.at] = torch.arange(len(inputs.at))
    starts = (pooled.lengths.cumsum(0) - pooled.lengths).tolist()
    parts = []
    for feature in features:
        active = fitted.sums.active[:, feature].numpy()
        order = held[np.argsort(-active[held], kind="stable")]
        _, first = np.unique(program[order], return_index=True)
        for context, top in enumerate(order[np.sort(first)[:count]]):
            start, length = starts[program[top]], int(pooled.lengths[program[top]])
            at = int(inputs.at[top]) - start
            positions = np.arange(max(0, at - around), min(length, at + around + 1))
            places = number[torch.from_numpy(start + positions)].numpy()
            values = np.where(places >= 0, active[places], np.nan)
            ids = pooled.token[torch.from_numpy(start + positions)].tolist()
            keys = {"feature": feature, "context": context, "position": positions}
            here = np.where(positions == at, "yes", "no")
            shown = {"token": [tokens[i] for i in ids], "activation": values, "here": here}
            parts.append(pd.DataFrame({**keys, **shown}))
    columns = ("feature", "context", "position", "token", "activation", "here")
    return pd.concat(parts) if parts else pd.DataFrame(columns=list(columns))

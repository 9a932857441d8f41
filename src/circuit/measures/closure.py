"""How much of the change of behaviour the change of route scalars predicts: fitted, and only then.

What changed the answer is an identity with nothing fitted (:mod:`circuit.measures.margin_change`).
Here it is asked what a few scalars know of it.

1. For every interval between neighbouring checkpoints and every event, measure the change of the
   outcomes and of the route scalars. A fixed competitor is the one at the interval's first state.
2. *Families* of columns, each with all of the one before it: the routes that look (``QK``), what
   OV reads (``OV input``) and what it writes (``OV output``), all routes (``joint``); then every
   component's write, as the interval's first state reads it towards the answer less the mean of
   all other values (``component writes``); then every coordinate of the final stage's change
   (``full residual``). No column holds an outcome, a rival that one chose, or a branch's switch.
3. Regress the outcome's change on a family's columns (least squares with intercept), and predict
   each event from a fit that never saw it: folds are made of events (``pooled``); with an intercept
   per interval, each interval's mean removed before R², so that merely knowing *when* things
   changed explains nothing (``within``); or from a fit that saw neither the event nor the interval
   (``unseen intervals``).
4. R² = 1 - Σ(actual - predicted)² / Σ(actual - mean)², with a bootstrap interval over events (the
   predictions stay as they are). The *gain* of a family is its R² less that of the one inside it.
5. Controls: the same routes of the bottom head; all columns with events shuffled within each
   interval (that keeps the relation between intervals, so only its ``within`` R² is about 0); and
   as many random routes, the final state's change along random directions, refitted, where they
   are fewer than span that state: a band of draws. Of a gain, what the family adds is replaced,
   the rest stays. An *excess* is over a control, or over the mean's 0 where that is better.
6. *What is left* of the pooled prediction of all routes: the share of its squares that each part of
   the identity carries, cov(part, left) / var(left), which sum to 1 with the prediction's own; and
   the share of them in every slice of the rows beside that slice's share of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.preprocessing import StandardScaler

from circuit.config.benchmark import SplitName
from circuit.config.scalar import ScalarSettings
from circuit.estimates import EXCESS, estimates, over
from circuit.measures.margin_change import SLICES, SWITCH, TARGETS, Changes
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.features import Dictionary
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import band, draws, interval, simultaneous_interval, told
from circuit.training.records import RunRecord

CONTROL, WRITE, STATE = "control:", "write:", "state:"
BOTTOM, SHUFFLED, RANDOM = "bottom head", "shuffled events", "random routes"
POOLED, WITHIN, UNSEEN = "pooled", "within", "unseen intervals"
"""Which differences are explained: all; those between the events of one interval; or all, by a fit
to other intervals."""
JOINT, WRITES, RESIDUAL = "joint", "component writes", "full residual"
_LOOKING = ("qk_separation", "attention_separation", "support_attention")
_KIND_OF = {
    **dict.fromkeys((*_LOOKING, "head_qk_query", "head_qk_key"), "QK"),
    "head_ov_input": "OV input",
    **dict.fromkeys(("ov_value_margin", "head_ov_output"), "OV output"),
}
"""What a route of this scalar, or in this subspace, is about; all others join at the end."""
DRAWS = 40
"""Of random routes: a 95% band has its ends at the first and the last of so many."""
PREDICTED, ROWS = "prediction of the routes", "share of the rows"
_RIDGE = 1e-12  # of columns with variance 1: only what others give exactly is held by it


class Question(Protocol):
    """What is to be explained, by which routes; the settings of a ``closure``."""

    outcomes: dict[str, ScalarSettings]
    routes: dict[str, ScalarSettings]
    split: SplitName
    folds: int
    seed: int


def interval_changes(
    settings: Question,
    record: RunRecord,
    selection: dict[str, Any],
    window: tuple[int, int],
    dictionaries: Mapping[str, Dictionary] | None = None,
) -> pd.DataFrame:
    """Changes of outcomes, routes and the bottom head's routes (``control:…``), a row per interval
    and event; ``dictionaries`` are those of features that scalars name.
    """
    decoder, events = record.decoder, record.probes(settings.split)
    specs: dict[str, ScalarSettings] = {**settings.outcomes, **settings.routes}
    for name, spec in settings.routes.items():
        if spec.head is not None:
            specs[CONTROL + name] = spec.model_copy(update={"head": "bottom"})
    heads = {role: selection[role] for role in ("winner", "runner_up", "bottom")}
    frames = []
    steps = record.manifest.steps
    for ends in pairwise(step for step in steps if window[0] <= step <= window[1]):
        about = (events, record.value_ids, heads, record.theta, ends, steps[-1])
        context = ScalarContext(decoder, *about, dictionaries=dictionaries or {})
        scalars = {name: build_scalar(spec, context) for name, spec in specs.items()}
        before, after = (
            scalar_values(decoder, record.theta(step), events, record.value_ids, scalars)
            for step in ends
        )
        changed = (after.double() - before.double()).numpy()
        frame = pd.DataFrame(dict(zip(specs, changed, strict=True)))
        frames.append(frame.assign(event=range(len(frame)), start=ends[0], stop=ends[1]))
    return pd.concat(frames, ignore_index=True)


def with_components(table: pd.DataFrame, changes: Changes) -> pd.DataFrame:
    """The table with columns for every component's write and the final state's coordinates.

    Both have a row per interval and event, in the same order.
    """
    writes = changes.writes.reshape(-1, changes.writes.shape[-1])
    state = changes.state.reshape(-1, changes.state.shape[-1])
    columns = [WRITE + name for name in changes.components]
    columns += [f"{STATE}{place}" for place in range(state.shape[1])]
    more = pd.DataFrame(np.column_stack([writes, state]), columns=columns)
    return pd.concat([table, more], axis=1)


def families(settings: Question, table: pd.DataFrame) -> dict[str, list[str]]:
    """Nested families of columns (step 2), the smallest first; none that adds no column."""
    routes: dict[str, list[str]] = {"QK": [], "OV input": [], "OV output": [], JOINT: []}
    for name, spec in settings.routes.items():
        routes[_KIND_OF.get(spec.subspace or spec.scalar, JOINT)].append(name)
    groups = {
        **routes,
        WRITES: [column for column in table if column.startswith(WRITE)],
        RESIDUAL: [column for column in table if column.startswith(STATE)],
    }
    found: dict[str, list[str]] = {}
    inside: list[str] = []
    for family, columns in groups.items():
        if columns or family == JOINT:
            if family == JOINT and not columns:  # the last of the routes' families is all of them
                found.popitem()
            inside = [*inside, *columns]
            found[family] = inside
    return found


def of_bottom(routes: Sequence[str], table: pd.DataFrame) -> list[str]:
    """Columns of the bottom head's routes; a route that is no head's is its own."""
    return [CONTROL + name if CONTROL + name in table else name for name in routes]


def explain(
    settings: Question, table: pd.DataFrame, changes: Changes | None = None
) -> pd.DataFrame:
    """Fit every outcome under all families and controls, and say what is left.

    Args:
        table: of :func:`interval_changes`, with the columns of :func:`with_components` if there
            are any; events are numbered from 0, and every interval has all of them.
        changes: the identity on the same rows, of whose parts what is left is made.

    Returns:
        Estimates of ``r2`` and ``gain`` by outcome, compared and family, of ``left_by_part`` by
        outcome and part, and of ``left_by_slice`` by outcome and among.
    """
    found = [_scores(settings, table, families(settings, table)).assign(unit="1")]
    if changes is not None:
        predicted = fit(table, [*settings.outcomes], table[[*settings.routes]], settings.folds)
        found += [
            _left(spec, table, outcome, values, changes).assign(outcome=outcome)
            for (outcome, spec), values in zip(settings.outcomes.items(), predicted.T, strict=True)
        ]
    rows = pd.concat(found, ignore_index=True)
    for key in ("against", "compared", "family", "part", "among"):
        rows[key] = rows[key].fillna("") if key in rows else ""
    rows["count"] = table["event"].nunique()
    return estimates(rows, noun="events", step=int(table["stop"].max()))


def _scores(settings: Question, table: pd.DataFrame, groups: dict[str, list[str]]) -> pd.DataFrame:
    """R² of every family beside its controls, and its gain over the one inside it (step 5).

    All share their resamples.
    """
    outcomes, rng = list(settings.outcomes), np.random.default_rng(settings.seed)
    state = table.filter(regex=f"^{STATE}").to_numpy()
    shuffled = shuffled_events(table, [*groups.values()][-1], settings.seed)
    found: list[pd.DataFrame] = []

    def score(compared: str, *parts: pd.DataFrame) -> Float[np.ndarray, "r+1 k"]:
        columns = pd.concat(parts, axis=1)
        predicted = fit(table, outcomes, columns, settings.folds, compared)
        return r_squared(table, outcomes, predicted, settings.seed, compared == WITHIN)

    for compared in (POOLED, WITHIN, UNSEEN) if table["start"].nunique() > 1 else (POOLED, WITHIN):
        inside: list[str] = []
        before: Float[np.ndarray, "r+1 k"] | float = 0.0
        for family, columns in groups.items():
            own = score(compared, table[columns])
            for measure, kept in {"r2": [], "gain": inside}.items():
                if measure == "gain" and not inside:
                    continue
                added, less = columns[len(kept) :], before if kept else 0.0
                stands_in = {SHUFFLED: shuffled[added]}
                if family not in (WRITES, RESIDUAL):
                    stands_in[BOTTOM] = table[of_bottom(added, table)]
                controls = {
                    name: score(compared, table[kept], one) - less
                    for name, one in stands_in.items()
                }
                chance = None
                if len(added) < state.shape[1]:
                    turns = rng.normal(size=(DRAWS, state.shape[1], len(added)))
                    drawn = (pd.DataFrame(state @ turn, table.index) for turn in turns)
                    chance = np.stack([score(compared, table[kept], one) for one in drawn]) - less
                about = {"compared": compared, "family": family, "measure": measure}
                found += _against(outcomes, own - less, controls, chance, about)
            inside, before = columns, own
    return pd.concat(found)


def _against(
    outcomes: Sequence[str],
    own: Float[np.ndarray, "r+1 k"],
    controls: Mapping[str, Float[np.ndarray, "r+1 k"]],
    chance: Float[np.ndarray, "d r+1 k"] | None,
    about: Mapping[str, str],
) -> list[pd.DataFrame]:
    """A number of every outcome, its controls, and its excess over each, or over 0 if that is more.

    Random routes are a band, with which the number is compared as it is.
    """
    numbers = {"": told(own), **{name: told(one) for name, one in controls.items()}}
    for name, one in controls.items():
        numbers[over(name)] = told(own - np.maximum(0, one))
    if chance is not None:
        numbers[RANDOM] = tuple(band(chance[:, 0]))
    frames = []
    for against, ends in numbers.items():
        one = pd.DataFrame(dict(zip(("mean", "low", "high"), ends, strict=True)))
        frames.append(one.assign(outcome=outcomes, against=against, **about))
    return frames


def _left(
    spec: ScalarSettings,
    table: pd.DataFrame,
    outcome: str,
    predicted: Float[np.ndarray, " N"],
    changes: Changes,
) -> pd.DataFrame:
    """What carries what the routes leave (step 6), of one outcome.

    Its parts are known where the outcome is one of the identity's: the right logit, or a margin
    over a moving rival or over that of the interval's first state.
    """
    error = table[outcome].to_numpy() - predicted
    event, count = table["event"].to_numpy(), table["event"].nunique()
    weights = draws(count)

    def shares(columns: Float[np.ndarray, "N k"], whole: Float[np.ndarray, " N"]) -> np.ndarray:
        sums = np.zeros((count, columns.shape[1] + 1))
        np.add.at(sums, event, np.column_stack([columns, whole]))
        drawn = weights @ sums
        found: Float[np.ndarray, "r+1 k"] = drawn[:, :-1] / drawn[:, -1:]
        return found

    frames = []
    if _known(spec):
        parts = dict(zip(changes.parts, _identity(spec, changes).T, strict=True))
        parts[PREDICTED] = -predicted
        centred = error - error.mean()
        each = np.column_stack(list(parts.values()))
        found = shares((each - each.mean(0)) * centred[:, None], centred**2)
        low, high = simultaneous_interval(found[0], found[1:])
        ends = {"mean": found[0], "low": low, "high": high}
        frames.append(pd.DataFrame({"part": list(parts), "measure": "left_by_part", **ends}))
    slices = {column: changes.branches[column].to_numpy() for column in SLICES}
    names = [(column, name) for column, values in slices.items() for name in sorted(set(values))]
    member = np.column_stack([slices[column] == name for column, name in names]).astype(np.float64)
    carried = shares(member * error[:, None] ** 2, error**2)
    rows = shares(member, np.ones(len(error)))
    for against, drawn in {"": carried, ROWS: rows, EXCESS: carried - rows}.items():
        at_once = simultaneous_interval(drawn[0], drawn[1:])
        low, high = at_once if against == EXCESS else interval(drawn[1:])
        one = pd.DataFrame({"mean": drawn[0], "low": low, "high": high})
        one = one.assign(among=[name for _, name in names], measure="left_by_slice")
        frames.append(one.assign(against=against))
    return pd.concat(frames, ignore_index=True).assign(unit="share")


def _known(spec: ScalarSettings) -> bool:
    margin = spec.scalar == "answer_margin" and spec.competitor in ("moving", "fixed_source")
    return margin or spec.scalar == "correct_value_logit"


def _identity(spec: ScalarSettings, changes: Changes) -> Float[np.ndarray, "I*E N"]:
    """Parts of an outcome's change; the switch is none of a margin whose rival is fixed."""
    parts = changes.values[:, :, TARGETS.index(spec.scalar), 0].copy()
    if spec.competitor == "fixed_source":
        parts[..., changes.parts.index(SWITCH)] = 0
    return parts.reshape(-1, parts.shape[-1])


def shuffled_events(table: pd.DataFrame, columns: Sequence[str], seed: int) -> pd.DataFrame:
    """The table with the given columns permuted over events within each interval."""
    rng = np.random.default_rng(seed)
    result, names = table.copy(), list(columns)
    for index in table.groupby("start").indices.values():
        result.loc[index, names] = table.loc[rng.permutation(index), names].to_numpy()
    return result


def fit(
    table: pd.DataFrame,
    outcomes: Sequence[str],
    columns: pd.DataFrame,
    folds: int,
    compared: str = POOLED,
) -> Float[np.ndarray, "N k"]:
    """Cross-validated predictions of the outcomes' changes for every row (step 3).

    Events whose numbers leave the same remainder by ``folds`` are a fold. Normal equations are
    summed for every fold (and interval) once, and a fit's are the sum of those it may see.
    """
    starts, when = np.unique(table["start"], return_inverse=True)
    fold = table["event"].to_numpy() % folds
    x = StandardScaler().fit_transform(columns.to_numpy())
    y = table[list(outcomes)].to_numpy()
    design = np.column_stack(
        [x, np.eye(len(starts))[when] if compared == WITHIN else np.ones(len(x))]
    )
    # What is left out with a row: its fold; with unseen intervals its fold and its interval.
    shape = (folds, len(starts)) if compared == UNSEEN else (folds, 1)
    cell = fold * shape[1] + (when if compared == UNSEEN else 0)
    both = np.column_stack([design, y])
    sums = np.zeros((shape[0] * shape[1], design.shape[1], both.shape[1]))
    for number in range(len(sums)):
        mine = cell == number
        sums[number] = design[mine].T @ both[mine]
    of_fold, of_interval = np.divmod(np.arange(len(sums)), shape[1])
    kept = of_fold[:, None] != of_fold
    if compared == UNSEEN:
        kept &= of_interval[:, None] != of_interval
    # Sums of what is kept, not differences: what is left out cannot show even by rounding.
    fitted = np.tensordot(kept.astype(np.float64), sums, 1)
    gram, cross = np.split(fitted, [design.shape[1]], axis=-1)
    slopes = np.linalg.solve(gram + _RIDGE * len(x) * np.eye(design.shape[1]), cross)
    found: Float[np.ndarray, "N k"] = np.einsum("np,npk->nk", design, slopes[cell])
    return found


def r_squared(
    table: pd.DataFrame,
    outcomes: Sequence[str],
    predicted: Float[np.ndarray, "N k"],
    seed: int,
    within: bool = False,
) -> Float[np.ndarray, "r+1 k"]:
    """R² of the predictions of every outcome, then of bootstrap resamples of the events.

    With ``within``, after removing every interval's mean from actual and predicted.
    """
    actual, event = table[list(outcomes)].to_numpy(), table["event"].to_numpy()
    if within:
        both = pd.DataFrame(np.column_stack([actual, predicted]))
        both = both - both.groupby(table["start"].to_numpy()).transform("mean")
        actual, predicted = np.split(both.to_numpy(), 2, axis=1)
    sums = np.zeros((event.max() + 1, 4, actual.shape[1]))
    parts = [np.ones_like(actual), actual, actual**2, (actual - predicted) ** 2]
    np.add.at(sums, event, np.stack(parts, 1))
    n, total, square, error = np.moveaxis(np.tensordot(draws(len(sums), seed), sums, 1), 1, 0)
    found: Float[np.ndarray, "r+1 k"] = 1 - error / (square - total**2 / n)
    return found

"""Attention from the positions of one role to those of another, and whole patterns of a few events.

1. For an event, the entry of a head for query role q and key role k is the mean, over the positions
   of q, of the attention mass that each puts on the positions of k.
2. Besides the roles, a key may be a *place* relative to the query: ``bos``, ``self``, ``one_back``,
   ``two_back``. So a previous-token head shows at support_value → support_key, and as one_back at
   every query role.
3. Entries are averaged over the events in which the query role occurs, and their count says so.
4. ``even`` is the map of attention spread evenly over what a position may see. What a head has
   beyond it is paired by event.

Key roles overlap, so a row need not sum to 1. Where the key role can only follow the query, the
entry is 0 in every head.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import EXCESS
from circuit.model.sites import every_head, head_name
from circuit.scalars.base import Seen
from circuit.scalars.routing import Head, prediction_pattern
from circuit.statistics import bootstrap_means, resamples, simultaneous_interval
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import Vocabulary

KEY_ROLES = (
    "support_op",
    "support_key",
    "support_value",
    "stale_value",
    "value_distractors",
    "key_distractors",
    "prior_answers",
)
QUERIES = ("prediction", *KEY_ROLES[1:])
PLACES = ("bos", "self", "one_back", "two_back")
KEYS = (*KEY_ROLES, *PLACES)
EVEN = "even"
_NAMES = ("support_value", "query_key", *KEY_ROLES[3:])
PATTERN_UNITS = {"step": "step", "event": "id", "position": "token", "attention": "probability"}


def role_maps(pattern: Float[Tensor, "E H T T"], events: ReadEvents) -> Float[Tensor, "E H q k"]:
    """Attention from ``QUERIES`` to ``KEYS`` of every event and head, float64.

    Entries are NaN where an event lacks the query role.
    """
    queries = torch.stack([events.role_mask(role) for role in QUERIES], 1).double()
    roles = torch.stack([events.role_mask(role) for role in KEY_ROLES], 1).double()
    pattern = pattern.double()
    mass = pattern @ roles[:, None].mT  # [E, H, T, key roles]: from each position
    back = [torch.diagonal(pattern, -n, -2, -1) for n in range(3)]
    places = [torch.nn.functional.pad(line, (n, 0)) for n, line in enumerate(back)]
    every = torch.cat([mass, torch.stack([pattern[..., 0], *places], -1)], -1)
    return (queries[:, None] @ every) / queries.sum(-1)[:, None, :, None]


def map_rows(seen: Seen) -> pd.DataFrame:
    """Rows of head, query_role, key_role, against, mean, low, high, count (events), ``even`` too.

    Args:
        seen: a pass with every layer's ``pattern``.
    """
    s, events = seen.decoder.settings, seen.events
    maps = torch.cat(
        [role_maps(seen.sites[f"layer_{n}_pattern"], events) for n in range(s.n_layers)]
        + [_even_map(events)],
        1,
    ).numpy()
    names = [head_name(head) for head in every_head(s)]
    levels = _means(maps, [*names, EVEN]).assign(against="")
    beyond = _means(maps[:, :-1] - maps[:, -1:], names).assign(against=EXCESS)
    return pd.concat([levels, beyond], ignore_index=True)


def _means(maps: Float[np.ndarray, "E H q k"], heads: list[str]) -> pd.DataFrame:
    """Means of every entry over the events that have its query role."""
    mean = np.full(maps.shape[1:], np.nan)
    low, high, count = mean.copy(), mean.copy(), np.zeros(mean.shape, dtype=np.int64)
    present = ~np.isnan(maps[:, 0, :, 0])
    # Query roles that occur in the same events are averaged together: mostly, all of them.
    for held in np.unique(present, axis=1).T:
        chosen = (present == held[:, None]).all(0)
        if held.any():
            part = maps[held][:, :, chosen]
            found = bootstrap_means(part.reshape(len(part), -1))
            for table, numbers in zip((mean, low, high), found, strict=True):
                table[:, chosen] = numbers.reshape(part.shape[1:])
            count[:, chosen] = len(part)
    index = pd.MultiIndex.from_product(
        [heads, QUERIES, KEYS], names=["head", "query_role", "key_role"]
    )
    columns = {"mean": mean, "low": low, "high": high, "count": count}
    frame = pd.DataFrame({name: table.ravel() for name, table in columns.items()}, index=index)
    return frame[frame["count"] > 0].reset_index()


def looks_back(seen: Seen, layer: int) -> pd.DataFrame:
    """Attention from the support value back to its key, of all heads below a layer.

    Rows of head, measure, against, unit, mean, low, high, count, at least for ``even``. Intervals
    hold for all heads at once, so that one of them may be picked.
    """
    place = QUERIES.index("support_value"), KEYS.index("support_key")
    even = _even_map(seen.events)[:, :, *place].numpy()
    blocks = [([EVEN], even, "")]
    if layer:
        maps = [role_maps(seen.sites[f"layer_{n}_pattern"], seen.events) for n in range(layer)]
        entries = torch.cat(maps, 1)[:, :, *place].numpy()
        heads = [head_name(h) for h in every_head(seen.decoder.settings) if h[0] < layer]
        blocks += [(heads, entries, ""), (heads, entries - even, EXCESS)]
    found, n = [], len(even)
    for heads, values, against in blocks:
        mean = values.mean(0)
        low, high = simultaneous_interval(mean, resamples(n, 0) @ values / n)
        numbers = {"mean": mean, "low": low, "high": high, "count": n}
        found.append(pd.DataFrame({"head": heads, **numbers, "against": against}))
    rows = pd.concat(found, ignore_index=True)
    return rows.assign(measure="support_value_to_its_key", unit="probability")


def _even_map(events: ReadEvents) -> Float[Tensor, "E 1 q k"]:
    """The map of attention spread evenly."""
    length = events.tokens.shape[1]
    even = torch.ones(length, length, dtype=torch.float64).tril()
    even = even / even.sum(-1, keepdim=True)
    return role_maps(even.expand(len(events), 1, length, length), events)


def position_names(events: ReadEvents, roles: Sequence[str]) -> list[list[str]]:
    """Every position of every event by the first of the roles that holds; ``other`` where none."""
    masks = torch.stack([events.role_mask(role) for role in roles])
    names = [*roles, "other"]
    first = torch.where(masks.any(0), masks.int().argmax(0), len(roles)).tolist()
    return [
        [names[role] for role in of_event[:length]]
        for of_event, length in zip(first, events.length.tolist(), strict=True)
    ]


def pattern_labels(events: ReadEvents, vocabulary: Vocabulary, pictures: int) -> pd.DataFrame:
    """Event, sample_id, position, token and role of every position of the first events."""
    tokens = [[vocabulary.tokens[i] for i in row] for row in events.tokens[:pictures].tolist()]
    found = [
        (event, events.sample_id[event], position, tokens[event][position], role)
        for event, names in enumerate(position_names(events, _NAMES)[:pictures])
        for position, role in enumerate(names)
    ]
    return pd.DataFrame(found, columns=["event", "sample_id", "position", "token", "role"])


def pictured_patterns(seen: Seen, head: Head, labels: pd.DataFrame) -> pd.DataFrame:
    """``labels`` with the attention that each position gets from the prediction position."""
    pattern = prediction_pattern(seen, head).double().numpy()
    return labels.assign(attention=pattern[labels["event"], labels["position"]])

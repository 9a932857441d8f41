"""From the name of a grouping, as settings have it, to the group of every atom.

A name is that of a grouping of the layout, of lists of groups that the settings define
(:mod:`circuit.model.selectors`), or *nested*: ``layer/head/head_projection`` splits every group of
its first part by the second, and so on, in one pass. Its groups are called by all their parts,
``layer_1/L1H2/L1H2.q``, so sums over the last part are the sums of the grouping without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd

from circuit.config.terms import GROUPINGS, NESTED
from circuit.model.layout import Layout
from circuit.model.parameters import unknown_grouping
from circuit.model.selectors import Lists, Selectors

NO_LISTS: Mapping[str, Lists] = MappingProxyType({})
NO_HEADS: Mapping[str, str] = MappingProxyType({})


def grouping_labels(
    layout: Layout,
    name: str,
    custom: Mapping[str, Lists] = NO_LISTS,
    heads: Mapping[str, str] = NO_HEADS,
) -> pd.Series:
    """Group name of every atom.

    Args:
        name: a grouping, or several, joined by ``/``.
        custom: lists of groups, by the name of their grouping.
        heads: names of heads by their role, for selectors such as ``winner.q``.

    Raises:
        AnalysisError: a grouping or a selector is unknown, or a list has an atom in two groups.
    """
    parts = [_plain(layout, part, custom, heads) for part in name.split(NESTED)]
    labels = parts[0]
    for finer in parts[1:]:
        labels = labels + NESTED + finer
    return labels


def _plain(
    layout: Layout, name: str, custom: Mapping[str, Lists], heads: Mapping[str, str]
) -> pd.Series:
    if name in custom:
        found = Selectors(layout.atom_list, heads).labels(custom[name])
        return pd.Series(found, index=layout.atoms.index)
    if name not in GROUPINGS:
        raise unknown_grouping(name, (*GROUPINGS, *custom))
    return layout.groups(name)

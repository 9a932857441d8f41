"""Lists of parameter groups that somebody put together: what they select, as a partition.

1. A *selector* is the name of a group of any grouping (``L1H2``, ``L1H2.q``, ``L0N17.in``,
   ``layer_1``, ``layer_0.attn``, ``embedding``, ``token_13``, a parameter's name), or of a head by
   its role in a selection (``winner.q``).
2. Where groupings have groups of one name, it means the widest: ``embedding`` is the whole module,
   not what the grouping ``token`` leaves of it.
3. A group holds the atoms of all its selectors, no atom is in two groups, and atoms in none are
   those of the group ``rest``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuit.config.terms import GROUPINGS, REST
from circuit.errors import AnalysisError, nearest
from circuit.model.parameters import Atom, group_names

Lists = Mapping[str, Sequence[str]]
"""Selectors by the name of their group."""


class Selectors:
    """What selectors mean in one model.

    Args:
        atoms: of its parameters.
        heads: names of heads by their role.
    """

    def __init__(self, atoms: Sequence[Atom], heads: Mapping[str, str]) -> None:
        self._heads = heads
        self._count = len(atoms)
        self._members: dict[str, list[int]] = {}
        for grouping in GROUPINGS:
            if grouping == "neuron":
                self._wide = list(self._members)
            found: dict[str, list[int]] = {}
            for number, name in enumerate(group_names(atoms, grouping)):
                found.setdefault(name, []).append(number)
            # Groupings come from wide to fine, and the widest group of a name counts.
            self._members = {**self._members, **found, **self._members}

    def members(self, selector: str) -> list[int]:
        """Numbers of the atoms that a selector means.

        Raises:
            AnalysisError: there is no such group; names the nearest.
        """
        first, dot, part = selector.partition(".")
        name = self._heads.get(first, first) + dot + part
        if name in self._members:
            return self._members[name]
        roles = [f"{role}{p}" for role in self._heads for p in ("", ".q", ".k", ".v", ".o")]
        # Thousands of neurons and tokens look alike; they are meant only if nothing else is near.
        guess = nearest(selector, [*roles, *self._wide]) or nearest(selector, self._members)
        raise AnalysisError(
            what=f"no parameter group is called {selector!r}",
            where="groupings",
            expected="a group of any grouping, such as layer_0, L0H0, L0H0.q or embedding"
            + (f", or {', '.join(self._heads)} in place of a head" if self._heads else ""),
            do=f"did you mean {guess!r}?" if guess else "name a group that there is",
        )

    def labels(self, lists: Lists) -> list[str]:
        """Group name of every atom.

        Raises:
            AnalysisError: a selector is unknown, or an atom is in two groups.
        """
        labels = [REST] * self._count
        by: dict[int, str] = {}
        for group, selectors in lists.items():
            for selector in selectors:
                for atom in self.members(selector):
                    if labels[atom] not in (REST, group):
                        raise self._overlap(by[atom], labels[atom], selector, group)
                    labels[atom], by[atom] = group, selector
        return labels

    def _overlap(self, one: str, first: str, other: str, second: str) -> AnalysisError:
        return AnalysisError(
            what=f"groups {first!r} and {second!r} share parameters: those that {one!r} and "
            f"{other!r} both select",
            where="groupings",
            expected="groups that have no parameter in common, so that they sum to the whole",
            do=f"take one of them out, or put {second!r} into a grouping of its own",
        )

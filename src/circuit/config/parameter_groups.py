"""Groupings of parameters in settings: their names, and the lists that settings define.

Names can be checked with the settings alone; what a list selects, once the model is known. Nothing
here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain

from circuit.config.names import told_of
from circuit.config.recipe import ModelSettings
from circuit.config.terms import GROUPINGS, HEAD_ROLES, NESTED, REST
from circuit.errors import nearest
from circuit.model.parameters import atoms_of, entries_of
from circuit.model.selectors import Lists, Selectors


def check_lists(groupings: Mapping[str, Lists]) -> None:
    """Refuse groupings that hide another one.

    Raises:
        ValueError: for pydantic, which says in which settings.
    """
    for grouping, groups in groupings.items():
        if grouping in GROUPINGS:
            raise ValueError(f"grouping {grouping!r} is built in; give the list another name")
        if REST in groups:
            raise ValueError(
                f"grouping {grouping!r} has a group {REST!r}, but that is what no other group "
                "holds; give it another name"
            )


def check_names(names: Iterable[str], groupings: Iterable[str]) -> None:
    """Refuse names of groupings, or parts of nested ones, that there are not.

    Args:
        groupings: names of those that the settings define.

    Raises:
        ValueError: for pydantic, which says in which settings.
    """
    valid: Sequence[str] = (*GROUPINGS, *groupings)
    for name in names:
        for part in name.split(NESTED):
            if part not in valid:
                within = f" in {name!r}" if part != name else ""
                guess = nearest(part, valid)
                hint = f"; did you mean {guess!r}?" if guess else ""
                raise ValueError(
                    f"unknown grouping {part!r}{within}; there are {', '.join(valid)}{hint}"
                )


def check_selectors(
    groupings: Mapping[str, Lists], model: ModelSettings, vocab_size: int, run: str, where: str
) -> None:
    """Refuse lists that select what a run's model does not have, or one thing twice.

    Which heads have a role is not known yet, so whether a role's groups overlap others is found
    when the lists are used.

    Raises:
        ConfigError: naming the grouping.
    """
    if not groupings:
        return
    selectors = _selectors(model, vocab_size)
    for grouping, groups in groupings.items():
        with told_of(run, f"{where}.{grouping}"):
            for selector in chain(*groups.values()):
                selectors.members(selector)
            selectors.labels(
                {
                    name: [s for s in group if s.partition(".")[0] not in HEAD_ROLES]
                    for name, group in groups.items()
                }
            )


@lru_cache(maxsize=8)
def _selectors(model: ModelSettings, vocab_size: int) -> Selectors:
    """What selectors mean in a model; every role is a head's, whichever that will be."""
    return Selectors(atoms_of(entries_of(model, vocab_size)), dict.fromkeys(HEAD_ROLES, "L0H0"))

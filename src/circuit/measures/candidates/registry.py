"""Which candidates there are: those that are named, one per head, and a dictionary's families."""

from __future__ import annotations

import re
from collections.abc import Mapping

from circuit.config.recipe import ModelSettings
from circuit.config.scalar import EVERY, DictionaryFamilies, ScalarSettings
from circuit.errors import AnalysisError
from circuit.model.sites import every_head, head_name
from circuit.scalars.features import Dictionary


def expand(
    named: Mapping[str, ScalarSettings], shape: ModelSettings
) -> tuple[dict[str, ScalarSettings], dict[str, str]]:
    """The candidates with ``head: every`` replaced by one per head, named ``ROUTE L1H3``.

    Where the stage is what a layer's attention reads, these are the heads of that layer: no other
    head reads that state. Returned are settings, and the name in the given ones, by candidate.
    """
    heads = [head_name(head) for head in every_head(shape)]
    found, groups = {}, {}
    for group, settings in named.items():
        readers = re.match(r"layer_(\d+)_attn_input$", settings.stage or "")
        of_layer = [head for head in heads if not readers or head.startswith(f"L{readers[1]}H")]
        chosen = of_layer if settings.head == EVERY else [settings.head]
        for head in chosen:
            name = f"{group} {head}" if settings.head == EVERY else group
            found[name] = settings.model_copy(update={"head": head})
            groups[name] = group
    return found, groups


def found_families(
    asked: DictionaryFamilies | None, dictionaries: Mapping[str, Dictionary]
) -> dict[str, ScalarSettings]:
    """A ``feature_score`` at its role for every family of a dictionary, by the family's name.

    Raises:
        AnalysisError: the dictionary has no family with a feature in it.
    """
    if asked is None:
        return {}
    families = dictionaries[asked.dictionary].families
    score = {"scalar": "feature_score", "dictionary": asked.dictionary}
    found = {
        name: {**score, "features": name, "role": name.rpartition("@")[2]}
        for name, members in families.items()
        if members
    }
    if not found:
        raise AnalysisError(
            what=f"dictionary {asked.dictionary!r} has no family of features",
            where="candidates: families",
            expected="a family with at least one feature",
            do="take families out, or fit a dictionary whose features fire",
        )
    return {name: ScalarSettings.model_validate(one) for name, one in found.items()}

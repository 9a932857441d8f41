"""Settings of the kind ``qk_features``."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings, Study
from circuit.config.base import Count, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import DictionaryName, FinalOrStep, Head, HeadScanName
from circuit.config.names import need_scan
from circuit.errors import AnalysisError, ConfigError
from circuit.model.nodes import input_sites
from circuit.model.sites import canonical_site

_LAYERS = 100  # as many as a recipe may have


class Settings(AnalysisSettings):
    """A head's score as a sum over pairs of parts of its query and its key, over checkpoints.

    ``head`` looks from the prediction position; ``key`` is where the right key is, and the rivals
    are the same places of all other writes. What it reads is taken apart into what modules wrote
    (``components``), with the ``members`` neurons on either side that match most apart
    (``neurons``), or into features of a ``dictionary`` of that state, so many of these apart.
    ``top`` pairs are followed over ``checkpoints``, the last of which chooses them.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "pairs", "changes")
    job_memory_mb: ClassVar[int] = 2000
    kind: Literal["qk_features"]
    head: Head = "winner"
    heads: HeadScanName | None = None
    checkpoints: Annotated[Several[FinalOrStep], Field(min_length=2)] = (0, "final")
    key: Literal["support_value", "support_key"] = "support_value"
    parts: Literal["components", "neurons"] = "components"
    dictionary: DictionaryName | None = None
    members: Annotated[int, Field(ge=1, le=64)] = 6
    top: Annotated[Count, Field(le=16)] = 6
    split: SplitName = "test_iid"

    def check(self, study: Study, where: str) -> None:
        """The head is known, and the dictionary is of what it reads."""
        need_scan(self.head, self.heads, f"{where}.head")
        if self.dictionary is None:
            return
        if self.parts == "neurons":
            raise ConfigError(
                what="parts are asked to be neurons, and features of a dictionary",
                where=f"{where}.parts",
                expected="one of the two",
                do="take parts or dictionary away",
            )
        stage = study.analyses[self.dictionary].stage
        named = re.match(r"L(\d+)H", self.head)
        layers = [int(named[1])] if named else range(_LAYERS)
        sites = [site for layer in layers for site in input_sites(layer)]
        with suppress(AnalysisError):  # no stage at all, which the dictionary itself is told
            if canonical_site(stage, _LAYERS) not in sites:
                raise ConfigError(
                    what=f"analysis {self.dictionary!r} makes features of {stage}, which head "
                    f"{self.head} does not read",
                    where=f"{where}.dictionary",
                    expected="a dictionary of "
                    + (" or ".join(sites) if named else "what a layer's heads read"),
                    do="name another dictionary, or a head of another layer",
                )

"""Settings of the kind ``coalitions``."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AtCheckpoints, Study
from circuit.config.attribution import PathRule
from circuit.config.base import Listed, Name
from circuit.config.marks import FinalOrStep, HeadScanName
from circuit.config.names import need_scan
from circuit.config.scalar import FOLLOWING, ScalarSettings
from circuit.errors import ConfigError

MARGIN = "answer_margin"
"""The outcome that interventions are also measured on; no candidate's name."""
_BEFORE = re.compile(r"embedding$|L0H|layer_0_(?!post_mlp|mlp_write)")


class Settings(AtCheckpoints):
    """Neurons' drives for several candidates between consecutive checkpoints, and their ablation.

    ``candidates`` are named scalars; a dictionary's family is one by its ``feature_score``.
    ``path_rule`` is that of the integral between ``checkpoints``, marked where it leaves more than
    ``residual_bound`` of all movement. Sets have at most ``top`` neurons, and at most a quarter of
    an MLP's. ``draws`` random read-outs and as many random sets are controls. ``heads`` is the scan
    whose heads candidates may name.
    """

    told: ClassVar[frozenset[str]] = frozenset({"residual_bound"})
    reads_dictionaries: ClassVar[bool] = True
    kind: Literal["coalitions"]
    candidates: Annotated[dict[Name, ScalarSettings], Field(min_length=2)]
    checkpoints: Annotated[Listed[FinalOrStep], Field(min_length=2)]
    path_rule: PathRule = "gauss_16"
    residual_bound: Annotated[float, Field(gt=0)] = 0.01
    top: Annotated[int, Field(ge=1, le=64)] = 8
    draws: Annotated[int, Field(ge=20, le=1000)] = 40
    heads: HeadScanName | None = None

    def check(self, study: Study, where: str) -> None:
        """Candidates are what neurons can drive in one pass, by names that outcomes do not have."""
        for name, one in self.candidates.items():
            place = f"{where}.candidates.{name}"
            need_scan(one.head, self.heads, f"{place}.head")
            if name == MARGIN:
                raise ConfigError(
                    f"a candidate cannot be called {MARGIN!r}",
                    where=place,
                    expected="another name: the answer's margin is measured beside all candidates",
                    do="rename it",
                )
            if one.scalar in FOLLOWING:
                raise ConfigError(
                    f"{one.scalar} is no candidate: it runs MLPs a second time, with another state",
                    where=f"{place}.scalar",
                    expected="a scalar that is read off one pass",
                    do="name another scalar, such as feature_score or qk_separation",
                )
            read = {"head": one.head, "stage": one.stage}
            if one.dictionary is not None:
                maker = study.analyses[one.dictionary]
                if maker.kind == "families":
                    maker = study.analyses[maker.dictionaries[0]]
                read["dictionary"] = maker.stage
            for option, of in read.items():
                if of is not None and _BEFORE.match(of):
                    raise ConfigError(
                        f"no MLP lies before {option} {of}",
                        where=f"{place}.{option}",
                        expected="a head or a stage of a later layer, or layer_0_post_mlp: neurons "
                        "write what it reads",
                        do="name a later one",
                    )

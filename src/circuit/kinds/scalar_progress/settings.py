"""Settings of the kind ``scalar_progress``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Count, Seed
from circuit.config.benchmark import SplitName
from circuit.config.marks import HeadScanName


class Settings(AnalysisSettings):
    """Every head × six scalars of its write, with attention and values as they are or not.

    Attention is real or forced onto the support value, values are real or those of other events, in
    ``shuffles`` shuffles drawn with ``seed``. ``competitor`` fixes the rivals of margins at the
    run's first or last checkpoint. A scalar is fit to be attributed if it is born, is smooth, sees
    both attention and the write's size, if the interval of its weakest correlation with an outcome
    over checkpoints lies above ``follows``, that of the share of its growth that other events'
    values give too within ``shuffled``, and that of the share read at other positions within
    ``elsewhere``.
    """

    told: ClassVar[frozenset[str]] = frozenset({"follows", "shuffled", "elsewhere"})
    job_memory_mb: ClassVar[int] = 2000
    kind: Literal["scalar_progress"]
    heads: HeadScanName
    split: SplitName = "test_iid"
    competitor: Literal["fixed_source", "fixed_target"] = "fixed_source"
    shuffles: Count = 8
    follows: Annotated[float, Field(ge=0, lt=1)] = 0.5
    shuffled: Annotated[float, Field(gt=0, lt=1)] = 0.2
    elsewhere: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Seed = 0

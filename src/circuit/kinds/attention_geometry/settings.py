"""Settings of the kind ``attention_geometry``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Count
from circuit.config.benchmark import SplitName
from circuit.config.marks import Head, HeadScanName, Rank


class Settings(AnalysisSettings):
    """Every head at every checkpoint: where it looks, what it reads there, what that is worth.

    The retrieval chain is score → attention mass → OV value margin → direct logit. ``head`` is the
    one whose patterns are pictured and whose chain is told, beside the other heads of the
    selection, so the split should not be the one that chose them. ``directions`` is the number of
    top singular directions of W_QK and W_OV, at the first and the last checkpoint, of which
    ``tokens`` tokens are named on each side.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "maps", "directions_table", "patterns_table")
    kind: Literal["attention_geometry"]
    heads: HeadScanName
    split: SplitName = "test_iid"
    head: Head = "winner"
    pictures: Annotated[int, Field(ge=1, le=12)] = 4
    directions: Rank = 3
    tokens: Count = 5

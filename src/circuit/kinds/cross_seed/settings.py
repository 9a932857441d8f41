"""Settings of the kind ``cross_seed``."""

from typing import Annotated, ClassVar, Literal

from circuit.config.analysis import AnalysisSettings, Study
from circuit.config.base import Name, Seed
from circuit.config.marks import HeadScanName, Ref, SweepName
from circuit.config.names import need


class Settings(AnalysisSettings):
    """The route's growth and its component shares over runs that differ in their seed."""

    scope: ClassVar[Literal["run", "study"]] = "study"
    torch: ClassVar[bool] = False
    job_memory_mb: ClassVar[int] = 1000
    job_minutes: ClassVar[int] = 10
    kind: Literal["cross_seed"]
    sweep: SweepName
    scan: HeadScanName
    attribution: Annotated[Name, Ref("update_attribution")]
    scalar: Name
    seed: Seed = 0

    def check(self, study: Study, where: str) -> None:
        """The scalar is one that the attribution attributes."""
        attributed = study.analyses[self.attribution].scalars
        need(self.scalar, attributed, "scalar", f"{where}.scalar")

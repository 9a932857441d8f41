"""Settings of the kind ``foretold``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from circuit.config.analysis import AnalysisSettings, Study
from circuit.config.base import Listed, Name, Seed, differ
from circuit.config.marks import HeadScanName, Ref
from circuit.errors import ConfigError


class Settings(AnalysisSettings):
    """Routes ranked by features from before their birth, against the order in which they were born.

    ``features`` is the analysis that measured them and ``scan`` the one that followed every head
    over all checkpoints, on another split: its ``measure``, the scalar that has the features, says
    how strong a route is. A route is born at the first checkpoint from which on it has at least
    ``threshold`` times the largest strength that any head of the run has at the end, with an
    interval above 0. An order of few births may hang on where that line is drawn, so the verdict is
    told for ``other_thresholds`` too.
    """

    scope: ClassVar[Literal["run", "study"]] = "study"
    tables: ClassVar[tuple[str, ...]] = ("rows", "predictions")
    torch: ClassVar[bool] = False
    job_memory_mb: ClassVar[int] = 1000
    kind: Literal["foretold"]
    features: Annotated[Name, Ref("route_features")]
    scan: HeadScanName
    measure: Literal[
        "qk_separation", "qk_separation_rank", "support_attention", "ov_value_margin"
    ] = "qk_separation"
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.25
    other_thresholds: Listed[Annotated[float, Field(gt=0, le=1)]] = (0.15, 0.4)
    seed: Seed = 0

    @model_validator(mode="after")
    def _thresholds_differ(self) -> Settings:
        differ((self.threshold, *self.other_thresholds))
        return self

    def check(self, study: Study, where: str) -> None:
        """The routes whose births are foretold are those with features, on other events."""
        features, scan = study.analyses[self.features], study.analyses[self.scan]
        measured = features.route.scalar + ("_rank" if features.route.rank else "")
        if measured != self.measure:
            raise ConfigError(
                what=f"features are those of {measured}, births would be those of {self.measure}",
                where=f"{where}.measure",
                expected=f"the route of {self.features!r}, which the scan follows too",
                do=f"let measure and {self.features}.route mean the same scalar",
            )
        if features.split == scan.split:
            raise ConfigError(
                what=f"features and births are both measured on the probe events of {scan.split}, "
                "so they share their chance",
                where=f"{where}.features",
                expected="features on events that do not say when routes are born",
                do=f"give {self.features} another split than {self.scan}",
            )

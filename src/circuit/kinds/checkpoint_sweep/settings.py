"""Settings of the kind ``checkpoint_sweep``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import FinalOrStep, Mark


class Settings(AnalysisSettings):
    """Every checkpoint: behaviour, what the residual stream holds, what each component does.

    ``birth_threshold`` is the accuracy from which the answer counts as learned; ``thresholds`` are
    flagged at every checkpoint. The first split's reads (of ``programs`` programs) feed the linear
    probes: programs with even numbers fit them, odd ones score them; ``probe_ridge`` is the
    penalty, on states of unit root mean square deviation. The probe events feed lens, drift,
    localisation and ablation; ``reference`` is the checkpoint that drift is measured to,
    ``ablation`` what a component's write is replaced by.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "stages", "components")
    kind: Literal["checkpoint_sweep"]
    splits: Several[SplitName] = ("validation_iid", "heldout_pairs")
    best_by: Annotated[SplitName, Mark("measured")] = "heldout_pairs"
    programs: Annotated[int, Field(ge=4), Mark("programs", ("splits",))] = 256
    birth_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    thresholds: Several[Annotated[float, Field(gt=0, lt=1)]] = (0.25, 0.5, 0.75, 0.9)
    probe_ridge: Annotated[float, Field(gt=0)] = 1.0
    reference: FinalOrStep = "final"
    ablation: Literal["zero", "mean"] = "mean"

"""Settings of the kind ``closure``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings, CheckpointWindow, Study
from circuit.config.attribution import PathRule
from circuit.config.base import Name, Seed
from circuit.config.benchmark import SplitName
from circuit.config.marks import HeadScanName, Mark
from circuit.config.scalar import ScalarSettings
from circuit.errors import ConfigError

_OUTCOMES = ("answer_margin", "correct_value_logit", "negative_answer_loss", "soft_margin")


class Settings(AnalysisSettings):
    """What changed the answer between checkpoints, exactly, and what routes know of the change.

    ``path_rule`` is that of the line integral over parameters, marked where it leaves more than
    ``residual_bound`` of all movement. ``routes`` are what is fitted, in
    families, to the change of ``outcomes``; none of them may be an outcome itself.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "intervals")
    told: ClassVar[frozenset[str]] = frozenset({"residual_bound"})
    reads_dictionaries: ClassVar[bool] = True
    kind: Literal["closure"]
    heads: HeadScanName
    window: CheckpointWindow
    outcomes: Annotated[dict[Name, ScalarSettings], Field(min_length=1)]
    routes: Annotated[dict[Name, ScalarSettings], Field(min_length=1)]
    split: SplitName = "validation_iid"
    path_rule: PathRule = "boole"
    residual_bound: Annotated[float, Field(gt=0)] = 0.01
    folds: Annotated[int, Field(ge=2, le=10_000), Mark("probe_count", 2)] = 5
    seed: Seed = 0

    def check(self, study: Study, where: str) -> None:
        """No route is an outcome, by what it measures or by its name."""
        for name, spec in self.routes.items():
            if spec.scalar in _OUTCOMES or name in self.outcomes:
                raise ConfigError(
                    what=f"route {name!r} is an outcome: it would explain itself",
                    where=f"{where}.routes.{name}",
                    expected=f"a scalar of a part of the model, not {', '.join(_OUTCOMES)}, under "
                    "a name that no outcome has",
                    do="take it out of the routes, or give it another name",
                )

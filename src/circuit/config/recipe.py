"""Settings of the model, the optimizer and a training run (what makes a run *this* run)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from circuit.config.base import Frozen, Listed, StepNumber

TrainingSteps = Annotated[StepNumber, Field(ge=1)]
MOST_CHECKPOINTS = 2000


class ModelSettings(Frozen):
    """Architecture and initialisation of a GPT-2-style decoder."""

    n_layers: Annotated[int, Field(ge=1, le=100)]
    n_heads: Annotated[int, Field(ge=1, le=1000)]
    d_model: Annotated[int, Field(ge=1, le=8192)]
    d_ff: Annotated[int, Field(ge=1, le=32_768)]
    context: Annotated[int, Field(ge=4, le=8192)]
    initialisation: Literal["torch_default", "gpt2"] = "torch_default"

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelSettings:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}")
        return self

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads


class OptimizerSettings(Frozen):
    """AdamW, SGD or SGD with momentum, with linear warm-up to a constant learning rate.

    Weight decay is decoupled (as in AdamW) for every kind, so the update always splits into the
    same named components.
    """

    kind: Literal["adamw", "sgd", "sgd_momentum"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)]
    betas: Annotated[tuple[float, float], Strict(False)] = (0.9, 0.95)
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    warmup_steps: StepNumber = 0

    @model_validator(mode="after")
    def _betas_in_range(self) -> OptimizerSettings:
        if not all(0 <= b < 1 for b in self.betas):
            raise ValueError(f"betas {self.betas} must lie in [0, 1)")
        return self


class RecipeSettings(Frozen):
    """Everything a run's bits depend on besides its seed, benchmark and numerical environment.

    ``checkpoint_every`` and ``early_checkpoints`` decide what is kept, not what is computed; the
    trajectory's identity leaves them out.
    """

    model: ModelSettings
    optimizer: OptimizerSettings
    batch_size: Annotated[int, Field(ge=1, le=65_536)]
    steps: TrainingSteps
    checkpoint_every: TrainingSteps
    early_checkpoints: Listed[StepNumber] = ()
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    train_split: str = "train"
    replay_tolerance: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _schedule(self) -> RecipeSettings:
        if self.steps % self.checkpoint_every:
            raise ValueError(
                f"steps {self.steps} is not a multiple of checkpoint_every {self.checkpoint_every}"
            )
        bad = [s for s in self.early_checkpoints if not 0 < s < self.steps]
        if bad:
            raise ValueError(f"early_checkpoints {bad} lie outside 1..{self.steps - 1}")
        kept = self.steps // self.checkpoint_every + 1
        if kept > MOST_CHECKPOINTS:
            raise ValueError(
                f"checkpoint_every {self.checkpoint_every} of {self.steps} steps keeps {kept} "
                f"checkpoints, more than the {MOST_CHECKPOINTS} that can be planned; raise it, and "
                "name single steps in early_checkpoints"
            )
        return self

    @property
    def checkpoint_steps(self) -> tuple[int, ...]:
        """Steps with a checkpoint, ascending, from 0 to ``steps``."""
        regular = range(0, self.steps + 1, self.checkpoint_every)
        return tuple(sorted({*regular, *self.early_checkpoints}))

"""A decoder that counts its forward passes; it computes what any decoder does."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from circuit.model.passes import Passes
from circuit.model.tap import Tap
from circuit.model.transformer import Decoder, Params, layers_after


class CountingDecoder(Decoder):
    """The same model as ``decoder``; ``passes`` says what was run through it since it was made."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder.settings, decoder.vocab_size)
        self.passes = Passes()

    def onward(
        self,
        params: Params,
        stage: str,
        x: Float[Tensor, "B T d"],
        tap: Tap | None = None,
        at: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B S d"]:
        """As in :meth:`Decoder.onward`, which every pass goes through."""
        if stage == "embedding":
            self.passes.whole += 1
            self.passes.programs += len(x)
        else:
            self.passes.continued += 1
        self.passes.program_layers += len(x) * layers_after(stage, self.settings.n_layers)
        return super().onward(params, stage, x, tap, at)

"""Counting forward passes, which are what looking at a checkpoint costs. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Passes:
    """What a decoder ran: whole passes, passes continued from a stage, programs and layers.

    A *pass* is one call over a batch of programs. ``program_layers`` counts programs × layers, the
    unit in which a whole and a continued pass compare: a pass that continues after layer l of L
    costs (L − l) / L of a whole one, or less where the last layer answers for one position only.

    Attributes:
        whole: calls from the tokens on.
        continued: calls from a later stage on.
        programs: programs of whole passes.
        program_layers: layers run, times the programs they ran on; half a layer where only its
            MLP ran.
    """

    whole: int = 0
    continued: int = 0
    programs: int = 0
    program_layers: float = 0.0

    def equivalent(self, programs: int, n_layers: int) -> float:
        """Whole passes over ``programs`` programs that would run as many layers."""
        return self.program_layers / (programs * n_layers)

"""How many forward passes an analysis made, as a number of its report."""

from __future__ import annotations

from circuit.model.passes import Passes
from circuit.reports.document import Number


def passes_number(passes: Passes, programs: int, n_layers: int) -> Number:
    """Whole-pass equivalents, with the calls they came from.

    Args:
        programs: size of the batch that counts as one pass, such as the number of probe events.
    """
    return Number(
        "forward passes",
        passes.equivalent(programs, n_layers),
        "1",
        note=f"in whole passes over {programs:,} program{'s' if programs > 1 else ''}: "
        f"{passes.whole:,} calls from the tokens on, {passes.continued:,} continued from a later "
        "stage",
    )

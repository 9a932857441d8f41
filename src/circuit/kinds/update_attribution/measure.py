"""Growth of scalars by update component and parameter group, gathered from the window's jobs."""

from __future__ import annotations

from circuit.attribution.window import Window
from circuit.kinds.attributed import asked, attribution_tables
from circuit.kinds.update_attribution.settings import Settings
from circuit.measuring import Job, Measured


def measure(job: Job[Settings]) -> Measured:
    """Estimates of the window, of its intervals and of its largest parameter groups."""
    window = Window(job.given, job.facts.analysis, job.settings, job.window, job.heads)
    return Measured(
        attribution_tables(window, window.sums(), window.intervals()),
        facts={"asked": asked(job.settings.scalars)},
    )

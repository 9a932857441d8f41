"""Refusing settings of a scalar that have no meaning, in the words that all scalars share."""

from __future__ import annotations

from circuit.config.scalar import ScalarSettings
from circuit.errors import AnalysisError
from circuit.task.events import ReadEvents


def refusal(scalar: str, problem: str, expected: str, do: str) -> AnalysisError:
    """The error of a scalar's settings."""
    what = f"scalar {scalar} {problem}"
    return AnalysisError(what, where="scalar settings", expected=expected, do=do)


def require_given(settings: ScalarSettings, *fields: str) -> None:
    """Refuse (AnalysisError) settings that leave open what the scalar cannot do without."""
    missing = [field for field in fields if getattr(settings, field) is None]
    if missing:
        names = " and ".join(missing)
        every = " and ".join(filter(None, (", ".join(fields[:-1]), fields[-1])))
        raise refusal(settings.scalar, f"needs {names}", every, f"add {names}")


def require_checkpoint(settings: ScalarSettings, held: str) -> None:
    """Refuse (AnalysisError) a basis that moves, where ``held`` is that of one checkpoint."""
    if settings.basis in ("own", "source"):
        raise refusal(
            settings.scalar,
            f"takes no basis {settings.basis}",
            f"final or a checkpoint step, whose {held} is held fixed",
            "choose a checkpoint, or leave basis out",
        )


def require_role(scalar: str, role: str, events: ReadEvents) -> None:
    """Refuse (AnalysisError) a role that some event does not have."""
    if not events.role_mask(role).any(-1).all():
        expected = "a role that every event has"
        raise refusal(scalar, f"finds no {role} in some events", expected, "choose another role")

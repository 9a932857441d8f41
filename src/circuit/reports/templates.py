"""Templates of titles, captions and sentences: texts with fields in braces.

Whole numbers get thousands separators, lists commas, and names from code such as ``runner_up`` are
written as people write them with the format ``words``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from circuit.errors import AnalysisError


def fill(template: str, known: Mapping[str, Any]) -> str:
    """A template with its fields filled in.

    Raises:
        AnalysisError: it names a field that there is not.
    """
    try:
        return template.format_map({name: _spoken(value) for name, value in known.items()})
    except (KeyError, AttributeError, IndexError, TypeError) as error:
        facts = known.get("facts", {})
        raise AnalysisError(
            f"nothing is called {error.args[0] if error.args else error!r}",
            where=template,
            expected=f"one of {', '.join(map(str, known))}; of facts: {', '.join(facts)}",
            do="correct the words in the kind's view.py, or let its measuring say it",
        ) from None


class _Words(str):
    """A text that the format ``words`` writes as people do."""

    def __format__(self, spec: str) -> str:
        return self.replace("_", " ") if spec == "words" else super().__format__(spec)


class _Whole(int):
    """A whole number with thousands separators."""

    def __format__(self, spec: str) -> str:
        return super().__format__(spec or ",")


class _Several(list[Any]):
    """Several values, separated by commas."""

    def __format__(self, spec: str) -> str:
        return ", ".join(format(value, spec) for value in self)


def _spoken(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _spoken(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return _Several(_spoken(one) for one in value)
    if isinstance(value, str):
        return _Words(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return value
    return _Whole(value)

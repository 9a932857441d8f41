"""The single tap through which the forward pass hands every named site.

Capture, ablation, patching, subspace edits, freezing and gradients at a site are all a tap: a set
of sites to keep and a list of edits per site. The forward pass asks ``wants(site)`` first, so a
site nobody asked for is never materialised (a fused attention kernel runs when neither scores nor
pattern is wanted), and with no tap at all nothing is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor

Edit = Callable[[Tensor], Tensor]


class StopForwardError(Exception):
    """Raised by a tap at its last site, caught by the forward pass: nothing later is needed."""


class Tap:
    """Capture sites and apply edits during one forward pass.

    A tap may serve several passes, one after another; :attr:`cache` then holds the latest.

    Args:
        capture: canonical site names to keep in :attr:`cache` (after edits).
        edits: per site, functions applied in order; each maps the site's tensor to one of the same
            shape.
        stop: end the forward pass once every wanted site was met. Only for callers that do not
            need logits.
    """

    def __init__(
        self,
        capture: Iterable[str] = (),
        edits: Mapping[str, Sequence[Edit]] | None = None,
        stop: bool = False,
    ) -> None:
        self.capture = frozenset(capture)
        self.edits = dict(edits or {})
        self.cache: dict[str, Tensor] = {}
        self.wanted: frozenset[str] = self.capture | self.edits.keys()
        self._remaining = set(self.wanted) if stop else None

    def wants(self, *sites: str) -> bool:
        """Whether any of these sites is captured or edited."""
        return any(site in self.wanted for site in sites)

    def __call__(self, site: str, value: Tensor) -> Tensor:
        """Pass a site's tensor: edit it, keep it if asked, return what the model goes on with."""
        if site not in self.wanted:
            return value
        for edit in self.edits.get(site, ()):
            value = edit(value)
        if site in self.capture:
            self.cache[site] = value
        if self._remaining is not None:
            self._remaining.discard(site)
            if not self._remaining:
                self._remaining = set(self.wanted)  # the next pass meets all of them again
                raise StopForwardError
        return value


class NoTap(Tap):
    """The tap of a plain forward pass: wants nothing."""

    def __init__(self) -> None:
        super().__init__()

    def wants(self, *sites: str) -> bool:
        """Always false."""
        return False

    def __call__(self, site: str, value: Tensor) -> Tensor:
        """Return the tensor unchanged."""
        return value

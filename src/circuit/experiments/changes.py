"""Edits: what an intervention does to a site's tensor, as functions for a tap.

1. A *change* maps a site's tensor to the tensor that would replace it: all zeros, another tensor,
   the same tensor without a subspace. It knows nothing of positions or heads.
2. A :class:`Where` says which entries of one site a change reaches: all, or those of some
   positions, heads and attended keys.
3. An *edit* is a change where it reaches and the original elsewhere, and :func:`edits` lists
   edits by site, as a tap wants them::

       damaged = Where("layer_1_z", events.role_mask("prediction"), heads=(3,))
       tap = Tap(edits=edits((damaged, zero()), (Where("layer_1_ln2_scale"), freeze(scale))))

Nothing is changed in place, and everything is differentiable in the original, in the parameters
behind it and in a source that is part of a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replace_fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuit.errors import AnalysisError, MismatchError
from circuit.model.sites import site_axes
from circuit.model.tap import Edit

Change = Callable[[Tensor], Tensor]

_NOTHING = torch.zeros(())
_ORTHONORMAL = 1e-4  # far above float32's rounding, far below any basis that was never one


@dataclass(frozen=True, eq=False)
class Where:
    """The entries of one site that a change reaches; None stands for all of an axis.

    At ``scores`` and ``pattern`` the positions are those of queries and ``keys`` are the attended
    ones; ``entries`` are those of a vector, such as neurons. Entries of the future (keys after
    their query) are never reached, so no edit can break causality there.

    Raises:
        AnalysisError: the site does not exist, or has no heads, keys or entries although some are
            given.
    """

    site: str
    positions: Bool[Tensor, "B T"] | None = None
    heads: tuple[int, ...] | None = None
    keys: Bool[Tensor, "B T"] | None = None
    entries: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        axes = site_axes(self.site)
        for field, axis in (("heads", "head"), ("keys", "key_position"), ("entries", "vector")):
            if getattr(self, field) is not None and axis not in axes:
                raise AnalysisError(
                    f"{field} are given, but the site has no axis for them",
                    where=f"an edit at {self.site!r}",
                    expected=f"a site with an axis {axis!r}; this one has {', '.join(axes)}",
                    do=f"leave {field} out, or edit another site",
                )

    def at(self, positions: Bool[Tensor, "B T"]) -> Where:
        """The same at some positions."""
        return replace_fields(self, positions=positions)

    def mask(self, value: Tensor) -> Bool[Tensor, "..."]:
        """Which entries are reached, broadcastable to the site's tensor ``value``.

        Raises:
            MismatchError: a mask is not boolean, or not of the tensor's batch and length.
            AnalysisError: a head or an entry does not exist.
        """
        axes = site_axes(self.site)
        mask = torch.ones([1] * value.ndim, dtype=torch.bool, device=value.device)
        if self.positions is not None:
            mask = mask & self._along(("program", "position"), self.positions, value)
        if self.keys is not None:
            mask = mask & self._along(("program", "key_position"), self.keys, value)
        for what, axis, some in (
            ("head", "head", self.heads),
            ("entry", "vector", self.entries),
        ):
            if some is None:
                continue
            count = value.shape[axes.index(axis)]
            for one in some:
                if not 0 <= one < count:
                    raise AnalysisError(
                        f"{what} {one} does not exist",
                        where=f"an edit at {self.site!r}",
                        expected=f"0 to {count - 1}",
                        do=f"name an existing {what}",
                    )
            chosen = torch.zeros(count, dtype=torch.bool)
            chosen[list(some)] = True
            mask = mask & self._along((axis,), chosen, value)
        if "key_position" in axes:
            mask = mask & torch.ones(value.shape[-2:], dtype=torch.bool, device=value.device).tril()
        return mask

    def _along(self, names: tuple[str, ...], mask: Tensor, value: Tensor) -> Bool[Tensor, "..."]:
        """Give a mask whose axes are ``names`` the axes of the site's tensor, 1 for the others."""
        axes = site_axes(self.site)
        extent = tuple(value.shape[axes.index(name)] for name in names)
        if mask.dtype != torch.bool or mask.shape != extent:
            raise MismatchError(
                f"a mask over {' and '.join(names)} of shape {list(mask.shape)}, {mask.dtype}",
                where=f"an edit at {self.site!r}",
                expected=f"shape {list(extent)}, torch.bool",
                do="make the mask from the events that the forward pass is given",
            )
        shape = [size if axis in names else 1 for axis, size in zip(axes, value.shape, strict=True)]
        return mask.to(value.device).view(shape)


def edit(where: Where, change: Change) -> Edit:
    """The edit that makes a change at some entries and leaves the others alone."""

    def apply(value: Tensor) -> Tensor:
        return torch.where(where.mask(value), change(value), value)

    return apply


def edits(*pairs: tuple[Where, Change]) -> dict[str, list[Edit]]:
    """Edits by site, for ``Tap(edits=...)``; those of one site apply in the order given."""
    by_site: dict[str, list[Edit]] = {}
    for where, change in pairs:
        by_site.setdefault(where.site, []).append(edit(where, change))
    return by_site


def replace(source: Float[Tensor, "..."], within: Float[Tensor, "d r"] | None = None) -> Change:
    """Replace by another tensor or, with an orthonormal basis, by the part of it in its subspace.

    Gradients flow into ``source`` where it is part of a graph; detach it to hold it constant. It is
    broadcastable to the site's tensor, whose dtype and device the result has.

    Raises:
        MismatchError: at once, if the basis is not orthonormal; when applied, if shapes differ.
    """
    if within is None:
        return lambda value: _like(source, value)
    project = keep(within)
    return lambda value: value + project(_like(source, value) - value)


# Four experiments, one change: what differs is where the source comes from.
mean = resample = patch = freeze = replace


def zero() -> Change:
    """Replace by zeros."""
    return torch.zeros_like


def add(direction: Float[Tensor, "..."]) -> Change:
    """Add a tensor that is broadcastable to the site's."""
    return lambda value: value + _like(direction, value)


def remove(basis: Float[Tensor, "d r"], about: Float[Tensor, "..."] = _NOTHING) -> Change:
    """Remove what lies in a subspace of the site's last axis, given by an orthonormal basis.

    What is removed is the deviation from ``about`` (such as the split's mean, or nothing).
    """
    return replace(about, within=basis)


def keep(basis: Float[Tensor, "d r"], about: Float[Tensor, "..."] = _NOTHING) -> Change:
    """Keep only what lies in a subspace of the site's last axis: project it orthogonally.

    What is projected is the deviation from ``about``, to which it is added again.

    Raises:
        MismatchError: at once, if the basis is not orthonormal; when applied, if shapes differ.
    """
    gram = basis.detach().T @ basis.detach()
    error = (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).norm()
    if not error < _ORTHONORMAL:
        raise MismatchError(
            f"the columns of a basis {list(basis.shape)} are not orthonormal",
            where="a subspace edit",
            expected=f"BᵀB within {_ORTHONORMAL:g} of the identity, found {float(error):.2g}",
            do="take an orthonormal basis, such as singular vectors or torch.linalg.qr(basis).Q",
        )

    def project(value: Tensor) -> Tensor:
        if value.shape[-1] != len(basis):
            raise MismatchError(
                f"a basis of vectors of length {len(basis)}",
                where="a subspace edit",
                expected=f"length {value.shape[-1]}, the last axis of a site {list(value.shape)}",
                do="take a basis of the space that this site lies in",
            )
        columns, start = basis.to(value), _like(about, value)
        return start + ((value - start) @ columns) @ columns.T

    return project


def _like(source: Tensor, value: Tensor) -> Tensor:
    """``source`` with the shape, dtype and device of ``value``."""
    try:
        return source.to(value).expand_as(value)
    except RuntimeError as error:
        raise MismatchError(
            f"a tensor {list(source.shape)} in place of a site {list(value.shape)}",
            where="an edit",
            expected="a shape that broadcasts to the site's",
            do="take a source from the same site, and from streams of the same length",
        ) from error

"""Edits as data: what is changed, where, and from which stage on a pass differs from the clean one.

====================  ============================================================  ==============
edit                  in the clean pass's place                                     run on from
====================  ============================================================  ==============
:class:`Removed`      no write of a component, or its mean write                    the stage after
:class:`NoEmbedding`  no embeddings, or their mean                                  the embedding
:class:`Patched`      states of another pass at a stage and role                    the stage
:class:`Weights`      another state's parameters in one group                       the last stage
                                                                                    before the group
:class:`AtSites`      any changes of any sites (:mod:`circuit.experiments.changes`) the stage before
====================  ============================================================  ==============

What lies before the stage is the clean pass's and is not run again. Edits that leave the parameters
alone and change nothing behind the stage but its states go on together as one batch
(:mod:`circuit.experiments.trial`); where nobody reads inside the attention or MLP that they begin
in, that is carried out first. Each gives what a tap that edits the site would give, and ``Removed``
with ``zero`` and ``Weights`` what a model with such weights would.

Two states of one run share a layout, so one *receives* a parameter group's entries of the other,
the *donor*. The control, a *shuffled change*, moves every atom (one head's projection, a neuron, a
token) as far as between the two states, but in a direction drawn at random.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.experiments.changes import Change, Where, edits, resample
from circuit.experiments.donors import of_other_events
from circuit.model.layout import Layout
from circuit.model.sites import parse_component, parse_neuron, sites, stages
from circuit.model.tap import Edit as TapEdit
from circuit.scalars.base import Seen, look_on
from circuit.scalars.write import Baseline, removed_write, stage_after
from circuit.task.events import ReadEvents


class Edit(ABC):
    """One change of a clean pass."""

    @abstractmethod
    def stage(self, settings: ModelSettings) -> str | None:
        """The stage at which the pass goes on with other states or parameters; None: all of it."""

    def stream(self, clean: Seen, stage: str) -> Float[Tensor, "E T d"]:
        """The states at that stage."""
        return clean.sites[stage]

    def theta(self) -> Float[Tensor, " P"] | None:
        """The parameters that it goes on with; None: the clean pass's."""
        return None

    def inside(self, settings: ModelSettings) -> Mapping[str, Sequence[TapEdit]]:
        """What a tap changes behind the stage."""
        return {}

    def batched(self, settings: ModelSettings) -> bool:
        """Whether its states at the stage are all that differs."""
        return not self.inside(settings)

    def past_block(self, settings: ModelSettings) -> Edit:
        """The same for whoever reads the answer alone: what its first block does is a state."""
        return self


@dataclass(frozen=True, eq=False)
class Removed(Edit):
    """The write of a head or MLP (``L1H3``, ``L0MLP``), taken out of the stream right after it.

    ``zero`` takes it away, ``mean`` puts its mean over all positions of all events in its place;
    at some positions, or (None) at all.
    """

    component: str
    baseline: Baseline = "zero"
    positions: Bool[Tensor, "E T"] | None = None

    def stage(self, settings: ModelSettings) -> str:
        """The stage after the component, which must exist."""
        return stage_after(self.component, settings)

    def stream(self, clean: Seen, stage: str) -> Float[Tensor, "E T d"]:
        """The clean states less the write."""
        removed = removed_write(clean, self.component, self.baseline, self.positions)
        return clean.sites[stage] - removed


@dataclass(frozen=True, eq=False)
class NoEmbedding(Edit):
    """Token and position embeddings replaced, by their mean over all positions or by nothing."""

    baseline: Baseline

    def stage(self, settings: ModelSettings) -> str:
        """The stream's beginning."""
        return "embedding"

    def stream(self, clean: Seen, stage: str) -> Float[Tensor, "E T d"]:
        """The same state at every position."""
        states = clean.sites[stage]
        mean = states[clean.events.causal_prefix].mean(0)
        return (mean if self.baseline == "mean" else torch.zeros_like(mean)).expand_as(states)


@dataclass(frozen=True, eq=False)
class Patched(Edit):
    """Other states at one stage, at a role's positions: of another checkpoint, or another event."""

    at: str
    states: Float[Tensor, "E T d"]
    role: str

    def stage(self, settings: ModelSettings) -> str:
        """The stage that is patched."""
        return self.at

    def stream(self, clean: Seen, stage: str) -> Float[Tensor, "E T d"]:
        """The other states at the role's positions, the clean ones elsewhere."""
        own = clean.sites[stage]
        here = clean.events.role_mask(self.role)[..., None]
        return torch.where(here, self.states.to(own), own)

    def of_other_events(self, events: ReadEvents) -> Patched:
        """Its control: each event takes the next one's states."""
        return replace(self, states=of_other_events(self.states, events, self.role))


class WeightPart(NamedTuple):
    """A parameter group, and the last stage before it: None where it is the embedding itself."""

    grouping: str
    group: str
    atoms: Bool[np.ndarray, " A"]
    stage: str | None


@dataclass(frozen=True, eq=False)
class Weights(Edit):
    """Another state's parameters in one group, in the vector of the clean pass, the receiver."""

    layout: Layout
    part: WeightPart
    receiver: Float[Tensor, " P"]
    donor: Float[Tensor, " P"]

    def stage(self, settings: ModelSettings) -> str | None:
        """The last stage that the group has no part in."""
        return self.part.stage

    def theta(self) -> Float[Tensor, " P"]:
        """The mixed vector."""
        return with_part(self.layout, self.receiver, self.donor, self.part.atoms)

    def batched(self, settings: ModelSettings) -> bool:
        """Never: each has parameters of its own."""
        return False


@dataclass(frozen=True, eq=False)
class AtSites(Edit):
    """Changes of any sites in one pass, each where it reaches.

    ``through`` is a stage up to which they are carried out before the pass goes on; None: only at
    the stage where it begins.
    """

    changes: tuple[tuple[Where, Change], ...]
    through: str | None = None

    def _begin(self, settings: ModelSettings) -> str:
        """The first site itself if it is a stage, or else the last stage before it."""
        order = sites(settings.n_layers)
        first = min(order.index(where.site) for where, _ in self.changes)
        every = stages(settings.n_layers)
        return next(site for site in reversed(order[: first + 1]) if site in every)

    def stage(self, settings: ModelSettings) -> str:
        """Where it begins, or what it is carried out ``through``."""
        return self.through or self._begin(settings)

    def past_block(self, settings: ModelSettings) -> AtSites:
        """Carried out through the attention or MLP that it begins in, if it does in one."""
        begin, every = self._begin(settings), stages(settings.n_layers)
        end = every[min(every.index(begin) + 1, len(every) - 1)]
        stays = end == "final_norm" or any(where.site == begin for where, _ in self.changes)
        return self if stays else replace(self, through=end)

    def stream(self, clean: Seen, stage: str) -> Float[Tensor, "E T d"]:
        """The clean states, changed if the first site is the stage or lies before it."""
        begin = self._begin(clean.decoder.settings)
        inside, x = self._edits(clean.decoder.settings, before=True), clean.sites[begin]
        if begin != stage:
            return look_on(clean, begin, x, frozenset({stage}), edits=inside)[stage]
        for change in inside.get(stage, ()):
            x = change(x)
        return x

    def inside(self, settings: ModelSettings) -> Mapping[str, Sequence[TapEdit]]:
        """All changes but those that the states at the stage hold already."""
        return self._edits(settings, before=False)

    def _edits(self, settings: ModelSettings, before: bool) -> dict[str, list[TapEdit]]:
        """Changes up to the stage, or those behind it."""
        order = sites(settings.n_layers)
        reached = order[: order.index(self.stage(settings)) + 1]
        found = edits(*self.changes)
        return {site: chain for site, chain in found.items() if (site in reached) == before}


def components(settings: ModelSettings) -> tuple[str, ...]:
    """Every head and MLP, in the order in which the model meets them."""
    return tuple(
        name
        for layer in range(settings.n_layers)
        for name in (*(f"L{layer}H{h}" for h in range(settings.n_heads)), f"L{layer}MLP")
    )


def write_places(members: Iterable[str], settings: ModelSettings) -> tuple[Where, ...]:
    """Where heads (``z``), MLPs (their write) and neurons (their activation) can be replaced.

    Those of one site are together.

    Raises:
        AnalysisError: one of them does not exist.
    """
    heads: dict[int, list[int]] = {}
    neurons: dict[int, list[int]] = {}
    found = []
    for name in members:
        if "N" in name:
            layer, neuron = parse_neuron(name, settings)
            neurons.setdefault(layer, []).append(neuron)
            continue
        layer, head = parse_component(name, settings)
        if head is None:
            found.append(Where(f"layer_{layer}_mlp_write"))
        else:
            heads.setdefault(layer, []).append(head)
    found += [Where(f"layer_{at}_z", heads=tuple(some)) for at, some in heads.items()]
    found += [Where(f"layer_{at}_neurons", entries=tuple(some)) for at, some in neurons.items()]
    return tuple(found)


def replaced(places: Iterable[Where], states: Mapping[str, Tensor]) -> AtSites:
    """Other states in what is written at some places; ``states`` are whole sites, by name."""
    return AtSites(tuple((where, resample(states[where.site])) for where in places))


def removal_sites(n_layers: int) -> frozenset[str]:
    """What a clean pass must leave for :class:`Removed`."""
    names = ("z", "post_attn", "mlp_write", "post_mlp")
    return frozenset(f"layer_{layer}_{name}" for layer in range(n_layers) for name in names)


def weight_parts(layout: Layout, groupings: Iterable[str]) -> list[WeightPart]:
    """Every group of every grouping, the groups in the order of their first atom."""
    parts = []
    order = [None, *stages(layout.settings.n_layers)]
    before = layout.atoms["parameter"].map(lambda name: order.index(_stage_before(name, layout)))
    for grouping in groupings:
        labels = layout.groups(grouping)
        for group in dict.fromkeys(labels):
            atoms = (labels == group).to_numpy()
            stage = order[int(before[atoms].min())]
            parts.append(WeightPart(grouping, str(group), atoms, stage))
    return parts


def with_part(
    layout: Layout,
    receiver: Float[Tensor, " P"],
    donor: Float[Tensor, " P"],
    atoms: Bool[np.ndarray, " A"],
) -> Float[Tensor, " P"]:
    """The receiver's vector with the donor's entries in some atoms."""
    inside = torch.from_numpy(atoms.copy()).repeat_interleave(_sizes(layout))
    return torch.where(inside, donor, receiver)


def shuffled_change(
    layout: Layout, receiver: Float[Tensor, " P"], donor: Float[Tensor, " P"], seed: int
) -> Float[Tensor, " P"]:
    """The receiver, with the entries of its change to the donor shuffled inside every atom."""
    sizes = _sizes(layout)
    atom = torch.arange(len(sizes)).repeat_interleave(sizes).double()
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(layout.size, generator=generator, dtype=torch.float64)
    return receiver + (donor - receiver)[(atom + place).argsort()]


def _sizes(layout: Layout) -> Int[Tensor, " A"]:
    """Parameters of every atom."""
    return torch.from_numpy(layout.atoms["size"].to_numpy(copy=True))


def _stage_before(parameter: str, layout: Layout) -> str | None:
    """The last stage that a parameter has no part in."""
    block, _, rest = parameter.partition(".")
    if block == "embedding":
        return None
    if block == "final_norm":
        return f"layer_{layout.settings.n_layers - 1}_post_mlp"
    if rest.startswith(("ln2", "mlp")):
        return f"{block}_post_attn"
    layer = int(block.removeprefix("layer_"))
    return f"layer_{layer - 1}_post_mlp" if layer else "embedding"

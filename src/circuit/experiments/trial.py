"""The experiment engine: edits × scalars × events, each beside its controls, from one clean pass.

1. A :class:`Trial` holds one clean pass over the events. Edits take from it what they change and
   where they go on (:mod:`circuit.experiments.edits`).
2. Consecutive edits that go on from the same stage with the same parameters are batches, whose
   states are bounded (``_TOGETHER``). Programs of like length may go on together, each part as wide
   as its longest program: padding costs as programs do.
3. A *control* turns every edit into one that should do less: another event's states, a change of
   the same size in a random direction. It is run over the same batches.
4. Scalars read the edited pass as they read any pass. Where all of them read the answer alone
   (``final_norm``, and its scale), the last layer runs for the prediction position only, and edits
   inside one attention or MLP are carried out there first, so that they are batches, too.

So an experiment is a list of edits and a list of scalars::

    trial = Trial.of(decoder, theta, events, value_ids, removal_sites(n_layers))
    removed = {name: Removed(name, "mean") for name in components(decoder.settings)}
    margins = trial.run(removed, {"answer_margin": answer_margin(None)})

How a batch is composed shows in the last digits of a float32 result, so it is part of an
experiment's definition: the order of its edits, and ``parts``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.experiments.edits import Edit
from circuit.model.sites import site_axes, stages
from circuit.model.sites import sites as all_sites
from circuit.model.tap import Edit as TapEdit
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar, Seen, answering, look, look_on, pick
from circuit.task.events import ReadEvents

LIKE_LENGTHS = 8
"""Parts of events of like length: 2.2 times faster at reference size than all at once."""
ANSWER = frozenset({"final_norm"})
_READ = ANSWER | {"final_norm_scale"}
READOUT = "the readout"
"""What the key ``by_construction`` says where :func:`is_readout`."""
_TOGETHER = 2**23
"""Numbers in the states that go on as one batch: at most 64 MB of them in float64."""
Label = TypeVar("Label", bound=Hashable)
Edits = TypeVar("Edits", bound=Edit)
Values = dict[str, Float[np.ndarray, " E"]]


def is_readout(
    site: str, role: str, shape: ModelSettings, behind: Literal["attention", "MLP"] = "attention"
) -> bool:
    """Whether a site is a stage of which the answer reads the role and nothing else.

    Behind the last attention it reads the prediction position (``query_key`` is the same) alone, so
    what takes the value out of that state must do harm. ``behind`` the last MLP the state is the
    answer itself, and the unembedding's rows are identities of values.
    """
    last = {"attention": -3, "MLP": -2}[behind]
    read = role in ("prediction", "query_key", "causal_prefix")
    return read and site in stages(shape.n_layers)[last:]


def less(one: Values, other: Values) -> Values:
    """The scalars of one pass minus those of another."""
    return {name: values - other[name] for name, values in one.items()}


@dataclass(frozen=True, eq=False)
class Trial:
    """Edits of one clean pass, which has the sites that edits and scalars read, those of every
    stage at which an edit goes on among them. ``parts`` of events of like length run one after
    another; 1 runs all events as they are.
    """

    clean: Seen
    parts: int = 1

    @classmethod
    def of(
        cls,
        decoder: Decoder,
        theta: Float[Tensor, " P"],
        events: ReadEvents,
        value_ids: range,
        sites: Iterable[str],
        parts: int = 1,
    ) -> Trial:
        """Make the clean pass, which leaves ``sites`` and the answer."""
        with torch.no_grad():
            clean = look(decoder, theta.detach(), events, value_ids, ANSWER.union(sites))
        return cls(clean, parts)

    def unedited(self, scalars: Mapping[str, Scalar]) -> Values:
        """Every scalar's values in the clean pass."""
        return values_of(self.clean, scalars)

    def run(
        self,
        edits: Mapping[Label, Edits],
        scalars: Mapping[str, Scalar],
        controls: Mapping[str, Callable[[Edits], Edit]] | None = None,
    ) -> dict[tuple[Label, str], Values]:
        """Every scalar's values under every edit, by the edit's label and ``""`` or its control.

        Edits run in their order; neighbours of one stage share a batch. Each is repeated as its
        controls.
        """
        sites = frozenset().union(*(scalar.sites for scalar in scalars.values()))
        return {
            (label, control): values_of(seen, scalars)
            for label, control, seen in self.passes(edits, sites, controls)
        }

    @torch.no_grad()
    def passes(
        self,
        edits: Mapping[Label, Edits],
        sites: frozenset[str] = ANSWER,
        controls: Mapping[str, Callable[[Edits], Edit]] | None = None,
    ) -> Iterator[tuple[Label, str, Seen]]:
        """Label, ``""`` or a control's name, and what the edited pass leaves.

        A site that lies before the stage from which a pass differs is the clean pass's.
        """
        shape, events = self.clean.decoder.settings, self.clean.events

        def short(edit: Edit) -> Edit:
            return edit.past_block(shape) if sites <= _READ else edit

        def together(item: tuple[Label, Edits]) -> tuple[str | None, Label | None]:
            label, edit = item[0], short(item[1])
            return edit.stage(shape), None if edit.batched(shape) else label

        most = max(1, _TOGETHER // (events.tokens.numel() * shape.d_model))
        for _, group in groupby(edits.items(), together):
            every = list(group)
            for members in (every[at : at + most] for at in range(0, len(every), most)):
                versions = {"": [short(edit) for _, edit in members]}
                for name, control in (controls or {}).items():
                    versions[name] = [short(control(edit)) for _, edit in members]
                for name, version in versions.items():
                    found = self._batch(version, sites)
                    for (label, _), seen in zip(members, found, strict=True):
                        yield label, name, seen

    def _batch(self, edits: Sequence[Edit], sites: frozenset[str]) -> Iterator[Seen]:
        """What passes leave that differ from the same stage on."""
        clean, decoder, theta = self.clean, self.clean.decoder, edits[0].theta()
        stage = edits[0].stage(decoder.settings)
        if stage is None:
            assert theta is not None
            yield look(decoder, theta, clean.events, clean.value_ids, sites)
            return
        seen = (
            clean if theta is None else clean._replace(params=decoder.layout.views(theta), known={})
        )
        inside = edits[0].inside(decoder.settings)
        if sites <= (ANSWER if stage == "final_norm" else _READ):
            streams = torch.stack([edit.stream(clean, stage) for edit in edits])
            left = self._answers(seen, stage, streams, sites, inside)
            for at in range(len(edits)):
                yield answering(seen, **{site: states[at] for site, states in left.items()})
            return
        order = all_sites(decoder.settings.n_layers)
        behind = sites & set(order[order.index(stage) :])
        for edit in edits:
            x = edit.stream(clean, stage)
            found = {stage: x}
            if later := behind - {stage}:
                found |= look_on(seen, stage, x, later, edits=inside)
            before = {site: clean.sites[site] for site in sites - behind}
            both = before | {site: found[site] for site in behind}
            yield seen._replace(sites=both, known={})

    def _answers(
        self,
        seen: Seen,
        stage: str,
        streams: Float[Tensor, "R E T d"],
        sites: frozenset[str],
        inside: Mapping[str, Sequence[TapEdit]],
    ) -> dict[str, Float[Tensor, "R E d"]]:
        """Sites behind all layers at the prediction position when passes go on from a stage.

        With edits ``inside`` it is one pass, of all events as they are.
        """
        count, events = len(streams), seen.events
        if stage == "final_norm":
            return {stage: torch.stack([pick(states, events.prediction) for states in streams])}
        whole = self.parts == 1 or bool(inside)
        narrow = {
            site: [partial(_at_prediction, edit, site, events) for edit in chain]
            for site, chain in inside.items()
        }
        order = torch.arange(len(events)) if whole else events.length.argsort()
        parts = []
        for chosen in order.chunk(1 if whole else self.parts):
            width = events.tokens.shape[1] if whole else int(events.length[chosen].max())
            x, at = streams[:, chosen, :width].flatten(0, 1), events.prediction[chosen]
            parts.append(look_on(seen, stage, x, sites, at.repeat(count), narrow))
        back = order.argsort()
        return {
            site: torch.cat([p[site].view(count, -1, p[site].shape[-1]) for p in parts], 1)[:, back]
            for site in sites
        }


def _at_prediction(edit: TapEdit, site: str, events: ReadEvents, value: Tensor) -> Tensor:
    """An edit of all positions where the last layer has that of the prediction alone."""
    axis, length = site_axes(site).index("position"), events.tokens.shape[1]
    if value.shape[axis] == length:
        return edit(value)
    every = edit(value.movedim(axis, -1).expand(*[-1] * (value.ndim - 1), length).movedim(-1, axis))
    return pick(every.movedim(axis, 1), events.prediction)[:, None].movedim(1, axis)


def values_of(seen: Seen, scalars: Mapping[str, Scalar]) -> Values:
    """Every scalar's values in a pass."""
    return {name: scalar(seen).double().numpy() for name, scalar in scalars.items()}

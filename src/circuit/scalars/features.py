"""Dictionaries of features, and how active chosen features of one are.

1. A *dictionary* names F directions of a state x of width d. Feature i's *drive* is

       (x - b_dec) · W_enc[:, i] + b_enc[i]

   and its activation f_i the drive where the feature fires, else 0: where the drive exceeds 0
   (``standard``; Bricken et al. 2023), is above 0 and among the ``k`` largest (``topk``; Gao et al.
   2024), or exceeds 0 and the feature's ``threshold`` (``jumprelu``; Rajamanoharan et al. 2024).
   The state is put together again as f @ W_dec + b_dec. A dictionary is fixed; what moves with θ is
   the state. Files: :mod:`circuit.scalars.dictionary_files`.
2. ``feature_score`` is the mean activation of chosen features at a role, larger where they fire
   more. It has kinks where a feature begins or ceases to fire; over an interval the features that
   fired at its start are held (:class:`circuit.scalars.base.Branched`).
3. ``feature_drive`` is their mean pre-activation, larger where they are closer to firing. It is
   affine in the state, so the drives of all features of a dictionary at a role follow from one
   product, which the scalars that share a pass share.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.config.scalar import EVERY, ScalarSettings
from circuit.errors import AnalysisError, MismatchError, nearest
from circuit.model.sites import state_site
from circuit.scalars.base import Measure, Seen, masked_mean
from circuit.scalars.options import refusal, require_given, require_role
from circuit.task.events import ReadEvents


@dataclass(frozen=True, eq=False)
class Dictionary:
    """F features of the states of width d at ``stage``; activations are in units of its own.

    With a ``threshold`` it is a jumprelu, with ``k`` a topk one, else standard. ``scale`` is the
    number by which states were divided for its fit: the tensors here read and write states as they
    are. ``families`` are numbers of features by the name of what they fire on; ``made`` tells how
    it was made.
    """

    W_enc: Float[Tensor, "d F"]
    b_enc: Float[Tensor, " F"]
    W_dec: Float[Tensor, "F d"]
    b_dec: Float[Tensor, " d"]
    stage: str
    families: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    made: Mapping[str, object] = field(default_factory=dict)
    threshold: Float[Tensor, " F"] | None = None
    k: int | None = None
    scale: float = 1.0

    @property
    def width(self) -> int:
        return self.W_enc.shape[0]

    @property
    def size(self) -> int:
        return self.W_enc.shape[1]

    @property
    def architecture(self) -> str:
        """By which rule features fire, as SAELens calls it."""
        if self.threshold is not None:
            return "jumprelu"
        return "standard" if self.k is None else "topk"

    def encode(
        self, x: Float[Tensor, "... d"], features: Sequence[int] | None = None
    ) -> Float[Tensor, "... k"]:
        """Activations of the features given, or of all, in the precision of ``x``."""
        chosen = slice(None) if features is None else torch.as_tensor(features)
        if self.k is not None:
            drive = self.drive(x)
            largest = drive.topk(min(self.k, self.size), dim=-1).indices
            active = torch.zeros_like(drive).scatter(-1, largest, drive.gather(-1, largest).relu())
            return active[..., chosen]
        drive = self.drive(x, features)
        if self.threshold is None:
            return drive.relu()
        return torch.where(drive > self.threshold[chosen].clamp(min=0).to(drive), drive, 0)

    def drive(
        self, x: Float[Tensor, "... d"], features: Sequence[int] | None = None
    ) -> Float[Tensor, "... k"]:
        """What the encoder says of a state, before it is known which features fire."""
        chosen = slice(None) if features is None else torch.as_tensor(features)
        directions, bias = self.W_enc[:, chosen].to(x), self.b_enc[chosen].to(x)
        return (x - self.b_dec.to(x)) @ directions + bias

    def decode(self, f: Float[Tensor, "... F"]) -> Float[Tensor, "... d"]:
        """The state that activations stand for."""
        return f @ self.W_dec.to(f) + self.b_dec.to(f)

    def rebuild(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """What the dictionary makes of a state: x̂."""
        return self.decode(self.encode(x))

    def of_scaled(self, scale: float) -> Dictionary:
        """The same dictionary for states divided by ``scale``, its activations divided too."""
        return replace(
            self,
            b_enc=self.b_enc / scale,
            b_dec=self.b_dec / scale,
            threshold=None if self.threshold is None else self.threshold / scale,
            scale=self.scale / scale,
        )


def each_feature(
    scalars: Mapping[str, ScalarSettings], dictionaries: Mapping[str, Dictionary]
) -> dict[str, ScalarSettings]:
    """Scalars with one for each feature, such as ``born 12``, where they ask for every one."""
    found: dict[str, ScalarSettings] = {}
    for name, settings in scalars.items():
        if settings.features != EVERY:
            found[name] = settings
            continue
        for number in range(dictionaries[str(settings.dictionary)].size):
            found[f"{name} {number}"] = settings.model_copy(update={"features": (number,)})
    return found


@dataclass(frozen=True, eq=False)
class FeatureScore:
    """Mean activation of features at a role's positions."""

    site: str
    role: str
    dictionary: Dictionary
    features: Sequence[int]

    def active(self, seen: Seen) -> Bool[Tensor, "E T k"]:
        """Which features fire where: the branch that the score is on."""
        return self.dictionary.encode(seen.sites[self.site], self.features) > 0

    def measure(self, active: Bool[Tensor, "E T k"] | None) -> Measure:
        """The score with these features taken as firing; None: those that do."""

        def value(seen: Seen) -> Float[Tensor, " E"]:
            x = seen.sites[self.site]
            if active is None:
                kept = self.dictionary.encode(x, self.features)
            else:
                kept = torch.where(active, self.dictionary.drive(x, self.features), 0)
            return masked_mean(kept.mean(-1), seen.events.role_mask(self.role))

        return Measure("activation", frozenset({self.site}), value)

    def drive(self) -> Measure:
        """Mean pre-activation: smooth, whether or not the features fire."""

        def every(seen: Seen) -> Float[Tensor, "E F"]:
            mask = seen.events.role_mask(self.role)
            state = torch.where(mask[..., None], seen.sites[self.site], 0).sum(1)
            return self.dictionary.drive(state / mask.sum(1, keepdim=True))

        def value(seen: Seen) -> Float[Tensor, " E"]:
            drives = seen.once((self.dictionary, self.site, self.role), lambda: every(seen))
            return drives[:, torch.as_tensor(self.features)].mean(-1)

        return Measure("activation", frozenset({self.site}), value)


def settled_score(
    settings: ScalarSettings,
    dictionaries: Mapping[str, Dictionary],
    shape: ModelSettings,
    events: ReadEvents,
) -> FeatureScore:
    """The ``feature_score``, or ``feature_drive``, that settings describe.

    Raises:
        AnalysisError: a choice is missing, or names a dictionary, family, feature or role that is
            not there.
        MismatchError: the dictionary is for states of another width.
    """
    require_given(settings, "dictionary", "features", "role")
    name, role, numbers = str(settings.dictionary), str(settings.role), settings.features or ()
    if name not in dictionaries:
        raise _unknown(settings, f"dictionary {name!r}", dictionaries)
    dictionary = dictionaries[name]
    site = state_site(dictionary.stage, shape.n_layers)
    if dictionary.width != shape.d_model:
        raise MismatchError(
            f"dictionary {name!r} reads states of width {dictionary.width}",
            where=f"scalar {settings.scalar}",
            expected=f"width {shape.d_model}, that of the model's states",
            do="name a dictionary that was made for this model",
        )
    require_role(settings.scalar, role, events)
    if numbers == EVERY:
        raise refusal(
            settings.scalar,
            "is one number, not one of every feature",
            "numbers of features, or a family",
            "name some, or use the kind feature_causes",
        )
    if isinstance(numbers, str):
        families = {family: members for family, members in dictionary.families.items() if members}
        if numbers not in families:
            raise _unknown(settings, f"family {numbers!r}", families)
        numbers = families[numbers]
    beyond = [number for number in numbers if number >= dictionary.size]
    if beyond:
        raise refusal(
            settings.scalar,
            f"finds no feature {beyond[0]} in dictionary {name!r}",
            f"0 to {dictionary.size - 1}",
            "choose other features",
        )
    return FeatureScore(site, role, dictionary, numbers)


def _unknown(settings: ScalarSettings, what: str, known: Collection[str]) -> AnalysisError:
    guess = nearest(what.split("'")[1], known)
    expected = f"one of {', '.join(known)}" if known else "one; there is none"
    do = f"did you mean {guess!r}?" if guess else "name another one"
    return refusal(settings.scalar, f"finds no {what}", expected, do)

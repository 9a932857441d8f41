"""Dictionaries of features, and how active chosen features of one are.

1. A *dictionary* names F directions of a state x of width d. Feature i is active by

       f_i(x) = relu((x - b_dec) · W_enc[:, i] + b_enc[i])

   and the state is put together again as f @ W_dec + b_dec (a sparse autoencoder; Bricken et al.
   2023). It is fixed; what moves with θ is the state.
2. Its file is a safetensors file with these four tensors under the names that SAELens writes, so
   that a dictionary from there can be read; what else it does with a state stands in SAELens'
   ``cfg.json`` beside it, and must be that formula. Metadata hold the stage whose states it reads,
   how it was made, and *families*: named lists of features, most selective first.
3. ``feature_score`` is the mean activation of chosen features at a role, larger where they fire
   more. It has kinks where a feature begins or ceases to fire; over an interval the features that
   fired at its start are held (:class:`circuit.scalars.base.Branched`).
4. ``feature_drive`` is their mean pre-activation, larger where they are closer to firing. It is
   affine in the state, so the drives of all features of a dictionary at a role follow from one
   product, which the scalars that share a pass share.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuit.artifacts import read_tensors, write_tensors
from circuit.config.recipe import ModelSettings
from circuit.config.scalar import EVERY, ScalarSettings, dictionary_names
from circuit.errors import AnalysisError, CheckpointError, MismatchError, nearest
from circuit.model.sites import state_site
from circuit.scalars.base import Measure, Seen, masked_mean
from circuit.scalars.options import refusal, require_given, require_role
from circuit.task.events import ReadEvents

AXES = {"W_enc": "dF", "b_enc": "F", "W_dec": "Fd", "b_dec": "d"}
"""Tensors of a dictionary's file: d is the state's width, F the number of features."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """F features of the states of width d at ``stage``; activations are in units of its own.

    ``families`` are numbers of features by the name of what they fire on; ``made`` tells people how
    it was made.
    """

    W_enc: Float[Tensor, "d F"]
    b_enc: Float[Tensor, " F"]
    W_dec: Float[Tensor, "F d"]
    b_dec: Float[Tensor, " d"]
    stage: str
    families: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    made: Mapping[str, object] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return self.W_enc.shape[0]

    @property
    def size(self) -> int:
        return self.W_enc.shape[1]

    def encode(
        self, x: Float[Tensor, "... d"], features: Sequence[int] | None = None
    ) -> Float[Tensor, "... k"]:
        """Activations of the features given, or of all, in the precision of ``x``."""
        return torch.relu(self.drive(x, features))

    def drive(
        self, x: Float[Tensor, "... d"], features: Sequence[int] | None = None
    ) -> Float[Tensor, "... k"]:
        """What :meth:`encode` takes the positive part of."""
        chosen = slice(None) if features is None else torch.as_tensor(features)
        directions, bias = self.W_enc[:, chosen].to(x), self.b_enc[chosen].to(x)
        return (x - self.b_dec.to(x)) @ directions + bias

    def decode(self, f: Float[Tensor, "... F"]) -> Float[Tensor, "... d"]:
        """The state that activations stand for."""
        return f @ self.W_dec.to(f) + self.b_dec.to(f)


_SAELENS: dict[str, tuple[Any, ...]] = {
    "architecture": ("standard",),
    "apply_b_dec_to_input": (True,),
    **dict.fromkeys(("activation_fn", "activation_fn_str"), ("relu",)),
    **dict.fromkeys(("normalize_activations", "reshape_activations"), ("none", None)),
    "activation_fn_kwargs": ({}, None),
    **dict.fromkeys(("finetuning_scaling_factor", "rescale_acts_by_decoder_norm"), (False, None)),
    **dict.fromkeys(("k", "hook_head_index", "hook_point_head_index"), (None,)),
}
"""Fields of SAELens' ``cfg.json`` that change what features are, and the values of the formula
above; the first two must be there, the others have these defaults there."""


def write_dictionary(path: str | Path, dictionary: Dictionary) -> None:
    """Write a dictionary, whole or not at all."""
    tensors = {name: getattr(dictionary, name) for name in AXES}
    about = {
        "stage": dictionary.stage,
        "families": json.dumps({name: list(f) for name, f in dictionary.families.items()}),
        "made": json.dumps(dict(dictionary.made), sort_keys=True),
    }
    write_tensors(path, tensors, about)


def load_dictionary(path: str | Path, stage: str = "") -> Dictionary:
    """Read a dictionary that this project wrote, or SAELens, with its ``cfg.json`` beside it.

    ``stage`` is the site whose states it reads, for a file whose metadata do not say.

    Raises:
        CheckpointError: the file is missing, damaged or no such dictionary, no stage is known, or
            of a file from elsewhere it is not known that its features are these.
    """
    tensors, about = read_tensors(path)
    problem = _problem(tensors)
    stage = about.get("stage", stage)
    if problem or not stage:
        tensor_shapes = ", ".join(f"{n} [{', '.join(axes)}]" for n, axes in AXES.items())
        raise CheckpointError(
            f"not a dictionary of relu features: {problem}"
            if problem
            else "the file does not say whose states its dictionary reads",
            where=str(path),
            expected=f"finite tensors {tensor_shapes}, and metadata with a stage",
            do="let snakemake make the dictionary again, or give another file, and its stage",
        )
    if "made" not in about:
        _require_relu(Path(path).with_name("cfg.json"), tensors["W_enc"].shape)
    families = json.loads(about.get("families", "{}"))
    return Dictionary(
        **{name: tensors[name].float() for name in AXES},
        stage=stage,
        families={name: tuple(numbers) for name, numbers in families.items()},
        made=json.loads(about.get("made", "{}")),
    )


def _require_relu(path: Path, shape: Sequence[int]) -> None:
    """Refuse a dictionary from elsewhere whose features are not known to be those of step 1."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        said = {**(said.get("metadata") or {}), **said}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _foreign(path, f"its configuration cannot be read ({error})") from error
    for field_name in ("architecture", "apply_b_dec_to_input"):
        if field_name not in said:
            raise _foreign(path, f"{field_name} is not said")
    sizes = {"d_in": (shape[0],), "d_sae": (shape[1],)}
    for field_name, right in {**_SAELENS, **sizes}.items():
        # As JSON, where 1 is not true.
        value = json.dumps(said.get(field_name, right[0]))
        if value not in map(json.dumps, right):
            raise _foreign(path, f"{field_name} is {value}, not {json.dumps(right[0])}")


def _foreign(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"not known to be a dictionary of relu features: {why}",
        where=str(path),
        expected="SAELens' configuration of a standard autoencoder: relu, b_dec taken off the "
        "state first, no k, states neither normalised nor reshaped",
        do="put the cfg.json that belongs to the dictionary beside it, or choose another one",
    )


def _problem(tensors: Mapping[str, Tensor]) -> str:
    """Why tensors are no dictionary; empty if they are one."""
    missing = [name for name in AXES if name not in tensors]
    if missing:
        return f"{' and '.join(missing)} missing"
    further = [name for name in tensors if name not in AXES]
    if further:
        return f"{' and '.join(further)} would change its activations"
    sizes: dict[str, int] = {}
    for name, axes in AXES.items():
        shape = tuple(tensors[name].shape)
        if len(shape) != len(axes) or any(
            sizes.setdefault(axis, n) != n for axis, n in zip(axes, shape, strict=True)
        ):
            return f"{name} {list(shape)} does not fit the tensors before it"
        if not tensors[name].isfinite().all():
            return f"{name} has entries that are no numbers"
    return ""


def load_dictionaries(settings: Any, paths: Sequence[str | Path]) -> dict[str, Dictionary]:
    """The dictionaries that scalars anywhere in settings (in JSON's types) name, by their name.

    ``paths`` are those of their files, in the order of ``dictionary_names``.
    """
    named = zip(dictionary_names(settings), paths, strict=True)
    return {name: load_dictionary(path) for name, path in named}


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
        return self.dictionary.drive(seen.sites[self.site], self.features) > 0

    def measure(self, active: Bool[Tensor, "E T k"] | None) -> Measure:
        """The score with these features taken as firing; None: those that do."""

        def value(seen: Seen) -> Float[Tensor, " E"]:
            drive = self.dictionary.drive(seen.sites[self.site], self.features)
            kept = drive.relu() if active is None else torch.where(active, drive, 0)
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

"""Files of dictionaries, in SAELens' format: ``sae_weights.safetensors``, ``cfg.json`` beside it.

1. Tensors have SAELens' names, and the configuration its fields: ``architecture`` is ``standard``,
   ``topk`` (with ``k``) or ``jumprelu`` (with a tensor ``threshold``). So SAELens reads a folder
   that was written here (``SAE.load_from_disk``), and what it wrote is read here.
2. Weights are those for states as they are: the scale of the fit is folded in. ``scale`` stands
   beside them, under ``metadata`` of the configuration, with TransformerLens' name of the site
   (``hook_name``). There, under ``circuit``, is what only this project knows: the stage, families
   of features, and how it was made, with the digest of the run's trajectory.
3. What else SAELens can do to a state is folded in where it is an identity: a decoder's bias that
   is not taken off the state first (``apply_b_dec_to_input``), decoder norms that rank a topk's
   features (``rescale_acts_by_decoder_norm``), thresholds kept as ``log_threshold``. All else
   (states normalised or reshaped, other architectures) is refused by the name of its field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circuit.artifacts import digest_tensors, read_json, read_tensors, write_json, write_tensors
from circuit.config.scalar import dictionary_names
from circuit.errors import AnalysisError, CheckpointError
from circuit.model.sites import canonical_site
from circuit.scalars.features import Dictionary

AXES = {"W_enc": "dF", "b_enc": "F", "W_dec": "Fd", "b_dec": "d"}
"""Tensors of every dictionary's file: d is the state's width, F the number of features."""
_FURTHER = {"jumprelu": {"threshold": "F"}, "standard": {}, "topk": {}}
_PLAIN: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("normalize_activations", "reshape_activations"), ("none", None)),
    "finetuning_scaling_factor": (False, None),
    **dict.fromkeys(("hook_head_index", "hook_point_head_index"), (None,)),
}
"""Fields that change what features are, and their values where they do not; the first where a
field is not there."""
_ACTIVATIONS = {"standard": ("relu",), "jumprelu": ("relu",), "topk": ("topk", "relu")}
_VERSION = "6.0.0"  # of SAELens, whose format this is


def tensors_of(dictionary: Dictionary) -> dict[str, Tensor]:
    """Its tensors by their names in a file."""
    every = {name: getattr(dictionary, name) for name in (*AXES, "threshold")}
    return {name: tensor.float() for name, tensor in every.items() if tensor is not None}


def configuration(dictionary: Dictionary) -> dict[str, Any]:
    """The content of its ``cfg.json``."""
    about = {
        "stage": dictionary.stage,
        "families": {name: list(numbers) for name, numbers in dictionary.families.items()},
        "made": dict(dictionary.made),
        "weights": digest_tensors(tensors_of(dictionary)),
    }
    of_topk = {"k": dictionary.k, "rescale_acts_by_decoder_norm": False}
    return {
        "architecture": dictionary.architecture,
        "d_in": dictionary.width,
        "d_sae": dictionary.size,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        **(of_topk if dictionary.k is not None else {}),
        "metadata": {
            "sae_lens_version": _VERSION,
            "hook_name": _hook(dictionary.stage),
            "scale": dictionary.scale,
            "circuit": about,
        },
    }


def write_weights(path: str | Path, dictionary: Dictionary) -> None:
    """Write a dictionary's tensors, whole or not at all; :func:`configuration` belongs beside."""
    write_tensors(path, tensors_of(dictionary))


def write_dictionary(folder: str | Path, dictionary: Dictionary) -> Path:
    """Write both files into a folder; returned is the path of the weights."""
    path = Path(folder) / "sae_weights.safetensors"
    write_weights(path, dictionary)
    write_json(path.with_name("cfg.json"), configuration(dictionary))
    return path


def load_dictionaries(
    settings: Any, paths: Sequence[str | Path], trajectory: str = ""
) -> dict[str, Dictionary]:
    """The dictionaries that scalars anywhere in settings (in JSON's types) name, by their name.

    ``paths`` are those of their weights, in the order of ``dictionary_names``.
    """
    named = zip(dictionary_names(settings), paths, strict=True)
    return {name: load_dictionary(path, trajectory=trajectory) for name, path in named}


def load_dictionary(path: str | Path, stage: str = "", trajectory: str = "") -> Dictionary:
    """Read a dictionary that this project wrote, or SAELens, with its ``cfg.json`` beside it.

    Args:
        path: of its weights.
        stage: the site whose states it is to read; needed where its file does not say.
        trajectory: digest of the run whose states it is to read, if its file says any.

    Raises:
        CheckpointError: a file is missing, damaged or of another format, the dictionary is for
            another stage or run, or has more features than it was fitted to states.
        ArtifactError: a configuration of this project is not what it says.
    """
    path = Path(path)
    tensors, _ = read_tensors(path)
    config = path.with_name("cfg.json")
    said, ours = _configured(config)
    about = said.get("circuit") or {}
    if ours and about.get("weights") != digest_tensors(tensors):
        raise _foreign(config, "it was written for other weights")
    architecture = _require_known(config, said, tensors)
    problem = _problem(tensors, {**AXES, **_FURTHER[architecture]})
    if problem:
        raise _refused(
            f"not a dictionary of {architecture} features: {problem}",
            path,
            f"finite tensors {_shapes({**AXES, **_FURTHER[architecture]})}",
            "let snakemake make the dictionary again, or give another file",
        )
    for name, axis in (("d_in", 0), ("d_sae", 1)):
        if said.get(name, tensors["W_enc"].shape[axis]) != tensors["W_enc"].shape[axis]:
            raise _foreign(config, f"{name} is {said[name]}, not {tensors['W_enc'].shape[axis]}")
    found = Dictionary(
        **{name: tensors[name].float() for name in AXES},
        threshold=tensors["threshold"].float() if "threshold" in tensors else None,
        k=_k(said) if architecture == "topk" else None,
        stage=_stage(path, said, about, stage),
        families={name: tuple(numbers) for name, numbers in about.get("families", {}).items()},
        made=about.get("made", {}),
        scale=float(said.get("scale") or 1.0),
    )
    _require_fitting(path, found, trajectory)
    return _folded(found, said)


def _configured(path: Path) -> tuple[dict[str, Any], bool]:
    """The configuration, with what its ``metadata`` say beside; whether it is ours, and whole."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        ours = "artifact" in said
        said = read_json(path) if ours else said
        return {**(said.get("metadata") or {}), **said}, ours
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _foreign(path, f"its configuration cannot be read ({error})") from error


def _require_known(path: Path, said: Mapping[str, Any], tensors: dict[str, Tensor]) -> str:
    """The architecture; refused is what makes features that :class:`Dictionary` does not have."""
    for name in ("architecture", "apply_b_dec_to_input"):
        if name not in said:
            raise _foreign(path, f"{name} is not said")
    architecture = said["architecture"]
    # As JSON, where 1 is not true.
    allowed = {**_PLAIN, "architecture": tuple(_FURTHER), "apply_b_dec_to_input": (True, False)}
    if architecture in _FURTHER:
        allowed |= dict.fromkeys(
            ("activation_fn", "activation_fn_str"), (*_ACTIVATIONS[architecture], None)
        )
        ranks = (False, None, True) if architecture == "topk" else (False, None)
        allowed["rescale_acts_by_decoder_norm"] = ranks
        if architecture != "topk":
            allowed |= {"k": (None,), "activation_fn_kwargs": ({}, None)}
    for name, right in allowed.items():
        value = json.dumps(said.get(name, right[0]))
        if value not in map(json.dumps, right):
            plain = " or ".join(json.dumps(one) for one in right if one is not None) or "null"
            raise _foreign(path, f"{name} is {value}, not {plain}")
    if architecture == "topk" and (not isinstance(_k(said), int) or _k(said) < 1):
        raise _foreign(path, f"k is {json.dumps(_k(said))}, not a number of features")
    if architecture == "jumprelu" and "log_threshold" in tensors:
        tensors["threshold"] = tensors.pop("log_threshold").exp()
    return str(architecture)


def _k(said: Mapping[str, Any]) -> Any:
    return said.get("k") or (said.get("activation_fn_kwargs") or {}).get("k")


def _stage(path: Path, said: Mapping[str, Any], about: Mapping[str, Any], asked: str) -> str:
    """The stage that the file or its reader names; both if they agree."""
    own = about.get("stage") or _site(said.get("hook_name"))
    if not (own or asked):
        raise _refused(
            "the file does not say whose states its dictionary reads",
            path,
            "metadata with a hook_name of this model's sites",
            "give its stage, or another file",
        )
    if own and asked and own != asked:
        raise _refused(
            f"the dictionary reads states at {own}",
            path,
            f"one of states at {asked}",
            "name a dictionary of that stage, or make one there",
        )
    return str(own or asked)


_HOOKS = {"post_attn": "hook_resid_mid", "post_mlp": "hook_resid_post"}
_HOOKS |= {"attn_write": "hook_attn_out", "mlp_write": "hook_mlp_out"}


def _hook(site: str) -> str | None:
    """TransformerLens' name of a site of residual states; None where it has none."""
    layer = re.match(r"layer_(\d+)_(\w+)", site)
    if layer:
        return f"blocks.{layer[1]}.{_HOOKS[layer[2]]}" if layer[2] in _HOOKS else None
    return "blocks.0.hook_resid_pre" if site == "embedding" else None


def _site(hook: Any) -> str | None:
    """The site that TransformerLens calls so; None where it is none of ours."""
    layer = re.match(r"blocks\.(\d+)\.", str(hook))
    try:
        return canonical_site(str(hook), int(layer[1]) + 1 if layer else 1)
    except AnalysisError:
        return None


def _require_fitting(path: Path, found: Dictionary, trajectory: str) -> None:
    """Refuse a dictionary of another run, or of more features than states it was fitted to."""
    own = found.made.get("trajectory")
    if trajectory and own and own != trajectory:
        raise _refused(
            f"the dictionary was made of another run's states (trajectory {str(own)[:12]})",
            path,
            f"one of the run with trajectory {trajectory[:12]}",
            "let snakemake make the dictionary again, or name one of this run",
        )
    states = found.made.get("states")
    if isinstance(states, int) and states < found.size:
        raise _refused(
            f"the dictionary has {found.size:,} features, but was fitted to {states:,} states",
            path,
            "at least as many states as features",
            "make it of more programs, or with fewer features",
        )


def _folded(found: Dictionary, said: Mapping[str, Any]) -> Dictionary:
    """The same features by the formula of :class:`Dictionary`."""
    if said["apply_b_dec_to_input"] is False:
        found = replace(found, b_enc=found.b_enc + found.b_dec @ found.W_enc)
    if said.get("rescale_acts_by_decoder_norm"):
        norm = found.W_dec.norm(dim=1)
        found = replace(
            found,
            W_enc=found.W_enc * norm,
            b_enc=found.b_enc * norm,
            W_dec=found.W_dec / norm[:, None],
        )
    return found


def _problem(tensors: Mapping[str, Tensor], axes: Mapping[str, str]) -> str:
    """Why tensors are no dictionary; empty if they are one."""
    missing = [name for name in axes if name not in tensors]
    if missing:
        return f"{' and '.join(missing)} missing"
    further = [name for name in tensors if name not in axes]
    if further:
        return f"{' and '.join(further)} would change its activations"
    sizes: dict[str, int] = {}
    for name, of in axes.items():
        shape = tuple(tensors[name].shape)
        if len(shape) != len(of) or any(
            sizes.setdefault(axis, n) != n for axis, n in zip(of, shape, strict=True)
        ):
            return f"{name} {list(shape)} does not fit the tensors before it"
        if not torch.isfinite(tensors[name]).all():
            return f"{name} has entries that are no numbers"
    return ""


def _shapes(axes: Mapping[str, str]) -> str:
    return ", ".join(f"{name} [{', '.join(of)}]" for name, of in axes.items())


def _foreign(path: Path, why: str) -> CheckpointError:
    return _refused(
        f"not known to be a dictionary of such features: {why}",
        path,
        "SAELens' configuration of a standard, topk or jumprelu autoencoder, states neither "
        "normalised nor reshaped",
        "put the cfg.json that belongs to the dictionary beside it, or choose another one",
    )


def _refused(what: str, path: Path, expected: str, do: str) -> CheckpointError:
    return CheckpointError(what, where=str(path), expected=expected, do=do)

"""Every scalar with every option, and a tiny float64 world to evaluate them in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from tiny_run import MODEL
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.config.scalar import ScalarSettings
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import scalar_gradients, scalar_values
from circuit.scalars.features import Dictionary
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.task.events import ReadEvents

_ANSWERS = ["correct_value_logit", "negative_answer_loss", "soft_margin"]
WITHOUT_HEAD = {*_ANSWERS, "answer_margin", "feature_score", "feature_drive"}
_PLAIN = [*_ANSWERS, "support_attention", "qk_separation"]
_MARGINS = [
    "answer_margin",
    "ov_value_margin",
    "support_mass_ov_value_margin",
    "qk_ov_product",
    "head_value_margin_dla",
    "head_margin_dla_fixed_readout",
]


def _cases() -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {name: {"scalar": name} for name in _PLAIN}
    for measure in ("scores", "probabilities"):
        cases[f"attention_separation {measure}"] = {
            "scalar": "attention_separation",
            "measure": measure,
        }
    for name in _MARGINS:
        for rival in ("moving", "mean", "fixed_source", "fixed_target"):
            cases[f"{name} {rival}"] = {"scalar": name, "competitor": rival}
    cases["head_margin_dla_fixed_readout at 10"] = {
        "scalar": "head_margin_dla_fixed_readout",
        "basis": 10,
    }
    for rank in (1, 3, 8):
        for basis in ("own", "source", "final", 10):
            cases[f"qk_separation rank {rank} {basis}"] = {
                "scalar": "qk_separation",
                "rank": rank,
                "basis": basis,
            }
    for settings in cases.values():
        if settings["scalar"] not in WITHOUT_HEAD:
            settings["head"] = "L1H0"
    cases["qk_separation in layer 0"] = {"scalar": "qk_separation", "head": "L0H1"}
    cases["qk_separation rank 3 own in layer 0"] = {
        "scalar": "qk_separation",
        "head": "L0H1",
        "rank": 3,
        "basis": "own",
    }
    cases["head_value_margin_dla in layer 0"] = {"scalar": "head_value_margin_dla", "head": "L0H1"}
    cases["ov_value_margin in layer 0"] = {"scalar": "ov_value_margin", "head": "L0H1"}
    return cases | _subspace_cases() | _write_cases() | _feature_cases()


def _subspace_cases() -> dict[str, dict[str, Any]]:
    """Every subspace and both readings, at several stages and roles."""
    places = {
        "embedding_value_identity": ("layer_0_post_mlp", "support_value", 3),
        "embedding_key_identity": ("layer_1_attn_input", "key_distractors", 2),
        "head_qk_query": ("layer_1_attn_input", "prediction", 2),
        "head_qk_key": ("layer_1_attn_input", "value_distractors", 3),
        "head_ov_input": ("layer_0_post_attn", "support_value", 8),
        "head_ov_output": ("layer_1_attn_write", "query_key", 2),
        "pca(layer_0_post_mlp, causal_prefix)": ("layer_1_post_mlp", "causal_prefix", 4),
        "pca(layer_1_post_attn, support_key)": ("embedding", "support_key", 1),
    }
    cases: dict[str, dict[str, Any]] = {}
    for subspace, (stage, role, rank) in places.items():
        cases[f"squared norm in {subspace}"] = {
            "scalar": "subspace_projection",
            "stage": stage,
            "role": role,
            "subspace": subspace,
            "rank": rank,
            **({"head": "L1H0"} if subspace.startswith("head_") else {}),
        }
    said = {**cases["squared norm in head_ov_output"], "stage": "layer_1_post_attn"}
    for rival in ("moving", "fixed_source", "fixed_target"):
        name = f"readout of head_ov_output {rival}"
        cases[name] = {**said, "reading": "readout", "competitor": rival}
    values = cases["squared norm in embedding_value_identity"]
    cases["readout at the final norm"] = {
        **values,
        "stage": "final_norm",
        "role": "value_distractors",
        "reading": "readout",
        "basis": 10,
    }
    for basis in ("own", "source"):
        for subspace in places:
            name = f"squared norm in {subspace}"
            cases[f"{name}, {basis}"] = {**cases[name], "basis": basis}
        for rival in ("moving", "fixed_source"):
            name = f"readout of head_ov_output {rival}"
            cases[f"{name}, {basis}"] = {**cases[name], "basis": basis}
    return cases


def _write_cases() -> dict[str, dict[str, Any]]:
    """Heads and MLPs, near and far targets, one and several positions, every outcome and part."""
    base = {"scalar": "functional_write", "head": "L0H1", "role": "prediction"}
    far = {**base, "stage": "layer_1_post_mlp"}
    cases: dict[str, dict[str, Any]] = {
        "write of L0H1 by itself": {
            **base,
            "stage": "layer_0_post_attn",
            "role": "support_value",
        },
        "write of L0H1 after attention": {
            **base,
            "stage": "layer_1_post_attn",
            "role": "causal_prefix",
            "basis": 10,
        },
        "write of L0MLP by itself": {**far, "head": "L0MLP", "stage": "layer_0_post_mlp"},
        "write of L0H1 by the integrated gradient": {**far, "gradient": "integrated"},
        "write of L0H1 for the loss": {**far, "outcome": "negative_answer_loss"},
    }
    for part in ("whole", "skip", "mlp"):
        cases[f"write of L0H1, {part}"] = {**far, "part": part}
        cases[f"write of L1H0, {part}"] = {**far, "head": "L1H0", "part": part}
        cases[f"write of L0H1 at several positions, {part}"] = {
            **base,
            "stage": "layer_0_post_mlp",
            "role": "value_distractors",
            "part": part,
        }
        cases[f"write of L0MLP, {part}"] = {**far, "head": "L0MLP", "part": part}
    for rival in ("fixed_source", "fixed_target"):
        cases[f"write of L1H0 for the margin {rival}"] = {
            **far,
            "head": "L1H0",
            "outcome": "answer_margin",
            "competitor": rival,
        }
    back = {"scalar": "rescue", "head": "L0H1", "stage": "layer_0_post_mlp"}
    cases["rescue at the value"] = {**back, "role": "support_value"}
    cases["rescue at several positions"] = {**back, "role": "value_distractors", "head": "L0MLP"}
    cases["rescue of the margin"] = {
        **back,
        "stage": "layer_1_post_attn",
        "role": "prediction",
        "outcome": "answer_margin",
        "competitor": "fixed_source",
    }
    return cases


def _feature_cases() -> dict[str, dict[str, Any]]:
    """One feature, several and a family, at one position and at several."""
    base = {"scalar": "feature_score", "dictionary": "shared"}
    return {
        "score of one feature": {**base, "features": [4], "role": "prediction"},
        "score of features": {**base, "features": [0, 3, 7], "role": "value_distractors"},
        "score of a family": {
            **base,
            "features": "answer@prediction",
            "role": "causal_prefix",
        },
        "drive of a feature": {
            "scalar": "feature_drive",
            "dictionary": "shared",
            "features": [4],
            "role": "prediction",
        },
        "drive of features": {
            "scalar": "feature_drive",
            "dictionary": "shared",
            "features": [0, 3, 7],
            "role": "value_distractors",
        },
    }


def random_dictionary(width: int, size: int = 12, **changes: Any) -> Dictionary:
    """Features in random directions of a stage of layer 0, with a family of two."""
    draw = np.random.default_rng(8).standard_normal
    shapes = {"W_enc": (width, size), "b_enc": (size,), "W_dec": (size, width), "b_dec": (width,)}
    tensors = {name: torch.from_numpy(draw(shape)) for name, shape in shapes.items()}
    made = {"stage": "layer_0_post_mlp", "families": {"answer@prediction": (5, 2)}, **changes}
    return Dictionary(**tensors, **made)


CASES = _cases()
DICTIONARIES = {"shared": random_dictionary(MODEL["d_model"])}


class World(NamedTuple):
    """``states`` are the run's parameters by step; the window is 0..10, the last step 20."""

    decoder: Decoder
    states: dict[int, Tensor]
    events: ReadEvents
    value_ids: range

    @property
    def theta(self) -> Tensor:
        """A state inside the window, at which scalars are evaluated."""
        return self.states[5]

    def context(self) -> ScalarContext:
        heads = {"winner": "L1H0", "runner_up": "L0H1", "bottom": "L1H1"}
        return ScalarContext(
            self.decoder,
            self.events,
            self.value_ids,
            heads,
            self.states.__getitem__,
            (0, 10),
            20,
            DICTIONARIES,
        )

    def build(self, **settings: object) -> Scalar:
        return build_scalar(ScalarSettings.model_validate(settings), self.context())

    def values(self, scalar: Scalar, theta: Tensor | None = None) -> Tensor:
        theta = self.theta if theta is None else theta
        named = {"it": scalar}
        return scalar_values(self.decoder, theta, self.events, self.value_ids, named)[0]

    def gradient(self, scalar: Scalar, theta: Tensor | None = None) -> Tensor:
        theta = self.theta if theta is None else theta
        named = {"it": scalar}
        found = scalar_gradients(self.decoder, theta, self.events, self.value_ids, named)
        return found.gradients[0]


def make_world(events: ReadEvents, vocab_size: int, value_ids: range) -> World:
    """Random parameters that drift, as in training, and events of different lengths."""
    torch.set_num_threads(1)
    decoder = Decoder(ModelSettings.model_validate(MODEL), vocab_size)
    generator = torch.Generator().manual_seed(21)
    theta = decoder.initialise(generator).double()
    states = {}
    for step in (0, 5, 10, 20):
        noise = torch.randn(theta.shape, generator=generator, dtype=torch.float64)
        theta = theta + 0.15 * noise
        states[step] = theta
    return World(decoder, states, events.select([0, 3, 50, 101, 170]), value_ids)

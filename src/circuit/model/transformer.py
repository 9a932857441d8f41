"""The decoder: GPT-2's architecture as a function of one flat parameter vector.

1. Token plus learned position embedding gives the residual stream.
2. Each layer adds an attention write and an MLP write, each computed from a LayerNorm of the
   stream (pre-LayerNorm), with exact GELU in the MLP.
3. A final LayerNorm and the transposed token embedding give logits (tied, no bias).

The model holds no parameters. ``forward(views, tokens)`` is a pure function, so a replayed state,
an interpolated state and a float64 copy are all just other vectors, and every quantity computed
from a forward pass is differentiable in the one vector.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.errors import MismatchError
from circuit.model.layout import Layout
from circuit.model.sites import canonical_site, sites, unknown_site
from circuit.model.tap import Edit, NoTap, StopForwardError, Tap

Params = Mapping[str, Tensor]
LN_EPS = 1e-5


class Decoder:
    """A GPT-2-style decoder of given settings and vocabulary; see the module docstring."""

    def __init__(self, settings: ModelSettings, vocab_size: int) -> None:
        self.settings = settings
        self.vocab_size = vocab_size
        self.layout = Layout(settings, vocab_size)
        self._sites = frozenset(sites(settings.n_layers))

    def initialise(self, generator: torch.Generator) -> Float[Tensor, " P"]:
        """Fresh float32 parameters.

        ``torch_default``: N(0, 1) embeddings and, for every linear map, weights and biases from
        U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which is what ``nn.Embedding`` and ``nn.Linear`` draw.
        ``gpt2``: N(0, 0.02) weights and zero biases. LayerNorm gains are 1 and biases 0 in both.
        """
        flat = torch.zeros(self.layout.size)
        fan_in = {"W_QKV": "d_model", "W_O": "d_model", "W_in": "d_model", "W_out": "d_ff"}
        fan_in |= {"b_QKV": "d_model", "b_O": "d_model", "b_in": "d_model", "b_out": "d_ff"}
        for name, view in self.layout.views(flat).items():
            leaf = name.rsplit(".", 1)[1]
            if name.startswith("embedding."):
                std = 1.0 if self.settings.initialisation == "torch_default" else 0.02
                view.normal_(0.0, std, generator=generator)
            elif leaf == "gain":
                view.fill_(1.0)
            elif leaf in fan_in:
                if self.settings.initialisation == "torch_default":
                    bound = 1 / math.sqrt(getattr(self.settings, fan_in[leaf]))
                    view.uniform_(-bound, bound, generator=generator)
                elif leaf.startswith("W_"):
                    view.normal_(0.0, 0.02, generator=generator)
        return flat

    def tap(
        self,
        capture: Iterable[str] = (),
        edits: Mapping[str, Sequence[Edit]] | None = None,
        stop: bool = False,
    ) -> Tap:
        """A :class:`Tap` for this model whose sites may go by their TransformerLens names.

        The cache holds them under this project's names.

        Raises:
            AnalysisError: the model has no such site.
        """
        layers = self.settings.n_layers
        return Tap(
            [canonical_site(name, layers) for name in capture],
            {canonical_site(name, layers): chain for name, chain in (edits or {}).items()},
            stop,
        )

    def forward(
        self,
        params: Params,
        tokens: Int[Tensor, "B T"],
        tap: Tap | None = None,
        at: Int[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B S V"] | None:
        """Logits at every position; ``None`` if the tap ended the pass early.

        Args:
            params: views of a flat vector, from ``layout.views``.
            tokens: token ids; positions after a program's end may hold padding, which no earlier
                position can see.
            tap: what to capture and edit.
            at: the only positions of each program whose logits are wanted (:meth:`onward`).

        Raises:
            AnalysisError: the tap names a site that this decoder does not have.
            MismatchError: the streams are longer than the context.
        """
        tap = tap or NoTap()
        unknown = tap.wanted - self._sites
        if unknown:
            raise unknown_site(min(unknown), self.settings.n_layers)
        if tokens.shape[1] > self.settings.context:
            raise MismatchError(
                f"streams of {tokens.shape[1]} tokens",
                where="Decoder.forward",
                expected=f"at most {self.settings.context}, the model's context",
                do="raise model.context in the recipe, or cut the streams",
            )
        try:
            x = self.residual(params, tokens, tap, at)
            return self.unembed(params, self.final_norm(params, x, tap))
        except StopForwardError:
            return None

    def residual(
        self,
        params: Params,
        tokens: Int[Tensor, "B T"],
        tap: Tap,
        at: Int[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B S d"]:
        """The residual stream after the last layer, before the final LayerNorm."""
        position = params["embedding.position"][: tokens.shape[1]]
        x = F.embedding(tokens, params["embedding.token"]) + position
        return self.onward(params, "embedding", x, tap, at)

    def onward(
        self,
        params: Params,
        stage: str,
        x: Float[Tensor, "B T d"],
        tap: Tap | None = None,
        at: Int[Tensor, " B"] | Int[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B S d"]:
        """The residual stream after the last layer, from its state at a stage.

        What lies before the stage is not run, so a pass that differs from another one only from
        some layer on costs only what differs.

        Args:
            stage: ``embedding``, ``layer_{l}_post_attn`` or ``layer_{l}_post_mlp``, where ``x`` is
                the stream; the tap meets it there.
            at: one or several positions per program; the last layer then answers for them alone,
                so its sites (but for keys, values and ``ln1``'s, which other positions feed) and
                the result have just these. None keeps all positions: S = T.
        """
        tap = tap or NoTap()
        first, after_attention = _place(stage, self.settings.n_layers)
        last = self.settings.n_layers - 1
        x = tap(stage, x)
        if at is not None and (first > last or (first == last and after_attention)):
            x = _only(x, at)
        for layer in range(first, self.settings.n_layers):
            here = at if layer == last else None
            if layer > first or not after_attention:
                write = self._attention(params, layer, x, tap, here)
                x = x if here is None else _only(x, here)
                x = tap(f"layer_{layer}_post_attn", x + write)
            x = tap(f"layer_{layer}_post_mlp", x + self._mlp(params, layer, x, tap))
        return x

    def final_norm(
        self, params: Params, x: Float[Tensor, "... d"], tap: Tap | None = None
    ) -> Float[Tensor, "... d"]:
        """LayerNorm'd state that the unembedding reads."""
        return _norm(params, "final_norm", x, tap or NoTap(), "final_norm_scale", "final_norm")

    def unembed(self, params: Params, state: Float[Tensor, "... d"]) -> Float[Tensor, "... V"]:
        """Logits of a LayerNorm'd state: its inner products with the token embeddings."""
        return F.linear(state, params["embedding.token"])

    def _attention(
        self, params: Params, layer: int, x: Tensor, tap: Tap, at: Tensor | None = None
    ) -> Tensor:
        name, s = f"layer_{layer}", self.settings
        batch, length, width = x.shape
        states = _norm(params, f"{name}.ln1", x, tap, f"{name}_ln1_scale", f"{name}_attn_input")
        weight, bias = params[f"{name}.attn.W_QKV"], params[f"{name}.attn.b_QKV"]
        if at is None:
            q, k, v = _heads(states, weight, bias).unbind(2)
        else:
            q = _heads(_only(states, at), weight[:1], bias[:1])[:, :, 0]
            k, v = _heads(states, weight[1:], bias[1:]).unbind(2)
        if tap.wants(f"{name}_q", f"{name}_k", f"{name}_v"):
            q, k, v = tap(f"{name}_q", q), tap(f"{name}_k", k), tap(f"{name}_v", v)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if tap.wants(f"{name}_scores", f"{name}_pattern"):
            scores = (q @ k.transpose(-1, -2)) / math.sqrt(s.d_head)
            scores = tap(f"{name}_scores", scores.masked_fill(_future(length, at, x), -math.inf))
            z = tap(f"{name}_pattern", scores.softmax(-1)) @ v
        elif at is None:
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            z = F.scaled_dot_product_attention(q, k, v, attn_mask=~_future(length, at, x))
        z = tap(f"{name}_z", z.transpose(1, 2))
        w_out = params[f"{name}.attn.W_O"]
        if tap.wants(f"{name}_head_write"):
            write = tap(f"{name}_head_write", torch.einsum("bthk,hkd->bthd", z, w_out)).sum(2)
        else:
            write = z.reshape(batch, -1, width) @ w_out.view(width, width)
        return tap(f"{name}_attn_write", write + params[f"{name}.attn.b_O"])

    def _mlp(self, params: Params, layer: int, x: Tensor, tap: Tap) -> Tensor:
        at = f"layer_{layer}"
        states = _norm(params, f"{at}.ln2", x, tap, f"{at}_ln2_scale", f"{at}_mlp_input")
        pre = F.linear(states, params[f"{at}.mlp.W_in"], params[f"{at}.mlp.b_in"])
        neurons = tap(f"{at}_neurons", F.gelu(tap(f"{at}_neurons_pre", pre)))
        write = F.linear(neurons, params[f"{at}.mlp.W_out"].T, params[f"{at}.mlp.b_out"])
        return tap(f"{at}_mlp_write", write)


def _norm(
    params: Params, name: str, x: Tensor, tap: Tap, scale_site: str, output_site: str
) -> Tensor:
    """LayerNorm; its scale becomes a tensor of its own only when a tap asks for it."""
    gain, bias = params[f"{name}.gain"], params[f"{name}.bias"]
    if tap.wants(scale_site):
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.pow(2).mean(-1, keepdim=True) + LN_EPS).sqrt()
        return tap(output_site, centred / tap(scale_site, scale) * gain + bias)
    return tap(output_site, F.layer_norm(x, (x.shape[-1],), gain, bias, LN_EPS))


def _heads(states: Tensor, weight: Tensor, bias: Tensor) -> Float[Tensor, "B T p H k"]:
    """Linear maps of states for p projections of all heads, as one product."""
    rows = F.linear(states, weight.flatten(0, 2), bias.flatten())
    return rows.view(*states.shape[:2], *bias.shape)


def _future(length: int, at: Tensor | None, x: Tensor) -> Tensor:
    """Which keys a query may not see: [T, T], or [B, 1, S, T] for S queries per program."""
    if at is None:
        return torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
    return (torch.arange(length, device=x.device) > at.view(len(x), -1, 1))[:, None]


def _only(x: Float[Tensor, "B T d"], at: Tensor) -> Float[Tensor, "B S d"]:
    """The states at one or several positions per program."""
    return x[torch.arange(len(x), device=x.device)[:, None], at.view(len(x), -1)]


def layers_after(stage: str, n_layers: int) -> float:
    """How many layers lie after a stage; half a one where only an MLP is left of it."""
    first, after_attention = _place(stage, n_layers)
    return n_layers - first - (0.5 if after_attention else 0.0)


def _place(stage: str, n_layers: int) -> tuple[int, bool]:
    """The first layer that lies after a stage, and whether only its MLP does."""
    match = re.match(r"^layer_(\d+)_post_(attn|mlp)$", stage)
    if stage == "embedding":
        return 0, False
    if match is None or int(match[1]) >= n_layers:
        raise unknown_site(stage, n_layers)
    return (int(match[1]), True) if match[2] == "attn" else (int(match[1]) + 1, False)

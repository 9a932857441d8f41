"""Names of the places in the forward pass that a tap can see and change.

``{l}`` is a layer number. Shapes: ``B`` programs, ``T`` positions, ``H`` heads, ``d`` = d_model,
``k`` = d_head, ``F`` = d_ff, ``V`` vocabulary.

====================================  ==================  ======================================
site                                  shape               TransformerLens name, an alias
====================================  ==================  ======================================
``embedding``                         [B, T, d]           ``blocks.0.hook_resid_pre``
``layer_{l}_ln1_scale``               [B, T, 1]           ``blocks.{l}.ln1.hook_scale``
``layer_{l}_attn_input``              [B, T, d]           none (LayerNorm'd, gain, bias in)
``layer_{l}_q``, ``_k``, ``_v``       [B, T, H, k]        ``blocks.{l}.attn.hook_q``, ``_k``, ``_v``
``layer_{l}_scores``                  [B, H, T, T]        ``blocks.{l}.attn.hook_attn_scores``
``layer_{l}_pattern``                 [B, H, T, T]        ``blocks.{l}.attn.hook_pattern``
``layer_{l}_z``                       [B, T, H, k]        ``blocks.{l}.attn.hook_z``
``layer_{l}_head_write``              [B, T, H, d]        ``blocks.{l}.attn.hook_result``
``layer_{l}_attn_write``              [B, T, d]           ``blocks.{l}.hook_attn_out``
``layer_{l}_post_attn``               [B, T, d]           ``blocks.{l}.hook_resid_mid``
``layer_{l}_ln2_scale``               [B, T, 1]           ``blocks.{l}.ln2.hook_scale``
``layer_{l}_mlp_input``               [B, T, d]           none
``layer_{l}_neurons_pre``             [B, T, F]           ``blocks.{l}.mlp.hook_pre``
``layer_{l}_neurons``                 [B, T, F]           ``blocks.{l}.mlp.hook_post``
``layer_{l}_mlp_write``               [B, T, d]           ``blocks.{l}.hook_mlp_out``
``layer_{l}_post_mlp``                [B, T, d]           ``blocks.{l}.hook_resid_post``
``final_norm_scale``                  [B, T, 1]           ``ln_final.hook_scale``
``final_norm``                        [B, T, d]           none (LayerNorm'd, gain, bias in)
====================================  ==================  ======================================

``layer_{l}_attn_write`` includes the output bias b_O; ``layer_{l}_head_write`` does not, so the
heads' writes plus b_O are the attention's write. A scale is the standard deviation that LayerNorm
divides by (TransformerLens' convention). TransformerLens' own ``hook_normalized`` sites are states
before gain and bias, which nothing here reads, so they have no alias.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from circuit.config.recipe import ModelSettings
from circuit.errors import AnalysisError, nearest

_LAYER_SITES = {
    "ln1_scale": "ln1.hook_scale",
    "attn_input": None,
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "scores": "attn.hook_attn_scores",
    "pattern": "attn.hook_pattern",
    "z": "attn.hook_z",
    "head_write": "attn.hook_result",
    "attn_write": "hook_attn_out",
    "post_attn": "hook_resid_mid",
    "ln2_scale": "ln2.hook_scale",
    "mlp_input": None,
    "neurons_pre": "mlp.hook_pre",
    "neurons": "mlp.hook_post",
    "mlp_write": "hook_mlp_out",
    "post_mlp": "hook_resid_post",
}


# Axes of the sites that have more than (program, position, state).
_HEAD_VECTOR = ("program", "position", "head", "vector")
_ATTENTION = ("program", "head", "position", "key_position")
_AXES = {
    **dict.fromkeys(("q", "k", "v", "z", "head_write"), _HEAD_VECTOR),
    **dict.fromkeys(("scores", "pattern"), _ATTENTION),
}
_LAYER_SITE = re.compile(r"^layer_(\d+)_(.+)$")


def sites(n_layers: int) -> tuple[str, ...]:
    """All site names of a decoder with ``n_layers`` layers, in the order the forward meets them."""
    per_layer = [f"layer_{n}_{name}" for n in range(n_layers) for name in _LAYER_SITES]
    return ("embedding", *per_layer, "final_norm_scale", "final_norm")


def stages(n_layers: int) -> tuple[str, ...]:
    """Residual-stream stages, in order."""
    inner = [f"layer_{n}_{s}" for n in range(n_layers) for s in ("post_attn", "post_mlp")]
    return ("embedding", *inner, "final_norm")


def canonical_site(name: str, n_layers: int) -> str:
    """Resolve a site name or a TransformerLens alias to this project's site name.

    Raises:
        AnalysisError: no such site; names the nearest valid one.
    """
    if name in sites(n_layers):
        return name
    aliases = _aliases(n_layers)
    if name in aliases:
        return aliases[name]
    raise unknown_site(name, n_layers)


def _aliases(n_layers: int) -> dict[str, str]:
    """TransformerLens' names of the sites."""
    aliases = {"ln_final.hook_scale": "final_norm_scale"}
    for n in range(n_layers):
        aliases |= {f"blocks.{n}.{a}": f"layer_{n}_{s}" for s, a in _LAYER_SITES.items() if a}
        before = "embedding" if n == 0 else f"layer_{n - 1}_post_mlp"
        aliases[f"blocks.{n}.hook_resid_pre"] = before
    return aliases


def site_axes(site: str) -> tuple[str, ...]:
    """Names of the axes of a site's tensor, the same in every decoder.

    ``("program", "position", "vector")``, with ``"head"`` before ``"vector"`` where heads are
    apart, or ``("program", "head", "position", "key_position")``, where ``position`` is that of
    the query.

    Raises:
        AnalysisError: no decoder has a site of this name (an alias is not a site).
    """
    match = _LAYER_SITE.match(site)
    if match and match[2] in _LAYER_SITES:
        return _AXES.get(match[2], ("program", "position", "vector"))
    if match is None and site in sites(0):
        return ("program", "position", "vector")
    raise unknown_site(site, int(match[1]) + 1 if match else 1)


def unknown_site(name: str, n_layers: int) -> AnalysisError:
    """Return the error for a name that is no site of a decoder with ``n_layers`` layers."""
    valid = sites(n_layers)
    aliases = _aliases(n_layers)
    guess = aliases.get(name) or nearest(name, [*valid, *aliases])
    return AnalysisError(
        what=f"unknown site {name!r}",
        where=f"a decoder with {n_layers} layers",
        expected=f"a site such as {valid[0]!r} or its TransformerLens name",
        do=f"did you mean {guess!r}?" if guess else "see circuit.model.sites for all names",
    )


def head_name(head: tuple[int, int]) -> str:
    """``(1, 3)`` → ``"L1H3"``."""
    return f"L{head[0]}H{head[1]}"


def every_head(settings: ModelSettings) -> list[tuple[int, int]]:
    """(layer, head) of all heads, in the order in which the model meets them."""
    return [(layer, head) for layer in range(settings.n_layers) for head in range(settings.n_heads)]


_COMPONENT = re.compile(r"^L(\d+)(?:H(\d+)|(MLP)|N(\d+))$")


def parse_head(name: str, n_layers: int, n_heads: int) -> tuple[int, int]:
    """``"L1H3"`` → ``(1, 3)``.

    Raises:
        AnalysisError: not a head's name, or the head does not exist in this model.
    """
    match = _COMPONENT.match(name)
    if match and match[2] is not None and int(match[1]) < n_layers and int(match[2]) < n_heads:
        return int(match[1]), int(match[2])
    raise AnalysisError(
        what=f"head {name!r} does not exist",
        where=f"a model with {n_layers} layers of {n_heads} heads",
        expected=f"L0H0 to L{n_layers - 1}H{n_heads - 1}",
        do="name an existing head, or winner / runner_up / bottom",
    )


def parse_component(name: str, settings: ModelSettings) -> tuple[int, int | None]:
    """``"L1H3"`` → ``(1, 3)`` and ``"L1MLP"`` → ``(1, None)``.

    Raises:
        AnalysisError: neither a head nor an MLP, or it does not exist in this model.
    """
    match = _COMPONENT.match(name)
    if match and match[3] and int(match[1]) < settings.n_layers:
        return int(match[1]), None
    return parse_head(name, settings.n_layers, settings.n_heads)


def parse_neuron(name: str, settings: ModelSettings) -> tuple[int, int]:
    """``"L0N17"`` → ``(0, 17)``.

    Raises:
        AnalysisError: not a neuron's name, or the neuron does not exist in this model.
    """
    match = _COMPONENT.match(name)
    if match and match[4] and int(match[1]) < settings.n_layers and int(match[4]) < settings.d_ff:
        return int(match[1]), int(match[4])
    raise AnalysisError(
        what=f"neuron {name!r} does not exist",
        where=f"a model with {settings.n_layers} layers of {settings.d_ff} neurons",
        expected=f"L0N0 to L{settings.n_layers - 1}N{settings.d_ff - 1}",
        do="name an existing neuron",
    )


_NARROW = ("_neurons", "_neurons_pre", "_scale")  # sites whose vectors are no residual states


def state_site(name: str, n_layers: int) -> str:
    """The canonical name of a site whose vectors live in the residual stream's space.

    Stages of the stream, the LayerNorm'd states that layers read, and what they write; any other
    is refused (AnalysisError).
    """
    site = canonical_site(name, n_layers)
    if site_axes(site) != ("program", "position", "vector") or site.endswith(_NARROW):
        raise AnalysisError(
            what=f"site {site!r} does not hold residual states",
            where="a subspace of the residual stream",
            expected="a stage, or what a layer reads or writes, such as layer_0_attn_input",
            do="choose another stage",
        )
    return site


_PARTS = ("q", "k", "v", "z", "pattern")
Some = tuple[int, ...] | None
Spot = tuple[str, Some, Some]
"""A site, and which of its heads and of its vector's entries are meant; None: all."""


def edit_places(
    name: str, settings: ModelSettings, neurons: Mapping[str, Sequence[str]]
) -> dict[str, tuple[Spot, ...]]:
    """Places to edit that a name stands for, each by its own name.

    ``stages`` of the stream, ``mlp_writes``, LayerNorms' ``scales``; a part of every head
    (``heads.z``; q, k, v, z or pattern) or of one (``L1H3.z``); a set of ``neurons`` (its name
    behind ``neurons.``); or any site that has a state, or a row of attention, at every position.

    Raises:
        AnalysisError: there is no such site, head or set, or it holds scores.
    """
    of, _, part = name.partition(".")
    layers = range(settings.n_layers)
    if part in _PARTS:
        one = [] if of == "heads" else [parse_head(of, settings.n_layers, settings.n_heads)]
        heads = one or every_head(settings)
        return {f"{head_name(h)}.{part}": ((f"layer_{h[0]}_{part}", h[1:], None),) for h in heads}
    if of == "neurons" and part in neurons:
        by_layer: dict[int, list[int]] = {}
        for layer, entry in (parse_neuron(neuron, settings) for neuron in neurons[part]):
            by_layer.setdefault(layer, []).append(entry)
        return {name: tuple((f"layer_{n}_neurons", None, tuple(e)) for n, e in by_layer.items())}
    if of in ("heads", "neurons"):
        sets = [f"neurons.{one}" for one in neurons]
        raise AnalysisError(
            what=f"there is no {name!r} to edit",
            where="an edit at a position",
            expected=f"one of {', '.join([*(f'heads.{one}' for one in _PARTS), *sets])}",
            do="correct the name" if of == "heads" else "correct the name, or add the set",
        )
    groups = {
        "stages": stages(settings.n_layers)[:-1],
        "mlp_writes": tuple(f"layer_{n}_mlp_write" for n in layers),
        "scales": tuple(site for site in sites(settings.n_layers) if site.endswith("_scale")),
    }
    found = groups.get(name) or (canonical_site(name, settings.n_layers),)
    if found[0].endswith("_scores"):
        raise AnalysisError(
            what=f"site {name!r} is edited as a pattern",
            where="an edit at a position",
            expected="a pattern: a query's scores do nothing but give its row of the pattern",
            do=f"name {name.replace('scores', 'pattern')}",
        )
    return {site: ((site, None, None),) for site in found}

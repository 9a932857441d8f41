"""Paths through one module more: source → head → logit, source → MLP → logit, and their chains.

Everything that is not linear is held at what it was in the pass, so that each module becomes an
affine map of what it reads, event by event:

1. LayerNorm: with its scale frozen, centring, gain and bias are affine.
2. A head, with its pattern frozen, writes Σ_j pattern(prediction, j) (W_V x̂_j + b_V) W_O. A source
   that wrote s_j at key position j has the part Σ_j pattern_j / σ_j · centre(s_j) ⊙ gain W_V W_O;
   the LayerNorm's bias and b_V give the part ``value_bias``. Which positions are looked at is
   given, so what *made* the head look there (its queries and keys) is in none of these paths.
3. An MLP's preactivations are affine in the sources. Along the straight line from the preactivation
   of the biases alone, p₀, to the actual p₀ + Δ with Δ = Σ_s a_s, integrated gradients
   (Sundararajan et al. 2017) have a closed form for each neuron:

       IG_s = a_s ∫₀¹ gelu'(p₀ + uΔ) du = a_s (gelu(p₀ + Δ) − gelu(p₀)) / Δ,

   the slope of the chord. So the neurons, too, are a linear map, and the parts of all sources and
   of the ``baseline`` gelu(p₀) sum to the MLP's write exactly.
4. An MLP below a head writes at the head's key positions; its write there is split by the same
   rule into what it made of embeddings, of attention, of lower MLPs, and of biases.
5. A *chain* names the kinds along a path: the last two modules, or the last three where an MLP
   feeds attention. Each path has one chain, so chains sum to the logit exactly.
6. Paths through a head's values say what it carries, not why it looks where it looks. With the
   query and the LayerNorm scales of the keys frozen, its score is linear in what each source wrote
   at the key position: score(j) = q · W_K x̂_j / √d_head plus what no source changes. So the
   separation, score(support_value) − mean score(value_distractors), is a sum over sources
   (K-composition, Elhage et al. 2021), MLPs split as in 4; what is the same at every key cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from circuit.measures.paths.direct import (
    ATTENTION,
    BIASES,
    FINAL_BIAS,
    MLP,
    TARGETS,
    Readout,
    Writer,
    path_sites,
    writers,
)
from circuit.model.sites import head_name, parse_head
from circuit.scalars.base import Seen, centre, pick
from circuit.scalars.routing import prediction_scores, separation

ARROW = " → "
VALUE_BIAS, BASELINE = "value_bias", "baseline"
SUPPORT, ELSEWHERE, PREDICTION = "support_value", "elsewhere", "prediction"
WHOLE = "whole"
Name = TypeVar("Name")

# Below this the chord's slope loses more digits than the tangent at its middle has wrong.
_SHORT = 1e-6


class Term(NamedTuple):
    """One path: a source, the module it goes through, the chain it belongs to, values [E, R].

    ``through`` is ``logit`` for a direct path. ``positions`` says where the source stood:
    ``support_value`` or ``elsewhere`` for a head, ``prediction`` for an MLP and a direct path.
    """

    source: str
    through: str
    chain: str
    positions: str
    values: Float[Tensor, "E R"]


def second_order_sites(n_layers: int) -> frozenset[str]:
    """What a pass must leave for :func:`terms`."""
    names = ("ln1_scale", "ln2_scale", "pattern", "neurons_pre")
    return path_sites(n_layers) | {f"layer_{n}_{name}" for n in range(n_layers) for name in names}


def terms(seen: Seen, read: Readout) -> list[Term]:
    """Every path of the partition that the module describes; their values sum to ``read.whole``.

    Args:
        seen: a pass with the sites of :func:`second_order_sites`; float64 for exact sums. All
            writes at all positions are held at once: about (H + 7) · L states [E, T, d].
    """
    every = writers(seen)
    at = seen.events.prediction
    final = [w._replace(states=pick(w.states, at)) for w in every]
    found = [
        Term(w.name, "logit", w.kind, PREDICTION, _read(read.direction, w.states))
        for w in final
        if w.kind not in (ATTENTION, MLP)
    ]
    found.append(Term(FINAL_BIAS, "logit", BIASES, PREDICTION, read.constant))
    sources = split_sources(seen, every)
    for layer in range(seen.decoder.settings.n_layers):
        found += _head_terms(seen, read, layer, [w for w in sources if w.order < 2 * layer + 1])
        found += _mlp_terms(seen, read, layer, [w for w in final if w.order < 2 * layer + 2])
    return found


def split_sources(seen: Seen, every: Sequence[Writer]) -> list[Writer]:
    """All writers that a head can read, MLPs as parts by the kind of what they made them of."""
    last = 2 * seen.decoder.settings.n_layers  # the last MLP's order: no head reads it
    found: list[Writer] = []
    for w in every:
        if w.order < last:
            found += _split_mlp(seen, w.order // 2 - 1, every) if w.kind == MLP else [w]
    return found


def summed(found: Iterable[Term], by: Callable[[Term], Name]) -> dict[Name, Float[Tensor, "E R"]]:
    """Values of terms summed by what they have in common, in the order in which that occurs.

    By ``chain`` the sums partition the value; by ``through`` they are the modules' direct paths.
    """
    sums: dict[Name, Tensor] = {}
    for term in found:
        sums[by(term)] = sums.get(by(term), torch.zeros_like(term.values)) + term.values
    return sums


class HeadReaders(NamedTuple):
    """How a layer's heads carry a state to the targets, patterns and scales frozen (step 2)."""

    direction: Float[Tensor, "E R H d"]  # what reads a state that a head attends to fully
    weights: Float[Tensor, "E H T"]  # pattern over the LayerNorm's scale
    pattern: Float[Tensor, "E H T"]  # from the prediction position
    constant: Float[Tensor, "E R H"]  # what the LayerNorm's bias and b_V give


def head_readers(seen: Seen, read: Readout, layer: int) -> HeadReaders:
    """The readers of all heads of a layer at the prediction position."""
    params, name, events = seen.params, f"layer_{layer}", seen.events
    w_value, b_value = params[f"{name}.attn.W_QKV"][2], params[f"{name}.attn.b_QKV"][2]
    of_value = torch.einsum("erd,hkd->erhk", read.direction, params[f"{name}.attn.W_O"])
    of_normed = torch.einsum("erhk,hkd->erhd", of_value, w_value)
    pattern = seen.sites[f"{name}_pattern"][torch.arange(len(events)), :, events.prediction]
    return HeadReaders(
        centre(of_normed * params[f"{name}.ln1.gain"]),
        pattern / seen.sites[f"{name}_ln1_scale"][:, None, :, 0],
        pattern,
        torch.einsum("erhk,hk->erh", of_value, w_value @ params[f"{name}.ln1.bias"] + b_value),
    )


def _head_terms(seen: Seen, read: Readout, layer: int, sources: Sequence[Writer]) -> list[Term]:
    """Source → head → logit for every head of a layer (step 2)."""
    heads = head_readers(seen, read, layer)
    at_support = seen.events.role_mask("support_value")
    places = torch.stack([at_support, ~at_support], 1)[:, None]  # [E, 1, 2, T]
    mass = (places * heads.pattern[:, :, None]).sum(-1)
    parts = [(VALUE_BIAS, BIASES, heads.constant[..., None] * mass[:, None])]
    weights = places * heads.weights[:, :, None]  # [E, H, 2, T]
    for source in sources:
        # Positions are summed first: no [E, T, R, H] tensor.
        seen_by_head = torch.einsum("ehpt,etd->ehpd", weights, source.states)
        value = torch.einsum("ehpd,erhd->erhp", seen_by_head, heads.direction)
        parts.append((source.name, source.kind, value))
    return [
        Term(source, head_name((layer, h)), kind + ARROW + ATTENTION, where, value[:, :, h, p])
        for h in range(mass.shape[1])
        for source, kind, value in parts
        for p, where in enumerate((SUPPORT, ELSEWHERE))
    ]


def _mlp_terms(seen: Seen, read: Readout, layer: int, sources: Sequence[Writer]) -> list[Term]:
    """Source → MLP → logit at the prediction position (step 3)."""
    at = seen.events.prediction
    mlp = _chord(seen, layer, lambda states: pick(states, at))
    neuron_reader = read.direction @ seen.params[f"layer_{layer}.mlp.W_out"].T  # [E, R, F]
    reader = (neuron_reader * mlp.slope[:, None]) @ seen.params[f"layer_{layer}.mlp.W_in"]
    reader = centre(reader * seen.params[f"layer_{layer}.ln2.gain"]) / mlp.scale[:, None]
    parts = [(BASELINE, BIASES, neuron_reader @ mlp.baseline)]
    parts += [(source.name, source.kind, _read(reader, source.states)) for source in sources]
    return [
        Term(source, f"L{layer}MLP", kind + ARROW + MLP, PREDICTION, value)
        for source, kind, value in parts
    ]


def _split_mlp(seen: Seen, layer: int, every: Sequence[Writer]) -> list[Writer]:
    """An MLP's write at all positions, split by the kind of what it was made of (step 4)."""
    mlp = _chord(seen, layer, lambda states: states)
    params, order = seen.params, 2 * layer + 2
    w_in, w_out = (params[f"layer_{layer}.mlp.{name}"] for name in ("W_in", "W_out"))
    lower = [w for w in every if w.order < order]
    found = []
    for kind in dict.fromkeys(w.kind for w in lower):
        states = torch.stack([w.states for w in lower if w.kind == kind]).sum(0)
        normed = centre(states) / mlp.scale * params[f"layer_{layer}.ln2.gain"]
        neurons = (normed @ w_in.T) * mlp.slope
        if kind == BIASES:
            neurons = neurons + mlp.baseline
        name = kind + ARROW + f"L{layer}MLP"
        found.append(Writer(name, kind + ARROW + MLP, order, neurons @ w_out))
    return found


class Chord(NamedTuple):
    """An MLP as the affine map of step 3: gelu at the baseline, chords' slopes, ln2's scale."""

    baseline: Float[Tensor, " F"]
    slope: Float[Tensor, "E ... F"]
    scale: Float[Tensor, "E ... 1"]


def _chord(seen: Seen, layer: int, here: Callable[[Tensor], Tensor]) -> Chord:
    name = f"layer_{layer}"
    start = seen.params[f"{name}.mlp.W_in"] @ seen.params[f"{name}.ln2.bias"]
    start = start + seen.params[f"{name}.mlp.b_in"]
    end = here(seen.sites[f"{name}_neurons_pre"])
    return Chord(F.gelu(start), chord_slope(start, end), here(seen.sites[f"{name}_ln2_scale"]))


def chord_slope(start: Float[Tensor, " F"], end: Float[Tensor, "... F"]) -> Float[Tensor, "... F"]:
    """(gelu(end) − gelu(start)) / (end − start): the mean of gelu' between the two."""
    length = end - start
    short = length.abs() < _SHORT
    middle = start + length / 2
    density = torch.exp(-middle.square() / 2) / math.sqrt(2 * math.pi)
    tangent = torch.special.ndtr(middle) + middle * density
    chord = (F.gelu(end) - F.gelu(start)) / torch.where(short, 1.0, length)
    return torch.where(short, tangent, chord)


def _read(reader: Float[Tensor, "E R d"], states: Float[Tensor, "E d"]) -> Float[Tensor, "E R"]:
    return (reader @ states[:, :, None])[..., 0]


def matching_sites(n_layers: int) -> frozenset[str]:
    """What a pass must leave for :func:`key_composition`, besides the sites of terms."""
    return frozenset(f"layer_{layer}_attn_input" for layer in range(n_layers))


def most_adding_head(found: Iterable[Term]) -> str:
    """The head that adds most to the mean value margin: by itself, or through an MLP after it."""
    target = TARGETS.index("value_margin")
    totals: dict[str, float] = {}
    for term in found:
        value = float(term.values[:, target].mean())
        if term.chain.endswith(ARROW + ATTENTION):
            totals[term.through] = totals.get(term.through, 0.0) + value
        elif term.chain == ATTENTION + ARROW + MLP:
            totals[term.source] = totals.get(term.source, 0.0) + value
    return max(totals, key=lambda name: totals[name])


def key_composition(seen: Seen, name: str) -> pd.DataFrame:
    """A head's score split over what was written at the keys (step 6).

    Rows of head, source, separation (mean over events); ``whole`` is the separation itself.

    Args:
        seen: a pass with the sites of :func:`matching_sites` and of second-order paths.
    """
    settings = seen.decoder.settings
    head = parse_head(name, settings.n_layers, settings.n_heads)
    at = f"layer_{head[0]}"
    w, b = (seen.params[f"{at}.attn.{part}"][:, head[1]] for part in ("W_QKV", "b_QKV"))
    query = pick(seen.sites[f"{at}_attn_input"], seen.events.prediction) @ w[0].T + b[0]
    reader = centre(seen.params[f"{at}.ln1.gain"] * (query @ w[1])) / query.shape[-1] ** 0.5
    scale = seen.sites[f"{at}_ln1_scale"]
    rows = []
    for source in split_sources(seen, writers(seen)):
        if source.order < 2 * head[0] + 1:
            scores = ((source.states / scale) @ reader[:, :, None])[..., 0]
            rows.append((name, source.name, float(separation(scores, seen).mean())))
    rows.append((name, WHOLE, float(separation(prediction_scores(seen, head), seen).mean())))
    return pd.DataFrame(rows, columns=["head", "source", "separation"])

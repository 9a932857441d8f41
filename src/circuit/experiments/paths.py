"""Routed passes: forward passes in which every reader of the stream has an input of its own.

1. Every sender (:mod:`circuit.model.nodes`) has a *base* write: what it wrote in a clean pass, in
   one over exchanged states, or a mean. Their sum, with the biases of attention, is the base
   stream.
2. A receiver's input is the base stream at its place plus, over the edges into it, what the
   sender writes in this pass less its base write. A head has one input for each of query, key and
   value.
3. A component that nothing reaches (no edge, or only edges from senders that write as in the
   base) writes its base write. What a sender writes may also be given, whatever reaches it.
4. The pass answers with what the receiver ``answer`` reads.

So one function asks both kinds of question::

    # Sufficiency: the circuit gets the clean embeddings, all else is exchanged.
    base = {site: shuffle(clean.sites[site]) for site in write_sites(n_layers)}
    seen = routed(clean, base, circuit, {"embedding": clean.sites["embedding"]}).answering

    # A path: a damaged write reaches one input, and what that writes reaches all that comes later.
    edges = [(sender, receiver), *(edge for edge in every_edge(shape) if edge[0] != sender)]
    seen = routed(clean, clean.sites, edges, {sender: damaged}).answering

With all edges and clean embeddings it is the clean pass, whatever the base; with none it is the
base. An edge may carry less than the whole difference (:data:`Carry`): at some positions, or in a
subspace. A pass costs what its edges make it run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from circuit.model.nodes import ANSWER, EMBEDDING, INPUTS, Edge, require_edges
from circuit.model.transformer import LN_EPS
from circuit.scalars.base import Seen, answering, pick
from circuit.task.events import ReadEvents

Carry = Callable[[Float[Tensor, "E S d"]], Float[Tensor, "E S d"]]
"""What an edge carries of a difference of writes: linear, and the same at S = 1 position (the
prediction's, all that the last layer writes) as there among all."""


def at_role(events: ReadEvents, *roles: str) -> Carry:
    """What an edge carries of writes at the positions of one or several roles alone."""
    mask = torch.stack([events.role_mask(role) for role in roles]).any(0)[..., None]
    alone = _only(mask, events.prediction)
    return lambda states: states * (mask if states.shape[1] == mask.shape[1] else alone)


class Routed(NamedTuple):
    """What a routed pass leaves.

    ``answering`` is the pass as scalars of the answer see it; ``written`` what senders wrote less
    their base write, of all that do not write as in the base: [E, T, d], but [E, 1, d] at the
    prediction position for those of the last layer.
    """

    answering: Seen
    written: dict[str, Float[Tensor, "E S d"]]


def write_sites(n_layers: int) -> frozenset[str]:
    """The sites that make up a base: those at which embeddings, heads and MLPs write."""
    layers = range(n_layers)
    return frozenset({"embedding", *(f"layer_{n}_{s}" for n in layers for s in ("z", "mlp_write"))})


@torch.no_grad()
def routed(
    clean: Seen,
    base: Mapping[str, Float[Tensor, "E T ..."]],
    edges: Iterable[Edge] | Mapping[Edge, Carry],
    own: Mapping[str, Float[Tensor, "E T d"]],
    written: Mapping[str, Float[Tensor, "E S d"]] | None = None,
) -> Routed:
    """Run one routed pass over all events; see the module.

    Args:
        clean: gives the decoder, its parameters and the events.
        base: the sites of :func:`write_sites`, as the base has them (a head writes its ``z``).
        edges: what is not the base; as a mapping, with what each carries.
        own: by sender, writes that are given: those of the embedding are clean or the base's, and
            those of a component are what it writes whatever it reads (b_out is in an MLP's).
        written: by component, what :attr:`Routed.written` of another pass has, where it is known
            that this one has the same; it is not computed again.

    Raises:
        AnalysisError: a node does not exist, or an edge goes backwards.
    """
    require_edges([*edges, *((sender, ANSWER) for sender in own)], clean.decoder.settings)
    carried: dict[str, list[_Carried]] = {}
    for edge in edges:
        carry = edges[edge] if isinstance(edges, Mapping) else _whole
        carried.setdefault(edge[1], []).append((edge[0], carry))
    run = _Pass(clean, carried, own, written or {}, base["embedding"])
    for layer in range(clean.decoder.settings.n_layers):
        run.attention(layer, base[f"layer_{layer}_z"])
        run.mlp(layer, base[f"layer_{layer}_mlp_write"])
    state = clean.decoder.final_norm(clean.params, run.read(run.reaching(ANSWER)))
    return Routed(answering(clean, final_norm=state[:, 0]), run.written)


_Carried = tuple[str, Carry]
"""A sender, and what an edge carries of it."""


def _whole(difference: Tensor) -> Tensor:
    return difference


class _Pass:
    """A routed pass under way: the base stream, and what was written beside it so far."""

    def __init__(
        self,
        clean: Seen,
        carried: Mapping[str, Sequence[_Carried]],
        own: Mapping[str, Tensor],
        known: Mapping[str, Tensor],
        stream: Float[Tensor, "E T d"],
    ) -> None:
        self.clean, self.carried, self.own, self.known = clean, carried, own, known
        self.stream, self.last = stream, clean.decoder.settings.n_layers - 1
        self.written = {EMBEDDING: own[EMBEDDING] - stream} if EMBEDDING in own else {}

    def reaching(self, receiver: str) -> tuple[_Carried, ...]:
        """Edges into a receiver from senders whose write is not the base's."""
        return tuple(one for one in self.carried.get(receiver, ()) if one[0] in self.written)

    def read(self, some: Iterable[_Carried]) -> Float[Tensor, "E S d"]:
        """The stream as it is where these have reached it."""
        x = self.stream
        for sender, carry in some:
            by, at = self.written[sender], self.clean.events.prediction
            x = x + carry(by if by.shape == x.shape else _only(by, at))
        return x

    def normed(self, norm: str, some: Iterable[_Carried]) -> Float[Tensor, "E S d"]:
        """The same after a LayerNorm."""
        gain, bias = (self.clean.params[f"{norm}.{part}"] for part in ("gain", "bias"))
        x = self.read(some)
        return F.layer_norm(x, x.shape[-1:], gain, bias, LN_EPS)

    def attention(self, layer: int, z: Float[Tensor, "E T H k"]) -> None:
        """Let the heads of a layer write; ``z`` are the base's."""
        params, block, shape = self.clean.params, f"layer_{layer}", self.clean.decoder.settings
        w_out, at = params[f"{block}.attn.W_O"], self.clean.events.prediction
        inputs: dict[int, list[tuple[_Carried, ...]]] = {}
        for head in range(shape.n_heads):
            name = f"L{layer}H{head}"
            some = [self.reaching(f"{name}.{one}") for one in INPUTS]
            if name in self.known:
                self.written[name] = self.known[name]
            elif name in self.own:
                self.written[name] = self.own[name] - z[:, :, head] @ w_out[head]
            elif any(some):
                inputs[head] = some
        # Each input that several heads share is normalised once.
        every = {one for some in inputs.values() for one in some}
        states = {one: self.normed(f"{block}.ln1", one) for one in every}
        narrow = layer == self.last  # only the prediction position is asked for
        if narrow:
            self.stream, z = _only(self.stream, at), _only(z, at)
        if inputs:
            weight, bias = params[f"{block}.attn.W_QKV"], params[f"{block}.attn.b_QKV"]

            def project(part: int) -> Float[Tensor, "E h S k"]:
                rows: dict[int, Tensor] = {}
                for one, x in states.items():
                    if some := [head for head in inputs if inputs[head][part] == one]:
                        maps = weight[part, some].flatten(0, 1), bias[part, some].flatten()
                        found = F.linear(_only(x, at) if narrow and part == 0 else x, *maps)
                        found = found.unflatten(-1, (len(some), -1))
                        rows |= {head: found[:, :, i] for i, head in enumerate(some)}
                return torch.stack([rows[head] for head in inputs], 1)

            length = self.clean.events.tokens.shape[1]
            seen = torch.arange(length) <= at[:, None, None, None] if narrow else None
            found = F.scaled_dot_product_attention(
                project(0), project(1), project(2), attn_mask=seen, is_causal=not narrow
            )
            for number, head in enumerate(inputs):
                moved = found[:, number] - z[:, :, head]
                self.written[f"L{layer}H{head}"] = moved @ w_out[head]
        self.stream = self.stream + z.flatten(2) @ w_out.flatten(0, 1) + params[f"{block}.attn.b_O"]

    def mlp(self, layer: int, write: Float[Tensor, "E T d"]) -> None:
        """Let the MLP of a layer write; ``write`` is the base's."""
        params, block, name = self.clean.params, f"layer_{layer}.mlp", f"L{layer}MLP"
        at, narrow = self.clean.events.prediction, layer == self.last
        write = _only(write, at) if narrow else write
        if name in self.known:
            self.written[name] = self.known[name]
        elif name in self.own:
            own = self.own[name]
            self.written[name] = (_only(own, at) if narrow else own) - write
        elif some := self.reaching(name):
            states = self.normed(f"layer_{layer}.ln2", some)
            neurons = F.gelu(F.linear(states, params[f"{block}.W_in"], params[f"{block}.b_in"]))
            new = F.linear(neurons, params[f"{block}.W_out"].T, params[f"{block}.b_out"])
            self.written[name] = new - write
        self.stream = self.stream + write


def _only(states: Float[Tensor, "E S ..."], at: Int[Tensor, " E"]) -> Float[Tensor, "E 1 ..."]:
    """The states at one position of every event."""
    return pick(states, at)[:, None]

"""What writes into the residual stream and what reads it: nodes of a circuit, and their edges.

1. *Senders* write: the ``embedding`` (token and position), every head (``L0H1``) and MLP
   (``L0MLP``). Biases of attention are no node: they are the same in every pass.
2. *Receivers* read: a head's ``L1H3.q``, ``L1H3.k`` and ``L1H3.v``, an MLP (``L1MLP``), and the
   ``answer``, the final LayerNorm at the prediction position.
3. An *edge* leads from a sender to a receiver that the model meets later. Heads of one layer read
   before any of them writes; an MLP reads what the heads of its layer wrote.

Nothing here needs torch, so that settings which name edges can be checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable

from circuit.config.recipe import ModelSettings
from circuit.errors import AnalysisError, nearest

Edge = tuple[str, str]
"""A sender and a receiver."""
EMBEDDING, ANSWER = "embedding", "answer"
INPUTS = ("q", "k", "v")


def senders(settings: ModelSettings) -> dict[str, int]:
    """Every sender in the order in which the model meets them, and its place in that order.

    Heads of one layer have the same place.
    """
    found = {EMBEDDING: 0}
    for layer in range(settings.n_layers):
        found |= {f"L{layer}H{head}": 2 * layer + 1 for head in range(settings.n_heads)}
        found[f"L{layer}MLP"] = 2 * layer + 2
    return found


def receivers(settings: ModelSettings) -> dict[str, int]:
    """Every receiver in order, and its place among the senders'; the answer comes last."""
    found: dict[str, int] = {}
    for name, place in senders(settings).items():
        found |= dict.fromkeys(inputs(name), place)
    return {**found, ANSWER: 2 * settings.n_layers + 1}


def inputs(component: str) -> tuple[str, ...]:
    """The receivers of a head or MLP; the embedding has none."""
    if component == EMBEDDING:
        return ()
    return (component,) if "H" not in component else tuple(f"{component}.{i}" for i in INPUTS)


def owner(receiver: str) -> str:
    """The head or MLP that a receiver is an input of; of the answer, itself."""
    return receiver.partition(".")[0]


def every_edge(settings: ModelSettings) -> list[Edge]:
    """All edges: with them a model computes what it does."""
    writing, reading = senders(settings), receivers(settings)
    return [(s, r) for s, at in writing.items() for r, by in reading.items() if at < by]


def require_edges(edges: Iterable[Edge], settings: ModelSettings) -> None:
    """Refuse edges that a model cannot have.

    Raises:
        AnalysisError: a sender or a receiver does not exist, or an edge goes backwards.
    """
    writing, reading = senders(settings), receivers(settings)
    where = f"a model with {settings.n_layers} layers of {settings.n_heads} heads"
    last = f"L{settings.n_layers - 1}"
    for sender, receiver in edges:
        for name, valid, does, such in (
            (sender, writing, "writes", f"{EMBEDDING}, L0H0 to {last}H{settings.n_heads - 1}"),
            (receiver, reading, "reads", f"{ANSWER}, an input such as {last}H0.q, .k or .v"),
        ):
            if name not in valid:
                guess = nearest(name, valid)
                raise AnalysisError(
                    f"edge {sender} → {receiver}: nothing that {does} is called {name!r}",
                    where=where,
                    expected=f"{such}, L0MLP to {last}MLP",
                    do=f"did you mean {guess!r}?" if guess else "name one of these",
                )
        if writing[sender] >= reading[receiver]:
            raise AnalysisError(
                f"edge {sender} → {receiver} goes backwards: {receiver} reads before {sender} "
                "has written",
                where=where,
                expected="a receiver that the model meets after the sender",
                do="turn it round, or leave it out",
            )


def input_sites(layer: int) -> tuple[str, str]:
    """The two sites of what a layer's heads read: the stream, and its LayerNorm'd state."""
    stream = f"layer_{layer - 1}_post_mlp" if layer else "embedding"
    return stream, f"layer_{layer}_attn_input"

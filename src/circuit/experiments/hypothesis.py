"""Whether a circuit is enough for the answer, needed for it, special, and minimal.

1. Everything that a circuit does not keep is *damaged*: its write is that of another event
   (``resample``, all events in one random cycle) as far before its prediction position, or its mean
   over all positions of all events (``mean``). Places are not exchanged for places alike, which
   would tell where the support is. Passes are routed (:mod:`circuit.experiments.paths`), so every
   edge is damaged by itself.
2. With S the answer, clean − damaged the *whole*, and *kept* and *without* the passes in
   which all but the circuit, or the circuit alone, is damaged:

       sufficiency = mean(S_kept − S_damaged) / mean(S_clean − S_damaged)
       necessity   = mean(S_clean − S_without) / mean(S_clean − S_damaged)

   Neither is bounded by 0 and 1: what is kept alone may do more than with all else beside it.
3. *Specificity*: the sufficiency of random circuits (:mod:`circuit.experiments.circuits`), as a
   band, and as the excess over every one of them, programs and circuits drawn together. Damage
   anywhere along the way breaks an answer, so the control of necessity is damage elsewhere: as many
   of the other edges.
4. *Minimality*: what leaving out one edge costs the circuit, with intervals that hold for all edges
   at once. An edge is needed where a cost is shown. And the circuit pruned, edge after edge.
5. Events are programs. What chose a circuit, or prunes it, sees the half that chooses; everything
   is told on the other. Each half is exchanged within itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import CONFIRMATION, EXCESS, SELECTION, SHARE, Estimates, estimates
from circuit.evidence import by_control, verdict
from circuit.experiments.circuits import Circuit, pruned, whole
from circuit.experiments.circuits import Subspace as Carried
from circuit.experiments.donors import Shuffle, exchanged, stand_in
from circuit.experiments.paths import Carry, Routed, at_role, routed, write_sites
from circuit.experiments.subspaces import Subspace
from circuit.experiments.trial import ANSWER, Values, less, values_of
from circuit.landmarks import held_from
from circuit.model.nodes import EMBEDDING, Edge, owner
from circuit.model.sites import parse_component
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar, centre, look
from circuit.scalars.behaviour import answer_margin, answered_right
from circuit.task.events import ReadEvents

OUTCOME, WHOLE, SUFFICIENCY, NECESSITY = "answer", "whole", "sufficiency", "necessity"
MINIMALITY, NEEDED, FEWEST = "minimality", "needed_edges", "fewest_edges"
ACCEPTED, EVERY = "accepted", "every split"
RANDOM, OTHERS, WITHOUT = "random circuits", "as many other edges", "the circuit without it"
SCALARS: dict[str, Scalar] = {OUTCOME: answer_margin("mean"), "correct": answered_right()}
"""The right logit over the mean of all others, and whether it is the largest."""
_INPUTS = {"q": "head_qk_query", "k": "head_qk_key", "v": "head_ov_input"}
READ = "head_input"
"""The subspace that is the one that the receiving head reads: by its W_QK or W_OV."""


class Bench:
    """A checkpoint and some events, with what stands in the place of what is damaged."""

    def __init__(
        self,
        decoder: Decoder,
        theta: Float[Tensor, " P"],
        events: ReadEvents,
        value_ids: range,
        ablation: str,
        seed: int,
        scalars: Mapping[str, Scalar] | None = None,
    ) -> None:
        sites = write_sites(decoder.settings.n_layers)
        with torch.no_grad():
            self.seen = look(decoder, theta, events, value_ids, sites | ANSWER)
        self.theta, self.scalars = theta, SCALARS if scalars is None else scalars
        donor, inside = exchanged(len(events), seed), events.causal_prefix
        longer = (events.prediction[donor] - events.prediction)[:, None]
        place = (torch.arange(events.tokens.shape[1]) + longer).clamp(0, events.tokens.shape[1] - 1)
        shuffle = Shuffle(donor, place)
        self.base = {
            site: stand_in(ablation, self.seen.sites[site], inside, shuffle) for site in sites
        }
        self._carries: dict[tuple[object, ...], Carry] = {}

    def estimates(self, step: int, families: int = 0) -> Estimates:
        """An empty table of the scalars."""
        units = {name: scalar.unit for name, scalar in self.scalars.items()}
        return Estimates(step, units, families=families)

    @cached_property
    def clean(self) -> Values:
        """The scalars of the clean pass."""
        return values_of(self.seen, self.scalars)

    @cached_property
    def damaged(self) -> Values:
        """The scalars where everything is damaged."""
        return self.kept(Circuit({}))

    def kept(self, circuit: Circuit) -> Values:
        """The scalars where everything but the circuit is damaged."""
        return self._run({edge: self._carry(circuit, edge) for edge in circuit.edges})

    def without(self, circuit: Circuit) -> Values:
        """The scalars where the circuit alone is damaged."""
        every = whole(self.seen.decoder.settings)
        edges = {
            edge: self._carry(every, edge) for edge in every.edges if edge not in circuit.edges
        }
        for edge, subspace in circuit.edges.items():
            if subspace is not None or edge[0] in circuit.roles:
                edges[edge] = self._carry(circuit, edge, rest=True)
        return self._run(edges)

    def kept_less(self, circuit: Circuit) -> dict[Edge, Values]:
        """The same without each of the circuit's edges; what none of these reaches runs once."""
        edges = {edge: self._carry(circuit, edge) for edge in circuit.edges}
        written, found = self._routed(edges).written, {}
        for gone in edges:
            behind = circuit.behind(owner(gone[1])) | {EMBEDDING}
            known = {name: one for name, one in written.items() if name not in behind}
            left = {edge: carry for edge, carry in edges.items() if edge != gone}
            found[gone] = values_of(self._routed(left, known).answering, self.scalars)
        return found

    def means_less(self, circuit: Circuit) -> dict[Edge, float]:
        """The mean of the answer without each of the circuit's edges."""
        found = self.kept_less(circuit)
        return {edge: float(values[OUTCOME].mean()) for edge, values in found.items()}

    def _run(self, edges: Mapping[Edge, Carry]) -> Values:
        return values_of(self._routed(edges).answering, self.scalars)

    def _routed(
        self, edges: Mapping[Edge, Carry], written: Mapping[str, Tensor] | None = None
    ) -> Routed:
        own = {EMBEDDING: self.seen.sites["embedding"]}
        return routed(self.seen, self.base, edges, own, written)

    def _carry(self, circuit: Circuit, edge: Edge, rest: bool = False) -> Carry:
        """What an edge of a circuit carries, or all but that; inputs alike share one function."""
        roles, subspace = circuit.roles.get(edge[0]), circuit.edges[edge]
        reader = edge[1] if subspace is not None and subspace.name == READ else ""
        key = (roles, subspace, reader, rest)
        if key not in self._carries:
            at = at_role(self.seen.events, *roles) if roles else _all
            basis = None if subspace is None else self._basis(subspace, reader)

            def part(states: Tensor) -> Tensor:
                found = at(states) if basis is None else at(states) @ basis @ basis.T
                return states - found if rest else found

            self._carries[key] = part if rest or basis is not None else at
        return self._carries[key]

    def _basis(self, subspace: Carried, reader: str) -> Float[Tensor, "d r"]:
        """An orthonormal basis of a subspace; what a head reads, as it reads it of the stream."""
        name, head = (_INPUTS[reader[-1]], owner(reader)) if reader else (subspace.name, None)
        found = Subspace(name, head).basis(self.seen, self.theta, subspace.rank).to(self.theta)
        if head is None:
            return found
        layer, _ = parse_component(head, self.seen.decoder.settings)
        gain = self.seen.params[f"layer_{layer}.ln1.gain"]
        basis: Tensor = torch.linalg.qr(centre(gain * found.T).T).Q
        return basis


def _all(states: Tensor) -> Tensor:
    return states


def tested(
    bench: Bench,
    step: int,
    circuit: Circuit,
    randoms: Sequence[Circuit],
    others: Sequence[Circuit],
) -> pd.DataFrame:
    """Sufficiency and necessity, in units of the scalars and as shares (steps 2 and 3)."""
    rows = bench.estimates(step)
    rows.add_each(less(bench.clean, bench.damaged), test=WHOLE)

    def add(
        test: str, run: Callable[[Circuit], Values], control: str, drawn: Sequence[Circuit]
    ) -> None:
        rows.add_each(run(circuit), test=test)
        found = [run(one) for one in drawn]
        for measure in bench.scalars if found else ():
            rows.add_draws(np.stack([one[measure] for one in found]), measure, control, test=test)

    add(SUFFICIENCY, lambda one: less(bench.kept(one), bench.damaged), RANDOM, randoms)
    add(NECESSITY, lambda one: less(bench.clean, bench.without(one)), OTHERS, others)
    rows.share_of(test=WHOLE)
    return rows.frame().assign(half=CONFIRMATION)


def needed_edges(bench: Bench, step: int, circuit: Circuit) -> pd.DataFrame:
    """What the circuit has over itself without each edge, by ``source`` and ``target`` (step 4)."""
    rows, kept = bench.estimates(step, families=1), less(bench.kept(circuit), bench.damaged)
    for edge, without in bench.kept_less(circuit).items():
        named = dict(zip(("source", "target"), edge, strict=True))
        rows.add_each(kept, **named)
        rows.add_each(less(without, bench.damaged), WITHOUT, **named)
    rows.excess(WITHOUT)
    return rows.frame().assign(half=CONFIRMATION)


def pruning(benches: Mapping[str, Bench], step: int, circuit: Circuit) -> pd.DataFrame:
    """Sufficiency of ever smaller circuits, by ``edges``, their number (step 4).

    Args:
        benches: of the half that chooses, which prunes, and of the one that confirms.
    """
    smaller = {str(len(one.edges)): one for one in pruned(circuit, benches[SELECTION].means_less)}
    parts = []
    for half, bench in benches.items():
        rows = bench.estimates(step)
        rows.add_each(less(bench.clean, bench.damaged), edges=WHOLE)
        for number, one in smaller.items():
            rows.add_each(less(bench.kept(one), bench.damaged), edges=number)
        rows.share_of(edges=WHOLE)
        parts.append(rows.frame().assign(half=half))
    found = pd.concat(parts, ignore_index=True)
    return found[found["edges"] != WHOLE].astype({"edges": int})


def landmarks(
    rows: pd.DataFrame,
    edges: pd.DataFrame,
    smaller: pd.DataFrame,
    criteria: Mapping[str, tuple[Mapping[str, str], float]],
) -> pd.DataFrame:
    """What follows from verdicts alone, so without chance of its own.

    Args:
        rows: of :func:`tested`, with the key ``split``.
        edges: of :func:`needed_edges`.
        smaller: of :func:`pruning`.
        criteria: the row of a test, and what it must be shown to exceed, by the test's name;
            ``sufficient`` is that of the circuit kept.

    Returns:
        ``needed_edges``, the share of edges shown to be needed, at every step; ``fewest_edges``
        that are still shown to be sufficient on the half that chooses; ``accepted``, the step from
        which on all criteria stay met, by split and on ``every split``. Missing where there is
        none.
    """
    own, last = edges[edges["measure"] == OUTCOME], rows["step"].max()
    found: list[dict[str, object]] = []
    for step, at in own.groupby("step"):
        needed = [_shown(one, EXCESS) for _, one in at.groupby(["source", "target"])]
        share = {"measure": NEEDED, "unit": "share", "mean": np.mean(needed)}
        found.append({**share, "test": MINIMALITY, "step": step})
    kept = smaller[(smaller["measure"] == OUTCOME + SHARE) & (smaller["half"] == SELECTION)]
    enough = criteria["sufficient"][1]
    fit = [number for number, one in kept.groupby("edges") if _shown(one, bound=enough)]
    fewest = {"measure": FEWEST, "unit": "1", "mean": min(fit, default=np.nan)}
    found.append({**fewest, "test": MINIMALITY, "step": last})
    shares = rows[rows["measure"] == OUTCOME + SHARE]
    met = shares.groupby(["split", "step"], sort=False).apply(
        lambda one: all(
            _shown(one[one["test"] == where["test"]], where.get("against", ""), bound)
            for where, bound in criteria.values()
        )
    )
    by_split = met.unstack("split")[list(shares["split"].unique())]
    for split, held in by_split.assign(**{EVERY: by_split.all(axis=1)}).sort_index().items():
        row = {"measure": ACCEPTED, "unit": "step", "mean": held_from(held.to_dict())}
        found.append({**row, "split": split, "step": last})
    return estimates(pd.DataFrame(found), half=CONFIRMATION)


def _shown(rows: pd.DataFrame, against: str = "", bound: float = 0.0) -> bool:
    return verdict(by_control(rows)[against], bound=bound) == "shown"


def found_circuit(bench: Bench, size: int) -> Circuit:
    """The largest circuit of at most so many edges that pruning the whole model comes to.

    Where it comes to none but the empty one, the last before that.
    """
    found = pruned(whole(bench.seen.decoder.settings), bench.means_less)[:-1]
    return next((one for one in found if len(one.edges) <= size), found[-1])

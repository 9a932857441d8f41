"""Through which later inputs a component acts: path effects, and what no single one explains.

1. A *source* is the embedding, a head or an MLP. It is *damaged* at all positions: in place of its
   write stands the ``mean`` over all positions of all events, or (``resample``) what another event
   writes at the place alike, all events in one random cycle. S is the right value's logit minus the
   mean of all other values' (:mod:`circuit.measures.paths.answer`).
2. *Total effect*: S minus what it is with the source damaged and all that comes after recomputed.
3. *Path effect* of source → receiver: the same where the damaged write enters one later input alone
   (:mod:`circuit.experiments.paths`): a head's query, key or value, an MLP, or the answer itself,
   the *direct* path. The receiver and what follows from its write are recomputed; all else that
   reads the source reads its clean write (nested counterfactuals, Pearl 2001).
4. *Interaction*: the total less the sum of path effects. Above 0 single paths understate: they
   stand in for each other, or what follows makes good the loss of any one. Below 0 they overstate:
   they need each other. *Order-averaged* effects of the kinds of inputs, given the clean write back
   in all orders (:mod:`circuit.experiments.shapley`), share it out; of the last checkpoint alone.
5. Controls: the same for the answers of other programs; and, but for the averages, a *random*
   change of the source: as large at every position, turned by a rotation drawn for each event.
   Excesses hold all numbers of a checkpoint at once.
6. A path *appears* at the checkpoint from which it is, as at the last one, beyond both controls.
   That of the largest path into every kind of input is told apart (``strongest_appears``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.estimates import Estimates, estimates
from circuit.evidence import agreed, by_control
from circuit.experiments.changes import Where, add
from circuit.experiments.donors import OTHERS, random_cycle, stand_in
from circuit.experiments.edits import AtSites
from circuit.experiments.paths import routed, write_sites
from circuit.experiments.shapley import Sets, shares
from circuit.experiments.trial import LIKE_LENGTHS, Trial
from circuit.landmarks import held_from
from circuit.measures.paths.answer import add_beside_others, answers
from circuit.measures.paths.path_numbers import APPEARS, PATH, TOTAL, WHOLE
from circuit.measures.paths.second_order import ARROW
from circuit.model.nodes import ANSWER, EMBEDDING, every_edge, owner, senders
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen
from circuit.scalars.write import component_write, stage_after
from circuit.task.events import ReadEvents

INTERACTION, AVERAGED = "interaction", "order_averaged"
STRONGEST, DIRECT = "strongest_appears", "the answer"
RANDOM = "a random change of the same size"
KEYS = ("source", "receiver", "path", "input")
_INPUTS = {"q": "queries", "k": "keys", "v": "values", "": "MLPs"}
_Label = tuple[str, str, str]
"""Measure, receiver and the kind of its input; empty where a number is of none or of all."""


def mediation(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    events: ReadEvents,
    value_ids: range,
    ablation: str,
    seed: int,
) -> pd.DataFrame:
    """Effects of all sources at every step, in float64.

    Args:
        ablation: ``mean`` or ``resample`` (step 1).
        seed: of the cycle of events and of the random changes.

    Returns:
        Estimates by the ``KEYS``, in logits, of ``total``, ``path``, ``interaction``,
        ``order_averaged`` and ``whole`` (S itself), with controls and excesses; and of ``appears``
        in steps.

    Raises:
        AnalysisError: there are fewer than three events, or all have the same answer.
    """
    sites = write_sites(decoder.settings.n_layers) | frozenset(stages(decoder.settings.n_layers))
    shuffle = random_cycle(events, seed)
    generator = torch.Generator().manual_seed(seed)
    size = (len(events), *[decoder.settings.d_model] * 2)
    turns = torch.linalg.qr(torch.randn(size, generator=generator, dtype=torch.float64)).Q
    tables = []
    for step in steps:
        trial = Trial.of(decoder, theta(step).double(), events, value_ids, sites, LIKE_LENGTHS)
        units = dict.fromkeys((TOTAL, PATH, INTERACTION, AVERAGED, WHOLE), "logit")
        rows = Estimates(step, units, families=1)
        for source in senders(decoder.settings):
            write = source_write(trial.clean, source)
            change = stand_in(ablation, write, events.causal_prefix, shuffle) - write
            own = path_effects(trial, source, change)
            if step == steps[-1]:
                own |= averaged(trial.clean, source, change)
            random = path_effects(trial, source, change @ turns)
            for label, values in own.items():
                measure, receiver, kind = label
                path = f"{source}{ARROW}{receiver}" if receiver else ""
                keys = dict(zip(KEYS, (source, receiver, path, kind), strict=True))
                add_beside_others(rows, values, measure, **keys)
                if label in random:
                    rows.add(random[label][:, 0].numpy(), measure, RANDOM, **keys)
        add_beside_others(rows, answers(trial.clean), WHOLE, source=ANSWER)
        rows.excesses(OTHERS, RANDOM)
        tables.append(rows.frame())
    rows = pd.concat(tables, ignore_index=True)
    return pd.concat([rows, _appearance(rows)], ignore_index=True)


def receivers_of(source: str, shape: ModelSettings) -> dict[str, list[str]]:
    """All later receivers, by the kind of their input, in order; the answer alone comes last."""
    found: dict[str, list[str]] = {}
    for sender, receiver in every_edge(shape):
        if sender == source:
            kind = DIRECT if receiver == ANSWER else _INPUTS[receiver.partition(".")[2]]
            found.setdefault(kind, []).append(receiver)
    return found


def source_write(seen: Seen, source: str) -> Float[Tensor, "E T d"]:
    """What a sender writes at every position."""
    return seen.sites["embedding"] if source == EMBEDDING else component_write(seen, source)


@torch.no_grad()
def path_effects(
    trial: Trial, source: str, change: Float[Tensor, "E T d"]
) -> dict[_Label, Float[Tensor, "E 2"]]:
    """Total and path effects of a change of what a source writes, and their interaction.

    Args:
        trial: with a clean pass that has the sites of a base and all stages.

    Returns:
        The effect on the right answer, and on those of other programs.
    """
    clean, shape = trial.clean, trial.clean.decoder.settings
    order, prediction = stages(shape.n_layers), clean.events.role_mask("prediction")[..., None]
    own = {source: source_write(clean, source) + change}
    start = order[0] if source == EMBEDDING else stage_after(source, shape)
    places = {(TOTAL, "", ""): (start, change)}
    for kind, some in receivers_of(source, shape).items():
        # Receivers of one kind do not feed each other here, so one pass is that of each.
        written = routed(clean, clean.sites, [(source, one) for one in some], own).written
        for one in some:
            if one == ANSWER:
                places[PATH, one, kind] = order[-2], change
            else:
                at, by = stage_after(owner(one), shape), written[owner(one)]
                by = by if by.shape == change.shape else by * prediction
                places[PATH, one, kind] = at, by
    # What a write has more is added to the stream; those that go on from one stage are one batch.
    ordered = sorted(places, key=lambda label: order.index(places[label][0]))
    batches = {one: AtSites(((Where(places[one][0]), add(places[one][1])),)) for one in ordered}
    left = {label: answers(clean) - answers(seen) for label, _, seen in trial.passes(batches)}
    found = {label: left[label] for label in places}
    paths = torch.stack([values for label, values in found.items() if label[0] == PATH])
    return {**found, (INTERACTION, "", ""): found[TOTAL, "", ""] - paths.sum(0)}


@torch.no_grad()
def averaged(
    clean: Seen, source: str, change: Float[Tensor, "E T d"]
) -> dict[_Label, Float[Tensor, "E 2"]]:
    """Order-averaged effects of a change by kinds of inputs (step 4)."""
    shape, own = clean.decoder.settings, {source: source_write(clean, source) + change}
    kinds = receivers_of(source, shape)
    onward = [edge for edge in every_edge(shape) if edge[0] != source]

    def value(sets: Sets) -> dict[tuple[int, ...], Float[Tensor, "E 2"]]:
        found = {}
        for label, clean_again in sets.items():
            kept = zip(kinds.values(), clean_again[0].tolist(), strict=True)
            damaged = [(source, one) for some, back in kept if not back for one in some]
            found[label] = answers(routed(clean, clean.sites, damaged + onward, own).answering)
        return found

    found = shares(value, len(kinds), len(clean.events), 0, 0)
    return {(AVERAGED, "", kind): one for kind, one in zip(kinds, found, strict=True)}


def _appearance(rows: pd.DataFrame) -> pd.DataFrame:
    """From which step on everything is beyond its controls as at the last one (step 7)."""
    last, found = rows["step"].max(), []
    asked = rows[rows["measure"].isin([TOTAL, PATH, WHOLE])]
    for key, one in asked.groupby(["measure", *KEYS], sort=False):
        came = {step: agreed(by_control(at)) for step, at in one.groupby("step")}
        when = held_from({step: side == came[last] != "open" for step, side in came.items()})
        size = one.loc[(one["step"] == last) & (one["against"] == ""), "mean"].abs().item()
        found.append((*key, when, size))
    every = pd.DataFrame(found, columns=["measure", *KEYS, "mean", "size"])
    paths = every[every["measure"] == PATH]
    largest = paths.loc[paths.groupby("input", sort=False)["size"].idxmax()]
    both = pd.concat([every.assign(measure=APPEARS), largest.assign(measure=STRONGEST)])
    return estimates(both.drop(columns="size"), "step", step=int(last))

"""One program, one read, one checkpoint: what every part of the model does towards the answer.

1. One float64 pass over the program. Two positions are followed: the support value, where the
   answer stands, and the prediction, where it must be given.
2. At both, for every head: its attention over the positions, and what its write adds to the answer.
   At the prediction that is the write's direct path; at the support value, what the later heads
   that look there from the prediction carry of it, patterns frozen
   (:mod:`circuit.measures.paths.second_order`). The last layer's writes at the support value are
   read by nobody, so they are left out.
3. The same for MLPs and for their neurons, of which the ``top`` ones are kept.
4. The logit lens after every stage; the direct and second-order paths, by size.
5. For the head that adds most, what made it look at the support value
   (:mod:`circuit.measures.paths.matching`), which no path through values can show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.measures.heads.patterns import position_names
from circuit.measures.paths.direct import TARGETS, Readout, direct_paths, readout, writers
from circuit.measures.paths.matching import key_composition, matching_sites, most_adding_head
from circuit.measures.paths.second_order import ARROW, Term, head_readers, second_order_sites, terms
from circuit.model.sites import head_name, stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, look
from circuit.scalars.value import stream_reader
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import Vocabulary

POSITIONS = ("support_value", "prediction")
_NAMES = (
    "support_value",
    "support_key",
    "support_op",
    "query_key",
    "stale_value",
    "value_distractors",
    "key_distractors",
    "prior_answers",
)
PROMOTED = 3
_ADDS = {"correct_logit": "logit", "value_margin": "logit"}
_PLACE = {"order": "id", "position": "token"}
ATTENTION_UNITS = {
    "query_position": "token",
    "key_position": "token",
    "attention": "probability",
}
WRITE_UNITS = {**_PLACE, **_ADDS}
NEURON_UNITS = {"layer": "id", "neuron": "id", "position": "token", "activation": "1", **_ADDS}
LENS_UNITS = {**_PLACE, "rank": "1", "logit": "logit", "probability": "probability"}
PATH_UNITS = {"order": "id", "modules": "1", **_ADDS}


class Trace(NamedTuple):
    """What happened in one program.

    ``facts``: the program's tokens and roles, where things stand, and the answer, in JSON's types.
    ``attention``: head, query_role, query_position, key_position, token, role, attention.
    ``writes``: component, order, role, position, correct_logit, value_margin, promoted.
    ``neurons``: layer, neuron, role, position, activation, correct_logit, value_margin, promoted.
    ``lens``: stage, order, role, position, rank, token, is_answer, logit, probability.
    ``paths``: order (in the model), modules (between source and logit), path, source, through,
    positions, correct_logit, value_margin; largest first. ``matching``: head, source, separation.
    """

    facts: dict[str, Any]
    attention: pd.DataFrame
    writes: pd.DataFrame
    neurons: pd.DataFrame
    lens: pd.DataFrame
    paths: pd.DataFrame
    matching: pd.DataFrame


def prompt_trace(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    event: int,
    vocabulary: Vocabulary,
    top: int,
) -> Trace:
    """Follow one of the events through the model; see :class:`Trace`.

    Raises:
        AnalysisError: there is no event of this number.
    """
    if not 0 <= event < len(events):
        raise AnalysisError(
            f"there is no event {event}",
            where="event of a prompt_trace",
            expected=f"0 to {len(events) - 1}, the numbers of the split's probe events",
            do="name one of these events",
        )
    one = events.select(torch.tensor([event])).crop()
    layers = decoder.settings.n_layers
    sites = second_order_sites(layers) | matching_sites(layers)
    with torch.no_grad():
        seen = look(decoder, theta.double(), one, vocabulary.value_ids, sites)
        read = readout(seen)
        found = terms(seen, read)
        places = {role: int(one.role_position(role)[0]) for role in POSITIONS}
        carried = {role: _carried(seen, read, role) for role in POSITIONS}
        looker = most_adding_head(found)
        return Trace(
            _facts(seen, read, vocabulary, places, looker) | {"event": event},
            _attention(seen, vocabulary, places),
            _writes(seen, vocabulary, places, carried),
            _neurons(seen, vocabulary, places, carried, top),
            _lens(seen, vocabulary, places, top),
            _paths(seen, read, found),
            key_composition(seen, looker),
        )


def _facts(
    seen: Seen, read: Readout, vocabulary: Vocabulary, places: dict[str, int], looker: str
) -> dict[str, Any]:
    events, words = seen.events, vocabulary.tokens
    state = seen.sites["final_norm"][0, places["prediction"]]
    logits = seen.decoder.unembed(seen.params, state)
    said = int(logits.argmax())
    rival = int(read.targets.rivals[0][0])
    direct = direct_paths(seen, read).values.sum(-1)
    return {
        "sample_id": events.sample_id[0],
        "read_index": int(events.read_index[0]),
        "tokens": [words[token] for token in events.tokens[0].tolist()],
        "roles": position_names(events, _NAMES)[0],
        "positions": places,
        "key": words[int(events.query_key_id[0])],
        "answer": words[int(events.answer[0])],
        "said": words[said],
        "said_probability": float(logits.softmax(-1)[said]),
        "answer_probability": float(logits.softmax(-1)[events.answer[0]]),
        "rival": words[rival],
        "looker": looker,
        "writes_since_support": int(events.writes_since_support[0]),
        **{name: float(value) for name, value in zip(TARGETS, read.whole[0], strict=True)},
        "residual": float((direct - read.whole).abs().max()),
    }


def _carried(seen: Seen, read: Readout, role: str) -> dict[int, Float[Tensor, "R d"]]:
    """Layer → what reads a state that this layer writes at a position, towards the targets.

    At the prediction the final readout; elsewhere the sum over all heads of later layers, each with
    its pattern on that position.
    """
    layers = seen.decoder.settings.n_layers
    if role == "prediction":
        return dict.fromkeys(range(-1, layers), read.direction[0])
    at = int(seen.events.role_position(role)[0])
    heads = [head_readers(seen, read, layer) for layer in range(layers)]
    by = [torch.einsum("rhd,h->rd", h.direction[0], h.weights[0, :, at]) for h in heads]
    return {layer: torch.stack(by[layer + 1 :]).sum(0) for layer in range(-1, layers - 1)}


def _promoters(seen: Seen, at: int) -> Float[Tensor, "V d"]:
    """What reads from a state how it moves each token's logit at a position, less their mean."""
    scale = seen.sites["final_norm_scale"][0, at]
    rows = stream_reader(seen, seen.params["embedding.token"], scale)
    return rows - rows.mean(0)


def _promoted(effects: Float[Tensor, " V"], vocabulary: Vocabulary) -> str:
    """The tokens whose logits a write raises most, with by how much."""
    top = effects.topk(PROMOTED)
    pairs = zip(top.values.tolist(), top.indices.tolist(), strict=True)
    return ", ".join(f"{vocabulary.tokens[token]} {value:+.2f}" for value, token in pairs)


def _attention(seen: Seen, vocabulary: Vocabulary, places: dict[str, int]) -> pd.DataFrame:
    layers = seen.decoder.settings.n_layers
    (names,) = position_names(seen.events, _NAMES)
    tokens = [vocabulary.tokens[token] for token in seen.events.tokens[0].tolist()]
    parts = []
    for role, at in places.items():
        for layer in range(layers if role == "prediction" else layers - 1):
            for h, pattern in enumerate(seen.sites[f"layer_{layer}_pattern"][0, :, at]):
                keys = range(at + 1)
                part = pd.DataFrame({"key_position": keys, "token": tokens[: at + 1]})
                part = part.assign(role=names[: at + 1], attention=pattern[: at + 1].numpy())
                for column, value in (
                    ("query_position", at), ("query_role", role), ("head", head_name((layer, h)))
                ):  # fmt: skip
                    part.insert(0, column, value)
                parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _writes(
    seen: Seen,
    vocabulary: Vocabulary,
    places: dict[str, int],
    carried: dict[str, dict[int, Tensor]],
) -> pd.DataFrame:
    rows = []
    for role, at in places.items():
        promoters = _promoters(seen, at)
        for writer in writers(seen, torch.tensor([at])):
            reader = carried[role].get((writer.order - 1) // 2)
            if reader is not None:
                adds = (reader[:2] @ writer.states[0]).tolist()
                promoted = _promoted(promoters @ writer.states[0], vocabulary)
                rows.append((writer.name, writer.order, role, at, *adds, promoted))
    columns = ["component", "order", "role", "position", *_ADDS, "promoted"]
    return pd.DataFrame(rows, columns=columns)


def _neurons(
    seen: Seen,
    vocabulary: Vocabulary,
    places: dict[str, int],
    carried: dict[str, dict[int, Tensor]],
    top: int,
) -> pd.DataFrame:
    """The neurons whose writes add most to the value margin, or take most from it."""
    rows = []
    for role, at in places.items():
        promoters = _promoters(seen, at)
        for layer, reader in carried[role].items():
            if layer < 0:
                continue
            active = seen.sites[f"layer_{layer}_neurons"][0, at]
            written = active[:, None] * seen.params[f"layer_{layer}.mlp.W_out"]
            adds = written @ reader[:2].T  # [F, (correct_logit, value_margin)]
            for n in adds[:, 1].abs().topk(min(top, len(adds))).indices.tolist():
                promoted = _promoted(promoters @ written[n], vocabulary)
                rows.append((layer, n, role, at, float(active[n]), *adds[n].tolist(), promoted))
    columns = ["layer", "neuron", "role", "position", "activation", *_ADDS, "promoted"]
    return pd.DataFrame(rows, columns=columns)


def _lens(seen: Seen, vocabulary: Vocabulary, places: dict[str, int], top: int) -> pd.DataFrame:
    """The ``top`` tokens of the logit lens after every stage, and the answer wherever it stands."""
    answer, rows = int(seen.events.answer[0]), []
    inner = stages(seen.decoder.settings.n_layers)[:-1]
    for role, at in places.items():
        for order, stage in enumerate(inner):
            normed = seen.decoder.final_norm(seen.params, seen.sites[stage][0, at])
            logits = seen.decoder.unembed(seen.params, normed)
            probabilities = logits.softmax(-1)
            ranked = logits.argsort(descending=True, stable=True).tolist()
            for token in dict.fromkeys([*ranked[:top], answer]):
                numbers = float(logits[token]), float(probabilities[token])
                name, rank = vocabulary.tokens[token], ranked.index(token) + 1
                rows.append((stage, order, role, at, rank, name, token == answer, *numbers))
    columns = ["stage", "order", "role", "position", "rank", "token", "is_answer"]
    return pd.DataFrame(rows, columns=[*columns, "logit", "probability"])


def _paths(seen: Seen, read: Readout, found: Sequence[Term]) -> pd.DataFrame:
    """Direct paths, and paths through one module more, by what they add to the value margin."""
    direct = direct_paths(seen, read)
    rows = [
        (0, f"{name}{ARROW}logit", name, "logit", "prediction", *values[:2].tolist())
        for name, values in zip(direct.names, direct.values[0].T, strict=True)
    ]
    rows += [
        (1, f"{t.source}{ARROW}{t.through}{ARROW}logit", t.source, t.through, t.positions,
         *t.values[0, :2].tolist())
        for t in found
        if t.through != "logit"
    ]  # fmt: skip
    columns = ["modules", "path", "source", "through", "positions", *_ADDS]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(0, "order", range(len(frame)))
    order = frame["value_margin"].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)

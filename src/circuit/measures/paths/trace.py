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
5. For the head that adds most, what made it look at the support value, which no path through
   values can show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import estimates
from circuit.measures.heads.maps import position_names
from circuit.measures.paths.direct import TARGETS, Readout, direct_paths, readout, writers
from circuit.measures.paths.second_order import (
    ARROW,
    Term,
    head_readers,
    key_composition,
    matching_sites,
    most_adding_head,
    second_order_sites,
    terms,
)
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
UNITS = {
    "attention": {"query_position": "token", "key_position": "token", "attention": "probability"},
    "writes": {**_PLACE, **_ADDS},
    "neurons": {"layer": "id", "neuron": "id", "position": "token", "activation": "1", **_ADDS},
    "lens": {**_PLACE, "rank": "1", "logit": "logit", "probability": "probability"},
    "paths": {"order": "id", "modules": "1", **_ADDS},
    "matching": {"separation": "score"},
}
"""Units of a trace's tables."""
_OUTCOMES = {
    "answer_probability": "probability",
    **_ADDS,
    **dict.fromkeys(("answer_margin", "residual"), "logit"),
}
_KEYS = ["component", "positions", "path", "target"]


class Trace(NamedTuple):
    """What happened in one program.

    ``facts``: the program's tokens and roles, where things stand, and the answer, in JSON's types.
    In ``paths``, largest first, ``order`` is that in the model, and ``modules`` are those between
    source and logit.
    """

    facts: dict[str, Any]
    attention: pd.DataFrame
    writes: pd.DataFrame
    neurons: pd.DataFrame
    lens: pd.DataFrame
    paths: pd.DataFrame
    matching: pd.DataFrame


class Followed(NamedTuple):
    """A pass over one program, its readout, and where it is looked at.

    ``words`` are the vocabulary's tokens, ``places`` the positions of ``POSITIONS``; ``carried``:
    at each of them, layer → what reads a state that this layer writes, towards the targets.
    """

    seen: Seen
    read: Readout
    words: Sequence[str]
    places: dict[str, int]
    carried: dict[str, dict[int, Float[Tensor, "R d"]]]


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
        program = Followed(seen, read, vocabulary.tokens, places, carried)
        looker = most_adding_head(found)
        return Trace(
            _facts(program) | {"looker": looker, "event": event},
            _attention(program),
            _writes(program),
            _neurons(program, top),
            _lens(program, top),
            _paths(program, found),
            key_composition(seen, looker),
        )


def _facts(program: Followed) -> dict[str, Any]:
    seen, read, words, places, _ = program
    events = seen.events
    logits = seen.decoder.unembed(seen.params, seen.sites["final_norm"][0, places["prediction"]])
    said = int(logits.argmax())
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
        "rival": words[int(read.targets.rivals[0][0])],
        "writes_since_support": int(events.writes_since_support[0]),
        **{name: float(value) for name, value in zip(TARGETS, read.whole[0], strict=True)},
        "residual": float((direct - read.whole).abs().max()),
    }


def _carried(seen: Seen, read: Readout, role: str) -> dict[int, Float[Tensor, "R d"]]:
    """At the prediction the final readout; elsewhere the sum over all heads of later layers, each
    with its pattern on that position.
    """
    layers = seen.decoder.settings.n_layers
    if role == "prediction":
        return dict.fromkeys(range(-1, layers), read.direction[0])
    at = int(seen.events.role_position(role)[0])
    heads = [head_readers(seen, read, layer) for layer in range(layers)]
    by = [torch.einsum("rhd,h->rd", h.direction[0], h.weights[0, :, at]) for h in heads]
    return {layer: torch.stack(by[layer + 1 :]).sum(0) for layer in range(-1, layers - 1)}


def _promoted(program: Followed, at: int, written: Float[Tensor, " d"]) -> str:
    """The tokens whose logits a write at a position raises most, over their mean, by how much."""
    seen = program.seen
    scale = seen.sites["final_norm_scale"][0, at]
    rows = stream_reader(seen, seen.params["embedding.token"], scale)
    top = ((rows - rows.mean(0)) @ written).topk(PROMOTED)
    pairs = zip(top.values.tolist(), top.indices.tolist(), strict=True)
    return ", ".join(f"{program.words[token]} {value:+.2f}" for value, token in pairs)


def _attention(program: Followed) -> pd.DataFrame:
    seen = program.seen
    layers = seen.decoder.settings.n_layers
    (names,) = position_names(seen.events, _NAMES)
    tokens = [program.words[token] for token in seen.events.tokens[0].tolist()]
    rows: list[tuple[Any, ...]] = []
    for role, at in program.places.items():
        for layer in range(layers if role == "prediction" else layers - 1):
            for h, pattern in enumerate(seen.sites[f"layer_{layer}_pattern"][0, :, at]):
                head, shares = head_name((layer, h)), pattern[: at + 1].tolist()
                looked = zip(range(at + 1), tokens, names, shares, strict=False)
                rows += [(head, role, at, *key) for key in looked]
    columns = ["head", "query_role", "query_position", "key_position", "token", "role"]
    return pd.DataFrame(rows, columns=[*columns, "attention"])


def _writes(program: Followed) -> pd.DataFrame:
    rows = []
    for role, at in program.places.items():
        for writer in writers(program.seen, torch.tensor([at])):
            reader = program.carried[role].get((writer.order - 1) // 2)
            if reader is not None:
                adds = (reader[:2] @ writer.states[0]).tolist()
                promoted = _promoted(program, at, writer.states[0])
                rows.append((writer.name, writer.order, role, at, *adds, promoted))
    columns = ["component", "order", "role", "position", *_ADDS, "promoted"]
    return pd.DataFrame(rows, columns=columns)


def _neurons(program: Followed, top: int) -> pd.DataFrame:
    """The neurons whose writes add most to the value margin, or take most from it."""
    seen, rows = program.seen, []
    for role, at in program.places.items():
        for layer, reader in program.carried[role].items():
            if layer < 0:
                continue
            active = seen.sites[f"layer_{layer}_neurons"][0, at]
            written = active[:, None] * seen.params[f"layer_{layer}.mlp.W_out"]
            adds = written @ reader[:2].T  # [F, (correct_logit, value_margin)]
            for n in adds[:, 1].abs().topk(min(top, len(adds))).indices.tolist():
                promoted = _promoted(program, at, written[n])
                rows.append((layer, n, role, at, float(active[n]), *adds[n].tolist(), promoted))
    columns = ["layer", "neuron", "role", "position", "activation", *_ADDS, "promoted"]
    return pd.DataFrame(rows, columns=columns)


def _lens(program: Followed, top: int) -> pd.DataFrame:
    """The ``top`` tokens of the logit lens after every stage, and the answer wherever it stands."""
    seen, rows = program.seen, []
    answer = int(seen.events.answer[0])
    for role, at in program.places.items():
        for order, stage in enumerate(stages(seen.decoder.settings.n_layers)[:-1]):
            normed = seen.decoder.final_norm(seen.params, seen.sites[stage][0, at])
            logits = seen.decoder.unembed(seen.params, normed)
            probabilities = logits.softmax(-1)
            ranked = logits.argsort(descending=True, stable=True).tolist()
            for token in dict.fromkeys([*ranked[:top], answer]):
                numbers = float(logits[token]), float(probabilities[token])
                name, rank = program.words[token], ranked.index(token) + 1
                rows.append((stage, order, role, at, rank, name, token == answer, *numbers))
    columns = ["stage", "order", "role", "position", "rank", "token", "is_answer"]
    return pd.DataFrame(rows, columns=[*columns, "logit", "probability"])


def _paths(program: Followed, found: Sequence[Term]) -> pd.DataFrame:
    """Direct paths, and paths through one module more, by what they add to the value margin."""
    direct = direct_paths(program.seen, program.read)
    rows = [
        (0, f"{name}{ARROW}logit", name, "logit", "prediction", *values[:2].tolist())
        for name, values in zip(direct.names, direct.values[0].T, strict=True)
    ]
    for t in found:
        if t.through != "logit":
            path = f"{t.source}{ARROW}{t.through}{ARROW}logit"
            rows.append((1, path, t.source, t.through, t.positions, *t.values[0, :2].tolist()))
    columns = ["modules", "path", "source", "through", "positions", *_ADDS]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(0, "order", range(len(frame)))
    return frame.sort_values(
        "value_margin", key=abs, ascending=False, kind="stable", ignore_index=True
    )


def trace_rows(traces: Sequence[tuple[int, Trace]]) -> pd.DataFrame:
    """Outcome, attention, writes, paths and matches of one read as exact numbers.

    Args:
        traces: steps and traces; the last is told, and ``chosen`` is the head that adds most in it.
    """
    rows = pd.concat([_rows(found).assign(step=step) for step, found in traces], ignore_index=True)
    rows = rows.fillna(dict.fromkeys(_KEYS, ""))
    looking = rows["measure"] == "attention_on_support_value"
    looking &= rows["component"] == traces[-1][1].facts["looker"]
    rows.insert(0, "chosen", looking.map({True: "looker", False: ""}))
    return estimates(rows)


def _rows(found: Trace) -> pd.DataFrame:
    outcomes = [(name, unit, found.facts[name]) for name, unit in _OUTCOMES.items()]
    looks = found.attention[found.attention["query_role"] == "prediction"]
    looks = looks[looks["role"] == "support_value"].groupby("head", sort=False)["attention"].sum()
    melted = {"value_vars": list(_ADDS), "var_name": "target", "value_name": "mean"}
    writes = found.writes.rename(columns={"role": "positions"})
    parts = [
        pd.DataFrame(outcomes, columns=["measure", "unit", "mean"]),
        looks.rename("mean").rename_axis("component").reset_index()
        .assign(measure="attention_on_support_value", unit="probability"),
        writes.melt(["component", "positions"], **melted).assign(measure="write", unit="logit"),
        found.paths.melt(["path", "positions"], **melted).assign(measure="path", unit="logit"),
        found.matching.rename(columns={"source": "component", "separation": "mean"})
        .assign(measure="separation", unit="score").drop(columns="head"),
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)[[*_KEYS, "measure", "unit", "mean"]]

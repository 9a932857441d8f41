"""A traced program told in sentences, each made from numbers of the trace's tables.

The story follows the model: first the support value's position, layer by layer, then the
prediction's. At each it says what every head attends to and what its write adds, which neurons add
most, and what the logit lens reads. Before the layer of the head that adds most it says what made
that head look at the support value; then come the largest paths, and the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

_NEURONS = 3  # told per MLP
_FOCUSED = 0.25  # from this attention on a position is named, else the head is said to spread
_MADE = 4  # sources of a head's match that are told
_HOW = {
    "prediction": "{} write adds directly",
    "support_value": "Later heads that look here carry of {} write",
}
_ROLES = {
    "support_value": ", the support value",
    "support_key": ", the support write's key",
    "support_op": ", the support write's W",
    "stale_value": ", a stale value",
    "value_distractors": ", another key's value",
    "key_distractors": ", another write's key",
    "prior_answers": ", an earlier answer",
}
_FROM = {
    "support_value": ", from the support value",
    "elsewhere": ", from all other positions",
}


class Step(NamedTuple):
    """One sentence: the part it belongs to, its label, and the head whose attention it tells."""

    part: str
    label: str
    text: str
    head: str = ""


def story(facts: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], top: int) -> Iterator[Step]:
    """The sentences in the order in which to read.

    Args:
        facts, tables: the trace.
        top: number of paths told.
    """
    key, answer, at = facts["key"], facts["answer"], facts["positions"]
    later = facts["writes_since_support"]
    came = "1 write to another key has come" if later == 1 else f"{later} writes have come"
    yield Step(
        "program",
        "the read",
        f"The program ends where {key} is read, at position {at['prediction']}. The latest write "
        f"to {key} put {answer} at position {at['support_value']}, "
        f"{at['prediction'] - at['support_value']} tokens back, and {came} since: {answer} is the "
        "right answer.",
    )
    for role in ("support_value", "prediction"):
        yield from _at_position(facts, role, tables)
    for path in tables["paths"].head(top).to_dict("records"):
        kind = "The direct path" if path["modules"] == 0 else "The path"
        yield Step(
            "paths",
            "path",
            f"{kind} {path['path']}{_FROM.get(path['positions'], '')} adds "
            f"{_signed(path['value_margin'])} logit to the margin over {facts['rival']} and "
            f"{_signed(path['correct_logit'])} to the logit of {answer}.",
        )
    yield Step(
        "answer",
        "the answer",
        f"The model answers {verdict(facts)}. The logit of {answer} is "
        f"{_signed(facts['correct_logit'])}, {_signed(facts['value_margin'])} from "
        f"{facts['rival']}, the best other value.",
    )


def verdict(facts: Mapping[str, Any]) -> str:
    """What the model answers, how sure it is, and whether that is right; a clause."""
    said = f"{facts['said']} with probability {_share(facts['said_probability'])}, which is"
    if facts["said"] == facts["answer"]:
        return f"{said} right"
    right = f"{facts['answer']} gets {_share(facts['answer_probability'])}"
    return f"{said} wrong: the right answer {right}"


def _at_position(
    facts: Mapping[str, Any], role: str, tables: Mapping[str, pd.DataFrame]
) -> Iterator[Step]:
    """What happens at one position, layer by layer."""
    writes, neurons, lens = (
        tables[name][tables[name]["role"] == role] for name in ("writes", "neurons", "lens")
    )
    attention = tables["attention"][tables["attention"]["query_role"] == role]
    yield _lens(facts, role, lens, lens["stage"].iloc[0], "Before the first layer")
    for write in writes.to_dict("records"):
        name = write["component"]
        module = re.fullmatch(r"L(\d+)(H\d+|MLP)", name)
        if module is None:
            continue
        # What it adds to the answer from where it stands, and what it promotes there.
        adds = (
            f"{_signed(write['correct_logit'])} logit to the right answer and "
            f"{_signed(write['value_margin'])} to its margin; read as logits at this position, it "
            f"promotes {write['promoted'].replace('-', '−')}."
        )
        if module[2] == "MLP":
            whose = f"{name}'s"
            text = f"{_HOW[role].format(whose)} {adds}"
            members = neurons[neurons["layer"] == int(module[1])].head(_NEURONS)
            fired = [
                f"L{n['layer']}N{n['neuron']} (activation {_signed(n['activation'])}, margin "
                f"{_signed(n['value_margin'])}, promotes {n['promoted'].split(' ')[0]})"
                for n in members.to_dict("records")
            ]
            if fired:
                text += f" The neurons that move the margin most are {', '.join(fired)}."
            yield Step(role, name, text)
            stage, after = f"layer_{module[1]}_post_mlp", f"After layer {module[1]}"
            yield _lens(facts, role, lens, stage, after)
            continue
        if name == facts["looker"] and role == "prediction":
            yield Step(role, "why there", _match(name, tables["matching"]))
        its = "Its" if role == "prediction" else "its"
        looks = _looks(name, attention[attention["head"] == name], facts["positions"][role])
        yield Step(role, name, f"{looks}. {_HOW[role].format(its)} {adds}", name)


def _looks(name: str, attention: pd.DataFrame, here: int) -> str:
    """Where a head looks from a position."""
    seen = attention.sort_values("attention", ascending=False)
    named = seen[seen["attention"] >= _FOCUSED].head(2).to_dict("records")
    if not named:
        most = f"{seen['attention'].max():.0%}"
        return f"{name} spreads its attention: no position gets more than {most}"
    places = []
    for row in named:
        back = here - int(row["key_position"])
        far = f"{back} token{'s' if back > 1 else ''} back" if back else "where it stands"
        role = _ROLES.get(row["role"], "")
        places.append(f"{row['token']} {far}{role} ({row['attention']:.0%})")
    return f"{name} looks at {' and '.join(places)}"


def _lens(facts: Mapping[str, Any], role: str, lens: pd.DataFrame, stage: str, when: str) -> Step:
    at = lens[lens["stage"] == stage]
    first, right = at[at["rank"] == 1].iloc[0], at[at["is_answer"]].iloc[0]
    text = f"{when}, the logit lens reads {first['token']} ({_share(first['probability'])})"
    if not first["is_answer"]:
        text += f"; the right answer {facts['answer']} has rank {right['rank']} "
        text += f"({_share(right['probability'])})"
    return Step(role, "logit lens", f"{text}.")


def _match(looker: str, matching: pd.DataFrame) -> str:
    """What made the head that adds most look at the support value."""
    parts = matching.set_index("source")["separation"]
    order = parts.drop("whole").sort_values(key=abs, ascending=False).head(_MADE)
    made = ", ".join(f"{_signed(value)} from {source}" for source, value in order.items())
    return (
        f"{looker} scores the support value {_signed(parts['whole'])} against the mean of the "
        f"other written values. By what was written at those keys, that is {made}."
    )


def _share(value: float) -> str:
    return "<0.1%" if value < 0.0005 else f"{value:.1%}"


def _signed(value: float) -> str:
    text = f"{value:+.2f}"
    return text.replace("-", "−") if float(text) else "0.00"

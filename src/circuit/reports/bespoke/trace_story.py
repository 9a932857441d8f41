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

PARTS = ("program", "support_value", "prediction", "paths", "answer")
NEURONS = 3  # told per MLP
_FOCUSED = 0.25  # from this attention on a position is named, else the head is said to spread
_MADE = 4  # sources of a head's match that are told


class Step(NamedTuple):
    """One sentence: the part it belongs to, and what it is about."""

    part: str
    component: str
    what: str
    text: str


def story(facts: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], top: int) -> pd.DataFrame:
    """Rows of part, component, what, text, in the order in which to read.

    Args:
        facts, tables: the trace.
        top: number of paths told.
    """
    steps = [_program(facts)]
    columns = {"attention": "query_role", "writes": "role", "neurons": "role", "lens": "role"}
    for role in ("support_value", "prediction"):
        at = {name: tables[name][tables[name][column] == role] for name, column in columns.items()}
        steps += _at_position(facts, role, at, tables["matching"])
    steps += [_path(row, facts) for _, row in tables["paths"].head(top).iterrows()]
    steps.append(_answer(facts))
    return pd.DataFrame(steps, columns=Step._fields)


def verdict(facts: Mapping[str, Any]) -> str:
    """What the model answers, how sure it is, and whether that is right; a clause."""
    said, right = facts["said"], facts["answer"]
    if said == right:
        return f"{said} with probability {_share(facts['said_probability'])}, which is right"
    return (
        f"{said} with probability {_share(facts['said_probability'])}, which is wrong: the right "
        f"answer {right} gets {_share(facts['answer_probability'])}"
    )


def _program(facts: Mapping[str, Any]) -> Step:
    key, answer, at = facts["key"], facts["answer"], facts["positions"]
    back, later = at["prediction"] - at["support_value"], facts["writes_since_support"]
    came = "1 write to another key has come" if later == 1 else f"{later} writes have come"
    stands = (
        f"The program ends where {key} is read, at position {at['prediction']}. The latest write "
        f"to {key} put {answer} at position {at['support_value']}, {back} tokens back, and {came} "
        f"since: {answer} is the right answer."
    )
    return Step("program", "", "program", stands)


def _at_position(
    facts: Mapping[str, Any], role: str, at: Mapping[str, pd.DataFrame], matching: pd.DataFrame
) -> Iterator[Step]:
    """What happens at one position, layer by layer."""
    looker = facts["looker"]
    stages = list(dict.fromkeys(at["lens"]["stage"]))
    yield _lens(facts, role, at["lens"], stages[0])
    for name in [w for w in at["writes"]["component"] if re.fullmatch(r"L\d+(H\d+|MLP)", w)]:
        write = at["writes"].set_index("component").loc[name]
        layer = re.match(r"L(\d+)", name)
        assert layer is not None
        if name == looker and role == "prediction":
            yield _match(facts, matching)
        if name.endswith("MLP"):
            members = at["neurons"][at["neurons"]["layer"] == int(layer[1])]
            yield _mlp(role, name, write, members)
            yield _lens(facts, role, at["lens"], f"layer_{layer[1]}_post_mlp")
        else:
            yield _head(facts, role, name, write, at["attention"])


def _head(
    facts: Mapping[str, Any], role: str, name: str, write: pd.Series, attention: pd.DataFrame
) -> Step:
    seen = attention[attention["head"] == name].sort_values("attention", ascending=False)
    named = seen[seen["attention"] >= _FOCUSED].head(2)
    if named.empty:
        looks = f"{name} spreads its attention: no position gets more than "
        looks += f"{seen['attention'].max():.0%}"
    else:
        here = facts["positions"][role]
        places = [
            f"{row['token']} {_distance(here - int(row['key_position']))}"
            f"{_role(row['role'])} ({row['attention']:.0%})"
            for _, row in named.iterrows()
        ]
        looks = f"{name} looks at {' and '.join(places)}"
    its = "Its" if role == "prediction" else "its"
    text = f"{looks}. {_HOW[role].format(its)} {_adds(write)}."
    return Step(role, name, "attention", text)


def _distance(back: int) -> str:
    if back == 0:
        return "where it stands"
    return f"{back} token{'s' if back != 1 else ''} back"


def _role(role: str) -> str:
    words = {
        "support_value": ", the support value",
        "support_key": ", the support write's key",
        "support_op": ", the support write's W",
        "stale_value": ", a stale value",
        "value_distractors": ", another key's value",
        "key_distractors": ", another write's key",
        "prior_answers": ", an earlier answer",
    }
    return words.get(role, "")


_HOW = {
    "prediction": "{} write adds directly",
    "support_value": "Later heads that look here carry of {} write",
}


def _adds(write: pd.Series) -> str:
    """What a write adds to the answer from where it stands, and what it promotes there."""
    return (
        f"{_signed(write['correct_logit'])} logit to the right answer and "
        f"{_signed(write['value_margin'])} to its margin; read as logits at this position, it "
        f"promotes {write['promoted'].replace('-', '−')}"
    )


def _mlp(role: str, name: str, write: pd.Series, neurons: pd.DataFrame) -> Step:
    fired = [
        f"L{n.layer}N{n.neuron} (activation {_signed(n.activation)}, margin "
        f"{_signed(n.value_margin)}, promotes {n.promoted.split(',')[0].split(' ')[0]})"
        for n in neurons.head(NEURONS).itertuples()
    ]
    whose = f"{name}'s"
    text = f"{_HOW[role].format(whose)} {_adds(write)}."
    if fired:
        text += f" The neurons that move the margin most are {', '.join(fired)}."
    return Step(role, name, "neurons", text)


def _lens(facts: Mapping[str, Any], role: str, lens: pd.DataFrame, stage: str) -> Step:
    at = lens[lens["stage"] == stage]
    first, right = at[at["rank"] == 1].iloc[0], at[at["is_answer"]].iloc[0]
    when = "Before the first layer" if stage == "embedding" else f"After {_stage(stage)}"
    text = f"{when}, the logit lens reads {first['token']} ({_share(first['probability'])})"
    if not first["is_answer"]:
        text += f"; the right answer {facts['answer']} has rank {right['rank']} "
        text += f"({_share(right['probability'])})"
    return Step(role, "", "lens", f"{text}.")


def _stage(stage: str) -> str:
    return re.sub(r"layer_(\d+)_post_mlp", r"layer \1", stage)


def _match(facts: Mapping[str, Any], matching: pd.DataFrame) -> Step:
    """What made the head that adds most look at the support value."""
    parts = matching.set_index("source")["separation"]
    whole = float(parts["whole"])
    order = parts.drop("whole").sort_values(key=abs, ascending=False).head(_MADE)
    made = ", ".join(f"{_signed(value)} from {source}" for source, value in order.items())
    text = (
        f"{facts['looker']} scores the support value {_signed(whole)} against the mean of the "
        f"other written values. By what was written at those keys, that is {made}."
    )
    return Step("prediction", facts["looker"], "match", text)


def _path(row: pd.Series, facts: Mapping[str, Any]) -> Step:
    kind = "The direct path" if row["modules"] == 0 else "The path"
    where = ", from the support value" if row["positions"] == "support_value" else ""
    where = ", from all other positions" if row["positions"] == "elsewhere" else where
    text = (
        f"{kind} {row['path']}{where} adds {_signed(row['value_margin'])} logit to the margin over "
        f"{facts['rival']} and {_signed(row['correct_logit'])} to the logit of {facts['answer']}."
    )
    return Step("paths", row["source"], "path", text)


def _answer(facts: Mapping[str, Any]) -> Step:
    text = (
        f"The model answers {verdict(facts)}. The logit of {facts['answer']} is "
        f"{_signed(facts['correct_logit'])}, {_signed(facts['value_margin'])} from "
        f"{facts['rival']}, the best other value."
    )
    return Step("answer", "", "answer", text)


def _share(value: float) -> str:
    return "<0.1%" if value < 0.0005 else f"{value:.1%}"


def _signed(value: float) -> str:
    text = f"{value:+.2f}"
    return text.replace("-", "−") if float(text) else "0.00"

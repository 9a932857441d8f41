"""A traced program as one page that can be read offline, without scripts or outside references.

The program comes first, token by token in the colour of its role; then the story, position by
position, each head with a strip of the tokens shaded by its attention; then the figure and tables.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from circuit.artifacts import read_units, write_text
from circuit.reports.bespoke import trace_picture
from circuit.reports.bespoke.trace_story import story, verdict
from circuit.reports.inline import STYLE, inline_svg
from circuit.reports.page_style import CSS
from circuit.reports.quantities import format_value
from circuit.reports.saying import Context
from circuit.reports.style import ATTENTION_ROLE_COLOURS, words

_TITLES = {
    "program": "What is asked",
    "support_value": "At the support value, where the answer stands",
    "prediction": "At the prediction, where the answer is due",
    "paths": "The largest paths to the margin",
    "answer": "The answer",
}
_TABLES = ("writes", "neurons", "lens", "paths", "matching")
_LABELS = {
    "program": "the read",
    "lens": "logit lens",
    "match": "why there",
    "path": "path",
    "answer": "the answer",
}
_STYLE = """
.page{display:block;max-width:60rem;margin:0 auto}
.tokens{display:flex;flex-wrap:wrap;gap:.22rem .18rem;margin:.9rem 0;font:.8rem/1.5 var(--mono)}
.tokens span{border-radius:3px;padding:0 .28em;background:var(--wash)}
.tokens .marked{outline:2px solid #d55e00;outline-offset:1px}
.strip{margin:.35rem 0 0;gap:.1rem;font-size:.68rem}
.strip span{background:none;padding:0 .16em}
.legend span{font-family:var(--sans);font-size:.78rem;padding:0 .5em}
ol.story{list-style:none;margin:0;padding:0}
ol.story li{display:grid;grid-template-columns:5.2rem minmax(0,1fr);gap:0 1rem;
padding:.55rem 0;border-bottom:1px solid var(--line)}
ol.story b{font:600 .85rem/1.75 var(--sans);color:var(--accent)}
ol.story p{margin:0;max-width:none;font-size:.97rem;line-height:1.5}
"""
_PAGE = """\
{% macro chips(tokens, kind="") -%}
<div class="tokens {{ kind }}">{% for token in tokens -%}
<span style="{{ token.style }}" title="{{ token.title }}"\
{% if token.marked %} class="marked"{% endif %}>{{ token.text }}</span>
{%- endfor %}</div>
{%- endmacro %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ css }}</style>
</head>
<body>
<div class="page">
<header>
<p class="eyebrow">{{ where }}</p>
<h1>{{ title }}</h1>
<p class="answer">The model answers {{ verdict }}.</p>
{{ chips(tokens) }}
{{ chips(legend, "legend") }}
<p class="where">The program up to its read; outlined: the support value. One event, so nothing \
here has an interval; the path and attention reports of the run have means over many.</p>
</header>
<main>
{% for part in parts %}
<section aria-labelledby="{{ part.name }}">
<h2 id="{{ part.name }}">{{ part.title }}</h2>
<ol class="story">
{% for step in part.steps %}
<li><b>{{ step.label }}</b><div><p>{{ step.text }}</p>
{% if step.strip %}{{ chips(step.strip, "strip") }}{% endif %}
</div></li>
{% endfor %}
</ol>
</section>
{% endfor %}
<section aria-labelledby="figure">
<h2 id="figure">In one picture</h2>
<figure><div class="frame" tabindex="0">{{ figure }}</div>
<figcaption>Attention of every head from both positions, and the margin as a sum of what each part \
of the model wrote.</figcaption></figure>
</section>
<section aria-labelledby="tables">
<h2 id="tables">Numbers</h2>
{% for table in tables %}
<details><summary>{{ table.title }} ({{ table.rows|length }} rows)</summary>
<div class="scroll"><table><thead><tr>{% for name in table.header %}
<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>{% for row in table.rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div></details>
{% endfor %}
</section>
</main>
<footer><p>Logits are those of the final LayerNorm's actual scale. At the prediction a write's \
part is its direct path; at the support value it is what later heads carry of it to the \
prediction, with their attention as it was. A path through a head tells what the head carried, \
not why it looked there; the score's parts tell that.</p></footer>
</div>
</body>
</html>
"""


def write_trace_page(material: Context, path: str | os.PathLike[str]) -> None:
    """Write the page, whole or not at all.

    Args:
        material: the analysis' tables, settings, facts and files.
    """
    facts, tables = material.facts, material.tables
    rows, attention = story(facts, tables, material.settings["top"]), tables["attention"]
    where = (
        f"Study {facts['study']} · run {facts['run']} · step {facts['step']:,} · read "
        f"{facts['read_index']} of {facts['sample_id']}"
    )
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "story.svg"
        trace_picture.story(facts, attention, tables["paths"], drawn)
        figure = inline_svg(drawn, "story", "Attention and margin of one program")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.from_string(_PAGE).render(
        css=Markup(CSS + STYLE + _STYLE),
        where=where,
        title=f"How the model reads {facts['key']}: one program, step by step",
        verdict=verdict(facts),
        tokens=_program(facts),
        legend=_legend(facts["roles"]),
        parts=[
            {
                "name": name,
                "title": title,
                "steps": [_step(s, attention) for _, s in rows[rows["part"] == name].iterrows()],
            }
            for name, title in _TITLES.items()
        ],
        figure=figure,
        tables=[_table(name, tables[name], read_units(material.paths[name])) for name in _TABLES],
    )
    write_text(path, html.lstrip())


def _program(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The program's tokens, in the colour of their role."""
    return [
        {
            "text": token,
            "style": _colour(role),
            "title": f"position {i}: {words(role)}",
            "marked": role == "support_value",
        }
        for i, (token, role) in enumerate(zip(facts["tokens"], facts["roles"], strict=True))
    ]


def _legend(roles: list[str]) -> list[dict[str, Any]]:
    return [
        {"text": words(role), "style": _colour(role), "title": "", "marked": False}
        for role in dict.fromkeys(roles)
        if role != "other"
    ]


def _colour(role: str) -> str:
    if role == "other":
        return ""
    return f"color:{ATTENTION_ROLE_COLOURS[role]};font-weight:600"


def _step(step: pd.Series, attention: pd.DataFrame) -> dict[str, Any]:
    """A sentence of the story with its label, and a head's attention as a strip of tokens."""
    label = _LABELS.get(step["what"], step["component"])
    strip = []
    if step["what"] == "attention":
        chosen = (attention["head"] == step["component"]) & (
            attention["query_role"] == step["part"]
        )
        strip = [
            {
                "text": row["token"],
                "style": f"background:rgba(51,34,136,{row['attention']:.2f})"
                + (";color:#fff" if row["attention"] > 0.5 else ""),
                "title": f"position {row['key_position']}: {row['attention']:.1%}",
                "marked": False,
            }
            for _, row in attention[chosen].iterrows()
        ]
    return {"label": label, "text": step["text"], "strip": strip}


def _table(title: str, frame: pd.DataFrame, units: Mapping[str, str]) -> dict[str, Any]:
    return {"title": title, "header": _header(frame, units), "rows": _rows(frame, units)}


def _header(frame: pd.DataFrame, units: Mapping[str, str]) -> list[str]:
    bare = ("1", "id")
    return [
        f"{words(c)} ({units[c]})" if units.get(c, "id") not in bare else words(c) for c in frame
    ]


def _rows(frame: pd.DataFrame, units: Mapping[str, str]) -> list[list[str]]:
    return [
        [
            format_value(value, units[name], with_unit=False)
            if units.get(name, "id") not in ("id", "token")
            else str(value)
            for name, value in row.items()
        ]
        for row in frame.to_dict("records")
    ]

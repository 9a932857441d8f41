"""A traced program as one page that can be read offline, without scripts or outside references.

The program comes first, token by token in the colour of its role; then the story, position by
position, each head with a strip of the tokens shaded by its attention; then the figure and tables.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from circuit.artifacts import read_units
from circuit.reports.bespoke import trace_picture
from circuit.reports.bespoke.trace_story import Step, story, verdict
from circuit.reports.document import Table, table_dict
from circuit.reports.html import write_html
from circuit.reports.inline import inline_svg
from circuit.reports.saying import Context
from circuit.reports.style import ATTENTION_ROLE_COLOURS, words
from circuit.reports.text import table_as_text

_TITLES = {
    "program": "What is asked",
    "support_value": "At the support value, where the answer stands",
    "prediction": "At the prediction, where the answer is due",
    "paths": "The largest paths to the margin",
    "answer": "The answer",
}
_TABLES = ("writes", "neurons", "lens", "paths", "matching")
_STYLE = """
.page{max-width:60rem}
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
{% for name, heading, steps in parts %}
<section aria-labelledby="{{ name }}">
<h2 id="{{ name }}">{{ heading }}</h2>
<ol class="story">
{% for step, strip in steps %}
<li><b>{{ step.label }}</b><div><p>{{ step.text }}</p>
{% if strip %}{{ chips(strip, "strip") }}{% endif %}
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
{% for each in tables %}
{{ folded(each) }}
{% endfor %}
</section>
</main>
<footer><p>Logits are those of the final LayerNorm's actual scale. At the prediction a write's \
part is its direct path; at the support value it is what later heads carry of it to the \
prediction, with their attention as it was. A path through a head tells what the head carried, \
not why it looked there; the score's parts tell that.</p></footer>
"""


def write_trace_page(material: Context, path: str) -> None:
    """Write the page, whole or not at all."""
    facts, tables = material.facts, material.tables
    steps, attention = list(story(facts, tables, material.settings["top"])), tables["attention"]
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "story.svg"
        trace_picture.story(facts, attention, tables["paths"], str(drawn))
        figure = inline_svg(drawn, "story", "Attention and margin of one program")
    write_html(
        path,
        _PAGE,
        css=_STYLE,
        where=f"Study {facts['study']} · run {facts['run']} · step {facts['step']:,} · read "
        f"{facts['read_index']} of {facts['sample_id']}",
        title=f"How the model reads {facts['key']}: one program, step by step",
        verdict=verdict(facts),
        tokens=[
            _chip(token, _colour(role), f"position {i}: {words(role)}", role == "support_value")
            for i, (token, role) in enumerate(zip(facts["tokens"], facts["roles"], strict=True))
        ],
        legend=[_chip(words(r), _colour(r)) for r in dict.fromkeys(facts["roles"]) if r != "other"],
        parts=[
            (name, title, [(step, _strip(step, attention)) for step in steps if step.part == name])
            for name, title in _TITLES.items()
        ],
        figure=figure,
        tables=[
            table_as_text(table_dict(Table(name, tables[name], read_units(material.paths[name]))))
            for name in _TABLES
        ],
    )


def _chip(text: str, style: str, title: str = "", marked: bool = False) -> dict[str, Any]:
    return {"text": text, "style": style, "title": title, "marked": marked}


def _colour(role: str) -> str:
    return "" if role == "other" else f"color:{ATTENTION_ROLE_COLOURS[role]};font-weight:600"


def _strip(step: Step, attention: pd.DataFrame) -> list[dict[str, Any]]:
    """The attention of the head that a sentence is about as a strip of tokens."""
    seen = attention[(attention["head"] == step.head) & (attention["query_role"] == step.part)]
    return [
        _chip(
            row["token"],
            f"background:rgba(51,34,136,{row['attention']:.2f})"
            + (";color:#fff" if row["attention"] > 0.5 else ""),
            f"position {row['key_position']}: {row['attention']:.1%}",
        )
        for row in seen.to_dict("records")
    ]

"""A study as one page that can be read offline, from the reports of its analyses.

1. The first screen: one sentence of the clauses of findings that have one, the figures whose views
   are placed there, and the few numbers that have a key. Below it a strip, and every told analysis
   with the verdict, number and control of what it says first.
2. Reports are put into the section that each names (:mod:`circuit.reports.sections`), as they are
   given. Each section has one figure, one paragraph of the first sentences of its answers, the
   number of its marks; all else of its reports is folded, and so are those of other runs.
   A section that is not among the known ones comes at the end, so nothing is left out.
3. Figures are put into the page (:mod:`circuit.reports.inline`), each with the command that
   remakes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from circuit.errors import AnalysisError
from circuit.reports.audit_section import audit_report
from circuit.reports.html import write_html
from circuit.reports.inline import inline_svg, rules
from circuit.reports.origins import origins
from circuit.reports.sections import SECTIONS
from circuit.reports.text import numbers_as_text, pretty, table_as_text

NUMBERS_SHOWN = 12  # further numbers of a report are folded
KEYS = 4  # numbers on the first screen
Filed = tuple[str | os.PathLike[str], Mapping[str, Any]]
"""A folder, relative to the project, and the parsed record that lies in it."""

_PAGE = """\
{% macro marks(items) -%}
{% if items %}<details class="marks"><summary>{{ items|length }} \
mark{{ "s" if items|length > 1 }}: what not to take at face value</summary><ul>
{% for item, text in items %}<li>{{ text }} {{ to(item) }}</li>
{% endfor %}</ul></details>{% endif %}
{%- endmacro %}

{% macro to(item) -%}
<a href="#{{ item.id }}" aria-label="to {{ item.name }}">§{{ item.section }}</a>
{%- endmacro %}

{% macro drawn(figure) -%}
<figure>
<div class="frame" tabindex="0">{{ figure.svg }}</div>
<figcaption>{{ figure.caption }}
<details class="remake"><summary>Remake</summary><code>{{ figure.command }}</code></details>
</figcaption>
</figure>
{%- endmacro %}

{% macro article(item) -%}
<details class="report"><summary><h3>{{ item.question }}</h3></summary>
<article id="{{ item.id }}">
<p class="answer">{{ item.answer }}</p>
{{ marks(item.marked) }}
{% for figure in item.figures if not figure.above %}{{ drawn(figure) }}
{% endfor %}
{% if item.numbers.rows %}{{ table(item.numbers, "numbers") }}
{% if item.more.rows %}{{ folded(item.more, "numbers") }}{% endif %}
{% endif %}
{% for each in item.tables %}{{ folded(each) }}
{% endfor %}
{% if item.settings %}<details><summary>Settings</summary>
<pre>{{ item.settings }}</pre></details>{% endif %}
<p class="where">{{ item.where }}</p>
<p class="command">Remake all of it: <code>{{ item.command }}</code></p>
</article></details>
{%- endmacro %}

<header>
{% if unfinished %}<p class="marks" role="status">{{ unfinished }}</p>
{% endif %}
<p class="eyebrow"><b>{{ title }}</b> · study {{ study }}{% if focus %} · run {{ focus }}{% endif %}
</p>
<h1>{{ sentence or title }}</h1>
{% if first %}<div class="first">
{% for figure in first %}{{ drawn(figure) }}
{% endfor %}</div>{% endif %}
{% if keys %}<dl class="keys">
{% for key in keys %}<div><dt>{{ key.label }} {{ to(key.item) }}</dt>
<dd><b>{{ key.value }}</b> <span>95% interval {{ key.interval }}, n = {{ key.count }}</span>
<span>{{ key.control }}</span></dd></div>
{% endfor %}</dl>{% endif %}
</header>
<main>
{% for figure in strip %}{{ drawn(figure) }}
{% endfor %}
<section aria-labelledby="found">
<h2 id="found">What was found</h2>
<div class="scroll whole"><table class="found">
<thead><tr><th scope="col">finding</th><th scope="col">verdict</th>\
<th scope="col" class="number">value</th><th scope="col" class="number">95% interval</th>\
<th scope="col">control</th><th scope="col">analysis</th></tr></thead>
{% for section in sections if section.found %}
<tbody><tr><th scope="rowgroup" colspan="6"><a href="#{{ section.id }}">{{ section.number }} \
{{ section.title }}</a></th></tr>
{% for line in section.found %}<tr><td>{{ line.name }}</td>\
<td class="{{ line.verdict }}">{{ line.verdict }}</td><td class="number">{{ line.value }}</td>\
<td class="number">{{ line.interval }}</td><td>{{ line.control }}</td>\
<td><a href="#{{ line.item.id }}">{{ line.item.name }}</a></td></tr>
{% endfor %}</tbody>
{% endfor %}
</table></div>
<p class="where">{{ asked }} analyses{% if focus %} of run {{ focus }} and its study{% endif %}; \
of other runs, folded below: {{ folded_runs }}. Marks by section: \
{% for section in sections if section.marked %}<a href="#{{ section.id }}">§{{ section.number }}\
</a> {{ section.marked|length }}{{ ", " if not loop.last }}{% else %}none{% endfor %}.</p>
</section>
{% for section in sections %}
<section aria-labelledby="{{ section.id }}">
<h2 id="{{ section.id }}">{{ section.number }} {{ section.title }}</h2>
{% if section.figure %}{{ drawn(section.figure) }}
{% endif %}
<p class="answer">{% for item in section.entries %}{{ item.short }} {{ to(item) }}
{% endfor %}</p>
{{ marks(section.marked) }}
{% for item in section.entries %}{{ article(item) }}
{% endfor %}
{% if section.others %}
<details class="runs"><summary>Other runs: \
{{ section.others|map(attribute="run")|unique|join(", ") }}</summary>
{% for item in section.others %}{{ article(item) }}
{% endfor %}
</details>{% endif %}
</section>
{% endfor %}
<section aria-labelledby="provenance">
<h2 id="provenance">{{ sections|length + 1 }} Provenance</h2>
<p>Every report records the digests of what it read, the fingerprint of each library module that \
it ran, versions, seeds and threads. A result is remade by the command beneath it.</p>
{{ marks(contradictions) }}
{% for each in origins if each.rows %}{{ folded(each, "digests" if each.right|length == 2) }}
{% endfor %}
</section>
</main>
<footer>
<p>How to read a number: a quantity that can be negative shows its sign; the unit follows the \
value; the interval is a 95% interval, – where there is none; n counts what was averaged. \
Verdicts: shown, opposite or open, by the excess over the control. Folded parts print folded \
unless opened.</p>
</footer>
"""


def write_page(
    path: str | os.PathLike[str],
    study: str,
    title: str,
    reports: Sequence[Filed],
    *,
    focus: str | None = None,
    audit: Filed | None = None,
    unfinished: str = "",
) -> None:
    """Write a study's page, whole or not at all.

    Args:
        path: the HTML file.
        study, title: the study's name and what it is about.
        reports: ``report.json`` of all its analyses; figures are read from the folders, which the
            commands name too.
        focus: the run that is told; other runs are folded. None takes the first run met.
        audit: the benchmark's ``audit.json``, for the section on data.
        unfinished: what heads a page of a part of its analyses.

    Raises:
        AnalysisError: there is no report, or none of the focus run.
        ArtifactError: a figure that a report names is missing, or not the one it was made with.
    """
    runs = list(dict.fromkeys(report["run"] for _, report in reports if report["run"]))
    if not reports or (focus is not None and runs and focus not in runs):
        raise AnalysisError(
            f"no report of run {focus!r}" if reports else "no reports",
            where=path,
            expected=f"reports, among them some of {focus or 'a run'}",
            do="correct the study's focus, or list analyses of that run",
        )
    focus = focus or next(iter(runs), None)
    data = [(audit[0], audit_report(Path(audit[0]), study, audit[1]))] if audit else []
    filed = [*data, *reports]
    looks: dict[str, str] = {}
    sections = list(_sections(filed, focus, looks))
    told = [item for section in sections for item in section["entries"]]
    tables, contradictions = origins([report for _, report in filed])
    placed = {name: _placed(told, name) for name in ("first", "strip")}
    for section in sections:
        section["figure"] = _lead(section["entries"])
    here = {"id": "provenance", "name": "provenance"}
    clauses = [one["clause"] for _, one in _headline(told) if one["clause"]]
    write_html(
        path,
        _PAGE,
        css=rules(looks),
        study=study,
        title=title,
        focus=focus,
        unfinished=unfinished,
        sentence="; ".join(clauses)[:1].upper() + "; ".join(clauses)[1:] + "." if clauses else "",
        keys=[
            {**_line(item, one), "label": one["key"]} for item, one in _headline(told) if one["key"]
        ][:KEYS],
        **placed,
        asked=len(told),
        folded_runs=len(runs[1:]),
        sections=sections,
        origins=tables,
        contradictions=[({**here, "section": len(sections) + 1}, c) for c in contradictions],
    )


def _headline(told: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Findings that give the first screen something, each the first of its name and kind."""
    seen: set[tuple[str, str]] = set()
    for item in told:
        for one in item["findings"]:
            if (one["key"] or one["clause"]) and (item["kind"], one["name"]) not in seen:
                seen.add((item["kind"], one["name"]))
                yield item, one


def _placed(told: Sequence[Mapping[str, Any]], place: str) -> list[dict[str, Any]]:
    """The figures of a place, of the first told report of each kind."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for item in told:
        found = [figure for figure in item["figures"] if figure["place"] == place]
        kinds.setdefault(item["kind"], found)
    figures = [figure for found in kinds.values() for figure in found]
    return [_above(figure) for figure in figures]


def _lead(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The first figure of a section that does not stand elsewhere."""
    figures = (figure for item in entries for figure in item["figures"] if not figure["above"])
    return next(map(_above, figures), None)


def _above(figure: dict[str, Any]) -> dict[str, Any]:
    figure["above"] = True
    return figure


def _line(item: Mapping[str, Any], finding: Mapping[str, Any]) -> dict[str, Any]:
    """A finding with its number and the control's, as the report's table of numbers has them."""
    cells = {row[0]: row for row in item["cells"]}
    name = finding["number"]
    beside = [row for key, row in cells.items() if key.startswith(f"{name}, control: ")]
    controls = [f"{row[0].partition(', control: ')[2]}: {row[1]}" for row in beside]
    _, value, interval, count, _ = cells.get(name, (name, "", "–", "–", ""))
    return {
        "item": item,
        "name": name or finding["name"],
        "verdict": finding["verdict"],
        "value": value,
        "interval": interval,
        "count": count,
        "control": "; ".join(controls) or finding["control"],
    }


def _sections(
    reports: Sequence[Filed], focus: str | None, looks: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """The sections that have reports, numbered, with their reports as the template wants them."""
    of: dict[str, list[Filed]] = {title: [] for title in SECTIONS}
    for filed in reports:
        of.setdefault(filed[1]["section"], []).append(filed)
    told = [(title, members) for title, members in of.items() if members]
    for number, (title, members) in enumerate(told, 1):
        items = [_item(*filed, number, i, looks) for i, filed in enumerate(members, 1)]
        entries = [item for item in items if item["run"] in (None, focus)]
        others = [item for item in items if item["run"] not in (None, focus)]
        firsts = (
            (item, next((f for f in item["findings"] if f["said"]), None)) for item in entries
        )
        yield {
            "id": f"s{number}",
            "number": number,
            "title": title,
            "entries": entries,
            "others": others,
            "found": [_line(item, first) for item, first in firsts if first],
            "marked": [
                (item, mark if item in entries else f"{item['run']}: {mark}")
                for item in (*entries, *others)
                for mark in item["marks"]
            ],
        }


def _item(
    folder: str | os.PathLike[str],
    report: Mapping[str, Any],
    section: int,
    place: int,
    looks: dict[str, str],
) -> dict[str, Any]:
    """One report as the template wants it."""
    folder, run = Path(folder), f"run {report['run']}" if report["run"] else "the whole study"
    identity = f"s{section}r{place}"
    figures = [
        {
            "svg": inline_svg(
                folder / f["file"], f"{identity}f{i}", f["caption"], f.get("sha256", ""), looks
            ),
            "caption": f["caption"],
            "command": f"snakemake --force {(folder / f['file']).as_posix()}",
            "place": f.get("place", ""),
            "above": False,
        }
        for i, f in enumerate(report["figures"], 1)
    ]
    numbers = numbers_as_text(report["numbers"])
    shown, more = numbers.rows[:NUMBERS_SHOWN], numbers.rows[NUMBERS_SHOWN:]
    item = {
        **report,
        "id": identity,
        "section": section,
        # Up to the first full stop that a new sentence follows.
        "short": re.split(r"(?<=[a-z0-9%)][.!?])\s+(?=[A-Z])", report["answer"].strip())[0],
        "figures": figures,
        "cells": numbers.rows,
        "numbers": numbers._replace(rows=shown),
        "more": numbers._replace(title="More numbers", rows=more),
        "tables": [table_as_text(table) for table in report["tables"]],
        "settings": pretty(report["settings"]) if report["settings"] else "",
        "where": f"Analysis {report['name']} ({report['kind']}) of {run}, in {folder.as_posix()}",
    }
    return {**item, "marked": [(item, mark) for mark in report["marks"]]}

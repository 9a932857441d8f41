"""A study as one page that can be read offline, from the reports of its analyses.

1. Reports are put into the section that each names (:mod:`circuit.reports.sections`), as they are
   given. Reports of the focus run and of the whole study are told; those of other runs are folded.
   A section that is not among the known ones comes at the end, so nothing is left out.
2. The summary takes the first sentence of every told answer; all marks are repeated on top.
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
from circuit.reports.inline import inline_svg
from circuit.reports.origins import origins
from circuit.reports.sections import SECTIONS
from circuit.reports.text import numbers_as_text, pretty, table_as_text

NUMBERS_SHOWN = 12  # further numbers of a report are folded
Filed = tuple[str | os.PathLike[str], Mapping[str, Any]]
"""A folder, relative to the project, and the parsed record that lies in it."""

_PAGE = """\
{% macro marks(texts) -%}
{% if texts %}<ul class="marks" aria-label="Marks">
{% for text in texts %}<li><b>Mark.</b> {{ text }}</li>
{% endfor %}</ul>{% endif %}
{%- endmacro %}

{% macro to(section, item) -%}
<a href="#{{ item.id }}" aria-label="to section {{ section.number }}">§{{ section.number }}</a>
{%- endmacro %}

{% macro article(item) -%}
<article id="{{ item.id }}">
<h3>{{ item.question }}</h3>
<p class="answer">{{ item.answer }}</p>
{{ marks(item.marks) }}
{% for figure in item.figures %}
<figure>
<div class="frame" tabindex="0">{{ figure.svg }}</div>
<figcaption>{{ figure.caption }}</figcaption>
<p class="command">Remake: <code>{{ figure.command }}</code></p>
</figure>
{% endfor %}
{% if item.numbers.rows %}
<h4>Numbers</h4>
{{ table(item.numbers, "numbers") }}
{% if item.more.rows %}{{ folded(item.more, "numbers") }}{% endif %}
{% endif %}
{% for each in item.tables %}{{ folded(each) }}
{% endfor %}
{% if item.settings %}<details><summary>Settings</summary>
<pre>{{ item.settings }}</pre></details>{% endif %}
<p class="where">{{ item.where }}</p>
<p class="command">Remake all of it: <code>{{ item.command }}</code></p>
</article>
{%- endmacro %}

<header>
<p class="eyebrow">Study {{ study }}{% if focus %} · run {{ focus }}{% endif %}</p>
<h1>{{ title }}</h1>
<section class="summary" aria-labelledby="summary">
<h2 id="summary">What was asked and what was found</h2>
<p>Questions asked{% if focus %} of run {{ focus }} and its study{% endif %}: {{ asked }}; other \
runs, folded below: {{ folded_runs }}. In short:</p>
{% for section in sections if section.entries %}
<p><b>{{ section.title }}.</b>
{% for item in section.entries %}{{ item.short }} {{ to(section, item) }}
{% endfor %}</p>
{% endfor %}
</section>
{% if marked %}<ul class="marks" aria-label="Marks of all sections">
{% for section, item, mark in marked %}<li><b>Mark.</b> {{ mark }} {{ to(section, item) }}</li>
{% endfor %}</ul>{% endif %}
</header>
<nav aria-label="Contents"><div class="inside">
<p>Contents</p>
<ol>
{% for section in sections %}
<li><a href="#{{ section.id }}">{{ section.number }} {{ section.title }}</a>
<ol>{% for item in section.entries %}
<li><a href="#{{ item.id }}">{{ item.question }}</a></li>{% endfor %}
{% if section.others %}<li><a href="#{{ section.id }}-others">Other runs</a></li>{% endif %}
</ol></li>
{% endfor %}
<li><a href="#provenance">{{ sections|length + 1 }} Provenance</a></li>
</ol>
</div></nav>
<main>
{% for section in sections %}
<section aria-labelledby="{{ section.id }}">
<h2 id="{{ section.id }}">{{ section.number }} {{ section.title }}</h2>
{% for item in section.entries %}{{ article(item) }}
{% endfor %}
{% if section.others %}
<details class="runs" id="{{ section.id }}-others"><summary>Other runs: \
{{ section.others|map(attribute="run")|unique|join(", ") }}</summary>
{% for item in section.others %}{{ article(item) }}
{% endfor %}
</details>{% endif %}
</section>
{% endfor %}
<section aria-labelledby="provenance">
<h2 id="provenance">{{ sections|length + 1 }} Provenance</h2>
<article>
<h3>Where do these results come from?</h3>
<p>Every report records the digests of what it read, the fingerprint of each library module that \
it ran, versions, seeds and threads. A result is remade by the command beneath it.</p>
{{ marks(contradictions) }}
{% for each in origins if each.rows %}{{ folded(each, "digests" if each.right|length == 2) }}
{% endfor %}
</article>
</section>
</main>
<footer>
<p>How to read a number: a quantity that can be negative shows its sign; the unit follows the \
value; the interval is a bootstrap 95% interval; n counts what was averaged. “Within” and \
“pooled”, window, rank and threshold choices are in each report's settings.</p>
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
) -> None:
    """Write a study's page, whole or not at all.

    Args:
        path: the HTML file.
        study, title: the study's name and what it is about.
        reports: ``report.json`` of all its analyses; figures are read from the folders, which the
            commands name too.
        focus: the run that is told; other runs are folded. None takes the first run met.
        audit: the benchmark's ``audit.json``, for the section on data.

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
    sections = list(_sections(filed, focus))
    tables, contradictions = origins([report for _, report in filed])
    write_html(
        path,
        _PAGE,
        study=study,
        title=title,
        focus=focus,
        asked=sum(len(section["entries"]) for section in sections),
        folded_runs=len(runs[1:]),
        marked=[
            (section, item, mark if own else f"{item['run']}: {mark}")
            for section in sections
            for own, items in ((True, section["entries"]), (False, section["others"]))
            for item in items
            for mark in item["marks"]
        ],
        sections=sections,
        origins=tables,
        contradictions=contradictions,
    )


def _sections(reports: Sequence[Filed], focus: str | None) -> Iterator[dict[str, Any]]:
    """The sections that have reports, numbered, with their reports as the template wants them."""
    of: dict[str, list[Filed]] = {title: [] for title in SECTIONS}
    for filed in reports:
        of.setdefault(filed[1]["section"], []).append(filed)
    told = [(title, members) for title, members in of.items() if members]
    for number, (title, members) in enumerate(told, 1):
        items = [_item(*filed, f"s{number}r{i}") for i, filed in enumerate(members, 1)]
        yield {
            "id": f"s{number}",
            "number": number,
            "title": title,
            "entries": [item for item in items if item["run"] in (None, focus)],
            "others": [item for item in items if item["run"] not in (None, focus)],
        }


def _item(
    folder: str | os.PathLike[str], report: Mapping[str, Any], identity: str
) -> dict[str, Any]:
    """One report as the template wants it."""
    folder, run = Path(folder), f"run {report['run']}" if report["run"] else "the whole study"
    figures = [
        {
            "svg": inline_svg(
                folder / f["file"], f"{identity}f{i}", f["caption"], f.get("sha256", "")
            ),
            "caption": f["caption"],
            "command": f"snakemake --force {(folder / f['file']).as_posix()}",
        }
        for i, f in enumerate(report["figures"], 1)
    ]
    numbers = numbers_as_text(report["numbers"])
    shown, more = numbers.rows[:NUMBERS_SHOWN], numbers.rows[NUMBERS_SHOWN:]
    return {
        **report,
        "id": identity,
        # Up to the first full stop that a new sentence follows.
        "short": re.split(r"(?<=[a-z0-9%)][.!?])\s+(?=[A-Z])", report["answer"].strip())[0],
        "figures": figures,
        "numbers": numbers._replace(rows=shown),
        "more": numbers._replace(title="More numbers", rows=more),
        "tables": [table_as_text(table) for table in report["tables"]],
        "settings": pretty(report["settings"]) if report["settings"] else "",
        "where": f"Analysis {report['name']} ({report['kind']}) of {run}, in {folder.as_posix()}",
    }

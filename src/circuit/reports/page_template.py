"""The template of a study's page. It holds markup and no decisions; `page` prepares its content."""

PAGE = """\
{% macro table(header, rows, numeric, kind="") -%}
<div class="scroll"><table{% if kind %} class="{{ kind }}"{% endif %}>
<thead><tr>{% for name in header -%}
<th scope="col"{% if numeric[loop.index0] %} class="number"{% endif %}>{{ name }}</th>
{%- endfor %}</tr></thead>
<tbody>{% for row in rows %}
<tr>{% for cell in row -%}
<td{% if numeric[loop.index0] %} class="number"{% endif %}>{{ cell }}</td>
{%- endfor %}</tr>{% endfor %}
</tbody></table></div>
{%- endmacro %}

{% macro marks(texts) -%}
{% if texts %}<ul class="marks" aria-label="Marks">
{% for text in texts %}<li><b>Mark.</b> {{ text }}</li>
{% endfor %}</ul>{% endif %}
{%- endmacro %}

{% macro numbers(item) -%}
{% if item.numbers %}
<h4>Numbers</h4>
{{ table(number_header, item.numbers[:shown], number_kinds, "numbers") }}
{% if item.numbers|length > shown %}
<details><summary>{{ item.numbers|length - shown }} more numbers</summary>
{{ table(number_header, item.numbers[shown:], number_kinds, "numbers") }}
</details>{% endif %}
{% endif %}
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
{{ numbers(item) }}
{% for each in item.tables %}
<details><summary>{{ each.title }} ({{ each.rows|length }} rows)</summary>
{{ table(each.header, each.rows, each.numeric) }}
</details>
{% endfor %}
{% if item.settings %}<details><summary>Settings</summary>
<pre>{{ item.settings }}</pre></details>{% endif %}
<p class="where">{{ item.where }}</p>
<p class="command">Remake all of it: <code>{{ item.command }}</code></p>
</article>
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
<p class="eyebrow">Study {{ study }}{% if focus %} · run {{ focus }}{% endif %}</p>
<h1>{{ title }}</h1>
<section class="summary" aria-labelledby="summary">
<h2 id="summary">What was asked and what was found</h2>
<p>{{ asked }}</p>
<p>{% for part in found %}{% if part.topic and not loop.first %}</p>
<p>{% endif %}{% if part.topic %}<b>{{ part.topic }}.</b> {% endif %}
{{ part.text }} <a href="#{{ part.id }}" \
aria-label="to section {{ part.section }}">§{{ part.section }}</a>
{% endfor %}</p>
</section>
{% if marked %}<ul class="marks" aria-label="Marks of all sections">
{% for mark in marked %}<li><b>Mark.</b> {{ mark.text }} \
<a href="#{{ mark.id }}">§{{ mark.section }}</a></li>
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
{{ marks(origins.marks) }}
{% if origins.versions %}
<h4>Versions</h4>
{{ table(["package", "version"], origins.versions, [false, false]) }}{% endif %}
{% if origins.jobs %}
<details><summary>Jobs: device, threads, seeds, wall time ({{ origins.jobs|length }})</summary>
{{ table(job_header, origins.jobs, [false, false, false, false, true, false, true]) }}
</details>{% endif %}
{% if origins.inputs %}
<details><summary>Inputs and their SHA-256 ({{ origins.inputs|length }} files)</summary>
<div class="scroll"><table><thead><tr><th scope="col">file</th><th scope="col">SHA-256</th></tr>
</thead><tbody>{% for name, digest in origins.inputs %}
<tr><td>{{ name }}</td><td class="digest">{{ digest }}</td></tr>{% endfor %}
</tbody></table></div></details>{% endif %}
{% if origins.code %}
<details><summary>Code fingerprints ({{ origins.code|length }} modules)</summary>
<div class="scroll"><table><thead><tr><th scope="col">module</th>\
<th scope="col">fingerprint of its syntax tree</th></tr>
</thead><tbody>{% for name, digest in origins.code %}
<tr><td>{{ name }}</td><td class="digest">{{ digest }}</td></tr>{% endfor %}
</tbody></table></div></details>{% endif %}
</article>
</section>
</main>
<footer>
<p>How to read a number: a quantity that can be negative shows its sign; the unit follows the \
value; the interval is a bootstrap 95% interval; n counts what was averaged. “Within” and \
“pooled”, window, rank and threshold choices are in each report's settings.</p>
</footer>
</div>
</body>
</html>
"""

"""Pages that can be read offline: their style sheet, their frame, and how tables stand in them.

One column of text, room for figures, dark on white. Nothing is fetched, and there are no scripts.
"""

from __future__ import annotations

import os
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from circuit.artifacts import write_text

_FRAME = """\
{% macro table(each, kind="") -%}
<div class="scroll"><table{% if kind %} class="{{ kind }}"{% endif %}>
<thead><tr>{% for name in each.header -%}
<th scope="col"{% if each.right[loop.index0] %} class="number"{% endif %}>{{ name }}</th>
{%- endfor %}</tr></thead>
<tbody>{% for row in each.rows %}
<tr>{% for cell in row -%}
<td{% if each.right[loop.index0] %} class="number"{% endif %}>{{ cell }}</td>
{%- endfor %}</tr>{% endfor %}
</tbody></table></div>
{%- endmacro %}

{% macro folded(each, kind="") -%}
<details><summary>{{ each.title }} ({{ each.rows|length }} rows)</summary>
{{ table(each, kind) }}
</details>
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
%s
</div>
</body>
</html>
"""
_CSS = """
:root{--ink:#1a1a1a;--soft:#5f6368;--line:#dfe2e6;--wash:#f6f7f9;--accent:#332288;
--mark:#8a3b00;--mark-wash:#fff4e5;--mark-line:#e69f00;
--serif:Charter,'Bitstream Charter','Sitka Text',Cambria,Georgia,serif;
--sans:'Helvetica Neue',Helvetica,Arial,'DejaVu Sans',sans-serif;
--mono:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:#fff;color:var(--ink);font:17px/1.6 var(--serif)}
.page{max-width:80rem;margin:0 auto;padding:0 1.5rem 4rem}
header{padding-top:1.1rem}
main,footer{max-width:58rem;margin:0 auto}
h1{font:700 1.42rem/1.28 var(--sans);letter-spacing:-.01em;margin:.25rem 0 .7rem;text-wrap:balance}
h2{font:700 .82rem/1.3 var(--sans);letter-spacing:.09em;text-transform:uppercase;
color:var(--accent);border-top:1px solid var(--line);margin:2.4rem 0 .9rem;padding-top:1.1rem}
h3{display:inline;font:600 1rem/1.4 var(--sans)}
h4{font:700 .95rem/1.4 var(--sans);margin:1.8rem 0 .5rem}
p{margin:.6rem 0;max-width:44rem}
a{color:var(--accent);text-decoration-thickness:.06em;text-underline-offset:.15em}
.eyebrow,.where{font:.82rem/1.5 var(--sans);color:var(--soft);max-width:none}
.eyebrow{margin:0}
.answer a{font:.78rem var(--sans);text-decoration:none}
.first{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:0 1.5rem}
.first figure{margin:0 0 .7rem}
.first .plot{max-height:25rem}
.first figcaption{max-width:none}
.first figcaption,.keys{font:.8rem/1.4 var(--sans)}
.keys{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,13rem),1fr));
gap:.6rem 1.2rem;margin:0}
.keys div{border-top:3px solid var(--accent);padding-top:.35rem}
.keys dt{color:var(--ink)}
.keys dd{margin:0}
.keys b{display:block;font:700 1.55rem/1.25 var(--sans)}
.keys span{display:block;color:var(--soft)}
.keys a,.found td a{text-decoration:none;white-space:nowrap}
.found{width:100%}
.found tbody th{color:var(--ink);position:static;border-bottom-width:1px;padding-top:.7rem}
.found td:nth-child(5){min-width:9rem}
.found .shown{color:#00573f;font-weight:600}
.found .opposite{color:var(--mark);font-weight:600}
.marks{padding:.2rem 1.1rem;max-width:46rem;background:var(--mark-wash);
border-left:4px solid var(--mark-line);color:var(--mark)}
.marks summary{color:inherit}
.marks ul{margin:.3rem 0;padding-left:1.1rem}
.remake{margin:0;font-size:.8rem;color:var(--soft)}
.remake code{overflow-wrap:anywhere}
.report{border-bottom:1px solid var(--line)}
.whole{max-height:none!important}
article{font:17px/1.6 var(--serif);margin:.6rem 0 2rem}
figure{margin:1.6rem 0 1.9rem}
.frame{border:1px solid var(--line);border-radius:6px;padding:.5rem .7rem;overflow-x:auto}
svg.plot *{stroke-linejoin:round;stroke-linecap:butt}
svg.plot{display:block;width:100%;min-width:34rem;height:auto}
figcaption{font:.89rem/1.5 var(--sans);color:var(--ink);margin:.6rem 0 0;max-width:46rem}
.command{font:.8rem/1.5 var(--sans);color:var(--soft);margin:.3rem 0 0;max-width:none}
code,pre{font-family:var(--mono);font-size:.86em}
.command code{background:var(--wash);border-radius:3px;padding:.1em .4em;color:var(--ink);
overflow-wrap:anywhere}
pre{background:var(--wash);border-radius:5px;padding:.8rem 1rem;overflow:auto;max-height:26rem;
font-size:.78rem;line-height:1.5;margin:.5rem 0}
.scroll{overflow:auto;max-height:30rem;margin:.5rem 0}
table{border-collapse:collapse;font:.84rem/1.4 var(--sans);font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem 1rem .3rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
th{font-weight:600;color:var(--soft);border-bottom:1.5px solid var(--soft);background:#fff;
position:sticky;top:0;vertical-align:bottom}
td.number,th.number{text-align:right;white-space:nowrap}
.numbers td:nth-child(2){font-weight:600}
.digests td:last-child{font-family:var(--mono);font-size:.78em;overflow-wrap:anywhere}
details{font:.9rem/1.5 var(--sans);margin:.5rem 0}
summary{cursor:pointer;color:var(--accent);padding:.12rem 0}
details.runs{border:1px solid var(--line);border-radius:6px;padding:.55rem 1rem;margin:1.6rem 0}
footer{border-top:1px solid var(--line);margin-top:3rem;padding-top:1rem;
font:.84rem/1.55 var(--sans);color:var(--soft)}
a:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
@media (max-width:36rem){
body{font-size:16px}
.page{padding:0 1rem 3rem}
h1{font-size:1.2rem}
.found thead{display:none}
.found tr{display:flex;flex-wrap:wrap;gap:0 .8rem;border-bottom:1px solid var(--line)}
.found td{border:0;padding:.1rem 0}
.found td:first-child{flex-basis:100%}}
@media print{
html{font-size:9pt}
body,article{font-size:10.5pt}
.page{padding:0}
.first{display:block}
.first .plot{max-height:7.2cm}
svg.plot{max-height:21cm}
td.number{white-space:normal}
.remake,.command{display:none}
h2,h3,h4,figcaption{break-after:avoid}
figure,.keys,tr{break-inside:avoid}
.frame{border:0;padding:0}
svg.plot{min-width:0}
.scroll,pre{max-height:none;overflow:visible}
th{position:static}
a{color:inherit;text-decoration:none}}
"""


def write_html(path: str | os.PathLike[str], body: str, css: str = "", **content: Any) -> None:
    """Write a page, whole or not at all.

    Args:
        body: template of what stands in the frame; it may use the macros ``table`` and ``folded``
            of a :class:`~circuit.reports.text.TextTable`.
        css: rules of this page alone.
        content: what the template names, ``title`` among it.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_FRAME.replace("%s", body))
    write_text(path, template.render(css=Markup(_CSS + css), **content).lstrip())

"""What told features fire on, as one page that can be read offline: tokens shaded by activation."""

from __future__ import annotations

from typing import Any

import pandas as pd

from circuit.reports.html import write_html
from circuit.reports.quantities import format_number
from circuit.reports.saying import Context
from circuit.reports.style import words

_STYLE = """
.page{max-width:60rem}
.feature{padding:.7rem 0;border-bottom:1px solid var(--line)}
.tokens{display:flex;flex-wrap:wrap;gap:.12rem;margin:.3rem 0;font:.74rem/1.5 var(--mono)}
.tokens span{border-radius:3px;padding:0 .22em}
.tokens .here{outline:2px solid #d55e00;outline-offset:1px}
.curve{display:flex;align-items:flex-end;gap:2px;height:2.6rem;margin:.4rem 0}
.curve i{flex:1;background:var(--accent);min-height:1px}
"""
_PAGE = """\
<header>
<p class="eyebrow">{{ where }}</p>
<h1>{{ title }}</h1>
<p class="where">Features that a label tells best; those that are born in training come first. \
Each with its decoder's norm at every checkpoint, as bars, and the held-out inputs on which it \
fires most, one a program: tokens shaded by its activation, outlined where it is largest.</p>
</header>
<main>
{% for one in features %}
<section class="feature" aria-labelledby="f{{ one.feature }}">
<h2 id="f{{ one.feature }}">Feature {{ one.feature }}: {{ one.label }}</h2>
<p>{{ one.told }} {{ one.life }}</p>
<div class="curve" role="img" aria-label="norm at every checkpoint">
{%- for height, title in one.norms %}<i style="height:{{ height }}" title="{{ title }}"></i>\
{% endfor %}</div>
{% for context in one.contexts %}
<div class="tokens">{% for token in context -%}
<span style="{{ token.style }}" title="{{ token.title }}"\
{% if token.here %} class="here"{% endif %}>{{ token.text }}</span>
{%- endfor %}</div>
{% endfor %}
</section>
{% endfor %}
</main>
"""


_LIVES = {
    "throughout": "It is there from the first checkpoint on.",
    "lost": "It is there from the first checkpoint on.",
    "born": "It is born at step {:,.0f}, confirmed by latent scaling.",
    "shrunk": "By its norm it is born at step {:,.0f}, but held-out states have it before, and "
    "other features leave it over.",
    "decoupled": "By its norm it is born at step {:,.0f}, but held-out states have it before, told "
    "by other features.",
    "returned": "It is there before, and again from step {:,.0f} on.",
}


def write_feature_page(material: Context, path: str) -> None:
    """Write the page, whole or not at all."""
    features, contexts = material.tables["features"], material.tables["contexts"]
    curves = material.tables["curves"]
    norms = curves[curves["measure"] == "norm"]
    write_html(
        path,
        _PAGE,
        css=_STYLE,
        where=f"Temporal crosscoder of {material.settings['stage']}",
        title="What features fire on, and since when",
        features=[
            _feature(features[features["feature"] == i], norms[norms["feature"] == i], some)
            for i, some in contexts.groupby("feature", sort=False)
        ],
    )


def _feature(about: pd.DataFrame, norms: pd.DataFrame, contexts: pd.DataFrame) -> dict[str, Any]:
    """What the page says of one feature."""
    own = about[about["against"] == ""].iloc[0]
    shuffled = about[about["against"] != ""].iloc[0]
    share = format_number(own["mean"], "share", own["low"], own["high"])
    chance = format_number(shuffled["mean"], "share")
    gone = "" if pd.isna(own["gone"]) else f" It is gone at step {own['gone']:,.0f}."
    top = contexts["activation"].max()
    return {
        "feature": own["feature"],
        "label": f"{words(own['label'])} {own['group']} ({words(own['role'])})",
        "told": f"The label explains {share} of its activation's variance (shuffled labels "
        f"{chance}).",
        "life": _LIVES[own["life"]].format(own["born"]) + gone,
        "norms": [
            (f"{mean:.0%}", f"step {step:,}: {mean:.2f}")
            for step, mean in zip(norms["step"], norms["mean"], strict=True)
        ],
        "contexts": [
            [_token(token, top) for token in one.to_dict("records")]
            for _, one in contexts.groupby("context", sort=False)
        ],
    }


def _token(token: dict[str, Any], top: float) -> dict[str, Any]:
    share = token["activation"] / top if token["activation"] > 0 else 0.0
    style = f"background:rgba(51,34,136,{share:.2f})" + (";color:#fff" if share > 0.5 else "")
    title = f"position {token['position']}: {token['activation']:.3g}"
    return {"text": token["token"], "style": style, "title": title, "here": token["here"] == "yes"}

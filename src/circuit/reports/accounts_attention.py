"""What the attention geometry says: how far one head retrieves, and which link moved first."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from circuit.measures.heads.chain import LINKS, MOVE_UNITS
from circuit.reports.document import Figure, Number, Table
from circuit.reports.publish import Account
from circuit.reports.quantities import format_value

LINK_UNITS = {
    "score": "score",
    "mass": "probability",
    "support value margin": "logit",
    "attended value margin": "logit",
    "direct logit": "logit",
}
EVEN = "even"
_CALLED = {"runner_up": "runner-up", "bottom": "bottom control"}
_MOVES = (
    *("head", "link", "moved", "first", "last", "half_way", "half_way_low", "half_way_high"),
    *(
        "half_way_after",
        "half_way_by",
        "lag",
        "lag_low",
        "lag_high",
        "jump",
        "jump_low",
        "jump_high",
        "count",
    ),
)
CELLS = 2  # of each head's role map, in the report's table
_INTERVAL = ("mean", "low", "high")


def attention(
    rows: pd.DataFrame,
    maps: pd.DataFrame,
    directions: pd.DataFrame,
    moves: pd.DataFrame,
    chain: Mapping[str, str],
    passes: Number,
) -> Account:
    """The retrieval chain of one head, beside others, and what backs it.

    Args:
        chain: name of the choice (``winner``, …) → head; the first is the head that is told.
        passes: how many forward passes it took.
    """
    head = next(iter(chain.values()))
    first, last = int(rows["step"].min()), int(rows["step"].max())
    levels = chain_levels(rows, chain, last)
    told = levels[levels["head"] == head].set_index("link")
    of_head = moves[moves["head"] == head].set_index("link")
    at = rows[rows["step"] == last].set_index(["head", "measure", "role"])
    return Account(
        question=f"How does {head} retrieve the answer, and which link of its chain moved first?",
        answer=" ".join(
            (
                _reach(head, told, at, last),
                _order(of_head, first),
                *_before(head, maps[maps["step"] == last]),
                _beside(levels, list(chain.items())[1:]),
            )
        ),
        numbers=[*_numbers(head, told, of_head, at, last), passes],
        tables=[
            Table(
                f"Retrieval chain at step {last:,} (present: beyond 0, or beyond even attention)",
                levels,
                {**dict.fromkeys(_INTERVAL, "unit of the measure"), "count": "1"},
            ),
            Table(
                "When each link moved (lag: after the head's first link to get half-way; jump: "
                "largest rise between checkpoints)",
                moves[list(_MOVES)],
                MOVE_UNITS,
            ),
            Table(
                f"Role map of every head at step {last:,}: largest entries above even attention",
                _largest(maps[maps["step"] == last]),
                {**dict.fromkeys((*_INTERVAL, EVEN), "probability"), "count": "1"},
            ),
            *_direction_tables(directions[directions["step"] == last], head, last),
        ],
        figures=_figures(head, last),
    )


def chain_levels(rows: pd.DataFrame, chain: Mapping[str, str], step: int) -> pd.DataFrame:
    """Every link of the heads at a step: head, link, mean, low, high, unit, present, count.

    A link is present where its interval lies above 0; mass, where it lies above that of attention
    spread evenly.
    """
    at = rows[rows["step"] == step].set_index(["head", "role", "measure"])
    found = []
    for head in dict.fromkeys(chain.values()):
        for link, (role, measure) in LINKS.items():
            row = at.loc[(head, role, measure)]
            floor = at.loc[(EVEN, role, measure), "high"] if link == "mass" else 0.0
            found.append(
                (
                    *(head, link, *(float(row[c]) for c in _INTERVAL), LINK_UNITS[link]),
                    bool(row["low"] > floor),
                    int(row["count"]),
                )
            )
    return pd.DataFrame(found, columns=["head", "link", *_INTERVAL, "unit", "present", "count"])


def _value(row: pd.Series) -> str:
    return format_value(row["mean"], row["unit"], row["low"], row["high"])


def _reach(head: str, told: pd.DataFrame, at: pd.DataFrame, step: int) -> str:
    """How far the head's chain reaches at a step."""
    has = told["present"]
    score, direct = _value(told.loc["score"]), _value(told.loc["direct logit"])
    mass = f"{told.loc['mass', 'mean']:.0%}"
    over = at.loc[(head, "head_value_over_mean_dla", "prediction"), "mean"]
    if not (has["score"] and has["mass"]):
        even = f"{at.loc[(EVEN, 'attention_mass', 'support_value'), 'mean']:.0%}"
        return (
            f"At step {step:,}, {head} does not look the answer up: it scores the support value "
            f"{score} against the other values and puts {mass} of its attention there, where even "
            f"attention puts {even}."
        )
    finds = f"At step {step:,}, {head} finds the support value ({score}, {mass} of its attention)"
    if not has["direct logit"]:
        return (
            f"{finds}, but what it writes does not single the answer out directly: its direct "
            f"logit is {direct} against the best other value, {over:+.2f} logit against the mean "
            "of all others."
        )
    absent = [link for link in told.index if not has[link]]
    if absent:
        return (
            f"{finds} and favours the answer directly by {direct}, but not at every link: its "
            f"{' and its '.join(f'{link} is {_value(told.loc[link])}' for link in absent)}."
        )
    return (
        f"{finds}, reads the answer there by {_value(told.loc['attended value margin'])} over the "
        f"best other value, and writes it to the logits by {direct}."
    )


def _order(moves: pd.DataFrame, first: int) -> str:
    """Which link moved first, and whether the others can be told apart from it."""
    moved = moves[moves["moved"]].sort_values("half_way")
    if moved.empty:
        return f"No link of its chain rose beyond its interval since step {first:,}."
    lead = moved.iloc[0]
    start = (
        f"the {lead.name} got half-way first, at step {lead['half_way']:,.0f} (95% interval "
        f"{lead['half_way_low']:,.0f} to {lead['half_way_high']:,.0f}; between the checkpoints "
        f"{lead['half_way_after']:,.0f} and {lead['half_way_by']:,.0f})"
    )
    rest = moved.iloc[1:]
    if rest.empty:
        return f"Only one link rose since step {first:,}: {start}."
    # Between the same two checkpoints the order rests on a straight line.
    apart = (rest["lag_low"] > 0) & (rest["half_way_by"] > lead["half_way_by"])
    later, close = rest[apart], rest[~apart]
    parts = []
    if len(close):
        parts.append(f"the {' and the '.join(close.index)} cannot be told apart from it")
    if len(later):
        lags = [
            f"the {link} {row['lag']:,.0f} steps ({row['lag_low']:,.0f} to "
            f"{row['lag_high']:,.0f}) later"
            for link, row in later.iterrows()
        ]
        parts.append(f"then came {', '.join(lags)}")
    return f"Of the {len(moved)} links that rose, {'; '.join([start, *parts])}."


def _before(head: str, maps: pd.DataFrame) -> list[str]:
    """Which head of an earlier layer looks back from the support value to its key, if any is."""
    layer = int(head[1 : head.index("H")])
    names = [name for name in maps["head"].unique() if name != EVEN]
    earlier = [name for name in names if int(name[1 : name.index("H")]) < layer]
    chosen = (maps["query_role"] == "support_value") & (maps["key_role"] == "support_key")
    mass = maps[chosen].set_index("head")["mean"]
    if not earlier:
        return []
    best = mass[earlier].idxmax()
    return [
        f"Of the heads before it, {best} looks most from the support value back to its key: "
        f"{mass[best]:.0%} of its attention, where even attention puts {mass[EVEN]:.0%}."
    ]


def _beside(levels: pd.DataFrame, others: list[tuple[str, str]]) -> str:
    """The same chain of the heads beside it, in short."""
    parts = []
    for role, head in others:
        links = levels[levels["head"] == head].set_index("link")
        present = f"{links['present'].sum()} of {len(links)} links"
        parts.append(
            f"the {_CALLED.get(role, role)} {head} has {present}, "
            f"{links.loc['mass', 'mean']:.0%} mass and a direct logit of "
            f"{_value(links.loc['direct logit'])}"
        )
    return f"Beside it, {'; '.join(parts)}."


def _numbers(
    head: str, told: pd.DataFrame, moves: pd.DataFrame, at: pd.DataFrame, last: int
) -> list[Number]:
    def number(name: str, row: pd.Series, unit: str, prefix: str = "") -> Number:
        signed = False if unit == "nat" else None
        low, high = (float(row[f"{prefix}{end}"]) for end in ("low", "high"))
        mean = float(row[prefix.rstrip("_") or "mean"])
        return Number(name, mean, unit, low, high, int(row["count"]), signed=signed)

    found = [
        number(f"{link} of {head}, at step {last:,}", row, row["unit"])
        for link, row in told.iterrows()
    ]
    for landmark, prefix in (("half-way", "half_way_"), ("largest rise", "jump_")):
        found += [
            number(f"step of {landmark} of the {link} of {head}", row, "step", prefix)
            for link, row in moves[moves["moved"]].iterrows()
        ]
    for name, role, measure, unit in (
        ("score margin over the best distractor", "support_value", "qk_best_margin", "score"),
        ("entropy of attention", "causal_prefix", "entropy", "nat"),
        ("direct logit over the mean value", "prediction", "head_value_over_mean_dla", "logit"),
    ):
        row = at.loc[(head, measure, role)]
        found.append(number(f"{name} of {head}, at step {last:,}", row, unit))
    masses = at.xs("attention_mass", level="measure")
    found += [
        number(f"attention of {head} on {role}, at step {last:,}", row, "probability")
        for role, row in masses.loc[head].iterrows()
    ]
    found += [
        number(f"even attention on {role}", masses.loc[(EVEN, role)], "probability")
        for role in ("support_value", "value_distractors")
    ]
    return found


def _largest(maps: pd.DataFrame) -> pd.DataFrame:
    """The entries of each head that exceed even attention most."""
    keys = ["query_role", "key_role"]
    even = maps[maps["head"] == EVEN].set_index(keys)["mean"].rename(EVEN)
    rows = maps[maps["head"] != EVEN].join(even, on=keys)
    excess = (rows["mean"] - rows[EVEN]).sort_values(ascending=False, kind="stable")
    # A role and a place may be the same position: the earlier name is kept.
    once = rows.loc[excess.index].assign(same=rows["mean"].round(9))
    top = once.drop_duplicates(["head", "query_role", "same"]).groupby("head").head(CELLS)
    return top.sort_values("head", kind="stable")[["head", *keys, *_INTERVAL, EVEN, "count"]]


def _direction_tables(rows: pd.DataFrame, head: str, last: int) -> list[Table]:
    """What one head's directions tell apart, and the agreement of sides in every head."""
    keys = ["matrix", "direction", "singular_value", "side", "level", "offset", "explained"]
    told = rows[rows["head"] == head]
    text = told["item"] + told["projection"].map(" {:+.2f}".format)
    named = told.assign(items=text).groupby(keys, dropna=False, sort=False)["items"].agg(", ".join)
    each = rows.drop_duplicates(["head", "matrix", "direction"])
    names = each["matrix"] + " " + each["direction"].astype(str)
    table = each.assign(name=names).pivot(index="head", columns="name", values="agreement")
    order = list(dict.fromkeys(names))
    return [
        Table(
            f"What the singular directions of {head} tell apart at step {last:,}",
            named.reset_index(),
            {"direction": "id", "singular_value": "unit of the measure"}
            | {"offset": "1", "explained": "share"},
        ),
        Table(
            f"Agreement of a direction's two sides over tokens at step {last:,}",
            table[order].reset_index().rename_axis(columns=None),
            dict.fromkeys(order, "1"),
        ),
    ]


def _figures(head: str, last: int) -> list[Figure]:
    captions = {
        "chain": f"The retrieval chain of {head} and the heads beside it: levels, and changes "
        "between checkpoints. Mass is a softmax of scores and saturates, so it need not be "
        "half-way when the score is.",
        "patterns": f"Attention of {head} from the prediction position in real programs, one row "
        "per checkpoint; the support value is outlined.",
        "roles": f"Attention mass of {head} by role over training, with 95% intervals over events.",
        "maps_by_role": "From the positions of one role to those of another: every head at step "
        f"{last:,}, and attention spread evenly.",
        "directions": f"What the top singular directions of W_QK and W_OV of {head} tell apart at "
        f"step {last:,}: places in the stream, and tokens at one place.",
    }
    return [Figure(f"{name}.svg", caption) for name, caption in captions.items()]

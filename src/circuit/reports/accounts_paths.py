"""What the path decomposition says: which paths carry the answer, and whether ablation agrees."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from circuit.model.passes import Passes
from circuit.reports.document import Figure, Number, Table
from circuit.reports.passes import passes_number
from circuit.reports.publish import Account
from circuit.reports.quantities import format_number

_LOGITS = {"mean": "logit", "low": "logit", "high": "logit", "count": "1"}
_MIXED = dict.fromkeys(("mean", "low", "high"), "unit of the measure") | {"count": "1"}
_UNITS = {"direct": "logit", "effect": "logit", "sign_agreement": "share", "correlation": "1"}
_NAMES = {
    "direct": "direct attribution of",
    "effect": "ablation effect of",
    "sign_agreement": "sign agreement of direct attribution and ablation effect over",
    "correlation": "correlation of direct attribution and ablation effect over",
}
_TARGETS = {
    "value_margin": "value margin (right value over the best other value)",
    "correct_logit": "logit of the right value",
    "answer_margin": "answer margin (over the best other token)",
    "stale_margin": "stale margin (over the latest stale value)",
}
_CENTRED = "events that did not choose it; the write less what ablation puts in its place"
_TOP, _ALL = "top components", "all components"
_SHOWN = 15


def paths(
    rows: pd.DataFrame,
    second_order: pd.DataFrame,
    readout: pd.DataFrame,
    ablations: pd.DataFrame,
    identities: pd.DataFrame,
    baseline: str,
    passes: Passes,
    n_layers: int,
) -> Account:
    """Which paths carry the margin at the last step that has second-order paths.

    Args:
        baseline: what stood in for an ablated write.
        passes: what the model ran.
    """
    step, first = int(second_order["step"].max()), int(rows["step"].min())
    direct = _by_size(_at(rows, step), "path")
    deeper = _by_size(_whole_paths(_at(second_order, step)), "path")
    chains = _by_size(_of_kind(_at(second_order, step), "chain"), "path")
    whole = _named(_at(rows, step, "all"), "whole")
    top = direct.iloc[0]
    before = _named(_at(rows, first), str(top["path"]))
    effects = ablations[(ablations["step"] == step) & (ablations["target"] == "value_margin")]
    answer = " ".join(
        [
            _headline(whole, top, before, step, first),
            _deeper(deeper.iloc[0], chains.iloc[0]),
            _agreement(effects, baseline),
        ]
    )
    numbers = [_number(f"{name}, at step {step:,}", row) for name, row in _wholes(rows, step)]
    numbers += [
        _number(f"direct path of {row['path']} to the value margin, at step {step:,}", row)
        for _, row in direct.head(3).iterrows()
    ]
    numbers.append(
        _number(f"direct path of {top['path']} to the value margin, at step {first:,}", before)
    )
    numbers += [
        _number(f"path {row['path']} → logit to the value margin, at step {step:,}", row)
        for _, row in deeper.head(3).iterrows()
    ]
    numbers += [
        _number(f"chain {row['path']} to the value margin, at step {step:,}", row)
        for _, row in chains.head(3).iterrows()
    ]
    numbers += _effect_numbers(effects, step)
    numbers += [_identity(identities), passes_number(passes, int(rows["count"].max()), n_layers)]
    return Account(
        question="Along which paths does the model's answer reach the logits?",
        answer=answer,
        numbers=numbers,
        tables=_tables(rows, second_order, readout, effects, identities, step),
        figures=_figures(step),
        marks=_marks(effects),
    )


def _at(rows: pd.DataFrame, step: int, half: str = "confirmation") -> pd.DataFrame:
    """Rows of the value margin at a step, with a column ``selected``: the other half's mean."""
    chosen = rows[(rows["step"] == step) & (rows["target"] == "value_margin")]
    selection = chosen[chosen["half"] == "selection"]["mean"].to_numpy()
    return chosen[chosen["half"] == half].assign(selected=selection)


def _by_size(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows but the whole, those first that are largest on the half that selects."""
    parts = rows[rows[name] != "whole"]
    order = parts["selected"].abs().sort_values(ascending=False, kind="stable").index
    return parts.loc[order]


def _named(rows: pd.DataFrame, path: str) -> pd.Series:
    return rows[rows["path"] == path].iloc[0]


def _of_kind(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    return rows[rows["kind"] == kind]


def _whole_paths(rows: pd.DataFrame) -> pd.DataFrame:
    """Second-order paths with all their positions together."""
    return _of_kind(rows, "path")[lambda f: f["positions"].isin(["all", "prediction"])]


def _wholes(rows: pd.DataFrame, step: int) -> list[tuple[str, pd.Series]]:
    """The logit and its margins, by what they are called, with the margin that is told first."""
    chosen = (rows["step"] == step) & (rows["path"] == "whole") & (rows["half"] == "all")
    at = rows[chosen].set_index("target")
    return [(name, at.loc[target]) for target, name in _TARGETS.items()]


def _number(name: str, row: pd.Series, unit: str = "logit", signed: bool | None = None) -> Number:
    values = (float(row[k]) for k in ("mean", "low", "high"))
    mean, low, high = values
    note = "" if row.get("half", "all") == "all" else "events that did not choose the path"
    return Number(name, mean, unit, low, high, int(row["count"]), note, signed)


def _told(row: pd.Series) -> str:
    return format_number(float(row["mean"]), "logit", float(row["low"]), float(row["high"]))


def _headline(whole: pd.Series, top: pd.Series, before: pd.Series, step: int, first: int) -> str:
    told = f"{_told(top)}, against {before['mean']:+.2f} logit at step {first:,}"
    told = told.replace("-", "−")
    if whole["low"] > 0:
        return (
            f"At step {step:,} the right value leads the best other one by {_told(whole)}, and the "
            f"largest direct path to this margin is that of {top['path']}: {told}."
        )
    return (
        f"At step {step:,} the right value does not lead the best other one (margin "
        f"{_told(whole)}), so there is no answer for paths to carry; the largest direct path is "
        f"that of {top['path']}: {told}."
    )


def _deeper(path: pd.Series, chain: pd.Series) -> str:
    return (
        f"One module further back the largest path is {path['path']} → logit with {_told(path)}, "
        f"and of the chains that sum to the margin the largest is {chain['path']} with "
        f"{_told(chain)}."
    )


def _agreement(effects: pd.DataFrame, baseline: str) -> str:
    """How far direct attribution and ablation agree, and where they differ most."""
    at = effects.set_index(["component", "measure"])
    top = effects[(effects["chosen"] == "top") & (effects["measure"] == "direct")]
    same = at.loc[(_TOP, "sign_agreement")]
    text = (
        f"Of the {len(top)} components with the largest direct attribution, {same['mean']:.0%} "
        f"have an ablation effect ({baseline} in place of the write) of the same sign"
    )
    if (_TOP, "correlation") in at.index:
        r = at.loc[(_TOP, "correlation")]
        both = f"{r['mean']:+.2f} (95% interval {r['low']:+.2f} to {r['high']:+.2f})"
        text += f", and the two correlate by {both} over them".replace("-", "−")
    wide = effects.pivot(index="component", columns="measure", values="mean")
    gap = (wide["effect"] - wide["direct"]).abs().dropna()
    name = str(gap.index[gap.argmax()])
    direct, effect = (at.loc[(name, measure)] for measure in ("direct", "effect"))
    return (
        f"{text}; they differ most for {name}, whose direct attribution is {_told(direct)} and "
        f"whose ablation costs {_told(effect)}."
    )


def _effect_numbers(effects: pd.DataFrame, step: int) -> list[Number]:
    """Both measures of the largest components and the control; agreement over components."""
    both = effects[effects["measure"].isin(["direct", "effect"])]
    names = both.drop_duplicates("component")["component"]
    bottom = both[both["chosen"] == "bottom"]
    single = both[both["component"].isin(names.head(3))]
    together = effects[effects["component"].isin([_TOP, _ALL])]
    found = []
    for _, row in pd.concat([single, bottom, together]).iterrows():
        measure, of = str(row["measure"]), str(row["component"])
        control = " (bottom control)" if row["chosen"] == "bottom" else ""
        name = f"{_NAMES[measure]} {of}{control}, value margin at step {step:,}"
        signed = measure == "correlation" or None
        number = _number(name, row, _UNITS[measure], signed)
        found.append(replace(number, note=_CENTRED) if measure == "direct" else number)
    return found


def _marks(effects: pd.DataFrame) -> list[str]:
    """Whether even the component that writes least towards the answer matters."""
    at = effects[effects["chosen"] == "bottom"].set_index("measure")
    direct, effect = at.loc["direct"], at.loc["effect"]
    if effect["low"] <= 0 <= effect["high"]:
        return []
    return [
        f"{direct['component']} writes least towards the answer by itself, {_told(direct)}, but "
        f"its ablation changes the margin by {_told(effect)}: what acts through later components, "
        "or through where they look, has no direct path."
    ]


def _identity(identities: pd.DataFrame) -> Number:
    worst = identities.loc[identities["residual"].idxmax()]
    return Number(
        "largest |sum of paths − value| of any event, step and identity",
        float(worst["residual"]),
        "logit",
        note=f"in float64; the values reach {identities['size'].max():.3g} logit",
        signed=False,
    )


def _tables(
    rows: pd.DataFrame,
    second_order: pd.DataFrame,
    readout: pd.DataFrame,
    effects: pd.DataFrame,
    identities: pd.DataFrame,
    step: int,
) -> list[Table]:
    def shown(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
        every = frame[(frame["step"] == step) & (frame["half"] == "all")]
        return every[["target", *columns, "mean", "low", "high", "count"]]

    direct = shown(rows, "path", "kind")
    deeper = _whole_paths(shown(second_order, "kind", "path", "positions"))
    deeper = deeper[deeper["target"] == "value_margin"]
    order = deeper["mean"].abs().sort_values(ascending=False, kind="stable").index[:_SHOWN]
    chains = _of_kind(shown(second_order, "kind", "path"), "chain").drop(columns="kind")
    chains = chains[chains["target"].isin(["correct_logit", "value_margin"])]
    stages = shown(readout, "stage", "scale")
    agreed = effects[effects["chosen"] != "other"].drop(columns=["step", "target"])
    agreed.insert(3, "unit", agreed["measure"].map(_UNITS))
    residuals = identities[identities["step"] == step].drop(columns="step")
    of_margin = "the value margin"
    return [
        *(
            Table(
                f"Direct paths to {name}, at step {step:,}",
                direct[direct["target"] == target].drop(columns="target"),
                _LOGITS,
            )
            for target, name in (
                ("value_margin", of_margin),
                ("correct_logit", "the correct logit"),
            )
        ),
        Table(
            f"The {_SHOWN} largest paths through one module more to {of_margin}, at step {step:,}",
            deeper.loc[order].drop(columns=["target", "kind"]),
            _LOGITS,
        ),
        Table(f"Chains, which sum to the whole, at step {step:,}", chains, _LOGITS),
        Table(
            f"The value margin read off every stage, at step {step:,}",
            stages[stages["target"] == "value_margin"].drop(columns="target"),
            _LOGITS,
        ),
        Table(
            f"Direct attribution and ablation effect on {of_margin}, at step {step:,}, on events "
            "that did not choose the components",
            agreed,
            _MIXED,
        ),
        Table(
            f"Sums of paths against what they must sum to, at step {step:,}",
            residuals,
            {"residual": "logit", "size": "logit", "count": "1"},
        ),
    ]


def _figures(step: int) -> list[Figure]:
    return [
        Figure(
            "trajectories.svg",
            "What each part of the model writes directly towards the correct logit and the value "
            "margin, over training. The lines sum to the black one exactly.",
        ),
        Figure(
            "second_order.svg",
            f"Which source reaches the margin through which module at step {step:,}, and the "
            "chains that the whole margin consists of. What made a head look where it looks is "
            "not among these paths: patterns are given.",
        ),
        Figure(
            "stages.svg",
            "The margin read off the residual stream after every module, for some checkpoints.",
        ),
        Figure(
            "direct_and_ablated.svg",
            "What components write towards the margin by themselves (less what ablation puts in "
            f"its place), and what their removal costs at step {step:,}.",
        ),
    ]

"""What the data asks for, as an account: what each split changes, and what a shortcut would get."""

from __future__ import annotations

import pandas as pd

from circuit.reports.document import Figure, Number, Table
from circuit.reports.figures_dataset import AXES
from circuit.reports.publish import Account
from circuit.reports.quantities import format_value

_STRONG = 0.5
"""From this accuracy on a shortcut is marked: it is wrong no more often than right."""

_MEAN, _CHANGE = "unit of the measure", "change, in the unit of the measure"
_REFERENCE = "train"


def best_shortcut(rows: pd.DataFrame, split: str = _REFERENCE) -> str:
    """Name of the shortcut with the highest accuracy on a split; of equal ones the first."""
    chosen = (rows["group"] == "shortcut") & (rows["slice"] == "all") & (rows["split"] == split)
    part = rows[chosen].reset_index(drop=True)
    return str(part.loc[part["mean"].idxmax(), "measure"])


def dataset(
    rows: pd.DataFrame, pairs: pd.DataFrame, overlaps: pd.DataFrame, shortcut: str
) -> Account:
    """What each split asks for, and what it changes against train.

    Args:
        rows, pairs, overlaps: see :class:`circuit.measures.dataset.DatasetTables`.
        shortcut: the best shortcut on train.
    """
    whole = rows[rows["slice"] == "all"]
    splits = list(dict.fromkeys(whole["split"]))
    others = [split for split in splits if split != _REFERENCE]
    at = whole.set_index(["split", "measure"]).sort_index()
    oracle = whole[whole["measure"] == "oracle"]
    worst = oracle.loc[oracle["mean"].idxmin()]
    told = "every answer" if worst["mean"] == 1 else f"only {worst['mean']:.2%} of the answers"
    of = "in every split" if worst["mean"] == 1 else f"of {worst['split']}"
    answer = " ".join(
        [
            _changes(at, others),
            _shortcut(rows, at, others, shortcut),
            f"A dictionary that follows the stream gives {told} {of}.",
        ]
    )
    return Account(
        question="What does each split ask for, what does it change against train, and what would "
        "a shortcut get?",
        answer=answer,
        numbers=_numbers(rows, at, splits, shortcut),
        tables=_tables(rows, whole, pairs, overlaps, splits),
        figures=[
            Figure(
                "split_axes.svg",
                "Mean of each axis of the generation rules, of two that follow from them and of "
                "the best shortcut on train, in every split.",
            ),
            Figure(
                "distractors.svg",
                "How many stale writes, writes to other keys and prior answers stand before a "
                "read, by split.",
            ),
            Figure(
                "event_graph.svg",
                "How earlier events bear on a read, how often, and over which distances.",
            ),
            Figure(
                "pair_matrix.svg",
                "Which (key, value) pairs each split answers, and the share that splits have in "
                "common.",
            ),
        ],
        marks=_marks(whole, worst),
    )


def _changes(at: pd.DataFrame, others: list[str]) -> str:
    """What each split changes among the axes, in one sentence."""
    if not others:
        return f"There is only {_REFERENCE}, so nothing is compared."
    parts, same = [], []
    for split in others:
        changed = at.loc[split]["changed"]
        axes = [f"{name} ({_from_to(at, split, m)})" for m, name in AXES.items() if changed[m]]
        if axes:
            parts.append(f"{split} changes {_listed(axes)}")
        elif changed.any():
            names = _listed(list(changed.index[changed]))
            parts.append(f"{split} changes none of the rules' axes but {names}")
        else:
            same.append(split)
    if same:
        parts.append(
            f"{_listed(same)} {'differ' if len(same) > 1 else 'differs'} in nothing beyond chance"
        )
    return f"Against {_REFERENCE}, {'; '.join(parts)}."


def _shortcut(rows: pd.DataFrame, at: pd.DataFrame, others: list[str], shortcut: str) -> str:
    """What the best shortcut gets, and where it stops working."""
    train = at.loc[(_REFERENCE, shortcut)]
    sliced = rows[
        (rows["split"] == _REFERENCE) & (rows["slice"] != "all") & (rows["measure"] == shortcut)
    ]
    keys = _listed(
        [f"{r['mean']:.0%} with {r['slice_value']} active keys" for _, r in sliced.iterrows()]
    )
    text = (
        f"Without look-up, the best shortcut on {_REFERENCE}, {shortcut}, is right in "
        f"{train['mean']:.1%} of its reads ({keys}), against "
        f"{at.loc[(_REFERENCE, 'any_written_value'), 'mean']:.1%} for a guess among the values "
        "written"
    )
    if others:
        least = min(others, key=lambda split: at.loc[(split, shortcut), "mean"])
        text += f"; on {least} it is right in {at.loc[(least, shortcut), 'mean']:.1%}"
    return f"{text}."


def _numbers(
    rows: pd.DataFrame, at: pd.DataFrame, splits: list[str], shortcut: str
) -> list[Number]:
    """Sizes of effects that a reader of other reports needs."""
    numbers = []
    for split in splits:
        best = best_shortcut(rows, split)
        names = {shortcut: "the best on train", best: f"the best on {split}"}
        for name, what in names.items():
            numbers.append(_number(f"accuracy of {name} on {split}", at.loc[(split, name)], what))
    for split in splits:
        if split == _REFERENCE:
            continue
        pair = at.loc[(split, "answer_pair_in_train")]
        numbers.append(_number(f"answers on {split} whose pair train answers too", pair))
        numbers.append(
            Number(
                f"measures that {split} changes",
                int(at.loc[split]["changed"].sum()),
                "1",
                note=f"of {len(at.loc[split]):,}; differences to train whose interval, holding for "
                "all measures and splits at once, leaves out 0",
            )
        )
    oracle = at.xs("oracle", level="measure").loc[splits]
    lowest = oracle["mean"].idxmin()
    numbers.append(
        _number("accuracy of a dictionary, lowest over splits", oracle.loc[lowest], f"on {lowest}")
    )
    return numbers


def _number(name: str, row: pd.Series, note: str = "") -> Number:
    values = (float(row[column]) for column in ("mean", "low", "high"))
    mean, low, high = values
    return Number(name, mean, str(row["unit"]), low, high, int(row["count"]), note)


def _tables(
    rows: pd.DataFrame,
    whole: pd.DataFrame,
    pairs: pd.DataFrame,
    overlaps: pd.DataFrame,
    splits: list[str],
) -> list[Table]:
    """Small tables; the analysis' own files hold everything."""
    first = whole[whole["split"] == _REFERENCE].set_index("measure")["mean"]
    changed = whole[whole["changed"] & (whole["group"] != "graph")]
    changed = changed.assign(train=changed["measure"].map(first))
    changed = changed[["split", "measure", "unit", "train", "mean", "delta"]].join(
        whole[["delta_low", "delta_high"]]
    )
    written = rows["measure"].str.endswith("_last_written_value") | (
        rows["measure"] == "any_written_value"
    )
    sliced = rows[(rows["slice"] == "active_keys") & written]
    sliced = sliced.rename(columns={"slice_value": "active_keys", "count": "reads"})
    by_keys = sliced.pivot(
        index=["split", "active_keys", "reads"], columns="measure", values="mean"
    )
    by_keys = by_keys.loc[splits, list(dict.fromkeys(sliced["measure"]))].reset_index()
    return [
        Table(
            "What each split holds: programs, events and answered (key, value) pairs",
            _sizes(whole, pairs, overlaps, splits),
            {
                **dict.fromkeys(("programs", "reads", "writes", "pairs", "pairs_in_train"), "1"),
                "jaccard_with_train": "share",
            },
        ),
        _by_split("Means of programs and reads", whole, ("program", "read", "pair"), _MEAN),
        Table(
            "Differences to train that no chance explains, the event graph's left out",
            changed.rename(columns={"delta": "change", "delta_low": "low", "delta_high": "high"}),
            {
                **dict.fromkeys(("train", "mean"), _MEAN),
                **dict.fromkeys(("change", "low", "high"), _CHANGE),
            },
        ),
        _by_split(
            "Accuracy of shortcuts, of blind guesses and of a dictionary",
            whole,
            ("shortcut", "guess", "oracle"),
            "share",
        ),
        Table(
            "Accuracy of counting writes back, by active keys",
            by_keys,
            {
                **dict.fromkeys(("active_keys", "reads"), "1"),
                **dict.fromkeys([c for c in by_keys if "written_value" in c], "share"),
            },
        ),
        _by_split("Edges of the event graph per program", whole, ("graph",), "1"),
    ]


def _by_split(title: str, whole: pd.DataFrame, groups: tuple[str, ...], unit: str) -> Table:
    """Means with one row per measure and one column per split."""
    part = whole[whole["group"].isin(groups)]
    splits = list(dict.fromkeys(part["split"]))
    index = ["measure", "unit"] if unit == _MEAN else ["measure"]
    table = part.pivot(index=index, columns="split", values="mean")
    table = table.loc[list(dict.fromkeys(part["measure"])), splits].reset_index()
    return Table(title, table.rename_axis(None, axis=1), dict.fromkeys(splits, unit))


def _sizes(
    whole: pd.DataFrame, pairs: pd.DataFrame, overlaps: pd.DataFrame, splits: list[str]
) -> pd.DataFrame:
    """Programs, events and pairs of every split, with their overlap with train's."""
    count = whole.set_index(["measure", "split"])["count"]
    events = pairs.groupby("split")[["answers", "writes"]].sum()
    with_train = overlaps[(overlaps["other"] == _REFERENCE) & (overlaps["of"] == "answers")]
    shared = with_train.set_index("split").loc[splits]
    return pd.DataFrame(
        {
            "split": splits,
            "programs": count.loc["writes"].loc[splits].to_numpy(),
            "reads": events["answers"].loc[splits].to_numpy(),
            "writes": events["writes"].loc[splits].to_numpy(),
            "pairs": shared["pairs"].to_numpy(),
            "pairs_in_train": shared["shared"].to_numpy(),
            "jaccard_with_train": shared["jaccard"].to_numpy(),
        }
    )


def _marks(whole: pd.DataFrame, worst: pd.Series) -> list[str]:
    marks = []
    strong = whole[(whole["group"] == "shortcut") & (whole["mean"] >= _STRONG)]
    for shortcut, part in strong.groupby("measure", sort=False):
        where = _listed([f"{row['mean']:.1%} on {row['split']}" for _, row in part.iterrows()])
        marks.append(
            f"{shortcut} looks up no key and is right in {where}: accuracy up to that is no "
            "evidence of look-up."
        )
    if worst["mean"] < 1:
        marks.append(
            f"A dictionary disagrees with answers of {worst['split']}: the benchmark is damaged."
        )
    return marks


def _from_to(at: pd.DataFrame, split: str, measure: str) -> str:
    """``2.51 to 3.44``: the means in train and in a split."""
    unit = str(at.loc[(split, measure), "unit"])
    means = (float(at.loc[(name, measure), "mean"]) for name in (_REFERENCE, split))
    return " to ".join(format_value(m, unit, signed=False, with_unit=False) for m in means)


def _listed(items: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))

"""What a shared dictionary's report says: how good it is, what its features tell, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from circuit.landmarks import from_then_on
from circuit.model.passes import Passes
from circuit.reports.document import Figure, Number, Table
from circuit.reports.passes import passes_number
from circuit.reports.publish import Account
from circuit.reports.style import thinned, words

_SHARES = ("share", "low", "high", "shuffled", "shuffled_high")
_UNITS = {
    **dict.fromkeys(("step", "born", "gone"), "step"),
    "feature": "id",
    **dict.fromkeys((*_SHARES, "fires_on", "r2", "pca_r2", "gain", "dead_share"), "share"),
    **dict.fromkeys(("active_features", "size", "told", "members_told", "features", "n"), "1"),
    **dict.fromkeys(("first", "last", "others"), "activation"),
}
_ROWS, _FEATURES = 16, 20  # most rows of the tables of checkpoints and of features
_HALF = 0.5


def shared(
    rows: pd.DataFrame,
    features: pd.DataFrame,
    families: pd.DataFrame,
    stage: str,
    passes: Passes,
    size: tuple[int, int],
) -> Account:
    """Quality of the dictionary over training, its families, and single features.

    Args:
        stage: whose states the dictionary reads.
        size: programs looked at, and layers of the model.
    """
    quality, table = _Quality(rows, len(features), stage), _family_table(rows, families)
    stories = [_family_sentence(row) for row in table.itertuples() if not row.by_token]
    sentences = [quality.sentence(), quality.over_training(), *stories]
    return Account(
        question=f"Does one dictionary of features serve the states at {stage} of all checkpoints, "
        "and what do its features tell?",
        answer=" ".join(sentences),
        numbers=[
            *quality.numbers(),
            *(number for row in table.itertuples() for number in _family_numbers(row)),
            passes_number(passes, *size),
        ],
        tables=[
            Table("The dictionary at checkpoints", quality.table(), _UNITS),
            Table(
                "Families of features: the share of their activation's variance that the label "
                "explains on held-out programs, and their mean activation",
                table.drop(columns=["role", "label", "rise", "rises"]).rename(
                    columns={"count": "n"}
                ),
                _UNITS,
            ),
            Table("What features fire on", _by_label(features), _UNITS),
            Table(
                f"The {_FEATURES} features that are told most by what the token does not name",
                _top_features(features),
                _UNITS,
            ),
        ],
        figures=_figures(),
        marks=quality.marks(),
    )


class _Quality:
    """R², its baseline, and active and dead features."""

    def __init__(self, rows: pd.DataFrame, size: int, stage: str) -> None:
        part = rows[rows["family"] == ""]
        self.size, self.stage = size, stage
        self.of = {str(name): of.set_index("step") for name, of in part.groupby("measure")}
        self.steps = [int(step) for step in sorted(part["step"].unique())]
        self.last = self.steps[-1]
        self.end = {name: of.loc[self.last] for name, of in self.of.items()}

    def sentence(self) -> str:
        """How good it is in the end."""
        r2, gain, active = (self.end[name] for name in ("r2", "gain", "active_features"))
        points = f"{abs(100 * gain['mean']):.1f} percentage points"
        if gain["low"] > 0:
            compared = f"{points} more than as many principal components"
        elif gain["high"] < 0:
            compared = f"{points} less than as many principal components"
        else:
            compared = "no more and no less than as many principal components"
        return (
            f"One dictionary of {self.size:,} features explains {r2['mean']:.1%} of the variance "
            f"of states at {self.stage} at step {self.last:,} (95% interval {r2['low']:.1%} to "
            f"{r2['high']:.1%}) with {active['mean']:.1f} features active at a time: {compared}."
        )

    def over_training(self) -> str:
        """Since when it is of use, and how many features are dead."""
        r2, dead = self.of["r2"]["mean"], self.of["dead_share"]["mean"]
        useful = from_then_on(np.array(self.steps), (r2[self.steps] >= _HALF).to_numpy())
        if useful is None:
            text = "At the end of training it explains less than half"
        elif useful == self.steps[0]:
            text = "At every checkpoint it explains at least half"
        else:
            worst = int(r2.idxmin())
            below = " (worse than their mean)" if r2[worst] < 0 else ""
            text = (
                f"From step {useful:,} on it explains at least half at every checkpoint, "
                f"before that as little as {_percent(r2[worst])} at step {worst:,}{below}"
            )
        first = self.steps[0]
        return (
            f"{text}; {round(self.size * dead[self.last]):,} features are dead at the last "
            f"checkpoint, {round(self.size * dead[first]):,} at step {first:,}."
        )

    def numbers(self) -> list[Number]:
        """The last checkpoint's."""
        said = {
            "r2": ("variance explained by the dictionary", "share", None),
            "pca_r2": ("variance explained by as many principal components", "share", None),
            "gain": ("dictionary minus principal components", "share", True),
            "active_features": ("features active on a state", "1", None),
        }
        found = []
        for measure, (name, unit, signed) in said.items():
            end = self.end[measure]
            found.append(
                Number(
                    f"{name}, at step {self.last:,}",
                    float(end["mean"]),
                    unit,
                    float(end["low"]),
                    float(end["high"]),
                    int(end["count"]),
                    note="held-out states; interval over programs",
                    signed=signed,
                )
            )
        dead = Number(
            f"dead features, at step {self.last:,}",
            float(self.end["dead_share"]["mean"]),
            "share",
            note=f"of {self.size:,}; they fire on next to no held-out state",
        )
        return [*found, dead]

    def table(self) -> pd.DataFrame:
        """Some checkpoints, the first and the last among them."""
        steps = thinned(self.steps, _ROWS)
        measures = ("r2", "pca_r2", "gain", "active_features", "dead_share")
        table = pd.DataFrame({name: self.of[name]["mean"].loc[steps] for name in measures})
        ends = self.of["r2"].loc[steps, ["low", "high"]]
        table.insert(1, "low", ends["low"])
        table.insert(2, "high", ends["high"])
        return table.rename_axis("step").reset_index()

    def marks(self) -> list[str]:
        """What must not be overlooked."""
        if self.end["r2"]["mean"] >= _HALF:
            return []
        return [
            "The dictionary leaves more than half of the last checkpoint's variance unexplained: "
            "scores of its features say little about the states."
        ]


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("-", "−")


def _family_table(rows: pd.DataFrame, families: pd.DataFrame) -> pd.DataFrame:
    """Families with their score at the first and the last checkpoint, and when it rose most."""
    scores = rows[rows["family"] != ""].sort_values("step")
    found = []
    for row in families.itertuples():
        mine = scores[scores["family"] == row.family].set_index("step")
        score, others = (mine[mine["measure"] == m]["mean"] for m in ("score", "score_control"))
        rise = score.diff().iloc[1:]
        until = int(rise.idxmax()) if len(rise) else int(score.index[0])
        before = int(score.index[max(score.index.get_loc(until) - 1, 0)])
        found.append(
            {
                "first": score.iloc[0],
                "last": score.iloc[-1],
                "others": others.iloc[-1],
                "rise": f"{before:,} and {until:,}",
                "rises": bool(len(rise)) and rise.max() > 0,
            }
        )
    return families.reset_index(drop=True).join(pd.DataFrame(found))


def _family_sentence(row: Any) -> str:
    """What a family tells, and how its score went; for labels that the token does not name."""
    label, role = words(row.label), words(row.role)
    low, high = row.low, row.shuffled_high
    share, size = row.share, row.size
    if low <= high:
        return (
            f"No {size} features tell the {label} at {role}: it explains {share:.0%} of the "
            "variance of the best ones' activation on held-out programs, and shuffled labels up to "
            f"{high:.0%}."
        )
    rose = f", most between steps {row.rise}" if row.rises else ""
    return (
        f"The {label} at {role} explains {share:.0%} of the variance of {size} features' "
        f"activation on held-out programs (shuffled labels up to {high:.0%}); their mean "
        f"activation there went from {row.first:.3f} to {row.last:.3f}{rose} (other features: "
        f"{row.others:.3f})."
    )


def _family_numbers(row: Any) -> list[Number]:
    """A family's number for readers who choose a ``feature_score``."""
    known = "; the token itself names the label" if row.by_token else ""
    return [
        Number(
            f"variance of activation that the label explains, family {row.family}",
            float(row.share),
            "share",
            float(row.low),
            float(row.high),
            int(row.count),
            note=f"mean over features {row.features}; shuffled labels {row.shuffled:.1%}, 97.5% of "
            f"them at most {row.shuffled_high:.1%}{known}",
        )
    ]


def _by_label(features: pd.DataFrame) -> pd.DataFrame:
    """How many features each label explains most of."""
    known = features[features["label"] != ""]
    groups = known.groupby(["role", "label", "by_token"], sort=False)
    table = groups.agg(
        features=("feature", "size"), told=("told", "sum"), share=("share", "median")
    )
    return table.sort_values("features", ascending=False, kind="stable").reset_index()


def _top_features(features: pd.DataFrame) -> pd.DataFrame:
    """Single features, for a ``feature_score`` of one."""
    context = features[~features["by_token"] & features["told"]]
    top = context.sort_values("share", ascending=False, kind="stable").head(_FEATURES)
    columns = ["feature", "role", "label", "group", *_SHARES, "n", "fires_on", "born", "gone"]
    return top.rename(columns={"count": "n"})[columns].reset_index(drop=True)


def _figures() -> list[Figure]:
    return [
        Figure(
            "reconstruction.svg",
            "Share of the variance of states that the dictionary explains at every checkpoint, "
            "against as many principal components, and how many features are active on a state.",
        ),
        Figure(
            "feature_births.svg",
            "Features that are active at each checkpoint, and those that are born and gone there, "
            "by what they fire on at the end.",
        ),
        Figure(
            "feature_families.svg",
            "Mean activation of every family at its role over training: the scalar feature_score. "
            "Dashed: all other features that fire there.",
        ),
    ]

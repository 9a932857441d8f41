"""Figures of a shared dictionary, drawn from small made-up tables."""

from itertools import product

import numpy as np
import pandas as pd

from circuit.reports import figures_features as figures

STEPS = (0, 30, 600, 1300)
FAMILIES = {
    "query_key@prediction": (True, 0.99),
    "answer@prediction": (False, 0.5),
    "query_key@support_value": (False, 0.57),
}
SIZE = 40


def _band(frame: pd.DataFrame, mean: pd.Series, count: int) -> pd.DataFrame:
    return frame.assign(mean=mean, low=mean - 0.02, high=mean + 0.02, count=count)


def rows() -> pd.DataFrame:
    """A dictionary that is worse than the mean at first, and families that become active."""
    ends = {
        "r2": (-0.3, 0.92, "share"),
        "pca_r2": (-9.0, 0.84, "share"),
        "gain": (8.7, 0.08, "share"),
        "active_features": (1.2, 19.6, "1"),
        "dead_share": (0.9, 0.1, "share"),
    }
    quality = pd.DataFrame(list(product(STEPS, ends)), columns=["step", "measure"])
    first, last = (quality["measure"].map(lambda name, i=i: ends[name][i]) for i in (0, 1))
    quality["unit"] = quality["measure"].map(lambda name: ends[name][2])
    quality = _band(quality, first + (last - first) * quality["step"] / max(STEPS), 5254)
    dead = quality["measure"] == "dead_share"
    quality.loc[dead, ["low", "high"]] = np.nan
    scores = pd.DataFrame(
        list(product(STEPS, FAMILIES, ("score", "score_control"))),
        columns=["step", "family", "measure"],
    ).assign(unit="activation")
    height = scores["measure"].map({"score": 0.12, "score_control": 0.04})
    scores = _band(scores, 0.03 + height * scores["step"] / max(STEPS), 510)
    return pd.concat([quality.assign(family=""), scores], ignore_index=True)


def features() -> pd.DataFrame:
    """Features of four kinds, some born late, some gone, some never active."""
    labels = [
        ("everywhere", "token", True),
        ("everywhere", "event_part", False),
        ("prediction", "answer", False),
        ("", "", False),
    ]
    at = np.arange(SIZE)
    role, label, by_token = zip(*(labels[i % 4] for i in at), strict=True)
    silent = np.array(label) == ""
    share = np.where(silent, np.nan, 0.9 - at / SIZE)
    born = np.select([at % 20 == 19, at % 3 == 0], [np.nan, 600.0], 30.0)
    return pd.DataFrame(
        {
            "feature": at,
            "fires_on": 0.1,
            "role": role,
            "label": label,
            "by_token": by_token,
            "group": np.where(silent, "", "K01"),
            "share": share,
            "low": share - 0.02,
            "high": share + 0.02,
            "shuffled": 0.02,
            "shuffled_high": 0.04,
            "count": 510,
            "told": ~silent,
            "born": born,
            "gone": np.where((at % 8 == 7) & ~np.isnan(born), 1300.0, np.nan),
        }
    )


def families() -> pd.DataFrame:
    """One family that the token names, and two that it does not."""
    found = pd.DataFrame(
        [(name, *name.split("@")[::-1], *about) for name, about in FAMILIES.items()],
        columns=["family", "role", "label", "by_token", "share"],
    )
    return found.assign(
        features="7 3 1 20",
        size=4,
        members_told=4,
        low=found["share"] - 0.02,
        high=found["share"] + 0.02,
        shuffled=0.02,
        shuffled_high=0.03,
        count=510,
    )


DRAW = {
    "reconstruction": lambda p: figures.reconstruction(rows(), p),
    "feature_births": lambda p: figures.feature_births(rows(), features(), p),
    "feature_families": lambda p: figures.feature_families(rows(), families(), p),
}
SAYS = {
    "reconstruction": [
        "n = 5,254 states",
        "95% intervals over programs",
        "share of variance (%)",
        "principal components",
        "features active on a state",
        "Values below −5% are not drawn.",
    ],
    "feature_births": [
        "n = 40 features, 2 of them never active",
        "answer at prediction",
        "event part",
        "silent at the end",
        "checkpoint (training step)",
    ],
    "feature_families": [
        "n = 510 states",
        "query key at prediction, token",
        "query key at support value",
        "4 features, told 57% (shuffled up to 3%)",
        "mean activation",
        "all other features that fire there",
    ],
}

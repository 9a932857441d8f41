"""Decoder norms of a crosscoder's features over checkpoints, ordered by birth."""

from __future__ import annotations

import pandas as pd

from circuit.reports import style

_NAMES = {
    "throughout": "there throughout",
    "lost": "lost",
    "born": "born, confirmed",
    "shrunk": "shrunk before",
    "decoupled": "decoupled before",
    "returned": "returned",
}


def feature_lives(curves: pd.DataFrame, features: pd.DataFrame, path: str) -> None:
    """Draw one line per live feature: groups by what became of it, within them by birth.

    Args:
        curves: estimates of ``norm`` by feature and step.
        features: feature, against, life, born, gone.
    """
    norms = curves[curves["measure"] == "norm"]
    norms = norms.pivot(index="feature", columns="step", values="mean")
    own = features[features["against"] == ""].set_index("feature")
    about = own.loc[norms.index]
    about = about.assign(place=about["life"].map(list(_NAMES).index)).sort_values(
        ["place", "born", "gone"], kind="stable"
    )
    ends = about.groupby("place").size().cumsum()
    note = (
        f"n = {len(about):,} features that fire on held-out programs, one a line; checkpoints are "
        "columns. Colour: the norm of the feature's decoder over its largest, of states scaled to "
        "the same size at every checkpoint."
    )
    with style.picture(path, "When features live", note, height=5.2) as body:
        ax = body.subplots()
        image = ax.imshow(
            norms.loc[about.index].to_numpy(), cmap=style.SEQUENTIAL, vmin=0, vmax=1,
            aspect="auto", interpolation="nearest",
        )  # fmt: skip
        begin = 0
        places = []
        for place, end in ends.items():
            ax.axhline(end - 0.5, color=style.INK, linewidth=0.6)
            places.append(
                ((begin + end - 1) / 2, f"{list(_NAMES.values())[place]} ({end - begin})")
            )
            begin = end
        ax.set_yticks(*map(list, zip(*places, strict=True)), fontsize=7.5)
        shown = style.every_nth(norms.shape[1], 16)
        ax.set_xticks(shown, [f"{norms.columns[i]:,}" for i in shown])
        ax.set_xlabel("checkpoint (training step)")
        style.bare(ax)
        style.colour_bar(image, [ax], "norm over its largest", aspect=24)

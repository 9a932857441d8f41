"""What contextual geometry says: where states come to know what, and which heads can read it."""

from __future__ import annotations

import pandas as pd

from circuit.landmarks import from_then_on
from circuit.model.passes import Passes
from circuit.reports.document import Figure, Number, Table
from circuit.reports.figures_contextual import MATCHED, TOKEN_GROUPS, contextual_cells, side_words
from circuit.reports.passes import passes_number
from circuit.reports.publish import Account
from circuit.reports.style import words

_SHARES = ("mean", "low", "high", "untrained", "shuffled_high", "between_share", "shuffled_between")
_SEEN = ("mean", "low", "high", "untrained", "shuffled_high", "random_high", "overlap")


def contextual(
    rows: pd.DataFrame, alignment: pd.DataFrame, rank: int, passes: Passes, size: tuple[int, int]
) -> Account:
    """Separability of states over training, and alignment of the heads' singular subspaces.

    Args:
        size: programs looked at, and layers of the model.
    """
    probe = rows[(rows["space"] == "full") & (rows["measure"] == "probe_accuracy")]
    cells = contextual_cells(probe)
    stories = [_Story(probe[(probe["role"] == r) & (probe["group"] == g)]) for r, g in cells]
    seen = matched(alignment)
    winner, bottom = (seen[seen["chosen"] == chosen] for chosen in ("winner", "bottom"))
    sentences = [story.sentence() for story in stories]
    answer = " ".join([*sentences, _heads_sentence(winner, bottom, rank)])
    last = int(rows["step"].max())
    return Account(
        question="When and where do states come to know the key and the answer, and do the lookup "
        "head's singular directions see it?",
        answer=answer,
        numbers=[
            *(number for story in stories for number in story.numbers()),
            *_heads_numbers(winner, last),
            passes_number(passes, *size),
        ],
        tables=[
            Table(
                f"What a linear probe tells apart at step {last:,} (untrained: step "
                f"{int(rows['step'].min()):,}), with the share of variance between groups",
                _stage_table(rows, last),
                {**dict.fromkeys(_SHARES, "share"), "n": "1"},
            ),
            Table(
                f"Share of between-group variance in the top {rank} singular directions, step "
                f"{last:,}",
                seen[["head", "chosen", "side", "group", "role", *_SEEN, "n"]],
                {**dict.fromkeys(_SEEN, "share"), "n": "1"},
            ),
            Table(
                f"Overlap of the winner's subspaces with all they are compared with, step {last:,} "
                "(mean squared cosine of principal angles)",
                _overlaps(alignment, last),
                {
                    **dict.fromkeys(
                        ("mean", "low", "high", "shuffled_high", "random_high"), "share"
                    ),
                    "n": "1",
                },
            ),
        ],
        figures=_figures(),
    )


class _Story:
    """One role and group through stages and training, from its probe rows."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.role, self.group = str(rows["role"].iloc[0]), str(rows["group"].iloc[0])
        first, last = rows["step"].min(), rows["step"].max()
        self.start = rows[rows["step"] == first].set_index("site")
        self.end = rows[rows["step"] == last].set_index("site")
        self.last = int(last)
        # The first stage whose interval reaches that of the best one.
        best = self.end["low"][self.end["mean"].idxmax()]
        self.site = str(self.end.index[self.end["high"] >= best][0])
        before = self.end.index[: list(self.end.index).index(self.site)]
        self.before = str(before[-1]) if len(before) else None
        here = rows[rows["site"] == self.site].sort_values("step")
        floor = self.start.loc[self.site, "high"]
        beyond = (here["low"] > here["shuffled_high"]) & (here["low"] > floor)
        self.onset = from_then_on(here["step"].to_numpy(), beyond.to_numpy())

    def sentence(self) -> str:
        """When and where the groups come apart, against the controls."""
        end, start = self.end.loc[self.site], self.start.loc[self.site]
        what = f"states at {words(self.role)}", f"by {words(self.group)}"
        shares = (
            f"(95% interval {end['low']:.0%} to {end['high']:.0%}; untrained {start['mean']:.0%}, "
            f"shuffled labels {end['shuffled']:.0%})"
        )
        named = f"a linear probe names the {words(self.group)} of {end['mean']:.0%} of held-back"
        if self.onset is None:
            return (
                f"At no stage do {what[0]} separate {what[1]} beyond shuffled labels and the "
                f"untrained network to the end: at {self.site}, the best stage, {named} states at "
                f"step {self.last:,} {shares}."
            )
        earlier = ""
        if self.before is not None:
            earlier = f", and of {self.end.loc[self.before, 'mean']:.0%} one stage before"
        return (
            f"From step {self.onset:,} on {what[0]} separate {what[1]}, most clearly from "
            f"{self.site} on: there {named} states at step {self.last:,} {shares}{earlier}."
        )

    def numbers(self) -> list[Number]:
        """Onset, and the probe's accuracy at the stage told."""
        end = self.end.loc[self.site]
        cell = f"{words(self.group)} at {words(self.role)}, {self.site}"
        return [
            Number(
                f"probe accuracy for {cell}, at step {self.last:,}",
                float(end["mean"]),
                "share",
                float(end["low"]),
                float(end["high"]),
                int(end["count"]),
                note=f"untrained {self.start.loc[self.site, 'mean']:.1%}; 97.5% of shuffled labels "
                f"at most {end['shuffled_high']:.1%}",
            ),
            Number(
                f"first step with lasting separation, {cell}",
                self.onset,
                "step",
                note="interval above shuffled labels and above the untrained interval, there and "
                "at all later checkpoints",
            ),
        ]


def matched(alignment: pd.DataFrame) -> pd.DataFrame:
    """The last checkpoint's share of between-group variance of the groups a side should see.

    Columns: head, chosen, side, group, role, mean, low, high, untrained (the mean at the first
    checkpoint), shuffled_high, random_high, overlap, n, sees (above both controls).
    """
    asked = alignment["compared"] == "group_means:" + alignment["side"].map(MATCHED)
    keys = ["chosen", "side", "role"]
    first, last = alignment["step"].min(), alignment["step"].max()
    share = alignment[asked & (alignment["measure"] == "variance_share")]
    found = share[share["step"] == last].set_index(keys)
    overlap = alignment[
        asked & (alignment["measure"] == "subspace_overlap") & (alignment["step"] == last)
    ]
    found = found.assign(
        group=[MATCHED[side] for side in found.index.get_level_values("side")],
        untrained=share[share["step"] == first].set_index(keys)["mean"],
        overlap=overlap.set_index(keys)["mean"],
        n=found["count"],
        sees=found["low"] > found[["shuffled_high", "random_high"]].max(axis=1),
    ).reset_index()
    order = {"winner": 0, "runner_up": 1, "bottom": 2}
    return found.sort_values("chosen", key=lambda c: c.map(order), kind="stable").reset_index(
        drop=True
    )


def _heads_sentence(winner: pd.DataFrame, bottom: pd.DataFrame, rank: int) -> str:
    if winner.empty:
        return "No group belongs to a side of the heads' maps at the roles looked at."
    head, other = winner["head"].iloc[0], bottom["head"].iloc[0]
    seen, unseen = winner[winner["sees"]], winner[~winner["sees"]]
    parts = [
        f"{side_words(row.side)} {row.mean:.0%} of the variance by {words(row.group)} at "
        f"{words(row.role)} (random {row.random:.0%}, shuffled labels {row.shuffled:.0%})"
        for row in seen.itertuples()
    ]
    verdict = (
        f"The top {rank} singular directions of the winner {head} see these groups better than "
        f"random directions and than shuffled labels on {len(seen)} of {len(winner)} sides"
    )
    text = f"{verdict}: {'; '.join(parts)}." if parts else f"{verdict}."
    if len(unseen) and len(seen):
        missed = ", ".join(
            f"{side_words(row.side)} ({row.mean:.0%}, shuffled labels up to "
            f"{row.shuffled_high:.0%})"
            for row in unseen.itertuples()
        )
        text += f" Not on {missed}."
    return (
        f"{text} The bottom control {other} does on {int(bottom['sees'].sum())} of {len(bottom)}."
    )


def _heads_numbers(winner: pd.DataFrame, last: int) -> list[Number]:
    return [
        Number(
            f"share of the variance between groups by {words(row.group)} at {words(row.role)} in "
            f"{side_words(row.side)} of winner {row.head}, at step {last:,}",
            row.mean,
            "share",
            row.low,
            row.high,
            int(row.n),
            note=f"random {row.random:.1%}, 97.5% of them at most {row.random_high:.1%}; shuffled "
            f"labels {row.shuffled:.1%}, at most {row.shuffled_high:.1%}",
        )
        for row in winner.itertuples()
    ]


def _stage_table(rows: pd.DataFrame, last: int) -> pd.DataFrame:
    """Every stage, role and group at the last checkpoint."""
    keys = ["role", "group", "site"]
    full = rows[rows["space"] == "full"]
    probe = full[full["measure"] == "probe_accuracy"]
    found = probe[probe["step"] == last].set_index(keys)
    share = full[(full["measure"] == "between_share") & (full["step"] == last)].set_index(keys)
    found = found.assign(
        untrained=probe[probe["step"] == probe["step"].min()].set_index(keys)["mean"],
        between_share=share["mean"],
        shuffled_between=share["shuffled"],
        n=found["count"],
        known_by=[
            "token" if (role, group) in TOKEN_GROUPS else "context"
            for role, group in zip(
                *(found.index.get_level_values(k) for k in keys[:2]), strict=True
            )
        ],
    ).reset_index()
    found = found.sort_values(["known_by", "role", "group"], kind="stable")
    return found[[*keys, "known_by", *_SHARES, "n"]].reset_index(drop=True)


def _overlaps(alignment: pd.DataFrame, last: int) -> pd.DataFrame:
    chosen = alignment[
        (alignment["step"] == last)
        & (alignment["chosen"] == "winner")
        & (alignment["measure"] == "subspace_overlap")
    ]
    columns = ["head", "side", "role", "compared", "mean", "low", "high", "shuffled_high"]
    found = chosen.rename(columns={"count": "n"}).sort_values("side", kind="stable")
    return found[[*columns, "random_high", "n"]].reset_index(drop=True)


def _figures() -> list[Figure]:
    return [
        Figure(
            "separability.svg",
            "Accuracy of a linear probe for every group at every stage over training, with "
            "shuffled labels. Groups that the token itself names are known from the embedding on.",
        ),
        Figure(
            "alignment_curves.svg",
            "Share of the variance between groups that lies in the singular subspaces of winner, "
            "runner-up and bottom control, against random subspaces and shuffled labels.",
        ),
        Figure(
            "group_distances.svg",
            "Distances of group means in units of the spread within groups, at the first and the "
            "last checkpoint, where the winner reads and writes.",
        ),
        Figure(
            "axes.svg",
            "States of held-back programs in the plane in which the largest groups' means differ "
            "most, at the first and the last checkpoint.",
        ),
    ]

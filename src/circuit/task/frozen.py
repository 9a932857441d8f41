"""Read events of the tables that are drawn once: the probe set and the pairs.

Kept apart from the code that draws them, so that an analysis depends on the tables only.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from circuit.task.events import ReadEvents, read_events
from circuit.task.vocabulary import EOS, Vocabulary

PairSide = Literal["clean", "corrupted"]


def probe_events(probes: pd.DataFrame, vocabulary: Vocabulary) -> ReadEvents:
    """Return the read events of a probe set, or of some of its rows, in the order of the rows."""
    reads = list(zip(probes["sample_id"], probes["read_index"], strict=True))
    return read_events(probes, vocabulary, reads)


def pair_events(pairs: pd.DataFrame, vocabulary: Vocabulary, side: PairSide) -> ReadEvents:
    """Return the read events of one side of pairs, in the order of the rows.

    Both sides of the same rows have the same shape, lengths and prediction positions; roles and
    answers are each side's own.
    """
    answers = pairs[f"{side}_answer"]
    streams = [
        np.append(tokens, [answer, EOS])
        for tokens, answer in zip(pairs[f"{side}_tokens"], answers, strict=True)
    ]
    whole = pd.DataFrame({"sample_id": pairs["sample_id"].to_numpy(), "tokens": streams})
    return read_events(whole, vocabulary, "last")

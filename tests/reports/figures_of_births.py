"""The figure of births, from rows made by hand."""

import pandas as pd

from circuit.reports import figures_births

STEPS = [0, 10, 30, *range(100, 1501, 100)]
COLUMNS = ["evidence", "method", "found", "step", "low", "high", "start", "stop", "note"]
NAN = float("nan")


def rows() -> pd.DataFrame:
    """Two births, one open interval, one drop, one curve that was not born."""
    return pd.DataFrame(
        [
            ("accuracy", "threshold", True, 700, 600, 700, 600, 700, ""),
            ("accuracy", "change_point", True, 700, 600, 800, 500, 900, ""),
            ("accuracy", "largest_jump", True, 700, 700, 800, 600, 700, ""),
            ("heldout_accuracy", "threshold", False, *[NAN] * 5, "never stays at this level"),
            ("heldout_accuracy", "change_point", True, 1300, 1200, 1400, 1200, 1500, ""),
            ("heldout_accuracy", "largest_jump", False, *[NAN] * 5, "no jump"),
            ("drift", "threshold", True, 800, 600, NAN, 700, 800, ""),
            ("drift", "change_point", True, 800, 700, 900, 400, 1100, ""),
            ("drift", "largest_drop", True, 900, 800, 1000, 800, 900, ""),
            ("ranks", "stabilisation", True, 300, 200, 600, 200, 300, ""),
        ],
        columns=COLUMNS,
    )


def windows() -> dict:
    """The windows that these births give."""
    first = {"start": 200, "stop": 300, "evidence": ["ranks"], "found": True}
    second = {"start": 600, "stop": 800, "evidence": ["accuracy", "drift"], "found": True}
    return {"main": second, "window_1": first, "window_2": second}


DRAW = {"timeline": lambda p: figures_births.timeline(rows(), windows(), STEPS, p)}
SAYS = {
    "timeline": [
        "training step",
        "heldout_accuracy",
        "no birth: never stays at this level",
        "main (window 2)",
        "n = 18 checkpoints",
        "95% intervals",
        "largest jump or drop",
    ]
}

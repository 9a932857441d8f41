"""Figures of the attribution to data, from tables made by hand."""

import data_frames as frames

from circuit.reports import figures_data

ROWS = frames.rows()
VALUES = frames.values(ROWS)

DRAW = {
    "data_growth": lambda p: figures_data.data_growth(ROWS, VALUES, frames.UNITS, p, "trapezoid"),
    "data_memory": lambda p: figures_data.data_memory(ROWS, frames.UNITS, p, "trapezoid"),
    "first_order_pushes": lambda p: figures_data.first_order_pushes(frames.first_order(), p),
    "removal_oracle": lambda p: figures_data.removal_oracle(frames.removal(), p),
}
SAYS = {
    "data_growth": ["cumulative growth (score)", "route: +5.38 score", "400 steps", "other tokens"],
    "data_memory": ["contribution (score)", "before window", "weight decay", "K01", "convention"],
    "first_order_pushes": ["cosine", "n = 256 programs", "control", "per unit of learning rate"],
    "removal_oracle": ["predicted (score per share)", "step 500", "share taken out", "5 groups"],
}

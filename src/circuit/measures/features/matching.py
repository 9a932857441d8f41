"""Whether two sets of directions are the same ones: of two dictionaries, or of planted truth.

1. *Mean max cosine*: over the directions of one, the mean of the largest cosine with any of the
   other (Sharkey et al. 2022). One direction may be the nearest to many.
2. *Matched cosine*: directions are paired one to one so that the sum of cosines is largest (the
   Hungarian method); the mean over pairs. With planted truth this is the mean correlation
   coefficient (MCC) of independent component analysis, taken of decoder directions.

Signs count: a feature that fires for the opposite is another feature.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize


def cosines(a: Float[Tensor, "m d"], b: Float[Tensor, "n d"]) -> Float[np.ndarray, "m n"]:
    """Cosine of every direction of one with every one of the other, float64."""
    found: np.ndarray = (normalize(a.double(), dim=1) @ normalize(b.double(), dim=1).T).numpy()
    return found


def mean_max_cosine(a: Float[Tensor, "m d"], b: Float[Tensor, "n d"]) -> float:
    """Step 1, from the directions of ``a``."""
    return float(cosines(a, b).max(1).mean())


def matched_cosine(a: Float[Tensor, "m d"], b: Float[Tensor, "n d"]) -> float:
    """Step 2: over as many pairs as the smaller set has directions."""
    found = cosines(a, b)
    return float(found[linear_sum_assignment(found, maximize=True)].mean())

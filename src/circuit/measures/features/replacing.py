"""What the answer loses when states are replaced by what a dictionary makes of them.

1. A pass over held-out programs, cut at their last read, goes on from the stage with other states
   at all positions (:mod:`circuit.experiments`): x̂ of the dictionary, of one with a frozen random
   decoder, of as many principal components as features are active; the mean of these states over
   events and positions (*mean ablation*); nothing (*zero ablation*).
2. ``answer_loss`` is the cross entropy of the answer (CE), ``kl`` the divergence of the answer's
   distribution from that of the clean pass, KL(clean ‖ replaced); both in nats.
3. What is *recovered* is a ratio of means: of CE (CE_ablated - CE) / (CE_ablated - CE_clean), of KL
   1 - KL / KL_ablated. 1: nothing is lost; 0: as bad as no state at all. It is missing where the
   ablation's own loss has an interval that holds 0, since then there is nothing to recover.

Intervals resample programs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import estimates, over
from circuit.experiments.changes import Change, Where, mean, zero
from circuit.experiments.edits import AtSites
from circuit.experiments.trial import ANSWER, Trial
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, pick
from circuit.scalars.behaviour import answer_logits
from circuit.statistics import draws, told
from circuit.task.events import ReadEvents

CLEAN, MEAN, ZERO = "clean", "mean ablation", "zero ablation"
_UNITS = {"answer_loss": "nat", "kl": "nat"}
_RECOVERED = {"ce_recovered": "answer_loss", "kl_recovered": "kl"}
_FROM = {"": MEAN, "_of_zero": ZERO}


def replaced(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    value_ids: range,
    site: str,
    remade: Mapping[str, Change],
    step: int,
) -> pd.DataFrame:
    """Estimates of answer_loss, kl and what is recovered, of each of the states ``remade``.

    ``remade`` are what makes other states of those at the site, by ``against``: ``""`` is the
    dictionary, all others are its controls. What it recovers beyond each is a paired excess.
    """
    begin = AtSites(((Where(site), zero()),)).stage(decoder.settings)
    trial = Trial.of(decoder, theta, events, value_ids, {site, begin})
    states = trial.clean.sites[site][events.causal_prefix]
    changes = {**remade, MEAN: mean(states.mean(0)), ZERO: zero()}
    edits = {name: AtSites(((Where(site), change),)) for name, change in changes.items()}
    losses, kl = {}, {}
    clean = _log_probabilities(trial.clean)
    losses[CLEAN] = -pick(clean, events.answer).numpy()
    for name, _, seen in trial.passes(edits, ANSWER):
        found = _log_probabilities(seen)
        losses[name] = -pick(found, events.answer).numpy()
        kl[name] = (clean.exp() * (clean - found)).sum(-1).numpy()
    kl[CLEAN] = np.zeros(len(events))
    return _rows({"answer_loss": losses, "kl": kl}, tuple(remade), step)


def _log_probabilities(seen: Seen) -> Float[Tensor, "E V"]:
    """Of all tokens at the answer, float64."""
    return answer_logits(seen).double().log_softmax(-1)


def _rows(
    values: Mapping[str, Mapping[str, Float[np.ndarray, " E"]]], remade: tuple[str, ...], step: int
) -> pd.DataFrame:
    """Means over events of every loss, and ratios of these means, over one set of resamples."""
    count = len(values["kl"][CLEAN])
    weights = draws(count) / count
    drawn = {m: {n: weights @ v for n, v in by.items()} for m, by in values.items()}
    found = []

    def add(measure: str, against: str, over_draws: Float[np.ndarray, " r+1"], unit: str) -> None:
        ends = dict(zip(("mean", "low", "high"), told(over_draws), strict=True))
        found.append({"measure": measure, "against": against, "unit": unit, **ends})

    for measure, by in drawn.items():
        for name, mean_loss in by.items():
            if (measure, name) != ("kl", CLEAN):
                add(measure, name, mean_loss, _UNITS[measure])
    for measure, of in _RECOVERED.items():
        for suffix, ablation in _FROM.items():
            whole = drawn[of][ablation] - drawn[of][CLEAN]
            _, low, high = told(whole)
            whole = whole if low > 0 or high < 0 else np.full_like(whole, np.nan)
            shares = {name: (drawn[of][ablation] - drawn[of][name]) / whole for name in remade}
            for name, share in shares.items():
                add(measure + suffix, name, share, "share")
            for name in remade[1:]:
                add(measure + suffix, over(name), shares[""] - shares[name], "share")
    return estimates(pd.DataFrame(found), noun="programs", step=step, count=count)

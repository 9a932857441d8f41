"""Synthetic tables in the columns that the analyses write, shaped like a real run."""

from __future__ import annotations

import numpy as np
import pandas as pd

STEPS = [0, 10, 30, *range(100, 1501, 100)]
HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]
ROLES = {"winner": "L1H2", "runner_up": "L1H0", "bottom": "L0H3"}
COMPONENTS = ("current_gradient", "momentum", "weight_decay", "rounding")
SHARES = dict(zip(COMPONENTS, (0.27, 0.78, -0.05, 1e-6), strict=True))
UNITS = {"route": "score", "margin": "logit"}


def rise(step, top: float, middle: float, width: float, start: float = 0.0):
    """A logistic rise, the shape of most things that are learned."""
    return start + (top - start) / (1 + np.exp(-(np.asarray(step, float) - middle) / width))


def head_scan() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    tops = dict(zip(HEADS, (0.2, -0.3, 0.4, -0.9, 3.3, 0.6, 7.4, 1.2), strict=True))
    rows = []
    for step in STEPS:
        for head in HEADS:
            mean = rise(step, tops[head], 550, 90) + 0.05 * rng.standard_normal()
            beats = 1 / (1 + np.exp(-mean)) * 0.9 - 0.1
            for half, n in (("selection", 208), ("confirmation", 207), ("all", 415)):
                rows += [
                    (step, head, "qk_separation", half, mean, mean - 0.25, mean + 0.25, n),
                    (step, head, "support_beats_all", half, beats, beats - 0.03, beats + 0.03, n),
                ]
            rows.append((step, head, "singular_value_1", "all", 3.0, 3.0, 3.0, 1))
        margin = rise(step, 6.5, 660, 90, -4)
        rows.append(
            (step, "model", "answer_margin", "all", margin, margin - 0.3, margin + 0.3, 415)
        )
    columns = ["step", "head", "measure", "half", "mean", "low", "high", "count"]
    return pd.DataFrame(rows, columns=columns)


def patterns(events: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    frames = []
    for event in range(events):
        tokens, roles = ["<bos>"], ["other"]
        latest: dict[str, int] = {}
        writes = 7 + event % 2
        order = ["K01", "K03", *(["K01", "K03", "K02"] * 3)][:writes]
        for i, key in enumerate(order):
            tokens += ["W", key, f"V{(37 * (event + 2) * (i + 1)) % 128:03d}"]
            roles += ["other", "key_distractors", "value_distractors"]
            latest[key] = len(tokens) - 1
            if i == 4:
                tokens += ["R", "K01", tokens[latest["K01"]]]
                roles += ["other", "other", "prior_answers"]
        asked = order[-2]
        roles[latest[asked]], roles[latest[asked] - 1] = "support_value", "other"
        for place in range(len(tokens)):
            if roles[place] == "value_distractors" and tokens[place - 1] == asked:
                roles[place] = "stale_value"
        tokens += ["R", asked]
        roles += ["other", "query_key"]
        noise = rng.gumbel(size=len(tokens))
        for step in STEPS:
            score = noise * (1 - 0.5 * rise(step, 1, 600, 80))
            score = score + np.array([r == "support_value" for r in roles]) * rise(step, 6, 620, 80)
            score = score + np.array([r in ("value_distractors", "stale_value") for r in roles])
            attention = np.exp(score) / np.exp(score).sum()
            frames.append(
                pd.DataFrame(
                    {
                        "event": event,
                        "sample_id": f"validation_iid-{event:05d}",
                        "position": range(len(tokens)),
                        "token": tokens,
                        "role": roles,
                        "step": step,
                        "attention": attention,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def seeds(runs: tuple[int, ...] = (7, 11, 13)) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    tops = {"winner": 7.0, "runner_up": 2.6, "bottom": -0.6}
    shares = {**SHARES, "residual": 0.001}
    rows = []
    for seed in runs:
        run = f"formation_seed{seed:04d}"
        heads = dict(zip(tops, rng.permutation(HEADS)[:3], strict=True))
        for role, top in tops.items():
            value = top + 0.4 * rng.standard_normal()
            ends = value - 0.35, value + 0.3
            rows.append((run, seed, role, heads[role], "growth", value, *ends, 207, "score"))
        shift = 0.03 * rng.standard_normal()
        for name, share in shares.items():
            value = share + {"current_gradient": shift, "momentum": -shift}.get(name, 0)
            rows.append(
                (run, seed, "winner", heads["winner"], f"share_{name}", value, value, value, 1, "1")
            )
        birth = 600 + 100 * int(rng.integers(0, 3))
        rows.append((run, seed, "model", "", "birth_step", birth, birth, birth, 1, "step"))
    columns = ["run", "seed", "role", "head", "measure", "value", "low", "high", "count", "unit"]
    frame = pd.DataFrame(rows, columns=columns)
    for (role, measure, unit), part in frame.groupby(["role", "measure", "unit"], sort=False):
        mean, half = part["value"].mean(), 1.96 * part["value"].std() / len(part) ** 0.5
        row = ("mean", -1, role, "", measure, mean, mean - half, mean + half, len(part), unit)
        frame.loc[len(frame)] = row
    return frame

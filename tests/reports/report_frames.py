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
SWEEP = ["step", "split", "slice", "slice_value", "measure", "mean", "low", "high", "count"]


def rise(step, top: float, middle: float, width: float, start: float = 0.0):
    """A logistic rise, the shape of most things that are learned."""
    return start + (top - start) / (1 + np.exp(-(np.asarray(step, float) - middle) / width))


def sweep() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []

    def add(step, split, name, value, measure, mean, spread, count):
        mean += spread / 4 * rng.standard_normal()
        if measure == "accuracy":
            mean = float(np.clip(mean, 0, 1))
            low, high = max(mean - spread, 0), min(mean + spread, 1)
        else:
            low, high = mean - spread, mean + spread
        rows.append((step, split, name, value, measure, mean, low, high, count))

    values = {
        "active_keys": (2, 3),
        "writes_since_support": (1, 2),
        "tokens_since_support": (3, 4, 6, 7, 9, 10, 12),
        "slot_after_write": (4, 5, 6, 7, 8),
    }
    for step in STEPS:
        for split, top in (("validation_iid", 0.975), ("heldout_pairs", 0.9)):
            add(step, split, "all", -1, "accuracy", rise(step, top, 640, 70, 0.03), 0.02, 1204)
            add(step, split, "all", -1, "margin", rise(step, 6.5, 660, 90, -4), 0.2, 1204)
            add(step, split, "all", -1, "entropy", rise(step, 0.2, 640, 90, 3.5), 0.1, 1204)
            for name, options in values.items():
                for i, value in enumerate(options):
                    late = 600 + 60 * i
                    accuracy = rise(step, top - 0.02 * i, late, 70, 0.03)
                    add(step, split, name, value, "accuracy", accuracy, 0.03, 1204 // len(options))
        for measure, mean, spread in (
            ("q", rise(step, 0.55, 300, 80, 0.06), 0.03),
            ("r", rise(step, 0.86, 600, 70, 0.05), 0.02),
            ("w", rise(step, 7.1, 650, 90, -3), 0.3),
        ):
            add(step, "probes", "all", -1, measure, mean, spread, 415)
    return pd.DataFrame(rows, columns=SWEEP)


def evaluation() -> pd.DataFrame:
    rows = []
    for split, accuracy, margin, n in (
        ("validation_iid", 0.974, 6.4, 2315),
        ("test_iid", 0.969, 6.3, 2293),
        ("heldout_pairs", 0.903, 4.1, 2308),
        ("structural_ood", 0.412, -0.6, 2317),
        ("counterfactual", 0.966, 6.2, 2293),
    ):
        rows += [
            (1500, split, "all", -1, "accuracy", accuracy, accuracy - 0.012, accuracy + 0.011, n),
            (1500, split, "all", -1, "margin", margin, margin - 0.15, margin + 0.15, n),
            (1500, split, "all", -1, "value_margin", margin + 0.3, margin, margin + 0.5, n),
            (1500, split, "active_keys", 2, "accuracy", accuracy, accuracy, accuracy, n // 2),
        ]
    return pd.DataFrame(rows, columns=SWEEP)


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

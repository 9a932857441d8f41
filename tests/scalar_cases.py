"""Every scalar with every option, by a name to show."""

from typing import Any

from circuit.scalars.registry import needs_head

_PLAIN = ["correct_value_logit", "negative_answer_loss", "support_attention", "qk_separation"]
_MARGINS = [
    "answer_margin",
    "ov_value_margin",
    "support_mass_ov_value_margin",
    "qk_ov_product",
    "head_value_margin_dla",
    "head_margin_dla_fixed_readout",
]


def _cases() -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {name: {"scalar": name} for name in _PLAIN}
    for measure in ("scores", "probabilities"):
        cases[f"attention_separation {measure}"] = {
            "scalar": "attention_separation",
            "measure": measure,
        }
    for name in _MARGINS:
        for rival in ("moving", "fixed_source", "fixed_target"):
            cases[f"{name} {rival}"] = {"scalar": name, "competitor": rival}
    cases["head_margin_dla_fixed_readout at 10"] = {
        "scalar": "head_margin_dla_fixed_readout",
        "basis": 10,
    }
    for rank in (1, 3, 8):
        for basis in ("own", "source", "final", 10):
            cases[f"qk_separation rank {rank} {basis}"] = {
                "scalar": "qk_separation",
                "rank": rank,
                "basis": basis,
            }
    for settings in cases.values():
        if needs_head(settings["scalar"]):
            settings["head"] = "L1H0"
    cases["qk_separation in layer 0"] = {"scalar": "qk_separation", "head": "L0H1"}
    cases["qk_separation rank 3 own in layer 0"] = {
        "scalar": "qk_separation",
        "head": "L0H1",
        "rank": 3,
        "basis": "own",
    }
    cases["head_value_margin_dla in layer 0"] = {"scalar": "head_value_margin_dla", "head": "L0H1"}
    cases["ov_value_margin in layer 0"] = {"scalar": "ov_value_margin", "head": "L0H1"}
    return cases


CASES = _cases()

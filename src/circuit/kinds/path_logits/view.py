"""Which paths carry the answer: what the decomposition shows, and whether ablation agrees."""

from circuit.reports.findings import Finding
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Cells, Curves, Dots, Listing, Not

SECTION = MECHANISM
QUESTION = "Along which paths does the model's answer reach the logits?"
_MARGIN = {"target": "value_margin", "step": "last"}
_SUMMED = {"measure": "path_through_module", **_MARGIN, "positions": ("all", "prediction")}
_TOLD = {"target": ("correct_logit", "value_margin")}
_CHAINS = {"measure": "chain", **_TOLD, "step": "last"}
_ABLATED = {"measure": "ablation_effect", **_MARGIN}
_AGREEMENT = {"path": "top components", "half": "confirmation", **_MARGIN}
_COMPARED = {
    "measure": ("ablation_effect", "sign_agreement", "correlation"),
    "half": "confirmation",
    **_MARGIN,
}
_START = ({"step": "first"},)
_DIRECT = ({"against": "direct_attribution"},)
_ONCE = "the only checkpoint with paths through modules"
_LARGEST = "The largest direct path to this margin is that of {path}"
_SAME = (
    "Of the {top} components with the largest direct attribution, {effect} have an ablation effect "
    "({ablation} in place of the write) of the same sign"
)
_INDIRECT = (
    "{path} writes least towards the answer by itself ({control}), but its ablation changes the "
    "margin by {effect}: what acts through later components, or through where they look, has no "
    "direct path."
)
FINDINGS = (
    Finding(
        "margin of the right value",
        {"measure": "direct_path", "path": "whole", "step": "last"},
        each=("target",),
        spoken=_MARGIN,
        control=_START,
        number="{target:words}, at step {step}",
        says={
            "shown": "At step {step} the right value leads the best other one by {effect}.",
            "open": "At step {step} the right value is not shown to lead the best other one by "
            "more than at the run's start (margin {effect}): there may be no answer for paths to "
            "carry.",
        },
    ),
    Finding(
        "largest direct path",
        {"measure": "direct_path", **_MARGIN, "path": Not("whole")},
        pick=("path",),
        rank="size",
        control=_START,
        number="direct path of {path} to the value margin, at step {step}",
        says={
            "shown": _LARGEST + ": {effect}, against {control.short} at the run's start.",
            "opposite": _LARGEST + " and lowers it: {effect}, against {control.short} at the run's "
            "start.",
            "open": "The largest direct path, that of {path} with {effect}, is not shown to "
            "differ from what it was at the run's start ({control.short}).",
        },
    ),
    Finding(
        "largest path through one module more",
        _SUMMED,
        pick=("path", "positions"),
        rank="size",
        control=_START,
        uncontrolled=_ONCE,
        number="path {path} → logit to the value margin, at step {step}",
        says="One module further back the largest path is {path} → logit with {effect};",
    ),
    Finding(
        "largest chain",
        {"measure": "chain", **_MARGIN},
        pick=("path",),
        rank="size",
        control=_START,
        uncontrolled=_ONCE,
        number="chain {path} to the value margin, at step {step}",
        says="of the chains that sum to the margin the largest is {path} with {effect}.",
    ),
    Finding(
        "signs of direct attribution and ablation effect",
        {"measure": "sign_agreement", **_AGREEMENT},
        uncontrolled="half of the signs agree by chance",
        bound=0.5,
        says={"shown": _SAME + ".", "open": _SAME + ", which is no more than by chance."},
    ),
    Finding(
        "correlation of direct attribution and ablation effect over top components",
        {"measure": "correlation", **_AGREEMENT},
        uncontrolled="what chance gives is 0",
    ),
    Finding(
        "ablation effect beyond direct attribution",
        _ABLATED,
        pick=("path",),
        rank="size",
        control=_DIRECT,
        number="ablation effect of {path} on the value margin, at step {step}",
        says="The two differ most for {path}: its removal costs {effect}, while it adds "
        "{control.short} by itself.",
    ),
    Finding(
        "component that writes least towards the answer",
        {**_ABLATED, "half": "confirmation", "chosen": "bottom"},
        control=_DIRECT,
        number="ablation effect of {path}, which writes least by itself",
        marks={"shown": _INDIRECT, "opposite": _INDIRECT},
    ),
    Finding(
        "miss of sums of paths",
        {"measure": "residual"},
        pick=("path", "target", "step"),
        uncontrolled="an identity, in float64",
        bound=1e-6,
        number="largest |sum − what it must be| of any event, step and identity",
        marks={"shown": "The sum of {path} misses what it must be by {effect}."},
    ),
)
VIEWS = (
    Curves(
        "trajectories",
        "Direct paths to the logit over training",
        caption="What each part of the model writes directly towards the correct logit and the "
        "value margin; the lines sum to the black one exactly.",
        where={"measure": "direct_path", **_TOLD},
        panels=("target",),
        series="path",
        note="Final LayerNorm scale frozen per event.",
    ),
    Cells(
        "second_order",
        "Paths to the value margin through one module more, at step {last}",
        caption="Which source (lines) reaches the margin through which module (columns); patterns "
        "are given, so what made a head look where it looks is not among these paths.",
        where=_SUMMED,
        x="through",
        y="source",
        note="Patterns and LayerNorm scales frozen; MLPs split by integrated gradients.",
    ),
    Dots(
        "chains",
        "Chains of module kinds to the logit, at step {last}",
        caption="The chains that the whole correct logit and the whole value margin consist of.",
        where=_CHAINS,
        panels=("target",),
        y=("path",),
    ),
    Curves(
        "stages",
        "The answer, stage by stage of the residual stream",
        caption="The value margin read off the residual stream after every module, with each "
        "stage's own LayerNorm scale (logit lens), and with the final scale, where it is the "
        "running sum of paths.",
        where={"measure": "stage_readout", "target": "value_margin", "scale": ("own", "frozen")},
        panels=("scale",),
        x="stage",
        series="step",
    ),
    Dots(
        "direct_and_ablated",
        "Direct attribution and measured ablation effect, at step {last}",
        caption="What components write towards the margin by themselves (less what ablation puts "
        "in its place), what their removal costs, and how far both agree over events.",
        where={**_COMPARED, "path": Not("top components", "all components")},
        panels=("measure",),
        y=("path",),
        control=("direct_attribution",),
        note="Ordered by direct attribution on the other half of the events, the top ones bold.",
    ),
)
TABLES = (
    Listing(
        "Direct paths, at step {last}",
        {"measure": "direct_path", **_TOLD, "step": "last"},
        keys=("target", "path", "kind"),
    ),
    Listing(
        "Paths through one module more to the value margin, the largest first, at step {last}",
        _SUMMED,
        keys=("path", "positions"),
        sort=True,
        top=15,
    ),
    Listing("Chains, which sum to the whole, at step {last}", _CHAINS, keys=("target", "path")),
    Listing(
        "The value margin read off every stage, at step {last}",
        {"measure": "stage_readout", **_MARGIN},
        keys=("stage", "scale"),
    ),
    Listing(
        "Ablation effect on the value margin, direct attribution and the difference, at step "
        "{last}, on events that did not choose the components",
        {**_COMPARED, "against": ("", "direct_attribution", "excess"), "chosen": Not("")},
        keys=("path", "chosen", "measure", "against"),
    ),
    Listing(
        "Largest miss of sums of paths, and the largest of what they must sum to, at step {last}",
        {"measure": ("residual", "largest_value"), "step": "last"},
        keys=("path", "target"),
        across="measure",
    ),
)

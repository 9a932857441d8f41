"""Which paths carry the answer: what the decomposition shows, and whether ablation agrees."""

from circuit.reports.findings import Finding
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Cells, Curves, Dots, Listing, Not

SECTION = MECHANISM
QUESTION = "Along which paths does the model's answer reach the logits?"
_MARGIN = {"target": "value_margin", "step": "last"}
_WHOLE = {"measure": "direct_path", "path": "whole", "step": "last"}
_SUMMED = {"measure": "path_through_module", **_MARGIN, "positions": ("all", "prediction")}
_TOLD = {"target": ("correct_logit", "value_margin")}
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
        name="margin of the right value", where={**_WHOLE, **_MARGIN}, control=_START,
        number="value margin (right value over the best other value), at step {step}",
        says={
            "shown": "At step {step} the right value leads the best other one by {effect}.",
            "open": "At step {step} the right value is not shown to lead the best other one by "
            "more than at the run's start (margin {effect}): there may be no answer for paths to "
            "carry.",
            "opposite": "At step {step} the right value does not lead the best other one (margin "
            "{effect}), so there is no answer for paths to carry.",
        },
    ),
    Finding(
        name="logit and other margins", where={**_WHOLE, "target": Not("value_margin")},
        each=("target",), control=_START, number="{target:words}, at step {step}", quiet=True,
    ),
    Finding(
        name="largest direct path",
        where={"measure": "direct_path", **_MARGIN, "path": Not("whole")}, pick=("path",),
        rank="size", control=_START,
        number="direct path of {path} to the value margin, at step {step}",
        says={
            "shown": "The largest direct path to this margin is that of {path}: {effect}, against "
            "{control.short} at the run's start.",
            "opposite": "The largest direct path to this margin is that of {path} and lowers it: "
            "{effect}, against {control.short} at the run's start.",
            "open": "The largest direct path, that of {path} with {effect}, is not shown to "
            "differ from what it was at the run's start ({control.short}).",
        },
    ),
    Finding(
        name="largest path through one module more", where=_SUMMED, pick=("path", "positions"),
        rank="size", control=_START, uncontrolled=_ONCE,
        number="path {path} → logit to the value margin, at step {step}",
        says="One module further back the largest path is {path} → logit with {effect};",
    ),
    Finding(
        name="largest chain", where={"measure": "chain", **_MARGIN}, pick=("path",), rank="size",
        control=_START, uncontrolled=_ONCE,
        number="chain {path} to the value margin, at step {step}",
        says="of the chains that sum to the margin the largest is {path} with {effect}.",
    ),
    Finding(
        name="signs of direct attribution and ablation effect",
        where={"measure": "sign_agreement", **_AGREEMENT},
        uncontrolled="half of the signs agree by chance", bound=0.5,
        number="top components whose direct attribution and ablation effect have the same sign",
        says={
            "shown": _SAME + ".",
            "open": _SAME + ", which chance could do.",
            "opposite": _SAME + ", fewer than by chance.",
        },
    ),
    Finding(
        name="correlation of direct attribution and ablation effect",
        where={"measure": "correlation", **_AGREEMENT}, uncontrolled="what chance gives is 0",
        number="correlation of direct attribution and ablation effect over top components",
        quiet=True,
    ),
    Finding(
        name="ablation effect beyond direct attribution", where=_ABLATED, pick=("path",),
        rank="size", control=_DIRECT,
        number="ablation effect of {path} on the value margin, at step {step}",
        says="The two differ most for {path}: its removal costs {effect}, while it adds "
        "{control.short} by itself.",
    ),
    Finding(
        name="component that writes least towards the answer",
        where={**_ABLATED, "half": "confirmation", "chosen": "bottom"}, control=_DIRECT,
        number="ablation effect of {path}, which writes least by itself", quiet=True,
        marks=dict.fromkeys(("shown", "opposite"), _INDIRECT),
    ),
    Finding(
        name="miss of sums of paths", where={"measure": "residual"},
        pick=("path", "target", "step"), uncontrolled="an identity, in float64", bound=1e-6,
        number="largest |sum − what it must be| of any event, step and identity", quiet=True,
        marks={"shown": "The sum of {path} misses what it must be by {effect}."},
    ),
)  # fmt: skip
VIEWS = (
    Curves(
        name="trajectories", title="Direct paths to the logit over training",
        caption="What each part of the model writes directly towards the correct logit and the "
        "value margin, over training. The lines sum to the black one exactly.",
        where={"measure": "direct_path", **_TOLD}, panels=("target",), series="path",
        note="Final LayerNorm scale frozen per event.",
    ),
    Cells(
        name="second_order",
        title="Paths to the value margin through one module more, at step {last}",
        caption="Which source (lines) reaches the margin through which module (columns). What made "
        "a head look where it looks is not among these paths: patterns are given.",
        where=_SUMMED, x="through", y="source",
        note="Patterns and LayerNorm scales frozen; MLPs split by integrated gradients.",
    ),
    Dots(
        name="chains", title="Chains of module kinds to the logit, at step {last}",
        caption="The chains that the whole correct logit and the whole value margin consist of.",
        where={"measure": "chain", **_TOLD, "step": "last"}, panels=("target",), y=("path",),
    ),
    Curves(
        name="stages", title="The answer, stage by stage of the residual stream",
        caption="The value margin read off the residual stream after every module, for some "
        "checkpoints: with each stage's own LayerNorm scale (logit lens), and with the final "
        "scale, where it is the running sum of paths.",
        where={
            "measure": "stage_readout", "target": "value_margin", "scale": ("own", "frozen")
        },
        panels=("scale",), x="stage", series="step",
    ),
    Dots(
        name="direct_and_ablated",
        title="Direct attribution and measured ablation effect, at step {last}",
        caption="What components write towards the margin by themselves (less what ablation puts "
        "in its place), what their removal costs, and how far both agree over events. An effect "
        "beyond the direct part came through later components.",
        where={**_COMPARED, "path": Not("top components", "all components")}, panels=("measure",),
        y=("path",), control=("direct_attribution",),
        note="Ordered by direct attribution on the other half of the events, the top ones bold.",
    ),
)  # fmt: skip
TABLES = (
    Listing(
        title="Direct paths, at step {last}",
        where={"measure": "direct_path", **_TOLD, "step": "last"}, keys=("target", "path", "kind"),
    ),
    Listing(
        title="Paths through one module more to the value margin, the largest first, at step "
        "{last}",
        where=_SUMMED, keys=("path", "positions"), sort=True, top=15,
    ),
    Listing(
        title="Chains, which sum to the whole, at step {last}",
        where={"measure": "chain", **_TOLD, "step": "last"}, keys=("target", "path"),
    ),
    Listing(
        title="The value margin read off every stage, at step {last}",
        where={"measure": "stage_readout", **_MARGIN}, keys=("stage", "scale"),
    ),
    Listing(
        title="Ablation effect on the value margin, direct attribution and the difference, at step "
        "{last}, on events that did not choose the components",
        where={
            **_COMPARED, "against": ("", "direct_attribution", "excess"), "chosen": Not("")
        },
        keys=("path", "chosen", "measure", "against"),
    ),
    Listing(
        title="Largest miss of sums of paths, and the largest of what they must sum to, at step "
        "{last}",
        where={"measure": ("residual", "largest_value"), "step": "last"}, keys=("path", "target"),
        across="measure",
    ),
)  # fmt: skip

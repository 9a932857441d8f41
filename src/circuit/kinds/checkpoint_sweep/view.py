"""What behaviour there is, when it appears, what it rests on, where it can be read."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import BEHAVIOUR
from circuit.reports.views import Curves, Listing, Not

SECTION = BEHAVIOUR
QUESTION = "What behaviour is there, when does it appear, and what does it rest on?"
_READS = {"slice": "all", "split": "$splits"}
_FIRST_SPLIT = {"slice": "all", "split": "$splits[0]"}
_COARSE = {"measure": ("q", "r", "w"), "split": "probes"}
_PROBES = {
    "measure": "probe_accuracy",
    "role": ("prediction", "support_value"),
    "target": ("answer", "stale_value", "query_key", "latest"),
}
_END = {"step": "last", "stage": "final_norm"}
_ABLATED = {"measure": "ablation_effect", "step": "last"}
_BOTTOM = ({"chosen": "bottom"},)
FINDINGS = (
    When(
        "landmark",
        {"unit": "step"},
        each=("measure",),
        spoken={"measure": "birth"},
        uncontrolled="a landmark of one curve; later checkpoints may fall below it",
        number="{measure:words} by accuracy on {split}",
        says={
            "shown": "Answer accuracy on {split} stays at or above {birth_threshold} from "
            "{effect:short} on.",
            "open": "Answer accuracy on {split} never stays at or above {birth_threshold}.",
        },
    ),
    Finding(
        "behaviour",
        {
            "measure": ("accuracy", "margin", "entropy", "confidence", "q", "r", "w"),
            "slice": "all",
            "split": ("$splits", "probes"),
            "step": "last",
        },
        each=("split", "measure"),
        spoken={"measure": "accuracy", "split": "$splits[0]"},
        control=({"step": "first"},),
        bound=None,
        number="{measure} on {split}, at step {step}",
        says="It is {control:short} untrained and {effect:short} at step {step}.",
        key="accuracy on {split} at step {step}",
        clause="the model answers {effect:short} of the reads of {split} right at step {step} "
        "({control:short} untrained)",
    ),
    Finding(
        "ablation effect of the component that matters most",
        {**_ABLATED, "half": "selection"},
        table="components",
        pick=("component",),
        control=_BOTTOM,
        number="ablation effect of {component}, at step {step}",
        says={
            "shown": "At step {step} removing {component} costs most: {effect} of answer margin on "
            "events that did not choose it, against {control:short} for the bottom control "
            "{control_component}.",
            "open": "No component is shown to be needed at step {step}: removing {component}, "
            "first on the events that choose, costs the others {effect} of answer margin.",
        },
    ),
    Finding(
        "ablation effect of the runner-up",
        {**_ABLATED, "half": "confirmation", "chosen": "runner_up"},
        table="components",
        control=_BOTTOM,
        number="ablation effect of runner-up {component}, at step {step}",
        says="Removing the runner-up {component} costs {effect:short}.",
    ),
    *(
        Finding(
            f"answer readable by {reader}",
            {"measure": measure},
            table="stages",
            control=({"against": control},),
            bound=0.5,
            number=f"{reader}: answers read at {{stage}}",
            says={
                "shown": f"By {reader} the answer can be read in more than half of the reads from "
                "{stage:words} on ({effect:short}).",
                "open": f"By {reader} the answer can be read in more than half of the reads at no "
                "stage ({effect:short} at most, at {stage:words}).",
            },
        )
        for reader, measure, control in (
            ("a linear probe", "probe_first_readable", "shuffled labels"),
            ("the logit lens", "lens_first_readable", "guess"),
        )
    ),
    Finding(
        "probe at the stream's end",
        {**_PROBES, **_END},
        table="stages",
        each=("role", "target"),
        control=({"against": "shuffled labels"}, {"step": "first"}, {"stage": "embedding"}),
        bound=None,
        number="probe of {target:words} at {role:words}, at the stream's end",
    ),
    Finding(
        "logit lens: accuracy at the stream's end",
        {"measure": "lens_accuracy", **_END},
        table="stages",
        control=({"against": "guess"}, {"step": "first"}),
    ),
    Finding(
        "order of components against the previous checkpoint's",
        {"component": ("heads", "mlps"), "step": "last"},
        table="components",
        each=("component", "measure"),
        uncontrolled="an order by chance correlates with none, so 0 is the control",
    ),
)
VIEWS = (
    Curves(
        "learning_curve",
        "Answer accuracy over training",
        caption="Answer accuracy over training on every split; the vertical line is the birth: "
        "from there on it stays at or above {birth_threshold} on {splits[0]}.",
        where={"measure": "accuracy", **_READS},
        series="split",
        marks={"measure": "birth"},
    ),
    Curves(
        "slices",
        "Answer accuracy on {splits[0]} by slice of the reads",
        where={"measure": "accuracy", "slice": Not("all"), "split": "$splits[0]"},
        panels=("slice",),
        series="slice_value",
    ),
    Curves(
        "coarse",
        "Coarse measures on the probe events over training",
        caption="The best head's attention from the prediction position to the query key (q) and "
        "to the support value (r), and the value-only answer margin (w).",
        where=_COARSE,
        panels=("measure",),
    ),
    Curves(
        "probes",
        "What linear probes read off each stage",
        caption="A state cannot know later writes: whether a value is the latest is read no better "
        "than from its place in the program, at embedding.",
        table="stages",
        where=_PROBES,
        panels=("role", "target"),
        series="stage",
        control=("shuffled labels",),
    ),
    Curves(
        "lens",
        "Logit lens at every stage over training",
        caption="What the model would answer if the stream ended at each stage: the state at the "
        "prediction position through the final LayerNorm, unembedded to values.",
        table="stages",
        where={"measure": ("lens_accuracy", "lens_margin"), "stage": Not("final_norm")},
        panels=("measure",),
        series="stage",
        control=("guess",),
    ),
    Curves(
        "drift",
        "Drift of the residual stream over training",
        caption="How far states lie from those of the previous checkpoint and of step "
        "{facts[reference]}, relative to their size; at equal norms about 1.4 is unrelated.",
        table="stages",
        where={"measure": ("drift_previous", "drift_reference")},
        panels=("measure", "role"),
        series="stage",
    ),
    Curves(
        "localisation",
        "Where heads look over training",
        caption="Attention of every head from the prediction position to the support value and to "
        "the query key.",
        table="components",
        where={"measure": ("attention_support_value", "attention_query_key")},
        panels=("measure",),
        series="component",
    ),
    Curves(
        "ablations",
        "What each component is worth over training",
        caption="What removing each component costs the answer margin; positive: it helps.",
        table="components",
        where={"measure": "ablation_effect"},
        series="component",
    ),
    Curves(
        "order",
        "Order of heads against the previous checkpoint",
        caption="Spearman's correlation of the order of heads, by ablation effect and by attention "
        "to the support value, with that of the checkpoint before.",
        table="components",
        where={"component": "heads"},
        series="measure",
    ),
)
TABLES = (
    Listing(
        "Accuracy over training, over all reads",
        {"measure": "accuracy", **_READS},
        keys=("step",),
        across="split",
    ),
    Listing(
        "Behaviour on {splits[0]} over training, over all reads",
        {
            "measure": ("margin", "value_margin", "entropy", "answer_loss", "confidence"),
            **_FIRST_SPLIT,
        },
        keys=("step",),
        across="measure",
    ),
    Listing("Coarse measures over training", _COARSE, keys=("step",), across="measure"),
    Listing(
        "What linear probes read at steps {last} and {first}, of reads that did not fit them",
        {**_PROBES, "step": ("last", "first")},
        table="stages",
        keys=("step", "role", "target", "stage"),
        control=("shuffled labels",),
    ),
    Listing(
        "The stream at the prediction position by stage, at step {last}",
        {
            "measure": ("lens_margin", "lens_accuracy", "drift_previous"),
            "role": "prediction",
            "step": "last",
        },
        table="stages",
        keys=("stage",),
        across="measure",
    ),
    Listing(
        "Margin of the logit lens at step {last}",
        {"measure": "lens_margin", "step": "last"},
        table="stages",
        keys=("stage",),
    ),
    Listing(
        "Drift from step {first}, untrained, to step {facts[reference]}",
        {"measure": "drift_reference", "step": "first"},
        table="stages",
        keys=("role", "stage"),
    ),
    Listing(
        "What every component does at the prediction position, at step {last}",
        {"step": "last", "role": "prediction", "component": Not("heads", "mlps")},
        table="components",
        keys=("component",),
        across="measure",
    ),
    Listing(
        "Ablation effects at step {last}, on all events, on those that choose (selection) and on "
        "the others (confirmation)",
        {**_ABLATED, "half": ("all", "selection", "confirmation")},
        table="components",
        keys=("component", "chosen", "half"),
    ),
)

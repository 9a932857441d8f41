"""What behaviour there is, when it appears, what it rests on, where it can be read."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import BEHAVIOUR
from circuit.reports.views import Curves, Listing, Not

SECTION = BEHAVIOUR
QUESTION = "What behaviour is there, when does it appear, and what does it rest on?"
_UNTRAINED = ({"step": "first"},)
_SHUFFLED = ({"against": "shuffled labels"}, {"step": "first"})
_END = {"measure": "probe_accuracy", "step": "last", "stage": "final_norm"}
_COARSE = {
    "q": "best head's attention to the query key",
    "r": "best head's attention to the support value",
    "w": "value-only answer margin",
}
_PROBED = {
    "probe of the answer at the prediction position": ("prediction", "answer"),
    "probe of the latest stale value at the prediction position": ("prediction", "stale_value"),
    "probe, at the support value, of the key it was written to": ("support_value", "query_key"),
}
_EFFECT = {"measure": "ablation_effect", "step": "last"}
_PROBES = {
    "measure": "probe_accuracy",
    "role": ("prediction", "support_value"),
    "target": ("answer", "stale_value", "query_key", "latest"),
}
_CHANCE = "an order by chance correlates with none, so 0 is the control"
FINDINGS = (
    When(
        name="birth",
        where={"measure": "birth"},
        uncontrolled="a landmark of one curve; its start is the control of the accuracy",
        says={
            "shown": "Answer accuracy on {split} stays at or above {birth_threshold} from "
            "{effect:short} on.",
            "open": "Answer accuracy on {split} never stays at or above {birth_threshold}.",
        },
    ),
    Finding(
        name="accuracy",
        where={"measure": "accuracy", "slice": "all", "step": "last", "split": "$splits[0]"},
        control=_UNTRAINED,
        bound=None,
        number="accuracy on {split}, at step {step}",
        says="It is {control:short} untrained and {effect:short} at step {step}.",
    ),
    Finding(
        name="accuracy of every split",
        where={"measure": "accuracy", "slice": "all", "step": "last", "split": "$splits"},
        each=("split",),
        control=_UNTRAINED,
        bound=None,
        number="accuracy on {split}, at step {step}",
        quiet=True,
    ),
    When(
        name="best checkpoint by accuracy on {split}",
        where={"measure": "best_checkpoint"},
        uncontrolled="a choice, not an effect",
        says="The best checkpoint by accuracy on {split} is {effect:short}.",
    ),
    Finding(
        name="ablation effect of the component that matters most",
        table="components",
        where={**_EFFECT, "half": "selection"},
        pick=("component",),
        control=({"chosen": "bottom"},),
        number="ablation effect of {component}, at step {step}",
        says={
            "shown": "At step {step} removing {component} costs most: {effect} of answer margin on "
            "events that did not choose it, against {control:short} for the bottom control "
            "{control_component}.",
            "opposite": "No component is needed at step {step}: removing {component}, first on the "
            "events that choose, costs the others {effect} of answer margin, less than removing "
            "the bottom control.",
            "open": "No component is shown to be needed at step {step}: removing {component}, "
            "first on the events that choose, costs the others {effect} of answer margin.",
        },
    ),
    Finding(
        name="ablation effect of the runner-up",
        table="components",
        where={**_EFFECT, "half": "confirmation", "chosen": "runner_up"},
        control=({"chosen": "bottom"},),
        number="ablation effect of runner-up {component}, at step {step}",
        says="Removing the runner-up {component} costs {effect:short}.",
    ),
    Finding(
        name="answer readable by a linear probe",
        table="stages",
        where={"measure": "probe_first_readable"},
        control=({"against": "shuffled labels"},),
        bound=0.5,
        number="probe of the answer at the prediction position and {stage}",
        says={
            "shown": "A linear probe reads the answer off the prediction position in more than "
            "half of the reads from {stage:words} on ({effect:short}).",
            "open": "A linear probe reads the answer off the prediction position in more than half "
            "of the reads at no stage ({effect:short} at most, at {stage:words}).",
            "opposite": "A linear probe reads the answer off the prediction position in more than "
            "half of the reads at no stage ({effect:short} at most, at {stage:words}).",
        },
    ),
    Finding(
        name="answer readable by the logit lens",
        table="stages",
        where={"measure": "lens_first_readable"},
        control=({"against": "guess"},),
        bound=0.5,
        number="logit lens: accuracy at {stage}",
        says={
            "shown": "The logit lens does so from {stage:words} on ({effect:short}).",
            "open": "The logit lens does so at no stage ({effect:short} at most, at {stage:words})."
            "",
            "opposite": "The logit lens does so at no stage ({effect:short} at most, at "
            "{stage:words}).",
        },
    ),
    Finding(
        name="what the model is like on the first split",
        where={
            "measure": ("margin", "entropy", "confidence"),
            "slice": "all",
            "step": "last",
            "split": "$splits[0]",
        },
        each=("measure",),
        control=_UNTRAINED,
        bound=None,
        number="{measure} on {split}, at step {step}",
        quiet=True,
    ),
    When(
        name="step at which accuracy on {split} {measure:words} (later ones may fall below)",
        where={"unit": "step", "measure": Not("birth", "best_checkpoint")},
        each=("measure",),
        uncontrolled="a landmark of one curve; later checkpoints may fall below it",
        quiet=True,
    ),
    *(
        Finding(
            name=f"{measure}: {meaning}",
            where={"measure": measure, "split": "probes", "step": "last"},
            control=_UNTRAINED,
            bound=None,
            quiet=True,
        )
        for measure, meaning in _COARSE.items()
    ),
    *(
        Finding(
            name=f"{what}, at the stream's end",
            table="stages",
            where={**_END, "role": role, "target": target},
            control=_SHUFFLED,
            bound=None,
            quiet=True,
        )
        for what, (role, target) in _PROBED.items()
    ),
    Finding(
        name="probe, at the support value, of whether it is the latest value",
        table="stages",
        where={**_END, "role": "support_value", "target": "latest"},
        control=(*_SHUFFLED, {"stage": "embedding"}),
        bound=None,
        quiet=True,
    ),
    Finding(
        name="logit lens: accuracy at the stream's end",
        table="stages",
        where={"measure": "lens_accuracy", "step": "last", "stage": "final_norm"},
        control=({"against": "guess"}, {"step": "first"}),
        quiet=True,
    ),
    Finding(
        name="order of components against the previous checkpoint's",
        table="components",
        where={"component": ("heads", "mlps"), "step": "last"},
        each=("component", "measure"),
        uncontrolled=_CHANCE,
        number="{measure:words} of {component} with the previous checkpoint",
        quiet=True,
    ),
)
VIEWS = (
    Curves(
        name="learning_curve",
        title="Answer accuracy over training",
        caption="Answer accuracy over training on every split; the vertical line is the birth: "
        "from there on it stays at or above {birth_threshold} on {splits[0]}.",
        where={"measure": "accuracy", "slice": "all", "split": "$splits"},
        series="split",
        marks={"measure": "birth"},
    ),
    Curves(
        name="slices",
        title="Answer accuracy on {splits[0]} by slice of the reads",
        caption="Accuracy by slice of the read events.",
        where={"measure": "accuracy", "slice": Not("all"), "split": "$splits[0]"},
        panels=("slice",),
        series="slice_value",
    ),
    Curves(
        name="coarse",
        title="Coarse measures on the probe events over training",
        caption="The coarse measures q, r (best head's attention from the prediction position to "
        "the query key and to the support value) and w (value-only answer margin).",
        where={"split": "probes"},
        panels=("measure",),
    ),
    Curves(
        name="probes",
        title="What linear probes read off each stage",
        caption="What linear probes read off each stage, on programs that did not fit them, and "
        "what the same probes fitted on shuffled labels do. A state cannot know later writes, so "
        "whether a value is the latest is read no better than from its place in the program, at "
        "embedding.",
        table="stages",
        where=_PROBES,
        panels=("role", "target"),
        series="stage",
        control=("shuffled labels",),
    ),
    Curves(
        name="lens",
        title="Logit lens at every stage over training",
        caption="What the model would answer if the stream ended at each stage: the state at the "
        "prediction position through the final LayerNorm, unembedded to values; margin: right "
        "value's logit − best other value's. That of final_norm is that of the last layer's end.",
        table="stages",
        where={"measure": ("lens_accuracy", "lens_margin"), "stage": Not("final_norm")},
        panels=("measure",),
        series="stage",
        control=("guess",),
    ),
    Curves(
        name="drift",
        title="Drift of the residual stream over training",
        caption="How far states lie from those of the previous checkpoint and of step "
        "{facts[reference]}, relative to their size: 0 is unmoved, about 1.4 unrelated at equal "
        "norms.",
        table="stages",
        where={"measure": ("drift_previous", "drift_reference")},
        panels=("measure", "role"),
        series="stage",
    ),
    Curves(
        name="localisation",
        title="Where heads look over training",
        caption="Attention of every head from the prediction position to the support value and to "
        "the query key.",
        table="components",
        where={"measure": ("attention_support_value", "attention_query_key")},
        panels=("measure",),
        series="component",
    ),
    Curves(
        name="ablations",
        title="What each component is worth over training",
        caption="What removing each component costs the answer margin; positive: it helps.",
        table="components",
        where={"measure": "ablation_effect"},
        series="component",
    ),
    Curves(
        name="order",
        title="Order of heads against the previous checkpoint",
        caption="How far the order of heads, by ablation effect and by attention to the support "
        "value, is that of the checkpoint before: Spearman's correlation.",
        table="components",
        where={"component": "heads"},
        series="measure",
    ),
)
TABLES = (
    Listing(
        title="Accuracy over training, over all reads",
        where={"measure": "accuracy", "slice": "all", "split": "$splits"},
        keys=("step",),
        across="split",
    ),
    Listing(
        title="Behaviour on {splits[0]} over training, over all reads",
        where={
            "measure": ("margin", "value_margin", "entropy", "answer_loss", "confidence"),
            "slice": "all",
            "split": "$splits[0]",
        },
        keys=("step",),
        across="measure",
    ),
    Listing(
        title="Coarse measures on the probe events over training",
        where={"split": "probes"},
        keys=("step",),
        across="measure",
    ),
    Listing(
        title="What linear probes read at step {last}, of reads that did not fit them",
        table="stages",
        where={**_PROBES, "step": "last"},
        keys=("role", "target", "stage"),
        control=("shuffled labels",),
    ),
    Listing(
        title="The same untrained, at step {first}",
        table="stages",
        where={**_PROBES, "step": "first"},
        keys=("role", "target", "stage"),
    ),
    Listing(
        title="The stream at the prediction position by stage, at step {last}",
        table="stages",
        where={
            "measure": ("lens_margin", "lens_accuracy", "drift_previous"),
            "role": "prediction",
            "step": "last",
        },
        keys=("stage",),
        across="measure",
    ),
    Listing(
        title="Margin of the logit lens at step {last}",
        table="stages",
        where={"measure": "lens_margin", "step": "last"},
        keys=("stage",),
    ),
    Listing(
        title="Drift from step {first}, untrained, to step {facts[reference]}",
        table="stages",
        where={"measure": "drift_reference", "step": "first"},
        keys=("role", "stage"),
    ),
    Listing(
        title="What every component does at the prediction position, at step {last}",
        table="components",
        where={
            "step": "last",
            "role": "prediction",
            "component": Not("heads", "mlps"),
        },
        keys=("component",),
        across="measure",
    ),
    Listing(
        title="Ablation effects at step {last}, on all events, on those that choose (selection) "
        "and on the others (confirmation)",
        table="components",
        where={**_EFFECT, "half": ("all", "selection", "confirmation")},
        keys=("component", "chosen", "half"),
    ),
)

"""Whether a circuit is sufficient, necessary, special and minimal, and since when."""

from circuit.kinds.hypothesis_test.criteria import CRITERIA
from circuit.reports.findings import Criteria, Finding, Test, When
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Curves, Listing

SECTION = MECHANISM
QUESTION = "Is the circuit enough for the answer, needed for it, special, minimal, and since when?"
_RANDOM, _OTHERS, _WITHOUT = "random circuits", "as many other edges", "the circuit without it"
_TOLD = {"half": "confirmation"}
_MAIN = {**_TOLD, "ablation": "$ablations[0]"}
_LAST = {"step": "last"}
_SHARE = {"measure": "answer_share"}
_ENOUGH, _NEEDED = {"test": "sufficiency"}, {"test": "necessity"}
_BOTH = {"test": ("sufficiency", "necessity")}
_CALLED = {"special": "more so than random circuits", "here": "more so than as many other edges"}
_COUNT = "it counts edges that each have a control"
FINDINGS = (
    When(
        "accepted from then on",
        {**_MAIN, "measure": "accepted"},
        each=("split",),
        spoken={"split": "every split"},
        number="from when the circuit is accepted on {split}",
        says={
            "shown": "The circuit of {facts[edges]} edges between the embedding, {facts[nodes]} "
            "and the answer is accepted (enough, needed, and more so than random ones) on every "
            "split from {effect:short} on.",
            "open": "The circuit of {facts[edges]} edges between the embedding, {facts[nodes]} and "
            "the answer is not accepted (enough, needed, and more so than random ones) on every "
            "split at step {step}.",
        },
    ),
    Criteria(
        "accepted on {split}",
        {**_MAIN, **_LAST, **_SHARE, **_BOTH},
        each=("split",),
        uncontrolled="random circuits and other edges are among the criteria",
        tests=tuple(
            Test(_CALLED.get(name, name), where, above=f"${bound}" if bound else 0.0)
            for name, (where, bound) in CRITERIA.items()
        ),
        beside={
            "sufficiency": _ENOUGH,
            "sufficiency_of_random_circuits": {**_ENOUGH, "against": _RANDOM},
            "necessity": _NEEDED,
            "necessity_of_as_many_other_edges": {**_NEEDED, "against": _OTHERS},
        },
        title="Criteria at the last step",
        clause={
            "shown": "with all else damaged, {facts[edges]} edges keep {sufficiency:short} of the "
            "answer",
            "open": "with all else damaged, {facts[edges]} edges keep {sufficiency:short} of the "
            "answer, which does not make them the circuit",
        },
        number="{split}",
        says={
            "shown": "On {split} it keeps {sufficiency} of the answer with all else damaged, and "
            "damage to it alone takes away {necessity}.",
            "opposite": "On {split} it is rejected: it keeps {sufficiency} of the answer with all "
            "else damaged, and damage to it alone takes away {necessity}; not shown: {failed}.",
            "open": "On {split} it is neither accepted nor rejected: it keeps {sufficiency} of the "
            "answer with all else damaged, and damage to it alone takes away {necessity}; not "
            "shown: {failed}.",
        },
    ),
    Finding(
        "answer that the circuit keeps",
        {**_MAIN, **_LAST, **_SHARE, **_ENOUGH, "split": "$splits[0]"},
        control=(_RANDOM,),
        number="share of the answer that the circuit keeps on {split}, at step {step}",
        key="answer kept by {facts[edges]} edges, all else damaged",
    ),
    Finding(
        "answer that there is to keep",
        {**_MAIN, **_LAST, "measure": "answer", "test": "whole"},
        each=("split",),
        uncontrolled="what all damage takes away is what shares are of",
        number="answer lost where everything is damaged, {split}",
        says={
            "opposite": "On {split} nothing is lost where everything is damaged: {effect}.",
            "open": "On {split} the model has no answer that damage is shown to take away "
            "({effect}), so there is nothing to have a share of.",
        },
    ),
    Finding(
        "edges that it needs",
        {**_MAIN, **_LAST, "measure": "needed_edges"},
        uncontrolled=_COUNT,
        number="share of its edges shown to be needed, at step {step}",
        says={
            "shown": "Of its edges {effect} are each shown to be needed: without that one alone it "
            "keeps less.",
            "open": "None of its edges is by itself shown to be needed.",
        },
    ),
    Finding(
        "fewest edges that are enough",
        {**_MAIN, "measure": "fewest_edges"},
        uncontrolled=_COUNT,
        number="fewest edges shown to be sufficient on the half that prunes",
        says={
            "shown": "Pruned further, it is still shown to keep enough with {effect:short} of its "
            "{facts[edges]} edges, on the half of the programs that pruned it.",
        },
    ),
)
VIEWS = (
    Curves(
        "tests",
        "Is the circuit sufficient, necessary and minimal, and since when?",
        caption="The answer that there is to keep (whole), what the circuit keeps of it with all "
        "else damaged (sufficiency) and what is lost with the circuit alone damaged (necessity): "
        "both are to be as high as the whole. Bands are what random circuits of as many edges "
        "keep, and what damage to as many other edges takes away. Minimality is the share of "
        "edges that are each shown to be needed.",
        where={
            **_MAIN,
            "measure": ("answer", "needed_edges"),
            "test": ("whole", "sufficiency", "necessity", "minimality"),
        },
        panels=("measure", "split"),
        series="test",
        control=(_RANDOM, _OTHERS),
    ),
    Curves(
        "pruned",
        "What the circuit keeps as edges are left out, step {last}",
        caption="Greedy pruning: in every round the edges go whose loss costs least by itself, on "
        "the half of the programs that chooses; shares of the answer and of right answers on the "
        "other half.",
        table="pruned",
        where={**_TOLD, "measure": ("answer_share", "correct_share")},
        x="edges",
        series="measure",
    ),
)
TABLES = (
    Listing(
        "Sufficiency and necessity at step {last}, as shares",
        {**_TOLD, **_LAST, "measure": ("answer_share", "correct_share"), **_BOTH},
        keys=("split", "test", "ablation", "measure"),
        control=(_RANDOM, _OTHERS),
    ),
    Listing(
        "What the circuit loses without each of its edges at step {last}, the largest first",
        {**_TOLD, **_LAST, "measure": "answer", "against": "excess"},
        table="edges",
        keys=("source", "target"),
        sort=True,
    ),
)

"""What the data asks for: what splits change, and what a shortcut would get."""

from typing import Any

from circuit.reports.findings import Criteria, Finding, Test
from circuit.reports.sections import DATA
from circuit.reports.views import Curves, Dots, Drawn, Listing, Not

SECTION = DATA
QUESTION = (
    "What does each split ask for, what does it change against train, and what would a shortcut "
    "get?"
)
_STRONG = 0.5  # from this accuracy on a shortcut is marked: it is right more often than wrong
# What the rules of generation set, one measure for each; everything else follows.
_AXES = {
    "active_keys": ("more active keys", "fewer active keys"),
    "overwrites": ("more overwrites", "fewer overwrites"),
    "reads": ("more reads", "fewer reads"),
    "writes_since_support": ("a longer query lag", "a shorter query lag"),
    "answer_pair_in_train": ("answers with train's pairs", "answers without train's pairs"),
}
_FOLLOWING = ("stale_distractors", "other_key_distractors")
_WHOLE = {"active_keys": ""}
_TRAIN, _OTHERS = {"split": "train"}, {"split": Not("train")}


def _events(material: Any, path: str) -> None:
    from circuit.reports.bespoke import events

    events.event_graph(material.tables["graph"], material.tables["rows"], path)


def _pairs(material: Any, path: str) -> None:
    from circuit.reports.bespoke import events

    events.pair_matrix(material.tables["pairs"], material.tables["overlaps"], path)


FINDINGS = (
    Finding(
        "a split differs from train",
        {"measure": "measures_changed"},
        each=("split",),
        uncontrolled="intervals hold for all measures and splits at once, so that by chance none "
        "leaves out 0, 95% of the time",
        says={
            "shown": "{split} differs from train in {effect.short} of {facts[measures]} measures.",
            "open": "{split} differs from train in nothing beyond chance.",
        },
    ),
    Criteria(
        "which of the rules' axes a split changes",
        {"against": "excess", **_WHOLE, **_OTHERS},
        each=("split",),
        uncontrolled="the rows are differences to train",
        tests=tuple(
            test
            for measure, (more, less) in _AXES.items()
            for test in (
                Test(more, {"measure": measure, "against": "excess"}, above=0.0),
                Test(less, {"measure": measure, "against": "excess"}, below=0.0),
            )
        ),
        says={"opposite": "Of what the rules of generation set, {split} has {met}."},
    ),
    Finding(
        "the best shortcut on train",
        {"measure": "best_shortcut", **_WHOLE, **_TRAIN},
        control=({"measure": "any_written_value", "group": "guess", "shortcut": ""},),
        number="accuracy of {shortcut} on train",
        says="Without look-up, the best shortcut on train, {shortcut}, is right in {effect} of its "
        "reads, against {control.short} for a guess among the values written.",
    ),
    Finding(
        "where the best shortcut of train fails",
        {"measure": "best_shortcut", **_WHOLE, **_OTHERS},
        pick=("split",),
        rank="smallest",
        control=(_TRAIN,),
        bound=None,
        number="accuracy of {shortcut} on {split}",
        says={
            "shown": "In no split is it right less often.",
            "open": "In no split is it shown to be right less often.",
            "opposite": "On {split} it is right in {effect.short}.",
        },
    ),
    Finding(
        "the best shortcut of a split",
        {"measure": "best_shortcut_here", **_WHOLE},
        each=("split",),
        control=({"measure": "any_written_value", "group": "guess", "shortcut": ""},),
        bound=_STRONG,
        number="accuracy of the best shortcut on {split}, {shortcut}",
        marks={
            "shown": "{shortcut} looks up no key and is right in {effect.short} of the reads of "
            "{split}: accuracy up to that is no evidence of look-up."
        },
    ),
    Finding(
        "answers that a dictionary gets wrong",
        {"measure": "wrong_answers"},
        pick=("split",),
        uncontrolled="every answer is checked",
        number="answers on which a dictionary disagrees, most of any split",
        says={
            "shown": "A dictionary that follows the stream disagrees with {effect.short} of "
            "{split}.",
            "open": "A dictionary that follows the stream gives every answer in every split.",
        },
        marks={
            "shown": "A dictionary disagrees with answers of {split}: the benchmark is damaged."
        },
    ),
)
VIEWS = (
    Dots(
        "split_axes",
        "What each split changes against train",
        caption="Axes of the generation rules, two that follow from them, and the best shortcut on "
        "train.",
        where={"measure": (*_AXES, *_FOLLOWING, "best_shortcut"), **_WHOLE},
        panels=("measure",),
        y=("split",),
        control=("smallest to largest",),
    ),
    Curves(
        "distractors",
        "What stands beside the answer: distractors of a read",
        caption="How many writes and answers of each sort stand before a read, by share of reads.",
        table="histograms",
        where={"measure": "share", "quantity": (*_FOLLOWING, "prior_answers", "stale_answers")},
        panels=("quantity",),
        x="value",
        series="split",
    ),
    Drawn(
        "event_graph",
        "Which earlier events bear on a read, how often, and over which distances",
        table="graph",
        draw=_events,
    ),
    Drawn(
        "pair_matrix",
        "Which pairs the splits answer",
        caption="Which (key, value) pairs each split answers, and the share in common.",
        table="pairs",
        draw=_pairs,
    ),
)
TABLES = (
    Listing(
        "What each split holds: programs, events and answered (key, value) pairs",
        {
            "measure": (
                *("programs", "reads_held", "writes_held"),
                *("pairs_answered", "pairs_in_train", "jaccard_with_train"),
            )
        },
        keys=("split",),
        across="measure",
    ),
    Listing(
        "Means of programs and reads",
        {"group": ("program", "read", "pair"), **_WHOLE},
        keys=("measure", "unit"),
        across="split",
    ),
    Listing(
        "Differences to train that no chance explains, the event graph's left out; intervals "
        "hold for all at once",
        {"against": "excess", "differs": ("more", "less"), "group": Not("graph", ""), **_WHOLE},
        keys=("split", "measure"),
    ),
    Listing(
        "Accuracy of shortcuts, of blind guesses and of a dictionary",
        {"group": ("shortcut", "guess", "oracle"), **_WHOLE},
        keys=("measure",),
        across="split",
    ),
    Listing(
        "Accuracy of shortcuts and guesses by active keys",
        {"group": ("shortcut", "guess"), "active_keys": Not("")},
        keys=("split", "active_keys", "count"),
        across="measure",
    ),
    Listing(
        "Edges of the event graph per program",
        {"group": "graph", **_WHOLE},
        keys=("measure",),
        across="split",
    ),
)

"""What edits of states do to the answer, beside their controls."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Curves, Dots, Listing, Not

SECTION = MECHANISM
QUESTION = "Which states is the answer caused by, and what in them?"
_PATCH = {"edit": "patch", "measure": "contrast"}
_FREE = {"by_construction": ""}
_LAST = {"step": "last"}
_VARIABLES = ("support_value", "query_key", "recency")
_CHANGED, _ANOTHER = "the change of another pair", "the state of another pair"
_PLACES, _OTHERS = "as many other positions", "answers of other programs"
_RANDOM, _IDENTITY = "random subspaces of the same energy", "the other identity"
_DIRECTIONS, _PERMUTED = "random directions", "permuted values"
_AT = ("site", "role", "by_construction")
_RANKS = {"measure": "$outcome", "subspace": Not("whole state"), **_LAST}
_BUILT = (
    "Behind the last attention (to {facts[last_stage]:words}) only the prediction position is "
    "read, and the unembedding reads off the very directions in which values' embeddings differ: "
    "what edits do there follows from how the model is built."
)
FINDINGS = (
    Finding(
        "patch that moves the answer most",
        {**_PATCH, **_FREE, **_LAST, "pair": _VARIABLES},
        each=("pair",),
        pick=("site", "role"),
        control=(_CHANGED, _ANOTHER),
        number="patched contrast at {role}, {site}, pairs of {pair:words}",
        says={
            "shown": "Between programs that differ in {pair:words} alone, one's state at "
            "{role:words}, {site:words}, put into the other's pass moves the answer towards its "
            "own by {effect}; the change of the state in another such pair, by {control}.",
            "open": "Between programs that differ in {pair:words} alone, no state of one put into "
            "the other's pass is shown to move the answer towards its own beyond the controls "
            "(most at {role:words}, {site:words}: {effect}).",
        },
    ),
    Finding(
        "patch of a distractor, the null",
        {**_PATCH, **_FREE, **_LAST, "pair": "distractor"},
        pick=("site", "role"),
        control=(_CHANGED, _ANOTHER),
        number="patched contrast at {role}, {site}, pairs of a distractor",
        says={"open": "A value that nobody asks for is nowhere shown to move it ({effect})."},
        marks={
            "shown": "A changed distractor moves the answer: {effect} at {role:words}, "
            "{site:words}, against {control}."
        },
    ),
    When(
        "strongest patch of {pair} stays shown",
        {"measure": "appears", "pair": _VARIABLES},
        each=("pair",),
        number="from when the patch at {role}, {site}, is shown, pairs of {pair:words}",
    ),
    Finding(
        "state that the answer needs most",
        {"edit": "$replace[0]", "measure": "$outcome", **_FREE, **_LAST},
        pick=("site", "role"),
        control=(_PLACES, _OTHERS),
        number="{measure:words} lost with {edit:words} in place of {role}, {site}",
        says={
            "shown": "With their {edit:words} in place of the states at {role:words}, "
            "{site:words}, {measure:words} falls by {effect}, {excess} more than with as many "
            "other positions replaced.",
            "open": "Replacing a role's states ({edit:words}) is nowhere shown to cost the answer "
            "more than replacing as many other positions, and more than it costs the "
            f"{_OTHERS}.",
        },
    ),
    Finding(
        "subspace that the answer rests on most",
        {**_RANKS, **_FREE, "edit": ("remove", "keep")},
        table="ranks",
        each=("edit", "subspace"),
        spoken={"edit": "remove"},
        pick=("site", "role", "rank"),
        control=(_RANDOM, _IDENTITY),
        number="{measure:words}, {edit} {rank} directions of {subspace:words} at {role}, {site}",
        says={
            "shown": "With {rank} directions of {subspace:words} removed from the states at "
            "{role:words}, {site:words}, {measure:words} falls by {effect}, against {control} with "
            "random directions that hold as much of these states.",
            "open": "That {measure:words} rests on {subspace:words} more than on random directions "
            "that hold as much of a state is not shown (most at {role:words}, {site:words}, "
            "without {rank} directions: {effect}).",
        },
    ),
    Finding(
        "dose that moves the answer most",
        {"measure": "contrast", **_FREE, **_LAST},
        table="doses",
        pick=("site", "role", "dose"),
        control=(_DIRECTIONS, _PERMUTED),
        number="contrast moved by dose {dose} at {role}, {site}",
        says={
            "shown": "The direction from one value's mean state to another's, as long as {dose} of "
            "the state and added at {role:words}, {site:words}, moves the answer towards the other "
            "value by {effect}; a random direction as long, by {control}.",
            "open": "Adding the direction from one value's mean state to another's is nowhere "
            "shown to move the answer beyond its controls (at {role:words}, {site:words}: "
            "{effect}).",
        },
    ),
)
VIEWS = (
    Dots(
        "patches",
        "What patches of every site and role do to the answer, step {last}",
        caption="States of one program put into the pass of another that differs from it in one "
        "thing: the value that answers, the key asked for, which write to it is the latest "
        "(recency), or a value that nobody asks for (distractor). Effect on logit(own answer) − "
        "logit(the other's answer). " + _BUILT,
        where={**_PATCH, **_LAST, "site": Not("whole program")},
        y=("site",),
        series="role",
        panels=("pair",),
        control=(_CHANGED,),
    ),
    Curves(
        "patches_over_training",
        "What patches do to the answer, over training",
        where={**_PATCH, **_FREE, "role": "$drawn"},
        series="site",
        panels=("pair", "role"),
        control=(_CHANGED,),
    ),
    Dots(
        "replaced",
        "What replacing the states of every site and role costs, step {last}",
        where={"edit": "$replace", "measure": "$outcome", **_LAST},
        y=("site",),
        series="role",
        panels=("edit",),
        control=(_PLACES,),
    ),
    *(
        Curves(
            name,
            f"What {doing} the top directions of a subspace {does}, step {{last}}",
            caption=f"Identities: the directions in which the embeddings of values (or of keys) "
            f"differ. {_BUILT}",
            table="ranks",
            where={**_RANKS, "edit": edit, "role": "$drawn"},
            x="rank",
            series="site",
            panels=("subspace", "role"),
            control=(_RANDOM,),
        )
        for name, edit, doing, does in (
            ("ranks_removed", "remove", "removing", "costs"),
            ("ranks_kept", "keep", "keeping nothing but", "gives back"),
        )
    ),
    Curves(
        "doses",
        "What doses of a value's direction do, step {last}",
        caption="The direction from the mean state of the right value to that of another, in norms "
        "of the state: how far the answer moves, and how far all other tokens do (off target).",
        table="doses",
        where={**_LAST, "role": "$drawn"},
        x="dose",
        series="site",
        panels=("role", "measure"),
        control=(_DIRECTIONS, _PERMUTED),
    ),
)
TABLES = (
    Listing(
        "Patches at step {last}, in logits and as a share of what the other program does",
        {"edit": "patch", "measure": ("contrast", "contrast_share"), **_LAST},
        keys=("pair", *_AT, "measure"),
        control=(_CHANGED, _ANOTHER, f"excess over {_CHANGED}"),
    ),
    Listing(
        "Replaced states at step {last}",
        {"edit": "$replace", "measure": "$outcome", **_LAST},
        keys=("edit", *_AT),
        control=(_PLACES, _OTHERS),
    ),
    Listing(
        "Subspaces at step {last}",
        {"measure": "$outcome", **_LAST},
        table="ranks",
        keys=("edit", "subspace", "rank", *_AT),
        control=(_RANDOM, _IDENTITY),
    ),
    Listing(
        "Doses at step {last}",
        _LAST,
        table="doses",
        keys=("measure", "dose", *_AT),
        control=(_DIRECTIONS, _PERMUTED),
    ),
)

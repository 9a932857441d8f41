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
_PATCHES = ({"against": _CHANGED}, {"against": _ANOTHER})
_PLACES, _OTHERS = "as many other positions", "answers of other programs"
_RANDOM, _IDENTITY = "random subspaces of the same energy", "the other identity"
_SUBSPACES = ({"against": _RANDOM}, {"against": _IDENTITY})
_DIRECTIONS, _PERMUTED = "random directions", "permuted values"
_DOSES = ({"against": _DIRECTIONS}, {"against": _PERMUTED})
_PLACE = ("site", "role")
_NOT_WHOLE = {"subspace": Not("whole state")}
_RANKS = {"measure": "$outcome", **_NOT_WHOLE}
_BUILT = (
    "Behind the last attention, where only the prediction position is read and identities of "
    "values are the unembedding's own rows (to {facts[last_stage]:words}), edits do what they do "
    "by construction."
)
FINDINGS = (
    Finding(
        "patch that moves the answer most",
        {**_PATCH, **_FREE, **_LAST, "pair": _VARIABLES},
        each=("pair",),
        pick=_PLACE,
        control=_PATCHES,
        number="patched contrast at {role}, {site}, pairs of {pair:words}",
        says={
            "shown": "Of pairs that differ in {pair:words}, the corrupted program's state at "
            "{role:words}, {site:words}, moves the clean one's answer by {effect}, "
            "against {control} by another pair's change.",
            "open": "Of pairs that differ in {pair:words}, no state of the corrupted program is "
            "shown to move the clean one's answer beyond its controls (most at {role:words}, "
            "{site:words}: {effect}).",
        },
    ),
    Finding(
        "patch of a distractor, the null",
        {**_PATCH, **_FREE, **_LAST, "pair": "distractor"},
        pick=_PLACE,
        control=_PATCHES,
        number="patched contrast at {role}, {site}, pairs of a distractor",
        says={"open": "A changed distractor is nowhere shown to move the answer ({effect})."},
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
        pick=_PLACE,
        control=({"against": _PLACES}, {"against": _OTHERS}),
        number="{measure:words} lost with {edit:words} in place of {role}, {site}",
        says={
            "shown": "With {edit:words} in place of the states at {role:words}, {site:words}, "
            "{measure:words} falls by {effect}, {excess} more than at " + _PLACES + ".",
            "open": "No role's states, replaced ({edit:words}), are shown to cost more than "
            + _PLACES
            + ", and more than they cost the "
            + _OTHERS
            + ".",
        },
    ),
    Finding(
        "subspace whose removal costs most",
        {**_RANKS, **_FREE, **_LAST, "edit": "remove"},
        table="ranks",
        each=("subspace",),
        pick=(*_PLACE, "rank"),
        control=_SUBSPACES,
        number="{measure:words} lost without {subspace:words} ({rank}) at {role}, {site}",
        says={
            "shown": "Without {rank} directions of {subspace:words} at {role:words}, {site:words}, "
            "{measure:words} falls by {effect}, against {control} without " + _RANDOM + ".",
            "open": "That {measure:words} rests on {subspace:words} beyond its controls is not "
            "shown (most at {role:words}, {site:words}, without {rank} directions: {effect}).",
        },
    ),
    Finding(
        "subspace that gives back most",
        {**_RANKS, **_FREE, **_LAST, "edit": "keep"},
        table="ranks",
        each=("subspace",),
        pick=(*_PLACE, "rank"),
        control=_SUBSPACES,
        number="{measure:words} given back by {subspace:words} ({rank}) at {role}, {site}",
    ),
    Finding(
        "dose that moves the answer most",
        {"measure": "contrast", **_FREE, **_LAST},
        table="doses",
        pick=(*_PLACE, "dose"),
        control=_DOSES,
        number="contrast moved by dose {dose} at {role}, {site}",
        says={
            "shown": "The direction between two values, {dose} of the state's norm, added at "
            "{role:words}, {site:words}, moves the answer towards the other value by {effect}, "
            "against {control} in a random direction.",
            "open": "No dose of the direction between two values is shown to move the answer "
            "beyond its controls (at {role:words}, {site:words}: {effect}).",
        },
    ),
)
VIEWS = (
    Dots(
        "patches",
        "What patches of every site and role do to the answer, step {last}",
        caption="The corrupted program's states put into the clean one; effect on logit(clean "
        "answer) − logit(corrupted answer). " + _BUILT,
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
            caption=_BUILT,
            table="ranks",
            where={**_RANKS, **_LAST, "edit": edit, "role": "$drawn"},
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
        caption="The direction from the clean to the corrupted answer's value, in norms of the "
        "state: how far the answer moves, and how far all other tokens do (off target).",
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
        "Patches at step {last}",
        {**_PATCH, **_LAST},
        keys=("pair", "site", "role", "by_construction"),
        control=(_CHANGED, _ANOTHER, f"excess over {_CHANGED}"),
    ),
    Listing(
        "Patches at step {last}, as a share of what the corrupted program does",
        {"edit": "patch", "measure": "contrast_share", **_LAST},
        keys=("pair", "site", "role", "by_construction"),
    ),
    Listing(
        "Replaced states at step {last}",
        {"edit": "$replace", "measure": "$outcome", **_LAST},
        keys=("edit", "site", "role", "by_construction"),
        control=(_PLACES, _OTHERS),
    ),
    Listing(
        "Subspaces at step {last}",
        {"measure": "$outcome", **_LAST},
        table="ranks",
        keys=("edit", "subspace", "rank", "site", "role", "by_construction"),
        control=(_RANDOM, _IDENTITY),
    ),
    Listing(
        "Doses at step {last}",
        _LAST,
        table="doses",
        keys=("measure", "dose", "site", "role", "by_construction"),
        control=(_DIRECTIONS, _PERMUTED),
    ),
)

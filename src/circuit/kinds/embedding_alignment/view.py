"""Which identities heads read and write: what there is to see."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import FORMATION
from circuit.reports.views import Curves, Listing

SECTION = FORMATION
QUESTION = "Do heads read and write the identities that token embeddings hold, and since when?"
_RANDOM = "random directions"
_OVERLAP = {"measure": "overlap"}
_LAST = {**_OVERLAP, "step": "last"}
_EMBEDDED = {"space": ("key_identity", "value_identity")}
_MOVED = {"side": "qk_key", "space": "moved_key_identity"}

_SIDES = (
    ("asks for key identity", "qk_query", "the query", "key_identity", "key identity"),
    ("finds key identity", "qk_key", "the key", "key_identity", "key identity as embedded"),
    (
        "finds moved key identity",
        "qk_key",
        "the key",
        "moved_key_identity",
        "key identity that {mover} moves",
    ),
    ("reads value identity", "ov_input", "what it copies", "value_identity", "value identity"),
    ("writes value identity", "ov_output", "what it writes", "value_identity", "value identity"),
)
_AT = ": {effect:short} at step {step}, random directions {control}."
FINDINGS = (
    *(
        Finding(
            name,
            {**_LAST, "chosen": "winner", "side": side, "space": space},
            pick=("mover",) if "{mover}" in identity else (),
            control=({"against": _RANDOM},),
            number=f"overlap of {{head}}'s directions of {of} with {identity}",
            says=f"That {{head}}'s directions of {of} overlap with {identity} {{is_shown}}{_AT}",
        )
        for name, side, of, space, identity in _SIDES
    ),
    When(
        "{side} stays beyond random directions in {space} {mover}",
        {"measure": "beyond_random_from", "chosen": "winner"},
        each=("side", "space", "mover"),
    ),
)
VIEWS = (
    Curves(
        "alignment",
        "Heads' top {rank} singular directions in the identities of embeddings",
        where={**_OVERLAP, **_EMBEDDED},
        panels=("space", "side"),
        series="head",
        control=(_RANDOM,),
    ),
    Curves(
        "moved",
        "Key sides in key identity as an earlier head moves it",
        caption="Overlap of every head's key side with the key embeddings that an earlier head, "
        "the mover, reads and writes on: how a value token is known by its key.",
        where={**_OVERLAP, **_MOVED},
        panels=("mover",),
        series="head",
        control=(_RANDOM,),
    ),
)
TABLES = (
    Listing("Overlap with identities at step {last}", {**_LAST, **_EMBEDDED}, across="space"),
    Listing(
        "Overlap of key sides with moved key identity at step {last}, the largest first",
        {**_LAST, **_MOVED},
        sort=True,
        top=20,
        control=(_RANDOM,),
    ),
    Listing(
        "Step from which the overlap stays beyond random directions",
        {"measure": "beyond_random_from"},
        keys=("head", "space", "mover"),
        across="side",
    ),
    Listing(
        "Directions of the identities at step {last}, as the winner sees them",
        {"measure": "directions", "step": "last", "chosen": "winner"},
    ),
)
MARKS = (
    "Weights have no events to resample: overlaps are exact, and the band of random directions "
    "holds all that is compared at a checkpoint at once.",
)

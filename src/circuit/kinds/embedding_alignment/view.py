"""Which identities heads read and write: what there is to see."""

from collections.abc import Mapping

from circuit.reports.findings import Finding, When
from circuit.reports.sections import FORMATION
from circuit.reports.views import Curves, Listing

SECTION = FORMATION
QUESTION = "Do heads read and write the identities that token embeddings hold, and since when?"
_RANDOM = ({"against": "random directions"},)
_LAST = {"measure": "overlap", "step": "last", "chosen": "winner"}


def _lies(
    name: str, does: str, where: Mapping[str, str], pick: tuple[str, ...] = (), by: str = ""
) -> Finding:
    """Whether a side of the winner lies in an identity."""
    said = f"{{head}}'s top {{rank}} directions {does}{by}"
    beside = "overlap {effect:short} at step {step}, random directions {control}"
    return Finding(
        name=name,
        where={**_LAST, **where},
        pick=pick,
        control=_RANDOM,
        number=f"overlap of {{head}}: {name}{by}",
        says={
            "shown": f"{said}: {beside}.",
            "open": f"That {said} is not shown: {beside}.",
            "opposite": f"{said} less than random ones: {beside}.",
        },
    )


_QUERY = {"side": "qk_query", "space": "key_identity"}
_KEY = {"side": "qk_key", "space": "key_identity"}
_MOVED = {"side": "qk_key", "space": "moved_key_identity"}
_IN = {"side": "ov_input", "space": "value_identity"}
_OUT = {"side": "ov_output", "space": "value_identity"}
FINDINGS = (
    _lies("asks for key identity", "of the query lie in key identity", _QUERY),
    _lies("finds key identity", "of the key lie in key identity as embedded", _KEY),
    _lies(
        "finds moved key identity",
        "of the key lie in key identity as moved",
        _MOVED,
        ("mover",),
        " by {mover}",
    ),
    _lies("reads value identity", "of what it copies lie in value identity", _IN),
    _lies("writes value identity", "of what it writes lie in value identity", _OUT),
    When(
        name="{side} stays beyond random directions in {space} {mover}",
        where={"measure": "beyond_random_from", "chosen": "winner"},
        each=("side", "space", "mover"),
        uncontrolled="beyond the band of random directions is how it is defined",
        quiet=True,
    ),
)
VIEWS = (
    Curves(
        name="alignment",
        title="Heads' top {rank} singular directions in the identities of embeddings",
        caption="Overlap of every head's query, key, input and output side with key and value "
        "identity. Grey: heads that were not chosen. Band: random directions, all heads at once.",
        where={"measure": "overlap", "space": ("key_identity", "value_identity")},
        panels=("space", "side"),
        series="head",
        control=("random directions",),
    ),
    Curves(
        name="moved",
        title="Key sides in key identity as an earlier head moves it",
        caption="Overlap of every head's key side with the key embeddings that an earlier head, "
        "the mover, reads and writes on: how a value token is known by its key.",
        where={"measure": "overlap", **_MOVED},
        panels=("mover",),
        series="head",
        control=("random directions",),
    ),
)
TABLES = (
    Listing(
        title="Overlap with key and value identity at step {last}",
        where={"measure": "overlap", "step": "last", "space": ("key_identity", "value_identity")},
        keys=("head", "chosen", "side"),
        across="space",
    ),
    Listing(
        title="Overlap of key sides with moved key identity at step {last}, the largest first",
        where={"measure": "overlap", "step": "last", **_MOVED},
        keys=("head", "chosen", "mover"),
        sort=True,
        top=20,
        control=("random directions",),
    ),
    Listing(
        title="Step from which the overlap stays beyond random directions",
        where={"measure": "beyond_random_from"},
        keys=("head", "space", "mover"),
        across="side",
    ),
    Listing(
        title="Directions of the identities at step {last}, as the winner sees them",
        where={"measure": "directions", "step": "last", "chosen": "winner"},
        keys=("side", "space", "mover"),
    ),
)
MARKS = (
    "Weights have no events to resample: overlaps are exact, and the band of random directions "
    "holds all that is compared at a checkpoint at once.",
)

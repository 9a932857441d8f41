"""What chosen heads' singular subspaces are compared with, each where the head reads or writes.

1. A :class:`Place` is one side of a head's maps with the states it acts on: the query side reads,
   and the output side writes, at the prediction; the key and the input side read elsewhere. What a
   head reads is LayerNorm'd (gain and bias in), what it writes is the residual stream after it.
2. At a place, the subspace is compared with the group means, with the PCA axes of the same states,
   and with static token embeddings (:mod:`circuit.measures.states.alignment`). For what a head
   reads, embeddings are taken through its LayerNorm's centring and gain; its scale only stretches
   them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from circuit.measures.states.alignment import MEASURES, Axes, Form, axes, derivatives
from circuit.measures.states.grouped_states import States
from circuit.measures.states.scatter import by_program, group_means
from circuit.measures.states.tables import RANDOM, SHUFFLED, Cell
from circuit.model.sites import head_name
from circuit.model.transformer import Params
from circuit.scalars.base import centre
from circuit.scalars.routing import Head
from circuit.task.vocabulary import Vocabulary

# Where a side acts: the site, and whether at the prediction or at what is read from there; and the
# groups that a lookup head's should see.
_SIDES = {
    "qk_query": ("attn_input", True, "query_key"),
    "qk_key": ("attn_input", False, "query_key"),
    "ov_input": ("attn_input", False, "answer"),
    "ov_output": ("post_attn", True, "answer"),
}
GROUP_MEANS = "group means"


class Place(NamedTuple):
    """A side of a chosen head's maps, with the states that it reads or writes."""

    site: str
    role: str
    head: str
    chosen: str
    side: str


class Look(NamedTuple):
    """What there is to look at in one checkpoint.

    ``states`` [N, d] by site and role, float64; ``by_role`` their groups; ``bases`` [d, r] of every
    place; ``random`` [K, d, r].
    """

    states: Mapping[tuple[str, str], Float[Tensor, "N d"]]
    by_role: Mapping[str, States]
    bases: Mapping[Place, Float[Tensor, "d r"]]
    random: Float[Tensor, "K d r"]

    @property
    def shared(self) -> dict[tuple[str, str], list[Place]]:
        """Places by site and role, which several heads and sides may share."""
        found: dict[tuple[str, str], list[Place]] = {}
        for place in self.bases:
            found.setdefault((place.site, place.role), []).append(place)
        return found


class Compared(NamedTuple):
    """Something that subspaces are compared with.

    ``form`` is None where nothing was sampled, ``shuffled`` where there are no labels; ``size`` is
    the number of states or tokens, which ``noun`` says; ``group`` is empty where there is none.
    """

    name: str
    group: str
    axes: Axes
    form: Form | None
    shuffled: Axes | None
    size: int
    noun: str = "states"


def places(heads: Mapping[str, Head], roles: Iterable[str]) -> list[Place]:
    """Every side of the chosen heads, at every role where it acts."""
    return [
        Place(f"layer_{head[0]}_{site}", role, head_name(head), chosen, side)
        for chosen, head in heads.items()
        for side, (site, asks, _) in _SIDES.items()
        for role in roles
        if (role == "prediction") == asks
    ]


def aligned(look: Look, tokens: Mapping[tuple[str, str], Float[Tensor, "n d"]]) -> list[Cell]:
    """Alignment of every place's subspace with all that it is compared with.

    Args:
        tokens: :func:`token_rows` of the checkpoint.
    """
    cells = []
    rank = look.random.shape[-1]
    for (site, role), here in look.shared.items():
        states, known = look.states[site, role], look.by_role[role]
        static = {kind: rows for (at, kind), rows in tokens.items() if at == site}
        for compared in _compared(states, known, static, rank):
            random = compared.axes.measures(look.random).numpy()
            for place in here:
                basis = look.bases[place]
                values = compared.axes.measures(basis[None])[0]
                columns = values.expand(known.n_programs, -1)
                if compared.form is not None:
                    change = derivatives(compared.form, compared.axes, basis)
                    columns = by_program(values, change, known.program, known.n_programs)
                controls = {RANDOM: random}
                if compared.shuffled is not None:
                    controls[SHUFFLED] = compared.shuffled.measures(basis[None]).numpy()
                labels = {**place._asdict(), "group": compared.group, "compared": compared.name}
                matches = _SIDES[place.side][2] == compared.group
                labels["matched"] = ("yes" if matches else "no") if compared.group else ""
                counts, noun = [compared.size] * len(MEASURES), compared.noun
                cells.append(Cell(labels, MEASURES, columns.numpy(), controls, counts, noun))
    return cells


def _compared(
    states: Float[Tensor, "N d"],
    known: States,
    static: Mapping[str, Float[Tensor, "n d"]],
    rank: int,
) -> Iterator[Compared]:
    """PCA axes; the means of every grouping, which span a direction less than there are; tokens."""
    centred = states - states.mean(0)
    total = Form(centred, None)
    yield Compared("pca", "", axes(total.matrix[None], rank), total, None, len(states))
    for name, groups in known.groups.items():
        k = min(rank, len(groups.names) - 1)
        means = group_means(states[None], groups.codes[None], len(groups.names)).means[0]
        form = Form(centred, centred - means[groups.codes])
        drawn = group_means(states[None], groups.shuffled, len(groups.names))
        found, shuffled = axes(form.matrix[None], k), axes(drawn.scatter, k)
        yield Compared(GROUP_MEANS, name, found, form, shuffled, len(states))

    for kind, rows in static.items():
        found = axes((rows.T @ rows)[None], min(rank, len(rows) - 1))
        yield Compared(f"embeddings of {kind}", "", found, None, None, len(rows), "tokens")


def token_rows(
    params: Params, vocabulary: Vocabulary, sites: Iterable[str]
) -> dict[tuple[str, str], Float[Tensor, "n d"]]:
    """Centred embeddings of keys and of values, as they are seen at these sites."""
    found = {}
    for site in sites:
        for kind, ids in (("keys", vocabulary.key_ids), ("values", vocabulary.value_ids)):
            rows = params["embedding.token"][ids.start : ids.stop]
            rows = rows - rows.mean(0)
            if site.endswith("_attn_input"):
                gain = params[f"{site.removesuffix('_attn_input')}.ln1.gain"]
                rows = centre(rows) * gain
            found[site, kind] = rows
    return found

"""How much of a state lies in a named subspace, and what that part says about the answer.

1. A subspace is spanned by the top r eigenvectors of a symmetric matrix A(θ), in float64:

   - ``embedding_value_identity``, ``embedding_key_identity``: top directions of the centred token
     embeddings of values, of keys;
   - ``head_qk_query``, ``head_qk_key``: left and right singular vectors of a head's W_QK, on the
     side of the state that asks and of the state that is asked;
   - ``head_ov_input``, ``head_ov_output``: left and right singular vectors of a head's W_OV, on the
     side of what it reads and of what it writes;
   - ``pca(stage, role)``: top principal components of the states at that stage and role.

   It is that of one checkpoint, or moves with the parameters (:mod:`circuit.scalars.moving_basis`);
   an ``own`` one is differentiated through, a PCA's through the states.
2. The *squared norm* of a state x inside it is ‖Px‖², P the projector. Complementary subspaces
   share out ‖x‖².
3. The *readout* of that part is the margin of the true value over the best other value, when
   Px alone is unembedded through the final LayerNorm as it acts on x: centred, divided by x's
   own scale, times the gain. It is linear in the part, so the readouts of complementary subspaces
   (with one rival) sum to the logit lens of x without the LayerNorm's bias.

Where a role is several positions, an event's value is the mean over them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.benchmark import SPECIAL_IDS
from circuit.config.scalar import ScalarSettings
from circuit.errors import AnalysisError
from circuit.model.sites import stages, state_site
from circuit.model.transformer import LN_EPS, Decoder, Params
from circuit.scalars.base import Rival, Seen, centre, look, margin, masked_mean
from circuit.scalars.moving_basis import BasisScalar
from circuit.scalars.options import refusal, require_given, require_role
from circuit.scalars.routing import Head, attention_weights, w_qk
from circuit.scalars.truncation import project, top_frame
from circuit.scalars.value import right_value, value_logits
from circuit.task.events import ReadEvents


def w_ov(params: Params, head: Head) -> Float[Tensor, "d d"]:
    """W_OV of a head in residual coordinates, rows on the side that it reads."""
    layer, h = head
    return params[f"layer_{layer}.attn.W_QKV"][2, h].T @ params[f"layer_{layer}.attn.W_O"][h]


def _head_maps(params: Params, head: Head) -> tuple[tuple[Float[Tensor, "d d"], str, str], ...]:
    """W_QK and W_OV, with the subspaces on the side of their rows and of their columns."""
    return (
        (w_qk(params, head), "head_qk_query", "head_qk_key"),
        (w_ov(params, head), "head_ov_input", "head_ov_output"),
    )


def head_bases(params: Params, head: Head, rank: int) -> dict[str, Float[Tensor, "d r"]]:
    """Top (at most d_head) singular directions of W_QK and W_OV, by the name of their subspace."""
    found: dict[str, Tensor] = {}
    for matrix, left, right in _head_maps(params, head):
        frame = top_frame(matrix, rank)
        found |= {left: frame.left, right: frame.right}
    return found


def _head_gram(head: Head, name: str, seen: Seen) -> Float[Tensor, "d d"]:
    for matrix, left, right in _head_maps(attention_weights(seen.params, head), head):
        if name in (left, right):
            rows = matrix if name == right else matrix.T
            return rows.T @ rows
    raise AssertionError(name)  # settings name no other


def _centred_gram(read: Callable[[Seen], Float[Tensor, "n d"]], seen: Seen) -> Float[Tensor, "d d"]:
    rows = read(seen).double()
    about = rows - rows.mean(0)
    return about.T @ about


@dataclass(frozen=True, eq=False)
class Projection(BasisScalar):
    """``subspace_projection``: the part of a state inside a subspace, its squared norm or readout.

    Args:
        site, role: the states. Where a role is several positions, an event's value is the mean.
        gram_sites: what ``gram`` reads.
        gram: A, in float64. Of a ``pca`` subspace, that of the events of the pass.
        seen_at: a pass at a θ over the events that a basis is fitted to, with these sites.
        rival: of a readout, the wrong value of every event; None is the best one.
    """

    site: str
    role: str
    gram_sites: frozenset[str]
    gram: Callable[[Seen], Float[Tensor, "d d"]]
    seen_at: Callable[[Float[Tensor, " P"]], Seen]
    reading: Literal["squared_norm", "readout"]
    rival: Rival = None

    @property
    def unit(self) -> str:
        return "squared state unit" if self.reading == "squared_norm" else "logit"

    @property
    def sites(self) -> frozenset[str]:
        """The states, and those that a basis is fitted to which depends on θ."""
        return frozenset({self.site}) | (self.gram_sites if self.held is None else frozenset())

    def matrix_at(self, theta: Float[Tensor, " P"]) -> Float[Tensor, "d d"]:
        """A, from a pass in float64."""
        return self.gram(self.seen_at(theta.detach().double()))

    def inside(self, seen: Seen) -> Float[Tensor, "E T d"]:
        """The part of every state that lies in the subspace."""
        states = seen.sites[self.site]
        if self.held is None:
            return states @ project(self.gram(seen), self.rank, self.basis).to(states)
        directions = self.held.left.to(states)
        return (states @ directions) @ directions.T

    def __call__(self, seen: Seen) -> Float[Tensor, " E"]:
        """Squared norm, or value margin, of the part inside; one value per event."""
        if self.reading == "readout":
            return margin(self.logits(seen), right_value(seen), self.rival)
        # A projector is its own square, so ‖Px‖² = x·Px.
        squares = (seen.sites[self.site] * self.inside(seen)).sum(-1)
        return masked_mean(squares, seen.events.role_mask(self.role))

    def logits(self, seen: Seen) -> Float[Tensor, "E values"]:
        """Value logits of the part inside; mean over the role's positions."""
        state, part = seen.sites[self.site], self.inside(seen)
        if self.site != "final_norm":
            scale = (state.var(-1, keepdim=True, unbiased=False) + LN_EPS).sqrt()
            part = centre(part) / scale * seen.params["final_norm.gain"]
        mask = seen.events.role_mask(self.role)
        mean = torch.where(mask[..., None], part, 0).sum(1) / mask.sum(1, keepdim=True)
        return value_logits(seen, mean)


def require_subspace(settings: ScalarSettings, n_layers: int, events: ReadEvents) -> None:
    """Refuse settings that do not say which states and which subspace.

    Raises:
        AnalysisError: a choice is missing or has no meaning, or an event lacks the role.
    """
    require_given(settings, "stage", "role", "subspace", "rank")
    site = state_site(str(settings.stage), n_layers)
    if settings.of_head != (settings.head is not None):
        raise refusal(
            settings.scalar,
            f"{'needs a' if settings.of_head else 'takes no'} head with {settings.subspace}",
            "a head with a head's subspace, and with no other",
            "add head" if settings.of_head else "leave head out",
        )
    if settings.reading == "squared_norm" and settings.competitor != "moving":
        problem = "takes a competitor only for its readout"
        raise refusal(settings.scalar, problem, "reading: readout", "add reading")
    if settings.reading == "readout" and site not in stages(n_layers):
        raise refusal(
            settings.scalar,
            f"has no readout at {site}",
            f"a stage of the residual stream: {', '.join(stages(n_layers))}",
            "choose a stage, or reading: squared_norm",
        )
    require_role(settings.scalar, str(settings.role), events)


def projection(
    settings: ScalarSettings,
    decoder: Decoder,
    events: ReadEvents,
    value_ids: range,
    head: Head | None,
) -> Projection:
    """The projection that settings mean, without a basis; ``head`` of a head's subspace.

    A ``pca`` subspace is fitted to the events.

    Raises:
        AnalysisError: the subspace has fewer dimensions than the rank.
    """
    name, shape = str(settings.subspace), decoder.settings
    sites: frozenset[str] = frozenset()
    if head is not None:
        gram, widest = partial(_head_gram, head, name), shape.d_head
    elif settings.pca is not None:
        stage, role = settings.pca
        site = state_site(stage, shape.n_layers)
        gram = partial(_centred_gram, lambda seen: seen.sites[site][seen.events.role_mask(role)])
        sites = frozenset({site})
        widest = min(int(events.role_mask(role).sum()) - 1, shape.d_model)
    else:
        keys = name == "embedding_key_identity"
        ids = range(SPECIAL_IDS, value_ids.start) if keys else value_ids
        gram = partial(
            _centred_gram, lambda seen: seen.params["embedding.token"][ids.start : ids.stop]
        )
        widest = min(len(ids) - 1, shape.d_model)
    rank = settings.rank
    if rank is None or rank > widest:
        raise AnalysisError(
            what=f"{name} has no {rank} directions",
            where="scalar subspace_projection",
            expected=f"1 to {widest}",
            do="choose another rank",
        )
    return Projection(
        state_site(str(settings.stage), shape.n_layers),
        str(settings.role),
        sites,
        gram,
        lambda theta: look(decoder, theta, events, value_ids, sites),
        settings.reading,
        rank=rank,
    )

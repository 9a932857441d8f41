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
from circuit.model.sites import canonical_site, site_axes, stages
from circuit.model.transformer import LN_EPS, Decoder, Params
from circuit.scalars.base import Rival, Seen, centre, look, margin, masked_mean
from circuit.scalars.moving_basis import BasisScalar
from circuit.scalars.options import refusal, require_given, require_role
from circuit.scalars.routing import Head, attention_weights, w_qk
from circuit.scalars.truncation import project, top_frame
from circuit.scalars.value import right_value, value_logits
from circuit.task.events import ReadEvents

_NARROW = ("_neurons", "_neurons_pre", "_scale")  # sites whose vectors are no residual states


def state_site(name: str, n_layers: int) -> str:
    """The canonical name of a site whose vectors live in the residual stream's space.

    Stages of the stream, the LayerNorm'd states that layers read, and what they write.

    Raises:
        AnalysisError: there is no such site, or its vectors are of another space.
    """
    site = canonical_site(name, n_layers)
    if site_axes(site) != ("program", "position", "vector") or site.endswith(_NARROW):
        raise AnalysisError(
            what=f"site {site!r} does not hold residual states",
            where="a subspace of the residual stream",
            expected="a stage, or what a layer reads or writes, such as layer_0_attn_input",
            do="choose another stage",
        )
    return site


def w_ov(params: Params, head: Head) -> Float[Tensor, "d d"]:
    """W_OV of a head in residual coordinates, rows on the side that it reads."""
    layer, h = head
    return params[f"layer_{layer}.attn.W_QKV"][2, h].T @ params[f"layer_{layer}.attn.W_O"][h]


def _head_maps(params: Params, head: Head) -> tuple[tuple[Float[Tensor, "d d"], str, str], ...]:
    """A head's W_QK and W_OV, with the subspaces on the side of their rows and of their columns."""
    return (
        (w_qk(params, head), "head_qk_query", "head_qk_key"),
        (w_ov(params, head), "head_ov_input", "head_ov_output"),
    )


def head_bases(params: Params, head: Head, rank: int) -> dict[str, Float[Tensor, "d r"]]:
    """Top singular directions of a head's W_QK and W_OV, by the name of their subspace.

    Args:
        rank: at most d_head, which is the maps' rank.
    """
    found: dict[str, Tensor] = {}
    for matrix, left, right in _head_maps(params, head):
        frame = top_frame(matrix, rank)
        found |= {left: frame.left, right: frame.right}
    return found


@dataclass(frozen=True, eq=False)
class Subspace:
    """Directions of a model, in the order of the eigenvalues of a symmetric matrix A(θ).

    A is M Mᵀ or Mᵀ M of a head's map M, or XᵀX of rows X about their mean, in float64.

    Args:
        gram: A, from a pass with ``sites``. Of a ``pca`` subspace, that of the events of the pass.
        widest: number of directions that it can have.
        decoder, events, value_ids: what a pass of its own looks at.
    """

    name: str
    sites: frozenset[str]
    gram: Callable[[Seen], Float[Tensor, "d d"]]
    widest: int
    decoder: Decoder
    events: ReadEvents
    value_ids: range

    @classmethod
    def named(
        cls,
        settings: ScalarSettings,
        decoder: Decoder,
        events: ReadEvents,
        value_ids: range,
        head: Head | None,
    ) -> Subspace:
        """The subspace that settings name.

        Args:
            settings: with a ``subspace``.
            events: the read events that a ``pca`` subspace is fitted to.
            head: of a head's subspace.
        """
        name, width = str(settings.subspace), decoder.settings.d_model
        sites: frozenset[str] = frozenset()
        if head is not None:
            gram, widest = partial(_head_gram, head, name), decoder.settings.d_head
        elif settings.pca is not None:
            stage, role = settings.pca
            site = state_site(stage, decoder.settings.n_layers)
            gram, sites = partial(_state_gram, site, role), frozenset({site})
            widest = min(int(events.role_mask(role).sum()) - 1, width)
        else:
            keys = name == "embedding_key_identity"
            ids = range(SPECIAL_IDS, value_ids.start) if keys else value_ids
            gram, widest = partial(_token_gram, ids), min(len(ids) - 1, width)
        return cls(name, sites, gram, widest, decoder, events, value_ids)

    def gram_at(self, theta: Float[Tensor, " P"]) -> Float[Tensor, "d d"]:
        """A at a θ, from a pass in float64 where it needs one."""
        theta = theta.detach().double()
        return self.gram(look(self.decoder, theta, self.events, self.value_ids, self.sites))

    def require_rank(self, rank: int | None) -> int:
        """The rank asked for, which the subspace must have.

        Raises:
            AnalysisError: it has fewer dimensions.
        """
        if rank is None or rank > self.widest:
            raise AnalysisError(
                what=f"{self.name} has no {rank} directions",
                where="scalar subspace_projection",
                expected=f"1 to {self.widest}",
                do="choose another rank",
            )
        return rank


def _head_gram(head: Head, name: str, seen: Seen) -> Float[Tensor, "d d"]:
    for matrix, left, right in _head_maps(attention_weights(seen.params, head), head):
        if name in (left, right):
            rows = matrix if name == right else matrix.T
            return rows.T @ rows
    raise AssertionError(name)  # settings name no other


def _state_gram(site: str, role: str, seen: Seen) -> Float[Tensor, "d d"]:
    return _centred_gram(seen.sites[site][seen.events.role_mask(role)])


def _token_gram(ids: range, seen: Seen) -> Float[Tensor, "d d"]:
    return _centred_gram(seen.params["embedding.token"][ids.start : ids.stop])


def _centred_gram(rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    rows = rows.double()
    about = rows - rows.mean(0)
    return about.T @ about


@dataclass(frozen=True, eq=False)
class Projection(BasisScalar):
    """``subspace_projection``: the part of a state inside a subspace, its squared norm or readout.

    Args:
        site, role: the states. Where a role is several positions, an event's value is the mean.
        rival: of a readout, the wrong value of every event; None is the best one.
    """

    site: str
    role: str
    subspace: Subspace
    reading: Literal["squared_norm", "readout"]
    rival: Rival = None

    @property
    def unit(self) -> str:
        """That of the reading."""
        return "squared state unit" if self.reading == "squared_norm" else "logit"

    @property
    def sites(self) -> frozenset[str]:
        """The states, and those that a basis is fitted to which depends on θ."""
        fitted = self.subspace.sites if self.held is None else frozenset()
        return frozenset({self.site}) | fitted

    def matrix_at(self, theta: Float[Tensor, " P"]) -> Float[Tensor, "d d"]:
        """The symmetric matrix whose eigenvectors span the subspace."""
        return self.subspace.gram_at(theta)

    def inside(self, seen: Seen) -> Float[Tensor, "E T d"]:
        """The part of every state that lies in the subspace."""
        states = seen.sites[self.site]
        if self.held is None:
            return states @ project(self.subspace.gram(seen), self.rank, self.basis).to(states)
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


def require_subspace(settings: ScalarSettings, n_layers: int, events: ReadEvents) -> str:
    """The site that settings mean, once they say which states and which subspace.

    Raises:
        AnalysisError: a choice is missing or has no meaning, or an event lacks the role.
    """
    require_given(settings, "stage", "role", "subspace", "rank")
    site = state_site(str(settings.stage), n_layers)
    if settings.of_head != (settings.head is not None):
        raise _refusal(
            f"{'needs a' if settings.of_head else 'takes no'} head with {settings.subspace}",
            "a head with a head's subspace, and with no other",
            "add head" if settings.of_head else "leave head out",
        )
    if settings.reading == "squared_norm" and settings.competitor != "moving":
        raise _refusal("takes a competitor only for its readout", "reading: readout", "add reading")
    if settings.reading == "readout" and site not in stages(n_layers):
        raise _refusal(
            f"has no readout at {site}",
            f"a stage of the residual stream: {', '.join(stages(n_layers))}",
            "choose a stage, or reading: squared_norm",
        )
    require_role(settings.scalar, str(settings.role), events)
    return site


def _refusal(problem: str, expected: str, do: str) -> AnalysisError:
    return refusal("subspace_projection", problem, expected, do)

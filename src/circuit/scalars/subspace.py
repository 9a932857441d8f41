"""How much of a state lies in a named subspace, and what that part says about the answer.

1. A subspace is an orthonormal basis B [d, r], found in float64 at one checkpoint and then held:

   - ``embedding_value_identity``, ``embedding_key_identity``: top directions of the centred token
     embeddings of values, of keys;
   - ``head_qk_query``, ``head_qk_key``: left and right singular vectors of a head's W_QK, on the
     side of the state that asks and of the state that is asked;
   - ``head_ov_input``, ``head_ov_output``: left and right singular vectors of a head's W_OV, on the
     side of what it reads and of what it writes;
   - ``pca(stage, role)``: top principal components of the states at that stage and role.

2. The *squared norm* of a state x inside it is ‖Bᵀx‖². Complementary subspaces share out ‖x‖².
3. The *readout* of that part is the margin of the true value over the best other value, when
   BBᵀx alone is unembedded through the final LayerNorm as it acts on x: centred, divided by x's
   own scale, times the gain. It is linear in the part, so the readouts of complementary subspaces
   (with one rival) sum to the logit lens of x without the LayerNorm's bias.

Where a role is several positions, an event's value is the mean over them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.config.benchmark import SPECIAL_IDS
from circuit.config.kinds.scalar import ScalarSettings
from circuit.errors import AnalysisError
from circuit.model.sites import canonical_site, site_axes, stages
from circuit.model.transformer import LN_EPS, Decoder, Params
from circuit.scalars.base import Measure, Seen, centre, look, margin, masked_mean
from circuit.scalars.routing import Head, w_qk
from circuit.scalars.value import right_value, value_logits
from circuit.task.events import ReadEvents

Rival = Int[Tensor, " E"] | None
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


def head_bases(params: Params, head: Head, rank: int) -> dict[str, Float[Tensor, "d r"]]:
    """Top singular directions of a head's W_QK and W_OV, by the name of their subspace.

    Args:
        rank: at most d_head, which is the maps' rank.
    """
    found: dict[str, Tensor] = {}
    for matrix, left, right in (
        (w_qk(params, head), "head_qk_query", "head_qk_key"),
        (w_ov(params, head), "head_ov_input", "head_ov_output"),
    ):
        u, _, vh = torch.linalg.svd(matrix)
        found |= {left: u[:, :rank], right: vh[:rank].T}
    return found


def subspace_basis(
    settings: ScalarSettings,
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    value_ids: range,
    head: Head | None,
) -> Float[Tensor, "d r"]:
    """Orthonormal top-``rank`` basis of the subspace that settings name, at ``theta``; float64.

    Args:
        settings: with a ``subspace`` and a ``rank``.
        events: the read events that a ``pca`` subspace is fitted to.
        head: of a head's subspace.

    Raises:
        AnalysisError: the subspace has fewer dimensions than ``rank``.
    """
    params = decoder.layout.views(theta.detach().double())
    if head is not None:
        rank = _require_rank(settings, decoder.settings.d_head)
        return head_bases(params, head, rank)[str(settings.subspace)]
    if settings.pca is not None:
        stage, role = settings.pca
        site = state_site(stage, decoder.settings.n_layers)
        seen = look(decoder, theta.detach().double(), events, value_ids, frozenset({site}))
        rows = seen.sites[site][events.role_mask(role)]
    else:
        keys = settings.subspace == "embedding_key_identity"
        ids = range(SPECIAL_IDS, value_ids.start) if keys else value_ids
        rows = params["embedding.token"][ids.start : ids.stop]
    rank = _require_rank(settings, min(len(rows) - 1, rows.shape[1]))
    basis: Tensor = torch.linalg.svd(rows - rows.mean(0), full_matrices=False).Vh[:rank].T
    return basis


def _require_rank(settings: ScalarSettings, widest: int) -> int:
    """The rank that settings ask for, which the subspace must have."""
    if settings.rank is None or settings.rank > widest:
        raise AnalysisError(
            what=f"{settings.subspace} has no {settings.rank} directions",
            where="scalar subspace_projection",
            expected=f"1 to {widest}",
            do="choose another rank",
        )
    return settings.rank


def squared_norm(site: str, role: str, basis: Float[Tensor, "d r"]) -> Measure:
    """Squared norm of the part of a state that lies inside; mean over the role's positions."""

    def value(seen: Seen) -> Float[Tensor, " E"]:
        state = seen.sites[site]
        inside = (state @ basis.to(state)).square().sum(-1)
        return masked_mean(inside, seen.events.role_mask(role))

    return Measure("squared state unit", frozenset({site}), value)


def readout(stage: str, role: str, basis: Float[Tensor, "d r"], rival: Rival) -> Measure:
    """Value margin of the part of a state that lies inside; mean over the role's positions."""

    def value(seen: Seen) -> Float[Tensor, " E"]:
        return margin(inside_logits(seen, stage, role, basis), right_value(seen), rival)

    return Measure("logit", frozenset({stage}), value)


def inside_logits(
    seen: Seen, stage: str, role: str, basis: Float[Tensor, "d r"]
) -> Float[Tensor, "E values"]:
    """Value logits of the part of a state that lies inside; mean over the role's positions."""
    state, columns = seen.sites[stage], basis.to(seen.sites[stage])
    part = (state @ columns) @ columns.T
    if stage != "final_norm":
        scale = (state.var(-1, keepdim=True, unbiased=False) + LN_EPS).sqrt()
        part = centre(part) / scale * seen.params["final_norm.gain"]
    mask = seen.events.role_mask(role)
    mean = torch.where(mask[..., None], part, 0).sum(1) / mask.sum(1, keepdim=True)
    return value_logits(seen, mean)


def require_subspace(settings: ScalarSettings, n_layers: int, events: ReadEvents) -> str:
    """The site that settings mean, once they say which states and which subspace.

    Raises:
        AnalysisError: a choice is missing or has no meaning, or an event lacks the role.
    """
    missing = [f for f in ("stage", "role", "subspace", "rank") if getattr(settings, f) is None]
    if missing:
        names = " and ".join(missing)
        raise _refusal(f"needs {names}", "stage, role, subspace and rank", f"add {names}")
    site = state_site(str(settings.stage), n_layers)
    if settings.of_head != (settings.head is not None):
        raise _refusal(
            f"{'needs a' if settings.of_head else 'takes no'} head with {settings.subspace}",
            "a head with a head's subspace, and with no other",
            "add head" if settings.of_head else "leave head out",
        )
    if settings.basis in ("own", "source"):
        raise _refusal(
            f"takes no basis {settings.basis}",
            "final or a checkpoint step, whose subspace is held fixed",
            "choose a checkpoint, or leave basis out",
        )
    if settings.reading == "squared_norm" and settings.competitor != "moving":
        raise _refusal("takes a competitor only for its readout", "reading: readout", "add reading")
    if settings.reading == "readout" and site not in stages(n_layers):
        raise _refusal(
            f"has no readout at {site}",
            f"a stage of the residual stream: {', '.join(stages(n_layers))}",
            "choose a stage, or reading: squared_norm",
        )
    if not events.role_mask(str(settings.role)).any(-1).all():
        raise _refusal(
            f"finds no {settings.role} in some events",
            "a role that every event has",
            "choose another role",
        )
    return site


def _refusal(problem: str, expected: str, do: str) -> AnalysisError:
    what = f"scalar subspace_projection {problem}"
    return AnalysisError(what, where="scalar settings", expected=expected, do=do)

"""From a scalar's settings to the scalar: heads and bases resolved, frozen parts computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

from jaxtyping import Float, Int
from torch import Tensor

from circuit.config.kinds.scalar import ScalarName, ScalarSettings
from circuit.errors import AnalysisError
from circuit.model.sites import parse_head
from circuit.model.transformer import Decoder
from circuit.scalars import behaviour, routing, subspace, value
from circuit.scalars.base import Scalar, Seen, best_other, look
from circuit.task.events import ReadEvents

SCALARS: tuple[str, ...] = get_args(ScalarName)
_WITHOUT_HEAD = {"correct_value_logit", "negative_answer_loss", "answer_margin"}
# Which scalars take which option; every other combination is refused rather than ignored.
_MARGINS = (
    "ov_value_margin",
    "support_mass_ov_value_margin",
    "qk_ov_product",
    "head_value_margin_dla",
    "head_margin_dla_fixed_readout",
)
_SUBSPACE = ("subspace_projection",)
_TAKEN_BY: dict[str, tuple[str, ...]] = {
    "head": tuple(name for name in SCALARS if name not in _WITHOUT_HEAD),
    "rank": ("qk_separation", *_SUBSPACE),
    "basis": ("qk_separation", "head_margin_dla_fixed_readout", *_SUBSPACE),
    "measure": ("attention_separation",),
    "competitor": (*_MARGINS, "answer_margin", *_SUBSPACE),
    **dict.fromkeys(("stage", "role", "subspace", "reading"), _SUBSPACE),
}


@dataclass(frozen=True)
class ScalarContext:
    """What settings refer to but do not hold.

    ``heads`` resolves ``winner``, ``runner_up`` and ``bottom``; ``theta`` gives the run's
    parameters at a checkpoint step; ``window`` is the analysis' interval and ``last`` the run's
    last step.
    """

    decoder: Decoder
    events: ReadEvents
    value_ids: range
    heads: Mapping[str, str]
    theta: Callable[[int], Float[Tensor, " P"]]
    window: tuple[int, int]
    last: int


def build_scalar(settings: ScalarSettings, context: ScalarContext) -> Scalar:
    """The scalar that settings describe.

    Raises:
        AnalysisError: a head is missing or does not exist, the rank is too large, or an option is
            given to a scalar that does not take it.
    """
    name = settings.scalar
    _require_options(settings)
    if name == "correct_value_logit":
        return behaviour.correct_value_logit()
    if name == "negative_answer_loss":
        return behaviour.negative_answer_loss()
    if name == "answer_margin":
        return behaviour.answer_margin(
            _rival(
                settings,
                context,
                frozenset({"final_norm"}),
                behaviour.answer_logits,
                lambda seen: seen.events.answer,
            )
        )
    if name == "subspace_projection":
        return _subspace_projection(settings, context)
    head = resolve_head(settings, context)
    if name == "qk_separation":
        return _rank_separation(settings, context, head)
    if name == "attention_separation":
        return routing.attention_separation(head, settings.measure == "probabilities")
    if name == "support_attention":
        return routing.support_attention(head)
    return _head_margin(settings, context, head)


def _head_margin(settings: ScalarSettings, context: ScalarContext, head: tuple[int, int]) -> Scalar:
    """A value margin of what a head writes, or would write."""
    name = settings.scalar
    if name in ("head_value_margin_dla", "head_margin_dla_fixed_readout"):
        scale = None
        if name == "head_margin_dla_fixed_readout":
            theta = context.theta(_basis_step(settings, context))
            scale = value.frozen_scale(context.decoder, theta, context.events, context.value_ids)
        sites = frozenset({f"layer_{head[0]}_z", "final_norm_scale"})
        rival = _rival(
            settings, context, sites, lambda s: value.dla_logits(s, head, scale), value.right_value
        )
        return value.head_value_margin_dla(head, rival, scale)
    rival = _rival(
        settings,
        context,
        frozenset({f"layer_{head[0]}_attn_input"}),
        lambda seen: value.ov_image_logits(seen, head),
        value.right_value,
    )
    makers = {
        "ov_value_margin": value.ov_value_margin,
        "support_mass_ov_value_margin": value.support_mass_ov_value_margin,
        "qk_ov_product": value.qk_ov_product,
    }
    return makers[name](head, rival)


def _require_options(settings: ScalarSettings) -> None:
    """Refuse an option that would have no effect on the scalar."""
    name = settings.scalar
    for option, takers in _TAKEN_BY.items():
        default = ScalarSettings.model_fields[option].default
        if getattr(settings, option) != default and name not in takers:
            raise AnalysisError(
                what=f"scalar {name} takes no {option}",
                where="scalar settings",
                expected=f"{option} only with {', '.join(takers)}",
                do=f"leave {option} out",
            )
    if name == "qk_separation" and settings.rank is None and settings.basis != "final":
        raise AnalysisError(
            what="scalar qk_separation takes a basis only together with a rank",
            where="scalar settings",
            expected="rank and basis, or neither (full scores)",
            do="add rank, or leave basis out",
        )
    if name == "head_margin_dla_fixed_readout" and settings.basis in ("own", "source"):
        raise AnalysisError(
            what=f"basis {settings.basis} has no meaning for scalar {name}",
            where="scalar settings",
            expected="final or a checkpoint step, whose final LayerNorm scale is the fixed readout",
            do="choose a checkpoint, or leave basis out",
        )


def resolve_head(settings: ScalarSettings, context: ScalarContext) -> tuple[int, int]:
    """(layer, head) that a scalar's settings mean."""
    if settings.head is None:
        raise AnalysisError(
            what=f"scalar {settings.scalar} needs a head",
            where="scalar settings",
            expected="head: winner, runner_up, bottom or a name such as L1H3",
            do="add head",
        )
    shape = context.decoder.settings
    return parse_head(
        context.heads.get(settings.head, settings.head), shape.n_layers, shape.n_heads
    )


def _rank_separation(
    settings: ScalarSettings, context: ScalarContext, head: tuple[int, int]
) -> Scalar:
    if settings.rank is None:
        return routing.qk_separation(head)
    routing.require_rank(context.decoder, settings.rank)
    if settings.basis == "own":
        return routing.RankSeparation(context.decoder, head, settings.rank, None)
    source = settings.basis == "source"
    theta = context.theta(context.window[0] if source else _basis_step(settings, context))
    basis = routing.singular_basis(context.decoder, theta, head, settings.rank)
    return routing.RankSeparation(context.decoder, head, settings.rank, basis, follows=source)


def _subspace_projection(settings: ScalarSettings, context: ScalarContext) -> Scalar:
    decoder, events = context.decoder, context.events
    site = subspace.require_subspace(settings, decoder.settings.n_layers, events)
    head = resolve_head(settings, context) if settings.of_head else None
    theta, role = context.theta(_basis_step(settings, context)), str(settings.role)
    basis = subspace.subspace_basis(settings, decoder, theta, events, context.value_ids, head)
    if settings.reading == "squared_norm":
        return subspace.squared_norm(site, role, basis)
    rival = _rival(
        settings,
        context,
        frozenset({site}),
        lambda seen: subspace.inside_logits(seen, site, role, basis),
        value.right_value,
    )
    return subspace.readout(site, role, basis, rival)


def _basis_step(settings: ScalarSettings, context: ScalarContext) -> int:
    return settings.basis if isinstance(settings.basis, int) else context.last


def _rival(
    settings: ScalarSettings,
    context: ScalarContext,
    sites: frozenset[str],
    logits: Callable[[Seen], Tensor],
    right: Callable[[Seen], Tensor],
) -> Int[Tensor, " E"] | None:
    """The fixed wrong token of every event, or None where it is chosen anew at each θ."""
    if settings.competitor == "moving":
        return None
    start, stop = context.window
    theta = context.theta(start if settings.competitor == "fixed_source" else stop)
    seen = look(context.decoder, theta.detach(), context.events, context.value_ids, sites)
    return best_other(logits(seen), right(seen))

"""From a scalar's settings to the scalar: heads and bases resolved, frozen parts computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, get_args

from jaxtyping import Float
from torch import Tensor

from circuit.config.scalar import ScalarName, ScalarSettings
from circuit.model.sites import parse_component, parse_head
from circuit.model.transformer import Decoder
from circuit.scalars import behaviour, features, routing, subspace, value, write
from circuit.scalars.base import Branched, Rival, Scalar, Seen, best_other, look
from circuit.scalars.features import Dictionary
from circuit.scalars.moving_basis import BasisScalar
from circuit.scalars.options import refusal, require_checkpoint
from circuit.task.events import ReadEvents

SCALARS: tuple[str, ...] = get_args(ScalarName)
_WITHOUT_HEAD = {"correct_value_logit", "negative_answer_loss", "answer_margin", "feature_score"}
# Which scalars take which option; every other combination is refused rather than ignored.
_MARGINS = (
    "ov_value_margin",
    "support_mass_ov_value_margin",
    "qk_ov_product",
    "head_value_margin_dla",
    "head_margin_dla_fixed_readout",
)
_SUBSPACE = ("subspace_projection",)
_WRITE = ("functional_write",)
_FEATURES = ("feature_score",)
_TAKEN_BY: dict[str, tuple[str, ...]] = {
    "head": tuple(name for name in SCALARS if name not in _WITHOUT_HEAD),
    "rank": ("qk_separation", *_SUBSPACE),
    "basis": ("qk_separation", "head_margin_dla_fixed_readout", *_SUBSPACE, *_WRITE),
    "measure": ("attention_separation",),
    "competitor": (*_MARGINS, "answer_margin", *_SUBSPACE, *_WRITE),
    "stage": (*_SUBSPACE, *_WRITE),
    "role": (*_SUBSPACE, *_WRITE, *_FEATURES),
    **dict.fromkeys(("subspace", "reading"), _SUBSPACE),
    **dict.fromkeys(("outcome", "part", "gradient"), _WRITE),
    **dict.fromkeys(("dictionary", "features"), _FEATURES),
}


@dataclass(frozen=True)
class ScalarContext:
    """What settings refer to but do not hold.

    ``heads`` resolves ``winner``, ``runner_up`` and ``bottom``; ``theta`` gives the run's
    parameters at a checkpoint step; ``window`` is the analysis' interval and ``last`` the run's
    last step. ``dictionaries`` are those of features, by the name of the analysis that made them.
    """

    decoder: Decoder
    events: ReadEvents
    value_ids: range
    heads: Mapping[str, str]
    theta: Callable[[int], Float[Tensor, " P"]]
    window: tuple[int, int]
    last: int
    dictionaries: Mapping[str, Dictionary] = field(default_factory=dict)


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
        return _margin(
            settings,
            context,
            behaviour.answer_margin,
            behaviour.answer_logits,
            lambda seen: seen.events.answer,
        )
    if name == "subspace_projection":
        return _subspace_projection(settings, context)
    if name == "functional_write":
        followed = resolve_write(settings, context)
        return write.functional_write(followed, context.decoder.settings, settings.part)
    if name == "feature_score":
        shape = context.decoder.settings
        score = features.settled_score(settings, context.dictionaries, shape, context.events)
        return Branched(score.measure, _reader(context, score.measure(None).sites, score.active))
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
            theta = context.theta(basis_step(settings, context.last))
            scale = value.frozen_scale(context.decoder, theta, context.events, context.value_ids)
        return _margin(
            settings,
            context,
            lambda rival: value.head_value_margin_dla(head, rival, scale),
            lambda seen: value.dla_logits(seen, head, scale),
            value.right_value,
        )
    makers = {
        "ov_value_margin": value.ov_value_margin,
        "support_mass_ov_value_margin": value.support_mass_ov_value_margin,
        "qk_ov_product": value.qk_ov_product,
    }
    return _margin(
        settings,
        context,
        lambda rival: makers[name](head, rival),
        lambda seen: value.ov_image_logits(seen, head),
        value.right_value,
    )


def _require_options(settings: ScalarSettings) -> None:
    """Refuse an option that would have no effect on the scalar."""
    name = settings.scalar
    for option, takers in _TAKEN_BY.items():
        default = ScalarSettings.model_fields[option].default
        if getattr(settings, option) != default and name not in takers:
            only = f"{option} only with {', '.join(takers)}"
            raise refusal(name, f"takes no {option}", only, f"leave {option} out")
    if name == "qk_separation" and settings.rank is None and settings.basis != "final":
        raise refusal(
            name,
            "takes a basis only together with a rank",
            "rank and basis, or neither (full scores)",
            "add rank, or leave basis out",
        )
    if name == "head_margin_dla_fixed_readout":
        require_checkpoint(settings, "final LayerNorm scale")


def resolve_head(settings: ScalarSettings, context: ScalarContext) -> tuple[int, int]:
    """(layer, head) that a scalar's settings mean."""
    shape = context.decoder.settings
    return parse_head(_named_head(settings, context), shape.n_layers, shape.n_heads)


def _named_head(settings: ScalarSettings, context: ScalarContext) -> str:
    if settings.head is None:
        named = "head: winner, runner_up, bottom or a name such as L1H3"
        raise refusal(settings.scalar, "needs a head", named, "add head")
    return context.heads.get(settings.head, settings.head)


def resolve_write(settings: ScalarSettings, context: ScalarContext) -> write.Write:
    """What a ``functional_write`` follows, and what the reference checkpoint reads there.

    Raises:
        AnalysisError: the source does not exist, the write cannot be followed to the stage, or the
            answer is not read there.
    """
    _require_options(settings)
    decoder, events = context.decoder, context.events
    source = _named_head(settings, context)
    parse_component(source, decoder.settings)
    stage = write.require_write(settings, source, decoder.settings, events)
    read = ScalarSettings(scalar=settings.outcome, competitor=settings.competitor)
    theta, outcome = context.theta(basis_step(settings, context.last)), build_scalar(read, context)
    gradient = write.reference_gradient(
        decoder,
        theta,
        events,
        context.value_ids,
        source,
        stage,
        outcome,
        settings.gradient == "integrated",
    )
    role = str(settings.role)
    if not gradient[events.role_mask(role)].any():
        raise refusal(
            settings.scalar,
            f"is nothing but 0: no answer depends on {stage} at {role}",
            "a state that the prediction position reads",
            "choose an earlier stage, or another role",
        )
    return write.Write(source, stage, role, outcome, gradient)


def _rank_separation(
    settings: ScalarSettings, context: ScalarContext, head: tuple[int, int]
) -> Scalar:
    if settings.rank is None:
        return routing.qk_separation(head)
    routing.require_rank(context.decoder, settings.rank)
    return _with_basis(
        routing.RankSeparation(context.decoder, head, rank=settings.rank), settings, context
    )


def _subspace_projection(settings: ScalarSettings, context: ScalarContext) -> Scalar:
    decoder = context.decoder
    site = subspace.require_subspace(settings, decoder.settings.n_layers, context.events)
    head = resolve_head(settings, context) if settings.of_head else None
    space = subspace.Subspace.named(settings, decoder, context.events, context.value_ids, head)
    plain = subspace.Projection(
        site, str(settings.role), space, settings.reading, rank=space.require_rank(settings.rank)
    )
    projection = _with_basis(plain, settings, context)
    if settings.reading == "squared_norm":
        return projection
    return _margin(
        settings,
        context,
        lambda rival: replace(projection, rival=rival),
        projection.logits,
        value.right_value,
    )


_Based = TypeVar("_Based", bound=BasisScalar)


def _with_basis(scalar: _Based, settings: ScalarSettings, context: ScalarContext) -> _Based:
    """A scalar with the basis that settings name."""
    if settings.basis in ("own", "source"):
        return replace(scalar, refitted=settings.basis)
    return scalar.fitted(context.theta(basis_step(settings, context.last)))


def basis_step(settings: ScalarSettings, last: int) -> int:
    """The checkpoint whose basis settings name; the ``last`` one where they name none."""
    return settings.basis if isinstance(settings.basis, int) else last


def _margin(
    settings: ScalarSettings,
    context: ScalarContext,
    make: Callable[[Rival], Scalar],
    logits: Callable[[Seen], Tensor],
    right: Callable[[Seen], Tensor],
) -> Scalar:
    """A margin over the competitor that settings name.

    Args:
        make: the margin over given wrong tokens, their mean, or the best ones at the θ it is seen
            at.
        logits, right: what the margin compares, and which of them is the right one.
    """
    choose = _reader(context, make(None).sites, lambda seen: best_other(logits(seen), right(seen)))
    if settings.competitor == "mean":
        return make("mean")
    if settings.competitor == "moving":
        return Branched(make, choose)
    start, stop = context.window
    return make(choose(context.theta(start if settings.competitor == "fixed_source" else stop)))


def _reader(
    context: ScalarContext, sites: frozenset[str], read: Callable[[Seen], Tensor]
) -> Callable[[Float[Tensor, " P"]], Tensor]:
    """What is read off a pass over the events, as a function of θ."""

    def at(theta: Float[Tensor, " P"]) -> Tensor:
        seen = look(context.decoder, theta.detach(), context.events, context.value_ids, sites)
        return read(seen)

    return at

"""From a scalar's settings to the scalar: heads and bases resolved, frozen parts computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.scalar import FOLLOWING, ScalarName, ScalarSettings
from circuit.model.sites import parse_component, parse_head
from circuit.model.transformer import Decoder
from circuit.scalars import behaviour, features, routing, subspace, value, write
from circuit.scalars.base import Branched, Rival, Scalar, Seen, best_other, look, pick
from circuit.scalars.features import Dictionary
from circuit.scalars.moving_basis import BasisScalar
from circuit.scalars.options import refusal, require_checkpoint
from circuit.task.events import ReadEvents

SCALARS: tuple[str, ...] = get_args(ScalarName)
_ANSWERS = {
    "correct_value_logit": behaviour.correct_value_logit,
    "negative_answer_loss": behaviour.negative_answer_loss,
    "soft_margin": behaviour.soft_margin,
}
_FEATURES = ("feature_score", "feature_drive")
_WITHOUT_HEAD = {*_ANSWERS, "answer_margin", *_FEATURES}
# Which scalars take which option; every other combination is refused rather than ignored.
_IMAGE_MARGINS = {
    "ov_value_margin": value.ov_value_margin,
    "support_mass_ov_value_margin": value.support_mass_ov_value_margin,
    "qk_ov_product": value.qk_ov_product,
}
_MARGINS = (*_IMAGE_MARGINS, "head_value_margin_dla", "head_margin_dla_fixed_readout")
_SUBSPACE = ("subspace_projection",)
_WRITE = ("functional_write",)
_TAKEN_BY: dict[str, tuple[str, ...]] = {
    "head": tuple(name for name in SCALARS if name not in _WITHOUT_HEAD),
    "rank": ("qk_separation", *_SUBSPACE),
    "basis": ("qk_separation", "head_margin_dla_fixed_readout", *_SUBSPACE, *_WRITE),
    "measure": ("attention_separation",),
    "competitor": (*_MARGINS, "answer_margin", *_SUBSPACE, *FOLLOWING),
    "stage": (*_SUBSPACE, *FOLLOWING),
    "role": (*_SUBSPACE, *FOLLOWING, *_FEATURES),
    **dict.fromkeys(("subspace", "reading"), _SUBSPACE),
    "outcome": FOLLOWING,
    **dict.fromkeys(("part", "gradient"), _WRITE),
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

    def look(self, theta: Float[Tensor, " P"], sites: frozenset[str]) -> Seen:
        """A pass over the events; see :func:`circuit.scalars.base.look`."""
        return look(self.decoder, theta.detach(), self.events, self.value_ids, sites)

    def basis(self, settings: ScalarSettings) -> Float[Tensor, " P"]:
        """Parameters of the checkpoint whose basis settings name."""
        return self.theta(basis_step(settings, self.last))


def build_scalar(settings: ScalarSettings, context: ScalarContext) -> Scalar:
    """The scalar that settings describe.

    Raises:
        AnalysisError: a head is missing or does not exist, the rank is too large, or an option is
            given to a scalar that does not take it.
    """
    name, shape = settings.scalar, context.decoder.settings
    _require_options(settings)
    if name in _ANSWERS:
        return _ANSWERS[name]()
    if name == "answer_margin":
        logits, right = behaviour.answer_logits, behaviour.right_answer
        return _margin(settings, context, behaviour.answer_margin, logits, right)
    if name == "subspace_projection":
        return _subspace_projection(settings, context)
    if name == "functional_write":
        return write.functional_write(resolve_write(settings, context), shape, settings.part)
    if name == "rescue":
        return write.rescue(*_followed(settings, context), str(settings.role), shape)
    if name in _FEATURES:
        score = features.settled_score(settings, context.dictionaries, shape, context.events)
        if name == "feature_drive":
            return score.drive()
        return Branched(
            score.measure,
            lambda theta: score.active(context.look(theta, frozenset({score.site}))),
        )
    head = resolve_head(settings, context)
    if name == "qk_separation":
        if settings.rank is None:
            return routing.qk_separation(head)
        routing.require_rank(context.decoder, settings.rank)
        plain = routing.RankSeparation(context.decoder, head, rank=settings.rank)
        return _with_basis(plain, settings, context)
    if name == "attention_separation":
        return routing.attention_separation(head, settings.measure == "probabilities")
    if name == "support_attention":
        return routing.support_attention(head)
    if name in _IMAGE_MARGINS:
        make = partial(_IMAGE_MARGINS[name], head)
        logits = partial(value.ov_image_logits, head=head)
    else:
        scale = None
        if name == "head_margin_dla_fixed_readout":
            seen = context.look(context.basis(settings), frozenset({"final_norm_scale"}))
            scale = pick(seen.sites["final_norm_scale"], context.events.prediction)
        make = partial(value.head_value_margin_dla, head, scale=scale)
        logits = partial(value.dla_logits, head=head, scale=scale)
    return _margin(settings, context, make, logits, value.right_value)


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


def _followed(settings: ScalarSettings, context: ScalarContext) -> tuple[str, str, Scalar]:
    """The source that a scalar follows, the stage, and the answer that it is read for."""
    shape, source = context.decoder.settings, _named_head(settings, context)
    parse_component(source, shape)
    stage = write.require_write(settings, source, shape, context.events)
    read = ScalarSettings(scalar=settings.outcome, competitor=settings.competitor)
    return source, stage, build_scalar(read, context)


def resolve_write(settings: ScalarSettings, context: ScalarContext) -> write.Write:
    """What a ``functional_write`` follows, and what the reference checkpoint reads there.

    Raises:
        AnalysisError: the source does not exist, the write cannot be followed to the stage, or the
            answer is not read there.
    """
    _require_options(settings)
    events, shape = context.events, context.decoder.settings
    source, stage, outcome = _followed(settings, context)
    integrated = settings.gradient == "integrated"
    sites = write.write_sites(source, stage, shape) if integrated else frozenset()
    with torch.no_grad():
        seen = context.look(context.basis(settings), sites | {stage})
    gradient = write.reference_gradient(seen, source, stage, outcome, integrated)
    role = str(settings.role)
    if not gradient[events.role_mask(role)].any():
        raise refusal(
            settings.scalar,
            f"is nothing but 0: no answer depends on {stage} at {role}",
            "a state that the prediction position reads",
            "choose an earlier stage, or another role",
        )
    return write.Write(source, stage, role, outcome, gradient)


def _subspace_projection(settings: ScalarSettings, context: ScalarContext) -> Scalar:
    decoder, events = context.decoder, context.events
    subspace.require_subspace(settings, decoder.settings.n_layers, events)
    head = resolve_head(settings, context) if settings.of_head else None
    plain = subspace.projection(settings, decoder, events, context.value_ids, head)
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
    return scalar.fitted(context.basis(settings))


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

    ``make`` gives that over wrong tokens, their mean, or the best ones at the θ it is seen at;
    ``logits`` are what it compares, of which one is ``right``.
    """

    def choose(theta: Float[Tensor, " P"]) -> Tensor:
        seen = context.look(theta, make(None).sites)
        return best_other(logits(seen), right(seen))

    if settings.competitor == "mean":
        return make("mean")
    if settings.competitor == "moving":
        return Branched(make, choose)
    start, stop = context.window
    return make(choose(context.theta(start if settings.competitor == "fixed_source" else stop)))

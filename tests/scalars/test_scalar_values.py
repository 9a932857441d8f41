"""Every scalar against a slow computation from whole tapped tensors, one event at a time.

The oracle finds roles in the tokens by itself, reads scores and patterns of the whole forward pass,
and gets at a head's OV image and direct logits by editing the pass, not by multiplying weights.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scalar_cases import CASES, DICTIONARIES

from circuit.config.scalar import ScalarSettings
from circuit.model.sites import parse_head
from circuit.model.tap import Tap
from circuit.scalars import subspace
from circuit.scalars.base import look
from circuit.scalars.routing import prediction_pattern, prediction_scores
from circuit.scalars.truncation import Frame, top_frame
from circuit.task.vocabulary import WRITE

MOVING = ("own", "source")


class Slow:
    """One forward pass over one event, and whatever edits are asked for."""

    def __init__(self, world, theta, event):
        self.world, self.theta, self.event = world, theta, event
        length = int(world.events.length[event])
        self.ids = world.events.tokens[event, :length].tolist()
        self.views = world.decoder.layout.views(theta)
        self.prediction = length - 1
        writes = [at for at, token in enumerate(self.ids) if token == WRITE]
        matching = [at for at in writes if self.ids[at + 1] == self.ids[self.prediction]]
        self.support = matching[-1] + 2
        self.distractors = [at + 2 for at in writes if at + 2 != self.support]
        self.answer = self.ids[self.support]
        assert self.answer == int(world.events.answer[event])

    def places(self, role):
        """Positions of a role, from the tokens."""
        writes = [at for at, token in enumerate(self.ids) if token == WRITE]
        others = [at for at in writes if at + 2 != self.support]
        return {
            "prediction": [self.prediction],
            "query_key": [self.prediction],
            "support_key": [self.support - 1],
            "support_value": [self.support],
            "value_distractors": [at + 2 for at in others],
            "key_distractors": [at + 1 for at in others],
            "causal_prefix": list(range(self.prediction + 1)),
        }[role]

    def run(self, *capture, edits=None):
        tap = Tap(capture=capture, edits=edits)
        logits = self.world.decoder.forward(self.views, torch.tensor([self.ids]), tap)
        return logits[0], {name: value[0] for name, value in tap.cache.items()}

    def scores(self, head, site="scores"):
        layer, number = head
        name = f"layer_{layer}_{site}"
        return self.run(name)[1][name][number, self.prediction].tolist()

    def separation(self, values):
        others = [values[at] for at in self.distractors]
        return values[self.support] - sum(others) / len(others)

    def value_logits(self, logits):
        return [float(logits[token]) for token in self.world.value_ids]

    def ov_logits(self, head):
        """The head's write if it attends to the support value alone, through the final norm."""
        layer, number = head

        def attend(pattern):
            pattern = pattern.clone()
            pattern[:, number, self.prediction] = 0
            pattern[:, number, self.prediction, self.support] = 1
            return pattern

        site = f"layer_{layer}_head_write"
        cache = self.run(site, edits={f"layer_{layer}_pattern": [attend]})[1]
        image = cache[site][self.prediction, number].numpy()
        normal = (image - image.mean()) / math.sqrt(image.var() + 1e-5)
        normal = normal * self.views["final_norm.gain"].numpy()
        normal = normal + self.views["final_norm.bias"].numpy()
        return self.value_logits(self.views["embedding.token"].numpy() @ normal)

    def scale(self):
        return self.run("final_norm_scale")[1]["final_norm_scale"]

    def dla_logits(self, head, scale):
        """What the logits lose when the head's write leaves the stream before the final norm."""
        layer, number = head
        site = f"layer_{layer}_head_write"
        write = self.run(site)[1][site][:, number]
        last = f"layer_{self.world.decoder.settings.n_layers - 1}_post_mlp"
        frozen = {"final_norm_scale": [lambda _: scale]}
        whole, _ = self.run(edits=frozen)
        without, _ = self.run(edits={last: [lambda x: x - write], **frozen})
        return self.value_logits((whole - without)[self.prediction])

    def answer_logits(self):
        return self.run()[0][self.prediction].tolist()


def w_qk(views, head):
    layer, number = head
    w = views[f"layer_{layer}.attn.W_QKV"].numpy()
    return w[0, number].T @ w[1, number]


def margin(logits, right, rival):
    if rival == "mean":
        return logits[right] - np.delete(np.asarray(logits), right).mean()
    if rival is None:
        rival = best_wrong(logits, right)
    return logits[right] - logits[rival]


def best_wrong(logits, right):
    return max((i for i in range(len(logits)) if i != right), key=lambda i: logits[i])


def logits_of(name, slow, head, scale):
    """The logits that a margin is taken of, and the right one's place among them."""
    if name == "answer_margin":
        return slow.answer_logits(), slow.answer
    right = slow.answer - slow.world.value_ids.start
    if "dla" in name:
        return slow.dla_logits(head, slow.scale() if scale is None else scale), right
    return slow.ov_logits(head), right


def based_on(settings, world, theta):
    """The state that a basis is taken of; one that moves is that of the state it is seen at."""
    basis = settings.get("basis", "final")
    return theta if basis in MOVING else world.states[{"final": 20}.get(basis, basis)]


def directions(settings, world, theta):
    """An orthonormal basis of a subspace, by NumPy, from whole events run one by one."""
    state = based_on(settings, world, theta)
    views, name, rank = world.decoder.layout.views(state), settings["subspace"], settings["rank"]
    if name.startswith("pca"):
        stage, role = name[4:-1].split(", ")
        slow = [Slow(world, state, event) for event in range(len(world.events))]
        found = np.concatenate([s.run(stage)[1][stage].numpy()[s.places(role)] for s in slow])
        return np.linalg.eigh(np.cov(found.T))[1][:, ::-1][:, :rank]
    if name.startswith("embedding"):
        first = world.value_ids.start
        ids = range(first - 4, first) if "key" in name else world.value_ids
        found = views["embedding.token"].numpy()[list(ids)]
        return np.linalg.eigh(np.cov(found.T))[1][:, ::-1][:, :rank]
    layer, number = parse_head(settings["head"], 2, 2)
    w = views[f"layer_{layer}.attn.W_QKV"].numpy()
    matrix = w_qk(views, (layer, number))
    if "ov" in name:
        matrix = w[2, number].T @ views[f"layer_{layer}.attn.W_O"].numpy()[number]
    u, _, vh = np.linalg.svd(matrix)
    left = name in ("head_qk_query", "head_ov_input")
    return u[:, :rank] if left else vh[:rank].T


def inside(settings, world, slow):
    """Projections onto a subspace: the state without what is outside it, at every place."""
    basis, stage = directions(settings, world, slow.theta), settings["stage"]
    state = slow.run(stage)[1][stage].numpy()[slow.places(settings["role"])]
    return state, state - state @ (np.eye(len(basis)) - basis @ basis.T)


def inside_logits(settings, world, slow):
    """The mean over places of the value logits of what lies inside."""
    state, part = inside(settings, world, slow)
    if settings["stage"] != "final_norm":
        scale = np.sqrt(state.var(axis=1, keepdims=True) + 1e-5)
        part = (part - part.mean(1, keepdims=True)) / scale * slow.views["final_norm.gain"].numpy()
    return slow.value_logits((part @ slow.views["embedding.token"].numpy().T).mean(0))


def projection(settings, world, slow):
    """``subspace_projection`` on one event."""
    if settings.get("reading") != "readout":
        return (inside(settings, world, slow)[1] ** 2).sum(1).mean()
    rival, right = None, slow.answer - world.value_ids.start
    if settings.get("competitor", "moving") != "moving":
        step = 0 if settings["competitor"] == "fixed_source" else 10
        other = Slow(world, world.states[step], slow.event)
        rival = best_wrong(inside_logits(settings, world, other), right)
    return margin(inside_logits(settings, world, slow), right, rival)


def slopes(settings, world, event):
    """The gradient of an answer at every position of a stage; integrated piece by piece."""
    slow = Slow(world, world.states[settings.get("basis", 20)], event)
    clean, ablated = with_and_without(settings, slow, settings["stage"])
    if settings.get("gradient") != "integrated":
        return slope(settings, world, slow, torch.zeros_like(clean))
    places, weights = np.polynomial.legendre.leggauss(8)
    missing = [(piece + (1 + place) / 2) / 16 for piece in range(16) for place in places]
    found = [slope(settings, world, slow, u * (ablated - clean)) for u in missing]
    return np.average(found, axis=0, weights=[*weights] * 16)


def slope(settings, world, slow, added):
    """The gradient where something is added to the states of a stage."""
    added.requires_grad_()
    logits, _ = slow.run(edits={settings["stage"]: [lambda x: x + added]})
    logits = logits[slow.prediction]
    outcome = settings.get("outcome", "correct_value_logit")
    value = logits[slow.answer]
    if outcome == "negative_answer_loss":
        value = logits.log_softmax(-1)[slow.answer]
    elif outcome == "answer_margin":
        step = 0 if settings["competitor"] == "fixed_source" else 10
        other = Slow(world, world.states[step], slow.event).answer_logits()
        value = value - logits[best_wrong(other, slow.answer)]
    return torch.autograd.grad(value, added)[0].numpy()


def with_and_without(settings, slow, wanted):
    """A site of whole passes with and without the source's write."""
    component = settings["head"]
    if component.endswith("MLP"):
        site, without = f"layer_{component[1]}_mlp_write", torch.zeros_like
    else:
        layer, number = parse_head(component, 2, 2)
        site = f"layer_{layer}_head_write"

        def without(writes):
            return writes * (torch.arange(2) != number)[:, None]

    edited = slow.run(wanted, edits={site: [without]})[1][wanted]
    return slow.run(wanted)[1][wanted], edited


def followed(settings, world, slow):
    """``functional_write`` on one event."""
    stage = settings["stage"]
    sites = {
        "whole": stage,
        "skip": stage.replace("mlp", "attn"),
        "mlp": stage.replace("post_mlp", "mlp_write"),
    }
    clean, ablated = with_and_without(settings, slow, sites[settings.get("part", "whole")])
    products = (slopes(settings, world, slow.event) * (clean - ablated).numpy()).sum(1)
    return products[slow.places(settings["role"])].mean()


def put_back(settings, world, slow):
    """``rescue`` on one event: whole passes without the write, the state put back and not."""
    stage, right = settings["stage"], slow.answer
    clean, damaged = with_and_without(settings, slow, stage)
    repaired = damaged.clone()
    places = slow.places(settings["role"])
    repaired[places] = clean[places]
    values = []
    for state in (repaired, damaged):
        logits = slow.run(edits={stage: [lambda _, state=state: state[None]]})[0][slow.prediction]
        value = logits[right]
        if settings.get("outcome") == "answer_margin":
            other = Slow(world, world.states[0], slow.event).answer_logits()
            value = value - logits[best_wrong(other, right)]
        values.append(float(value))
    return values[0] - values[1]


def activation(settings, slow):
    """``feature_score``, or ``feature_drive``, on one event, feature by feature, place by place."""
    it = DICTIONARIES["shared"]
    features = settings["features"]
    if isinstance(features, str):
        features = it.families[features]
    state = slow.run(it.stage)[1][it.stage].numpy()
    least = 0.0 if settings["scalar"] == "feature_score" else -math.inf
    found = [
        max(least, float((state[at] - it.b_dec.numpy()) @ it.W_enc[:, i].numpy() + it.b_enc[i]))
        for at in slow.places(settings["role"])
        for i in features
    ]
    return sum(found) / len(found)


def by_hand(settings, world, theta, event):
    """One scalar on one event."""
    if settings["scalar"] == "subspace_projection":
        return projection(settings, world, Slow(world, theta, event))
    if settings["scalar"] == "functional_write":
        return followed(settings, world, Slow(world, theta, event))
    if settings["scalar"] == "rescue":
        return put_back(settings, world, Slow(world, theta, event))
    if settings["scalar"] in ("feature_score", "feature_drive"):
        return activation(settings, Slow(world, theta, event))
    name, rank = settings["scalar"], settings.get("rank")
    head = parse_head(settings["head"], 2, 2) if "head" in settings else None
    slow = Slow(world, theta, event)
    if name == "correct_value_logit":
        return slow.answer_logits()[slow.answer]
    if name == "negative_answer_loss":
        logits = slow.answer_logits()
        return logits[slow.answer] - math.log(sum(math.exp(x) for x in logits))
    if name == "soft_margin":
        logits, right = slow.answer_logits(), slow.answer
        return logits[right] - math.log(
            sum(math.exp(logits[token]) for token in world.value_ids if token != right)
        )
    if name == "support_attention":
        return slow.scores(head, "pattern")[slow.support]
    if name == "attention_separation" and settings["measure"] == "probabilities":
        return slow.separation(slow.scores(head, "pattern"))
    if name in ("attention_separation", "qk_separation") and rank is None:
        return slow.separation(slow.scores(head))
    if name == "qk_separation":
        basis = w_qk(world.decoder.layout.views(based_on(settings, world, theta)), head)
        u, _, vh = np.linalg.svd(basis)
        left, right = u[:, :rank] @ u[:, :rank].T, vh[:rank].T @ vh[:rank]
        kept = left @ w_qk(slow.views, head) @ right
        site = f"layer_{head[0]}_attn_input"
        x = slow.run(site)[1][site].numpy()
        scores = x[slow.prediction] @ kept @ x.T / math.sqrt(world.decoder.settings.d_head)
        return slow.separation(scores.tolist())

    def scale_at(basis):
        step = 20 if basis == "final" else basis
        return Slow(world, world.states[step], event).scale()

    fixed = name == "head_margin_dla_fixed_readout"
    scale = scale_at(settings.get("basis", "final")) if fixed else None
    rival = "mean" if settings.get("competitor") == "mean" else None
    if settings.get("competitor", "moving").startswith("fixed"):
        step = 0 if settings["competitor"] == "fixed_source" else 10
        logits, right = logits_of(name, Slow(world, world.states[step], event), head, scale)
        rival = best_wrong(logits, right)
    logits, right = logits_of(name, slow, head, scale)
    value = margin(logits, right, rival)
    if name == "support_mass_ov_value_margin":
        return value * slow.scores(head, "pattern")[slow.support]
    if name == "qk_ov_product":
        return value * slow.separation(slow.scores(head))
    return value


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_a_scalar_is_what_its_definition_says(world, settings):
    found = world.values(world.build(**settings)).tolist()
    expected = [by_hand(settings, world, world.theta, e) for e in range(len(world.events))]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("head", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_scores_and_patterns_are_the_models_own(world, head):
    """To every position, biases included, and not only in differences."""
    site = frozenset({f"layer_{head[0]}_attn_input"})
    seen = look(world.decoder, world.theta, world.events, world.value_ids, site)
    scores, pattern = prediction_scores(seen, head), prediction_pattern(seen, head)
    for event in range(len(world.events)):
        slow = Slow(world, world.theta, event)
        length = slow.prediction + 1
        assert scores[event, :length].tolist() == pytest.approx(slow.scores(head), rel=1e-9)
        expected = slow.scores(head, "pattern")
        assert pattern[event, :length].tolist() == pytest.approx(expected, rel=1e-9)
        assert (pattern[event, length:] == 0).all()


MARGINS = ["answer_margin", "ov_value_margin", "head_value_margin_dla", "readout of head_ov_output"]


@pytest.mark.parametrize("name", MARGINS)
def test_fixed_competitors_differ_from_the_moving_one_where_the_best_wrong_value_moved(world, name):
    """Otherwise the tests above could not tell them apart."""
    settings = CASES[f"{name} moving"]
    kinds = ("moving", "fixed_source", "fixed_target")
    values = [world.values(world.build(**{**settings, "competitor": kind})) for kind in kinds]
    for fixed in values[1:]:
        assert (fixed >= values[0] - 1e-12).all()  # the best wrong one leaves the smallest margin
        assert (fixed > values[0] + 1e-3).any()


FOLLOWING = [n for n, s in CASES.items() if s.get("basis") == "source" and "reading" not in s]


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_basis_that_follows_is_refitted_at_each_intervals_first_state(world, name):
    """Bound at a checkpoint it is the scalar with that checkpoint's basis."""
    settings = CASES[name]
    scalar = world.build(**settings)
    for step in (0, 10):
        bound = scalar.at(world.states[step])
        fixed = {**settings, "basis": step}
        expected = [by_hand(fixed, world, world.theta, e) for e in range(len(world.events))]
        assert world.values(bound).tolist() == pytest.approx(expected, rel=1e-9)
    unbound, at_home = world.values(scalar), world.values(scalar.at(world.theta))
    torch.testing.assert_close(at_home, unbound, rtol=1e-11, atol=1e-12)
    own = world.build(**{**settings, "basis": "own"})
    torch.testing.assert_close(at_home, world.values(own), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_only_a_moving_rival_or_basis_is_a_choice_that_is_made_anew(world, settings):
    scalar = world.build(**settings)
    terms = {"own": ("rank_cut_jump",), "source": ("basis_motion", "rank_cut_jump")}
    expected = terms.get(settings.get("basis"), ())
    over_a_rival = {*MARGINS, "support_mass_ov_value_margin", "head_margin_dla_fixed_readout"}
    margin = settings["scalar"] in {*over_a_rival, "qk_ov_product"}
    if margin or settings.get("reading") == "readout":
        moving = settings.get("competitor", "moving") == "moving"
        expected += ("branch_switch",) if moving else ()
    if settings["scalar"] == "feature_score":
        expected += ("branch_switch",)
    assert scalar.terms == expected
    if not expected:
        assert scalar.at(world.states[10]) is scalar
        assert scalar.rebind(world.states[10]) == ()


def test_full_rank_is_the_full_score_without_biases(world):
    """W_QK has rank d_head, so nothing is cut."""
    theta = world.theta.clone()
    world.decoder.layout.views(theta)["layer_1.attn.b_QKV"].zero_()
    full = world.values(world.build(**CASES["qk_separation"]), theta)
    own = world.build(**CASES["qk_separation rank 8 own"])
    source = world.build(**CASES["qk_separation rank 8 source"]).at(theta)
    for scalar in (own, source):
        torch.testing.assert_close(world.values(scalar, theta), full, rtol=0, atol=1e-11)
    one = world.build(**CASES["qk_separation rank 1 own"])
    assert not torch.allclose(world.values(one, theta), full, atol=0.1)


def test_training_precision_agrees_with_float64(world):
    """Runs are float32; the rank basis is fitted in float64 and cast."""
    for name, settings in CASES.items():
        scalar = world.build(**settings)
        single = world.values(scalar, world.theta.float())
        assert single.dtype == torch.float32, name
        torch.testing.assert_close(
            single.double(), world.values(scalar), rtol=1e-3, atol=1e-3, msg=name
        )


def fitted_anew(settings):
    """Whether the events of a pass are also what a subspace is fitted to."""
    return settings.get("subspace", "").startswith("pca") and settings.get("basis") in MOVING


@pytest.mark.parametrize(
    "settings",
    [s for s in CASES.values() if not fitted_anew(s)],
    ids=[name for name, s in CASES.items() if not fitted_anew(s)],
)
def test_an_event_alone_has_the_value_it_has_among_longer_ones(world, settings):
    """A subspace fitted to events stays that of all of them."""
    fitted = settings.get("subspace", "").startswith("pca")
    together = world.values(world.build(**settings))
    for event in (0, 2):
        alone = world._replace(events=cropped(world.events.select([event])))
        value = alone.values((world if fitted else alone).build(**settings))
        torch.testing.assert_close(value, together[[event]], rtol=1e-9, atol=1e-10)


def cropped(events):
    """The same event without padding."""
    width = int(events.length.max())
    masks = {
        field.name: getattr(events, field.name)[:, :width]
        for field in dataclasses.fields(events)
        if getattr(getattr(events, field.name), "ndim", 0) == 2
    }
    assert masks["tokens"].shape[1] < events.tokens.shape[1] or width == events.tokens.shape[1]
    return dataclasses.replace(events, **masks)


def test_complementary_subspaces_share_out_the_norm_and_the_lens(world):
    """All directions of a PCA in two parts: their squared norms, and readouts, sum to the whole."""
    state = world.states[20]
    base = {"subspace": "pca(layer_1_post_attn, causal_prefix)", "basis": 20}

    base |= {"stage": "layer_1_post_attn", "role": "prediction", "rank": 16}
    settings = ScalarSettings(scalar="subspace_projection", **base)
    plain = subspace.projection(settings, world.decoder, world.events, world.value_ids, None)
    whole, some = (top_frame(plain.matrix_at(state), rank).left for rank in (16, 5))
    torch.testing.assert_close(whole[:, :5], some)
    rival = torch.zeros(len(world.events), dtype=torch.long)
    for reading in ("squared_norm", "readout"):
        parts = [
            world.values(
                dataclasses.replace(
                    plain, reading=reading, rival=rival, rank=b.shape[1], basis=Frame(b, b)
                )
            )
            for b in (whole, some, whole[:, 5:])
        ]
        torch.testing.assert_close(parts[0], parts[1] + parts[2], rtol=1e-10, atol=1e-10)


def test_an_integrated_gradient_sums_to_what_the_answer_loses(world):
    """At the reference checkpoint itself, over all positions."""
    settings = {
        **CASES["write of L0H1 by the integrated gradient"],
        "stage": "layer_0_post_mlp",
        "role": "causal_prefix",
    }
    reference = world.states[20]
    found = world.values(world.build(**settings), reference) * world.events.length
    for event, value in enumerate(found.tolist()):
        slow = Slow(world, reference, event)
        _, ablated = with_and_without(settings, slow, "layer_0_post_mlp")
        logits, _ = slow.run(edits={"layer_0_post_mlp": [lambda _, x=ablated: x[None]]})
        lost = slow.answer_logits()[slow.answer] - float(logits[slow.prediction][slow.answer])
        assert value == pytest.approx(lost, rel=1e-6, abs=1e-6)

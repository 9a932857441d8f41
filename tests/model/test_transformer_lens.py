"""The same measurements by TransformerLens, on a checkpoint that was trained.

TransformerLens takes the exported model (:mod:`circuit.model.huggingface`) and runs its own hooks
over it. Compared are everything it caches under the names that are aliases here, attention
patterns by role, direct logit attribution per head, the logit lens after every stage, and path
patching.
"""

import importlib.util
from functools import partial

import pandas as pd
import pytest
import torch
from tiny_run import finish, tiny_recipe, tiny_trajectory

from circuit.experiments import interventions as made
from circuit.experiments.paths import write_sites
from circuit.experiments.trial import LIKE_LENGTHS, Trial
from circuit.measures.heads.attention import attention_geometry
from circuit.measures.paths.direct import TARGETS, direct_paths, path_sites, readout, stage_readout
from circuit.measures.paths.mediation import path_effects, source_write
from circuit.model.huggingface import to_huggingface
from circuit.model.nodes import senders
from circuit.model.sites import parse_component, sites, stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import look, over_mean, pick
from circuit.scalars.value import head_value_margin_dla
from circuit.task.events import read_events
from circuit.task.frozen import pair_events
from circuit.task.pairs import build_pairs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("transformer_lens") is None,
        reason="transformer-lens is not installed here: `make test-slow` installs it",
    ),
]

CLOSE = {"rtol": 0, "atol": 1e-4}
MODEL = {"n_layers": 2, "n_heads": 4, "d_model": 32, "d_ff": 48, "context": 64}
STEPS = 120
NO_ALIAS = {"attn_input", "mlp_input"}  # TransformerLens keeps these before gain and bias


@pytest.fixture(scope="module")
def trained(planted_benchmark, tmp_path_factory):
    """Decoder, parameters and settings of a run's last checkpoint, as read from its file."""
    recipe = tiny_recipe(model=MODEL, steps=STEPS, checkpoint_every=STEPS)
    folder = tmp_path_factory.mktemp("trained")
    done = finish(tiny_trajectory(planted_benchmark, recipe), folder)
    assert done.metrics["loss"].iloc[-5:].mean() < done.metrics["loss"].iloc[:5].mean() - 0.5
    return done.trajectory.decoder, done.manifest.state(STEPS).theta


@pytest.fixture(scope="module")
def events(planted_benchmark):
    return read_events(planted_benchmark.splits["test_iid"], planted_benchmark.vocabulary, "last")


@pytest.fixture(scope="module")
def boot(trained, tmp_path_factory):
    """A function that gives TransformerLens the exported checkpoint."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HUB_OFFLINE", "1")  # everything is in the folder
    from transformer_lens.model_bridge import TransformerBridge

    folder = tmp_path_factory.mktemp("exported")

    def get():
        exported = to_huggingface(*trained)
        exported.save_pretrained(folder)
        return TransformerBridge.boot_transformers(str(folder), hf_model=exported, device="cpu")

    yield get
    patch.undo()


@pytest.fixture(scope="module")
def lens(boot, events):
    """TransformerLens' model, its logits and its cache on the events' tokens."""
    bridge = boot()
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(events.tokens)
        cache.compute_head_results()
    return bridge, logits, cache


@pytest.fixture(scope="module")
def ours(trained, events):
    """Our logits and all our sites on the same tokens."""
    decoder, theta = trained
    tap = decoder.tap(capture=sites(decoder.settings.n_layers))
    with torch.no_grad():
        logits = decoder.forward(decoder.layout.views(theta), events.tokens, tap)
    return logits, tap.cache


def aliases(decoder: Decoder) -> dict[str, str]:
    """TransformerLens' name of every site that has one, as :mod:`circuit.model.sites` lists it."""
    layer = {
        "ln1_scale": "ln1.hook_scale",
        "q": "attn.hook_q",
        "k": "attn.hook_k",
        "v": "attn.hook_v",
        "scores": "attn.hook_attn_scores",
        "pattern": "attn.hook_pattern",
        "z": "attn.hook_z",
        "head_write": "attn.hook_result",
        "attn_write": "hook_attn_out",
        "post_attn": "hook_resid_mid",
        "ln2_scale": "ln2.hook_scale",
        "neurons_pre": "mlp.hook_pre",
        "neurons": "mlp.hook_post",
        "mlp_write": "hook_mlp_out",
        "post_mlp": "hook_resid_post",
    }
    found = {"embedding": "blocks.0.hook_resid_pre", "final_norm_scale": "ln_final.hook_scale"}
    for n in range(decoder.settings.n_layers):
        found |= {f"layer_{n}_{site}": f"blocks.{n}.{name}" for site, name in layer.items()}
    return found


def test_every_site_with_an_alias_holds_what_transformer_lens_caches(trained, lens, ours, events):
    decoder, _ = trained
    _, theirs, cache = lens
    logits, mine = ours
    torch.testing.assert_close(logits, theirs, **CLOSE)
    names = aliases(decoder)
    without = {f"layer_{n}_{s}" for n in range(decoder.settings.n_layers) for s in NO_ALIAS}
    assert set(names) == set(mine) - without - {"final_norm"}
    past = torch.ones(events.tokens.shape[1], events.tokens.shape[1], dtype=torch.bool).tril()
    for site, name in names.items():
        a, b = mine[site], cache[name]
        if site.endswith("_scores"):  # future positions: −∞ here, a large negative number there
            assert (a[..., ~past] == -torch.inf).all()
            assert (b[..., ~past] < -1e4).all()
            a, b = a[..., past], b[..., past]
        torch.testing.assert_close(a, b, msg=lambda m, site=site: f"{site}: {m}", **CLOSE)


def test_the_aliases_are_sites_names_for_a_tap(trained, events, ours):
    """A tap that is given TransformerLens' names captures the sites that were compared."""
    decoder, theta = trained
    names = aliases(decoder)
    tap = decoder.tap(capture=names.values())
    with torch.no_grad():
        decoder.forward(decoder.layout.views(theta), events.tokens, tap)
    assert set(tap.cache) == set(names)
    for site, value in tap.cache.items():
        torch.testing.assert_close(value, ours[1][site])


def test_attention_by_role_is_that_of_their_patterns(trained, lens, events, planted_benchmark):
    decoder, theta = trained
    _, _, cache = lens
    found = attention_geometry(
        decoder,
        lambda _: theta,
        [0, STEPS],
        events,
        planted_benchmark.vocabulary,
        ["L1H2"],
        1,
        1,
        1,
    )
    which = {"step": STEPS, "measure": "attention_mass", "quantity": "level", "against": ""}
    rows = found.rows[(found.rows[list(which)] == pd.Series(which)).all(axis=1)]
    at = rows.set_index(["head", "role"])["mean"]
    here = torch.arange(len(events)), events.prediction
    for layer in range(decoder.settings.n_layers):
        pattern = cache["pattern", layer].transpose(1, 2)[here]  # [E, H, T]
        for role in at.index.unique("role"):
            mass = (pattern * events.role_mask(role)[:, None]).sum(-1).mean(0)
            for head in range(decoder.settings.n_heads):
                assert at[f"L{layer}H{head}", role] == pytest.approx(float(mass[head]), abs=1e-4)


@pytest.fixture(scope="module")
def paths(trained, events, planted_benchmark):
    """The pass and readout that ``path_logits`` decomposes, in float64."""
    decoder, theta = trained
    ids = planted_benchmark.vocabulary.value_ids
    with torch.no_grad():
        seen = look(decoder, theta.double(), events, ids, path_sites(decoder.settings.n_layers))
        return seen, readout(seen)


def test_direct_logit_attribution_of_every_head_is_theirs(paths, boot, events, planted_benchmark):
    """Their attribution of the difference between the answer and each rival, head by head.

    It divides by the final LayerNorm's scale of the same pass and reads the gain off the
    unembedding, so LayerNorms are folded into the weights here. Writes stay as they are.
    """
    bridge = boot()
    bridge.enable_compatibility_mode(
        disable_warnings=True,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    ids, length = planted_benchmark.vocabulary.value_ids, events.tokens.shape[1]
    seen, read = paths
    direct = direct_paths(seen, read)
    with torch.no_grad():
        _, cache = bridge.run_with_cache(events.tokens)
        stack, labels = cache.stack_head_results(return_labels=True)
        assert labels == [f"L{layer}H{head}" for layer in range(2) for head in range(4)]
        for target, rival in zip(TARGETS[1:], read.targets.rivals, strict=True):
            answer, wrong = (t[:, None].expand(-1, length) for t in (events.answer, rival))
            theirs = cache.logit_attrs(stack, answer, wrong)
            theirs = theirs[:, torch.arange(len(events)), events.prediction]
            assert theirs.abs().max() > 0.1  # not all next to nothing
            mine = direct.values[:, TARGETS.index(target)]
            mine = mine[:, [direct.names.index(label) for label in labels]].T
            torch.testing.assert_close(mine, theirs.double(), **CLOSE)
            if target == "value_margin":
                fixed = read.targets.rivals[0] - ids.start
                heads = [(int(label[1]), int(label[3])) for label in labels]
                scalars = [head_value_margin_dla(head, fixed)(seen) for head in heads]
                torch.testing.assert_close(torch.stack(scalars), theirs.double(), **CLOSE)


def test_the_logit_lens_after_every_stage_is_theirs(trained, lens, ours, paths, events):
    decoder, theta = trained
    bridge, _, cache = lens
    params = decoder.layout.views(theta)
    seen, read = paths
    measured = stage_readout(seen, read)
    here = torch.arange(len(events)), events.prediction
    with torch.no_grad():
        stack, labels = cache.accumulated_resid(incl_mid=True, apply_ln=True, return_labels=True)
        theirs = stack @ bridge.W_U
        before_norm = stages(decoder.settings.n_layers)[:-1]
        assert len(labels) == len(before_norm) == 5
        for stage, logits in zip(before_norm, theirs, strict=True):
            mine = decoder.unembed(params, decoder.final_norm(params, ours[1][stage]))
            torch.testing.assert_close(mine, logits, **CLOSE)
            at_prediction = read.targets.values(logits[here].double())
            torch.testing.assert_close(measured[stage, "own"], at_prediction, **CLOSE)
    torch.testing.assert_close(ours[0], theirs[-1], **CLOSE)


def test_path_effects_are_those_of_path_patching(trained, lens, events, planted_benchmark):
    """Path patching (Wang et al. 2022) by their hooks, of every sender and every later input.

    In a first run all writes are frozen to the clean ones but the sender's, which is its mean: so
    every input that is met, and the logits, are those of the damaged sender alone. In a second run
    one of these inputs (a head's query, key or value, an MLP's write) takes the clean one's place.
    """
    bridge, clean, cache = lens
    decoder, theta = trained
    ids = planted_benchmark.vocabulary.value_ids
    shape = decoder.settings
    inner = write_sites(shape.n_layers) | set(stages(shape.n_layers))
    trial = Trial.of(decoder, theta.double(), events, ids, inner)
    here = torch.arange(len(events)), events.prediction

    def answers(logits):
        return over_mean(logits[here][:, ids.start : ids.stop].double(), events.answer - ids.start)

    def freeze(value, hook, name, frozen, met):
        met[name] = value.clone()
        return frozen.get(name, value)

    def patch(value, hook, head, new):
        value = value.clone()
        if head is None:
            return new
        value[:, :, head] = new[:, :, head]
        return value

    layers, largest = range(shape.n_layers), 0.0
    writes = {n: (f"blocks.{n}.attn.hook_z", f"blocks.{n}.hook_mlp_out") for n in layers}
    inputs = [f"blocks.{n}.attn.hook_{i}" for n in layers for i in "qkv"]
    for sender in list(senders(shape))[1:]:
        layer, head = parse_component(sender, shape)
        write = source_write(trial.clean, sender)
        found = path_effects(trial, sender, write[events.causal_prefix].mean(0) - write)
        frozen = {name: cache[name].clone() for names in writes.values() for name in names}
        own = frozen[writes[layer][head is None]]
        own = own if head is None else own[:, :, head]
        own[:] = own[events.causal_prefix].mean(0)
        met = {}
        hooks = [
            (name, partial(freeze, name=name, frozen=frozen, met=met))
            for name in (*frozen, *inputs)
        ]
        with torch.no_grad():
            direct = bridge.run_with_hooks(events.tokens, fwd_hooks=hooks)
            for (measure, receiver, _), effect in found.items():
                if measure != "path":
                    continue
                patched = direct
                if receiver != "answer":
                    component, _, kind = receiver.partition(".")
                    n, which = parse_component(component, shape)
                    name = f"blocks.{n}.attn.hook_{kind}" if kind else writes[n][1]
                    hook = partial(patch, head=which, new=met[name])
                    patched = bridge.run_with_hooks(events.tokens, fwd_hooks=[(name, hook)])
                theirs = answers(clean) - answers(patched)
                torch.testing.assert_close(effect[:, 0], theirs, **CLOSE)
                largest = max(largest, float(theirs.abs().max()))
    assert largest > 0.1  # not all next to nothing


PATCHES = {  # TransformerLens' patching function → the place here, of a layer (and a head)
    "resid_pre": ("embedding", "layer_0_post_mlp"),
    "resid_mid": ("layer_{l}_post_attn",),
    "mlp_out": ("layer_{l}_mlp_write",),
    "attn_head_out_by_pos": ("L{l}H{h}.z",),
    "attn_head_q_by_pos": ("L{l}H{h}.q",),
    "attn_head_k_by_pos": ("L{l}H{h}.k",),
    "attn_head_v_by_pos": ("L{l}H{h}.v",),
    "attn_head_pattern_by_pos": ("L{l}H{h}.pattern",),
}


@pytest.mark.parametrize("named", PATCHES)
def test_patches_are_transformer_lenses(named, trained, lens, planted_benchmark):
    """At every layer, position and head, pair by pair: the corrupted state in the clean pass."""
    from transformer_lens import patching

    (decoder, theta), words = trained, planted_benchmark.vocabulary
    pairs = build_pairs(planted_benchmark).pairs.groupby("kind").head(3)
    clean, corrupted = (pair_events(pairs, words, side) for side in ("clean", "corrupted"))
    rival, at = made.rivals(clean, corrupted), clean.prediction

    def metric(logits):
        answer = pick(logits, at)
        return pick(answer, clean.answer) - pick(answer, rival)

    with torch.no_grad():
        _, cache = lens[0].run_with_cache(corrupted.tokens)
        theirs = getattr(patching, f"get_act_patch_{named}")(
            lens[0], clean.tokens, cache, metric, reduce="none"
        ).values
    shape, (few, length) = decoder.settings, clean.tokens.shape
    trial, other = (
        Trial.of(decoder, theta, one, words.value_ids, sites(shape.n_layers), LIKE_LENGTHS)
        for one in (clean, corrupted)
    )
    heads = range(shape.n_heads) if "head" in named else [0]
    edits = {}
    for layer in range(shape.n_layers):
        for head in heads:
            pattern = PATCHES[named][layer if len(PATCHES[named]) > 1 else 0]
            [place] = made.places([pattern.format(l=layer, h=head)], ["prediction"], shape)
            for position in range(length):
                mask = torch.zeros(few, length, dtype=torch.bool)
                mask[:, position] = True
                order = (layer, head, position) if "pattern" in named else (layer, position, head)
                index = order[: theirs.ndim - 1]
                edits[index] = place.put(mask, partial(made.states, other.clean))
    assert len(edits) == theirs[..., 0].numel()
    moved = 0
    base = trial.unedited({"contrast": made.contrast(rival)})["contrast"]
    for (index, _), values in trial.run(edits, {"contrast": made.contrast(rival)}).items():
        ours = torch.from_numpy(values["contrast"]).float()
        torch.testing.assert_close(ours, theirs[index], **CLOSE)
        moved += bool(abs(values["contrast"] - base).max() > 0.01)
    assert moved > 0

"""The same network as a Hugging Face GPT-2, in both directions.

1. Both sides hold the same tensors under different names, so a conversion is a renaming plus, for
   each tensor, a reshape and perhaps a transpose. No number changes: a round trip is bitwise.
2. Hugging Face's ``Conv1D`` stores weights (in, out). Where this project stores (out, in), because
   the structural axis (head, neuron) is the output, the tensor is transposed.
3. A Hugging Face model that computes another function is refused: by the name of the field where
   its configuration says so, else because its logits of a few tokens differ. A configuration only
   states an intention; modules may have been replaced since.

``transformers`` is a development dependency: it is imported inside the functions, and nothing else
in the library needs it.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.errors import CircuitError, MismatchError
from circuit.model.layout import Layout
from circuit.model.transformer import LN_EPS, Decoder

if TYPE_CHECKING:
    from transformers import GPT2Config, GPT2LMHeadModel

_NAMES = {
    "embedding.token": "transformer.wte.weight",
    "embedding.position": "transformer.wpe.weight",
    "final_norm.gain": "transformer.ln_f.weight",
    "final_norm.bias": "transformer.ln_f.bias",
    "ln1.gain": "ln_1.weight",
    "ln1.bias": "ln_1.bias",
    "attn.W_QKV": "attn.c_attn.weight",
    "attn.b_QKV": "attn.c_attn.bias",
    "attn.W_O": "attn.c_proj.weight",
    "attn.b_O": "attn.c_proj.bias",
    "ln2.gain": "ln_2.weight",
    "ln2.bias": "ln_2.bias",
    "mlp.W_in": "mlp.c_fc.weight",
    "mlp.b_in": "mlp.c_fc.bias",
    "mlp.W_out": "mlp.c_proj.weight",
    "mlp.b_out": "mlp.c_proj.bias",
}
_LOGIT_TOLERANCE = 1e-4  # relative; float32 kernels that sum in another order stay below 1e-5
_OUT_IN = ("attn.W_QKV", "mlp.W_in")

# Whatever in a GPT-2 configuration changes the function computed, and the only value of it that
# this project's decoder computes.
_REQUIRED = {
    "activation_function": "gelu",
    "layer_norm_epsilon": LN_EPS,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}


def to_huggingface(decoder: Decoder, flat: Float[Tensor, " P"]) -> GPT2LMHeadModel:
    """Return a Hugging Face model with these parameters (copied), in ``flat``'s dtype and device.

    The model is in evaluation mode and has no dropout. Torch's global random state is left as it
    was, although the constructor draws from it.

    Raises:
        MismatchError: the vector is not of this decoder.
        CircuitError: ``transformers`` is not installed.
    """
    transformers = _transformers()
    if flat.shape != (decoder.layout.size,):
        raise MismatchError(
            f"a parameter vector of shape {list(flat.shape)}",
            where="to_huggingface",
            expected=f"[{decoder.layout.size}], the size of the decoder's layout",
            do="give the vector of this decoder",
        )
    s = decoder.settings
    config = transformers.GPT2Config(
        vocab_size=decoder.vocab_size,
        n_positions=s.context,
        n_embd=s.d_model,
        n_layer=s.n_layers,
        n_head=s.n_heads,
        n_inner=s.d_ff,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",  # the one that can also return attention patterns
        **_REQUIRED,
    )
    with torch.random.fork_rng(devices=[]):
        model: GPT2LMHeadModel = transformers.GPT2LMHeadModel(config)
    torch.nn.Module.to(model, device=flat.device, dtype=flat.dtype).eval()
    target = dict(model.named_parameters())
    with torch.no_grad():
        for ours, value in decoder.layout.views(flat).items():
            theirs = target[_their_name(ours)]
            theirs.copy_(_as_out_in(ours, value, s.d_model).reshape(theirs.shape))
    return model


def from_huggingface(model: GPT2LMHeadModel) -> tuple[ModelSettings, int, Float[Tensor, " P"]]:
    """Return settings, vocabulary size and flat parameters (copied) of a Hugging Face GPT-2.

    How the model was initialised is not recorded in it; the settings say ``gpt2``, which is what
    Hugging Face draws.

    Raises:
        MismatchError: the model computes something that this architecture cannot express.
    """
    _require_expressible(model)
    config = model.config
    settings = ModelSettings(
        n_layers=config.n_layer,
        n_heads=config.n_head,
        d_model=config.n_embd,
        d_ff=config.n_inner if config.n_inner is not None else 4 * config.n_embd,
        context=config.n_positions,
        initialisation="gpt2",
    )
    layout = Layout(settings, config.vocab_size)
    source = dict(model.named_parameters())
    extra = source.keys() - {_their_name(e.name) for e in layout.entries}
    if extra:
        raise _refusal(f"it has the further parameter {min(extra)!r}", "GPT-2's parameters only")
    named = {}
    for entry in layout.entries:
        theirs = _their_name(entry.name)
        value = source[theirs].detach() if theirs in source else torch.empty(0)
        if value.numel() != entry.size:
            found = f"has {value.numel():,} numbers" if theirs in source else "is missing"
            raise _refusal(f"its {theirs} {found}", f"the {entry.size:,} that its config asks for")
        named[entry.name] = _as_out_in(entry.name, value, value.shape[-1]).reshape(entry.shape)
    flat = layout.flatten(named)
    _require_same_logits(model, Decoder(settings, config.vocab_size), flat)
    return settings, config.vocab_size, flat


def _require_same_logits(model: GPT2LMHeadModel, decoder: Decoder, flat: Tensor) -> None:
    """Compare logits of two short streams of unlike tokens."""
    length = min(decoder.settings.context, 64)
    ids = torch.arange(2 * length, device=flat.device).view(2, -1) % decoder.vocab_size
    training = model.training
    with torch.no_grad():
        theirs = model.eval()(input_ids=ids).logits
        ours = decoder.forward(decoder.layout.views(flat), ids)
    model.train(training)
    assert ours is not None  # nothing can stop a forward pass without a tap
    difference, scale = float((ours - theirs).abs().max()), float(theirs.abs().max())
    # Written so that a difference that is not a number is refused too.
    if not difference <= _LOGIT_TOLERANCE * scale:
        raise _refusal(
            f"its logits differ by up to {difference:.2g} of {scale:.2g}",
            "GPT-2's modules as its config names them, none replaced",
        )


def _their_name(ours: str) -> str:
    """``layer_0.attn.W_O`` → ``transformer.h.0.attn.c_proj.weight``."""
    if not ours.startswith("layer_"):
        return _NAMES[ours]
    layer, leaf = ours.split(".", 1)
    return f"transformer.h.{layer.removeprefix('layer_')}.{_NAMES[leaf]}"


def _as_out_in(ours: str, value: Tensor, columns: int) -> Tensor:
    """Transpose a tensor, seen as a matrix of so many columns, where the two sides differ in it."""
    return value.reshape(-1, columns).T if ours.endswith(_OUT_IN) else value


def _require_expressible(model: GPT2LMHeadModel) -> None:
    config: GPT2Config = model.config
    for field, required in _REQUIRED.items():
        found = getattr(config, field)
        if found != required:
            raise _refusal(f"its config has {field}={found!r}", f"{field}={required!r}")
    for name, module in model.named_modules():
        # Too small an ε to show in logits of these parameters may show in those of others.
        if isinstance(module, torch.nn.LayerNorm) and module.eps != LN_EPS:
            raise _refusal(f"its {name} has eps={module.eps!r}", f"eps={LN_EPS!r}")
    # The configuration states an intention; somebody may have given the head its own weights.
    if model.lm_head.weight is not model.transformer.wte.weight:
        raise _refusal(
            "its lm_head.weight is not the token embedding", "an unembedding tied to wte.weight"
        )
    dtypes = sorted({str(p.dtype) for p in model.parameters()})
    if len(dtypes) > 1:
        raise _refusal(f"its parameters are of dtypes {', '.join(dtypes)}", "one dtype")


def _refusal(reason: str, expected: str) -> MismatchError:
    return MismatchError(
        f"this GPT-2 cannot be expressed as a Decoder: {reason}",
        where="from_huggingface",
        expected=expected,
        do="train or convert a model with that setting; its weights alone do not carry over",
    )


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise CircuitError(
            "the package transformers is not installed",
            where="conversion to Hugging Face",
            expected="transformers, a development dependency",
            do="pip install 'circuit-formation[dev]'",
        ) from error
    module: ModuleType = transformers
    return module

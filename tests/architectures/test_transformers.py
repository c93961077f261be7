"""Hugging Face models from tiny configs: what is frozen in each and why, and twins planted in their heads.

``FROZEN`` names, for every model, the parameters with frozen entries and how many; a star stands for the number of
a layer. Nothing else may be frozen and nothing may be locked but what ``LOCKED`` holds. Each row is held against
float64 gradients of the real model. The reasons:

* a key bias without rotary or relative terms adds the same to all scores of a query: the softmax removes it. Fused
  projections hold it as a third of their bias. Partial rotary embeddings leave the part that they do not turn.
* DeBERTa: content keys meet relative queries as well, and their bias moves; the bias of projected positions does not.
* padding rows of an embedding never get a gradient, even where the example uses them (LXMERT: position 0).
* an output that nobody takes in (LiLT's last layout stream, DPT's last norm) or that is detached (EnCodec's codes).
* DETR's first decoder layer attends to constant zeros; SwiftFormer's softmax runs over a single entry.
* in train mode a bias in front of a BatchNorm, also one that an average pool and a subtraction (PoolFormer) removes.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from architectures.float64 import STILL, gradients
from architectures.transformers_zoo import FAMILIES, LISTED, MODELS, padded, tokens
from torch import nn

import lockstep
from lockstep.errors import ControlFlowError, UndecidedError, UsageError
from lockstep.types import Audit

pytestmark = pytest.mark.extras

Counts = dict[str, int | set[int]]

KEY = {"encoder.layer.*.attention.self.key.bias": 16}
DECODER_KEY = {"layers.*.self_attn.k_proj.bias": 16}
FUSED = {"h.*.attn.c_attn.bias": 16}
VIT_KEY = {"layers.*.attention.k_proj.bias": 16}
OLD_VIT_KEY = {"encoder.layer.*.attention.attention.key.bias": 16}
SPEECH_KEY = {"encoder.layers.*.attention.k_proj.bias": 16}
BOTH_KEYS = {
    "encoder.layers.*.self_attn.k_proj.bias": 16,
    "decoder.layers.*.self_attn.k_proj.bias": 16,
    "decoder.layers.*.encoder_attn.k_proj.bias": 16,
}
TOWERS = {
    "text_model.encoder.layers.*.self_attn.k_proj.bias": 16,
    "vision_model.encoder.layers.*.self_attn.k_proj.bias": 16,
}


def below(prefix: str, rows: Counts) -> Counts:
    return {f"{prefix}.{name}": count for name, count in rows.items()}


FROZEN: dict[str, Counts] = {
    # the list of the issue
    **dict.fromkeys(("bert", "roberta", "electra"), KEY),
    "distilbert": {"transformer.layer.*.attention.k_lin.bias": 16},
    "albert": {"encoder.albert_layer_groups.*.albert_layers.*.attention.key.bias": 16},
    "deberta-v2": {"encoder.layer.*.attention.self.pos_key_proj.bias": 16},
    "gpt2": FUSED,
    "gpt_neox": {"layers.*.attention.query_key_value.bias": 16},
    "phi": {"layers.*.self_attn.k_proj.bias": 8},
    "opt": below("decoder", DECODER_KEY),
    "bloom": {"h.*.self_attention.query_key_value.bias": 16},
    "bart": BOTH_KEYS,
    "vit": VIT_KEY,
    "deit": VIT_KEY,
    "swin": {"encoder.layers.*.blocks.*.attention.k_proj.bias": {8, 16}},
    "clip": TOWERS,
    "wav2vec2": SPEECH_KEY,
    # decoders
    "stablelm": {"layers.*.self_attn.k_proj.bias": 4},
    "glm": {"layers.*.self_attn.k_proj.bias": 4},
    "gpt_bigcode": {"h.*.attn.c_attn.bias": 4},  # one key head for all queries
    "openai-gpt": FUSED,
    "persimmon": {
        "layers.*.self_attn.k_layernorm.bias": 2
    },  # a norm on each key: half of its bias is not turned
    "biogpt": DECODER_KEY,
    "xglm": DECODER_KEY,
    "ctrl": {"h.*.multi_head_attention.Wk.bias": 16},
    # encoders
    **dict.fromkeys(
        "longformer big_bird mobilebert nystromformer layoutlm rembert splinter ibert megatron-bert "
        "roberta-prelayernorm data2vec-text visual_bert luke tapas".split(),
        KEY,
    ),
    "funnel": {
        "encoder.blocks.*.*.attention.k_head.bias": 16,
        "decoder.layers.*.attention.k_head.bias": 16,
    },
    "squeezebert": {"encoder.layers.*.attention.key.bias": 16},
    "mpnet": {"encoder.layer.*.attention.attn.k.bias": 16},
    "convbert": {"encoder.layer.*.attention.self.key.bias": 8},
    "canine": {
        **KEY,
        "initial_char_encoder.layer.*.attention.self.key.bias": 16,
        "final_char_encoder.layer.*.attention.self.key.bias": 16,
    },
    "xlm": {"attentions.*.k_lin.bias": 16},
    "flaubert": {"attentions.*.k_lin.bias": 16},
    "lilt": {
        "encoder.layer.*.attention.self.key.bias": 24,
        "encoder.layer.*.attention.self.layout_key.bias": 12,
        "encoder.layer.*.attention.self.layout_value.weight": 144,
        "encoder.layer.*.attention.self.layout_value.bias": 12,
        "encoder.layer.*.attention.layout_output.dense.weight": 144,
        "encoder.layer.*.attention.layout_output.dense.bias": 12,
        "encoder.layer.*.attention.layout_output.LayerNorm.weight": 12,
        "encoder.layer.*.attention.layout_output.LayerNorm.bias": 12,
        "encoder.layer.*.layout_intermediate.dense.weight": 144,
        "encoder.layer.*.layout_intermediate.dense.bias": 12,
        "encoder.layer.*.layout_output.dense.weight": 144,
        "encoder.layer.*.layout_output.dense.bias": 12,
        "encoder.layer.*.layout_output.LayerNorm.weight": 12,
        "encoder.layer.*.layout_output.LayerNorm.bias": 12,
    },
    "lxmert": {
        "embeddings.position_embeddings.weight": 16,
        "embeddings.token_type_embeddings.weight": 16,
        "encoder.layer.*.attention.self.key.bias": 16,
        "encoder.x_layers.*.visual_attention.att.key.bias": 16,
        "encoder.x_layers.*.lang_self_att.self.key.bias": 16,
        "encoder.x_layers.*.visn_self_att.self.key.bias": 16,
        "encoder.r_layers.*.attention.self.key.bias": 16,
    },
    "perceiver": {
        "encoder.cross_attention.attention.self.key.bias": 12,
        "encoder.self_attends.*.attention.self.key.bias": 16,
    },
    # encoder and decoder
    **dict.fromkeys(
        "mbart pegasus marian blenderbot m2m_100 fsmt speech_to_text".split(), BOTH_KEYS
    ),
    "led": {
        "encoder.layers.*.self_attn.longformer_self_attn.key.bias": 16,
        "decoder.layers.*.self_attn.k_proj.bias": 16,
        "decoder.layers.*.encoder_attn.k_proj.bias": 16,
    },
    "prophetnet": {
        "encoder.layers.*.self_attn.key_proj.bias": 16,
        "decoder.layers.*.self_attn.key_proj.bias": 16,
        "decoder.layers.*.cross_attn.key_proj.bias": 16,
    },
    "nllb-moe": {
        "encoder.layers.*.self_attn.k_proj.bias": 16,
        "decoder.layers.*.self_attn.k_proj.bias": 16,
        "decoder.layers.*.cross_attention.k_proj.bias": 16,
    },
    # The scale of the series is a feature, too; without scaling it is the constant 0.
    "time_series_transformer": {
        **BOTH_KEYS,
        "encoder.value_embedding.value_projection.weight": 16,
        "decoder.value_embedding.value_projection.weight": 16,
    },
    "decision_transformer": below("encoder", FUSED),
    "patchtst": below("encoder", DECODER_KEY),
    "speecht5": {
        "speecht5.encoder.wrapped_encoder.layers.*.attention.k_proj.bias": 16,
        "speecht5.decoder.wrapped_decoder.layers.*.self_attn.k_proj.bias": 16,
        "speecht5.decoder.wrapped_decoder.layers.*.encoder_attn.k_proj.bias": 16,
    },
    # images
    "segformer": {"stages.*.blocks.*.attention.k_proj.bias": {8, 16}},
    "glpn": {"encoder.block.*.*.attention.self.key.bias": {8, 16}},
    "dinov2": {"encoder.layer.*.attention.k_proj.bias": 16},
    "dinov2_with_registers": {"encoder.layer.*.attention.k_proj.bias": 16},
    "poolformer": {"encoder.block.*.*.before_norm.bias": {8, 12}},
    "siglip_vision": {
        "encoder.layers.*.self_attn.k_proj.bias": 16,
        "head.attention.in_proj_bias": 16,
    },
    "siglip": {**TOWERS, "vision_model.head.attention.in_proj_bias": 16},
    "blip": {
        "text_model.encoder.layer.*.attention.self.key.bias": 16,
        "vision_model.encoder.layers.*.self_attn.qkv.bias": 16,
    },
    **dict.fromkeys(("flava_text", "flava_image", "yolos", "vilt"), OLD_VIT_KEY),
    "cvt": {
        "encoder.stages.*.layers.*.attention.attention.convolution_projection_key.convolution_projection"
        ".normalization.bias": 8,
        "encoder.stages.*.layers.*.attention.attention.projection_key.bias": {8, 16},
    },
    **dict.fromkeys(("vit_mae", "vit_msn", "vivit", "audio-spectrogram-transformer"), VIT_KEY),
    "timesformer": {
        "encoder.layer.*.attention.attention.qkv.bias": 16,
        "encoder.layer.*.temporal_attention.attention.qkv.bias": 16,
    },
    "hiera": {"encoder.stages.*.layers.*.attn.qkv.bias": {8, 16}},
    "imagegpt": FUSED,
    "swiftformer": {"encoder.network.*.blocks.*.attn.w_g": {8, 12}},
    "sam_vision": {"vision_encoder.layers.*.attn.qkv.bias": 16},
    "detr": {
        **BOTH_KEYS,
        "decoder.layers.*.self_attn.k_proj.weight": 256,
        "decoder.layers.*.self_attn.q_proj.weight": 256,
        "decoder.layers.*.self_attn.q_proj.bias": 16,
        "decoder.layers.*.self_attn.v_proj.weight": 256,
    },
    "owlvit": TOWERS,
    "dpt": {
        "dpt.encoder.layer.*.attention.attention.key.bias": 16,
        "dpt.layernorm.weight": 16,
        "dpt.layernorm.bias": 16,
    },
    # audio
    **dict.fromkeys("hubert wavlm unispeech unispeech-sat sew data2vec-audio".split(), SPEECH_KEY),
    "wav2vec2-conformer": {"encoder.layers.*.self_attn.linear_k.bias": 16},
    "wav2vec2-bert": {"encoder.layers.*.self_attn.linear_k.bias": 16},
    "clap_text": KEY,
    # with a head on top
    **dict.fromkeys(("bert masked lm", "bert classifier"), below("bert", KEY)),
    "gpt2 lm": below("transformer", FUSED),
    "bart classifier": below("model", BOTH_KEYS),
    "vit classifier": below("vit", VIT_KEY),
    "wav2vec2 ctc": below("wav2vec2", SPEECH_KEY),
    "distilbert qa": {"distilbert.transformer.layer.*.attention.k_lin.bias": 16},
    "electra discriminator": below("electra", KEY),
}

TRAINING: dict[str, Counts] = {
    "efficientnet": {"encoder.blocks.*.projection.project_bn.bias": 8},
    "mobilenet_v2": {
        "conv_stem.reduce_1x1.normalization.bias": 8,
        "layer.*.reduce_1x1.normalization.bias": {8, 16, 24, 40, 80},
    },
    "swiftformer": {
        **FROZEN["swiftformer"],
        "patch_embed.patch_embedding.*.bias": {4, 8},
        "encoder.network.*.blocks.*.local_representation.depth_wise_conv.bias": {8, 12},
        "encoder.network.*.proj.bias": {8, 12},
    },
    "upernet": {
        f"backbone.hidden_states_norms.stage{n}.bias": w for n, w in ((1, 8), (2, 8), (3, 12))
    },
}
"""Where it differs from eval mode."""

LOCKED = {
    # Only the product of the two gains acts: they start equal, so do their gradients, for ever.
    "jamba": {"module: layers.0.mamba.b_layernorm = layers.0.mamba.c_layernorm"},
    # The same behind the rotation: scores sum the products of the two gains, place by place.
    "hunyuan_v1_dense": {
        f"module: layers.{n}.self_attn.query_layernorm = layers.{n}.self_attn.key_layernorm"
        for n in range(2)
    },
    # Its last stage sees one position: a softmax over one score, whose biases start equal and never move.
    "levit": {"twin in encoder.stages.2.layers.0.module.attention_biases: {0, 1}"},
    # Gradients of the scores of one query sum to zero; for the class token they are rows 9 (to all patches)
    # and 11 (to itself) of the table, which start at zero: opposite for ever.
    "beit": {
        f"mirror in layers.{n}.relative_position_bias.relative_position_bias_table: {{+9, -11}}"
        for n in range(2)
    },
}

REFUSED: dict[str, tuple[type[Exception], tuple[str, ...]]] = {
    "phimoe": (UndecidedError, ("mask that depends on values", "finite value")),
    "vits": (ControlFlowError, ("depends on the value", "duration_predictor", "modeling_vits.py")),
    "rwkv": (UsageError, ("backward pass failed", "inplace")),  # only its train mode has gradients
    "reformer": (UsageError, ("backward pass failed", "model.train()")),
}

# Small images leave a single key in the last stages, and what leads to its score is frozen: not worth a list.
UNLISTED = ("levit", "pvt", "mobilevit", "encodec")

# They keep tensors of one call for the next: ordinary training fails in eval mode.
ONE_CALL = ("levit", "encodec")

HEADS = {
    **dict.fromkeys(
        ("bert", "roberta", "electra", "deberta-v2"), "encoder.layer.*.attention.self[heads]"
    ),
    "distilbert": "transformer.layer.*.attention[heads]",
    "gpt2": "h.*.attn[heads]",
    "gptj": "h.*.attn[heads]",
    "gpt_neox": "layers.*.attention[heads]",
    **dict.fromkeys(
        "llama mistral mixtral qwen2 qwen2_moe gemma phi".split(), "layers.*.self_attn[heads]"
    ),
    "falcon": "h.*.self_attention[heads]",
    "bloom": "h.*.self_attention[heads]",
    "opt": "decoder.layers.*.self_attn[heads]",
    "vit": "layers.*.attention[heads]",
    "deit": "layers.*.attention[heads]",
    "wav2vec2": "encoder.layers.*.attention[heads]",
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """One thread, and none of the library's remarks on how its models are built."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(threads)


def starred(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.|\[|$)", "*", name)


def counts(audit: Audit) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for entry in audit.frozen:
        found.setdefault(starred(entry.parameter), set()).add(entry.count)
    return found


def expected(name: str, mode: str) -> dict[str, set[int]]:
    rows = TRAINING.get(name) if mode == "train" else None
    rows = FROZEN.get(name, {}) if rows is None else rows
    return {key: count if isinstance(count, set) else {count} for key, count in rows.items()}


@functools.cache
def audited(name: str, mode: str) -> tuple[Audit, nn.Module]:
    model = MODELS[name].build().train(mode == "train")
    return lockstep.audit(model, MODELS[name].inputs()), model


def rows(names: Any, modes: tuple[str, ...] = ("eval",)) -> list:
    """The issue's list in eval mode at once; the long tail, and train mode, are slow."""
    quick = {*LISTED} - {"bart", "swin", "clip", "deberta-v2"}
    return [
        pytest.param(
            name,
            mode,
            id=f"{name} {mode}",
            marks=[]
            if name in quick and (mode == "eval" or name in ("resnet", "mixtral"))
            else [pytest.mark.slow],
        )
        for name in names
        for mode in modes
    ]


ANSWERED = [name for name in MODELS if name not in REFUSED]
MODES = ("eval", "train")


@pytest.mark.parametrize("name, mode", rows(ANSWERED, MODES))
def test_verdict(name: str, mode: str) -> None:
    if name == "ibert" and mode == "train":
        with pytest.raises(ControlFlowError, match="embeddings_act1"):
            audited(name, mode)
        return
    audit, model = audited(name, mode)
    assert {str(group) for group in audit.locked} == LOCKED.get(name, set())
    assert {f.code for f in audit.findings} <= {
        "LS001",
        "LS002",
        "LS003",
        "LS004",
        "LS006",
        "LS007",
        "LS009",
    }
    if name not in UNLISTED:
        assert counts(audit) == expected(name, mode)
    whole = [entry for entry in audit.frozen if entry.parameter.endswith("bias") and name in LISTED]
    alike = {starred(n) for n in (entry.parameter for entry in whole)}
    assert {entry.parameter for entry in whole} == {
        n for n, _ in model.named_parameters() if starred(n) in alike
    }


@pytest.mark.parametrize("name", ["rwkv", "reformer"])
def test_training_only(name: str) -> None:
    audit, _ = audited(name, "train")
    assert audit.ok
    assert {f.code for f in audit.findings} == {"LS009"}


# Gates behind a dead ReLU, signals that halve in every layer: gradients below what counts as rounding.
DYING = frozenset("dpt efficientnet mobilenet_v1 mobilenet_v2 mobilevit regnet upernet".split())


@pytest.mark.parametrize("name, mode", rows(n for n in ANSWERED if n not in ONE_CALL))
def test_float64(name: str, mode: str) -> None:
    """Frozen entries have no gradient but rounding; parameters said to move do, somewhere."""
    audit, model = audited(name, mode)
    measured, _ = gradients(model, MODELS[name].inputs())
    unread = {f.where for f in audit.findings if f.code == "LS009"}
    for entry in audit.frozen:
        size = measured[entry.parameter]
        assert max(float(size[index]) for index in entry.indices) <= STILL, entry.parameter
        if entry.parameter not in unread:
            assert int((size <= STILL).sum()) == entry.count, entry.parameter
    still = {n for n, size in measured.items() if not bool((size > STILL).any())}
    explained = unread | {entry.parameter for entry in audit.frozen if entry.count == entry.total}
    assert name in DYING or still <= explained


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_listed(name: str) -> None:
    audit, _ = audited(name, "eval")
    heads = {starred(n): layer.width for n, layer in audit.layers.items() if n.endswith("[heads]")}
    assert heads == {HEADS[name]: 4}
    found = [layer for n, layer in audit.layers.items() if n.endswith("[heads]")]
    assert len(found) == 2
    assert all(layer.effective_width == 4 for layer in found)


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    error, phrases = REFUSED[name]
    with pytest.raises(error, match=re.escape(phrases[0])) as refusal:
        audited(name, "eval")
    for phrase in phrases:
        assert phrase in str(refusal.value)


# -- planted heads and experts -------------------------------------------------------------------------------

SELF = "encoder.layer.0.attention.self"
PLANTED: dict[str, tuple[str, str, tuple[tuple[str, int, int], ...], tuple[str, int]]] = {
    # name: (model, heads, ((parameter of the head, axis, from), ...), (parameter that takes it in, axis))
    "bert": (
        "bert",
        f"{SELF}[heads]",
        tuple(
            (f"{SELF}.{x}.{w}", 0, 0) for x in ("query", "key", "value") for w in ("weight", "bias")
        ),
        ("encoder.layer.0.attention.output.dense.weight", 1),
    ),
    "two queries of one key": (
        "llama",
        "layers.0.self_attn[heads]",
        (("layers.0.self_attn.q_proj.weight", 0, 0),),
        ("layers.0.self_attn.o_proj.weight", 1),
    ),
    "fused, transposed": (
        "gpt2",
        "h.0.attn[heads]",
        tuple(
            ("h.0.attn.c_attn." + w, axis, 16 * n)
            for w, axis in (("weight", 1), ("bias", 0))
            for n in range(3)
        ),
        ("h.0.attn.c_proj.weight", 0),
    ),
    "three axes": (
        "xglm",
        "layers.1.self_attn[heads]",
        tuple(
            (f"layers.1.self_attn.{x}_proj.{w}", 0, 0) for x in "qkv" for w in ("weight", "bias")
        ),
        ("layers.1.self_attn.out_proj.weight", 1),
    ),
    "convolutions": (
        "squeezebert",
        "encoder.layers.0.attention[heads]",
        tuple(
            (f"encoder.layers.0.attention.{x}.{w}", 0, 0)
            for x in ("query", "key", "value")
            for w in ("weight", "bias")
        ),
        ("encoder.layers.0.post_attention.conv1d.weight", 1),
    ),
    "a softmax with sinks": (
        "gpt_oss",
        "layers.0.self_attn[heads]",
        tuple((f"layers.0.self_attn.q_proj.{w}", 0, 0) for w in ("weight", "bias")),
        ("layers.0.self_attn.o_proj.weight", 1),
    ),
}


def copy_head(model: nn.Module, parameter: str, axis: int, start: int = 0) -> None:
    with torch.no_grad():
        p = model.get_parameter(parameter)
        p.narrow(axis, start + 4, 4).copy_(p.narrow(axis, start, 4).clone())


def planted(name: str, taken_in: bool) -> tuple[nn.Module, str]:
    model_name, heads, into, out = PLANTED[name]
    ungrouped = dict.fromkeys(("q_groups", "k_groups", "v_groups"), 1)
    model = MODELS[model_name].build(**(ungrouped if model_name == "squeezebert" else {}))
    for parameter, axis, start in into:
        copy_head(model, parameter, axis, start)
    if model_name == "gpt_oss":
        with torch.no_grad():
            sinks = model.get_parameter("layers.0.self_attn.sinks")
            sinks[1] = sinks[0]
    if taken_in:
        copy_head(model, *out)
    return model, heads


@pytest.mark.parametrize("name", PLANTED)
def test_twin_heads_are_locked(name: str) -> None:
    model, heads = planted(name, taken_in=True)
    inputs = tokens()
    audit = lockstep.audit(model, inputs)
    assert audit.layers[heads].classes == ((0, 1), (2,), (3,))
    assert ("LS003", heads) in {(f.code, f.where) for f in audit.findings}
    assert "LS003" not in {f.code for f in audit.findings if f.where != heads}
    _, trained = gradients(model, inputs)
    _, _, ((parameter, axis, _), *_), _ = PLANTED[name]
    assert gap(trained, parameter, axis) < 1e-12


@pytest.mark.parametrize("name", PLANTED)
def test_copied_heads_that_are_taken_in_differently_separate(name: str) -> None:
    model, heads = planted(name, taken_in=False)
    inputs = tokens()
    audit = lockstep.audit(model, inputs)
    assert audit.layers[heads].effective_width == 4
    codes = {(f.code, f.where) for f in audit.findings}
    assert ("LS006", heads) in codes
    assert not {"LS001", "LS003"} & {code for code, _ in codes}
    _, trained = gradients(model, inputs)
    _, _, ((parameter, axis, _), *_), _ = PLANTED[name]
    assert gap(trained, parameter, axis) > 1e-9


def gap(model: nn.Module, parameter: str, axis: int) -> float:
    p = model.get_parameter(parameter).detach()
    return float((p.narrow(axis, 0, 4) - p.narrow(axis, 4, 4)).abs().max())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["bert", "two queries of one key"])
def test_heads_by_any_implementation(name: str, attention: str) -> None:
    model, heads = planted(name, taken_in=True)
    model.set_attn_implementation(attention)
    assert lockstep.audit(model, padded()).layers[heads].classes == ((0, 1), (2,), (3,))


def test_relative_bias_of_a_head_tells_it_apart() -> None:
    model = MODELS["t5"].build()
    for n in range(2):
        at = f"encoder.block.{n}.layer.0.SelfAttention"
        for x in "qkv":
            copy_head(model, f"{at}.{x}.weight", 0)
        copy_head(model, f"{at}.o.weight", 1)
    heads = "encoder.block.{}.layer.0.SelfAttention[heads]"
    audit = lockstep.audit(model, MODELS["t5"].inputs())
    assert audit.layers[heads.format(0)].effective_width == 4
    with torch.no_grad():  # the bias of the first layer serves all
        bias = model.get_parameter(
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        )
        bias[:, 1] = bias[:, 0]
    audit = lockstep.audit(model, MODELS["t5"].inputs())
    assert [audit.layers[heads.format(n)].effective_width for n in range(2)] == [3, 3]


@pytest.mark.parametrize("implementation", ["grouped_mm", "eager", "batched_mm"])
def test_equal_experts_behind_a_zero_router(implementation: str) -> None:
    """All scores tie, so two experts get all tokens; they stay equal, and the router cannot move.

    The audit sends ties to the lower index; PyTorch may choose another pair.
    """
    model = MODELS["mixtral"].build()
    model.set_experts_implementation(implementation)
    block = model.layers[0].mlp
    with torch.no_grad():
        for parameter in (block.experts.gate_up_proj, block.experts.down_proj):
            parameter.copy_(parameter[:1].expand_as(parameter).clone())
        block.gate.weight.zero_()
    audit = lockstep.audit(model, tokens())
    at = "layers.0.mlp"
    for name in (f"{at}.experts.gate_up_proj", f"{at}.experts.down_proj"):
        assert audit.layers[name].classes == ((0, 1), (2,), (3,))
        assert {"LS001", "LS009"} <= {f.code for f in audit.findings if f.where == name}
    assert {f.parameter: f.count for f in audit.frozen} == {f"{at}.gate.weight": 64}
    measured, trained = gradients(model, tokens())
    assert float(measured[f"{at}.gate.weight"].max()) <= STILL
    experts = trained.get_parameter(f"{at}.experts.down_proj")
    gaps = (experts[:, None] - experts[None]).detach().abs().amax((2, 3)).flatten()
    assert (
        int((gaps < 1e-12).sum()) == 8
    )  # two pairs: one that all tokens went to, and one that none did


def test_equal_experts_behind_a_router_separate() -> None:
    model = MODELS["mixtral"].build()
    experts = model.layers[0].mlp.experts
    with torch.no_grad():
        for parameter in (experts.gate_up_proj, experts.down_proj):
            parameter[1] = parameter[0]
    audit = lockstep.audit(model, tokens())
    assert not audit.locked
    assert "LS006" in {f.code for f in audit.findings}


# -- what must not count -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, settings",
    [
        ("gpt2", {"use_cache": True}),
        ("gpt2", {"use_cache": False}),
        ("gpt2", {"return_dict": False}),
        ("bart", {"use_cache": True}),
    ],
    ids=str,
)
def test_caches_are_no_outputs(name: str, settings: dict[str, bool]) -> None:
    """They hold the keys, and would give their biases a gradient."""
    model = MODELS[name].build(**settings)
    assert counts(lockstep.audit(model, MODELS[name].inputs())) == expected(name, "eval")


def test_layer_drop_is_followed() -> None:
    """A number drawn for a whole layer is branched on; heads and keys of both layers are judged all the same."""
    model = MODELS["wav2vec2"].build(layerdrop=0.5).train()
    audit = lockstep.audit(model, MODELS["wav2vec2"].inputs())
    assert counts(audit) == expected("wav2vec2", "train")
    assert len([n for n in audit.layers if n.endswith("[heads]")]) == 2
    assert not audit.locked


@pytest.mark.parametrize("name", ["dinov3_vit", "levit"])
def test_models_with_caches_of_their_own_work_on(name: str) -> None:
    """Tables of positions in an ``lru_cache``, attention biases in a dictionary."""
    model, inputs = MODELS[name].build(), MODELS[name].inputs()
    with torch.no_grad():
        before = model(**inputs).last_hidden_state
        for module in model.modules():
            getattr(module, "attention_bias_cache", {}).clear()
        lockstep.audit(model, inputs)
        assert torch.equal(model(**inputs).last_hidden_state, before)


def test_every_model_of_the_issue_is_here() -> None:
    asked = (
        "bert roberta distilbert albert electra deberta-v2 gpt2 gpt_neox gptj llama mistral mixtral qwen2 qwen2_moe "
        "gemma phi falcon opt bloom t5 bart mamba vit deit convnext resnet swin whisper clip wav2vec2"
    )
    assert set(asked.split()) == set(FAMILIES["listed"])

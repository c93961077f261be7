"""Tiny Hugging Face models, built from configs alone: name -> (class, settings, example inputs).

Hidden size 16, two layers, four heads of width 4 (two groups where keys are shared), a vocabulary of 50, a batch of
4. ``build`` gives a model with random weights; nothing is downloaded. Inputs are drawn away from the special tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

BATCH, TOKENS, WIDTH, HEADS, LAYERS, ROWS = 4, 8, 16, 4, 2, 50

Inputs = dict[str, Tensor]


def tokens(name: str = "input_ids", length: int = TOKENS) -> Inputs:
    generator = torch.Generator().manual_seed(length)
    return {name: torch.randint(5, ROWS, (BATCH, length), generator=generator)}


def both(length: int = TOKENS) -> Inputs:
    return {**tokens(), **tokens("decoder_input_ids", length - 2)}


def padded() -> Inputs:
    mask = torch.ones(BATCH, TOKENS, dtype=torch.int64)
    mask[1, 5:] = mask[2, 6:] = 0
    return {**tokens(), "attention_mask": mask}


def pixels(side: int = 8, channels: int = 3) -> Inputs:
    return {"pixel_values": torch.zeros(BATCH, channels, side, side)}


def wave(length: int = 120) -> Inputs:
    return {"input_values": torch.zeros(BATCH, length)}


def boxes() -> Inputs:
    corners = torch.randint(0, 15, (BATCH, TOKENS, 2), generator=torch.Generator().manual_seed(1))
    return {**tokens(), "bbox": torch.cat([corners, corners + 7], -1)}


@dataclass(frozen=True)
class Tiny:
    """``kind`` is the ``model_type`` (or the config class), ``cls`` the model class (AutoModel without)."""

    kind: str
    settings: dict[str, Any]
    inputs: Callable[[], Inputs] = tokens
    cls: str = "AutoModel"
    towers: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    def config(self) -> Any:

        inner = {
            name: _config(kind, settings).to_dict()
            for name, (kind, settings) in self.towers.items()
        }
        return _config(self.kind, {**self.settings, **inner})

    def build(self, **more: Any) -> nn.Module:
        import transformers

        torch.manual_seed(0)
        cls = getattr(transformers, self.cls)
        config = self.config()
        for name, value in more.items():
            setattr(config, name, value)
        made = cls.from_config(config) if self.cls.startswith("Auto") else cls(config)
        return made.eval()


def _config(kind: str, settings: dict[str, Any]) -> Any:
    import transformers

    if hasattr(transformers, kind):
        return getattr(transformers, kind)(**settings)
    return transformers.CONFIG_MAPPING[kind](**settings)


SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TEXT = {
    **SPECIAL,
    "vocab_size": ROWS,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
GROUPED = {**TEXT, "num_key_value_heads": 2, "head_dim": 4}
GPT = {
    **SPECIAL,
    "vocab_size": ROWS,
    "n_embd": WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_positions": 32,
}
MOE = {**GROUPED, "moe_intermediate_size": 12, "num_experts_per_tok": 2}
VISION = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 24,
    "image_size": 8,
    "patch_size": 4,
}
BART = {
    **SPECIAL,
    "vocab_size": ROWS,
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 32,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
T5 = {
    "vocab_size": ROWS,
    "d_model": WIDTH,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": LAYERS,
    "num_heads": HEADS,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
}
SPEECH = {
    "vocab_size": 12,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_stride": (3, 2),
    "conv_kernel": (5, 3),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
    "mask_time_prob": 0.0,
}
MAMBA = {
    "vocab_size": ROWS,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "state_size": 4,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
STAGES = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [2, 1]}
MLA = {
    **MOE,
    "num_key_value_heads": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_experts_per_tok": 2,
}
CLIP_TOWERS = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 24,
}


def without(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k not in names}


# -- the list of the issue -----------------------------------------------------------------------------

LISTED: dict[str, Tiny] = {
    "bert": Tiny("bert", TEXT),
    "roberta": Tiny("roberta", {**TEXT, "max_position_embeddings": 40}),
    "distilbert": Tiny(
        "distilbert",
        {"vocab_size": ROWS, "dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": 24, "max_position_embeddings": 32},
    ),
    "albert": Tiny("albert", {**TEXT, "embedding_size": 8, "num_hidden_groups": 1}),
    "electra": Tiny("electra", {**TEXT, "embedding_size": 8}),
    "deberta-v2": Tiny(
        "deberta-v2",
        {**TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8, "pooler_hidden_size": WIDTH},
    ),
    "gpt2": Tiny("gpt2", GPT),
    "gpt_neox": Tiny("gpt_neox", {**TEXT, "rotary_pct": 0.5, "hidden_size": 32}),
    "gptj": Tiny("gptj", {**GPT, "rotary_dim": 2}),
    "llama": Tiny("llama", GROUPED),
    "mistral": Tiny("mistral", {**GROUPED, "sliding_window": 4}),
    "mixtral": Tiny("mixtral", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}),
    "qwen2": Tiny("qwen2", GROUPED),
    "qwen2_moe": Tiny(
        "qwen2_moe",
        {**GROUPED, "moe_intermediate_size": 12, "shared_expert_intermediate_size": 12, "num_experts": 4, "num_experts_per_tok": 2},
    ),
    "gemma": Tiny("gemma", GROUPED),
    "phi": Tiny("phi", {**TEXT, "partial_rotary_factor": 0.5}),
    "falcon": Tiny("falcon", {**TEXT, "ffn_hidden_size": 24}),
    "opt": Tiny(
        "opt",
        {**TEXT, "ffn_dim": 24, "word_embed_proj_dim": WIDTH, "max_position_embeddings": 32},
    ),
    "bloom": Tiny("bloom", {**SPECIAL, "vocab_size": ROWS, "hidden_size": WIDTH, "n_layer": LAYERS, "n_head": HEADS}),
    "t5": Tiny("t5", T5, both),
    "bart": Tiny("bart", BART, both),
    "mamba": Tiny("mamba", MAMBA),
    "vit": Tiny("vit", VISION, pixels),
    "deit": Tiny("deit", VISION, pixels),
    "convnext": Tiny(
        "convnext", {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2, "patch_size": 2, "image_size": 8}, pixels
    ),
    "resnet": Tiny("resnet", {**STAGES, "layer_type": "basic"}, lambda: pixels(16)),
    "swin": Tiny(
        "swin",
        {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4},
        lambda: pixels(16),
    ),
    "whisper": Tiny(
        "whisper",
        {**BART, "num_mel_bins": 8, "max_source_positions": 8, "max_target_positions": 16, "suppress_tokens": None,
         "begin_suppress_tokens": None},
        lambda: {"input_features": torch.zeros(BATCH, 8, 16), **tokens("decoder_input_ids", 6)},
    ),
    "clip": Tiny(
        "clip", {"projection_dim": 8}, lambda: {**tokens(), **pixels()},
        towers={
            "text_config": ("CLIPTextConfig", {**TEXT, "projection_dim": 8}),
            "vision_config": ("CLIPVisionConfig", {**VISION, "projection_dim": 8}),
        },
    ),
    "wav2vec2": Tiny("wav2vec2", SPEECH, wave),
}  # fmt: skip

# -- and others ----------------------------------------------------------------------------------------

DECODERS: dict[str, Tiny] = {
    "gemma2": Tiny("gemma2", {**GROUPED, "sliding_window": 4, "query_pre_attn_scalar": 4}),
    "gemma3_text": Tiny("gemma3_text", {**GROUPED, "sliding_window": 4, "query_pre_attn_scalar": 4}),
    "qwen3": Tiny("qwen3", GROUPED),
    "qwen3_moe": Tiny("qwen3_moe", {**MOE, "num_experts": 4}),
    "deepseek_v2": Tiny("deepseek_v2", {**MLA, "topk_method": "greedy", "head_dim": 4}),
    "deepseek_v3": Tiny("deepseek_v3", {**MLA, "head_dim": 4}),
    "olmo": Tiny("olmo", without(GROUPED, "head_dim")),
    "olmo2": Tiny("olmo2", without(GROUPED, "head_dim")),
    "olmoe": Tiny("olmoe", {**without(GROUPED, "head_dim"), "num_experts": 4, "num_experts_per_tok": 2}),
    "stablelm": Tiny("stablelm", {**without(GROUPED, "head_dim"), "partial_rotary_factor": 0.5, "use_qkv_bias": True}),
    "starcoder2": Tiny("starcoder2", {**without(GROUPED, "head_dim"), "use_bias": True}),
    "cohere": Tiny("cohere", without(GROUPED, "head_dim")),
    "granite": Tiny("granite", without(GROUPED, "head_dim")),
    "granitemoe": Tiny("granitemoe", {**without(GROUPED, "head_dim"), "num_local_experts": 4, "num_experts_per_tok": 2}),
    "phi3": Tiny("phi3", without(GROUPED, "head_dim")),
    "phimoe": Tiny("phimoe", {**without(GROUPED, "head_dim"), "num_local_experts": 4, "num_experts_per_tok": 2}),
    "mpt": Tiny("mpt", {"vocab_size": ROWS, "d_model": WIDTH, "n_heads": HEADS, "n_layers": LAYERS, "max_seq_len": 32, "expansion_ratio": 2}),
    "gpt_neo": Tiny(
        "gpt_neo",
        {**SPECIAL, "vocab_size": ROWS, "hidden_size": WIDTH, "num_layers": 2, "num_heads": HEADS, "attention_types": [[["global", "local"], 1]],
         "window_size": 4, "max_position_embeddings": 32},
    ),
    "gpt_bigcode": Tiny("gpt_bigcode", GPT),
    "gpt_oss": Tiny("gpt_oss", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4}),
    "codegen": Tiny("codegen", {**GPT, "rotary_dim": 2, "n_ctx": 32}),
    "openai-gpt": Tiny("openai-gpt", {"vocab_size": ROWS, "n_embd": WIDTH, "n_layer": 2, "n_head": HEADS, "n_positions": 32}),
    "nemotron": Tiny("nemotron", GROUPED),
    "glm": Tiny("glm", {**GROUPED, "attention_bias": True, "partial_rotary_factor": 0.5, "head_dim": 4}),
    "persimmon": Tiny("persimmon", TEXT),
    "biogpt": Tiny("biogpt", TEXT),
    "xglm": Tiny("xglm", {**SPECIAL, "vocab_size": ROWS, "d_model": WIDTH, "num_layers": 2, "attention_heads": HEADS, "ffn_dim": 24, "max_position_embeddings": 32}),
    "ctrl": Tiny("ctrl", {"vocab_size": ROWS, "n_embd": WIDTH, "n_layer": 2, "n_head": HEADS, "n_positions": 32, "dff": 24}),
    "jetmoe": Tiny("jetmoe", {**SPECIAL, "vocab_size": ROWS, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_key_value_heads": 2,
                              "kv_channels": 4, "intermediate_size": 12, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "smollm3": Tiny("smollm3", without(GROUPED, "head_dim")),
    "llama4_text": Tiny("llama4_text", {**GROUPED, "intermediate_size_mlp": 24, "num_local_experts": 4, "interleave_moe_layer_step": 1}),
    "ernie4_5": Tiny("ernie4_5", GROUPED),
    "diffllama": Tiny("diffllama", without(GROUPED, "head_dim")),
    "bitnet": Tiny("bitnet", GROUPED),
    "helium": Tiny("helium", GROUPED),
    "minimax": Tiny("minimax", {**GROUPED, "num_local_experts": 4, "block_size": 4}),
    "modernbert-decoder": Tiny("modernbert-decoder", {**TEXT, "local_attention": 4}),
    "doge": Tiny("doge", GROUPED),
    "exaone4": Tiny("exaone4", {**GROUPED, "sliding_window": 4}),
    "hunyuan_v1_dense": Tiny("hunyuan_v1_dense", GROUPED),
    "apertus": Tiny("apertus", GROUPED),
    "arcee": Tiny("arcee", GROUPED),
    "seed_oss": Tiny("seed_oss", GROUPED),
    "lfm2": Tiny("lfm2", {**without(GROUPED, "head_dim"), "layer_types": ["conv", "full_attention"], "block_ff_dim": 24}),
    "flex_olmo": Tiny("flex_olmo", {**without(GROUPED, "head_dim"), "num_experts": 4, "num_experts_per_tok": 2}),
    "glm4_moe": Tiny("glm4_moe", {**MOE, "n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 1}),
    "qwen3_next": Tiny(
        "qwen3_next",
        {**MOE, "num_experts": 4, "shared_expert_intermediate_size": 12, "linear_key_head_dim": 4, "linear_value_head_dim": 4,
         "linear_num_key_heads": 2, "linear_num_value_heads": 4, "layer_types": ["linear_attention", "full_attention"]},
    ),
}  # fmt: skip

STATE_SPACE: dict[str, Tiny] = {
    "mamba2": Tiny("mamba2", {**MAMBA, "num_heads": 8, "head_dim": 4, "n_groups": 1, "chunk_size": 4, "expand": 2}),
    "falcon_mamba": Tiny("falcon_mamba", MAMBA),
    "jamba": Tiny(
        "jamba",
        {**without(GROUPED, "head_dim"), "num_experts": 2, "num_experts_per_tok": 1, "attn_layer_period": 2, "attn_layer_offset": 1,
         "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 2, "use_mamba_kernels": False},
    ),
    "bamba": Tiny("bamba", {**without(GROUPED, "head_dim"), "mamba_n_heads": 8, "mamba_d_head": 4, "mamba_d_state": 4, "mamba_chunk_size": 4, "attn_layer_indices": [1]}),
    "recurrent_gemma": Tiny("recurrent_gemma", {**TEXT, "head_dim": 4, "num_key_value_heads": 2, "lru_width": 16, "attention_window_size": 4,
                                                 "block_types": ["recurrent", "attention"]}),
    "rwkv": Tiny("rwkv", {"vocab_size": ROWS, "hidden_size": WIDTH, "num_hidden_layers": 2, "attention_hidden_size": 16, "intermediate_size": 24, "context_length": 16}),
    "falcon_h1": Tiny("falcon_h1", {**GROUPED, "mamba_d_ssm": 16, "mamba_n_heads": 4, "mamba_d_head": 4, "mamba_d_state": 4, "mamba_n_groups": 1, "mamba_chunk_size": 4}),
    "granitemoehybrid": Tiny("granitemoehybrid", {**without(GROUPED, "head_dim"), "layer_types": ["mamba", "attention"], "num_local_experts": 4,
                              "num_experts_per_tok": 2, "shared_intermediate_size": 12, "mamba_n_heads": 8, "mamba_d_head": 4, "mamba_d_state": 4, "mamba_n_groups": 1, "mamba_chunk_size": 4}),
}  # fmt: skip

ENCODERS: dict[str, Tiny] = {
    "xlnet": Tiny("xlnet", {"vocab_size": ROWS, "d_model": WIDTH, "n_layer": 2, "n_head": HEADS, "d_inner": 24}),
    "longformer": Tiny("longformer", {**TEXT, "attention_window": 4, "max_position_embeddings": 40}),
    "big_bird": Tiny("big_bird", {**TEXT, "attention_type": "original_full"}),
    "funnel": Tiny("funnel", {"vocab_size": ROWS, "d_model": WIDTH, "n_head": HEADS, "d_head": 4, "d_inner": 24, "block_sizes": [1, 1], "num_decoder_layers": 1}, cls="FunnelModel"),
    "squeezebert": Tiny("squeezebert", {**TEXT, "embedding_size": WIDTH}),
    "mobilebert": Tiny("mobilebert", {**TEXT, "embedding_size": WIDTH, "intra_bottleneck_size": 16, "true_hidden_size": 16}),
    "modernbert": Tiny("modernbert", {**TEXT, "local_attention": 4}),
    "roformer": Tiny("roformer", {**TEXT, "embedding_size": WIDTH}),
    "nystromformer": Tiny("nystromformer", {**TEXT, "num_landmarks": 4, "segment_means_seq_len": 8}),
    "fnet": Tiny("fnet", TEXT),
    "layoutlm": Tiny("layoutlm", {**TEXT, "max_2d_position_embeddings": 32}, boxes),
    "mpnet": Tiny("mpnet", {**TEXT, "max_position_embeddings": 40}),
    "deberta": Tiny("deberta", {**TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "pooler_hidden_size": WIDTH}),
    "convbert": Tiny("convbert", {**TEXT, "embedding_size": WIDTH, "conv_kernel_size": 3}),
    "canine": Tiny("canine", {**TEXT, "downsampling_rate": 2, "num_hash_buckets": 16, "num_hash_functions": 2, "local_transformer_stride": 4}),
    "rembert": Tiny("rembert", {**TEXT, "input_embedding_size": 8, "output_embedding_size": 8}),
    "esm": Tiny("esm", {**TEXT, "position_embedding_type": "rotary"}),
    "xlm": Tiny("xlm", {"vocab_size": ROWS, "n_words": ROWS, "emb_dim": WIDTH, "n_layers": 2, "n_heads": 4, "pad_index": 0, "max_position_embeddings": 32}),
    "flaubert": Tiny("flaubert", {"vocab_size": ROWS, "n_words": ROWS, "emb_dim": WIDTH, "n_layers": 2, "n_heads": 4, "pad_index": 0, "max_position_embeddings": 32}),
    "splinter": Tiny("splinter", TEXT),
    "yoso": Tiny("yoso", {**TEXT, "use_expectation": True, "max_position_embeddings": 32}),
    "ibert": Tiny("ibert", {**TEXT, "max_position_embeddings": 40}),
    "nomic_bert": Tiny("nomic_bert", TEXT),
    "lilt": Tiny("lilt", {**TEXT, "hidden_size": 24, "channel_shrink_ratio": 2, "max_2d_position_embeddings": 32, "max_position_embeddings": 40},
                 boxes),
    "megatron-bert": Tiny("megatron-bert", TEXT),
    "roberta-prelayernorm": Tiny("roberta-prelayernorm", {**TEXT, "max_position_embeddings": 40}),
    "data2vec-text": Tiny("data2vec-text", {**TEXT, "max_position_embeddings": 40}),
    "eurobert": Tiny("eurobert", {**without(GROUPED, "head_dim")}),
    "lxmert": Tiny("lxmert", {**without(TEXT, "num_hidden_layers"), "l_layers": 1, "x_layers": 1, "r_layers": 1, "visual_feat_dim": 8},
                   lambda: {**tokens(), "visual_feats": torch.zeros(BATCH, 5, 8), "visual_pos": torch.zeros(BATCH, 5, 4)}),
    "visual_bert": Tiny("visual_bert", {**TEXT, "visual_embedding_dim": 8},
                        lambda: {**tokens(), "visual_embeds": torch.zeros(BATCH, 5, 8), "attention_mask": torch.ones(BATCH, TOKENS, dtype=torch.int64),
                                 "visual_token_type_ids": torch.ones(BATCH, 5, dtype=torch.int64), "visual_attention_mask": torch.ones(BATCH, 5, dtype=torch.int64)}),
    "luke": Tiny("luke", {**TEXT, "entity_vocab_size": 10, "entity_emb_size": 8, "max_position_embeddings": 40}),
    "tapas": Tiny("tapas", {**TEXT, "type_vocab_sizes": [3, 8, 8, 2, 8, 8, 4]}),
    "reformer": Tiny("reformer", {**SPECIAL, "vocab_size": ROWS, "hidden_size": WIDTH, "num_attention_heads": 2, "attention_head_size": 8, "attn_layers": ["local", "lsh"],
                                  "axial_pos_embds_dim": [8, 8], "axial_pos_shape": [4, 8], "feed_forward_size": 24, "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4,
                                  "num_buckets": 4, "num_hashes": 1, "max_position_embeddings": 32, "is_decoder": False}, lambda: tokens(length=32)),
    "perceiver": Tiny("perceiver", {"num_latents": 5, "d_latents": 16, "d_model": 12, "num_blocks": 1, "num_self_attends_per_block": 2, "num_self_attention_heads": 2,
                                    "num_cross_attention_heads": 2, "qk_channels": None}, lambda: {"inputs": torch.zeros(BATCH, 6, 12)}),
}  # fmt: skip

SEQUENCE: dict[str, Tiny] = {
    "mbart": Tiny("mbart", BART, both),
    "pegasus": Tiny("pegasus", BART, both),
    "marian": Tiny("marian", BART, both),
    "blenderbot": Tiny("blenderbot", BART, both),
    "m2m_100": Tiny("m2m_100", BART, both),
    "led": Tiny("led", {**BART, "attention_window": 4, "max_encoder_position_embeddings": 32, "max_decoder_position_embeddings": 32}, both),
    "mt5": Tiny("mt5", {**T5, "feed_forward_proj": "gated-gelu"}, both),
    "longt5": Tiny("longt5", {**T5, "local_radius": 2}, both),
    "umt5": Tiny("umt5", T5, both),
    "switch_transformers": Tiny(
        "switch_transformers",
        {**T5, "num_experts": 2, "num_sparse_encoder_layers": 1, "num_decoder_layers": 2, "num_sparse_decoder_layers": 1, "expert_capacity": 8, "router_jitter_noise": 0.0}, both),
    "prophetnet": Tiny(
        "prophetnet",
        {**SPECIAL, "vocab_size": ROWS, "hidden_size": WIDTH, "num_encoder_layers": 1, "num_decoder_layers": 2, "num_encoder_attention_heads": 4,
         "num_decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 32, "num_buckets": 8, "relative_max_distance": 16, "ngram": 2, "use_cache": False}, both),
    "fsmt": Tiny("fsmt", {**without(BART, "vocab_size"), "langs": ["en", "de"], "src_vocab_size": ROWS, "tgt_vocab_size": ROWS}, both),
    "nllb-moe": Tiny("nllb-moe", {**BART, "num_experts": 4, "encoder_sparse_step": 2, "decoder_sparse_step": 2, "expert_capacity": 32, "router_jitter_noise": 0.0}, both),
    "time_series_transformer": Tiny(
        "time_series_transformer",
        {"prediction_length": 3, "context_length": 5, "lags_sequence": [1, 2], "num_time_features": 2, "d_model": WIDTH, "encoder_layers": 2, "decoder_layers": 2,
         "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24},
        lambda: {"past_values": torch.zeros(BATCH, 7), "past_time_features": torch.zeros(BATCH, 7, 2), "past_observed_mask": torch.ones(BATCH, 7),
                 "future_values": torch.zeros(BATCH, 3), "future_time_features": torch.zeros(BATCH, 3, 2)},
    ),
    "decision_transformer": Tiny(
        "decision_transformer",
        {"state_dim": 5, "act_dim": 3, "hidden_size": WIDTH, "n_layer": 2, "n_head": 4, "n_positions": 64, "max_ep_len": 16},
        lambda: {"states": torch.zeros(BATCH, 4, 5), "actions": torch.zeros(BATCH, 4, 3), "returns_to_go": torch.zeros(BATCH, 4, 1),
                 "timesteps": torch.arange(4).expand(BATCH, 4).clone(), "attention_mask": torch.ones(BATCH, 4, dtype=torch.int64)},
    ),
    "patchtst": Tiny("patchtst", {"num_input_channels": 2, "context_length": 16, "patch_length": 4, "patch_stride": 4, "d_model": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 24},
                     lambda: {"past_values": torch.zeros(BATCH, 16, 2)}),
    "patchtsmixer": Tiny("patchtsmixer", {"num_input_channels": 2, "context_length": 16, "patch_length": 4, "patch_stride": 4, "d_model": 8, "num_layers": 2},
                         lambda: {"past_values": torch.zeros(BATCH, 16, 2)}),
    "vits": Tiny("vits", {"vocab_size": ROWS, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 24, "flow_size": 16, "spectrogram_bins": 9,
                          "prior_encoder_num_flows": 2, "prior_encoder_num_wavenet_layers": 2, "upsample_initial_channel": 16, "upsample_rates": [2, 2], "upsample_kernel_sizes": [4, 4],
                          "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]}),
    "speecht5": Tiny("SpeechT5Config", {**SPECIAL, "vocab_size": ROWS, "hidden_size": WIDTH, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_layers": 1, "decoder_ffn_dim": 24, "decoder_attention_heads": 4,
                              "conv_dim": (8, 8), "conv_stride": (3, 2), "conv_kernel": (5, 3), "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 2, "mask_time_prob": 0.0, "max_text_positions": 32},
                     lambda: {**wave(), **tokens("decoder_input_ids", 6)}, cls="SpeechT5ForSpeechToText"),
}  # fmt: skip

IMAGES: dict[str, Tiny] = {
    "mobilevit": Tiny("mobilevit", {"hidden_sizes": [8, 8, 8], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16], "num_attention_heads": 2, "image_size": 64, "patch_size": 2}, lambda: pixels(64)),
    "segformer": Tiny("segformer", {"num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16], "patch_sizes": [3, 3], "strides": [2, 2], "num_attention_heads": [2, 4], "mlp_ratios": [2, 2], "decoder_hidden_size": 8}, lambda: pixels(16)),
    "beit": Tiny("beit", {**VISION, "use_relative_position_bias": True}, pixels),
    "dinov2": Tiny("dinov2", VISION, pixels),
    "dinov3_vit": Tiny("dinov3_vit", {**VISION, "num_register_tokens": 2}, pixels),
    "dinov2_with_registers": Tiny("dinov2_with_registers", {**VISION, "num_register_tokens": 2}, pixels),
    "regnet": Tiny("regnet", {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "groups_width": 4}, lambda: pixels(16)),
    "efficientnet": Tiny("efficientnet", {"width_coefficient": 0.25, "depth_coefficient": 0.1, "hidden_dim": 320, "image_size": 16, "depth_divisor": 8, "num_hidden_layers": 4,
                                          "in_channels": [8, 8], "out_channels": [8, 8], "kernel_sizes": [3, 3], "strides": [1, 2], "num_block_repeats": [1, 1], "expand_ratios": [1, 2], "depthwise_padding": []}, lambda: pixels(16)),
    "mobilenet_v1": Tiny("mobilenet_v1", {"depth_multiplier": 0.25, "image_size": 32}, lambda: pixels(32)),
    "mobilenet_v2": Tiny("mobilenet_v2", {"depth_multiplier": 0.25, "image_size": 32}, lambda: pixels(32)),
    "poolformer": Tiny("poolformer", {"hidden_sizes": [8, 8, 12, 12], "depths": [1, 1, 1, 1], "patch_sizes": [3, 3, 3, 3], "strides": [2, 2, 2, 1], "padding": [1, 1, 1, 1]}, lambda: pixels(16)),
    "convnextv2": Tiny("convnextv2", {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2, "patch_size": 2, "image_size": 8}, pixels),
    "siglip_vision": Tiny("siglip_vision_model", VISION, pixels),
    "siglip": Tiny("siglip", {}, lambda: {**tokens(), **pixels()},
                   towers={"text_config": ("SiglipTextConfig", {**TEXT, "projection_size": 16}), "vision_config": ("SiglipVisionConfig", VISION)}),
    "blip": Tiny("blip", {"projection_dim": 8}, lambda: {**tokens(), **pixels()}, cls="BlipModel",
                 towers={"text_config": ("BlipTextConfig", {**TEXT, "encoder_hidden_size": WIDTH, "projection_dim": 8}), "vision_config": ("BlipVisionConfig", {**VISION, "projection_dim": 8, "initializer_range": 0.02})}),
    "flava_text": Tiny("FlavaTextConfig", TEXT, cls="FlavaTextModel"),
    "flava_image": Tiny("FlavaImageConfig", VISION, pixels, cls="FlavaImageModel"),
    "swinv2": Tiny("swinv2", {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4}, lambda: pixels(16)),
    "pvt": Tiny("pvt", {"image_size": 32, "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4], "patch_sizes": [4, 2, 2, 2], "mlp_ratios": [2, 2, 2, 2]}, lambda: pixels(32)),
    "cvt": Tiny("cvt", {"embed_dim": [8, 8, 16], "num_heads": [2, 2, 4], "depth": [1, 2, 3], "mlp_ratio": [2.0, 2.0, 2.0]}, lambda: pixels(32)),
    "levit": Tiny("levit", {"image_size": 64, "hidden_sizes": [16, 16, 16], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1], "key_dim": [4, 4, 4], "attention_ratio": [2, 2, 2], "mlp_ratio": [2, 2, 2],
                            "down_ops": [["Subsample", 4, 4, 2, 2, 2], ["Subsample", 4, 4, 2, 2, 2]]}, lambda: pixels(64)),
    "vit_mae": Tiny("vit_mae", VISION, pixels),
    "vit_msn": Tiny("vit_msn", VISION, pixels),
    "videomae": Tiny("videomae", {**VISION, "num_frames": 4, "tubelet_size": 2}, lambda: {"pixel_values": torch.zeros(BATCH, 4, 3, 8, 8)}),
    "vivit": Tiny("vivit", {**without(VISION, "patch_size"), "num_frames": 4, "tubelet_size": [2, 4, 4]}, lambda: {"pixel_values": torch.zeros(BATCH, 4, 3, 8, 8)}),
    "timesformer": Tiny("timesformer", {**VISION, "num_frames": 2}, lambda: {"pixel_values": torch.zeros(BATCH, 2, 3, 8, 8)}),
    "focalnet": Tiny("focalnet", {"image_size": 16, "patch_size": 2, "embed_dim": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3]}, lambda: pixels(16)),
    "hiera": Tiny("hiera", {"embed_dim": 8, "image_size": [16, 16], "patch_size": [3, 3], "patch_stride": [2, 2], "patch_padding": [1, 1], "depths": [1, 1], "num_heads": [1, 2], "masked_unit_size": [4, 4], "query_stride": [2, 2], "num_query_pool": 1}, lambda: pixels(16)),
    "imagegpt": Tiny("imagegpt", {**GPT, "vocab_size": ROWS}),
    "yolos": Tiny("yolos", {**VISION, "image_size": [8, 8], "num_detection_tokens": 3}, pixels),
    "bit": Tiny("bit", {"embedding_size": 8, "hidden_sizes": [32, 32], "depths": [1, 1], "num_groups": 2}, lambda: pixels(16)),
    "swiftformer": Tiny("swiftformer", {"embed_dims": [8, 8, 12, 12], "depths": [1, 1, 1, 1], "image_size": 64}, lambda: pixels(64)),
    "sam_vision": Tiny("SamVisionConfig", {"initializer_range": 0.02, "hidden_size": WIDTH, "output_channels": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 4, "window_size": 2, "mlp_dim": 24, "global_attn_indexes": [1], "num_pos_feats": 4}, lambda: pixels(16), cls="SamVisionModel"),
    "detr": Tiny("DetrConfig", {"d_model": WIDTH, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "num_queries": 4,
                                "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}, lambda: {**pixels(16), "pixel_mask": torch.ones(BATCH, 16, 16, dtype=torch.int64)}, cls="DetrModel",
                 towers={"backbone_config": ("resnet", {**STAGES, "layer_type": "basic", "out_features": ["stage2"]})}),
    "owlvit": Tiny("owlvit", {"projection_dim": 8}, lambda: {**tokens(), **pixels()},
                   towers={"text_config": ("OwlViTTextConfig", TEXT), "vision_config": ("OwlViTVisionConfig", VISION)}),
    "vilt": Tiny("vilt", {**TEXT, **VISION, "modality_type_vocab_size": 2}, lambda: {**tokens(), **pixels()}),
    "glpn": Tiny("glpn", {"num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16], "patch_sizes": [3, 3], "strides": [2, 2], "num_attention_heads": [2, 4], "mlp_ratios": [2, 2]}, lambda: pixels(16)),
    "dpt": Tiny("dpt", {**VISION, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8, "is_hybrid": False}, pixels, cls="DPTForDepthEstimation"),
    "upernet": Tiny("UperNetConfig", {"hidden_size": 8, "pool_scales": [1, 2], "use_auxiliary_head": False, "num_labels": 3}, lambda: pixels(32), cls="UperNetForSemanticSegmentation",
                    towers={"backbone_config": ("convnext", {"hidden_sizes": [8, 8, 12, 12], "depths": [1, 1, 1, 1], "patch_size": 2, "out_features": ["stage1", "stage2", "stage3", "stage4"]})}),
}  # fmt: skip

AUDIO: dict[str, Tiny] = {
    "hubert": Tiny("hubert", SPEECH, wave),
    "wavlm": Tiny("wavlm", {**SPEECH, "num_buckets": 8, "max_bucket_distance": 16}, wave),
    "unispeech": Tiny("unispeech", SPEECH, wave),
    "unispeech-sat": Tiny("unispeech-sat", SPEECH, wave),
    "sew": Tiny("sew", {**SPEECH, "squeeze_factor": 2}, wave),
    "data2vec-audio": Tiny("data2vec-audio", {**SPEECH, "conv_pos_kernel_size": 3, "num_conv_pos_embeddings": 2}, wave),
    "wav2vec2-conformer": Tiny("wav2vec2-conformer", {**SPEECH, "conv_depthwise_kernel_size": 3, "position_embeddings_type": "relative"}, wave),
    "wav2vec2-bert": Tiny("wav2vec2-bert", {**without(SPEECH, "conv_dim", "conv_stride", "conv_kernel"), "feature_projection_input_dim": 8, "conv_depthwise_kernel_size": 3}, lambda: {"input_features": torch.zeros(BATCH, 10, 8)}),
    "speech_to_text": Tiny("speech_to_text", {**BART, "input_feat_per_channel": 8, "input_channels": 1, "conv_channels": 12, "conv_kernel_sizes": (3, 3), "max_source_positions": 32, "max_target_positions": 16}, lambda: {"input_features": torch.zeros(BATCH, 16, 8), **tokens("decoder_input_ids", 6)}),
    "audio-spectrogram-transformer": Tiny("audio-spectrogram-transformer", {**without(VISION, "image_size"), "max_length": 16, "num_mel_bins": 8, "time_stride": 4, "frequency_stride": 4}, lambda: {"input_values": torch.zeros(BATCH, 16, 8)}),
    "moonshine": Tiny("moonshine", {**SPECIAL, "vocab_size": ROWS, "hidden_size": 16, "intermediate_size": 24, "encoder_num_hidden_layers": 2, "decoder_num_hidden_layers": 2, "encoder_num_attention_heads": 2, "decoder_num_attention_heads": 2, "encoder_num_key_value_heads": 2, "decoder_num_key_value_heads": 2, "max_position_embeddings": 32},
                      lambda: {**wave(4000), **tokens("decoder_input_ids", 6)}),
    "clap_text": Tiny("ClapTextConfig", {**TEXT, "projection_dim": 8, "max_position_embeddings": 40}, cls="ClapTextModel"),
    "encodec": Tiny("encodec", {"num_filters": 4, "hidden_size": 8, "codebook_dim": 8, "codebook_size": 8, "upsampling_ratios": [2, 2], "num_lstm_layers": 1}, lambda: {"input_values": torch.zeros(BATCH, 1, 40)}),
}  # fmt: skip

HEADS_ON: dict[str, Tiny] = {
    "bert masked lm": Tiny("bert", TEXT, cls="BertForMaskedLM"),
    "bert classifier": Tiny("bert", TEXT, padded, cls="BertForSequenceClassification"),
    "gpt2 lm": Tiny("gpt2", GPT, padded, cls="GPT2LMHeadModel"),
    "llama lm": Tiny("llama", GROUPED, padded, cls="LlamaForCausalLM"),
    "t5 lm": Tiny("t5", T5, both, cls="T5ForConditionalGeneration"),
    "bart classifier": Tiny("bart", BART, tokens, cls="BartForConditionalGeneration"),
    "vit classifier": Tiny("vit", VISION, pixels, cls="ViTForImageClassification"),
    "resnet classifier": Tiny("resnet", {**STAGES, "layer_type": "bottleneck"}, lambda: pixels(16), cls="ResNetForImageClassification"),
    "whisper lm": Tiny("whisper", LISTED["whisper"].settings, LISTED["whisper"].inputs, cls="WhisperForConditionalGeneration"),
    "wav2vec2 ctc": Tiny("wav2vec2", SPEECH, wave, cls="Wav2Vec2ForCTC"),
    "distilbert qa": Tiny("distilbert", LISTED["distilbert"].settings, padded, cls="DistilBertForQuestionAnswering"),
    "electra discriminator": Tiny("electra", LISTED["electra"].settings, cls="ElectraForPreTraining"),
    "mixtral lm": Tiny("mixtral", LISTED["mixtral"].settings, cls="MixtralForCausalLM"),
}  # fmt: skip

FAMILIES = {
    "listed": LISTED,
    "decoders": DECODERS,
    "state space": STATE_SPACE,
    "encoders": ENCODERS,
    "sequence": SEQUENCE,
    "images": IMAGES,
    "audio": AUDIO,
    "heads on": HEADS_ON,
}
MODELS: dict[str, Tiny] = {
    name: tiny for family in FAMILIES.values() for name, tiny in family.items()
}

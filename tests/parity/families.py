"""The fixtures' models, as transformers has them."""

import functools

import torch
from transformers import (
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.parity.playing import fixture
from tests.parity.predictors import BlockCausal, FullAttention, Guided

SHARED = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "rms_norm_eps"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"),
    *("tie_word_embeddings", "attention_bias"),
)


def settings(config: dict, **others: object) -> dict:
    """What a configuration of transformers has under the same names, and others."""
    rope = {"rope_type": "default", "rope_theta": config["rope_theta"]}
    shared = {name: config[name] for name in SHARED if name in config}
    return shared | {"rope_parameters": rope} | others


@functools.cache
def llada() -> FullAttention:
    family = fixture("llada")
    config = family.config
    model = LlamaForCausalLM(
        LlamaConfig(
            **settings(
                config,
                hidden_size=config["d_model"],
                intermediate_size=config["mlp_hidden_size"],
                num_hidden_layers=config["n_layers"],
                num_attention_heads=config["n_heads"],
                num_key_value_heads=config["n_kv_heads"],
                max_position_embeddings=config["max_sequence_length"],
                tie_word_embeddings=config["weight_tying"],
            )
        )
    )
    names = {
        "model.transformer.ff_out": "lm_head",
        "model.transformer.wte": "model.embed_tokens",
        "model.transformer.ln_f": "model.norm",
        "model.transformer.blocks": "model.layers",
        "attn_norm": "input_layernorm",
        "ff_norm": "post_attention_layernorm",
        "attn_out": "self_attn.o_proj",
        "q_proj": "self_attn.q_proj",
        "k_proj": "self_attn.k_proj",
        "v_proj": "self_attn.v_proj",
        "ff_proj": "mlp.gate_proj",
        "up_proj": "mlp.up_proj",
        "ff_out": "mlp.down_proj",
    }
    return FullAttention(family.fill(model, names), config["mask_token_id"])


def llada_guided() -> Guided:
    return Guided(llada(), 1.5, llada().mask)


@functools.cache
def dream() -> FullAttention:
    family = fixture("dream")
    model = Qwen2ForCausalLM(Qwen2Config(**settings(family.config)))
    return FullAttention(family.fill(model), family.config["mask_token_id"], shift=1)


@functools.cache
def sdar() -> BlockCausal:
    family = fixture("sdar")
    model = Qwen3ForCausalLM(Qwen3Config(**settings(family.config)))
    config = family.config
    return BlockCausal(family.fill(model), config["mask_token_id"], config["block_size"])


@functools.cache
def llada2() -> BlockCausal:
    family = fixture("llada2")
    config = family.config
    rope = {"rope_type": "default", "rope_theta": config["rope_theta"]}
    rope["partial_rotary_factor"] = config["partial_rotary_factor"]
    model = Glm4MoeForCausalLM(
        Glm4MoeConfig(
            **settings(config, rope_parameters=rope),
            use_qk_norm=config["use_qk_norm"],
            norm_topk_prob=config["norm_topk_prob"],
            n_group=config["n_group"],
            topk_group=config["topk_group"],
            routed_scaling_factor=config["routed_scaling_factor"],
            first_k_dense_replace=config["first_k_dense_replace"],
            n_shared_experts=config["num_shared_experts"],
            n_routed_experts=config["num_experts"],
            num_experts_per_tok=config["num_experts_per_tok"],
            moe_intermediate_size=config["moe_intermediate_size"],
            num_mtp_layers=0,
            pad_token_id=None,
        )
    )
    heads = [config["num_attention_heads"], *2 * [config["num_key_value_heads"]]]
    for name in list(family.weights):
        if "query_key_value" in name:
            parts = family.weights.pop(name).split([n * config["head_dim"] for n in heads])
            for kind, part in zip("qkv", parts, strict=True):
                family.weights[name.replace("query_key_value", f"{kind}_proj")] = part
    for layer in range(config["first_k_dense_replace"], config["num_hidden_layers"]):
        experts = f"model.layers.{layer}.mlp.experts."

        def stacked(kind: str, experts: str = experts) -> torch.Tensor:
            each = range(config["num_experts"])
            return torch.stack([family.weights.pop(f"{experts}{e}.{kind}.weight") for e in each])

        family.weights[f"{experts}gate_up_proj"] = torch.cat(
            (stacked("gate_proj"), stacked("up_proj")), 1
        )
        family.weights[f"{experts}down_proj"] = stacked("down_proj")
    names = {
        "word_embeddings": "embed_tokens",
        "attention.dense": "self_attn.o_proj",
        "attention.query_layernorm": "self_attn.q_norm",
        "attention.key_layernorm": "self_attn.k_norm",
        ".attention.": ".self_attn.",
        "gate.expert_bias": "gate.e_score_correction_bias",
    }
    return BlockCausal(family.fill(model, names), config["mask_token_id"], 4, keeps=False)

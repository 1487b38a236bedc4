# SPDX-License-Identifier: BSD-3-Clause
"""Families of models: where a block's weights are in their checkpoints, and with which options of libattn it is theirs.

families.py prints docs/models.md. Options are those of attn_block_params and of what that holds, by short names; a
function of (config, layer) where they depend on these.
"""

import dataclasses
import math
import textwrap
import typing

H, D, WINDOW = 4, 16, 5
SIZES = dict(vocab_size=64, hidden_size=H * D, intermediate_size=80, num_hidden_layers=2, num_attention_heads=H,
             num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
ALL_HEADS = {name: size for name, size in SIZES.items() if name != "num_key_value_heads"}
GPT2_SIZES = dict(vocab_size=64, n_positions=64, n_embd=H * D, n_layer=2, n_head=H, bos_token_id=1, eos_token_id=2)
IMAGE_SIZES = dict(hidden_size=H * D, intermediate_size=80, num_hidden_layers=2, num_attention_heads=H, image_size=16,
                   patch_size=4)
SOUND_SIZES = dict(hidden_size=H * D, intermediate_size=80, num_hidden_layers=2, num_attention_heads=H,
                   conv_dim=(16, 16), conv_stride=(2, 2), conv_kernel=(3, 3), num_conv_pos_embeddings=4,
                   num_conv_pos_embedding_groups=2)
PAIR_SIZES = dict(vocab_size=64, d_model=H * D, encoder_layers=2, decoder_layers=2, encoder_attention_heads=H,
                  decoder_attention_heads=H, encoder_ffn_dim=80, decoder_ffn_dim=80, max_position_embeddings=64,
                  pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
LATENT_SIZES = dict(q_lora_rank=20, kv_lora_rank=24, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10,
                    num_key_value_heads=H)
TYPES = dict(layer_types=["sliding_attention", "full_attention"], sliding_window=WINDOW)


@dataclasses.dataclass
class Family:
    """names: of modules, or of parameters, within a layer; N is its number."""

    folder: str  # of transformers' models
    model: str
    config: str
    sizes: dict
    layers: str
    names: dict
    kind: str = "causal"  # or encoder, decoder (with cross-attention), image, sound
    scope: str = "block"  # or attention: what is around it is libattn's caller's
    inner: str = "self_attn"  # the attention's module
    part: typing.Optional[str] = None
    attention: str = "eager"  # transformers' own way to compute it
    options: dict = dataclasses.field(default_factory=dict)

    @property
    def title(self):
        return f"{self.folder} ({self.part})" if self.part else self.folder

    def of(self, config, layer):
        """The options of a layer."""
        return {name: value(config, layer) if callable(value) else value for name, value in self.options.items()}


def without(names, *left_out):
    return {role: name for role, name in names.items() if role not in left_out}


LLAMA = dict(self_norm="input_layernorm", q="self_attn.q_proj", k="self_attn.k_proj", v="self_attn.v_proj",
             out="self_attn.o_proj", feed_norm="post_attention_layernorm", gate="mlp.gate_proj", up="mlp.up_proj",
             down="mlp.down_proj")
UNGATED = without(LLAMA, "gate")
QK_NORM = dict(q_norm="self_attn.q_norm", k_norm="self_attn.k_norm")
FOUR_NORMS = dict(LLAMA, self_output_norm="post_attention_layernorm", feed_norm="pre_feedforward_layernorm",
                  feed_output_norm="post_feedforward_layernorm")
OUTPUT_NORMS = without(dict(FOUR_NORMS, **QK_NORM), "self_norm", "feed_norm")
ATTENTION = {role: LLAMA[role] for role in ("q", "k", "v", "out")}
# Latent attention, its low-rank queries being there or not.
LATENT = dict(without(LLAMA, "k", "v"), kv_down="self_attn.kv_a_proj_with_mqa",
              kv_latent_norm="self_attn.kv_a_layernorm", kv_up="self_attn.kv_b_proj")
LOW_RANK = dict(LATENT, q="self_attn.q_b_proj", q_down="self_attn.q_a_proj", q_latent_norm="self_attn.q_a_layernorm")
GPT2 = dict(self_norm="ln_1", qkv="attn.c_attn", out="attn.c_proj", feed_norm="ln_2", up="mlp.c_fc",
            down="mlp.c_proj")
GPTJ = dict(self_norm="ln_1", q="attn.q_proj", k="attn.k_proj", v="attn.v_proj", out="attn.out_proj", up="mlp.fc_in",
            down="mlp.fc_out")
BLOOM = dict(self_norm="input_layernorm", qkv="self_attention.query_key_value", out="self_attention.dense",
             feed_norm="post_attention_layernorm", up="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h")
BERT = dict(q="attention.self.query", k="attention.self.key", v="attention.self.value", out="attention.output.dense",
            self_norm="attention.output.LayerNorm", up="intermediate.dense", down="output.dense",
            feed_norm="output.LayerNorm")
BART = dict(q="self_attn.q_proj", k="self_attn.k_proj", v="self_attn.v_proj", out="self_attn.out_proj",
            self_norm="self_attn_layer_norm", up="fc1", down="fc2", feed_norm="final_layer_norm")
CROSS = dict(BART, cross_q="encoder_attn.q_proj", cross_k="encoder_attn.k_proj", cross_v="encoder_attn.v_proj",
             cross_out="encoder_attn.out_proj", cross_norm="encoder_attn_layer_norm")
VIT = dict(self_norm="layernorm_before", q="attention.q_proj", k="attention.k_proj", v="attention.v_proj",
           out="attention.o_proj", feed_norm="layernorm_after", up="mlp.fc1", down="mlp.fc2")
CLIP = dict(self_norm="layer_norm1", q="self_attn.q_proj", k="self_attn.k_proj", v="self_attn.v_proj",
            out="self_attn.out_proj", feed_norm="layer_norm2", up="mlp.fc1", down="mlp.fc2")
WAV2VEC2 = dict(q="attention.q_proj", k="attention.k_proj", v="attention.v_proj", out="attention.out_proj",
                self_norm="layer_norm", up="feed_forward.intermediate_dense", down="feed_forward.output_dense",
                feed_norm="final_layer_norm")


def sliding(config, layer):
    return config.layer_types[layer] == "sliding_attention"


def window(config, layer):
    """Of the layers that have one."""
    return config.sliding_window - 1 if sliding(config, layer) else None


def rope(config, layer):
    """How the layer's rotary embedding is configured."""
    of = config.rope_parameters
    return of[config.layer_types[layer]] if "rope_theta" not in of else of


def decoder(folder, prefix, names=LLAMA, sizes=None, scope="block", layers="model.layers.N", config="Config",
            **options):
    of_all = dict(norm="rms", eps=lambda c, n: c.rms_norm_eps, activation="silu", rope=rope)
    return Family(folder, prefix + "ForCausalLM", prefix + config, {**SIZES, **(sizes or {})}, layers, names,
                  scope=scope, options={**of_all, **options})


def latent(folder, prefix, names=LOW_RANK, sizes=None, part=None, **options):
    """A decoder with latent attention."""
    of = dict(latents=True, head_dim=lambda c, n: c.qk_head_dim, value_width=lambda c, n: c.v_head_dim,
              rotary_width=lambda c, n: c.qk_rope_head_dim, latent_eps=1e-6)
    family = decoder(folder, prefix, names, {**LATENT_SIZES, **(sizes or {})}, **{**of, **options})
    return dataclasses.replace(family, part=part)


def layer_normed(eps, **options):
    return {"norm": "layer", "eps": lambda c, n: getattr(c, eps, 1e-12), "rope": None, **options}


def encoder(folder, prefix, names=BERT, sizes=None, layers="encoder.layer.N", eps="layer_norm_eps", post=True,
            **options):
    return Family(folder, prefix + "Model", prefix + "Config", {**ALL_HEADS, **(sizes or {})}, layers, names, "encoder",
                  options=layer_normed(eps, **{"post": post, "activation": "gelu", **options}))


def pair(folder, prefix, post, activation="gelu", sizes=None):
    """An encoder and a decoder of the same names."""
    of = PAIR_SIZES if sizes is None else sizes
    options = dict(norm="layer", eps=1e-5, post=post, activation=activation, rope=None)
    for part, names, kind in (("encoder", BART, "encoder"), ("decoder", CROSS, "decoder")):
        yield Family(folder, prefix + "Model", prefix + "Config", of, part + ".layers.N", names, kind, part=part,
                     options=options)


def deberta(folder, prefix, names, sizes, **options):
    """Keys of places and queries of places."""
    of = dict(relative_attention=True, pos_att_type=["c2p", "p2c"], position_biased_input=False, **sizes)
    return encoder(folder, prefix, names, of, scale=(3 * D) ** -0.5, **options)


def picture(folder, model, config, names=VIT, layers="layers.N", sizes=IMAGE_SIZES, **options):
    return Family(folder, model, config, sizes, layers, names, "image",
                  options=layer_normed("layer_norm_eps", **{"activation": "gelu", **options}))


def sound(folder, prefix):
    return Family(folder, prefix + "Model", prefix + "Config", SOUND_SIZES, "encoder.layers.N", WAV2VEC2, "sound",
                  options=layer_normed("layer_norm_eps", post=True, activation="gelu"))


def gpt(folder, prefix, names, sizes=GPT2_SIZES, layers="transformer.h.N", part=None, eps="layer_norm_epsilon",
        model=None, attention="eager", **options):
    return Family(folder, model or prefix + "ForCausalLM", prefix + "Config", sizes, layers, names, part=part,
                  attention=attention, options=layer_normed(eps, **{"activation": "gelu_tanh", **options}))


FALCON_SIZES = {name: SIZES[name] for name in
                ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "bos_token_id")}

FAMILIES = [
    # Decoders with RMS norms and gated feed-forwards, and what differs from that.
    decoder("llama", "Llama"),
    decoder("mistral", "Mistral", sizes=dict(sliding_window=WINDOW), window=WINDOW - 1),
    decoder("qwen2", "Qwen2"),
    decoder("cwm", "Cwm", sizes=dict(head_dim=D, **TYPES), window=window),
    decoder("lfm2", "Lfm2", {**LLAMA, "self_norm": "operator_norm", "q_norm": "self_attn.q_layernorm",
                             "k_norm": "self_attn.k_layernorm", "out": "self_attn.out_proj", "feed_norm": "ffn_norm",
                             "gate": "feed_forward.w1", "up": "feed_forward.w3", "down": "feed_forward.w2"},
            eps=lambda c, n: c.norm_eps),
    decoder("qwen3", "Qwen3", {**LLAMA, **QK_NORM}, dict(head_dim=24)),
    decoder("granite", "Granite", sizes=dict(residual_multiplier=0.3, attention_multiplier=0.2),
            factor=lambda c, n: c.residual_multiplier, scale=lambda c, n: c.attention_multiplier),
    decoder("smollm3", "SmolLM3", sizes=dict(no_rope_layers=[1, 0]),
            rope=lambda c, n: rope(c, n) if c.no_rope_layers[n] else None),
    decoder("helium", "Helium", sizes=dict(head_dim=D), interleaved=True),
    decoder("ernie4_5", "Ernie4_5", sizes=dict(head_dim=D), interleaved=True),
    decoder("seed_oss", "SeedOss", sizes=dict(head_dim=D)),
    decoder("arcee", "Arcee", UNGATED, activation="relu2"),
    decoder("apertus", "Apertus", {**UNGATED, **QK_NORM, "self_norm": "attention_layernorm",
                                   "feed_norm": "feedforward_layernorm", "xielu": "mlp.act_fn"}, activation="xielu"),
    decoder("hunyuan_v1_dense", "HunYuanDenseV1",
            {**LLAMA, "q_norm": "self_attn.query_layernorm", "k_norm": "self_attn.key_layernorm"}, dict(head_dim=D),
            after_rotary=True),
    decoder("bitnet", "BitNet", {**LLAMA, "out_norm": "self_attn.attn_sub_norm", "hidden_norm": "mlp.ffn_sub_norm"},
            activation="relu2"),
    decoder("afmoe", "Afmoe",
            {**LLAMA, **QK_NORM, "gate_of_attention": "self_attn.gate_proj",
             "self_output_norm": "post_attention_layernorm", "feed_norm": "pre_mlp_layernorm",
             "feed_output_norm": "post_mlp_layernorm"},
            dict(head_dim=D, num_dense_layers=2, **TYPES), window=window,
            rope=lambda c, n: rope(c, n) if sliding(c, n) else None),
    decoder("qwen3_next", "Qwen3Next", {**LLAMA, **QK_NORM},
            dict(head_dim=24, layer_types=["full_attention"] * 2, mlp_only_layers=[0, 1]), unit=1, gate_in_q=True),
    latent("deepseek_v2", "DeepseekV2", sizes=dict(first_k_dense_replace=2), interleaved=True),
    latent("deepseek_v2", "DeepseekV2", LATENT, dict(first_k_dense_replace=2, q_lora_rank=None), part="Lite",
           interleaved=True),
    latent("deepseek_v3", "DeepseekV3",
           sizes=dict(first_k_dense_replace=2, attention_bias=True,
                      rope_parameters=dict(rope_type="yarn", rope_theta=1e4, factor=8.0, beta_fast=32, beta_slow=1,
                                           mscale=1.0, mscale_all_dim=0.8, original_max_position_embeddings=8)),
           interleaved=True, scale=lambda c, n: c.qk_head_dim**-0.5 * (0.08 * math.log(8) + 1) ** 2),
    latent("youtu", "Youtu", interleaved=True),
    latent("glm4_moe_lite", "Glm4MoeLite", sizes=dict(mlp_layer_types=["dense"] * 2), interleaved=True),
    latent("minicpm3", "MiniCPM3", factor=lambda c, n: c.scale_depth / c.num_hidden_layers**0.5),
    latent("kimi_linear", "KimiLinear", LATENT,
           dict(q_lora_rank=None, layer_types=["full_attention"] * 2, mlp_layer_types=["dense"] * 2), rope=None),
    decoder("gemma", "Gemma", sizes=dict(head_dim=D), unit=1, activation="gelu_tanh"),
    decoder("gemma2", "Gemma2", FOUR_NORMS, dict(head_dim=D, **TYPES), unit=1, activation="gelu_tanh", window=window,
            softcap=lambda c, n: c.attn_logit_softcapping, scale=lambda c, n: c.query_pre_attn_scalar**-0.5),
    decoder("vaultgemma", "VaultGemma", {**LLAMA, "feed_norm": "pre_feedforward_layernorm"}, dict(head_dim=D, **TYPES),
            unit=1, activation="gelu_tanh", window=window, softcap=lambda c, n: c.attn_logit_softcapping,
            scale=lambda c, n: c.query_pre_attn_scalar**-0.5),
    decoder("gemma3", "Gemma3", {**FOUR_NORMS, **QK_NORM}, dict(head_dim=D, **TYPES), config="TextConfig", unit=1,
            activation="gelu_tanh", window=window, scale=lambda c, n: c.query_pre_attn_scalar**-0.5),
    decoder("olmo", "Olmo", without(LLAMA, "self_norm", "feed_norm"), dict(clip_qkv=0.8), norm="layer",
            plain_norms=True, eps=1e-5, clip=lambda c, n: c.clip_qkv),
    decoder("olmo2", "Olmo2", OUTPUT_NORMS, all_heads=True),
    decoder("olmo3", "Olmo3", OUTPUT_NORMS, TYPES, all_heads=True, window=window),
    decoder("exaone4", "Exaone4", OUTPUT_NORMS, TYPES, window=window,
            rope=lambda c, n: rope(c, n) if sliding(c, n) else None),
    decoder("glm", "Glm", {**without(LLAMA, "gate", "up"), "gate_up": "mlp.gate_up_proj"}, dict(head_dim=D),
            interleaved=True),
    decoder("glm4", "Glm4", {**without(LLAMA, "gate", "up"), "gate_up": "mlp.gate_up_proj",
                             "self_output_norm": "post_self_attn_layernorm", "feed_output_norm": "post_mlp_layernorm"},
            dict(head_dim=D), interleaved=True),
    decoder("phi3", "Phi3", {**without(LLAMA, "q", "k", "v", "gate", "up"), "qkv": "self_attn.qkv_proj",
                             "gate_up": "mlp.gate_up_proj"}),
    decoder("llama4", "Llama4", {role: name.replace("mlp.", "feed_forward.") for role, name in LLAMA.items()},
            dict(head_dim=D, moe_layers=[], intermediate_size_mlp=80, no_rope_layers=[1, 0], attention_chunk_size=4,
                 floor_scale=3, attn_scale=0.4), config="TextConfig", interleaved=True,
            qk_norm=lambda c, n: bool(c.no_rope_layers[n]), after_rotary=True,
            chunk=lambda c, n: c.attention_chunk_size if c.no_rope_layers[n] else None,
            rope=lambda c, n: rope(c, n) if c.no_rope_layers[n] else None,
            factor_of_q=lambda c, n: None if c.no_rope_layers[n] else dict(amount=c.attn_scale,
                                                                           period=int(c.floor_scale), shift=1)),
    # With layer norms.
    decoder("starcoder2", "Starcoder2", {**without(LLAMA, "gate"), "up": "mlp.c_fc", "down": "mlp.c_proj"},
            norm="layer", eps=lambda c, n: c.norm_epsilon, activation="gelu_tanh", sizes=dict(sliding_window=None)),
    decoder("stablelm", "StableLm", norm="layer", eps=lambda c, n: c.layer_norm_eps),
    decoder("nemotron", "Nemotron", UNGATED, norm="layer", unit=1, eps=lambda c, n: c.norm_eps, activation="relu2"),
    decoder("cohere", "Cohere", without(LLAMA, "feed_norm"), norm="layer", eps=lambda c, n: c.layer_norm_eps,
            parallel=True, interleaved=True),
    decoder("cohere2", "Cohere2", without(LLAMA, "feed_norm"), TYPES, norm="layer", eps=lambda c, n: c.layer_norm_eps,
            parallel=True, interleaved=True, window=window,
            rope=lambda c, n: rope(c, n) if sliding(c, n) else None),
    decoder("phi", "Phi", {**without(UNGATED, "feed_norm"), "out": "self_attn.dense", "up": "mlp.fc1",
                           "down": "mlp.fc2"},
            norm="layer", eps=lambda c, n: c.layer_norm_eps, parallel=True, activation="gelu_tanh"),
    decoder("gpt_neox", "GPTNeoX", {**BLOOM, "qkv": "attention.query_key_value", "out": "attention.dense"},
            layers="gpt_neox.layers.N", G=H, norm="layer", eps=lambda c, n: c.layer_norm_eps, parallel=True,
            activation="gelu", by_group=True),
    # Attention alone, beside experts.
    decoder("mixtral", "Mixtral", ATTENTION, dict(num_local_experts=2), scope="attention"),
    decoder("qwen2_moe", "Qwen2Moe", ATTENTION, dict(num_experts=2, num_experts_per_tok=1), scope="attention"),
    decoder("granitemoe", "GraniteMoe", ATTENTION,
            dict(num_local_experts=2, num_experts_per_tok=1, attention_multiplier=0.2), scope="attention",
            scale=lambda c, n: c.attention_multiplier),
    decoder("qwen3_moe", "Qwen3Moe", {**ATTENTION, **QK_NORM}, dict(num_experts=2, num_experts_per_tok=1, head_dim=D),
            scope="attention"),
    decoder("olmoe", "Olmoe", {**ATTENTION, **QK_NORM}, dict(num_experts=2, num_experts_per_tok=1), scope="attention",
            all_heads=True),
    decoder("minimax_m2", "MiniMaxM2", {**ATTENTION, **QK_NORM},
            dict(num_local_experts=2, num_experts_per_tok=1, head_dim=D), scope="attention", all_heads=True),
    dataclasses.replace(
        latent("longcat_flash", "LongcatFlash",
               {role: name.replace("self_attn.", "self_attn.0.") for role, name in LOW_RANK.items()},
               dict(num_hidden_layers=4, head_dim=8, n_routed_experts=2, moe_topk=2, zero_expert_num=2,
                    ffn_hidden_size=80, expert_ffn_hidden_size=16), scope="attention", interleaved=True, latents_scaled=True),
        inner="self_attn.0"),
    decoder("gpt_oss", "GptOss", {**ATTENTION, "sinks": "self_attn.sinks"},
            dict(num_local_experts=2, num_experts_per_tok=1, head_dim=D, **TYPES), scope="attention", window=window),
    dataclasses.replace(
        gpt("dbrx", "Dbrx", dict(qkv="attn.Wqkv", out="attn.out_proj"),
            dict(d_model=H * D, n_heads=H, n_layers=2, max_seq_len=64, vocab_size=64, pad_token_id=0,
                 attn_config=dict(clip_qkv=0.8, kv_n_heads=2, rope_theta=1e4), ffn_config=dict(ffn_hidden_size=16)),
            layers="transformer.blocks.N.norm_attn_norm", rope=rope, clip=lambda c, n: c.attn_config.clip_qkv),
        scope="attention", inner="attn"),
    # GPT-2's relatives.
    gpt("gpt2", "GPT2", GPT2, model="GPT2LMHeadModel", order="IN_OUT"),
    gpt("openai", "OpenAIGPT", GPT2, model="OpenAIGPTLMHeadModel", order="IN_OUT", post=True),
    gpt("gpt_bigcode", "GPTBigCode", GPT2, G=1),
    gpt("gptj", "GPTJ", GPTJ, {**GPT2_SIZES, "rotary_dim": 8}, parallel=True, interleaved=True,
        rope=dict(rope_theta=1e4), rotary_width=8),
    gpt("codegen", "CodeGen", {**without(GPTJ, "q", "k", "v"), "qkv": "attn.qkv_proj"},
        {**GPT2_SIZES, "rotary_dim": 8}, parallel=True, interleaved=True, rope=dict(rope_theta=1e4), rotary_width=8,
        split="codegen"),
    gpt("gpt_neo", "GPTNeo", {**GPT2, "q": "attn.attention.q_proj", "k": "attn.attention.k_proj",
                              "v": "attn.attention.v_proj", "out": "attn.attention.out_proj", "qkv": None},
        dict(vocab_size=64, hidden_size=H * D, num_layers=2, num_heads=H, attention_types=[[["global", "local"], 1]],
             window_size=WINDOW, max_position_embeddings=64, intermediate_size=80), scale=1.0,
        window=lambda c, n: WINDOW - 1 if c.attention_layers[n] == "local" else None),
    gpt("bloom", "Bloom", BLOOM, dict(vocab_size=64, hidden_size=H * D, n_layer=2, n_head=H), alibi=True,
        by_group=True),
    gpt("falcon", "Falcon", without(BLOOM, "feed_norm"), FALCON_SIZES, part="7B", parallel=True, activation="gelu",
        G=1, rope=rope),
    gpt("falcon", "Falcon", {**BLOOM, "self_norm": "ln_attn", "feed_norm": "ln_mlp"},
        {**FALCON_SIZES, "num_kv_heads": 2, "new_decoder_architecture": True}, part="40B", parallel=True,
        activation="gelu", rope=rope, G=2, by_group=True),
    # Transformers' eager attention of it adds ALiBi twice.
    gpt("falcon", "Falcon", BLOOM, {**FALCON_SIZES, "multi_query": False, "parallel_attn": False, "alibi": True,
                                    "bias": True}, part="RW", attention="sdpa", activation="gelu", alibi=True,
        alibi_scaled=True, by_group=True),
    gpt("mpt", "Mpt", dict(self_norm="norm_1", qkv="attn.Wqkv", out="attn.out_proj", feed_norm="norm_2",
                           up="ffn.up_proj", down="ffn.down_proj"),
        dict(vocab_size=64, d_model=H * D, n_layers=2, n_heads=H, max_seq_len=64, attn_config=dict(clip_qkv=0.8)),
        layers="transformer.blocks.N", activation="gelu", alibi=True, clip=lambda c, n: c.attn_config.clip_qkv),
    Family("opt", "OPTForCausalLM", "OPTConfig",
           dict(vocab_size=64, hidden_size=H * D, ffn_dim=80, num_hidden_layers=2, num_attention_heads=H,
                max_position_embeddings=64, word_embed_proj_dim=H * D), "model.decoder.layers.N", BART,
           options=dict(norm="layer", eps=1e-5, activation="relu", rope=None)),
    Family("biogpt", "BioGptForCausalLM", "BioGptConfig", ALL_HEADS, "biogpt.layers.N", BART,
           options=dict(norm="layer", eps=1e-5, activation="gelu", rope=None)),
    Family("xglm", "XGLMForCausalLM", "XGLMConfig",
           dict(vocab_size=64, d_model=H * D, ffn_dim=80, num_layers=2, attention_heads=H, max_position_embeddings=64),
           "model.layers.N", BART, options=dict(norm="layer", eps=1e-5, activation="gelu", rope=None)),
    # Encoders of text.
    encoder("bert", "Bert"),
    encoder("roberta", "Roberta"),
    encoder("xlm_roberta", "XLMRoberta"),
    encoder("camembert", "Camembert"),
    encoder("ernie", "Ernie"),
    encoder("electra", "Electra", sizes=dict(embedding_size=H * D)),
    encoder("roformer", "RoFormer", rope=dict(rope_theta=1e4), interleaved=True),
    encoder("megatron_bert", "MegatronBert", {**BERT, "self_norm": "attention.ln", "feed_norm": "ln"}, post=False),
    encoder("esm", "Esm", {**BERT, "self_norm": "attention.LayerNorm", "feed_norm": "LayerNorm"},
            dict(mask_token_id=3, position_embedding_type="rotary"), post=False, rope=dict(rope_theta=1e4)),
    encoder("distilbert", "DistilBert",
            dict(q="attention.q_lin", k="attention.k_lin", v="attention.v_lin", out="attention.out_lin",
                 self_norm="sa_layer_norm", up="ffn.lin1", down="ffn.lin2", feed_norm="output_layer_norm"),
            dict(dim=H * D, hidden_dim=80, n_layers=2, n_heads=H), "transformer.layer.N", eps="no_eps"),
    encoder("albert", "Albert",
            dict(q="attention.query", k="attention.key", v="attention.value", out="attention.dense",
                 self_norm="attention.LayerNorm", up="ffn", down="ffn_output", feed_norm="full_layer_layer_norm"),
            dict(embedding_size=16), "encoder.albert_layer_groups.0.albert_layers.0", activation="gelu_tanh"),
    encoder("mpnet", "MPNet", {**BERT, "q": "attention.attn.q", "k": "attention.attn.k", "v": "attention.attn.v",
                               "out": "attention.attn.o", "self_norm": "attention.LayerNorm"},
            buckets="encoder.relative_attention_bias.weight"),
    encoder("nomic_bert", "NomicBert",
            {**without(LLAMA, "self_norm"), "self_norm": "post_attention_layernorm", "feed_norm": "post_mlp_layernorm"},
            layers="layers.N", activation="silu", rope=rope),
    encoder("modernbert", "ModernBert",
            dict(self_norm="attn_norm", qkv="attn.Wqkv", out="attn.Wo", feed_norm="mlp_norm", gate_up="mlp.Wi",
                 down="mlp.Wo"),
            dict(cls_token_id=1, sep_token_id=2, local_attention=6, layer_types=TYPES["layer_types"]), "layers.N",
            "norm_eps", False, rope=rope, both_sides=lambda c, n: c.sliding_window if sliding(c, n) else None),
    deberta("deberta", "Deberta",
            {**without(BERT, "q", "k", "v"), "qkv": "attention.self.in_proj", "q_bias": "attention.self.q_bias",
             "v_bias": "attention.self.v_bias", "place_k": "attention.self.pos_proj",
             "place_q": "attention.self.pos_q_proj"},
            dict(max_relative_positions=16), by_group=True, places="deberta"),
    deberta("deberta_v2", "DebertaV2",
            {**BERT, "q": "attention.self.query_proj", "k": "attention.self.key_proj", "v": "attention.self.value_proj",
             "place_k": "attention.self.key_proj", "place_q": "attention.self.query_proj"},
            dict(share_att_key=True, norm_rel_ebd="layer_norm", position_buckets=4), places="deberta"),
    Family("xlnet", "XLNetModel", "XLNetConfig", dict(vocab_size=64, d_model=H * D, n_layer=2, n_head=H, d_inner=80),
           "layer.N",
           dict(self_norm="rel_attn.layer_norm", q="rel_attn.q", k="rel_attn.k", v="rel_attn.v", out="rel_attn.o",
                q_bias="rel_attn.r_w_bias", place_k="rel_attn.r", place_bias="rel_attn.r_r_bias",
                feed_norm="ff.layer_norm", up="ff.layer_1", down="ff.layer_2"), "encoder",
           options=layer_normed("layer_norm_eps", post=True, activation="gelu", places="xlnet", tokens_first=True)),
    Family("t5", "T5EncoderModel", "T5Config",
           dict(vocab_size=64, d_model=H * D, d_ff=80, d_kv=24, num_layers=2, num_heads=H), "encoder.block.N",
           dict(self_norm="layer.0.layer_norm", q="layer.0.SelfAttention.q", k="layer.0.SelfAttention.k",
                v="layer.0.SelfAttention.v", out="layer.0.SelfAttention.o", feed_norm="layer.1.layer_norm",
                up="layer.1.DenseReluDense.wi", down="layer.1.DenseReluDense.wo"), "encoder",
           options=dict(norm="rms", eps=1e-6, activation="relu", rope=None, scale=1.0, head_dim=24,
                        buckets="encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")),
    # Encoders with decoders.
    *pair("bart", "Bart", True),
    *pair("marian", "Marian", True, "gelu", {**PAIR_SIZES, "decoder_vocab_size": 64}),
    *pair("blenderbot", "Blenderbot", False),
    *pair("mbart", "MBart", False),
    *pair("pegasus", "Pegasus", False),
    *pair("m2m_100", "M2M100", False, "relu"),
    *pair("whisper", "Whisper", False, "gelu",
          {**without(PAIR_SIZES, "max_position_embeddings"), "num_mel_bins": 8, "max_source_positions": 20,
           "max_target_positions": 40}),
    # Images and sound.
    picture("vit", "ViTModel", "ViTConfig"),
    picture("deit", "DeiTModel", "DeiTConfig"),
    picture("vit_msn", "ViTMSNModel", "ViTMSNConfig"),
    picture("ijepa", "IJepaModel", "IJepaConfig"),
    picture("beit", "BeitModel", "BeitConfig",
            {**VIT, "self_layer_scale": "lambda_1", "feed_layer_scale": "lambda_2",
             "relative_bias": "relative_position_bias.relative_position_bias_table"},
            sizes={**IMAGE_SIZES, "use_relative_position_bias": True}, rows=4),
    Family("swin", "SwinModel", "SwinConfig",
           dict(embed_dim=H * D, depths=[2], num_heads=[H], image_size=16, patch_size=2, window_size=4),
           "encoder.layers.0.blocks.N",
           {**VIT, "relative_bias": "attention.relative_position_bias.relative_position_bias_table"}, "windows",
           options=layer_normed("layer_norm_eps", activation="gelu", rows=4, shift=lambda c, n: 2 * n)),
    picture("dinov2", "Dinov2Model", "Dinov2Config",
            {**VIT, "self_norm": "norm1", "feed_norm": "norm2", "self_layer_scale": "layer_scale1.lambda1",
             "feed_layer_scale": "layer_scale2.lambda1"}, "encoder.layer.N"),
    picture("clip", "CLIPVisionModel", "CLIPVisionConfig", CLIP, "encoder.layers.N", activation="gelu_sigmoid"),
    picture("siglip", "SiglipVisionModel", "SiglipVisionConfig", CLIP, "encoder.layers.N", activation="gelu_tanh"),
    sound("wav2vec2", "Wav2Vec2"),
    sound("hubert", "Hubert"),
]

ROLES = ("self_norm", "q_down", "q_latent_norm", "q", "q_bias", "k", "v", "qkv", "v_bias", "kv_down", "kv_latent_norm",
         "kv_up", "q_norm", "k_norm", "place_k", "place_q", "place_bias", "relative_bias", "sinks", "gate_of_attention",
         "out_norm", "out", "self_output_norm", "self_layer_scale", "cross_norm", "cross_q", "cross_k", "cross_v",
         "cross_out", "feed_norm", "gate_up", "gate", "up", "xielu", "hidden_norm", "down", "feed_output_norm",
         "feed_layer_scale")
SAID = dict(parallel="parallel", post="post-norm", unit="norms are 1 + weight", all_heads="QK-norm over all heads",
            after_rotary="QK-norm after rotary", interleaved="interleaved rotary", alibi="ALiBi", window="window",
            both_sides="window to both sides", rows="relative_bias backwards", shift="windows as sequences",
            chunk="chunks", softcap="soft cap", scale="scale", buckets="buckets",
            factor="residual_factor", factor_of_q="query_factor", order="weights [in, out]",
            by_group="qkv_order by group", split="qkv rows [4,3,H/4·D], v before k", clip="clip",
            gate_in_q="gate_in_q", latents="latent attention",
            latents_scaled="weights of latent norms times √(M / rank)", places="places by attn_score_fn")
HEAD = """\
# Your model on libattn

Where the weights of a block are in the checkpoints of each family, by the names that Hugging Face's transformers gives
them, and which options of `attn_block_params` and `attn_sdpa_params` make the block theirs. `tests/peers/models.py`
runs each of them beside transformers, tiny and with random weights: with padding, ragged, and decoders with a cache in
uneven steps. `python3 tests/peers/families.py` prints this page.

Names are those of modules in a layer, `.weight` and `.bias` behind them; roles are fields of the parameter structs
(`q` is `q_weight`, `qkv` `in_weight`, `gate_up` the gate's rows and then up's, `gate_of_attention` attention's
`gate_weight`; "attention" has only that part). With latent attention `q_down`, `kv_down` and `kv_up` are
`q_down_weight` and so on, and the cache is of latents; YaRN's `mscale_all_dim` is part of its scale, too. Keys of
places (`place_k`), queries of places (`place_q`) and what is added to queries before they meet the former
(`place_bias`, instead of `q_bias`) belong to an `attn_score_fn`, which gets q and k: `Places` in `models.py` is one.

The first of them in C:

```c
/* A layer of LLaMA 3.2 1B; `at` finds tensors of model.layers.N, in f32. Matrices may stay bf16: weight_dtype. */
static attn_block *llama_layer(attn_context *context, const float *(*at)(const char *name)) {
    attn_norm_params norms[2];
    attn_mha_params attention;
    attn_feed_params feed;
    attn_block_params params;
    attn_block *block = NULL;
    ATTN_INIT(&norms[0]), ATTN_INIT(&norms[1]), ATTN_INIT(&attention), ATTN_INIT(&feed), ATTN_INIT(&params);
    norms[0].kind = norms[1].kind = ATTN_RMS_NORM;
    norms[0].eps = norms[1].eps = 1e-5F; /* rms_norm_eps */
    norms[0].weight = at("input_layernorm.weight");
    norms[1].weight = at("post_attention_layernorm.weight");
    attention.model_width = 2048; /* hidden_size */
    attention.heads = 32; /* num_attention_heads */
    attention.kv_heads = 8; /* num_key_value_heads */
    attention.q_weight = at("self_attn.q_proj.weight");
    attention.k_weight = at("self_attn.k_proj.weight");
    attention.v_weight = at("self_attn.v_proj.weight");
    attention.out_weight = at("self_attn.o_proj.weight");
    feed.hidden_width = 8192; /* intermediate_size */
    feed.activation = ATTN_SILU;
    feed.gate_weight = at("mlp.gate_proj.weight");
    feed.up_weight = at("mlp.up_proj.weight");
    feed.down_weight = at("mlp.down_proj.weight");
    params.self_norm = &norms[0];
    params.self_attention = &attention;
    params.feed_norm = &norms[1];
    params.feed = &feed;
    return attn_block_create(context, &params, &block) == ATTN_OK ? block : NULL;
}
```

A step, or a prompt, is `attn_block_forward` with the layer's cache, `causal` ATTN_CAUSAL_BOTTOM_RIGHT and a `rotary`
with the tables that `attn_rotary_tables` makes of `rope_scaling`.
"""


def say(family):
    """The options in words."""
    words = []
    for name, text in SAID.items():
        value = family.options.get(name)
        if value:
            words.append(text[value] if isinstance(text, dict) else text)
    if callable(family.options["rope"]) and family.options["rope"] is not rope:
        words.append("rotary in some layers")
    activation = family.options["activation"]
    words = [f"{family.options['norm']} norm"] + words
    return ", ".join(words + ([activation] if family.scope == "block" else ["attention"]))


def name_all(family):
    """Its names, or the first family that has the same."""
    first = next(other for other in FAMILIES if other.names == family.names)
    if first is not family:
        return f"as {first.title}"
    return ", ".join(f"{role} `{family.names[role]}`" for role in ROLES if family.names.get(role))


def manual():
    lines = [HEAD]
    for family in FAMILIES:
        text = f"**{family.title}** (`{family.layers}`; {say(family)}): {name_all(family)}."
        lines.append(textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n")
    return "\n".join(lines)


if __name__ == "__main__":
    print(manual(), end="")

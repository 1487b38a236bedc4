/* SPDX-License-Identifier: BSD-3-Clause */
/* Multi-head attention: the projections and the attention between them, as one layer. */
#ifndef ATTN_MHA_H
#define ATTN_MHA_H

#include <stddef.h>

#include "cache.h"
#include "context.h"
#include "export.h"
#include "linear.h"
#include "norm.h"
#include "sdpa.h"
#include "status.h"
#include "tensor.h"

/* A layer's packed weights: immutable once made, may be used by any number of threads and contexts at the same time. */
typedef struct attn_mha attn_mha;

/* How the output features of in_weight, in_bias and in_scale lie. */
typedef enum attn_qkv_order {
    ATTN_QKV_STACKED = 0, /* [H·D + G·D + G·E]: PyTorch, GPT-2, Phi-3, MPT, DBRX */
    ATTN_QKV_BY_GROUP = 1 /* [G, (H/G)·D + D + E]: for each key/value head the query heads that read it, its key, its
                             value. With G = H [H, 3, D]: GPT-NeoX, BLOOM, Falcon RW; Falcon 7B and 40B */
} attn_qkv_order;

/* Forms of a layer, each alone or with others:
 *     one matrix for q, k and v   in_weight, qkv_order
 *     clip of q, k and v          clip: MPT, OLMo, DBRX (clip_qkv)
 *     gate on attention's output  gate_weight, gate_in_q, gate_per_head: Qwen3-Next and Qiu et al., "Gated attention
 *                                 for large language models", 2025
 *     norm before out_weight      out_norm: BitNet (attn_sub_norm)
 *     low-rank q                  q_latent: DeepSeek V2 and V3, MiniCPM 3, Kimi K2
 *     latent keys and values      kv_latent: the same, DeepSeek V2 Lite; "MLA" of DeepSeek-AI, "DeepSeek-V2", 2024 */

/* PyTorch's nn.MultiheadAttention(embed_dim, num_heads) has model_width and heads of these; in_proj_weight and
 * in_proj_bias are in_weight and in_bias, or with a kdim or vdim q_proj_weight, k_proj_weight and v_proj_weight are
 * q_weight, k_weight and v_weight, and the thirds of in_proj_bias their biases; out_proj's weight and bias are
 * out_weight and out_bias; `order` stays ATTN_OUT_IN. Tensors of batch_first=True are attn_tensor_btm; without it they
 * are [T,B,M]: views with size {B, 1, T, M} and stride {M, 0, B·M, 1}. Masks: ATTN_PRESET_PYTORCH_MHA.
 *
 * Weights are dense, read during attn_mha_create and not kept. Output features of a projection are heads first:
 * feature h·D + d is element d of head h. Biases may be NULL, each on its own: no bias. */
typedef struct attn_mha_params {
    size_t struct_size;

    size_t model_width;       /* M: width of the query input and of the output. Required. */
    size_t heads;             /* H. Required. */
    size_t kv_heads;          /* G. 0: H. H mod G = 0. */
    size_t head_width;        /* D. 0: M / H, which must be exact. */
    size_t value_width;       /* E. 0: D. */
    size_t key_input_width;   /* width of the key input (PyTorch's kdim). 0: M. */
    size_t value_input_width; /* width of the value input (PyTorch's vdim). 0: M, with kv_latent key_input_width. */

    attn_weight_order order; /* of all the matrices below */

    /* Either one matrix for all three projections, its output features the H·D of Q, then the G·D of K, then the G·E of
     * V (all inputs must be M wide) ... */
    const void *in_weight; /* [H·D + G·D + G·E, M], or transposed */
    const float *in_bias;  /* [H·D + G·D + G·E] */
    /* ... or three. */
    const void *q_weight; /* [H·D, M] */
    const void *k_weight; /* [G·D, key_input_width] */
    const void *v_weight; /* [G·E, value_input_width] */
    const float *q_bias;  /* [H·D] */
    const float *k_bias;  /* [G·D] */
    const float *v_bias;  /* [G·E] */

    const void *out_weight; /* [M, H·E]. Required. */
    const float *out_bias;  /* [M] */

    /* One more key and its value, which every query sees whatever is masked: PyTorch's bias_k and bias_v. Both or
     * neither; no part of `weights`, key_mass and other outputs, which then sum to less than 1. */
    const float *extra_key;   /* [G·D] */
    const float *extra_value; /* [G·E] */
    int zero_key;             /* not 0: another one, of zeros: PyTorch's add_zero_attn */

    /* The type of all the matrices, and with ATTN_INT8 a scale for each output feature of each matrix that is there, as
     * in attn_linear_params; with ATTN_INT4 scales and offsets of the groups of these features. */
    attn_dtype weight_dtype;
    const float *in_scale;  /* [H·D + G·D + G·E] */
    const float *q_scale;   /* [H·D] */
    const float *k_scale;   /* [G·D] */
    const float *v_scale;   /* [G·E] */
    const float *out_scale; /* [M] */

    attn_qkv_order qkv_order; /* of in_weight; else 0 */
    float clip; /* q, k and v become min(max(x, −clip), clip) once they are projected, before qk_norm and
                                 rotary. 0: off. Finite and positive */

    /* Attention's output, [H,E] for a token, is multiplied by sigmoid(gate), [H,E] too or [H], the gate being a
     * projection of the query input (also where a token sees no key, or is not there: 0 · NaN is NaN). */
    const void *gate_weight; /* [H·E, M], per head [H, M]; NULL: none */
    const float *gate_bias;  /* [H·E] or [H] */
    const float *gate_scale; /* [H·E] or [H] */
    int gate_per_head;
    int gate_in_q; /* not 0: q_weight is [H, D + E, M], per head [H, D + 1, M]: each head's rows of q and then those of
                      its gate, q_bias and q_scale alike; gate_weight and the others are NULL. Not with in_weight
                      or q_latent. Qwen3-Next's q_proj */

    const attn_norm_params *out_norm; /* of the H·E numbers of a token, gated if they are, before out_weight; or NULL */

    /* Low-rank queries: q_weight is [H·D, q_latent], and what it reads is norm(q_down_weight · query). Not with
     * in_weight. */
    size_t q_latent;                       /* "q_lora_rank"; 0: off */
    const void *q_down_weight;             /* [q_latent, M]: q_a_proj */
    const float *q_down_bias;              /* [q_latent] */
    const float *q_down_scale;             /* [q_latent] */
    const attn_norm_params *q_latent_norm; /* [q_latent]: q_a_layernorm; or NULL */

    /* Multi-head latent attention. [c, r] = kv_down_weight · key, L = kv_latent and R = shared_key_width numbers of a
     * token, and c becomes norm(c). Head h has the key [K_h · c, r] of D numbers and the value V_h · c of E. G = H;
     * k_weight, v_weight and what belongs to them, in_weight, clip, extra_key and zero_key must be 0, and values are
     * made of the key input: `value` is NULL. rotary must turn nothing but the last R elements (offset D − R, or more),
     * and there is no qk_norm.
     *
     * Without a cache keys and values are made of the latents, also for a prompt into one that is empty. Caches have
     * kv_heads 1, head_width L + R and latent_width L, and keep [c, r], once. Queries and outputs of heads are then
     * multiplied by K_h and V_h instead of the keys and values ("absorbed"), which is the same but for rounding; a
     * callback sees the queries [K_hᵀ · q, q_r] and the keys [c, r]. */
    size_t kv_latent;                       /* L, "kv_lora_rank"; 0: off */
    size_t shared_key_width;                /* R, "qk_rope_head_dim", less than D; may be 0 */
    const void *kv_down_weight;             /* [L + R, key_input_width]: kv_a_proj_with_mqa */
    const float *kv_down_bias;              /* [L + R] */
    const float *kv_down_scale;             /* [L + R] */
    const attn_norm_params *kv_latent_norm; /* [L]: kv_a_layernorm; or NULL */
    const void *kv_up_weight;               /* [H, (D − R) + E, L], of each head K and then V: kv_b_proj */
    const float *kv_up_scale;               /* [H, (D − R) + E] */
} attn_mha_params;

/* What a call of a layer attends to, where that is in a cache. */
typedef struct attn_mha_inputs {
    size_t struct_size;

    /* NULL: all defaults. A decoder sets causal = ATTN_CAUSAL_BOTTOM_RIGHT. Which tokens `query` has is told below:
     * query_lengths, query_starts, key_starts and sequences must be 0, and with `cache` key_lengths, too. */
    const attn_sdpa_params *params;

    /* One of them, of B sequences (with `starts` N) and the layer's kv_heads, head_width and value_width. The keys and
     * values of the tokens of `query` are appended to `cache`, and the queries attend to all that it then holds ... */
    attn_cache *cache;
    /* ... or nothing is appended: what attn_mha_append made of an encoder's output, or the cache of another layer,
     * which has appended to it already: Gemma 3n, YOCO. */
    const attn_cache *shared_cache;

    /* As in attn_block_inputs. */
    const int64_t *counts; /* [B], or NULL */
    size_t sequences;      /* N; with `starts` at least 1 */
    const int64_t *starts; /* [N+1], or NULL */
} attn_mha_inputs;

#ifdef __cplusplus
extern "C" {
#endif

/* Packs the weights of a layer for the backend of `context`, with memory of its allocator (which must outlive the
 * layer). On success *mha is the caller's, to be given to attn_mha_destroy; it may be used with any context, fastest
 * with those of the same backend. On failure *mha is NULL (if `mha` is not).
 * Errors: NULL, SHAPE, VALUE, DTYPE, STRUCT, OVERFLOW, MEMORY. */
ATTN_API attn_status attn_mha_create(attn_context *context, const attn_mha_params *params, attn_mha **mha);

/* Packs other weights in the place of those of a layer, for training; after it the layer is as attn_mha_create would
 * make it of these params, which have the widths, orders and types of those that it was made of, and each matrix, bias
 * and norm that they had. Allocates nothing but scratch. No other call may be using the layer.
 *   context  of the precision of that which created it, and of the same backend
 * Errors: as attn_mha_create; VALUE also where something does not fit what was packed. Nothing is changed then. */
ATTN_API attn_status attn_mha_update(attn_context *context, attn_mha *mha, const attn_mha_params *params);

/* Frees a layer. NULL is allowed. No call may be using it. */
ATTN_API void attn_mha_destroy(attn_mha *mha);

/* out = concat over heads of sdpa(query·Wq, key·Wk, value·Wv) · Wo, each projection with its bias.
 *   query   [B,1,Tq,M] (attn_tensor_btm)
 *   key     [B,1,Tk,key_input_width], NULL: query (self-attention)
 *   value   [B,1,Tk,value_input_width], NULL: key
 *   out     [B,1,Tq,M], output
 *   params  NULL: all defaults; its outputs are as in attn_sdpa. With `key` NULL, key_lengths NULL means as
 *           query_lengths. Tokens before and behind the sequences of a ragged batch get 0 from attention.
 * A query that sees no key gets 0 from attention, so out_bias is its output.
 * Errors: those of attn_sdpa; nothing is written then. */
ATTN_API attn_status attn_mha_forward(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                                      const attn_tensor *key, const attn_tensor *value, const attn_tensor *out,
                                      const attn_sdpa_params *params);

/* Sets *bytes to the scratch that attn_mha_forward with the same arguments needs: the projected heads, O(B·T·M), and
 * attn_sdpa's. Reads no data: the data pointers may be NULL, and so may causal_offset. Errors as attn_mha_forward, but
 * for those that only the data show. */
ATTN_API attn_status attn_mha_scratch_size(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                                           const attn_tensor *key, const attn_tensor *value, const attn_tensor *out,
                                           const attn_sdpa_params *params, size_t *bytes);

/* The layer on a cache: appends and attends in one call, a decoder's step, or its prompt.
 *   query   [B,1,T,M], f32, f16 or bf16
 *   out     [B,1,T,M], output
 *   inputs  Required
 * qk_norm and rotary of the params are applied to queries, and to what is appended. Errors: those of attn_sdpa and
 * attn_cache_append; VALUE also where keys or values have Inf or NaN and the cache is int8 or int4; nothing is written
 * or appended then. */
ATTN_API attn_status attn_mha_attend(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                                     const attn_tensor *out, const attn_mha_inputs *inputs);

/* Sets *bytes to the scratch that attn_mha_attend with the same arguments needs, caches being as full as they may be.
 * Reads no data, as attn_mha_scratch_size. */
ATTN_API attn_status attn_mha_attend_scratch_size(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                                                  const attn_tensor *out, const attn_mha_inputs *inputs, size_t *bytes);

/* Appends the keys and values that the layer makes of its inputs to a cache: an encoder's output, once for all steps.
 *   key     [B,1,T,key_input_width]
 *   value   [B,1,T,value_input_width]; NULL: key
 *   cache   of B sequences and the layer's kv_heads, head_width and value_width
 *   params  as in attn_cache_append; NULL: all defaults
 * Errors: those of attn_cache_append, MEMORY; nothing is changed then. */
ATTN_API attn_status attn_mha_append(attn_context *context, const attn_mha *mha, const attn_tensor *key,
                                     const attn_tensor *value, attn_cache *cache,
                                     const attn_cache_append_params *params);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* The block of a transformer: attention, feed-forward, norms and residuals. A stack of them is an encoder or a decoder.
 * Letters besides those of tensor.h: F hidden width of the feed-forward, Te tokens of the encoder. */
#ifndef ATTN_BLOCK_H
#define ATTN_BLOCK_H

#include <stddef.h>

#include "cache.h"
#include "context.h"
#include "export.h"
#include "mha.h"
#include "norm.h"
#include "sdpa.h"
#include "status.h"
#include "tensor.h"

/* A block's packed weights: immutable once made, may be used by any number of threads and contexts at the same time. */
typedef struct attn_block attn_block;

/* Where the norms self_norm, cross_norm and feed_norm are. */
typedef enum attn_norm_place {
    ATTN_PRE_NORM = 0, /* x + f(norm(x)): GPT-2, LLaMA, ViT. The stack wants one more norm at its end: attn_norm. */
    ATTN_POST_NORM = 1 /* norm(x + f(x)): Vaswani et al., BERT */
} attn_norm_place;

/* Residual forms. Each sublayer f turns the stream x into
 *     x + residual_factor · layer_scale ⊙ output_norm(f(norm(x))),
 * of which everything but x and f may be left out; with ATTN_POST_NORM it is norm(x + …output_norm(f(x))). With
 * `parallel` all sublayers read the x that the block got, and their results are added to it together.
 *
 *     form            set                              model families (as Hugging Face names them)
 *     pre-norm        self_norm, feed_norm             GPT-2, LLaMA, Mistral, Qwen2, Qwen3, OPT, MPT, BLOOM, Phi-3,
 *                                                      DBRX, GPT-OSS, StarCoder2, Apertus, ViT, CLIP, Whisper, T5
 *     post-norm       the same, ATTN_POST_NORM         BERT, RoBERTa, DistilBERT, BART, Marian, XLM, wav2vec 2.0 base
 *     output norm     self_output_norm and             OLMo 2 and 3, EXAONE 4, Swin v2
 *                     feed_output_norm alone
 *     both            all four                         Gemma 2 and 3, GLM-4
 *     parallel        self_norm, parallel              GPT-J, CodeGen, Falcon 7B, Phi-1, Phi-2, Cohere, Cohere 2
 *     parallel, two   self_norm, feed_norm, parallel   GPT-NeoX, Pythia, Falcon 40B and later
 *     factor          residual_factor                  Granite (residual_multiplier), MiniCPM (scale_depth / √layers);
 *                                                      DeepNorm, norm(α·x + f(x)): 1/α, post-norm, eps / α²
 *     LayerScale      …_layer_scale                    CaiT, DINOv2, BEiT, data2vec-vision, InternVL's vision model */

/* down(activation(gate(x)) · up(x)), or down(activation(up(x))) where nothing gates. SwiGLU is ATTN_SILU with a gate,
 * GeGLU is ATTN_GELU with one; Shazeer, "GLU variants improve transformer", 2020. */
typedef struct attn_feed_params {
    size_t struct_size;
    size_t hidden_width; /* F. Required. */
    attn_activation activation;
    attn_weight_order order; /* of the matrices */
    const void *up_weight;   /* [F, M]. Required. */
    const float *up_bias;    /* [F]; NULL, as for the others: none */
    const void *gate_weight; /* [F, M]; NULL: not gated */
    const float *gate_bias;  /* [F] */
    const void *down_weight; /* [M, F]. Required. */
    const float *down_bias;  /* [M] */

    /* The type of the matrices, and with ATTN_INT8 a scale for each output feature of each matrix that is there, as in
     * attn_linear_params; with ATTN_INT4 scales and offsets of the groups of these features. */
    attn_dtype weight_dtype;
    const float *up_scale;   /* [F] */
    const float *gate_scale; /* [F] */
    const float *down_scale; /* [M] */

    const attn_activation_params *activation_params; /* NULL: all defaults. up_offset only with a gate. */
    const attn_norm_params *hidden_norm; /* of the F numbers before `down`; or NULL. BitNet's ffn_sub_norm */
} attn_feed_params;

/* Sublayers in the order in which they run: self-attention, cross-attention, feed-forward, each with a norm and a
 * residual. What is NULL is left out. Everything is read during attn_block_create and not kept. */
typedef struct attn_block_params {
    size_t struct_size;
    attn_norm_place norm_place;

    const attn_mha_params *self_attention; /* Required; its model_width is M; key and value inputs are M wide */
    const attn_norm_params *self_norm;

    /* Its model_width is M; key and value inputs are as wide as the encoder's output. */
    const attn_mha_params *cross_attention;
    const attn_norm_params *cross_norm;

    const attn_feed_params *feed;
    const attn_norm_params *feed_norm;

    /* Residual forms, as above. Factors and norms of a sublayer that is not there must be NULL. */
    int parallel;          /* not 0: sublayers whose norm is NULL read what self_norm makes. Not with ATTN_POST_NORM. */
    float residual_factor; /* of what each sublayer adds. 0: 1. Finite. */
    const attn_norm_params *self_output_norm;
    const attn_norm_params *cross_output_norm;
    const attn_norm_params *feed_output_norm;
    const float *self_layer_scale;  /* [M]; NULL, as for the others: 1 */
    const float *cross_layer_scale; /* [M] */
    const float *feed_layer_scale;  /* [M] */
} attn_block_params;

/* What a call of a block attends to, and how. */
typedef struct attn_block_inputs {
    size_t struct_size;

    /* Of the self-attention; NULL: all defaults. A decoder sets causal = ATTN_CAUSAL_BOTTOM_RIGHT. Which tokens x has
     * is told below, to both attentions: query_lengths, query_starts and sequences of both params must be 0, and of
     * these key_starts, too, and with a cache or counts key_lengths. */
    const attn_sdpa_params *self_params;

    /* The keys and values of earlier tokens; NULL: there are none. Those of x are appended, and the queries attend to
     * all that it then holds. Of this block alone: [B, kv_heads, head_width, value_width]. With `starts`, B is N. */
    attn_cache *cache;

    /* With cross-attention, one of them: the encoder's output [B,1,Te,key_input_width] ... */
    const attn_tensor *encoded;
    /* ... or its keys and values, which attn_block_encode put into a cache. */
    const attn_cache *encoded_cache;
    const attn_sdpa_params *cross_params; /* NULL: all defaults */

    /* [B], or NULL: x has so many tokens of each sequence, as prompts of different lengths have. Only these are keys,
     * or appended, and they are the last of the sequence then: of c tokens appended to what is then L long, token i is
     * at L − c + i. Tokens beyond are no part of it: attention gives 0 for them, and they change nothing of others. */
    const int64_t *counts;

    /* Ragged batch: N sequences one after the other in x [1,1,T,M]; sequence n has tokens [starts[n], starts[n+1]), as
     * query_starts in attn_sdpa_params, and what is [B] is [N]. NULL: off. Cross-attention has as many sequences, in
     * `encoded` at key_starts of cross_params (NULL: at `starts`). Attention gives 0 for tokens of none. */
    size_t sequences;      /* N; at least 1 where there are tokens */
    const int64_t *starts; /* [N+1] */

    /* Instead of `cache`: the cache of another block, which has appended to it already; nothing is appended, and this
     * block's keys and values are not even made. Gemma 3n's and Gemma 4's last layers (num_kv_shared_layers), YOCO. */
    const attn_cache *shared_cache;
} attn_block_inputs;

#ifdef __cplusplus
extern "C" {
#endif

/* Packs the weights of a block for the backend of `context`, with memory of its allocator (which must outlive the
 * block). On success *block is the caller's, to be given to attn_block_destroy; it may be used with any context,
 * fastest with those of the same backend. On failure *block is NULL (if `block` is not). Errors: NULL, SHAPE, VALUE,
 * DTYPE, STRUCT, OVERFLOW, MEMORY. Messages name fields of the nested structs too, as in "params.feed.hidden_width". */
ATTN_API attn_status attn_block_create(attn_context *context, const attn_block_params *params, attn_block **block);

/* Packs other weights in the place of those of a block, for training; after it the block is as attn_block_create would
 * make it of these params, as attn_mha_update (mha.h) does with a layer. Allocates nothing but scratch. No other call
 * may be using the block.
 *   context  of the precision of that which created it, and of the same backend
 * Errors: as attn_block_create; VALUE also where something does not fit what was packed. Nothing is changed then. */
ATTN_API attn_status attn_block_update(attn_context *context, attn_block *block, const attn_block_params *params);

/* Frees a block. NULL is allowed. No call may be using it. */
ATTN_API void attn_block_destroy(attn_block *block);

/* out = block(x).
 *   x       [B,1,T,M] (attn_tensor_btm), f32, f16 or bf16
 *   out     [B,1,T,M], output, f32, f16 or bf16; may be x itself, the same view, so that a stack runs in one buffer
 *   inputs  NULL: self-attention with all defaults
 * Numbers are f32 between the sublayers. Same inputs, build, backend and ISA give the same bits for any number of
 * threads. Errors: those of attn_sdpa, attn_mha_forward and attn_cache_append; VALUE also where keys or values have Inf
 * or NaN and the cache is int8 or int4; nothing is written or appended then. */
ATTN_API attn_status attn_block_forward(attn_context *context, const attn_block *block, const attn_tensor *x,
                                        const attn_tensor *out, const attn_block_inputs *inputs);

/* Sets *bytes to the scratch that attn_block_forward with the same arguments needs, caches being as full as they may
 * be: O(B·T·M), and attn_sdpa's. Reads no data: the data pointers may be NULL, and so may causal_offset. Errors as
 * attn_block_forward, but for those that only the data, or the tokens in a cache, show. */
ATTN_API attn_status attn_block_scratch_size(attn_context *context, const attn_block *block, const attn_tensor *x,
                                             const attn_tensor *out, const attn_block_inputs *inputs, size_t *bytes);

/* Appends the keys and values that the block's cross-attention makes of the encoder's output to a cache, once for all
 * the steps of a decoder. Needs no more scratch than attn_block_forward with the same `encoded`.
 *   encoded  [B,1,Te,key_input_width]
 *   cache    [B, kv_heads, head_width, value_width] of the cross-attention
 *   params   as in attn_cache_append: how many tokens each sequence has, and what is done to its keys; NULL: all
 *            defaults. qk_norm and rotary are those that the cross_params of the steps will have.
 * Errors: those of attn_cache_append, MEMORY; VALUE where the block has no cross-attention. Nothing is changed then. */
ATTN_API attn_status attn_block_encode(attn_context *context, const attn_block *block, const attn_tensor *encoded,
                                       attn_cache *cache, const attn_cache_append_params *params);

#ifdef __cplusplus
}
#endif

#endif

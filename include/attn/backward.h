/* SPDX-License-Identifier: BSD-3-Clause */
/* Gradients: the backward pass of what the other headers compute. A gradient of x is that of some loss L, dL/dx, and is
 * called dx. */
#ifndef ATTN_BACKWARD_H
#define ATTN_BACKWARD_H

#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "context.h"
#include "embed.h"
#include "export.h"
#include "linear.h"
#include "mha.h"
#include "norm.h"
#include "sdpa.h"
#include "status.h"
#include "tensor.h"

/* The derivative of an attn_score_fn. tile->scores are those that the function was given, not to be changed;
 * gradients (i, j) at gradients[i·stride + j] are those of the scores that it made, and become, in place, those of the
 * scores that it was given. What the function read of q and k counts as constant. Called as the function is. */
typedef void (*attn_score_backward_fn)(void *data, const attn_score_tile *tile, float *gradients);

/* What is given beside d_out, and what is wanted: NULL is not computed. No output may share memory with an input or
 * with another output. */
typedef struct attn_sdpa_gradients {
    size_t struct_size;

    const float *d_lse; /* of params.lse, dense as it is; NULL: it is 0 */

    /* Outputs of the shapes of q, k and v; f32, f16 or bf16 each. Of a sequence's tokens beyond its length they are 0;
     * tokens between the sequences of a ragged batch are not written. */
    const attn_tensor *dq, *dk, *dv;

    /* Outputs, f32. */
    const attn_tensor *d_bias; /* of the shape of params.bias: where that is broadcast, sums */
    float *d_sinks;            /* [H]; an empty row, whose lse is the sink, adds its d_lse */
    float *d_alibi_slopes;     /* [H], whether the slopes are the caller's or not */
    float *d_relative_bias;    /* of the shape of params.relative_bias->table */

    /* Not 0: gradients are added to what the outputs hold. A type of 16 bits rounds each sum. */
    int accumulate;

    attn_score_backward_fn score_backward; /* for params.score */

    /* Outputs, f32, of the shapes of params.qk_norm's q_weight, k_weight and, with norm_values, v_weight, whether these
     * are given or not. */
    float *d_q_norm_weight, *d_k_norm_weight, *d_v_norm_weight;
    float *d_head_scales; /* [H] */
} attn_sdpa_gradients;

/* Gradients of a linear map; NULL is not computed. No output may share memory with an input or with another output. */
typedef struct attn_linear_gradients {
    size_t struct_size;
    const attn_tensor *dx; /* of the shape of x; f32, f16 or bf16 */
    float *d_weight;       /* [out_width, in_width], or transposed, dense, as the weight came */
    float *d_bias;         /* [out_width], whether the map has a bias or not */
    int accumulate;        /* Not 0: gradients are added to what the outputs hold. */
} attn_linear_gradients;

/* What is wanted of attn_norm_backward: NULL is not computed. */
typedef struct attn_norm_gradients {
    size_t struct_size;
    const attn_tensor *dx; /* output of the sizes of x, f32; unless added to, may be x or d_out itself, the same view */
    float *d_weight, *d_bias; /* [M], outputs: sums over all rows, whether params has weight and bias or not */
    int accumulate;           /* not 0: gradients are added to what the outputs hold */
} attn_norm_gradients;

/* Gradients of a layer, each of the shape, order and layout of what it is the gradient of; NULL is not computed. No
 * output may share memory with an input or with another output. */
typedef struct attn_mha_gradients {
    size_t struct_size;

    /* Of the inputs; f32, f16 or bf16. Where the call has no key, d_query is that of all that was made of the query,
     * and d_key NULL; likewise without value and d_value. */
    const attn_tensor *d_query, *d_key, *d_value;

    /* Of the fields of attn_mha_params, f32. */
    float *d_in_weight, *d_in_bias;              /* for a layer with in_weight */
    float *d_q_weight, *d_k_weight, *d_v_weight; /* for one without */
    float *d_q_bias, *d_k_bias, *d_v_bias;
    float *d_out_weight, *d_out_bias;
    float *d_gate_weight, *d_gate_bias; /* with gate_in_q they are in those of q */

    /* Of what attention reads beside q, k and v; NULL: none. dq, dk, dv, d_lse and accumulate must be 0; with a
     * callback score_backward is set here. */
    const attn_sdpa_gradients *attention;

    int accumulate; /* Not 0: gradients are added to what the outputs hold; those of `attention`, too. */

    float *d_extra_key, *d_extra_value;       /* for a layer with extra_key */
    float *d_q_down_weight, *d_q_down_bias;   /* for one with q_latent */
    float *d_kv_down_weight, *d_kv_down_bias; /* for one with kv_latent */
    float *d_kv_up_weight;
    /* Whose dx must be NULL, and `accumulate` 0: that of this struct holds; or NULL. */
    const attn_norm_gradients *out_norm, *q_latent_norm, *kv_latent_norm;
} attn_mha_gradients;

/* What is wanted of attn_embed_backward: NULL is not computed. */
typedef struct attn_embed_gradients {
    size_t struct_size;
    float *d_token_table;         /* outputs of the shapes of params.token_table, ... */
    const attn_tensor *d_vectors; /* unless added to, may be d_out itself, the same view */
    float *d_position_table, *d_type_table;
    float *d_norm_weight, *d_norm_bias; /* [M], whether params.norm has them or not */
    int accumulate;                     /* not 0: gradients are added to what the outputs hold */
} attn_embed_gradients;

/* Of attn_cross_entropy. */
typedef struct attn_cross_entropy_params {
    size_t struct_size;
    const int64_t *ignored_target; /* the target of rows that do not count. NULL: −100, as PyTorch has it */
    float label_smoothing;         /* 0 to 1: so much of the target is spread evenly over all that is not −inf */
    float factor;                  /* of the loss and its gradients, finite. 0: 1 / (rows that count) */

    /* Outputs, or NULL. */
    float *losses;   /* [rows]: of each row, without the factor; 0 where it does not count */
    float *d_logits; /* [rows, columns], row r at d_logits + r·ldd: the gradients of the loss; may be the logits
                      * themselves with ldd = ld */
    size_t ldd;      /* at least columns */
} attn_cross_entropy_params;

/* Gradients of a feed-forward: of the fields of attn_feed_params, f32, of their shapes and order; NULL as above. */
typedef struct attn_feed_gradients {
    size_t struct_size;
    float *d_up_weight, *d_up_bias;
    float *d_gate_weight, *d_gate_bias; /* for one with a gate */
    float *d_down_weight, *d_down_bias;
    const attn_norm_gradients *hidden_norm; /* as those of attn_block_gradients */
} attn_feed_gradients;

/* Gradients of a block, named as the fields of attn_block_params. Of those nested here, which may be NULL, the tensors
 * must be, and `accumulate` is 0: that of this struct holds for all. */
typedef struct attn_block_gradients {
    size_t struct_size;
    const attn_tensor *dx;        /* [B,1,T,M], f32, f16 or bf16 */
    const attn_tensor *d_encoded; /* of the shape of inputs.encoded; f32, f16 or bf16 */
    const attn_mha_gradients *self_attention, *cross_attention;
    const attn_feed_gradients *feed;
    const attn_norm_gradients *self_norm, *cross_norm, *feed_norm;
    const attn_norm_gradients *self_output_norm, *cross_output_norm, *feed_output_norm;
    float *d_self_layer_scale, *d_cross_layer_scale, *d_feed_layer_scale; /* [M] */
    int accumulate;
} attn_block_gradients;

#ifdef __cplusplus
extern "C" {
#endif

/* The gradients of attn_sdpa(context, q, k, v, out, params).
 *   q, k, v, params  as they were there. params.lse is an input here, what attn_sdpa wrote, and must be given, but with
 *                    params.sigmoid; what its other outputs point at is not looked at. With dropout the same weights
 *                    are dropped.
 *   out              [B,H,Tq,E], what attn_sdpa wrote
 *   d_out            [B,H,Tq,E], f32, f16 or bf16
 * Masked keys and empty rows have gradients of 0, whatever they hold: NaN or Inf there changes no bit. A row of q or
 * d_out that is not finite makes the gradients of all that it sees NaN, but those of values whose weights were dropped.
 * The products are f32 in every precision of the context. `out` and lse are not, in one of less: what they differ by
 * from those of f32 is in the gradients of scores, most of all in sums of many, as d_alibi_slopes. Train in
 * PRECISION_F32. The memory is O(Tq + Tk), and bits are the same for any number of threads. d_alibi_slopes and
 * d_relative_bias, as well as d_bias where batch or heads are broadcast, leave the threads less to share: those of
 * different heads, or of the blocks of keys.
 * Errors: NULL, SHAPE, STRIDE, DTYPE, VALUE, STRUCT, OVERFLOW, ALIAS, MEMORY; nothing is written then.
 * Source: Dao et al., "FlashAttention", 2022, appendix B; Dao, "FlashAttention-2", 2023, section 3.1. */
ATTN_API attn_status attn_sdpa_backward(attn_context *context, const attn_tensor *q, const attn_tensor *k,
                                        const attn_tensor *v, const attn_tensor *out, const attn_tensor *d_out,
                                        const attn_sdpa_params *params, const attn_sdpa_gradients *gradients);

/* Sets *bytes to the scratch that attn_sdpa_backward with the same arguments needs (see attn_context_reserve). Reads no
 * data, as attn_sdpa_scratch_size. Errors as attn_sdpa_backward, but for those that only the data show. */
ATTN_API attn_status attn_sdpa_backward_scratch_size(attn_context *context, const attn_tensor *q, const attn_tensor *k,
                                                     const attn_tensor *v, const attn_tensor *out,
                                                     const attn_tensor *d_out, const attn_sdpa_params *params,
                                                     const attn_sdpa_gradients *gradients, size_t *bytes);

/* The gradients of attn_linear_forward(context, linear, x, out).
 *   x      [B,1,T,in_width], as it was there
 *   d_out  [B,1,T,out_width], f32, f16 or bf16
 * dx is that of the weights as they are packed: in a context of less than f32 precision rounded, int8 and int4 scaled;
 * the products are f32 in every precision. d_weight and d_bias are sums over B·T. NaN and Inf propagate as IEEE says.
 * Bits are the same for any number of threads.
 * Errors: NULL, SHAPE, STRIDE, DTYPE, STRUCT, OVERFLOW, ALIAS, MEMORY; nothing is written then. */
ATTN_API attn_status attn_linear_backward(attn_context *context, const attn_linear *linear, const attn_tensor *x,
                                          const attn_tensor *d_out, const attn_linear_gradients *gradients);

/* Sets *bytes to the scratch that attn_linear_backward with the same arguments needs: about the size of the weight in
 * f32, or 3 KB for each of its inputs or outputs. The data pointers may be NULL. Errors as attn_linear_backward, but
 * for those that only the data show. */
ATTN_API attn_status attn_linear_backward_scratch_size(attn_context *context, const attn_linear *linear,
                                                       const attn_tensor *x, const attn_tensor *d_out,
                                                       const attn_linear_gradients *gradients, size_t *bytes);

/* attn_mha_forward that keeps what attn_mha_backward needs: the projected heads, what they make of latents, what
 * attention makes of them, and its log-sum-exps. The output has the same bits.
 *   kept        output, of attn_mha_kept_size bytes, the caller's
 *   kept_bytes  so many are there
 * Errors: those of attn_mha_forward; NULL, SHAPE (too few bytes), ALIAS. */
ATTN_API attn_status attn_mha_forward_keep(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                                           const attn_tensor *key, const attn_tensor *value, const attn_tensor *out,
                                           const attn_sdpa_params *params, void *kept, size_t kept_bytes);

/* Sets *bytes to what the layer keeps of so many sequences of query and key tokens. Errors: NULL, OVERFLOW. */
ATTN_API attn_status attn_mha_kept_size(attn_context *context, const attn_mha *mha, size_t batch, size_t query_tokens,
                                        size_t key_tokens, size_t *bytes);

/* The gradients of attn_mha_forward(context, mha, query, key, value, out, params).
 *   query, key, value, params  as they were there; outputs of the params are not looked at
 *   d_out                      [B,1,Tq,M], f32, f16 or bf16
 *   kept                       what attn_mha_forward_keep kept in a context of the same backend and precision, or NULL:
 *                              it is made again, which takes the time of the forward pass and changes no bit
 * The rules of attn_sdpa_backward and attn_linear_backward hold: tokens that are masked or not there, of the query, the
 * key, the value and d_out, must be finite, as gradients of weights are sums over all of them, times 0. What `clip`
 * changed has a gradient of 0.
 * Errors: NULL, SHAPE, STRIDE, DTYPE, VALUE, STRUCT, OVERFLOW, ALIAS, MEMORY; nothing is written then. */
ATTN_API attn_status attn_mha_backward(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                                       const attn_tensor *key, const attn_tensor *value, const attn_tensor *d_out,
                                       const attn_sdpa_params *params, const void *kept,
                                       const attn_mha_gradients *gradients);

/* Sets *bytes to the scratch that attn_mha_backward with the same arguments needs. The data pointers may be NULL.
 * Errors as attn_mha_backward, but for those that only the data show. */
ATTN_API attn_status attn_mha_backward_scratch_size(attn_context *context, const attn_mha *mha,
                                                    const attn_tensor *query, const attn_tensor *key,
                                                    const attn_tensor *value, const attn_tensor *d_out,
                                                    const attn_sdpa_params *params, const void *kept,
                                                    const attn_mha_gradients *gradients, size_t *bytes);

/* The gradients of attn_norm(context, x, …, params).
 *   x          as it was there; mean and deviation are computed again, and params.mean and inverse_deviation not looked
 *              at
 *   d_out      [B,H,T,M], f32
 *   gradients  Required. No output may share memory with an input or another output, but dx as it says.
 * A row of x with NaN or Inf has a dx of NaN, other rows are untouched by it; d_weight, to which all rows add, is then
 * NaN, and so are both sums where d_out is. Where L2_NORM divides by eps, that is a constant. Sums are made in fixed
 * blocks of rows, in double: bits are the same for any number of threads.
 * Errors: NULL, SHAPE, STRIDE, DTYPE, VALUE, STRUCT, OVERFLOW, ALIAS, MEMORY; nothing is written then. */
ATTN_API attn_status attn_norm_backward(attn_context *context, const attn_tensor *x, const attn_tensor *d_out,
                                        const attn_norm_params *params, const attn_norm_gradients *gradients);

/* Sets *bytes to the scratch that attn_norm_backward with the same arguments needs: up to 1024 · M for the sums. The
 * data pointers may be NULL. Errors as attn_norm_backward, but for those that only the data show. */
ATTN_API attn_status attn_norm_backward_scratch_size(attn_context *context, const attn_tensor *x,
                                                     const attn_tensor *d_out, const attn_norm_params *params,
                                                     const attn_norm_gradients *gradients, size_t *bytes);

/* The gradient of attn_activate(context, activation, x, …): dx = d_out · activation'(x), element by element.
 *   d_out  [B,H,T,M], f32
 *   dx     the same sizes, output, f32; may be x or d_out itself, the same view
 * At 0 the slope of RELU is 0; where x is NaN dx is, but of IDENTITY. Errors as attn_activate. Needs no scratch. */
ATTN_API attn_status attn_activate_backward(attn_context *context, attn_activation activation, const attn_tensor *x,
                                            const attn_tensor *d_out, const attn_tensor *dx);

/* The gradients of attn_glu(context, activation, params, gate, up, …).
 *   up             NULL as it was there: d_up must be NULL
 *   d_out          [B,H,T,M], f32
 *   d_gate, d_up   the same sizes, outputs, f32, or NULL: not computed; each may be gate, up or d_out itself, the same
 *                  view
 * What lies beyond the limit has gradients of 0. Errors as attn_glu. Needs no scratch. */
ATTN_API attn_status attn_glu_backward(attn_context *context, attn_activation activation,
                                       const attn_activation_params *params, const attn_tensor *gate,
                                       const attn_tensor *up, const attn_tensor *d_out, const attn_tensor *d_gate,
                                       const attn_tensor *d_up);

/* The gradients of attn_embed(context, params, …).
 *   params     as they were there; tables, but for their sizes, and vectors are only read where there is a norm
 *   d_out      [B,1,T,M], f32
 *   gradients  Required. No output may share memory with an input or another output, but d_vectors as it says.
 * A row of a table is the sum, in double, over the tokens that have it, in their order: bits are the same for any
 * number of threads. Rows that no token has are 0, or stay as they are where gradients are added. The rules of
 * attn_norm_backward hold for the norm.
 * Errors: those of attn_embed; MEMORY; nothing is written then. */
ATTN_API attn_status attn_embed_backward(attn_context *context, const attn_embed_params *params,
                                         const attn_tensor *d_out, const attn_embed_gradients *gradients);

/* Sets *bytes to the scratch that attn_embed_backward with the same arguments needs: a number for each token and for
 * each row of the largest table that is wanted, and with a norm the tokens' rows and what attn_norm_backward needs.
 * d_out, d_vectors and vectors may be without data. Errors as attn_embed_backward, but for those that only their data
 * show. */
ATTN_API attn_status attn_embed_backward_scratch_size(attn_context *context, const attn_embed_params *params,
                                                      const attn_tensor *d_out, const attn_embed_gradients *gradients,
                                                      size_t *bytes);

/* The cross-entropy of softmax(logits) over classes, as the tokens of a vocabulary, and its gradients: loss =
 * factor · Σ −log softmax(row)[target].
 *   logits   [rows, columns], row r at logits + r·ld; ld ≥ columns
 *   targets  [rows], each in [0, columns) or the one that is ignored
 *   params   NULL: all defaults
 *   loss     output, summed in double in an order that the number of threads does not change; NULL: not wanted
 * −inf is a masked class, as in attn_softmax: its gradient is 0, but where it is the target, whose loss is inf. A row
 * of −inf only has the loss inf and a gradient of 0; one with NaN or +inf becomes NaN. Nothing is read of rows that do
 * not count, and their gradients are 0; without any that does the loss is 0. A row is read from memory once, and once
 * more for its gradients.
 * Errors: NULL, SHAPE, VALUE, STRUCT, OVERFLOW, ALIAS; nothing is written then. Needs no scratch.
 * Source: label smoothing of Szegedy et al., "Rethinking the Inception architecture", 2015. */
ATTN_API attn_status attn_cross_entropy(attn_context *context, size_t rows, size_t columns, const float *logits,
                                        size_t ld, const int64_t *targets, const attn_cross_entropy_params *params,
                                        double *loss);

/* attn_block_forward that keeps what attn_block_backward needs: what each sublayer reads of the residual stream, what
 * the attentions keep, and the hidden layer before its activation. The output has the same bits. inputs may have no
 * cache.
 *   kept        output, of attn_block_kept_size bytes, the caller's
 *   kept_bytes  so many are there
 * Errors: those of attn_block_forward; NULL, SHAPE (too few bytes), VALUE, ALIAS. */
ATTN_API attn_status attn_block_forward_keep(attn_context *context, const attn_block *block, const attn_tensor *x,
                                             const attn_tensor *out, const attn_block_inputs *inputs, void *kept,
                                             size_t kept_bytes);

/* Sets *bytes to what the block keeps of so many sequences of tokens of x, and of `encoded` if there is
 * cross-attention. Errors: NULL, OVERFLOW. */
ATTN_API attn_status attn_block_kept_size(attn_context *context, const attn_block *block, size_t batch, size_t tokens,
                                          size_t encoded_tokens, size_t *bytes);

/* The gradients of attn_block_forward(context, block, x, out, inputs).
 *   x, inputs  as they were there, x not written over; outputs of the params are not looked at; no cache
 *   d_out      [B,1,T,M], f32, f16 or bf16
 *   kept       as in attn_mha_backward
 * What attn_mha_backward says of tokens holds here. Errors: NULL, SHAPE, STRIDE, DTYPE, VALUE, STRUCT,
 * OVERFLOW, ALIAS, MEMORY; nothing is written then. */
ATTN_API attn_status attn_block_backward(attn_context *context, const attn_block *block, const attn_tensor *x,
                                         const attn_tensor *d_out, const attn_block_inputs *inputs, const void *kept,
                                         const attn_block_gradients *gradients);

/* Sets *bytes to the scratch that attn_block_backward with the same arguments needs. The data pointers may be NULL.
 * Errors as attn_block_backward, but for those that only the data show. */
ATTN_API attn_status attn_block_backward_scratch_size(attn_context *context, const attn_block *block,
                                                      const attn_tensor *x, const attn_tensor *d_out,
                                                      const attn_block_inputs *inputs, const void *kept,
                                                      const attn_block_gradients *gradients, size_t *bytes);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Scaled dot-product attention. */
#ifndef ATTN_SDPA_H
#define ATTN_SDPA_H

#include <stddef.h>
#include <stdint.h>

#include "context.h"
#include "export.h"
#include "status.h"
#include "tensor.h"

/* Which keys j a query i may see. */
typedef enum attn_causal {
    ATTN_CAUSAL_NONE = 0,         /* all */
    ATTN_CAUSAL_TOP_LEFT = 1,     /* j ≤ i: PyTorch's is_causal, ONNX */
    ATTN_CAUSAL_BOTTOM_RIGHT = 2, /* j ≤ i + Tk − Tq: the last query sees the last key; FlashAttention, decoding */
    ATTN_CAUSAL_OFFSET = 3        /* j ≤ i + causal_offset[b] */
} attn_causal;

typedef struct attn_sdpa_params {
    size_t struct_size;

    /* Factor of the scores. 0: 1/√D. Any other finite value is used as it is. */
    float scale;

    attn_causal causal;

    /* [B], for ATTN_CAUSAL_OFFSET, otherwise NULL: e.g. how many tokens each sequence's cache held before this call. */
    const int64_t *causal_offset;

    /* Output, or NULL: dense [B,H,Tq], the natural logarithm of Σ_j exp(score) of each row; −inf for an empty row. */
    float *lse;

    /* Output, or NULL: [B,H,Tq,Tk], the probabilities after the softmax. The one thing whose memory grows with Tq·Tk;
     * costs about one more pass over the scores. */
    const attn_tensor *probabilities;
} attn_sdpa_params;

#ifdef __cplusplus
extern "C" {
#endif

/* out = softmax(scale · q · kᵀ, masked) · v for every batch and head.
 *   q    [B,H,Tq,D]
 *   k    [B,G,Tk,D], H mod G = 0: query head h reads key head h / (H/G)
 *   v    [B,G,Tk,E]
 *   out  [B,H,Tq,E], output
 *   params  NULL: all defaults
 * A query that sees no key is an empty row: out = 0, lse = −inf, probabilities = 0. A masked key or value is never read
 * into a result: NaN or Inf there changes no bit. Memory is O(1) in Tq and Tk. Arithmetic is f32.
 * Same inputs, build, backend and ISA give the same bits for any number of threads.
 * Errors: NULL, SHAPE, STRIDE, DTYPE, VALUE, STRUCT, OVERFLOW, ALIAS, MEMORY; nothing is written then.
 * Source: Vaswani et al., "Attention is all you need", 2017; the tiling: Dao et al., "FlashAttention", 2022. */
ATTN_API attn_status attn_sdpa(attn_context *context, const attn_tensor *q, const attn_tensor *k, const attn_tensor *v,
                               const attn_tensor *out, const attn_sdpa_params *params);

/* Sets *bytes to the scratch that attn_sdpa with the same arguments needs (see attn_context_reserve). Reads no data:
 * the data pointers may be NULL, and so may causal_offset. Errors as attn_sdpa, but for those that only the data show.
 */
ATTN_API attn_status attn_sdpa_scratch_size(attn_context *context, const attn_tensor *q, const attn_tensor *k,
                                            const attn_tensor *v, const attn_tensor *out,
                                            const attn_sdpa_params *params, size_t *bytes);

#ifdef __cplusplus
}
#endif

#endif

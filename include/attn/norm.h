/* SPDX-License-Identifier: BSD-3-Clause */
/* What a transformer does to single tokens and numbers: normalisation and activation functions. */
#ifndef ATTN_NORM_H
#define ATTN_NORM_H

#include <stddef.h>

#include "context.h"
#include "export.h"
#include "status.h"
#include "tensor.h"

typedef enum attn_norm_kind {
    ATTN_LAYER_NORM = 0, /* (x − mean) / √(variance + eps); Ba, Kiros and Hinton, 2016 */
    ATTN_RMS_NORM = 1,   /* x / √(mean of x² + eps); Zhang and Sennrich, 2019 */
    ATTN_L2_NORM = 2     /* x / max(√(Σ x²), eps); PyTorch's normalize */
} attn_norm_kind;

/* A normalisation over the width of a token, then · weight + bias. Both are [M], and stay the caller's: functions that
 * make objects copy them, attn_norm and attn_embed read them during the call. */
typedef struct attn_norm_params {
    size_t struct_size;
    attn_norm_kind kind;
    float eps;           /* 0: 1e-5, of L2_NORM 1e-12. Otherwise finite and positive. */
    const float *weight; /* NULL: 1 */
    const float *bias;   /* NULL: 0 */
} attn_norm_params;

typedef enum attn_activation {
    ATTN_GELU = 0,         /* x·Φ(x) = x·(1 + erf(x/√2)) / 2; Hendrycks and Gimpel, 2016 */
    ATTN_GELU_TANH = 1,    /* x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2: PyTorch's approximate="tanh", GPT-2 */
    ATTN_GELU_SIGMOID = 2, /* x / (1 + exp(−1.702·x)): CLIP's QuickGELU */
    ATTN_RELU = 3,         /* max(x, 0) */
    ATTN_SILU = 4,         /* x / (1 + exp(−x)): swish; LLaMA */
    ATTN_IDENTITY = 5
} attn_activation;

#ifdef __cplusplus
extern "C" {
#endif

/* Normalises each token.
 *   x       [B,H,T,M], f32 (attn_tensor_copy converts); with H heads each of them is normalised by itself, all with the
 *           same weights
 *   out     the same sizes, output, f32; may be x itself, the same view
 *   params  NULL: all defaults
 * A row with NaN or Inf becomes NaN, other rows are untouched by it. Mean and variance are computed in two passes, so
 * that a large mean does no harm. M = 0 writes nothing.
 * Errors: NULL, SHAPE, STRIDE, DTYPE, VALUE, STRUCT, OVERFLOW, ALIAS; nothing is written then. Needs no scratch. */
ATTN_API attn_status attn_norm(attn_context *context, const attn_tensor *x, const attn_tensor *out,
                               const attn_norm_params *params);

/* out = activation(x), element by element.
 *   x    [B,H,T,M], f32
 *   out  the same sizes, output, f32; may be x itself, the same view
 * NaN stays NaN; −inf gives the limit. Errors as attn_norm. Needs no scratch. */
ATTN_API attn_status attn_activate(attn_context *context, attn_activation activation, const attn_tensor *x,
                                   const attn_tensor *out);

#ifdef __cplusplus
}
#endif

#endif

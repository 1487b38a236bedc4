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
 * make objects copy them, attn_norm and attn_embed read them during the call.
 *     LAYER_NORM  BERT, GPT-2, OPT, BLOOM, Falcon, ViT, Whisper; without weight and bias OLMo, without bias Cohere
 *     RMS_NORM    LLaMA, Mistral, Qwen, T5; Gemma's weight is 1 + that of its checkpoint */
typedef struct attn_norm_params {
    size_t struct_size;
    attn_norm_kind kind;
    float eps;           /* 0: 1e-5, of L2_NORM 1e-12. Otherwise finite and positive. */
    const float *weight; /* NULL: 1 */
    const float *bias;   /* NULL: 0 */

    /* Outputs of attn_norm, for others NULL: of each row what was taken away and what it was multiplied by, dense
     * [B,H,T]; RMS_NORM and L2_NORM take away 0. ONNX's Mean and InvStdDev. Or NULL. */
    float *mean, *inverse_deviation;
} attn_norm_params;

typedef enum attn_activation {
    ATTN_GELU = 0,         /* x·Φ(x) = x·(1 + erf(x/√2)) / 2; Hendrycks and Gimpel, 2016 */
    ATTN_GELU_TANH = 1,    /* x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2: PyTorch's approximate="tanh", GPT-2 */
    ATTN_GELU_SIGMOID = 2, /* x / (1 + exp(−1.702·x)): CLIP's QuickGELU */
    ATTN_RELU = 3,         /* max(x, 0): OPT, T5, Vaswani et al. */
    ATTN_SILU = 4,         /* x / (1 + exp(−beta·x)): swish; LLaMA, Mistral, Qwen */
    ATTN_IDENTITY = 5,
    ATTN_RELU_SQUARED = 6, /* max(x, 0)²: Primer, Nemotron, BitNet, Persimmon; Hugging Face's "relu2" */
    /* alpha_p·x² + beta·x for x > 0, else alpha_n·(exp(x) − 1 − x) + beta·x: Apertus; Huang and Schlag, "Deriving
     * activation functions using integration", 2024. Hugging Face puts −1e-6 for x in the exponent where x is larger,
     * which changes a result by no more than alpha_n · 1e-6. */
    ATTN_XIELU = 7,
    ATTN_SIGMOID = 8 /* 1 / (1 + exp(−x)): a gated one is GLU; Dauphin et al., 2017 */
} attn_activation;

/* The numbers of an activation; those that it has none of are 0. */
typedef struct attn_activation_params {
    size_t struct_size;
    float beta;             /* of SILU, 0: 1; of XIELU, 0: 0.5. Otherwise finite and positive. */
    float alpha_p, alpha_n; /* of XIELU: softplus of the checkpoint's alpha_p, and beta + softplus of its alpha_n.
                             * Finite; 0: 0.8 */

    /* Clamped: activation(min(gate, limit)) · (min(max(up, −limit), limit) + up_offset). GPT-OSS has ATTN_SILU with
     * beta 1.702, limit 7 ("swiglu_limit") and up_offset 1. */
    float limit;     /* 0: none. Otherwise finite and positive. */
    float up_offset; /* finite */
} attn_activation_params;

#ifdef __cplusplus
extern "C" {
#endif

/* Normalises each token.
 *   x       [B,H,T,M], f32 (attn_tensor_copy converts); with H heads each of them is normalised by itself, all with the
 *           same weights
 *   out     the same sizes, output, f32; may be x itself, the same view
 *   params  NULL: all defaults
 * A row with NaN or Inf becomes NaN, its mean and deviation too; other rows are untouched by it. Mean and variance are
 * computed in two passes, so that a large mean does no harm. M = 0 writes nothing.
 * Errors: NULL, SHAPE, STRIDE, DTYPE, VALUE, STRUCT, OVERFLOW, ALIAS; nothing is written then. Needs no scratch. */
ATTN_API attn_status attn_norm(attn_context *context, const attn_tensor *x, const attn_tensor *out,
                               const attn_norm_params *params);

/* out = activation(x), element by element, all numbers of the activation being the defaults.
 *   x    [B,H,T,M], f32
 *   out  the same sizes, output, f32; may be x itself, the same view
 * NaN stays NaN; −inf gives the limit. Errors as attn_norm. Needs no scratch. */
ATTN_API attn_status attn_activate(attn_context *context, attn_activation activation, const attn_tensor *x,
                                   const attn_tensor *out);

/* out = activation(gate) · up, element by element: what is between the linear maps of a gated feed-forward, for those
 * that are no attn_block's, as experts.
 *   params  NULL: all defaults
 *   gate    [B,H,T,M], f32
 *   up      the same sizes, f32; NULL: out = activation(gate), and up_offset must be 0
 *   out     the same sizes, output, f32; may be `gate` or `up` itself, the same view
 * Errors as attn_norm. Needs no scratch. */
ATTN_API attn_status attn_glu(attn_context *context, attn_activation activation, const attn_activation_params *params,
                              const attn_tensor *gate, const attn_tensor *up, const attn_tensor *out);

#ifdef __cplusplus
}
#endif

#endif

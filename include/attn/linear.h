/* SPDX-License-Identifier: BSD-3-Clause */
/* A linear map with packed weights: the projections of a layer, a language model's head, a convolution over patches. */
#ifndef ATTN_LINEAR_H
#define ATTN_LINEAR_H

#include <stddef.h>

#include "context.h"
#include "export.h"
#include "status.h"
#include "tensor.h"

typedef enum attn_weight_order {
    ATTN_OUT_IN = 0, /* [out, in], y = x·Wᵀ: PyTorch's nn.Linear, nn.Conv2d and nn.MultiheadAttention */
    ATTN_IN_OUT = 1  /* [in, out], y = x·W: ONNX, TensorFlow, GPT-2's Conv1D */
} attn_weight_order;

/* Packed weights: immutable once made, may be used by any number of threads and contexts at the same time. */
typedef struct attn_linear attn_linear;

/* Weights are dense, read during attn_linear_create and not kept. */
typedef struct attn_linear_params {
    size_t struct_size;
    size_t in_width;         /* Required. */
    size_t out_width;        /* Required. */
    attn_weight_order order; /* of `weight` */
    const float *weight;     /* [out_width, in_width], or transposed. Required. */
    const float *bias;       /* [out_width]; NULL: none */
} attn_linear_params;

#ifdef __cplusplus
extern "C" {
#endif

/* Packs the weights for the backend of `context`, with memory of its allocator (which must outlive them). On success
 * *linear is the caller's, to be given to attn_linear_destroy; it may be used with any context, fastest with those of
 * the same backend. On failure *linear is NULL (if `linear` is not).
 * Errors: NULL, SHAPE, VALUE, STRUCT, OVERFLOW, MEMORY. */
ATTN_API attn_status attn_linear_create(attn_context *context, const attn_linear_params *params, attn_linear **linear);

/* Frees the weights. NULL is allowed. No call may be using them. */
ATTN_API void attn_linear_destroy(attn_linear *linear);

/* out = x·Wᵀ + bias.
 *   x    [B,1,T,in_width] (attn_tensor_btm), f32, f16 or bf16
 *   out  [B,1,T,out_width], output, f32, f16 or bf16; rows of a wider buffer are as good as dense ones
 * Errors: NULL, SHAPE, STRIDE, DTYPE, OVERFLOW, ALIAS, MEMORY; nothing is written then. */
ATTN_API attn_status attn_linear_forward(attn_context *context, const attn_linear *linear, const attn_tensor *x,
                                         const attn_tensor *out);

/* Sets *bytes to the scratch that attn_linear_forward with the same arguments needs: none where x and out are matrices
 * of B·T rows. The data pointers may be NULL. Errors as attn_linear_forward, but for those that only the data show. */
ATTN_API attn_status attn_linear_scratch_size(attn_context *context, const attn_linear *linear, const attn_tensor *x,
                                              const attn_tensor *out, size_t *bytes);

#ifdef __cplusplus
}
#endif

#endif

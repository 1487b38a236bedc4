/* SPDX-License-Identifier: BSD-3-Clause */
/* A linear map with packed weights: the projections of a layer, a language model's head, a convolution over patches. */
#ifndef ATTN_LINEAR_H
#define ATTN_LINEAR_H

#include <stddef.h>
#include <stdint.h>

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

/* Weights are dense, aligned as their type asks, read during attn_linear_create and not kept. They are packed in the
 * type that they have, so that f16, bf16, int8 and int4 take a half, a quarter or less of the memory, and about as
 * little of the time of a product of few rows, which is that of reading them. Arithmetic is f32, unless the context has
 * another precision (attn_precision), in which f32 and f16 are packed as bf16. Inf and NaN among them propagate as IEEE
 * says. With weights that are not packed as f32 the bits of a row of the output depend on no other row, on any backend.
 *
 * ATTN_INT4 is [out_width, ⌈in_width/2⌉] bytes, in ATTN_OUT_IN only: number 2i of an output feature is in the lower
 * half of byte i, number 2i + 1 in the upper one. The numbers, 0 to 15, are in groups of 32 along the inputs, the last
 * of which may be shorter, and each group has a scale and an offset: a weight is scale · number + offset. What other
 * programs have becomes that without loss:
 *     GGUF Q4_0   scale d, offset −8·d; numbers i and i + 16 of a group are the halves of its byte i there
 *     GGUF Q4_1   scale d, offset m; numbers as in Q4_0
 *     ONNX        MatMulNBits of bits 4 and block_size 32: the same bytes; scale s, offset −zero_point·s, or −8·s
 *     GPTQ, AWQ   groups of 64 or 128: scale s and offset −zero·s of each, twice or four times
 * They take 5 bits each in memory where all scales and offsets are f16 numbers, as the first three have and
 * attn_quantize_weight_int4 makes, else 6. A row of x with NaN makes NaN of them, one with Inf Inf or NaN. Numbers of x
 * below 1e-30 in size lose digits, and below 1e-35 themselves. */
typedef struct attn_linear_params {
    size_t struct_size;
    size_t in_width;           /* Required. */
    size_t out_width;          /* Required. */
    attn_weight_order order;   /* of `weight` */
    const void *weight;        /* [out_width, in_width], or transposed, of `weight_dtype`. Required. */
    const float *bias;         /* [out_width]; NULL: none */
    attn_dtype weight_dtype;   /* ATTN_F32 (0, the default), ATTN_F16, ATTN_BF16, ATTN_INT8 or ATTN_INT4 */
    const float *weight_scale; /* Finite. Required for ATTN_INT8: [out_width], a weight is int8 · scale of its output
                                * feature; and for ATTN_INT4: [out_width, ⌈in_width/32⌉, 2], scale and offset of each
                                * group. NULL for the other types. attn_quantize_weight(_int4) makes both. */
} attn_linear_params;

#ifdef __cplusplus
extern "C" {
#endif

/* Packs the weights for the backend of `context`, with memory of its allocator (which must outlive them). On success
 * *linear is the caller's, to be given to attn_linear_destroy; it may be used with any context, fastest with those of
 * the same backend; the precision of that context then tells how rows are multiplied by what is
 * packed, f32 always in f32. Sums are f32 before int8 and int4 are scaled. On failure *linear is NULL (if
 * `linear` is not). Errors: NULL, SHAPE, VALUE (order, scales), DTYPE, STRUCT, OVERFLOW, MEMORY. */
ATTN_API attn_status attn_linear_create(attn_context *context, const attn_linear_params *params, attn_linear **linear);

/* Packs other weights in the place of those of `linear`, for training: of the same sizes, order and type, with a bias
 * if it had one. Allocates nothing. No other call may be using them.
 *   context  of the precision of that which created it, and of the same backend
 * Errors: as attn_linear_create, but MEMORY; VALUE also where they do not fit what was packed: int4 weights with scales
 * that f16 has not in the place of such that it has. Nothing is changed then. */
ATTN_API attn_status attn_linear_update(attn_context *context, attn_linear *linear, const attn_linear_params *params);

/* Frees the weights. NULL is allowed. No call may be using them. */
ATTN_API void attn_linear_destroy(attn_linear *linear);

/* out = x·Wᵀ + bias.
 *   x    [B,1,T,in_width] (attn_tensor_btm), f32, f16 or bf16
 *   out  [B,1,T,out_width], output, f32, f16 or bf16; rows of a wider buffer are as good as dense ones
 * Errors: NULL, SHAPE, STRIDE, DTYPE, OVERFLOW, ALIAS, MEMORY; nothing is written then. */
ATTN_API attn_status attn_linear_forward(attn_context *context, const attn_linear *linear, const attn_tensor *x,
                                         const attn_tensor *out);

/* Sets *bytes to the scratch that attn_linear_forward with the same arguments needs: none where x and out are f32
 * matrices of B·T rows, but for what is made of rows in other precisions, and for int4: as much as x at most, with int4
 * 1.25 times that. The data pointers may be NULL. Errors as attn_linear_forward, but for those that only the data
 * show. */
ATTN_API attn_status attn_linear_scratch_size(attn_context *context, const attn_linear *linear, const attn_tensor *x,
                                              const attn_tensor *out, size_t *bytes);

/* Makes int8 weights of f32 ones. Each output feature has the scale max |weight| / 127, and weight / scale rounded to
 * the nearest: int8 · scale is at most half a scale from the weight. A feature with none above 1e-34 gets zeros and the
 * scale 0.
 *   order    of `weight` and `out`
 *   weight   [out_width, in_width], or transposed, dense
 *   out      the same shape, output
 *   scales   [out_width], output
 * With ATTN_IN_OUT it needs scratch, of about 17 · in_width floats. Errors: NULL, SHAPE, VALUE (order; Inf and NaN),
 * OVERFLOW, ALIAS, MEMORY; nothing is written then. */
ATTN_API attn_status attn_quantize_weight(attn_context *context, attn_weight_order order, size_t out_width,
                                          size_t in_width, const float *weight, int8_t *out, float *scales);

/* Makes int4 weights of f32 ones. From the least weight of a group, its offset, 15 steps of its scale reach the
 * largest, and each weight becomes the nearest step. Where the largest |weight| of all is from 2^-8 to 2^15, scale and
 * offset are f16 numbers, the scale rounded up and the offset down: the error is half a scale at most.
 *   order    of `weight`; of `out` it is ATTN_OUT_IN
 *   weight   [out_width, in_width], or transposed, dense
 *   out      [out_width, ⌈in_width/2⌉], output
 *   scales   [out_width, ⌈in_width/32⌉, 2], output
 * Errors: as attn_quantize_weight, but MEMORY; nothing is written then. */
ATTN_API attn_status attn_quantize_weight_int4(attn_context *context, attn_weight_order order, size_t out_width,
                                               size_t in_width, const float *weight, uint8_t *out, float *scales);

#ifdef __cplusplus
}
#endif

#endif

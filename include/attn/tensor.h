/* SPDX-License-Identifier: BSD-3-Clause */
/* Tensor views. Dimension letters, in all of libattn:
 *     B batch, Tq query tokens, Tk key tokens, T either, H query heads, G key/value heads (H mod G = 0, query head h
 *     reads key/value head h / (H/G)), D width of a query or key head, E width of a value head, M model width. */
#ifndef ATTN_TENSOR_H
#define ATTN_TENSOR_H

#include <stddef.h>

#include "context.h"
#include "export.h"
#include "status.h"

typedef enum attn_dtype {
    ATTN_F32 = 0,  /* IEEE single precision */
    ATTN_F16 = 1,  /* IEEE half precision */
    ATTN_BF16 = 2, /* bfloat16: the upper half of a single */
    ATTN_BOOL = 3, /* a byte: 0 is false, anything else true */
    ATTN_INT8 = 4, /* −127 to 127, times a scale: how caches and weights may be stored */
    ATTN_INT4 = 5  /* 0 to 15, times a scale, plus an offset: how caches and weights may be stored */
} attn_dtype;

/* A view of memory of the caller's as [batch, heads, tokens, width]. Element (b, h, t, d) stands at
 * data[b·stride[0] + h·stride[1] + t·stride[2] + d·stride[3]].
 *   - Data is aligned as its type is. Sizes may be 0; data may then be NULL. A call whose outputs all have no elements
 *     does nothing, whatever the other sizes are, if only the elements that they speak of would fit in memory.
 *   - Strides are in elements. Inputs: any sign, 0 broadcasts; stride[3] must be 1 (unless size[3] ≤ 1).
 *     Outputs: no two elements at the same place, and no overlap with an input.
 *   - The view is written to only where a function says that it is an output. */
typedef struct attn_tensor {
    void *data;
    attn_dtype dtype;
    size_t size[4];
    ptrdiff_t stride[4];
} attn_tensor;

typedef enum attn_qkv { ATTN_Q = 0, ATTN_K = 1, ATTN_V = 2 } attn_qkv;

#ifdef __cplusplus
extern "C" {
#endif

/* Makers of views. They check nothing: functions that take a view do. `data` stays the caller's. */

/* Dense [B,H,T,D]: PyTorch's scaled_dot_product_attention, ONNX's 4-D Attention. */
ATTN_API attn_tensor attn_tensor_bhtd(const void *data, attn_dtype dtype, size_t B, size_t H, size_t T, size_t D);

/* Dense [B,T,H,D], which is also [B,T,M] with M = H·D: what projections write, FlashAttention's layout. */
ATTN_API attn_tensor attn_tensor_bthd(const void *data, attn_dtype dtype, size_t B, size_t T, size_t H, size_t D);

/* Dense [B,T,M] as one head of width M: the input and output of a layer. */
ATTN_API attn_tensor attn_tensor_btm(const void *data, attn_dtype dtype, size_t B, size_t T, size_t M);

/* Q, K or V of one packed buffer [B, T, H+G+G, D]; with G = H that is [B, T, 3, H, D]. */
ATTN_API attn_tensor attn_tensor_packed_qkv(const void *data, attn_dtype dtype, attn_qkv which, size_t B, size_t T,
                                            size_t H, size_t G, size_t D);

/* K or V (`which` is ATTN_K or ATTN_V) of one packed buffer [B, T, 2, G, D]. */
ATTN_API attn_tensor attn_tensor_packed_kv(const void *data, attn_dtype dtype, attn_qkv which, size_t B, size_t T,
                                           size_t G, size_t D);

/* Copies `source` into `destination` (output), of the same sizes, whatever the strides of both; between f32, f16 and
 * bf16 it converts, to the nearest, ties to even.
 * Errors: NULL, SHAPE, STRIDE, DTYPE, OVERFLOW, ALIAS; nothing is written then. */
ATTN_API attn_status attn_tensor_copy(attn_context *context, const attn_tensor *source, const attn_tensor *destination);

/* Splits heads: x dense [B,T,H·D] into y dense [B,H,T,D]. attn_sdpa reads x in place through attn_tensor_bthd, so this
 * is for callers who need the other layout in memory. Errors as attn_tensor_copy. */
ATTN_API attn_status attn_split_heads(attn_context *context, size_t B, size_t T, size_t H, size_t D, const float *x,
                                      float *y);

/* Concatenates heads: x dense [B,H,T,D] into y dense [B,T,H·D]. Errors as attn_tensor_copy. */
ATTN_API attn_status attn_concat_heads(attn_context *context, size_t B, size_t T, size_t H, size_t D, const float *x,
                                       float *y);

#ifdef __cplusplus
}
#endif

#endif

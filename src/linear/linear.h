/* SPDX-License-Identifier: BSD-3-Clause */
/* Linear maps: weights packed into panels, and products with them. */
#ifndef ATTNI_LINEAR_H
#define ATTNI_LINEAR_H

#include <stddef.h>

#include "attn/linear.h"
#include "attn/norm.h"
#include "context/context.h"
#include "product/product.h"

/* Element (out, in) of a weight matrix is at data[out·stride_out + in·stride_in]; one of the strides is 1. */
typedef struct attni_weight {
    const void *data;
    attn_dtype type;
    const float *scale; /* of int8 [out], of int4 [out, groups, 2], or NULL */
    const float *bias;  /* [out], or NULL */
    size_t stride_out, stride_in;
    size_t out, in;
} attni_weight;

/* Bytes of so many rows [in] of a weight of a type, stride_in being 1, and how many scales they have. */
size_t attni_weight_bytes(attn_dtype type, size_t rows, size_t in);
size_t attni_count_scales(attn_dtype type, size_t rows, size_t in);

/* A linear map, packed: panels of `panel.width` output features, each [depth, width], the last one as wide as it must
 * be, zeros beyond `out`. Panels keep the type of the weight, but f32 and f16 become bf16 in a context of less than
 * f32 precision; depth is `in` up to whole pairs, quads or groups. Panels of int4 have their scales in them. */
typedef struct attni_linear {
    size_t out, in, depth;
    attni_panel panel;
    attn_dtype type;
    size_t stride_out, stride_in; /* of the weight that it was packed from */
    bool half;                    /* of int4: scales are kept as f16, which all of them are */
    char *panels;                 /* where the memory of all begins */
    float *scale;                 /* of int8, [out] up to whole vectors, or NULL */
    float *bias;                  /* [out], or NULL */
} attni_linear;

/* Floats that the packed weight takes, in whole cache lines, and the packing into them, shared out to the threads. */
size_t attni_linear_floats(const attn_context *context, const attni_weight *weight);
attni_linear attni_linear_pack(attn_context *context, const attni_weight *weight, float *memory);

/* Packs another weight of the same form in the place of what was packed; what is not of that form, or NULL: int4's
 * scales may be numbers that f16 has not, in the place of such that it has. */
const char *attni_linear_misfit(const attn_context *context, const attni_weight *weight, const attni_linear *linear);
void attni_linear_repack(attn_context *context, const attni_weight *weight, attni_linear *linear);

/* Inside the room: the panel of a weight that begins with feature o. */
void attni_linear_pack_panel(const attn_context *context, const attni_weight *weight, const attni_linear *linear,
                             size_t o);

/* Bytes of so many elements of its panels, of whole groups if they have groups. */
size_t attni_panel_bytes(const attni_linear *linear, size_t elements);

/* Copies x [n], or nothing where it is NULL, to *next, and moves that on by whole cache lines, zeros behind the copy.
 * Returns the copy, or NULL. */
float *attni_keep(const float *x, size_t n, float **next);
attni_norm attni_keep_norm(const attni_norm *norm, size_t width, float **next); /* weight and bias */

/* Another norm, which has a weight and a bias if that has, in the place of one whose arrays were kept. */
void attni_norm_renew(const attni_norm *norm, size_t width, attni_norm *kept);

struct attn_linear {
    attn_allocator allocator;
    attni_linear map;
};

/* The dimensions are checked. NULL: no memory. */
attn_linear *attni_linear_new(attn_context *context, const attni_weight *weight);
void attni_linear_delete(attn_linear *linear);

/* A matrix [rows, columns] with row stride ld. */
typedef struct attni_matrix {
    float *data;
    size_t rows, ld;
} attni_matrix;

/* y = x · Wᵀ + bias, and more where it is asked for. The pieces of y are finished while they are in the cache. */
typedef struct attni_product {
    const attni_linear *linear;
    attni_matrix x, y;
    attn_dtype type;                    /* whose numbers those of x are */
    const attni_matrix *residual;       /* added; may be y; or NULL */
    const attni_activation *activation; /* y = activation(y), or NULL ... */
    const attni_linear *gate; /* ... or y = activation(x · gateᵀ + gate bias) · y, panels as those of `linear` */
    float *gate_room;         /* attni_gate_floats, for a gate */
    float *room;              /* attni_product_floats */
} attni_product;

/* Runs up to so many independent products as one parallel job. */
enum { ATTNI_MOST_PRODUCTS = 16 };
void attni_project(attn_context *context, const attni_product *products, size_t count);

/* The gradients of y = x · Wᵀ + bias, from dy [rows, out]. What has no data is not made. */
typedef struct attni_linear_back {
    const attni_linear *linear;
    attni_matrix x, dy;
    attni_matrix dx;
    const attni_matrix *residual; /* added to dx; may be dx; or NULL */
    float *d_weight;              /* with the strides of the weight */
    float *d_bias;                /* [out] */
    bool accumulate;              /* to d_weight and d_bias */
} attni_linear_back;
size_t attni_linear_back_floats(const attn_context *context, const attni_linear *linear);
void attni_linear_back_run(attn_context *context, const attni_linear_back *back, float *room);

/* to [width] (+)= factor · Σ over the rows of x · y, summed in double; y = NULL: 1. */
void attni_sum_columns(attn_context *context, const attni_matrix *x, const attni_matrix *y, size_t width, double factor,
                       bool add, float *to);

/* What a product of so many rows makes of x, numbers of a type, in the context's precision. */
size_t attni_product_floats(const attn_context *context, const attni_linear *linear, attn_dtype type, size_t rows);

/* Makes int8 weights, laid out as `weight`, which is dense f32 and finite, with scales [out], and the floats of room
 * that this takes. */
size_t attni_quantize_floats(const attni_weight *weight);
void attni_quantize(const attni_kernels *kernels, const attni_weight *weight, int8_t *out, float *scales, float *room);

/* Makes int4 weights [out, in], two a byte, of a weight as above, and scales [out, groups, 2]. */
void attni_quantize_groups(const attni_kernels *kernels, const attni_weight *weight, uint8_t *out, float *scales);

size_t attni_gate_floats(const attn_context *context, const attni_linear *linear);

#endif

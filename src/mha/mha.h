/* SPDX-License-Identifier: BSD-3-Clause */
/* The layer: packed weights, projections, and attention between them. */
#ifndef ATTNI_MHA_H
#define ATTNI_MHA_H

#include <stddef.h>

#include "attn/mha.h"
#include "blas/blas.h"
#include "context/context.h"
#include "sdpa/sdpa.h"

/* Element (out, in) of a weight matrix is at data[out·stride_out + in·stride_in]; one of the strides is 1. */
typedef struct attni_weight {
    const float *data, *bias;
    size_t stride_out, stride_in;
    size_t out, in;
} attni_weight;

/* A linear map, packed: panels of `panel.width` output features, each [in, width], the last one as wide as it must be.
 */
typedef struct attni_linear {
    size_t out, in;
    attni_panel panel;
    float *panels;
    float *bias; /* [out], or NULL */
} attni_linear;

struct attn_mha {
    attn_allocator allocator;
    void *memory; /* of all the panels and biases */
    size_t M, H, G, D, E;
    attni_linear q, k, v, out;
};

typedef enum attni_role { ATTNI_W_Q, ATTNI_W_K, ATTNI_W_V, ATTNI_W_OUT } attni_role;

/* Packs the weights, indexed by attni_role. The dimensions are checked. NULL: no memory. */
attn_mha *attni_mha_new(const attn_context *context, size_t H, size_t G, const attni_weight weights[4]);
void attni_mha_delete(attn_mha *mha);

/* A matrix [rows, columns] with row stride ld. */
typedef struct attni_matrix {
    float *data;
    size_t rows, ld;
} attni_matrix;

/* y = x · Wᵀ + bias. */
typedef struct attni_product {
    const attni_linear *linear;
    attni_matrix x, y;
} attni_product;

/* Runs up to four independent products as one parallel job. */
void attni_project(attn_context *context, const attni_product *products, size_t count);

/* One call of the layer. Inputs and output are views [B,1,T,width]; `attention` has everything but q, k, v and out (in
 * a ragged batch its B, Tq and Tk are others). */
typedef struct attni_mha_call {
    const attn_mha *mha;
    size_t B, Tq, Tk;
    attni_view query, key, value, out;
    attni_sdpa attention;
} attni_mha_call;
size_t attni_mha_scratch(const attn_context *context, const attni_mha_call *call);
void attni_mha_run(attn_context *context, const attni_mha_call *call, float *scratch);

#endif

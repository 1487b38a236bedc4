/* SPDX-License-Identifier: BSD-3-Clause */
/* Layers with random weights, and calls of them, compared with the reference. */
#ifndef ATTN_TESTS_LAYER_H
#define ATTN_TESTS_LAYER_H

#include "support/reference.h"
#include "support/support.h"

enum { Q_BIAS = 1, K_BIAS = 2, V_BIAS = 4, OUT_BIAS = 8, ALL_BIASES = 15 };

/* A matrix [out, in], or transposed, of numbers N(0, 1/in), rounded to the type, and for int8 the scales [out], for
 * int4 those of the groups, all f16 or not. */
const void *new_weights(attn_dtype dtype, size_t out, size_t in, const float **scale);

size_t weight_bytes(attn_dtype dtype, size_t out, size_t in);

/* Any order that weights of a type may have. */
attn_weight_order random_order(attn_dtype dtype);

/* A linear map with such weights, and a bias or not. */
attn_linear_params linear_of(attn_dtype dtype, attn_weight_order order, size_t in, size_t out, bool has_bias);

/* Sets the weights of a layer whose sizes and type are set: a matrix for each projection, or one for the three
 * (`packed`, where any of the three input biases means in_bias). Weights are N(0, 1/in), so that projections of N(0,1)
 * are N(0,1). */
void fill_layer(attn_mha_params *p, bool packed, unsigned biases);

/* The forms of a layer, by bits; those that do not go with one matrix, or with three, are left out. Between the sizes
 * and fill_layer. */
enum {
    BY_GROUP = 1,
    CLIPPED = 2,
    GATED = 4,
    GATE_PER_HEAD = 8,
    GATE_IN_Q = 16,
    OUT_NORM = 32,
    LATENT_Q = 64,
    LATENT_KV = 128, /* where each query head has a key head, of more than one number, and one input is read */
    LAYER_FORMS = 256
};
void set_layer_form(attn_mha_params *p, bool packed, unsigned form);

struct mha_case {
    attn_mha_params layer;
    attn_tensor query, key, value; /* without data: the argument is NULL */
    attn_sdpa_params params;
    enum layout out_layout;
    bool lse, probabilities;
};

struct mha_result {
    attn_tensor out, lse, probabilities;
};

/* A layer of these widths, biases and all, without weights yet; self-attention over N(0,1), lse and probabilities. */
struct mha_case mha_case_of(size_t M, size_t heads, size_t B, size_t T);

/* What a new linear map makes of x. */
attn_tensor run_linear(attn_context *context, const attn_linear_params *p, attn_tensor x, enum layout layout);

/* Its bits are those of a context of more threads, and those of fewer rows: so many, from several rows of x on. */
void check_linear_bits(attn_context *one, attn_context *three, const attn_linear_params *p, attn_tensor x, size_t count,
                       const size_t *rows);

attn_mha *new_layer(attn_context *context, const attn_mha_params *layer);
struct mha_result run_mha(attn_context *context, const attn_mha *mha, const struct mha_case *c);
void assert_mha_near(const struct mha_case *c, const struct mha_result *result);

/* All of it: makes the layer, runs it, compares, destroys the layer. */
void check_mha(attn_context *context, const struct mha_case *c);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks with random weights, and their definition in double precision. */
#ifndef ATTN_TESTS_BLOCK_CASE_H
#define ATTN_TESTS_BLOCK_CASE_H

#include "support/layer.h"
#include "support/reference.h"
#include "support/reference_parts.h"
#include "support/support.h"

/* What a block is made of. Widths of attention are set by the caller, between init_block and fill_block. */
struct block_case {
    attn_block_params block;
    attn_mha_params self, cross;
    attn_norm_params self_norm, cross_norm, feed_norm;
    attn_norm_params self_output_norm, cross_output_norm, feed_output_norm;
    attn_feed_params feed;
    attn_norm_params hidden_norm; /* joined by the caller */
    attn_activation_params activation;
};

enum { HAS_CROSS = 1, HAS_FEED = 2, HAS_GATE = 4, HAS_NORMS = 8, WHOLE = 15 };

/* The residual forms, of the sublayers that are there, by bits. */
enum { PARALLEL = 1, OUTPUT_NORMS = 2, FACTOR = 4, LAYER_SCALES = 8, RESIDUAL_FORMS = 16 };
void set_residual_form(struct block_case *c, unsigned form); /* between init_block and fill_block */

/* All structs initialised and joined as `parts` tells; model width M, heads, hidden width F. */
void init_block(struct block_case *c, size_t M, size_t heads, size_t F, unsigned parts);

/* Random weights; biases everywhere or nowhere. */
void fill_block(struct block_case *c, bool biases);

attn_block *new_block(attn_context *context, const struct block_case *c);

/* A cache of B sequences for the keys and values of a layer. */
attn_cache *new_layer_cache(attn_context *context, const attn_mha_params *p, size_t B, size_t capacity);

/* Beside x: an encoder's output, or NULL. */
attn_block_inputs inputs_of(const attn_tensor *encoded);
/* What attn_block_forward makes of x, in a tensor of a layout. */
attn_tensor forward_block(attn_context *context, const attn_block *block, attn_tensor x, enum layout layout,
                          const attn_block_inputs *inputs);

/* A block adds up to three sublayers of outputs N(0, 2) or so to its stream, and a post-norm divides by about as much:
 * a few times the errors of one attention. */
tolerance of_block(void);

/* [B,T,M] of x [B,1,T,M], and `encoded` of the cross-attention. Between sublayers numbers are doubles; attention reads
 * its inputs rounded to floats. */
double *reference_block(const struct block_case *c, attn_tensor x, const attn_tensor *encoded,
                        const attn_sdpa_params *self, const attn_sdpa_params *cross);

/* A tensor [B,1,T,M] of the same numbers, rounded. */
attn_tensor rounded(const double *x, size_t B, size_t T, size_t M);
double *dense_doubles(attn_tensor x);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* The block of a transformer. */
#ifndef ATTNI_BLOCK_H
#define ATTNI_BLOCK_H

#include "attn/block.h"
#include "linear/linear.h"
#include "mha/mha.h"

/* weight and bias are the block's, in one piece. */
typedef struct attni_owned_norm {
    bool present;
    attni_norm norm;
    float *memory;
} attni_owned_norm;

typedef struct attni_feed {
    attn_linear *up, *gate, *down; /* gate may be NULL; all are where there is no feed-forward */
    attni_activation activation;
    attni_owned_norm norm; /* of the hidden layer */
} attni_feed;

/* What is around a sublayer: x + factor · scale ⊙ output(f(norm(x))), `factor` being the block's. */
typedef struct attni_rim {
    attni_owned_norm norm, output;
    float *scale; /* [M], or NULL; the block's */
} attni_rim;

typedef enum attni_sublayer { ATTNI_SELF, ATTNI_CROSS, ATTNI_FEED, ATTNI_SUBLAYERS } attni_sublayer;

struct attn_block {
    attn_allocator allocator;
    size_t M;
    bool post, parallel;
    float factor;
    attn_mha *self, *cross; /* cross may be NULL */
    attni_feed feed;
    attni_rim rims[ATTNI_SUBLAYERS];
};

/* A block without parts, to be filled by src/api; NULL: no memory. Whatever parts there are go with it. */
attn_block *attni_block_new(const attn_context *context);
void attni_block_delete(attn_block *block);

/* Copies a norm of width M, or M floats. False: no memory. */
bool attni_own_norm(const attn_allocator *allocator, const attni_norm *norm, size_t M, attni_owned_norm *owned);
bool attni_own_scale(const attn_allocator *allocator, const float *scale, size_t M, float **owned);

/* One call. Of self and cross everything is set but query, out and residual, and in `self` key and value, too. */
typedef struct attni_block_call {
    const attn_block *block;
    size_t B, T;
    attni_view x, out;
    attni_mha_call self, cross;
} attni_block_call;
size_t attni_block_scratch(const attn_context *context, const attni_block_call *call);
/* Fails as attni_mha_run does. */
attn_status attni_block_run(attn_context *context, const attni_block_call *call, float *scratch);

/* Inside the room: y = y + feed(norm(x)), as the rim of the feed-forward has it; norm may be NULL, and x may be y. */
size_t attni_feed_scratch(const attn_context *context, const attn_block *block, size_t rows);
void attni_feed_run(attn_context *context, const attn_block *block, const attni_norm *norm, const attni_matrix *x,
                    const attni_matrix *y, float *scratch);

/* What a sublayer makes cannot begin with the stream, but must be joined with it: y = x + factor · scale ⊙ output(sum);
 * `sum` is room then, y may be x. */
bool attni_is_joined(const attn_block *block, attni_sublayer sublayer);
void attni_join(attn_context *context, const attn_block *block, attni_sublayer sublayer, const attni_matrix *sum,
                const attni_matrix *x, const attni_matrix *y);

#endif

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
    bool keeps;  /* what the way back needs is kept in */
    float *kept; /* attni_block_lay_kept(call).end floats; of self and cross neither is set */
} attni_block_call;
size_t attni_block_scratch(const attn_context *context, const attni_block_call *call);
/* Fails as attni_mha_run does. */
attn_status attni_block_run(attn_context *context, const attni_block_call *call, float *scratch);

/* What the way back needs, in floats from where it is kept: of each sublayer what it read of the stream, [B·T, M]; its
 * sum, before that is normed or multiplied, and what is normed behind it, if they are; what the attentions keep; and
 * the hidden layer, [B·T, F], before the activation. */
typedef struct attni_block_kept {
    size_t x[ATTNI_SUBLAYERS], sum[ATTNI_SUBLAYERS], normed[ATTNI_SUBLAYERS];
    size_t attention[ATTNI_FEED];
    size_t up, gate, end;
} attni_block_kept;
attni_block_kept attni_block_lay_kept(const attni_block_call *call);

/* A matrix [B·T, M] as a view [B,1,T,M]. */
static inline attni_view attni_stream_view(const attni_matrix *m, size_t T) {
    return (attni_view){m->data, ATTN_F32, (ptrdiff_t)(T * m->ld), 0, (ptrdiff_t)m->ld};
}

bool attni_has_sublayer(const attn_block *block, attni_sublayer i);
attni_mha_call attni_block_attention(const attni_block_call *call, attni_sublayer i);

/* backward.c. */
typedef struct attni_block_back {
    attni_block_call call; /* kept is what the forward pass kept, or NULL: then it is made again */
    attni_view d_out, dx, d_encoded;
    attni_mha_back attentions[ATTNI_FEED]; /* what is no tensor of a call */
    struct {
        attni_norm_sums norm, output;
        float *scale;
    } rims[ATTNI_SUBLAYERS];
    attni_norm_sums hidden;
    float *up_weight, *up_bias, *gate_weight, *gate_bias, *down_weight, *down_bias;
    bool accumulate;
} attni_block_back;
size_t attni_block_back_scratch(const attn_context *context, const attni_block_back *back);
void attni_block_back_run(attn_context *context, const attni_block_back *back, float *scratch);

/* Inside the room: y = y + feed(norm(x)), as the rim of the feed-forward has it; norm may be NULL, and x may be y. */
size_t attni_feed_scratch(const attn_context *context, const attn_block *block, size_t rows);
typedef struct attni_feed_kept {
    float *up, *gate; /* [rows, F], or NULL: not kept */
    float *sum;       /* [rows, M], or NULL */
} attni_feed_kept;
void attni_feed_run(attn_context *context, const attn_block *block, const attni_norm *norm, const attni_matrix *x,
                    const attni_matrix *y, const attni_feed_kept *kept, float *scratch);

/* hidden [rows, F] of what is kept. */
void attni_feed_activate(attn_context *context, const attni_feed *feed, size_t rows, const attni_feed_kept *kept,
                         float *hidden);

/* Whether it reads another matrix than the stream: what its norm makes, or what there was before all sublayers. */
bool attni_is_normed_first(const attn_block *block, attni_sublayer i);

/* What a sublayer makes cannot begin with the stream, but must be joined with it: y = x + factor · scale ⊙ output(sum);
 * `sum` is room then, y may be x. */
bool attni_is_joined(const attn_block *block, attni_sublayer sublayer);
void attni_join(attn_context *context, const attn_block *block, attni_sublayer sublayer, const attni_matrix *sum,
                const attni_matrix *x, const attni_matrix *y);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* One case made ready to run: context, inputs, output. */
#ifndef ATTN_BENCH_WORK_H
#define ATTN_BENCH_WORK_H

#include <attn/attn.h>

#include "cases/cases.h"

/* Where the pieces of a layer's weights are: dense, [out, in]. */
typedef struct layer_weights {
    float *q, *k, *v, *out; /* [H·D, M], [G·D, M], [G·D, M], [M, H·D] */
    float *q_bias, *k_bias, *v_bias, *out_bias;
    /* What the precision quantises them to, which they then stand for, and its scales; or NULL. */
    void *q_narrow, *k_narrow, *v_narrow, *out_narrow;
    float *q_scale, *k_scale, *v_scale, *out_scale;
} layer_weights;

typedef struct work {
    bench_case what;
    attn_context *context;
    attn_mha *mha;     /* of a layer and of projections */
    attn_cache *cache; /* of a decoding step */
    layer_weights weights;
    attn_tensor q, k, v,
        out; /* a layer reads q; a softmax reads q and a tile multiplies q, k, v, all as plain arrays */
    attn_sdpa_params params;
    attn_tensor attended, d_attended, dk, dv; /* of the way back, whose `out` is dq */
    void *memory;                             /* of all of them */
    float *between;                           /* projected heads, or scores */
    float *room;                              /* for what the precision makes of rows that are projected */
} work;

/* A context of `threads` threads on the backend called `blas` ("": on what libattn chooses), or NULL, and then `error`
 * tells why. */
attn_context *work_context(const char *blas, size_t threads, attn_precision precision, char *error, size_t size);

/* Makes `w` ready: the same inputs on every backend, scratch reserved. On failure `error` tells why, and nothing is
 * held. */
bool work_open(work *w, const char *blas, const bench_case *c, char *error, size_t size);

attn_status work_run(work *w);

/* Says what went wrong in a call that returned `status`. */
void work_explain(const work *w, attn_status status, char *error, size_t size);

void work_close(work *w);

#endif

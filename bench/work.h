/* SPDX-License-Identifier: BSD-3-Clause */
/* One case made ready to run: context, inputs, output. */
#ifndef ATTN_BENCH_WORK_H
#define ATTN_BENCH_WORK_H

#include <attn/attn.h>

#include "cases.h"

typedef struct work {
    attn_context *context;
    attn_mha *mha; /* NULL for sdpa */
    attn_tensor q, k, v, out;
    attn_sdpa_params params;
    float *memory; /* of all the views, out first */
    size_t out_count;
} work;

/* A context of `threads` threads on the backend called `blas`, or NULL, and then `error` tells why. */
attn_context *work_context(const char *blas, size_t threads, char *error, size_t size);

/* Makes `w` ready: the same inputs on every backend, scratch reserved. On failure `error` tells why, and nothing is
 * held. */
bool work_open(work *w, const char *blas, const bench_case *c, char *error, size_t size);

attn_status work_run(work *w);

/* Says what went wrong in a call that returned `status`. */
void work_explain(const work *w, attn_status status, char *error, size_t size);

void work_close(work *w);

#endif

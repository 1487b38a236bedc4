/* SPDX-License-Identifier: BSD-3-Clause */
/* What is timed: the combinations of a sweep, and the work in each. */
#ifndef ATTN_BENCH_CASES_H
#define ATTN_BENCH_CASES_H

#include <stdbool.h>
#include <stddef.h>

#include "options.h"

/* In the order of the words of --ops. */
typedef enum bench_op { OP_SDPA, OP_LAYER } bench_op;

/* Self-attention of T tokens; a layer has the model width M = H·D. */
typedef struct bench_case {
    bench_op op;
    bool causal;
    size_t B, H, T, D, threads;
} bench_case;

/* All combinations, heads and then lengths changing fastest: each `lengths.count` cases in turn make one line of a
 * graph, and each `heads.count` of these a section. NULL when memory is short, otherwise to be freed. */
bench_case *cases_expand(const options *o, size_t *count);

/* Floating-point operations that the result needs: 4·D for each visible pair of tokens, and 8·B·T·M² for a layer. */
double case_flops(const bench_case *c);

/* "sdpa/causal/B:1/H:4/T:32/D:64/threads:1": how JSON and messages name a case. */
void case_name(const bench_case *c, char *to, size_t size);

/* "sdpa, causal, batch 1, width 64, 1 thread": what the cases of a section share. */
void case_title(const bench_case *c, char *to, size_t size);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* What is timed: the combinations of a sweep, and the work in each. */
#ifndef ATTN_BENCH_CASES_H
#define ATTN_BENCH_CASES_H

#include <stdbool.h>
#include <stddef.h>

#include "cases/axes.h"
#include "cases/options.h"

/* Rows of a softmax for each sequence and head: those of a query tile. */
enum { SOFTMAX_ROWS = 64 };

/* Self-attention of T tokens with H query and G key/value heads of width D; a layer has the model width M = H·D. */
typedef struct bench_case {
    bench_op op;
    size_t variant, dtype, precision; /* indices of their tables */
    bool cold;                        /* out of memory, not out of the caches */
    size_t B, H, G, T, D, threads;
    const char *model; /* NULL: none */
} bench_case;

/* All combinations; lengths change fastest, then heads. NULL when memory is short, otherwise to be freed. */
bench_case *cases_expand(const options *o, size_t *count);

/* Cases next to each other of one section differ in heads and length only. */
bool case_same_section(const bench_case *a, const bench_case *b);

/* Floating-point operations that the result needs, and the bytes of inputs and outputs that it must move. */
double case_flops(const bench_case *c);
double case_bytes(const bench_case *c);

/* What it multiplies, and how far from the truth an answer may be. */
peak_type case_roof(const bench_case *c);
double case_tolerance(const bench_case *c);

/* What the speed of the operation is told in, and how much of that a run does: /1e9 and by second is the speed. */
const char *case_unit(const bench_case *c);
double case_work(const bench_case *c);

/* "sdpa/causal/f32/B:1/H:4/G:4/T:32/D:64/threads:1": how JSON and messages name a case. */
void case_name(const bench_case *c, char *to, size_t size);

/* "sdpa, causal, f32, batch 1, width 64, 1 thread": what the cases of a section share. */
void case_title(const bench_case *c, char *to, size_t size);

#endif

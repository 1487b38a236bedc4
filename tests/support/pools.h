/* SPDX-License-Identifier: BSD-3-Clause */
/* Thread pools of a caller's, for attn_context_options.parallel_for. `data` is the number of threads that the context
 * was given, a size_t. */
#ifndef ATTN_TESTS_POOLS_H
#define ATTN_TESTS_POOLS_H

#include "support/support.h"

void run_in_order(void *data, size_t n, void (*task)(void *arg, size_t i), void *arg);
void run_backwards(void *data, size_t n, void (*task)(void *arg, size_t i), void *arg);
void run_on_pthreads(void *data, size_t n, void (*task)(void *arg, size_t i), void *arg);

/* A context on `threads` workers of one of them. */
attn_context *new_context_on(attn_parallel_for_fn parallel_for, const size_t *threads);

/* How many calls with more than one task the functions above have had. */
extern size_t parallel_calls;

#endif

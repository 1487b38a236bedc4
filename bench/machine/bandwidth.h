/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_BANDWIDTH_H
#define ATTN_BENCH_BANDWIDTH_H

#include <stddef.h>

/* GB/s that `threads` threads read together from memory, far more of it than the caches hold: the best of a few passes.
 * 0 where there is no memory. */
double bandwidth_measure(size_t threads);

#endif

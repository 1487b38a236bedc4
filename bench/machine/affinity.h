/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_AFFINITY_H
#define ATTN_BENCH_AFFINITY_H

#include <stdbool.h>
#include <stddef.h>

/* Binds the calling thread, and those it will start, to `count` processors of those that the process had at its start,
 * from number `first` on and round. False: the system did not allow it. */
bool affinity_take(size_t first, size_t count);

#endif

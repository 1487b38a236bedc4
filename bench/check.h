/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_CHECK_H
#define ATTN_BENCH_CHECK_H

#include <stddef.h>

/* Outputs of two backends may differ by this: rounding makes about 1e-6, a wrong product far more. */
#define CHECK_TOLERANCE 1e-4

/* The largest |x - y| / (1 + |y|) between the first `count` floats of two files; infinity where one is not finite or
 * cannot be read. */
double check_difference(int x, int y, size_t count);

#endif

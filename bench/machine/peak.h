/* SPDX-License-Identifier: BSD-3-Clause */
/* The most operations that the machine can do in products: chains of independent ones in registers. */
#ifndef ATTN_BENCH_PEAK_H
#define ATTN_BENCH_PEAK_H

#include <stddef.h>

/* By what is multiplied. Sums are f32, or int32 of int8. Where the CPU has no instruction for a type, it is widened. */
typedef enum peak_type { PEAK_F32, PEAK_BF16, PEAK_INT8, PEAK_TYPES } peak_type;

/* "FMA", "bf16", "int8" */
extern const char *const peak_names[PEAK_TYPES];

/* Runs about so many operations, two for each product, on the calling thread with the fastest instructions that the CPU
 * has; returns how many. */
double peak_run(peak_type type, double operations);

/* GFLOP/s, of int8 too, of `threads` threads that run at the same time for about `seconds`. */
double peak_measure(peak_type type, size_t threads, double seconds);

/* The instructions that peak_run uses: "AVX-512", "AVX2", "AMX-BF16", "NEON", "generic" and the like. */
const char *peak_isa(peak_type type);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* The most floating-point operations that the machine can do: independent fused multiply-adds in registers. */
#ifndef ATTN_BENCH_PEAK_H
#define ATTN_BENCH_PEAK_H

#include <stddef.h>

/* Runs about `flops` operations on the calling thread with the widest vectors that the CPU has; returns how many. */
double peak_run(double flops);

/* GFLOP/s of `threads` threads that run at the same time for about `seconds`. */
double peak_measure(size_t threads, double seconds);

/* The instruction set that peak_run uses: "AVX-512", "AVX2", "NEON" or "generic". */
const char *peak_isa(void);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_DIFF_H
#define ATTN_BENCH_DIFF_H

/* Prints how the benchmarks of two files of Google Benchmark's schema differ. Returns the exit status: 1 where one
 * became slower beyond the noise, or fails now and did not before, or a file cannot be read, or they share nothing. */
int diff_run(const char *before, const char *after);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_JSON_H
#define ATTN_BENCH_JSON_H

#include <stdio.h>

#include "run/results.h"

/* Writes the results in the schema of Google Benchmark (json_schema_version 1), which its compare.py reads: each round
 * is a repetition, followed by mean, median, stddev, cv and iqr. Counters: GFLOPS, GBps, peak_share, peak_GFLOPS,
 * peak_fell (0 or 1), and ratio on the median. */
void json_write(const sweep *s, FILE *file);

#endif

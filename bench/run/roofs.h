/* SPDX-License-Identifier: BSD-3-Clause */
/* What the machine could do while the cases ran. */
#ifndef ATTN_BENCH_ROOFS_H
#define ATTN_BENCH_ROOFS_H

#include "run/results.h"

/* For the rounds of a case: GFLOP/s of as many threads, of what it multiplies. */
double roofs_measure(const sweep *s, size_t index);

/* The median over the rounds of a case. `values` has room for all samples of the run, here and below. */
double roofs_median(const sweep *s, size_t index, double *values);

/* Fills in the peaks, of each case and of the run, from the samples. */
void roofs_find_peaks(sweep *s, double *values);

/* Measures the bandwidths, where they will be told. */
void roofs_find_bandwidths(sweep *s);

#endif

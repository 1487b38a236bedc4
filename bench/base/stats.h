/* SPDX-License-Identifier: BSD-3-Clause */
/* Medians, and when two of them differ. */
#ifndef ATTN_BENCH_STATS_H
#define ATTN_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct stats {
    double median, low, high; /* quartiles, linearly interpolated */
    double mean, stddev;      /* of the sample: divided by n - 1 */
    size_t n;
} stats;

/* Sorts the values. All zero for n = 0. */
stats stats_of(double *values, size_t n);

/* Half of the interval of confidence of the median, as a share of it: 1.57 · (high − low) / √n, the notch of McGill,
 * Tukey and Larsen, "Variations of box plots", 1978, whose medians differ at 95 % where notches do not overlap; never
 * less than 0.5 %, and 3 % for fewer than three rounds, whose quartiles say little. */
double stats_noise(const stats *s);

/* Neither is faster beyond the noise: the intervals of the medians overlap, and so do the quartiles (which few rounds
 * with a bad outlier among them still tell apart), or the difference is below the least noise. */
bool stats_tie(const stats *a, const stats *b);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/stats.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t n, double fraction) {
    double place = fraction * (double)(n - 1);
    size_t below = (size_t)place;
    size_t above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

static double mean_of(const double *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    return sum / (double)n;
}

static double stddev_of(const double *values, size_t n, double mean) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (values[i] - mean) * (values[i] - mean);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : 0;
}

stats stats_of(double *values, size_t n) {
    stats s = {0};
    if (n == 0)
        return s;
    qsort(values, n, sizeof *values, ascending);
    s.low = quantile(values, n, 0.25);
    s.median = quantile(values, n, 0.5);
    s.high = quantile(values, n, 0.75);
    s.mean = mean_of(values, n);
    s.stddev = stddev_of(values, n, s.mean);
    s.n = n;
    return s;
}

static double least_noise(const stats *s) { return s->n < 3 ? 0.03 : 0.005; }

double stats_noise(const stats *s) {
    const double notch = s->median > 0 ? 1.57 * (s->high - s->low) / sqrt((double)s->n) / s->median : 0;
    return fmax(notch, least_noise(s));
}

bool stats_tie(const stats *a, const stats *b) {
    const double difference = fabs(a->median - b->median);
    const bool apart = a->n > 2 && b->n > 2 && (a->high < b->low || b->high < a->low);
    if (difference <= a->median * least_noise(a) + b->median * least_noise(b))
        return true;
    return !apart && difference <= a->median * stats_noise(a) + b->median * stats_noise(b);
}

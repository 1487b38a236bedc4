/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/roofs.h"

#include <math.h>

#include "machine/bandwidth.h"

#define PEAK_SECONDS 0.01

double roofs_measure(const sweep *s, size_t index) {
    return peak_measure(case_roof(&s->cases[index]), s->cases[index].threads, PEAK_SECONDS);
}

/* Appends the samples of a case to values[0..n). Returns how many there are then. */
static size_t gather(const sweep *s, size_t index, double *values, size_t n) {
    const double *samples = &s->peak_samples[index * s->options->max_rounds];
    for (size_t round = 0; round < s->options->max_rounds; round++)
        if (samples[round] > 0)
            values[n++] = samples[round];
    return n;
}

double roofs_median(const sweep *s, size_t index, double *values) {
    return stats_of(values, gather(s, index, values, 0)).median;
}

/* Of all cases that have the roof of `index`: the upper quartile over their rounds, or of the best case. */
static void find_peak(sweep *s, size_t index, double *values) {
    size_t n = 0;
    double best = 0;
    for (size_t i = 0; i < s->count; i++)
        if (sweep_same_roof(s, i, index)) {
            best = fmax(best, s->case_peaks[i]);
            n = gather(s, i, values, n);
        }
    const double peak = n > 0 ? fmax(best, stats_of(values, n).high) : roofs_measure(s, index);
    for (size_t i = 0; i < s->count; i++)
        if (sweep_same_roof(s, i, index))
            s->peaks[i] = peak;
}

void roofs_find_peaks(sweep *s, double *values) {
    for (size_t i = 0; i < s->count; i++)
        s->case_peaks[i] = roofs_median(s, i, values);
    for (size_t i = 0; i < s->count; i++)
        if (sweep_first_roof(s, i))
            find_peak(s, i, values);
}

void roofs_find_bandwidths(sweep *s) {
    if (s->options->command != ROOFLINE && s->options->html == NULL)
        return;
    for (size_t i = 0; i < s->count; i++) {
        const size_t threads = s->cases[i].threads;
        const double bandwidth = s->bandwidths[i] > 0 ? 0 : bandwidth_measure(threads);
        for (size_t n = i; bandwidth > 0 && n < s->count; n++)
            if (s->cases[n].threads == threads)
                s->bandwidths[n] = bandwidth;
    }
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "check.h"

#include <math.h>
#include <stdbool.h>
#include <unistd.h>

#define CHUNK 4096

static bool read_floats(int file, float *to, size_t count, size_t first) {
    return pread(file, to, count * sizeof *to, (off_t)(first * sizeof *to)) == (ssize_t)(count * sizeof *to);
}

static double chunk_difference(const float *x, const float *y, size_t count) {
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)x[i] - (double)y[i]) / (1 + fabs((double)y[i]));
        if (!isfinite(difference))
            return (double)INFINITY;
        worst = fmax(worst, difference);
    }
    return worst;
}

double check_difference(int x, int y, size_t count) {
    float a[CHUNK], b[CHUNK];
    double worst = 0;
    for (size_t i = 0; i < count; i += CHUNK) {
        size_t n = count - i < CHUNK ? count - i : CHUNK;
        if (!read_floats(x, a, n, i) || !read_floats(y, b, n, i))
            return (double)INFINITY;
        worst = fmax(worst, chunk_difference(a, b, n));
    }
    return worst;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Arithmetic of sizes. */
#ifndef ATTNI_SIZES_H
#define ATTNI_SIZES_H

#include <stddef.h>
#include <stdint.h>

/* Strides of rows that a backend reads or writes are below this, others are copied: ATLAS computes stride · 4 in an
 * int. */
enum { ATTNI_MOST_STRIDE = 1 << 28 };

static inline size_t attni_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t attni_max(size_t a, size_t b) { return a > b ? a : b; }
/* Positions can be any integer: a sum that does not fit is the nearest that does. */
static inline ptrdiff_t attni_add(ptrdiff_t a, ptrdiff_t b) {
    ptrdiff_t sum;
    return !__builtin_add_overflow(a, b, &sum) ? sum : a < 0 ? PTRDIFF_MIN : PTRDIFF_MAX;
}
static inline size_t attni_ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
static inline size_t attni_round_up(size_t a, size_t step) { return attni_ceil_div(a, step) * step; }

/* Into how many shares, from `least` to `most`, each of some units of work must be cut to come out most evenly among
 * threads; of equals the fewest. */
static inline size_t attni_even_shares(size_t units, size_t least, size_t most, size_t threads) {
    size_t best = attni_max(1, least);
    for (size_t n = best + 1; n <= most; n++)
        if (n * attni_ceil_div(units * best, threads) > best * attni_ceil_div(units * n, threads))
            best = n;
    return best;
}

/* Where the next piece of a buffer begins, which is handed out in whole steps; *used moves on behind it. */
static inline size_t attni_take(size_t *used, size_t amount, size_t step) {
    const size_t at = *used;
    *used += attni_round_up(amount, step);
    return at;
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* What the bodies share, over the vector operations of the simd_*.h included before. */
#ifndef ATTNI_BASICS_H
#define ATTNI_BASICS_H

#include <math.h>
#include <stdbool.h>

static inline V load_up_to(const float *p, size_t n, V fill) { return n >= VL ? v_load(p) : v_load_n(p, n, fill); }
static inline void store_up_to(float *p, size_t n, V x) { n >= VL ? v_store(p, x) : v_store_n(p, n, x); }

static inline void fetch(const void *x, size_t bytes) {
    __builtin_prefetch((const void *)((uintptr_t)x + bytes), 0, 2);
}

/* The nearest integer, of two the even one, within ±127: in any rounding mode, which may have made x a little larger.
 */
static inline int8_t quantum_of(float x) {
    const int whole = (int)x;
    const float rest = x - (float)whole;
    const bool away = fabsf(rest) > 0.5F || (fabsf(rest) == 0.5F && whole % 2 != 0);
    const int nearest = away ? whole + (rest < 0 ? -1 : 1) : whole;
    return (int8_t)(nearest < -127 ? -127 : nearest > 127 ? 127 : nearest);
}

/* The smallest scale that makes |x| ≤ 127 of |x| ≤ most; 0 for what is next to nothing, NaN for NaN. */
static inline float scale_for(float most) {
    float scale = most / 127;
    scale = isinf(scale * 127) ? nextafterf(scale, 0) : scale; /* the largest floats come back finite */
    return scale < 0x1p-120F ? 0.0F : scale;
}

#endif

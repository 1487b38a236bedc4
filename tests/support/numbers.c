/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/numbers.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A sign, `exponent` bits, `fraction` bits; 16 in all. */
typedef struct format {
    int exponent, fraction;
} format;

static format format_of(attn_dtype dtype) { return dtype == ATTN_F16 ? (format){5, 10} : (format){8, 7}; }

static int bias_of(format f) { return (1 << (f.exponent - 1)) - 1; }

size_t type_size(attn_dtype dtype) {
    const bool byte = dtype == ATTN_BOOL || dtype == ATTN_INT8 || dtype == ATTN_INT4;
    return dtype == ATTN_F32 ? sizeof(float) : byte ? sizeof(unsigned char) : sizeof(uint16_t);
}

static double decode(format f, uint16_t bits) {
    const int exponent = bits >> f.fraction & ((1 << f.exponent) - 1), fraction = bits & ((1 << f.fraction) - 1);
    const double sign = bits >> 15 ? -1 : 1;
    if (exponent == (1 << f.exponent) - 1)
        return fraction ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias_of(f) - f.fraction);
    return sign * ldexp((1 << f.fraction) + fraction, exponent - bias_of(f) - f.fraction);
}

/* The exponent of the last bit of a number of x's magnitude. */
static int last_bit(format f, double x) {
    const int least = 1 - bias_of(f);
    int exponent;
    frexp(x, &exponent);
    return (x != 0 && exponent - 1 > least ? exponent - 1 : least) - f.fraction;
}

/* The bits of numbers of one sign count up with their magnitude: n·2^last is number n of those with this last bit. */
static uint16_t encode(format f, double x) {
    const unsigned sign = signbit(x) ? 0x8000 : 0, infinite = ((1U << f.exponent) - 1) << f.fraction;
    if (isnan(x))
        return (uint16_t)(sign | infinite | 1U << (f.fraction - 1));
    if (isinf(x))
        return (uint16_t)(sign | infinite);
    const int last = last_bit(f, x);
    const unsigned n = (unsigned)nearbyint(ldexp(fabs(x), -last)); /* ties to even */
    const unsigned binade = (unsigned)(last + bias_of(f) + f.fraction - 1) << f.fraction;
    const unsigned bits = binade + n;
    return (uint16_t)(sign | (bits < infinite ? bits : infinite));
}

double read_number(attn_dtype dtype, const void *p) {
    if (dtype == ATTN_F32) {
        float x;
        memcpy(&x, p, sizeof x);
        return (double)x;
    }
    if (dtype == ATTN_BOOL)
        return *(const unsigned char *)p != 0;
    if (dtype == ATTN_INT8)
        return *(const signed char *)p;
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    return decode(format_of(dtype), bits);
}

void write_number(attn_dtype dtype, void *p, double x) {
    const float single = (float)x;
    const unsigned char boolean = dtype == ATTN_BOOL ? (unsigned char)x : 0;
    const uint16_t bits = dtype == ATTN_F16 || dtype == ATTN_BF16 ? encode(format_of(dtype), x) : 0;
    const void *from = dtype == ATTN_F32 ? (const void *)&single : dtype == ATTN_BOOL ? &boolean : (const void *)&bits;
    memcpy(p, from, type_size(dtype));
}

double rounded_to(attn_dtype dtype, double x) {
    unsigned char bytes[sizeof(float)];
    write_number(dtype, bytes, x);
    return read_number(dtype, bytes);
}

double half_ulp(attn_dtype dtype, double x) {
    return dtype == ATTN_F32 || !isfinite(x) ? 0 : ldexp(0.5, last_bit(format_of(dtype), x));
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "half.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static uint32_t read16(const unsigned char *from) { return (uint32_t)from[0] | (uint32_t)from[1] << 8; }

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float f16(uint32_t bits) {
    const uint32_t sign = (bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    if (exponent == 31)
        return from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent != 0)
        return from_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13);
    const float subnormal = ldexpf((float)fraction, -24);
    return sign != 0 ? -subnormal : subnormal;
}

void half_f16(const unsigned char *from, size_t count, float *to) {
    for (size_t i = 0; i < count; i++)
        to[i] = f16(read16(from + 2 * i));
}

void half_bf16(const unsigned char *from, size_t count, float *to) {
    for (size_t i = 0; i < count; i++)
        to[i] = from_bits(read16(from + 2 * i) << 16);
}

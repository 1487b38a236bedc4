/* SPDX-License-Identifier: BSD-3-Clause */
#include "cases/axes.h"

#include <math.h>
#include <string.h>

const op_spec op_table[] = {
    [OP_SDPA] = {"sdpa", USES_ALL, false, {PEAK_F32, PEAK_BF16, PEAK_BF16, PEAK_BF16}},
    [OP_BACKWARD] = {"backward", USES_ALL & ~(unsigned)USES_PRECISION, false, {PEAK_F32}},
    [OP_LAYER] = {"layer", USES_ALL & ~(unsigned)USES_DTYPE, false, {PEAK_F32, PEAK_BF16, PEAK_INT8, PEAK_INT8}},
    [OP_DECODE] = {"decode", USES_SIZES | USES_PRECISION, true, {PEAK_F32, PEAK_BF16, PEAK_F32, PEAK_F32}},
    [OP_PROJECTIONS] = {"projections", USES_SIZES | USES_PRECISION, false, {PEAK_F32, PEAK_BF16, PEAK_INT8, PEAK_INT8}},
    [OP_SOFTMAX] = {"softmax", USES_SIZES, true, {PEAK_F32}},
    [OP_SGEMM] = {"sgemm", 0, false, {PEAK_F32}},
};

static key_range sees_all(size_t i, size_t T) {
    (void)i;
    return (key_range){0, T};
}

static key_range sees_before(size_t i, size_t T) {
    (void)T;
    return (key_range){0, i + 1};
}

static void set_causal(attn_sdpa_params *params) { params->causal = ATTN_CAUSAL_TOP_LEFT; }

/* Causal, and no further back. */
enum { WINDOW = 256 };

static void set_window(attn_sdpa_params *params) {
    static const attn_window window = {WINDOW - 1, -1};
    params->causal = ATTN_CAUSAL_TOP_LEFT;
    params->window = &window;
}

static key_range sees_window(size_t i, size_t T) {
    (void)T;
    return (key_range){i < WINDOW ? 0 : i + 1 - WINDOW, i + 1};
}

static void set_alibi(attn_sdpa_params *params) {
    params->causal = ATTN_CAUSAL_TOP_LEFT;
    params->alibi = ATTN_ALIBI_STANDARD;
}

/* Slopes of powers of two of heads, and between them those of twice as many. */
static double sloped(double s, size_t h, size_t H, size_t i, size_t j) {
    size_t n = 1;
    while (2 * n <= H)
        n *= 2;
    const double exponent = h < n ? -8.0 * (double)(h + 1) / (double)n : -4.0 * (double)(2 * (h - n) + 1) / (double)n;
    return s - exp2(exponent) * fabs((double)i - (double)j);
}

#define SOFTCAP 20

static void set_softcap(attn_sdpa_params *params) { params->softcap = SOFTCAP; }

static double capped(double s, size_t h, size_t H, size_t i, size_t j) {
    (void)h, (void)H, (void)i, (void)j;
    return SOFTCAP * tanh(s / SOFTCAP);
}

static double slope_of_capped(double s) { return 1 - pow(tanh(s / SOFTCAP), 2); }

const variant_spec variant_table[] = {
    {"full", NULL, sees_all, NULL, NULL},
    {"causal", set_causal, sees_before, NULL, NULL},
    {"window", set_window, sees_window, NULL, NULL},
    {"alibi", set_alibi, sees_before, sloped, NULL},
    {"softcap", set_softcap, sees_all, capped, slope_of_capped},
};

const dtype_spec dtype_table[] = {
    {"f32", ATTN_F32, 8, 23, 1e-4},
    {"f16", ATTN_F16, 5, 10, 1e-3},
    {"bf16", ATTN_BF16, 8, 7, 1e-2},
};

const precision_spec precision_table[] = {
    {"f32", ATTN_PRECISION_F32, ATTN_F32, 4, 0, 0},
    {"bf16", ATTN_PRECISION_BF16, ATTN_BF16, 2, 0.05, 0.05},
    {"int8", ATTN_PRECISION_INT8, ATTN_INT8, 1, 0.2, 0.2},
    {"int4", ATTN_PRECISION_INT8, ATTN_INT4, 0.625, 0.2, 0.9},
};

size_t dtype_size(const dtype_spec *type) { return (size_t)(1 + type->exponent + type->mantissa) / 8; }

/* |value| as bits: the exponent above the mantissa, so that a mantissa that rounds up to 2 carries into it. */
static uint32_t encode(const dtype_spec *type, double value) {
    const int bias = (1 << (type->exponent - 1)) - 1;
    int exponent;
    if (value == 0)
        return 0;
    frexp(value, &exponent);
    exponent = exponent - 1 < 1 - bias ? 1 - bias : exponent - 1;
    const double mantissa = nearbyint(ldexp(value, type->mantissa - exponent));
    return ((uint32_t)(exponent + bias - 1) << type->mantissa) + (uint32_t)mantissa;
}

void dtype_put(const dtype_spec *type, void *array, size_t i, double value) {
    const size_t size = dtype_size(type);
    const float single = (float)value;
    if (size == sizeof single) {
        memcpy((char *)array + i * size, &single, size);
        return;
    }
    const uint32_t sign = signbit(value) ? 1 : 0;
    const uint32_t bits = sign << (type->exponent + type->mantissa) | encode(type, fabs(value));
    memcpy((char *)array + i * size, &bits, size); /* little-endian */
}

double dtype_get(const dtype_spec *type, const void *array, size_t i) {
    const size_t size = dtype_size(type);
    const int bias = (1 << (type->exponent - 1)) - 1, most = (1 << type->exponent) - 1;
    float single;
    uint32_t bits = 0;
    if (size == sizeof single) {
        memcpy(&single, (const char *)array + i * size, size);
        return (double)single;
    }
    memcpy(&bits, (const char *)array + i * size, size);
    const uint32_t mantissa = bits & ((1u << type->mantissa) - 1);
    const int exponent = (int)(bits >> type->mantissa) & most;
    const double sign = bits >> (type->exponent + type->mantissa) & 1 ? -1 : 1;
    if (exponent == most)
        return mantissa != 0 ? (double)NAN : sign * (double)INFINITY;
    const uint32_t whole = exponent > 0 ? mantissa + (1u << type->mantissa) : mantissa;
    return sign * ldexp((double)whole, (exponent > 0 ? exponent : 1) - bias - type->mantissa);
}

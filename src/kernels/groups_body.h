/* SPDX-License-Identifier: BSD-3-Clause */
/* What caches keep as int4 (kernels.h says how), over the vector operations of body.h, which includes this. */

/* The bf16 number next to a finite x that is no larger, or no smaller. */
static inline uint16_t bf16_beside(float x, bool below) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    const bool away = (u >> 31) == below; /* from zero */
    return (uint16_t)((u + (away ? 0xFFFFU : 0U)) >> 16);
}

/* No sum of these is infinite. */
static inline float limited(float x) {
    const float above = x > -0x1p126F ? x : -0x1p126F;
    return above < 0x1p126F ? above : 0x1p126F;
}

/* From the least of n numbers 15 steps reach the largest. A step has an inverse, or is 0. */
static void quantize_group(size_t n, const float *x, uint16_t *scale, uint16_t *offset, uint8_t *numbers) {
    float least = INFINITY, most = -INFINITY;
    for (size_t k = 0; k < n; k++) {
        least = limited(x[k]) < least ? limited(x[k]) : least;
        most = limited(x[k]) > most ? limited(x[k]) : most;
    }
    *offset = bf16_beside(least, true);
    const float from = attni_float_of_bf16(*offset), step = (most - from) / 15;
    *scale = step < 0x1p-126F ? 0 : bf16_beside(step, false);
    const float inverse = *scale ? 1 / attni_float_of_bf16(*scale) : 0.0F;
    memset(numbers, 0, ATTNI_GROUP);
    for (size_t k = 0; k < n; k++)
        numbers[k] = (uint8_t)((limited(x[k]) - from) * inverse + 0.5F);
}

enum { HALF = ATTNI_GROUP / 2, GROUP_BYTES = HALF + 2 * sizeof(uint16_t), SOON = 2048 };

static void widen_columns(size_t rows, size_t width, const void *group, float *y) {
    const uint16_t *scale = group, *offset = scale + width;
    const uint8_t *bytes = (const uint8_t *)(offset + width);
    const size_t lower = rows < HALF ? rows : HALF, upper = rows - lower;
    for (size_t j = 0; j < width; j += VL) {
        const V s = v_load_bf16(scale + j), o = v_load_bf16(offset + j);
        const uint8_t *p = bytes + j;
        float *to = y + j;
        for (size_t k = 0; k < upper; k++, p += width, to += width) {
            fetch(p, SOON);
            v_store(to, v_fma(v_load_lower(p), s, o));
            v_store(to + HALF * width, v_fma(v_load_upper(p), s, o));
        }
        for (size_t k = upper; k < lower; k++, p += width, to += width)
            v_store(to, v_fma(v_load_lower(p), s, o));
    }
}

/* Of HALF columns some, or all. */
static inline __attribute__((always_inline)) void widen_half(bool upper, size_t columns, const uint8_t *p, V scale,
                                                             V offset, float *y) {
    for (size_t j = 0; j < columns; j += VL)
        store_up_to(y + j, columns - j, v_fma(upper ? v_load_upper(p + j) : v_load_lower(p + j), scale, offset));
}

static inline __attribute__((always_inline)) void widen_group(size_t columns, const char *group, float *lower,
                                                              float *upper) {
    const uint16_t *pair = (const uint16_t *)(const void *)group;
    const V scale = v_set(attni_float_of_bf16(pair[0])), offset = v_set(attni_float_of_bf16(pair[1]));
    const uint8_t *bytes = (const uint8_t *)(pair + 2);
    const size_t first = columns < HALF ? columns : HALF;
    widen_half(false, first, bytes, scale, offset, lower);
    widen_half(true, columns - first, bytes, scale, offset, upper);
}

static void widen_rows(size_t rows, size_t columns, const char *groups, float *lower, float *upper, size_t ldy) {
    if (columns < ATTNI_GROUP)
        for (size_t r = 0; r < rows; r++, groups += GROUP_BYTES, lower += ldy, upper += ldy)
            widen_group(columns, groups, lower, upper);
    else
        for (size_t r = 0; r < rows; r++, groups += GROUP_BYTES, lower += ldy, upper += ldy) {
            fetch(groups, SOON);
            widen_group(ATTNI_GROUP, groups, lower, upper);
        }
}

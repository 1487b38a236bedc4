/* SPDX-License-Identifier: BSD-3-Clause */
/* Elements of bf16 and int8 on their way into panels, where rows lie together (kernels.h). */
#ifndef ATTNI_TOGETHER_H
#define ATTNI_TOGETHER_H

#include <string.h>

#include "kernels/kernels.h"

/* x [rows, columns], element (r, c) at x + r·row + c·column, into rows of a panel from `first` on. */
static inline void attni_put_int8(size_t rows, size_t columns, const int8_t *x, size_t row, size_t column, size_t first,
                                  uint8_t *panel, size_t width) {
    for (size_t r = 0; r < rows; r++) {
        uint8_t *to = panel + (first + r) / 4 * width * 4 + (first + r) % 4;
        for (size_t c = 0; c < columns; c++)
            to[4 * c] = (uint8_t)(x[r * row + c * column] + 128);
    }
}

static inline void attni_put_bf16(size_t rows, size_t columns, const uint16_t *x, size_t row, size_t column,
                                  size_t first, uint16_t *panel, size_t width) {
    for (size_t r = 0; r < rows; r++) {
        uint16_t *to = panel + (first + r) / 2 * width * 2 + (first + r) % 2;
        for (size_t c = 0; c < columns; c++)
            to[2 * c] = x[r * row + c * column];
    }
}

static inline float attni_float_of_bf16(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Element (r, c) of a panel. */
static inline float attni_number_of(attn_dtype type, const char *panel, size_t width, size_t r, size_t c) {
    const size_t n = attni_together(type), at = (r / n * width + c) * n + r % n;
    return type == ATTN_BF16 ? attni_float_of_bf16(((const uint16_t *)(const void *)panel)[at])
                             : (float)(((const uint8_t *)panel)[at] - 128);
}

#endif

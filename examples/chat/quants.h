/* SPDX-License-Identifier: BSD-3-Clause */
/* The number formats of GGUF. Source: github.com/ggml-org/ggml, ggml-quants.c. */
#ifndef CHAT_QUANTS_H
#define CHAT_QUANTS_H

#include "gguf.h"

/* What is stored as one: so many numbers in so many bytes. */
typedef struct quant_block {
    const char *name;
    size_t numbers, bytes;
    void (*widen)(const unsigned char *from, float *to); /* one block; NULL: a float */
} quant_block;

/* NULL: not read here. */
const quant_block *quant_find(uint32_t type);

/* Rows [first, first + rows) of a matrix of a type that is read here, as floats. */
void quant_rows(const gguf_tensor *t, size_t first, size_t rows, float *to);

/* The same rows of a Q4_0 or Q4_1 matrix as libattn's int4, exactly: numbers [rows, columns / 2], scale and offset of
 * each group [rows, columns / 32, 2]. */
void quant_int4(const gguf_tensor *t, size_t first, size_t rows, uint8_t *numbers, float *scales);

#endif

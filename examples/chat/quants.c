/* SPDX-License-Identifier: BSD-3-Clause */
#include "quants.h"

#include <string.h>

#include "half.h"

static float half(const unsigned char *from) {
    float value;
    half_f16(from, 1, &value);
    return value;
}

/* Scale d, numbers −128 to 127. */
static void block_q8_0(const unsigned char *from, float *to) {
    const float d = half(from);
    for (size_t i = 0; i < 32; i++)
        to[i] = d * (float)(int8_t)from[2 + i];
}

/* Scale d, numbers 0 to 15 less 8; i and i + 16 share a byte. */
static void block_q4_0(const unsigned char *from, float *to) {
    const float d = half(from);
    for (size_t i = 0; i < 16; i++) {
        to[i] = d * (float)((from[2 + i] & 15) - 8);
        to[i + 16] = d * (float)((from[2 + i] >> 4) - 8);
    }
}

/* Scale d, offset m. */
static void block_q4_1(const unsigned char *from, float *to) {
    const float d = half(from), m = half(from + 2);
    for (size_t i = 0; i < 16; i++) {
        to[i] = d * (float)(from[4 + i] & 15) + m;
        to[i + 16] = d * (float)(from[4 + i] >> 4) + m;
    }
}

/* Eight groups of 32, whose scales and offsets are 6 bits each in 12 bytes, times d and dmin. */
static void block_q4_k(const unsigned char *from, float *to) {
    const float d = half(from), least = half(from + 2);
    const unsigned char *s = from + 4, *numbers = from + 16;
    for (size_t n = 0; n < 8; n++) {
        const int scale = n < 4 ? s[n] & 63 : (s[n + 4] & 15) | (s[n - 4] >> 6) << 4;
        const int offset = n < 4 ? s[n + 4] & 63 : s[n + 4] >> 4 | (s[n] >> 6) << 4;
        const float step = d * (float)scale, begin = least * (float)offset;
        for (size_t i = 0; i < 32; i++)
            to[32 * n + i] = step * (float)(numbers[n / 2 * 32 + i] >> n % 2 * 4 & 15) - begin;
    }
}

/* Sixteen groups of 16, numbers of 6 bits less 32: four bits in `low`, two in `high`; scales are int8, times d. */
static void block_q6_k(const unsigned char *from, float *to) {
    const float d = half(from + 208);
    for (size_t n = 0; n < 8; n++) { /* 32 numbers each */
        const unsigned char *low = from + n / 4 * 64 + n % 2 * 32, *high = from + 128 + n / 4 * 32;
        for (size_t i = 0; i < 32; i++) {
            const int number = (low[i] >> (n % 4 / 2 * 4) & 15) | (high[i] >> (n % 4 * 2) & 3) << 4;
            to[32 * n + i] = d * (float)(int8_t)from[192 + 2 * n + i / 16] * (float)(number - 32);
        }
    }
}

static const struct {
    gguf_type type;
    quant_block block;
} table[] = {
    {GGUF_F32, {"F32", 1, 4, NULL}},
    {GGUF_F16, {"F16", 1, 2, NULL}},
    {GGUF_BF16, {"BF16", 1, 2, NULL}},
    {GGUF_Q4_0, {"Q4_0", 32, 18, block_q4_0}},
    {GGUF_Q4_1, {"Q4_1", 32, 20, block_q4_1}},
    {GGUF_Q8_0, {"Q8_0", 32, 34, block_q8_0}},
    {GGUF_Q4_K, {"Q4_K", 256, 144, block_q4_k}},
    {GGUF_Q6_K, {"Q6_K", 256, 210, block_q6_k}},
};

const quant_block *quant_find(uint32_t type) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].type == type)
            return &table[i].block;
    return NULL;
}

void quant_rows(const gguf_tensor *t, size_t first, size_t rows, float *to) {
    const quant_block *b = quant_find(t->type);
    const size_t count = rows * t->size[0] / b->numbers;
    const unsigned char *from = t->data + first * t->size[0] / b->numbers * b->bytes;
    if (t->type == GGUF_F32)
        memcpy(to, from, count * sizeof *to);
    else if (t->type == GGUF_F16)
        half_f16(from, count, to);
    else if (t->type == GGUF_BF16)
        half_bf16(from, count, to);
    else
        for (size_t i = 0; i < count; i++)
            b->widen(from + i * b->bytes, to + i * b->numbers);
}

/* Numbers i and i + 16 share a byte there, 2i and 2i + 1 here. */
static void repack(const unsigned char *from, uint8_t *to) {
    for (size_t i = 0; i < 8; i++) {
        to[i] = (uint8_t)((from[2 * i] & 15) | (from[2 * i + 1] & 15) << 4);
        to[i + 8] = (uint8_t)(from[2 * i] >> 4 | (from[2 * i + 1] & 0xf0));
    }
}

void quant_int4(const gguf_tensor *t, size_t first, size_t rows, uint8_t *numbers, float *scales) {
    const size_t bytes = quant_find(t->type)->bytes, groups = t->size[0] / 32;
    const unsigned char *from = t->data + first * groups * bytes;
    for (size_t n = 0; n < rows * groups; n++, from += bytes) {
        scales[2 * n] = half(from);
        scales[2 * n + 1] = t->type == GGUF_Q4_0 ? -8 * scales[2 * n] : half(from + 2);
        repack(from + bytes - 16, numbers + 16 * n);
    }
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The input of a fuzzer: bytes that are read as choices. */
#ifndef ATTN_TESTS_INPUT_H
#define ATTN_TESTS_INPUT_H

#include <stddef.h>
#include <stdint.h>

/* What is left of it. When it is used up, zeros come. */
struct input {
    const uint8_t *at;
    size_t left;
};

uint64_t take_bits(struct input *in);
size_t take_below(struct input *in, size_t n); /* 0 where n is 0 */
#define take_pick(in, array) ((array)[take_below(in, sizeof(array) / sizeof *(array))])

/* Up to 20 of the words, or any byte in the place of one, in a row: bytes to be freed, with none behind them. */
char *take_text(struct input *in, const char *const words[], size_t count, size_t *size);

#endif

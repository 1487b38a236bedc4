/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/input.h"

#include <stdlib.h>
#include <string.h>

static uint64_t take(struct input *in, size_t count) {
    uint64_t x = 0;
    for (size_t i = 0; i < count && in->left; i++, in->left--)
        x = x << 8 | *in->at++;
    return x;
}

uint64_t take_bits(struct input *in) { return take(in, sizeof(uint64_t)); }

size_t take_below(struct input *in, size_t n) {
    const size_t count = n <= 1 ? 0 : n <= 256 ? 1 : n <= 65536 ? 2 : sizeof(uint64_t);
    return count ? (size_t)(take(in, count) % n) : 0;
}

char *take_text(struct input *in, const char *const words[], size_t count, size_t *size) {
    enum { MOST = 20, ROOM = MOST * 16 };
    char text[ROOM];
    *size = 0;
    for (size_t n = take_below(in, MOST + 1); n > 0; n--) {
        const char byte[] = {(char)take_below(in, 256), '\0'};
        const char *word = take_below(in, 16) == 1 ? byte : words[take_below(in, count)];
        while (*word && *size < ROOM)
            text[(*size)++] = *word++;
    }
    char *copy = malloc(*size + !*size);
    if (!copy)
        abort();
    memcpy(copy, text, *size);
    return copy;
}

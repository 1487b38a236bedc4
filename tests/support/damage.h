/* SPDX-License-Identifier: BSD-3-Clause */
/* Files damaged at random, for fuzzers of loaders. */
#ifndef ATTN_TESTS_DAMAGE_H
#define ATTN_TESTS_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bytes {
    unsigned char *data;
    size_t size, room;
} bytes;

void damage_seed(uint64_t seed);

/* A random number below n. */
size_t damage_below(size_t n);

/* A whole file, with some room behind; aborts where it cannot be read. */
bytes damage_load(const char *path);

/* Writes bytes to a file; false where that fails. */
bool damage_save(const char *path, const bytes *b);

/* A damaged copy, to be freed: of one to four changes half go to the first 4096 bytes, where a header is. */
bytes damage_copy(const bytes *whole);

#endif

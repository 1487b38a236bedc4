/* SPDX-License-Identifier: BSD-3-Clause */
/* Files in memory, and damaged ones for fuzzers of loaders. */
#ifndef ATTN_TESTS_DAMAGE_H
#define ATTN_TESTS_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "support/input.h"

typedef struct bytes {
    unsigned char *data;
    size_t size, room;
} bytes;

/* A whole file; aborts where it cannot be read. */
bytes damage_load(const char *path);

/* Writes bytes to a file; false where that fails. */
bool damage_save(const char *path, const bytes *b);

/* A copy with up to four changes, to be freed; half of them go to the first 4096 bytes, where a header is. Or, for one
 * input of eight, any file: all that is left of the input. Returns whether it is the whole file, unchanged. */
bool damage_copy(struct input *in, const bytes *whole, bytes *copy);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Cuts text into the pieces within which tokens are made: words with the space before them, numbers, runs of other
 * characters, white space. Source: GPT-2's pattern,
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * Bytes that are no UTF-8 count as other characters. */
#ifndef CHAT_PIECES_H
#define CHAT_PIECES_H

#include <stdbool.h>

#include "file.h"

/* What is left of a text. */
typedef struct pieces {
    const char *at, *end;
    bool digits; /* each digit is a text by itself: SmolLM2 */
} pieces;

/* Takes the next piece; empty at the end. */
slice pieces_next(pieces *p);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* The tokens of a model and their numbers. */
#ifndef LENS_VOCAB_H
#define LENS_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "file.h"
#include "glyphs.h"

#define VOCAB_SPECIAL_MAX 64

typedef struct vocab {
    char **token; /* by id */
    size_t count;
    size_t longest;  /* bytes of the longest token */
    uint32_t *table; /* of ids + 1, open addressing; 0 is free */
    size_t table_size;
    glyph_rules rules;
    size_t word_max;                     /* characters; a longer word is unknown */
    uint32_t special[VOCAB_SPECIAL_MAX]; /* ids of tokens that are found in a text before all else */
    size_t special_count;
    uint32_t cls, sep, unknown;
} vocab;

/* Reads tokenizer.json of the folder or, if it has none, vocab.txt, one token a line. */
bool vocab_open(vocab *v, const char *folder, example_error *e);
void vocab_free(vocab *v);

/* Looks a token up; with `inside`, the one that continues a word ("##" before it). */
bool vocab_find(const vocab *v, bool inside, slice token, uint32_t *id);

#endif

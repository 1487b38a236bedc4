/* SPDX-License-Identifier: BSD-3-Clause */
/* Text as BERT's tokenizer sees it: control characters dropped, white space made one kind, CJK characters set apart,
 * accents stripped, lower case. Source: BasicTokenizer of github.com/google-research/bert, tokenization.py. */
#ifndef LENS_GLYPHS_H
#define LENS_GLYPHS_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "file.h"

typedef struct glyph {
    int32_t code;
    size_t begin, end; /* bytes of the source that it comes from */
} glyph;

typedef struct glyphs {
    glyph *item;
    size_t count, capacity;
} glyphs;

typedef struct glyph_rules {
    bool lower, strip_accents, split_cjk;
} glyph_rules;

/* Appends what `text` becomes. White space is ' '. Fails on invalid UTF-8, telling where. */
bool glyphs_append(glyphs *g, const glyph_rules *rules, slice text, size_t begin, size_t end, example_error *e);

void glyphs_free(glyphs *g);

/* Whether the character is a word by itself. */
bool glyph_is_punctuation(int32_t code);

#endif

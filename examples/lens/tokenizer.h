/* SPDX-License-Identifier: BSD-3-Clause */
/* WordPiece: a word is cut into the longest pieces that the vocabulary has, from the left.
 * Source: Wu et al., "Google's neural machine translation system", 2016; WordpieceTokenizer of BERT. */
#ifndef LENS_TOKENIZER_H
#define LENS_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "file.h"
#include "vocab.h"

typedef struct token {
    uint32_t id;
    size_t begin, end; /* bytes of the source; begin = end: [CLS] and [SEP] around the text */
    bool inside;       /* continues the word of the token before it */
} token;

typedef struct tokens {
    token *item;
    size_t count, capacity;
    size_t cut; /* how many more there were than the limit allows */
} tokens;

/* [CLS], the tokens of `text`, [SEP]; at most `limit` of them (at least 2), the rest is cut off and counted. The bytes
 * of the tokens of a word are those of the whole word. Fails on invalid UTF-8. To be given to tokens_free after
 * success. */
bool tokenize(const vocab *v, slice text, size_t limit, tokens *t, example_error *e);
void tokens_free(tokens *t);

#endif

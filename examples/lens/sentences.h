/* SPDX-License-Identifier: BSD-3-Clause */
/* A file of sentences and their vectors. */
#ifndef LENS_SENTENCES_H
#define LENS_SENTENCES_H

#include "encode.h"
#include "file.h"

typedef struct sentences {
    lines lines;
    tokens *tokens; /* [count] */
    float *vectors; /* [count,M] */
    size_t count;
} sentences;

/* Reads the lines of a file. */
bool sentences_read(sentences *s, const char *path, example_error *e);

/* Tokens of each, as many as the model takes; says on stderr which lines are cut. */
bool sentences_tokenize(sentences *s, const model *m, example_error *e);

/* The same of one sentence from the command line, to be given to tokens_free after success. */
bool sentence_tokenize(const char *text, const model *m, tokens *t, example_error *e);

/* Vectors of each. */
bool sentences_encode(sentences *s, attn_context *context, const model *m, example_error *e);

void sentences_free(sentences *s);

#endif

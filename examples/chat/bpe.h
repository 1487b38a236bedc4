/* SPDX-License-Identifier: BSD-3-Clause */
/* Byte-level BPE: text to token ids and back, with the vocabulary and the merges of a GGUF file.
 * Source: Sennrich et al., "Neural machine translation of rare words with subword units", 2016; GPT-2's encoder.py. */
#ifndef CHAT_BPE_H
#define CHAT_BPE_H

#include <stdint.h>

#include "gguf.h"

typedef struct id_list {
    int64_t *item;
    size_t count, capacity;
} id_list;

typedef struct bpe bpe;

/* Keeps no pointer to the file. NULL on failure. */
bpe *bpe_open(const gguf *g, example_error *e);

/* NULL is allowed. */
void bpe_close(bpe *b);

size_t bpe_size(const bpe *b);

/* Appends the tokens of a text to `out`. Special tokens are found in it only if `special` says so: not in what a user
 * typed. */
bool bpe_encode(bpe *b, slice text, bool special, id_list *out, example_error *e);

/* The bytes of a token below bpe_size; they may be part of a character. Of a special token its name. */
slice bpe_text(const bpe *b, int64_t id);
bool bpe_is_special(const bpe *b, int64_t id);

/* The id of a token by its name, −1: there is none. */
int64_t bpe_find(const bpe *b, const char *name);

bool id_list_add(id_list *list, int64_t id, example_error *e);
void id_list_free(id_list *list);

#endif

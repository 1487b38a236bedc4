/* SPDX-License-Identifier: BSD-3-Clause */
/* A conversation as the model was trained to see it: <|im_start|>role, a line end, the words, <|im_end|> ("ChatML"). */
#ifndef CHAT_TALK_H
#define CHAT_TALK_H

#include "bpe.h"

typedef struct talk {
    bpe *words;
    int64_t start, stop; /* what each part begins and ends with */
    slice system;        /* what the model's template begins with where nothing else is asked for; may be empty */
} talk;

/* False where the template of the file is another one. */
bool talk_open(talk *t, const gguf *g, bpe *words, example_error *e);

/* Appends the system's part: `text`, or NULL for the model's own. */
bool talk_begin(const talk *t, const char *text, id_list *out, example_error *e);

/* Appends what a user says, and the beginning of the answer. */
bool talk_ask(const talk *t, slice text, id_list *out, example_error *e);

/* Appends the end of an answer. */
bool talk_end(const talk *t, id_list *out, example_error *e);

#endif

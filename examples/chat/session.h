/* SPDX-License-Identifier: BSD-3-Clause */
/* What all commands of attn-chat run on: the model of a file and its tokenizer. */
#ifndef CHAT_SESSION_H
#define CHAT_SESSION_H

#include "bpe.h"
#include "decoder.h"
#include "model.h"
#include "options.h"

typedef struct session {
    const options *options;
    attn_context *context;
    gguf *file;
    bpe *words;
    model model;
    double begun; /* when the program was */
} session;

bool session_open(session *s, const options *o, example_error *e);
void session_close(session *s);

/* Runs a prompt of sequence 0 in chunks, telling a terminal how far it is. */
bool session_prompt(const session *s, decoder *d, const int64_t *ids, size_t count, example_error *e);

/* Megabytes that the process had in memory at most. */
double memory_peak(void);

/* The commands. */
bool command_chat(session *s, example_error *e);
bool command_perplexity(session *s, example_error *e);
bool command_bench(session *s, example_error *e);
bool command_tokens(session *s, example_error *e);
bool command_logits(session *s, example_error *e);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of attn-chat. */
#ifndef CHAT_OPTIONS_H
#define CHAT_OPTIONS_H

#include <attn/attn.h>
#include <stdbool.h>
#include <stdio.h>

enum { PROMPTS_MAX = 16 };

typedef enum command { COMMAND_CHAT, COMMAND_PERPLEXITY, COMMAND_BENCH, COMMAND_TOKENS, COMMAND_LOGITS } command;

/* What products multiply. */
typedef struct arithmetic {
    attn_precision precision;
    attn_dtype weights;
} arithmetic;

typedef struct prompts {
    const char *item[PROMPTS_MAX];
    size_t count;
} prompts;

typedef struct options {
    command command;
    const char *file, *model, *system, *out; /* NULL: not given */
    prompts prompts;
    arithmetic arithmetic;
    attn_dtype cache;
    size_t threads; /* 0: all cores */
    size_t context, most, chunk;
    size_t top_k, seed;
    double temperature, top_p;
    bool attention, help;
} options;

/* Fills `o` from argv[1..]. When something is wrong, says so on stderr and returns false. */
bool options_parse(options *o, int argc, char **argv);

void options_help(FILE *file);

#endif

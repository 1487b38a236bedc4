/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of attn-lens. */
#ifndef LENS_OPTIONS_H
#define LENS_OPTIONS_H

#include <attn/attn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "words.h"

typedef enum command { COMMAND_SHOW, COMMAND_EMBED, COMMAND_SIMILAR, COMMAND_TOKENS, COMMAND_TRACE } command;

/* What products multiply. */
typedef struct arithmetic {
    attn_precision precision;
    attn_dtype weights;
} arithmetic;

typedef struct options {
    command command;
    const char *text; /* the sentence; NULL for commands that have none */
    const char *file; /* of sentences; "-" is the standard input */
    const char *model;
    const char *word, *json, *svg, *html, *npy, *out; /* NULL: not given */
    size_t threads;                                   /* 0: all cores */
    size_t top;
    arithmetic arithmetic;
    view view;
    bool time, help;
} options;

/* Fills `o` from argv[1..]. When something is wrong, says so on stderr and returns false. */
bool options_parse(options *o, int argc, char **argv);

void options_help(FILE *file);

#endif

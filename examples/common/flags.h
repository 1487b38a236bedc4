/* SPDX-License-Identifier: BSD-3-Clause */
/* A command line, as tables: a command and what it takes, and options. Each row of a table begins with its name. */
#ifndef EXAMPLE_FLAGS_H
#define EXAMPLE_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct flag {
    const char *name, *argument; /* without an argument it is a switch */
    bool (*put)(void *field, const char *value);
    size_t offset;               /* of the field in the program's options */
    const char *help, *expected; /* expected: where not every value will do */
} flag;

typedef struct flag_command {
    const char *name;
    bool text, file; /* what it takes, in this order */
    const char *help;
} flag_command;

typedef struct flags {
    const char *program, *usage, *note; /* for the help: what it begins with, and what is behind the commands */
    const flag_command *commands;
    size_t command_count;
    const flag *table;
    size_t count;
} flags;

/* What is no option; NULL: not given. */
typedef struct flag_words {
    const flag_command *command;
    const char *text, *file;
} flag_words;

/* Says on stderr what is wrong, and returns false. */
bool flags_refuse(const flags *f, const char *argument, const char *what);

/* Fills the program's options and the words from argv[1..]. False: refused. */
bool flags_parse(const flags *f, void *options, flag_words *words, int argc, char **argv);

void flags_help(const flags *f, FILE *file);

/* The row with a name, of `count` of `size` bytes; NULL: there is none. */
const void *flags_named(const void *table, size_t count, size_t size, const char *name);

/* Ways to put a value into a field. */
bool flag_string(void *field, const char *value); /* const char *, not empty */
bool flag_number(void *field, const char *value); /* size_t, up to 999999 */
bool flag_switch(void *field, const char *value); /* bool */

#define FLAG_TEXT "a text that is not empty"
#define FLAG_NUMBER "a whole number up to 999999"

#endif

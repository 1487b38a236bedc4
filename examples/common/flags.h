/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of a command line, as a table: each has a name, fills a field, and has a line of help. */
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

typedef struct flags {
    const char *program;
    const flag *table;
    size_t count;
} flags;

/* Says on stderr what is wrong, and returns false. */
bool flags_refuse(const flags *f, const char *argument, const char *what);

/* Whether an argument is an option: "--…", "-h", or in the table. */
bool flags_match(const flags *f, const char *argument);

/* Takes argv[*i], which is an option, and the value after it, if it has one. False: refused. */
bool flags_take(const flags *f, void *options, int argc, char **argv, int *i);

void flags_help(const flags *f, FILE *file);

/* Ways to put a value into a field. */
bool flag_string(void *field, const char *value); /* const char *, not empty */
bool flag_number(void *field, const char *value); /* size_t, up to 999999 */
bool flag_switch(void *field, const char *value); /* bool */

#define FLAG_TEXT "a text that is not empty"
#define FLAG_NUMBER "a whole number up to 999999"

#endif

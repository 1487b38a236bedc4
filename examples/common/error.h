/* SPDX-License-Identifier: BSD-3-Clause */
/* How functions of the examples fail: they return false (or NULL), and the error says why in one line. */
#ifndef EXAMPLE_ERROR_H
#define EXAMPLE_ERROR_H

#include <stdbool.h>

typedef struct example_error {
    char text[600];
} example_error;

/* Fills `e` and returns false. */
bool example_fail(example_error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool example_fail_memory(example_error *e);

/* What main returns: writes out the standard output, and says on stderr what failed, or that this did. */
int example_end(const char *program, bool good, const example_error *e);

#endif

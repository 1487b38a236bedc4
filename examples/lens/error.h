/* SPDX-License-Identifier: BSD-3-Clause */
/* How functions of lens fail: they return false (or NULL), and the error says why in one line. */
#ifndef LENS_ERROR_H
#define LENS_ERROR_H

#include <stdbool.h>

typedef struct lens_error {
    char text[600];
} lens_error;

/* Fills `e` and returns false. */
bool lens_fail(lens_error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool lens_fail_memory(lens_error *e);

#endif

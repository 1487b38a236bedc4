/* SPDX-License-Identifier: BSD-3-Clause */
/* Small helpers for strings. */
#ifndef ATTN_BENCH_TEXT_H
#define ATTN_BENCH_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Prints into to[0..size), cut off where it is too long. */
void text_print(char *to, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A quantity with three digits and the prefix that suits it: 8.25e11 and "flop" give "825 Gflop". */
void text_quantity(char *to, size_t size, double value, const char *unit);

/* Cuts the next field, up to `separator` or the end, off *rest and returns it; NULL when nothing is left. */
char *text_next(char **rest, char separator);

/* Reads `count` numbers, separated by spaces, into to[0..count). False: there are not as many. */
bool text_numbers(const char *text, double *to, size_t count);

/* Replaces tabs and line ends by spaces, so that the text is one field of one line. */
void text_flatten(char *text);

/* Writes the text with what JSON strings, or XML text and attributes, cannot hold as it is escaped. */
void text_json(FILE *file, const char *text);
void text_xml(FILE *file, const char *text);

#endif

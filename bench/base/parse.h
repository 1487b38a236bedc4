/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads JSON, event by event: enough for the files of Google Benchmark and our own. */
#ifndef ATTN_BENCH_PARSE_H
#define ATTN_BENCH_PARSE_H

#include <stdbool.h>
#include <stddef.h>

/* Where a value stands: the key of the object that it is in, how deep, and the key of the outermost array. */
typedef struct parse_value {
    const char *key;   /* "" in an array */
    const char *array; /* key of the array of the top level that it is in, or "" */
    size_t depth;      /* 1: in the outermost object */
    const char *text;  /* strings, and numbers and words as written; NULL: an object ends here */
} parse_value;

typedef void (*parse_event)(void *data, const parse_value *value);

/* Calls `event` for every value that is no array or object, and at the end of every object. Changes `text`. Returns
 * where the text is no JSON any more, or NULL where it is to the end. */
const char *parse_json(char *text, parse_event event, void *data);

#endif

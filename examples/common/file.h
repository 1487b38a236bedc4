/* SPDX-License-Identifier: BSD-3-Clause */
/* Files, and lines of text in memory. */
#ifndef EXAMPLE_FILE_H
#define EXAMPLE_FILE_H

#include <stddef.h>
#include <stdio.h>

#include "error.h"

/* Bytes that something else owns; may hold NUL. */
typedef struct slice {
    const char *data;
    size_t size;
} slice;

/* A file in memory, read-only. */
typedef struct mapping {
    const unsigned char *data;
    size_t size;
} mapping;

bool mapping_open(mapping *m, const char *path, example_error *e);
void mapping_close(mapping *m);

/* The lines of a text, without their line ends ("\n" or "\r\n"). */
typedef struct lines {
    char *text;
    slice *line;
    size_t count;
} lines;

/* Reads a file, or the standard input for "-". */
bool lines_read(lines *l, const char *path, example_error *e);
void lines_free(lines *l);

/* Makes room for `count` items of `size` bytes in *array, which has room for *capacity. */
bool reserve(void *array, size_t *capacity, size_t count, size_t size, example_error *e);

/* "folder/name", to be freed; NULL: out of memory. */
char *path_join(const char *folder, const char *name);
bool path_exists(const char *path);

/* Calls write(data, file) on a file made at `path`. */
bool file_write(const char *path, void (*write)(const void *data, FILE *file), const void *data, example_error *e);

#endif

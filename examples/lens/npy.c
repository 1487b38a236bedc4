/* SPDX-License-Identifier: BSD-3-Clause */
#include "npy.h"

#include <stdio.h>

#include "file.h"

typedef struct array {
    const float *data;
    size_t rank;
    const size_t *shape;
} array;

/* The header is padded with spaces so that the data start at a multiple of 64. */
static void write_array(const void *data, FILE *file) {
    const array *a = data;
    size_t count = 1;
    char header[256];
    int length = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (size_t i = 0; i < a->rank; i++) {
        length += snprintf(header + length, sizeof header - (size_t)length, "%zu,", a->shape[i]);
        count *= a->shape[i];
    }
    length += snprintf(header + length, sizeof header - (size_t)length, "), }");
    const int padded = (10 + length + 1 + 63) / 64 * 64 - 10;
    fwrite("\x93NUMPY\x01\x00", 1, 8, file);
    fputc(padded & 255, file);
    fputc(padded >> 8, file);
    fprintf(file, "%-*s\n", padded - 1, header);
    fwrite(a->data, sizeof *a->data, count, file);
}

bool npy_write(const char *path, const float *data, size_t rank, const size_t *shape, example_error *e) {
    const array a = {data, rank, shape};
    return file_write(path, write_array, &a, e);
}

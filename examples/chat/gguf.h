/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads a GGUF file, version 2 or 3, little-endian: "GGUF", version, counts of tensors and of metadata, the metadata
 * (key, type, value), the tensors (name, sizes, type, place of the data), then the data, aligned.
 * Source: github.com/ggml-org/ggml, docs/gguf.md. */
#ifndef CHAT_GGUF_H
#define CHAT_GGUF_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "file.h"

/* Types of tensors that are read here, by the number that the file has. */
typedef enum gguf_type {
    GGUF_F32 = 0,
    GGUF_F16 = 1,
    GGUF_Q4_0 = 2,
    GGUF_Q4_1 = 3,
    GGUF_Q8_0 = 8,
    GGUF_Q4_K = 12,
    GGUF_Q6_K = 14,
    GGUF_BF16 = 30
} gguf_type;

/* size[0] inputs of each of size[1] output features, or a vector. */
typedef struct gguf_tensor {
    slice name;
    uint32_t type;
    size_t rank, size[4];  /* the innermost first */
    uint64_t place, bytes; /* from the start of the data */
    const unsigned char *data;
} gguf_tensor;

typedef struct gguf gguf;

/* Maps the file and checks all of it but the numbers in tensors, so that nothing later reads outside of it. Types that
 * are not known are those of tensors that nobody asks for. NULL on failure. */
gguf *gguf_open(const char *path, example_error *e);

/* NULL is allowed. */
void gguf_close(gguf *g);

/* Values of the metadata. A whole number may be of any integer type, but not negative. False, with an error, where the
 * key is missing or of another type. A string is the file's, and so are those of gguf_strings, whose array is to be
 * freed. */
bool gguf_has(const gguf *g, const char *key);
bool gguf_number(const gguf *g, const char *key, size_t *value, example_error *e);
bool gguf_real(const gguf *g, const char *key, double *value, example_error *e);
bool gguf_string(const gguf *g, const char *key, slice *value, example_error *e);
bool gguf_strings(const gguf *g, const char *key, slice **list, size_t *count, example_error *e);
/* Of int32, at any address. */
bool gguf_integers(const gguf *g, const char *key, const unsigned char **list, size_t *count, example_error *e);

/* NULL: there is none. */
const gguf_tensor *gguf_find(const gguf *g, const char *name);

/* The tensor of this name, which must be a matrix [rows, columns], or with rows = 0 a vector, of a type that is read
 * here. NULL, with an error. */
const gguf_tensor *gguf_matrix(const gguf *g, const char *name, size_t rows, size_t columns, example_error *e);

/* Tells the system that the pages of a tensor will not be read again soon. */
void gguf_forget(const gguf_tensor *t);

#endif

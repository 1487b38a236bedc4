/* SPDX-License-Identifier: BSD-3-Clause */
/* A tiny random BERT, written to a folder: what the tests of lens run on. */
#ifndef LENS_TESTS_TINY_H
#define LENS_TESTS_TINY_H

#include <stdbool.h>
#include <stddef.h>

enum { TINY_WIDTH = 24, TINY_HEADS = 3, TINY_LAYERS = 2, TINY_HIDDEN = 40, TINY_POSITIONS = 40, TINY_TYPES = 2 };

/* Tensors as the file has them; shape[1] = 0: a vector. */
typedef struct tiny_tensor {
    char name[160];
    size_t shape[2];
    float *data;
} tiny_tensor;

typedef struct tiny_model {
    tiny_tensor tensor[64];
    size_t count;
} tiny_model;

/* Weights are whole numbers of 1/64 from −1 to 1, which F32, F16 and BF16 all hold. */
void tiny_make(tiny_model *m);
void tiny_free(tiny_model *m);

tiny_tensor *tiny_find(const tiny_model *m, const char *name);

/* Writes config.json, vocab.txt and model.safetensors, with all tensors of one dtype, "F32", "F16" or "BF16"; names
 * start with `root`. False if a file cannot be written. */
bool tiny_write(const tiny_model *m, const char *folder, const char *dtype, const char *root);

/* Writes any bytes. */
bool tiny_put(const char *folder, const char *name, const void *data, size_t size);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads a safetensors file: 8 bytes, little-endian, the size of a JSON header; the header, {"name": {"dtype", "shape",
 * "data_offsets": [begin, end]}}; the tensors, row-major, one after the other without gaps.
 * Source: github.com/huggingface/safetensors, "Format". */
#ifndef LENS_SAFETENSORS_H
#define LENS_SAFETENSORS_H

#include <stddef.h>

#include "error.h"

typedef struct safetensors safetensors;

/* Maps the file and checks the whole header, so that nothing later reads outside of it. Types that are
 * not known are those of tensors that nobody asks for. NULL on failure. */
safetensors *safetensors_open(const char *path, example_error *e);

/* Also frees what safetensors_floats returned. NULL is allowed. */
void safetensors_close(safetensors *s);

bool safetensors_has(const safetensors *s, const char *name);

/* The elements of a tensor of F32, F16 or BF16 as floats, in the file itself where they are that already. Its shape
 * must be [rows, columns], or [columns] with rows = 0, and all of it finite. NULL on failure. Valid until
 * safetensors_close. */
const float *safetensors_floats(safetensors *s, const char *name, size_t rows, size_t columns, example_error *e);

#endif

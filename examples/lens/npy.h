/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LENS_NPY_H
#define LENS_NPY_H

#include <stddef.h>

#include "error.h"

/* Writes a dense array of `rank` sizes as NumPy's .npy, version 1.0. */
bool npy_write(const char *path, const float *data, size_t rank, const size_t *shape, example_error *e);

#endif

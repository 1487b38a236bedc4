/* SPDX-License-Identifier: BSD-3-Clause */
/* 16-bit floats, little-endian and at any address, to float; exact. */
#ifndef EXAMPLE_HALF_H
#define EXAMPLE_HALF_H

#include <stddef.h>

void half_f16(const unsigned char *from, size_t count, float *to);  /* IEEE binary16 */
void half_bf16(const unsigned char *from, size_t count, float *to); /* the upper half of a float */

#endif

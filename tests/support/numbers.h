/* SPDX-License-Identifier: BSD-3-Clause */
/* The element types of tensors, by their definitions. */
#ifndef ATTN_TESTS_NUMBERS_H
#define ATTN_TESTS_NUMBERS_H

#include <attn/attn.h>

size_t type_size(attn_dtype dtype);

/* What stands at p, as a number; ATTN_BOOL: 0 or 1; ATTN_INT8: without a scale. */
double read_number(attn_dtype dtype, const void *p);

/* Writes the number of the type that is nearest to x, of two the even one; beyond the largest: infinity.
 * ATTN_BOOL: the byte x. */
void write_number(attn_dtype dtype, void *p, double x);

/* x as the type has it. */
double rounded_to(attn_dtype dtype, double x);

/* Half the distance between the numbers of a type around x: what rounding to it may cost. 0 for ATTN_F32. */
double half_ulp(attn_dtype dtype, double x);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* The exponential of the kernels against that of the C library in double precision. */
#ifndef ATTN_TESTS_EXP_CHECK_H
#define ATTN_TESTS_EXP_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* The negative floats from −0 to −104, by their bits, which count upwards as the floats go down. */
#define EXP_FIRST UINT32_C(0x80000000)
#define EXP_LAST UINT32_C(0xC2D00000)

enum { EXP_ISAS = 4 };

/* The tables that this CPU can run. Returns how many. */
size_t exp_kernels(const attni_kernels *kernels[EXP_ISAS]);

/* The largest error among `count` floats, in units in the last place of the result; infinite if a result is NaN. */
struct exp_error {
    double ulps;
    float x, got;
    uint64_t count;
};

/* Takes every step-th float of those with the bits first to last, and adds what comes of them to errors[n]. */
void exp_check(const attni_kernels *const *kernels, size_t n, uint32_t first, uint32_t last, uint32_t step,
               struct exp_error *errors);

/* errors[n] of other floats are added to total[n]. */
void exp_add(struct exp_error *total, const struct exp_error *errors, size_t n);

#endif

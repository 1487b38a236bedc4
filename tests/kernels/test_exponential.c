/* SPDX-License-Identifier: BSD-3-Clause */
/* The exponential of every instruction set: a sample of the floats that attn_exp_all tries, and what is special. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "exp_check.h"

/* Prime, so that every bit of the significand takes every value. */
enum { STEP = 997 };

static void within_one_ulp(void **state) {
    (void)state;
    const attni_kernels *kernels[EXP_ISAS];
    struct exp_error errors[EXP_ISAS] = {{0}};
    const size_t n = exp_kernels(kernels);
    assert_true(n > 0);
    exp_check(kernels, n, EXP_FIRST, EXP_LAST, STEP, errors);
    for (size_t i = 0; i < n; i++) {
        const struct exp_error *e = &errors[i];
        print_message("%s: %.4f ULP at %a: %a\n", kernels[i]->name, e->ulps, (double)e->x, (double)e->got);
        assert_true(e->ulps <= 1);
        assert_int_equal(e->count, (EXP_LAST - EXP_FIRST) / STEP + 1);
    }
}

static void check_same_float(float got, float want) {
    assert_int_equal(isnan(got) != 0, isnan(want) != 0);
    assert_true(isnan(want) || memcmp(&got, &want, sizeof got) == 0);
}

/* A row of n with x in the place `at`, and −1 in the others; in memory of its own, so that valgrind and ASan watch. */
static void check_alone(const attni_kernels *kernels, float x, float want, size_t n, size_t at) {
    float *row = malloc(n * sizeof *row), *y = malloc(n * sizeof *y);
    assert_true(row && y);
    for (size_t i = 0; i < n; i++)
        row[i] = i == at ? x : -1;
    kernels->exp(n, row, y);
    for (size_t i = 0; i < n; i++)
        if (i == at)
            check_same_float(y[i], want);
        else
            assert_true(fabs((double)y[i] - exp(-1)) < 0x1p-25); /* 1 ULP */
    free(y);
    free(row);
}

static void check_special(const attni_kernels *kernels, size_t n, size_t at) {
    const float special[][2] = {{0, 1},         {-0.0F, 1}, {-0x1p-149F, 1}, {-0x1p-26F, 1},
                                {-INFINITY, 0}, {-200, 0},  {-0x1p127F, 0},  {NAN, NAN}};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        check_alone(kernels, special[i][0], special[i][1], n, at);
}

/* In every place of a vector, and in whole vectors as in what is left over of them. */
static void special_values(void **state) {
    (void)state;
    static const size_t lengths[] = {1, 3, 16, 17, 37};
    const attni_kernels *kernels[EXP_ISAS];
    const size_t isas = exp_kernels(kernels);
    for (size_t i = 0; i < isas; i++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            for (size_t at = 0; at < lengths[l]; at++)
                check_special(kernels[i], lengths[l], at);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(within_one_ulp), cmocka_unit_test(special_values)};
    return cmocka_run_group_tests_name("exponential", tests, NULL, NULL);
}

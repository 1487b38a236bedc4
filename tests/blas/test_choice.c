/* SPDX-License-Identifier: BSD-3-Clause */
/* What a context multiplies with where the linked library calls its kernels Prescott: CMakeLists.txt preloads one
 * that does. */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "support/support.h"

static bool wished(void) {
    const char *core = getenv("OPENBLAS_CORETYPE");
    return getenv("ATTN_BLAS") || (core && strcmp(core, "Prescott") == 0);
}

static void test_old_kernels_are_left(void **state) {
    attn_context *context;
    (void)state;
    assert_int_equal(attn_context_create(NULL, &context), ATTN_OK);
    const attn_context_info info = describe(context);
    assert_string_equal(info.blas, wished() ? "openblas" : "builtin");
    assert_non_null(strstr(info.blas_choice, "Prescott"));
    assert_non_null(strstr(info.blas_choice, "older than this CPU"));
    attn_context_destroy(context);
}

/* Of plain C, the old kernels are not older. */
static void test_kernels_of_the_mask_count(void **state) {
    attn_context *context;
    attn_context_options options;
    (void)state;
    ATTN_INIT(&options);
    options.isa = ATTN_ISA_GENERIC;
    assert_int_equal(attn_context_create(&options, &context), ATTN_OK);
    assert_string_equal(describe(context).blas, "openblas");
    attn_context_destroy(context);
}

/* OpenBLAS writes a core's name in one way where it has chosen it, and in another where it was built for it alone. */
static void test_names_of_any_case(void **state) {
    static const char *const cores[] = {"SkylakeX", "SKYLAKEX", "COOPERLAKE", "sapphirerapids", "Haswell", "HASWELL"};
    attn_context_options options;
    (void)state;
    ATTN_INIT(&options);
    options.blas = FAKE_OPENBLAS;
    for (size_t i = 0; i < COUNT(cores); i++) {
        attn_context *context;
        setenv("FAKE_CORE", cores[i], 1);
        assert_int_equal(attn_context_create(&options, &context), ATTN_OK);
        const char *choice = describe(context).blas_choice;
        if (!strstr(choice, "older") && !strstr(choice, "pack") != (strcasecmp(cores[i], "Haswell") != 0))
            fail_msg("%s: %s", cores[i], choice);
        attn_context_destroy(context);
    }
}

int main(void) {
    attn_context *context;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_old_kernels_are_left),
                                       cmocka_unit_test(test_kernels_of_the_mask_count),
                                       cmocka_unit_test(test_names_of_any_case)};
    if (attn_context_create(NULL, &context) != ATTN_OK)
        return 1;
    const bool plain = strcmp(describe(context).isa, "generic") == 0;
    attn_context_destroy(context);
    return plain ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}

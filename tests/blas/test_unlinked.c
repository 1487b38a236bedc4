/* SPDX-License-Identifier: BSD-3-Clause */
/* A libattn that was built without OpenBLAS: what it multiplies with, and what it says. */
#include <string.h>

#include "support/support.h"

static void multiplies_itself(void **state) {
    (void)state;
    const attn_context_info info = describe(new_context(NULL));
    assert_string_equal(info.blas, "builtin");
    assert_string_equal(info.blas_version, "");
    assert_string_equal(info.blas_path, "");
    assert_mentions(info.blas_choice, "built without OpenBLAS");
    assert_mentions(info.blas_choice, info.isa);
    assert_mentions(info.blas_choice, "ATTN_BLAS");
}

static void refuses_what_is_not_linked(void **state) {
    (void)state;
    attn_context_options options;
    attn_context *context;
    ATTN_INIT(&options);
    options.blas = "linked";
    assert_status(NULL, attn_context_create(&options, &context), ATTN_ERROR_BACKEND);
    assert_null(context);
    assert_mentions(attn_context_last_error(NULL), "blas: \"linked\"");
    assert_mentions(attn_context_last_error(NULL), "built without OpenBLAS");
    assert_mentions(attn_context_last_error(NULL), "use \"builtin\"");
}

static void says_who_was_asked_for(void **state) {
    (void)state;
    attn_context_options options;
    ATTN_INIT(&options);
    options.blas = "builtin";
    assert_mentions(describe(new_context(&options)).blas_choice, "as asked for");
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(multiplies_itself), TEST(refuses_what_is_not_linked),
                                       TEST(says_who_was_asked_for)};
    return cmocka_run_group_tests_name("unlinked", tests, NULL, NULL);
}

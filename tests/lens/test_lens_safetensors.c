/* SPDX-License-Identifier: BSD-3-Clause */
/* The loader: every type, every alignment, and files that lie. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "folder.h"
#include "half.h"
#include "safetensors.h"
#include "support/support.h"
#include "tiny.h"

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    folder_make(folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    folder_remove(folder);
    return 0;
}

/* Opens a file of this header, followed by this many bytes 1, 2, 3 … */
static safetensors *open_with(const char *header, size_t size, size_t data, example_error *e) {
    char path[128];
    unsigned char *bytes = calloc(8 + size + data, 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(strlen(header) >> 8 * i & 255);
    memcpy(bytes + 8, header, size);
    for (size_t i = 0; i < data; i++)
        bytes[8 + size + i] = (unsigned char)(i + 1);
    assert_true(tiny_put(folder, "model.safetensors", bytes, 8 + size + data));
    free(bytes);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    return safetensors_open(path, e);
}

static void refused(const char *header, size_t data, const char *why) {
    example_error e = {""};
    name_case("%s", header);
    safetensors *s = open_with(header, strlen(header), data, &e);
    if (s != NULL || strstr(e.text, why) == NULL)
        fail_msg("expected '%s' for %s, got '%s'", why, header, e.text);
}

#define TENSOR(name, dtype, shape, begin, end)                                                                         \
    "\"" name "\": {\"dtype\": \"" dtype "\", \"shape\": " shape ", \"data_offsets\": [" #begin ", " #end "]}"

static void test_refuses(void **state) {
    (void)state;
    refused("", 0, "no JSON");
    refused("{", 0, "no JSON");
    refused("[]", 0, "no JSON object");
    refused("{} x", 0, "no JSON");
    refused("{\"a\": 1}", 0, "it has no dtype");
    refused("{" TENSOR("a", "F31", "[1]", 0, 4) "}", 3, "do not lie in the 3 bytes");
    refused("{" TENSOR("a", "F31", "[1]", 0, 4) ", " TENSOR("b", "F32", "[1]", 2, 6) "}", 6, "they overlap");
    refused("{" TENSOR("a", "F32", "1", 0, 4) "}", 4, "shape must be a list");
    refused("{" TENSOR("a", "F32", "[1,1,1,1,1,1,1,1,1]", 0, 4) "}", 4, "shape must be a list of at most 8");
    refused("{" TENSOR("a", "F32", "[-1]", 0, 4) "}", 4, "shape[0] is no size");
    refused("{" TENSOR("a", "F32", "[1.0]", 0, 4) "}", 4, "shape[0] is no size");
    refused("{" TENSOR("a", "F32", "[99999999999999999999]", 0, 4) "}", 4, "no JSON");
    refused("{" TENSOR("a", "F32", "[4611686018427387904, 4]", 0, 0) "}", 0, "which its shape and dtype do not");
    refused("{" TENSOR("a", "F32", "[2]", 0, 4) "}", 4, "which its shape and dtype do not");
    refused("{" TENSOR("a", "F32", "[1]", 0, 4) "}", 3, "do not lie in the 3 bytes");
    refused("{" TENSOR("a", "F32", "[1]", 4, 0) "}", 4, "do not lie in");
    refused("{" TENSOR("a", "F32", "[1]", -4, 0) "}", 4, "two sizes");
    refused("{" TENSOR("a", "F32", "[1]", 0, 4) ", " TENSOR("b", "F32", "[1]", 2, 6) "}", 6, "they overlap");
    refused("{" TENSOR("a", "F32", "[1]", 0, 4) ", " TENSOR("b", "F32", "[1]", 0, 4) "}", 4, "they overlap");
    refused("{" TENSOR("a", "F32", "[1]", 4, 8) "}", 8, "there is a hole");
    refused("{" TENSOR("a", "F32", "[1]", 0, 4) "}", 8, "the data have 8 bytes, its tensors 4");
    refused("{" TENSOR("a", "F32", "[1]", 0, 4) ", " TENSOR("a", "F32", "[1]", 0, 4) "}", 4, "duplicate");
}

static void test_refuses_sizes(void **state) {
    static const char header[] = "{}";
    example_error e = {""};
    char path[128];
    (void)state;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_null(safetensors_open(path, &e));
    assert_non_null(strstr(e.text, "No such file"));
    assert_null(safetensors_open(folder, &e));
    assert_non_null(strstr(e.text, "not a regular file"));
    assert_true(tiny_put(folder, "model.safetensors", "", 0));
    assert_null(safetensors_open(path, &e));
    assert_non_null(strstr(e.text, "empty"));
    assert_true(tiny_put(folder, "model.safetensors", header, 2));
    assert_null(safetensors_open(path, &e));
    assert_non_null(strstr(e.text, "fewer than the 8"));
    assert_null(open_with(header, 1, 0, &e)); /* one byte short */
    assert_non_null(strstr(e.text, "does not fit the file"));
    assert_true(tiny_put(folder, "model.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10));
    assert_null(safetensors_open(path, &e));
    assert_non_null(strstr(e.text, "header of 18446744073709551615 bytes"));
}

/* A type that is not known is refused only where the tensor is asked for. */
static void test_unknown_type(void **state) {
    static const char header[] = "{" TENSOR("a", "F31", "[3]", 0, 5) ", " TENSOR("b", "F16", "[1]", 5, 7) "}";
    example_error e = {""};
    (void)state;
    safetensors *s = open_with(header, strlen(header), 7, &e);
    if (s == NULL)
        fail_msg("%s", e.text);
    assert_non_null(safetensors_floats(s, "b", 0, 1, &e));
    assert_null(safetensors_floats(s, "a", 0, 3, &e));
    assert_non_null(strstr(e.text, "dtype is F31, expected F32, F16 or BF16"));
    safetensors_close(s);
}

static void test_opens(void **state) {
    static const char header[] = "{\"__metadata__\": {\"x\": \"y\"}, " TENSOR("b", "F16", "[2, 1]", 3, 7) ", " TENSOR(
        "a", "U8", "[3]", 0, 3) ", " TENSOR("none", "F32", "[0, 5]", 7, 7) ", " TENSOR("c", "BF16", "[1]", 7, 9) "}";
    example_error e = {""};
    (void)state;
    safetensors *s = open_with(header, strlen(header), 9, &e);
    if (s == NULL)
        fail_msg("%s", e.text);
    assert_true(safetensors_has(s, "a"));
    assert_false(safetensors_has(s, "__metadata__"));
    const float *b = safetensors_floats(s, "b", 2, 1, &e);
    assert_non_null(b);
    assert_true(b[0] == ldexpf(0x504, -24)); /* 0x0504: exponent 1, fraction 0x104 */
    assert_ptr_equal(b, safetensors_floats(s, "b", 2, 1, &e));
    const float *c = safetensors_floats(s, "c", 0, 1, &e);
    assert_true(c != NULL && c[0] == ldexpf(0x88, 0x12 - 127 - 7)); /* 0x0908: exponent 0x12, fraction 8 */
    assert_null(safetensors_floats(s, "none", 0, 5, &e));
    assert_non_null(strstr(e.text, "its shape must be [5]"));
    assert_null(safetensors_floats(s, "a", 0, 3, &e));
    assert_non_null(strstr(e.text, "dtype is U8"));
    assert_null(safetensors_floats(s, "b", 1, 2, &e));
    assert_non_null(strstr(e.text, "its shape must be [1, 2]"));
    assert_null(safetensors_floats(s, "d", 1, 2, &e));
    assert_non_null(strstr(e.text, "no tensor 'd'"));
    safetensors_close(s);
}

/* F32 at every address modulo 4, and what is not finite. */
static void test_alignment(void **state) {
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        char header[256], padded[320];
        example_error e = {""};
        snprintf(header, sizeof header, "{" TENSOR("a", "F32", "[3]", 0, 12) "}");
        snprintf(padded, sizeof padded, "%s%*s", header, (int)shift, "");
        safetensors *s = open_with(padded, strlen(padded), 12, &e);
        assert_non_null(s);
        const float *a = safetensors_floats(s, "a", 0, 3, &e);
        const uint32_t want[3] = {0x04030201, 0x08070605, 0x0c0b0a09};
        assert_non_null(a);
        assert_memory_equal(a, want, sizeof want);
        safetensors_close(s);
    }
}

static void test_half(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const unsigned char bytes[2] = {(unsigned char)(bits & 255), (unsigned char)(bits >> 8)};
        const int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 1023);
        const float size = exponent == 31  ? (fraction != 0 ? NAN : INFINITY)
                           : exponent == 0 ? ldexpf((float)fraction, -24)
                                           : ldexpf((float)(1024 + fraction), exponent - 25);
        float got;
        half_f16(bytes, 1, &got);
        if (isnan(size) ? !isnan(got) : got != (bits >> 15 != 0 ? -size : size) || !signbit(got) != !(bits >> 15))
            fail_msg("f16 %04x gives %g", bits, (double)got);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refuses, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_refuses_sizes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_unknown_type, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_opens, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_alignment, make_folder, remove_folder),
        cmocka_unit_test(test_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

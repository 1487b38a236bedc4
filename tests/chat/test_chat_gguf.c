/* SPDX-License-Identifier: BSD-3-Clause */
/* The loader: values, tensors, number formats, and files that lie. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gguf.h"
#include "quants.h"
#include "support/support.h"
#include "tiny.h"

static bytes file;
static gguf *opened;

static int end(void **state) {
    (void)state;
    gguf_close(opened);
    opened = NULL;
    free(file.data);
    file = (bytes){0};
    return 0;
}

/* Opens what `file` holds. */
static gguf *load(example_error *e) {
    gguf_close(opened);
    opened = tiny_open(&file, e);
    return opened;
}

/* What `file` holds is refused; it is empty again. */
static void refused(const char *why) {
    example_error e = {""};
    if (load(&e) != NULL || strstr(e.text, why) == NULL)
        fail_msg("expected '%s', got '%s'", why, e.text);
    file.size = 0;
}

static void refused_tensor(const char *name, size_t columns, size_t rows, uint32_t type, size_t place, size_t data,
                           const char *why) {
    put_header(&file, 1, 0);
    put_tensor(&file, name, columns, rows, type, place);
    while (file.size % 32 != 0)
        put_number(&file, 0, 1);
    put_number(&file, 0, data);
    refused(why);
}

/* Two tensors of 128 bytes, "a" at 0 and the second at a place. */
static void refused_pair(const char *second, size_t place, const char *why) {
    put_header(&file, 2, 0);
    put_tensor(&file, "a", 32, 0, GGUF_F32, 0);
    put_tensor(&file, second, 32, 0, GGUF_F32, place);
    put_number(&file, 0, 512);
    refused(why);
}

static void test_refuses_headers(void **state) {
    (void)state;
    put(&file, "GGU", 3);
    refused("the file ends within 4 bytes");
    put(&file, "GGML", 4);
    refused("no GGUF file");
    put(&file, "GGUF", 4);
    refused("the file ends within 4 bytes");
    put(&file, "GGUF\0\0\0\3", 8);
    refused("version 50331648");
    put_header(&file, 1, 0);
    refused("1 tensors do not fit the 8 bytes");
    put_header(&file, SIZE_MAX, 0);
    refused("18446744073709551615 tensors do not fit");
    put_header(&file, 0, SIZE_MAX / 2);
    refused("metadata do not fit");
}

static void test_refuses_metadata(void **state) {
    (void)state;
    put_header(&file, 0, 1);
    put_number(&file, UINT64_MAX, 8);
    put_number(&file, 0, 5);
    refused("the file ends within 18446744073709551615 bytes");
    put_header(&file, 0, 1);
    put_key(&file, "a", 13);
    refused("'a': there is no type 13");
    put_header(&file, 0, 1);
    put_key(&file, "a", 10);
    refused("the file ends within 8 bytes");
    put_header(&file, 0, 1);
    put_key(&file, "a", 9);
    put_number(&file, 9, 4);
    refused("arrays of arrays");
    put_header(&file, 0, 1);
    put_key(&file, "a", 9);
    put_number(&file, 10, 4);
    put_number(&file, (uint64_t)1 << 61, 8);
    refused("2305843009213693952 elements do not fit the 0 bytes");
    put_header(&file, 0, 2);
    for (size_t i = 0; i < 2; i++) {
        put_key(&file, "twice", 0);
        put_number(&file, 1, 1);
    }
    refused("'twice' is there twice");
    for (size_t alignment = 0; alignment < 4; alignment += 3) {
        put_header(&file, 0, 1);
        put_key(&file, "general.alignment", 4);
        put_number(&file, alignment, 4);
        refused("no power of two");
    }
}

static void test_refuses_tensors(void **state) {
    const size_t huge = (size_t)1 << 63;
    (void)state;
    refused_tensor("t", 32, huge, GGUF_F32, 0, 0, "size 1 is wrong");
    refused_tensor("t", huge, 0, GGUF_F32, 0, 0, "is too large");
    refused_tensor("t", 0, 2, GGUF_F32, 0, 0, "size 0 is wrong");
    refused_tensor("t", 33, 2, GGUF_Q4_1, 0, 80, "rows of 33 numbers are no blocks of 32");
    refused_tensor("t", 32, 2, GGUF_Q8_0, 0, 67, "68 bytes at 0 do not lie in the 67 bytes");
    refused_tensor("t", 32, 2, GGUF_Q8_0, SIZE_MAX - 31, 68, "do not lie in the 68 bytes");
    refused_tensor("t", 32, 2, GGUF_F16, 16, 512, "no multiple of 32");
    refused_tensor("t", 32, 2, 99, 64, 32, "0 bytes at 64 do not lie in the 32 bytes");
    refused_pair("b", 96, "tensor 'b' overlaps");
    refused_pair("a", 128, "tensor 'a' is there twice");
    put_header(&file, 1, 0);
    put_string(&file, "t");
    put_number(&file, 5, 4);
    put_number(&file, 0, 64);
    refused("5 sizes");
}

static void test_values(void **state) {
    static const float half = 0.5F;
    example_error e = {""};
    slice text, *list = NULL;
    const unsigned char *integers;
    size_t number, count;
    double real;
    (void)state;
    put_header(&file, 0, 5);
    put_key(&file, "u", 10);
    put_number(&file, 77, 8);
    put_key(&file, "i", 1);
    put_number(&file, 0xff, 1);
    put_key(&file, "f", 6);
    put(&file, &half, sizeof half);
    put_key(&file, "s", 8);
    put_string(&file, "text");
    put_key(&file, "l", 9);
    put_number(&file, 8, 4);
    put_number(&file, 2, 8);
    put_string(&file, "one");
    put_string(&file, "");
    const gguf *g = load(&e);
    assert_non_null(g);
    assert_true(gguf_number(g, "u", &number, &e) && number == 77);
    assert_false(gguf_number(g, "i", &number, &e));
    assert_non_null(strstr(e.text, "'i' is negative"));
    assert_false(gguf_number(g, "f", &number, &e));
    assert_non_null(strstr(e.text, "'f' is of type float32, expected a whole number"));
    assert_true(gguf_real(g, "f", &real, &e) && real == 0.5);
    assert_false(gguf_real(g, "u", &real, &e));
    assert_true(gguf_string(g, "s", &text, &e) && text.size == 4 && memcmp(text.data, "text", 4) == 0);
    assert_false(gguf_string(g, "l", &text, &e));
    assert_non_null(strstr(e.text, "'l' is a list"));
    assert_false(gguf_strings(g, "s", &list, &count, &e));
    assert_non_null(strstr(e.text, "'s' is no list"));
    assert_false(gguf_integers(g, "l", &integers, &count, &e));
    assert_false(gguf_number(g, "none", &number, &e));
    assert_non_null(strstr(e.text, "there is no 'none'"));
    assert_true(gguf_strings(g, "l", &list, &count, &e));
    assert_true(count == 2 && list[0].size == 3 && list[1].size == 0);
    free(list);
}

static void test_tensors(void **state) {
    example_error e = {""};
    (void)state;
    file = tiny_make(GGUF_Q4_1, GGUF_Q6_K);
    const gguf *g = load(&e);
    if (g == NULL)
        fail_msg("%s", e.text);
    const gguf_tensor *t = gguf_matrix(g, "blk.1.ffn_down.weight", TINY_WIDTH, TINY_HIDDEN, &e);
    assert_true(t != NULL && t->type == GGUF_Q6_K && t->bytes == 210 * TINY_WIDTH);
    assert_ptr_equal(t, gguf_find(g, "blk.1.ffn_down.weight"));
    assert_null(gguf_matrix(g, "blk.1.ffn_down.weight", TINY_HIDDEN, TINY_WIDTH, &e));
    assert_non_null(strstr(e.text, "its shape must be [256, 64]"));
    assert_null(gguf_matrix(g, "output_norm.weight", 0, 63, &e));
    assert_non_null(strstr(e.text, "its shape must be [63]"));
    assert_null(gguf_matrix(g, "blk.2.ffn_down.weight", TINY_WIDTH, TINY_HIDDEN, &e));
    assert_non_null(strstr(e.text, "no tensor 'blk.2.ffn_down.weight'"));
    float before[TINY_HIDDEN], after[TINY_HIDDEN];
    quant_rows(t, TINY_WIDTH - 1, 1, before);
    gguf_forget(t); /* and it is read again */
    quant_rows(t, TINY_WIDTH - 1, 1, after);
    assert_memory_equal(before, after, sizeof before);
}

static unsigned char hex_byte(FILE *from) {
    unsigned value;
    assert_int_equal(fscanf(from, "%2x", &value), 1);
    return (unsigned char)value;
}

/* What the gguf package makes of a block, and, of those that libattn's int4 has, what becomes of them there. */
static void check_format(FILE *from, uint32_t type) {
    unsigned char data[256];
    uint8_t numbers[16];
    float got[256], scales[2], want;
    const quant_block *block = quant_find(type);
    assert_non_null(block);
    name_case("%s", block->name);
    const gguf_tensor t = {.type = type, .rank = 1, .size = {block->numbers}, .data = data};
    for (size_t i = 0; i < block->bytes; i++)
        data[i] = hex_byte(from);
    size_t count;
    assert_int_equal(fscanf(from, "%zu", &count), 1);
    assert_int_equal(count, block->numbers);
    quant_rows(&t, 0, 1, got);
    const bool nibbles = type == GGUF_Q4_0 || type == GGUF_Q4_1;
    if (nibbles)
        quant_int4(&t, 0, 1, numbers, scales);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(fscanf(from, "%f", &want), 1);
        if (!(fabsf(got[i] - want) <= 1e-6F * fabsf(want)))
            fail_msg("%s: number %zu is %.9g, expected %.9g", block->name, i, (double)got[i], (double)want);
        if (nibbles) {
            const float again = scales[0] * (float)(numbers[i / 2] >> i % 2 * 4 & 15) + scales[1];
            assert_true(fabsf(again - want) <= 1e-5F);
        }
    }
}

static void test_formats(void **state) {
    FILE *from = fopen(GOLDEN "/quants.txt", "r");
    uint32_t type;
    size_t formats = 0;
    (void)state;
    assert_non_null(from);
    for (; fscanf(from, "%u", &type) == 1; formats++)
        check_format(from, type);
    fclose(from);
    assert_int_equal(formats, 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_refuses_headers, end), cmocka_unit_test_teardown(test_refuses_metadata, end),
        cmocka_unit_test_teardown(test_refuses_tensors, end), cmocka_unit_test_teardown(test_values, end),
        cmocka_unit_test_teardown(test_tensors, end),         cmocka_unit_test_teardown(test_formats, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

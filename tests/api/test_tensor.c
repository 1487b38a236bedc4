/* SPDX-License-Identifier: BSD-3-Clause */
/* The makers of views against the formulas of their layouts; copying, splitting and concatenating heads. */
#include <string.h>

#include "support/support.h"

enum { B = 2, T = 3, H = 6, G = 2, D = 5 };

static float data[B * T * (H + 2 * G) * D];

static void assert_view(attn_tensor t, size_t batch, size_t heads, size_t tokens, size_t width) {
    const size_t want[4] = {batch, heads, tokens, width};
    assert_int_equal(t.dtype, ATTN_F32);
    assert_memory_equal(t.size, want, sizeof want);
}

#define FOR_EACH_ELEMENT(t)                                                                                            \
    for (size_t b = 0; b < (t).size[0]; b++)                                                                           \
        for (size_t h = 0; h < (t).size[1]; h++)                                                                       \
            for (size_t i = 0; i < (t).size[2]; i++)                                                                   \
                for (size_t d = 0; d < (t).size[3]; d++)

static void views_of_one_tensor(void **state) {
    (void)state;
    const attn_tensor bhtd = attn_tensor_bhtd(data, ATTN_F32, B, H, T, D);
    const attn_tensor bthd = attn_tensor_bthd(data, ATTN_F32, B, T, H, D);
    const attn_tensor btm = attn_tensor_btm(data, ATTN_F32, B, T, D);
    assert_view(bhtd, B, H, T, D);
    assert_view(bthd, B, H, T, D);
    assert_view(btm, B, 1, T, D);
    FOR_EACH_ELEMENT(bhtd) {
        assert_ptr_equal(element_at(bhtd, b, h, i, d), data + ((b * H + h) * T + i) * D + d);
        assert_ptr_equal(element_at(bthd, b, h, i, d), data + ((b * T + i) * H + h) * D + d);
    }
    FOR_EACH_ELEMENT(btm) { assert_ptr_equal(element_at(btm, b, h, i, d), data + (b * T + i) * D + d); }
}

static void views_of_packed_qkv(void **state) {
    (void)state;
    const size_t heads[] = {H, G, G}, first[] = {0, H, H + G};
    for (int which = ATTN_Q; which <= ATTN_V; which++) {
        const attn_tensor t = attn_tensor_packed_qkv(data, ATTN_F32, (attn_qkv)which, B, T, H, G, D);
        assert_view(t, B, heads[which], T, D);
        FOR_EACH_ELEMENT(t) {
            const size_t row = (b * T + i) * (H + G + G) + first[which] + h;
            assert_ptr_equal(element_at(t, b, h, i, d), data + row * D + d);
        }
    }
}

static void views_of_packed_kv(void **state) {
    (void)state;
    for (int which = ATTN_K; which <= ATTN_V; which++) {
        const attn_tensor t = attn_tensor_packed_kv(data, ATTN_F32, (attn_qkv)which, B, T, G, D);
        assert_view(t, B, G, T, D);
        FOR_EACH_ELEMENT(t) {
            const size_t row = ((b * T + i) * 2 + (which == ATTN_V)) * G + h;
            assert_ptr_equal(element_at(t, b, h, i, d), data + row * D + d);
        }
    }
}

/* They check nothing: sizes of zero, no memory and any dtype are the business of the functions that take the view. */
static void views_of_nothing(void **state) {
    (void)state;
    const attn_tensor t = attn_tensor_bhtd(NULL, (attn_dtype)77, 0, H, T, D);
    assert_null(t.data);
    assert_int_equal(t.dtype, 77);
    assert_int_equal(t.size[0], 0);
}

static void copies_between_all_layouts(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    seed(1);
    for (size_t i = 0; i < LAYOUTS * OUTPUT_LAYOUTS; i++) {
        const size_t tokens = 1 + random_below(70), width = 1 + random_below(40);
        const attn_tensor from = new_normal((enum layout)(i % LAYOUTS), 2, 3, tokens, width);
        const attn_tensor to = new_tensor((enum layout)(i / LAYOUTS), 2, 3, tokens, width), before = new_copy(from);
        name_case("copy of layout %zu to layout %zu, %zu tokens of %zu", i % LAYOUTS, i / LAYOUTS, tokens, width);
        assert_ok(context, attn_tensor_copy(context, &from, &to));
        assert_bits(to, from);
        assert_bits(from, before);
        assert_gaps_untouched(to);
        end_case();
    }
}

/* Sizes of zero copy nothing and need no memory; a width of one needs no stride. */
static void copies_of_odd_sizes(void **state) {
    (void)state;
    static const size_t sizes[][4] = {{0, 1, 2, 3}, {1, 0, 2, 3}, {1, 2, 0, 3},
                                      {1, 2, 3, 0}, {2, 3, 4, 1}, {1, 1, 1, 1}};
    attn_context *context = new_context_of(1, 0);
    seed(2);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const size_t *s = sizes[i];
        attn_tensor from = new_normal(PADDED, s[0], s[1], s[2], s[3]);
        const attn_tensor to = new_tensor(BTHD, s[0], s[1], s[2], s[3]);
        from.stride[3] = s[3] > 1 ? 1 : -9;
        assert_ok(context, attn_tensor_copy(context, &from, &to));
        assert_bits(to, from);
        end_case();
    }
}

/* Bits are copied, not numbers: NaN payloads and −0 too. */
static void copies_keep_bits(void **state) {
    (void)state;
    const uint32_t bits[] = {0x7f800001, 0xffc12345, 0x80000000, 0x00000001, 0x7f800000};
    const attn_tensor from = new_tensor(BHTD, 1, 1, 1, COUNT(bits)), to = new_tensor(BHTD, 1, 1, 1, COUNT(bits));
    attn_context *context = new_context_of(1, 0);
    memcpy(from.data, bits, sizeof bits);
    assert_ok(context, attn_tensor_copy(context, &from, &to));
    assert_memory_equal(to.data, bits, sizeof bits);
}

static void split_and_concatenate(void **state) {
    (void)state;
    static const size_t sizes[][4] = {{1, 1, 1, 1},    {2, 3, 4, 5}, {3, 70, 12, 64},
                                      {1, 129, 2, 17}, {2, 0, 3, 4}, {0, 1, 2, 3}};
    attn_context *context = new_context_of(2, 0);
    seed(3);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const size_t batch = sizes[i][0], tokens = sizes[i][1], heads = sizes[i][2], width = sizes[i][3];
        const attn_tensor x = new_normal(BTHD, batch, heads, tokens, width);
        const attn_tensor y = new_tensor(BHTD, batch, heads, tokens, width);
        const attn_tensor z = new_tensor(BTHD, batch, heads, tokens, width);
        assert_ok(context, attn_split_heads(context, batch, tokens, heads, width, x.data, y.data));
        assert_bits(y, x);
        assert_ok(context, attn_concat_heads(context, batch, tokens, heads, width, y.data, z.data));
        assert_bits(z, x);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(views_of_one_tensor),        TEST(views_of_packed_qkv),
                                       TEST(views_of_packed_kv),         TEST(views_of_nothing),
                                       TEST(copies_between_all_layouts), TEST(copies_of_odd_sizes),
                                       TEST(copies_keep_bits),           TEST(split_and_concatenate)};
    return cmocka_run_group_tests_name("tensor", tests, NULL, NULL);
}

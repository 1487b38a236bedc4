/* SPDX-License-Identifier: BSD-3-Clause */
/* What the other tests rely on: the small types and Philox, by known answers; and the library's own conversions. */
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "support/numbers.h"
#include "support/philox.h"
#include "support/support.h"

static double number(attn_dtype dtype, unsigned bits) {
    const uint16_t x = (uint16_t)bits;
    return read_number(dtype, &x);
}

/* IEEE 754-2008, table 3.5, and the upper halves of singles. */
static void known_numbers(void **state) {
    (void)state;
    static const struct {
        attn_dtype dtype;
        unsigned bits;
        double x;
    } known[] = {
        {ATTN_F16, 0x0000, 0},         {ATTN_F16, 0x0001, 0x1p-24},      {ATTN_F16, 0x03ff, 0x3ffp-24},
        {ATTN_F16, 0x0400, 0x1p-14},   {ATTN_F16, 0x3555, 0x1.554p-2},   {ATTN_F16, 0x3c00, 1},
        {ATTN_F16, 0xc000, -2},        {ATTN_F16, 0x7bff, 65504},        {ATTN_F16, 0xfc00, -(double)INFINITY},
        {ATTN_BF16, 0x0001, 0x1p-133}, {ATTN_BF16, 0x0080, 0x1p-126},    {ATTN_BF16, 0x3f80, 1},
        {ATTN_BF16, 0x4049, 0x1.92p1}, {ATTN_BF16, 0xff7f, -0x1.fep127}, {ATTN_BF16, 0x7f80, (double)INFINITY}};
    for (size_t i = 0; i < COUNT(known); i++) {
        uint16_t bits = 0;
        assert_true(number(known[i].dtype, known[i].bits) == known[i].x);
        write_number(known[i].dtype, &bits, known[i].x);
        assert_int_equal(bits, known[i].bits);
    }
}

/* Between two neighbours: the middle goes to the even one, what is a little off to the nearer. */
static void check_gap(attn_dtype dtype, unsigned below) {
    const double a = number(dtype, below), b = number(dtype, below + 1), middle = a / 2 + b / 2;
    const double even = below % 2 ? b : a;
    assert_true(rounded_to(dtype, a) == a);
    assert_true(rounded_to(dtype, middle) == even);
    assert_true(rounded_to(dtype, -middle) == -even);
    assert_true(rounded_to(dtype, nextafter(middle, a)) == a);
    assert_true(rounded_to(dtype, nextafter(middle, b)) == b);
    assert_true(half_ulp(dtype, a) == (b - a) / 2);
}

static void rounding(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 0x7bff; bits++)
        check_gap(ATTN_F16, bits);
    for (unsigned bits = 0; bits < 0x7f7f; bits++)
        check_gap(ATTN_BF16, bits);
    assert_true(rounded_to(ATTN_F16, 65519) == 65504 && rounded_to(ATTN_F16, 65520) == (double)INFINITY);
    assert_true(isnan(rounded_to(ATTN_F16, (double)NAN)) && isnan(rounded_to(ATTN_BF16, (double)NAN)));
}

/* The middle between two numbers of the type, and the floats next to it: below, itself, above. */
static float near_middle(attn_dtype dtype, unsigned below, unsigned side) {
    const float middle = (float)(number(dtype, below) / 2 + number(dtype, below + 1) / 2);
    return side == 0 ? nextafterf(middle, -INFINITY) : side == 1 ? middle : nextafterf(middle, INFINITY);
}

static void copy(attn_context *context, const attn_tensor *from, const attn_tensor *to, bool subnormals) {
    set_floating_point_mode(FE_TONEAREST, subnormals);
    const attn_status status = attn_tensor_copy(context, from, to);
    set_floating_point_mode(FE_TONEAREST, true);
    assert_ok(context, status);
}

/* attn_tensor_copy, from and to the type, over all its numbers and about all middles; `width` is what a row has. What
 * is subnormal in the type is so even where the CPU has no subnormal singles. */
static void check_copies(attn_context *context, attn_dtype dtype, size_t width, bool subnormals) {
    enum { BITS = 0x8000 };
    const size_t rows = BITS / width;
    const attn_tensor small = new_tensor_of(dtype, BHTD, 1, 2, rows, width);
    const attn_tensor wide = new_tensor(PADDED, 1, 2, rows, width),
                      back = new_tensor_of(dtype, BTHD, 1, 2, rows, width);
    for (size_t n = 0; n < element_count(small); n++) {
        const uint16_t bits = (uint16_t)(n < element_count(small) / 2 ? n : n - element_count(small) / 2 + 0x8000);
        memcpy((char *)small.data + 2 * n, &bits, sizeof bits);
    }
    copy(context, &small, &wide, subnormals);
    assert_gaps_untouched(wide);
    for (size_t n = 0; n < element_count(wide); n++)
        assert_true(value(wide, n) == value(small, n) || (isnan(value(wide, n)) && isnan(value(small, n))));
    for (unsigned side = 0; side < 3; side++) {
        const unsigned largest = dtype == ATTN_F16 ? 0x7bff : 0x7f7f;
        for (size_t n = 0; n < element_count(wide); n++) {
            const float x = near_middle(dtype, (unsigned)(n % BITS) < largest ? (unsigned)(n % BITS) : 0, side);
            *element(wide, n) = n < BITS ? x : -x;
        }
        copy(context, &wide, &back, subnormals);
        assert_bits(back, new_copy_of(dtype, wide));
    }
    end_case();
}

static void copies_of_small_types(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    for (size_t i = 0; i < n; i++)
        for (size_t width = 1; width <= 128; width *= 8) {
            name_case("copies, isa %zu, rows of %zu", i, width);
            check_copies(contexts[i], ATTN_F16, width, true);
            check_copies(contexts[i], ATTN_BF16, width, true);
            check_copies(contexts[i], ATTN_F16, width, false);
        }
}

/* Beyond the largest number of the type, and what is no number. */
static void copies_of_extremes(void **state) {
    (void)state;
    static const float extremes[] = {65519,      65520,     -65536, 0x1p127F,       0x1.ffp127F, -0x1.fffffep127F,
                                     INFINITY,   -INFINITY, NAN,    0x1p-25F,       0x1.8p-25F,  0x1p-26F,
                                     -0x1p-149F, 0x1p-133F, -0.0F,  0x1.fefffep127F};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < 2 * n; i++) {
        const attn_dtype dtype = i % 2 ? ATTN_F16 : ATTN_BF16;
        const attn_tensor x = new_tensor(BHTD, 1, 1, 3, COUNT(extremes)),
                          y = new_tensor_of(dtype, BHTD, 1, 1, 3, COUNT(extremes));
        for (size_t e = 0; e < element_count(x); e++)
            *element(x, e) = extremes[e % COUNT(extremes)];
        assert_ok(contexts[i / 2], attn_tensor_copy(contexts[i / 2], &x, &y));
        for (size_t e = 0; e < element_count(x); e++)
            assert_true(isnan(value(x, e)) ? isnan(value(y, e)) : value(y, e) == rounded_to(dtype, value(x, e)));
        end_case();
    }
}

/* kat_vectors of Random123, philox4x32 10: zeros, ones, and digits of π. */
static void philox_known_answers(void **state) {
    (void)state;
    static const uint32_t known[][10] = {{0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                         {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
                                          0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                         {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
                                          0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (size_t i = 0; i < COUNT(known); i++) {
        uint32_t words[4];
        philox4x32_10(known[i], known[i] + 4, words);
        assert_memory_equal(words, known[i] + 6, sizeof words);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(known_numbers), TEST(rounding), TEST(copies_of_small_types),
                                       TEST(copies_of_extremes), TEST(philox_known_answers)};
    return cmocka_run_group_tests_name("numbers", tests, NULL, NULL);
}

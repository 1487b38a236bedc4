/* SPDX-License-Identifier: BSD-3-Clause */
/* attn_softmax against double precision. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "support/reference.h"
#include "support/support.h"

/* x [rows, columns] and where y goes: another tensor, or x itself. */
static attn_tensor new_rows(size_t rows, size_t columns, size_t gap) {
    const ptrdiff_t ld = (ptrdiff_t)(columns + gap);
    const attn_tensor t = new_strided((const size_t[]){1, 1, rows, columns}, (const ptrdiff_t[]){0, 0, ld, 1});
    fill_normal(t);
    return t;
}

static attn_tensor untouched_like(attn_tensor x) {
    return new_strided(x.size, (const ptrdiff_t[]){0, 0, x.stride[2], 1});
}

/* Each weight e^(x − m)/Σ: the exponential is good to 1 ULP, the sum and the division to some more, x − m is rounded
 * once: |x − m|·eps/2 ≤ 104 · 6e-8, where the weight is tiny. Weights below FLT_MIN may be flushed to zero. */
static const tolerance OF_WEIGHTS = {.absolute = 2 * (double)FLT_MIN, .relative = 1e-5};

/* m + log Σ, rounded: the promise for any result. */
static const tolerance OF_LSE = {.absolute = 1e-6, .relative = 1e-6};

/* Compares y and lse with the softmax of x. */
static void assert_softmax_of(attn_tensor x, attn_tensor y, attn_tensor lse) {
    const size_t rows = x.size[2], columns = x.size[3];
    double *want = new_doubles(rows * columns), *want_lse = new_doubles(rows), *scores = new_doubles(columns);
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < columns; j++)
            scores[j] = (double)*element_at(x, 0, 0, r, j);
        want_lse[r] = reference_softmax(scores, columns, columns, want + r * columns);
    }
    assert_near(y, want, OF_WEIGHTS);
    assert_near(lse, want_lse, OF_LSE);
    assert_rows_sum_to_one(y, lse.data);
}

static void run(attn_context *context, attn_tensor x, attn_tensor y, attn_tensor lse) {
    name_case("softmax of %zu rows of %zu, strides %td and %td, %s", x.size[2], x.size[3], x.stride[2], y.stride[2],
              describe(context).isa);
    assert_ok(context, attn_softmax(context, x.size[2], x.size[3], x.data, (size_t)x.stride[2], y.data,
                                    (size_t)y.stride[2], lse.data));
}

/* x to another place, then in place: the results are the same, and the gaps between rows are left alone. */
static void check(attn_context *context, attn_tensor x) {
    const attn_tensor y = untouched_like(x), lse = new_tensor(BHTD, 1, 1, x.size[2], 1);
    const attn_tensor before = new_copy(x);
    run(context, x, y, lse);
    assert_bits(x, before);
    assert_gaps_untouched(y);
    assert_softmax_of(x, y, lse);
    run(context, x, x, (attn_tensor){0});
    assert_gaps_untouched(x);
    assert_bits(x, y);
}

static void all_sizes(void **state) {
    (void)state;
    const size_t rows[] = {0, 1, 3, 70}, columns[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 1000};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    seed(1);
    for (size_t i = 0; i < n * COUNT(rows) * COUNT(columns); i++) {
        const size_t r = rows[i / n % COUNT(rows)], c = columns[i / n / COUNT(rows)];
        check(contexts[i % n], new_rows(r, c, i % 3 * 5));
        end_case();
    }
}

/* One size of row after another, with the inputs spread out more and more: steep rows, tiny weights. */
static void steep_rows(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(2);
    for (size_t i = 0; i < n * 8; i++) {
        const attn_tensor x = new_rows(20, 150, 3);
        for (size_t e = 0; e < element_count(x); e++)
            *element(x, e) *= powf(4, (float)(i / n) - 1);
        check(contexts[i % n], x);
        end_case();
    }
}

/* The error does not grow with the length. */
static void long_rows(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(3);
    for (size_t i = 0; i < n * 2; i++) {
        const attn_tensor x = new_rows(2, i / n ? 100003 : 100000, 0);
        for (size_t e = 0; e < 100000 && i % 2; e++)
            *element(x, e) = 3;
        check(contexts[i % n], x);
        end_case();
    }
}

/* Rows of values that are hard or not finite, among rows that must not be touched by them. */
enum { COLUMNS = 70 };

static const float SPECIAL[][2] = {
    /* all elements, and then number 40 */
    {-INFINITY, -INFINITY},
    {-INFINITY, 1},
    {-INFINITY, NAN},
    {-INFINITY, INFINITY},
    {0, -INFINITY},
    {0, INFINITY},
    {0, NAN},
    {NAN, NAN},
    {INFINITY, INFINITY},
    {1e30F, -1e30F},
    {-1e30F, 1e30F},
    {FLT_MAX, -FLT_MAX},
    {-FLT_MAX, -FLT_MAX},
    {1e-42F, -1e-42F},
    {-1e38F, -1e38F},
    {-100, 0},
    {-103, 0},
    {-87, 0},
    {0, 88},
    {1e4F, 1e4F},
    {65504, 65503},
    {-0.0F, 0}};

static void special_rows(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(4);
    for (size_t i = 0; i < n * COUNT(SPECIAL); i++) {
        const attn_tensor x = new_rows(3, COLUMNS, 2);
        for (size_t j = 0; j < COLUMNS; j++)
            *element_at(x, 0, 0, 1, j) = SPECIAL[i / n][j == 40];
        check(contexts[i % n], x);
        end_case();
    }
}

/* Not finite in one row: the bits of the other rows stay. */
static void rows_are_independent(void **state) {
    (void)state;
    const float poisons[] = {NAN, INFINITY, -INFINITY};
    attn_context *context = new_context_of(1, 0);
    seed(5);
    for (size_t i = 0; i < COUNT(poisons); i++) {
        const attn_tensor x = new_rows(5, COLUMNS, 0), y = untouched_like(x), clean = untouched_like(x);
        run(context, x, clean, (attn_tensor){0});
        *element_at(x, 0, 0, 2, 17) = poisons[i];
        run(context, x, y, (attn_tensor){0});
        for (size_t j = 0; j < COLUMNS; j++)
            *element_at(clean, 0, 0, 2, j) = *element_at(y, 0, 0, 2, j);
        assert_bits(y, clean);
        end_case();
    }
}

/* Equal scores have equal weights, and adding a constant that is exact changes no bit. */
static void shifts_change_nothing(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n; i++) {
        const attn_tensor x = new_rows(1, COLUMNS, 0), y = untouched_like(x), shifted = untouched_like(x);
        for (size_t j = 0; j < COLUMNS; j++)
            *element(x, j) = (float)(j % 5);
        run(contexts[i], x, y, (attn_tensor){0});
        for (size_t j = 0; j < COLUMNS; j++)
            *element(x, j) += 4096;
        run(contexts[i], x, shifted, (attn_tensor){0});
        assert_bits(shifted, y);
        for (size_t j = 5; j < COLUMNS; j++)
            assert_true(*element(y, j) == *element(y, j % 5));
        end_case();
    }
}

static void any_number_of_threads(void **state) {
    (void)state;
    const size_t threads[] = {1, 2, 3, 7};
    seed(6);
    const attn_tensor x = new_rows(300, 333, 0), y = untouched_like(x);
    run(new_context_of(1, 0), x, y, (attn_tensor){0});
    for (size_t i = 0; i < COUNT(threads); i++) {
        const attn_tensor again = untouched_like(x);
        run(new_context_of(threads[i], 0), x, again, (attn_tensor){0});
        assert_bits(again, y);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(all_sizes),
                                       TEST(steep_rows),
                                       TEST(long_rows),
                                       TEST(special_rows),
                                       TEST(rows_are_independent),
                                       TEST(shifts_change_nothing),
                                       TEST(any_number_of_threads)};
    return cmocka_run_group_tests_name("softmax", tests, NULL, NULL);
}

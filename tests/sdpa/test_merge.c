/* SPDX-License-Identifier: BSD-3-Clause */
/* attn_merge: attention over parts of the keys, put together. */
#include <math.h>

#include "support/fault.h"
#include "support/sdpa_case.h"

/* (out, lse) of some rows. */
struct part {
    attn_tensor out, lse;
};

static struct part new_part(enum layout layout, size_t B, size_t H, size_t T, size_t E) {
    return (struct part){new_tensor(layout, B, H, T, E), new_tensor(BHTD, B, H, T, 1)};
}

static struct part random_part(enum layout layout, size_t B, size_t H, size_t T, size_t E) {
    const struct part p = new_part(layout, B, H, T, E);
    fill_normal(p.out);
    fill_normal(p.lse);
    return p;
}

static struct part no_keys(enum layout layout, size_t B, size_t H, size_t T, size_t E) {
    const struct part p = new_part(layout, B, H, T, E);
    for (size_t n = 0; n < element_count(p.out); n++)
        *element(p.out, n) = 0;
    for (size_t n = 0; n < element_count(p.lse); n++)
        *element(p.lse, n) = -INFINITY;
    return p;
}

static struct part copy_of(struct part p) { return (struct part){new_copy(p.out), new_copy(p.lse)}; }

static void merge(attn_context *context, struct part into, struct part from) {
    const struct part before = copy_of(from);
    assert_ok(context, attn_merge(context, &into.out, into.lse.data, &from.out, from.lse.data));
    assert_gaps_untouched(into.out);
    assert_bits(from.out, before.out);
    assert_bits(from.lse, before.lse);
}

static void assert_same_part(struct part got, struct part want) {
    assert_bits(got.out, want.out);
    assert_bits(got.lse, want.lse);
}

/* ---- by its definition ---- */

static void check_merge(attn_context *context, struct part a, struct part b) {
    const size_t E = a.out.size[3], rows = element_count(a.lse);
    double *out = doubles_of(a.out), *lse = doubles_of(a.lse);
    reference_merge(rows, E, out, lse, doubles_of(b.out), doubles_of(b.lse));
    merge(context, a, b);
    assert_near(a.out, out, promised(1));
    assert_near(a.lse, lse, promised(1));
}

static void random_parts(void **state) {
    (void)state;
    static const size_t sizes[][4] = {{1, 1, 1, 1},   {2, 3, 7, 16}, {1, 4, 33, 70},
                                      {3, 1, 1, 129}, {2, 2, 0, 8},  {1, 2, 5, 0}};
    static const float lifts[] = {0, 3, -50, 90, 1e4F, -1e30F};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(1);
    for (size_t i = 0; i < COUNT(sizes) * COUNT(lifts) * OUTPUT_LAYOUTS; i++) {
        const size_t *s = sizes[i % COUNT(sizes)];
        const enum layout layout = (enum layout)(i / COUNT(sizes) % OUTPUT_LAYOUTS);
        const struct part a = random_part(layout, s[0], s[1], s[2], s[3]),
                          b = random_part(i % 2 ? BTHD : layout, s[0], s[1], s[2], s[3]);
        name_case("merge %zu", i);
        for (size_t r = 0; r < element_count(b.lse); r++)
            *element(b.lse, r) += lifts[i / COUNT(sizes) / OUTPUT_LAYOUTS];
        check_merge(contexts[i % n], a, b);
        end_case();
    }
}

/* (0, −∞) changes nothing, and becomes the other part, to the bit. */
static void no_keys_are_the_identity(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(2);
    for (size_t i = 0; i < n; i++) {
        const struct part p = random_part(BTHD, 2, 3, 9, 21), same = copy_of(p), empty = no_keys(BHTD, 2, 3, 9, 21);
        *element(p.lse, 5) = *element(same.lse, 5) = 1e30F;
        *element(p.lse, 6) = *element(same.lse, 6) = -1e30F;
        merge(contexts[i], p, empty);
        assert_same_part(p, same);
        merge(contexts[i], empty, p);
        assert_same_part(empty, same);
        const struct part none = no_keys(BHTD, 2, 3, 9, 21), nothing = copy_of(none);
        merge(contexts[i], none, nothing);
        assert_same_part(none, nothing);
        end_case();
    }
}

/* A row that is not finite spoils itself only. */
static void rows_that_are_not_finite(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(3);
    const struct part a = random_part(BHTD, 1, 2, 9, 16), b = random_part(BHTD, 1, 2, 9, 16);
    const struct part clean = copy_of(a);
    merge(context, clean, b);
    *element(a.lse, 3) = NAN;
    *element_at(a.out, 0, 0, 5, 7) = INFINITY;
    *element_at(b.out, 0, 0, 6, 8) = NAN;
    *element(a.lse, 10) = *element(b.lse, 11) = INFINITY;
    merge(context, a, b);
    for (size_t e = 10 * 16; e < 12 * 16; e++)
        assert_true(isnan(*element(a.lse, e / 16)) && isnan(*element(a.out, e)));
    assert_true(isnan(*element(a.lse, 3)) && isnan(*element_at(a.out, 0, 0, 3, 0)));
    assert_true(*element_at(a.out, 0, 0, 5, 7) == INFINITY && isnan(*element_at(a.out, 0, 0, 6, 8)));
    for (size_t e = 0; e < element_count(a.out); e++)
        if (e / 16 != 3 && e / 16 != 10 && e / 16 != 11 && e != 5 * 16 + 7 && e != 6 * 16 + 8)
            assert_true(*element(a.out, e) == *element(clean.out, e));
}

/* A row with NaN in `out` stands for no keys if its lse says so: nothing of it is read. */
static void weightless_rows_are_not_read(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(4);
    const struct part a = random_part(BHTD, 1, 1, 4, 16), b = random_part(BHTD, 1, 1, 4, 16), want = copy_of(a);
    for (size_t t = 0; t < 4; t++) {
        *element(b.lse, t) = -INFINITY;
        *element_at(b.out, 0, 0, t, 3) = NAN;
    }
    assert_ok(context, attn_merge(context, &a.out, a.lse.data, &b.out, b.lse.data));
    assert_same_part(a, want);
}

/* ---- associative and commutative, to rounding ---- */

static void any_order(void **state) {
    (void)state;
    enum { PARTS = 6 };
    attn_context *context = new_context_of(1, 0);
    seed(5);
    struct part parts[PARTS];
    for (size_t p = 0; p < PARTS; p++) {
        parts[p] = random_part(BHTD, 1, 2, 20, 24);
        for (size_t r = 0; r < element_count(parts[p].lse); r++)
            *element(parts[p].lse, r) = r % 5 == p ? -INFINITY : *element(parts[p].lse, r) * 5;
        for (size_t x = 0; x < element_count(parts[p].out); x++)
            *element(parts[p].out, x) *= *element(parts[p].lse, x / 24) == -INFINITY ? 0 : 1;
    }
    const struct part forwards = copy_of(parts[0]), backwards = copy_of(parts[PARTS - 1]);
    for (size_t p = 1; p < PARTS; p++) {
        merge(context, forwards, parts[p]);
        merge(context, backwards, parts[PARTS - 1 - p]);
    }
    for (size_t p = 0; p < PARTS; p += 2) /* (0+1) + ((2+3) + (4+5)) */
        merge(context, parts[p], parts[p + 1]);
    merge(context, parts[2], parts[4]);
    merge(context, parts[0], parts[2]);
    assert_near(backwards.out, doubles_of(forwards.out), promised(1));
    assert_near(backwards.lse, doubles_of(forwards.lse), promised(1));
    assert_near(parts[0].out, doubles_of(forwards.out), promised(1));
    assert_near(parts[0].lse, doubles_of(forwards.lse), promised(1));
}

/* ---- attention over pieces of the keys is attention ---- */

static struct sdpa_case piece_of(const struct sdpa_case *c, size_t first, size_t count) {
    struct sdpa_case piece = *c;
    int64_t *offsets = new_integers((const int64_t[]){0, 0}, 2);
    piece.k = tokens_of(c->k, first, count);
    piece.v = tokens_of(c->v, first, count);
    for (size_t b = 0; b < 2; b++)
        offsets[b] = c->params.causal_offset[b] - (int64_t)first;
    piece.params.causal_offset = offsets;
    return piece;
}

/* Some pieces are ahead of all queries, and one has no keys at all. */
static void split_keys(void **state) {
    (void)state;
    static const size_t ends[] = {1, 64, 64, 200, 777, 900, 1000};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(6);
    for (size_t i = 0; i < 3 * n; i++) {
        static const int64_t offsets[] = {500, 860};
        struct sdpa_case c = sdpa_case_of(2, 4, 2, i % 3 ? 40 : 1, 1000, 16, 24);
        c.probabilities = false;
        set_causal(&c, ATTN_CAUSAL_OFFSET, offsets);
        struct sdpa_result sum = {.out = no_keys(BTHD, 2, 4, c.q.size[2], 24).out,
                                  .lse = no_keys(BHTD, 2, 4, c.q.size[2], 24).lse};
        for (size_t p = 0, begin = 0; p < COUNT(ends); begin = ends[p++]) {
            const struct sdpa_case piece = piece_of(&c, begin, ends[p] - begin);
            const struct sdpa_result r = run_sdpa(contexts[i / 3], &piece);
            merge(contexts[i / 3], (struct part){sum.out, sum.lse}, (struct part){r.out, r.lse});
        }
        name_case("merged pieces, %zu", i);
        assert_sdpa_near(&c, &sum);
        end_case();
    }
}

static void any_number_of_threads(void **state) {
    (void)state;
    attn_context *one = new_context_of(1, 0), *three = new_context_of(3, 0);
    seed(7);
    const struct part a = random_part(BHTD, 4, 8, 64, 72), b = random_part(BTHD, 4, 8, 64, 72), c = copy_of(a);
    merge(one, a, b);
    merge(three, c, b);
    assert_same_part(a, c);
}

/* ---- errors ---- */

typedef struct call {
    attn_tensor out, part;
    const attn_tensor *out_argument, *part_argument;
    float *lse, *part_lse;
} call;

enum { B = 2, H = 3, T = 4, E = 5 };

#define MERGE_FAULTS(X)                                                                                                \
    X(out_null, ATTN_ERROR_NULL, "out", c->out_argument = NULL)                                                        \
    X(part_null, ATTN_ERROR_NULL, "part", c->part_argument = NULL)                                                     \
    X(lse_null, ATTN_ERROR_NULL, "lse", c->lse = NULL)                                                                 \
    X(part_lse_null, ATTN_ERROR_NULL, "part_lse", c->part_lse = NULL)                                                  \
    X(out_data_null, ATTN_ERROR_NULL, "out", c->out.data = NULL)                                                       \
    X(part_data_null, ATTN_ERROR_NULL, "part", c->part.data = NULL)                                                    \
    X(part_batch, ATTN_ERROR_SHAPE, "part", c->part.size[0] = 1)                                                       \
    X(part_heads, ATTN_ERROR_SHAPE, "part", c->part.size[1] = 1)                                                       \
    X(part_tokens, ATTN_ERROR_SHAPE, "part", c->part.size[2] = T - 1)                                                  \
    X(part_width, ATTN_ERROR_SHAPE, "part", c->part.size[3] = E - 1)                                                   \
    X(out_half, ATTN_ERROR_DTYPE, "out", c->out.dtype = ATTN_F16)                                                      \
    X(part_bool, ATTN_ERROR_DTYPE, "part", c->part.dtype = ATTN_BOOL)                                                  \
    X(part_brain, ATTN_ERROR_DTYPE, "part", c->part.dtype = ATTN_BF16)                                                 \
    X(out_inner_stride, ATTN_ERROR_STRIDE, "out", c->out.stride[3] = 2)                                                \
    X(part_inner_stride, ATTN_ERROR_STRIDE, "part", c->part.stride[3] = 0)                                             \
    X(out_same_heads, ATTN_ERROR_STRIDE, "out", c->out.stride[1] = 0)                                                  \
    X(huge, ATTN_ERROR_OVERFLOW, "out", c->out.size[0] = c->part.size[0] = SIZE_MAX / 2)                               \
    X(out_is_part, ATTN_ERROR_ALIAS, "out", c->out.data = c->part.data)                                                \
    X(lse_is_part_lse, ATTN_ERROR_ALIAS, "lse", c->lse = c->part_lse)                                                  \
    X(lse_in_part, ATTN_ERROR_ALIAS, "lse", c->lse = (float *)c->part.data + 3)                                        \
    X(lse_in_out, ATTN_ERROR_ALIAS, "lse", c->lse = (float *)c->out.data + 3)                                          \
    X(part_lse_in_out, ATTN_ERROR_ALIAS, "out", c->part_lse = (float *)c->out.data + 3)

DEFINE_FAULTS(faults, MERGE_FAULTS);

static void every_fault(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(8);
    for (size_t i = 0; i < COUNT(faults); i++) {
        const struct part a = random_part(BHTD, B, H, T, E), b = random_part(BHTD, B, H, T, E);
        const struct part a_was = copy_of(a), b_was = copy_of(b);
        call c = {.out = a.out, .part = b.out, .lse = a.lse.data, .part_lse = b.lse.data};
        c.out_argument = &c.out;
        c.part_argument = &c.part;
        name_case("merge: %s", faults[i].name);
        faults[i].spoil(&c);
        assert_status(context, attn_merge(context, c.out_argument, c.lse, c.part_argument, c.part_lse),
                      faults[i].status);
        assert_mentions(attn_context_last_error(context), faults[i].field);
        assert_same_part(a, a_was);
        assert_same_part(b, b_was);
        end_case();
    }
    assert_int_equal(attn_merge(NULL, NULL, NULL, NULL, NULL), ATTN_ERROR_NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(random_parts),
                                       TEST(no_keys_are_the_identity),
                                       TEST(rows_that_are_not_finite),
                                       TEST(weightless_rows_are_not_read),
                                       TEST(any_order),
                                       TEST(split_keys),
                                       TEST(any_number_of_threads),
                                       TEST(every_fault)};
    return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* attn_cross_entropy: the reference against differences of its loss, libattn against the reference, on one thread and
 * three; and every way to call it wrongly. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "support/fault.h"
#include "support/reference_parts.h"

enum { IGNORED = -100 };

/* ---- the reference, by central differences ---- */

static void reference_by_differences(void **state) {
    (void)state;
    for (size_t i = 0; i < 40; i++) {
        const size_t n = 1 + random_below(9), target = random_below(n);
        const double smoothing = i % 3 == 0 ? 0 : i % 3 == 1 ? 0.3 : 1, h = 0x1p-16;
        double *x = new_doubles(n), *gradient = new_doubles(n), *scratch = new_doubles(n);
        seed(i);
        for (size_t j = 0; j < n; j++)
            x[j] = i % 4 == 3 && j != target && random_below(2) ? -INFINITY : (double)random_normal();
        reference_cross_entropy(n, x, target, smoothing, gradient);
        for (size_t j = 0; j < n; j++) {
            const double was = x[j];
            x[j] = was + h;
            const double above = reference_cross_entropy(n, x, target, smoothing, scratch);
            x[j] = was - h;
            const double below = reference_cross_entropy(n, x, target, smoothing, scratch);
            x[j] = was;
            assert_true(fabs(gradient[j] - (above - below) / (2 * h)) <= 1e-7);
        }
        end_case();
    }
}

/* ---- libattn ---- */

struct entropy_case {
    attn_tensor logits; /* [1,1,rows,columns] */
    int64_t *targets;
    attn_cross_entropy_params p;
};

struct entropy_result {
    double loss;
    attn_tensor losses, gradients;
};

static attn_tensor new_rows(size_t rows, size_t columns, size_t gap) {
    const ptrdiff_t ld = (ptrdiff_t)(columns + gap);
    return new_strided((const size_t[]){1, 1, rows, columns}, (const ptrdiff_t[]){0, 0, ld, 1});
}

static struct entropy_case new_entropy_case(size_t rows, size_t columns, size_t gap) {
    struct entropy_case c = {.logits = new_rows(rows, columns, gap)};
    fill_normal(c.logits);
    ATTN_INIT(&c.p);
    c.targets = (int64_t *)(void *)new_doubles(rows);
    for (size_t r = 0; r < rows; r++)
        c.targets[r] = columns && random_below(4) ? (int64_t)random_below(columns) : IGNORED;
    return c;
}

static attn_status run_into(attn_context *context, const struct entropy_case *c, const struct entropy_result *r,
                            double *loss) {
    attn_cross_entropy_params p = c->p;
    p.losses = r->losses.data;
    p.d_logits = r->gradients.data;
    p.ldd = (size_t)r->gradients.stride[2];
    return attn_cross_entropy(context, c->logits.size[2], c->logits.size[3], c->logits.data,
                              (size_t)c->logits.stride[2], c->targets, &p, loss);
}

static struct entropy_result run_entropy(attn_context *context, const struct entropy_case *c, size_t gap) {
    struct entropy_result r = {.losses = new_tensor(BHTD, 1, 1, 1, c->logits.size[2]),
                               .gradients = new_rows(c->logits.size[2], c->logits.size[3], gap)};
    assert_ok(context, run_into(context, c, &r, &r.loss));
    assert_gaps_untouched(r.gradients);
    return r;
}

static size_t count_rows(const struct entropy_case *c) {
    const int64_t ignored = c->p.ignored_target ? *c->p.ignored_target : IGNORED;
    size_t count = 0;
    for (size_t r = 0; r < c->logits.size[2]; r++)
        count += c->targets[r] != ignored;
    return count;
}

/* Losses are good to the rounding of their exponentials and of the result, gradients to that of a probability. */
static void assert_entropy_near(const struct entropy_case *c, const struct entropy_result *got) {
    const size_t rows = c->logits.size[2], columns = c->logits.size[3], count = count_rows(c);
    const int64_t ignored = c->p.ignored_target ? *c->p.ignored_target : IGNORED;
    const double factor = c->p.factor != 0 ? (double)c->p.factor : 1 / (double)(count ? count : 1);
    double *losses = new_doubles(rows), *gradients = new_doubles(rows * columns), *x = new_doubles(columns), sum = 0;
    for (size_t r = 0; r < rows; r++) {
        double *to = gradients + r * columns;
        for (size_t j = 0; j < columns; j++)
            x[j] = value(c->logits, r * columns + j);
        losses[r] = 0;
        memset(to, 0, columns * sizeof *to);
        if (c->targets[r] != ignored)
            losses[r] = reference_cross_entropy(columns, x, (size_t)c->targets[r], (double)c->p.label_smoothing, to);
        sum += losses[r];
        for (size_t j = 0; j < columns; j++)
            to[j] *= factor;
    }
    const tolerance of_losses = {1e-6, 1e-6}, of_gradients = {1e-6 * fabs(factor), 1e-5};
    assert_near(got->losses, losses, of_losses);
    assert_near(got->gradients, gradients, of_gradients);
    assert_true(isfinite(sum) ? fabs(got->loss - factor * sum) <= 1e-6 * (1 + fabs(factor * sum))
                : isnan(sum)  ? isnan(got->loss)
                              : got->loss == factor * sum);
}

static void check(attn_context *one, attn_context *three, const struct entropy_case *c) {
    const struct entropy_result want = run_entropy(one, c, 0), got = run_entropy(three, c, 3);
    assert_bits(got.losses, want.losses);
    assert_bits(got.gradients, want.gradients);
    assert_memory_equal(&got.loss, &want.loss, sizeof want.loss);
    assert_entropy_near(c, &want);
    const struct entropy_result in_place = {.gradients = c->logits}, nothing = {0};
    double loss = 0;
    assert_ok(three, run_into(three, c, &nothing, &loss)); /* the loss alone */
    assert_memory_equal(&loss, &want.loss, sizeof loss);
    assert_ok(one, run_into(one, c, &in_place, NULL));
    assert_gaps_untouched(c->logits);
    assert_bits(c->logits, want.gradients);
}

static void sizes(void **state) {
    (void)state;
    static const size_t rows[] = {0, 1, 3, 70}, columns[] = {1, 2, 7, 16, 33, 100, 1023, 2500};
    static const int64_t pad = 0;
    attn_context *one[ISAS], *three[ISAS];
    new_isa_contexts(1, one);
    const size_t n = new_isa_contexts(3, three);
    for (size_t i = 0; i < n * COUNT(rows) * COUNT(columns) * 3; i += every()) {
        const size_t k = i / n / 3;
        seed(i);
        struct entropy_case c = new_entropy_case(rows[k % COUNT(rows)], columns[k / COUNT(rows)], i % 2 * 5);
        c.p.label_smoothing = i / n % 3 == 0 ? 0 : i / n % 3 == 1 ? 0.1F : 1;
        c.p.factor = random_below(2) ? 0 : -2.5F;
        if (random_below(3) == 0) {
            c.p.ignored_target = &pad;
            for (size_t r = 0; r < c.logits.size[2]; r++)
                c.targets[r] = c.targets[r] < 0 ? 0 : c.targets[r];
        }
        name_case("cross-entropy of %zu rows of %zu, smoothed by %g, with %s", c.logits.size[2], c.logits.size[3],
                  (double)c.p.label_smoothing, describe(one[i % n]).isa);
        check(one[i % n], three[i % n], &c);
        end_case();
    }
}

/* A vocabulary, whose largest logit comes late: sums are scaled as it is met. */
static void vocabulary(void **state) {
    (void)state;
    attn_context *one = new_context_of(1, 0), *three = new_context_of(3, 0);
    seed(3);
    struct entropy_case c = new_entropy_case(3, 50257, 7);
    for (size_t e = 0; e < element_count(c.logits); e++)
        *element(c.logits, e) = *element(c.logits, e) * 4 + (float)(e % 50257) * 1e-3F;
    check(one, three, &c);
}

/* All logits of the middle row, number 40, and the target 41: hard, masked and not finite ones. */
static void special_rows(void **state) {
    enum { COLUMNS = 1070 };
    static const float special[][3] = {{-INFINITY, -INFINITY, -INFINITY},
                                       {-INFINITY, 1, -INFINITY},
                                       {-INFINITY, -INFINITY, 1},
                                       {-INFINITY, 2, 1},
                                       {0, -INFINITY, 0},
                                       {0, 0, -INFINITY},
                                       {0, INFINITY, 0},
                                       {0, NAN, 0},
                                       {0, 0, NAN},
                                       {NAN, NAN, NAN},
                                       {-INFINITY, NAN, 0},
                                       {1e30F, -1e30F, 0},
                                       {FLT_MAX, -FLT_MAX, FLT_MAX},
                                       {-FLT_MAX, -FLT_MAX, -FLT_MAX},
                                       {1e-42F, -1e-42F, 0},
                                       {-103, 0, -104},
                                       {0, 88, 89},
                                       {0, 0, 200}};
    (void)state;
    attn_context *one[ISAS], *three[ISAS];
    new_isa_contexts(1, one);
    const size_t n = new_isa_contexts(3, three);
    for (size_t i = 0; i < n * COUNT(special) * 2; i++) {
        const float *const values = special[i / n / 2];
        struct entropy_case c = new_entropy_case(3, COLUMNS, 2);
        c.p.label_smoothing = i / n % 2 ? 0.25F : 0;
        for (size_t j = 0; j < COLUMNS; j++)
            *element_at(c.logits, 0, 0, 1, j) = values[j == 40 ? 1 : j == 41 ? 2 : 0];
        c.targets[1] = 41;
        name_case("%g, %g and %g at the target, smoothed by %g", (double)values[0], (double)values[1],
                  (double)values[2], (double)c.p.label_smoothing);
        check(one[i % n], three[i % n], &c);
        end_case();
    }
}

/* No row that counts: a loss of 0, and no gradient. */
static void nothing_counts(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    for (size_t columns = 0; columns < 10; columns += 9) {
        const struct entropy_case c = new_entropy_case(4, columns, 1);
        for (size_t r = 0; r < 4; r++)
            c.targets[r] = IGNORED;
        if (columns)
            *element_at(c.logits, 0, 0, 2, 0) = NAN;
        const struct entropy_result r = run_entropy(context, &c, 0);
        assert_true(r.loss == 0);
        for (size_t n = 0; n < element_count(r.gradients); n++)
            assert_true(*element(r.gradients, n) == 0);
    }
}

/* ---- faults ---- */

enum { ROWS = 3, COLUMNS = 8 };

typedef struct call {
    struct entropy_case c;
    struct entropy_result r;
    WITH_TAIL(attn_cross_entropy_params) p;
    const float *logits;
    const int64_t *targets;
    size_t rows, columns, ld;
    double *loss;
} call;

#define FAULTS(X)                                                                                                      \
    X(logits_null, ATTN_ERROR_NULL, "logits", c->logits = NULL)                                                        \
    X(targets_null, ATTN_ERROR_NULL, "targets", c->targets = NULL)                                                     \
    X(ld_small, ATTN_ERROR_SHAPE, "ld", c->ld = COLUMNS - 1)                                                           \
    X(ldd_small, ATTN_ERROR_SHAPE, "params.ldd", c->p.known.ldd = COLUMNS - 1)                                         \
    X(huge_ld, ATTN_ERROR_OVERFLOW, "ld", c->ld = SIZE_MAX / 8)                                                        \
    X(huge_ldd, ATTN_ERROR_OVERFLOW, "params.ldd", c->p.known.ldd = SIZE_MAX / 8)                                      \
    X(negative, ATTN_ERROR_VALUE, "targets[1]", c->c.targets[1] = -1)                                                  \
    X(beyond, ATTN_ERROR_VALUE, "targets[2]", c->c.targets[2] = COLUMNS)                                               \
    X(ignored_no_more, ATTN_ERROR_VALUE, "targets[0]", c->p.known.ignored_target = &c->c.targets[1];                   \
      c->c.targets[0] = IGNORED)                                                                                       \
    X(smoothing_negative, ATTN_ERROR_VALUE, "label_smoothing", c->p.known.label_smoothing = -0.1F)                     \
    X(smoothing_large, ATTN_ERROR_VALUE, "label_smoothing", c->p.known.label_smoothing = 1.1F)                         \
    X(smoothing_nan, ATTN_ERROR_VALUE, "label_smoothing", c->p.known.label_smoothing = NAN)                            \
    X(factor, ATTN_ERROR_VALUE, "factor", c->p.known.factor = INFINITY)                                                \
    X(not_initialised, ATTN_ERROR_STRUCT, "struct_size", c->p.known.struct_size = 0)                                   \
    X(unknown, ATTN_ERROR_STRUCT, "struct_size", c->p.known.struct_size = sizeof c->p; c->p.tail[15] = 1)              \
    X(gradients_in_logits, ATTN_ERROR_ALIAS, "params.d_logits", c->p.known.d_logits = (float *)c->c.logits.data + 1)   \
    X(other_stride, ATTN_ERROR_ALIAS, "params.d_logits", c->p.known.d_logits = c->c.logits.data; c->p.known.ldd++)     \
    X(losses_in_logits, ATTN_ERROR_ALIAS, "params.losses", c->p.known.losses = c->c.logits.data)                       \
    X(losses_in_place, ATTN_ERROR_ALIAS, "params.losses", c->p.known.losses = c->p.known.d_logits = c->c.logits.data)  \
    X(losses_in_targets, ATTN_ERROR_ALIAS, "params.losses", c->p.known.losses = (float *)(void *)c->c.targets)         \
    X(losses_in_gradients, ATTN_ERROR_ALIAS, "params.losses", c->p.known.losses = c->p.known.d_logits)                 \
    X(loss_in_targets, ATTN_ERROR_ALIAS, "loss", c->loss = (double *)(void *)c->c.targets)                             \
    X(loss_in_losses, ATTN_ERROR_ALIAS, "loss", c->loss = (double *)(void *)c->p.known.losses)

DEFINE_FAULTS(faults, FAULTS);

static attn_status run(attn_context *context, const call *c) {
    return attn_cross_entropy(context, c->rows, c->columns, c->logits, c->ld, c->targets, &c->p.known, c->loss);
}

static void make_valid(call *c) {
    memset(c, 0, sizeof *c);
    c->c = new_entropy_case(ROWS, COLUMNS, 0);
    for (size_t r = 0; r < ROWS; r++)
        c->c.targets[r] = (int64_t)r;
    c->r.gradients = new_rows(ROWS, COLUMNS, 0);
    c->r.losses = new_tensor(BHTD, 1, 1, 1, ROWS + 1);
    ATTN_INIT(&c->p.known);
    c->p.known.losses = c->r.losses.data;
    c->p.known.d_logits = c->r.gradients.data;
    c->p.known.ldd = c->ld = c->columns = COLUMNS;
    c->rows = ROWS;
    c->logits = c->c.logits.data;
    c->targets = c->c.targets;
    c->loss = new_doubles(1);
}

static void every_fault(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    for (size_t i = 0; i < COUNT(faults); i++) {
        call c;
        make_valid(&c);
        const call valid = c;
        const attn_tensor logits = new_copy(c.c.logits);
        *valid.loss = 4321;
        name_case("%s", faults[i].name);
        faults[i].spoil(&c);
        assert_status(context, run(context, &c), faults[i].status);
        assert_mentions(attn_context_last_error(context), faults[i].field);
        assert_untouched(valid.r.gradients);
        assert_untouched(valid.r.losses);
        assert_bits(valid.c.logits, logits);
        assert_true(*valid.loss == 4321);
        end_case();
    }
}

static void tolerated(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    call c;
    make_valid(&c);
    c.p.known.struct_size = sizeof c.p;
    assert_ok(context, run(context, &c));
    assert_ok(context, attn_cross_entropy(context, ROWS, COLUMNS, c.logits, COLUMNS, c.targets, NULL, c.loss));
    assert_ok(context, attn_cross_entropy(context, 0, COLUMNS, NULL, COLUMNS, NULL, NULL, c.loss));
    assert_true(*c.loss == 0);
    assert_int_equal(run(NULL, &c), ATTN_ERROR_NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(reference_by_differences), TEST(sizes),       TEST(vocabulary), TEST(special_rows),
        TEST(nothing_counts),           TEST(every_fault), TEST(tolerated)};
    return cmocka_run_group_tests_name("cross_entropy", tests, NULL, NULL);
}

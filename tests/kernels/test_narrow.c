/* SPDX-License-Identifier: BSD-3-Clause */
/* Products of two narrow factors: all tables that this CPU has, and those by tiles with tiles in plain C. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/narrow.h"
#include "support/numbers.h"
#include "support/support.h"

extern const attni_bf16 attni_bf16_tiles;
extern const attni_int8 attni_int8_tiles;

/* What is there, by the sets that a mask may leave. */
static const uint32_t MASKS[] = {ATTN_ISA_GENERIC,
                                 ATTN_ISA_AVX2,
                                 ATTN_ISA_AVX2 | ATTN_ISA_AVX_VNNI,
                                 ATTN_ISA_AVX512,
                                 ATTN_ISA_AVX512 | ATTN_ISA_AVX512_BF16 | ATTN_ISA_AVX512_VNNI,
                                 ATTN_ISA_NEON,
                                 ATTN_ISA_NEON | ATTN_ISA_NEON_DOT,
                                 UINT32_MAX};
enum { TABLES = 9 };

static const attni_bf16 *bf16_table(size_t n) {
    return n < COUNT(MASKS) ? attni_bf16_select(MASKS[n]) : &attni_bf16_tiles;
}
static const attni_int8 *int8_table(size_t n) {
    return n < COUNT(MASKS) ? attni_int8_select(MASKS[n]) : &attni_int8_tiles;
}

/* A product [rows, columns], columns in panels of `width`, with room beyond rows and columns. */
typedef struct shape {
    size_t rows, depth, columns, width, lda, ldc;
    bool add;
} shape;

static shape random_shape(size_t n) {
    static const size_t widths[] = {16, 32, 64, 128}, rows[] = {1, 2, 3, 15, 16, 17, 31, 32, 33, 70};
    shape s = {.rows = rows[n % COUNT(rows)], .depth = 1 + random_below(n % 3 ? 100 : 300), .add = random_below(2)};
    s.width = random_pick(widths);
    s.columns = 1 + random_below(n % 2 ? 20 : 150);
    s.lda = (s.depth + 63) / 64 * 64 + 16 * random_below(3);
    s.ldc = s.columns + random_below(5);
    name_case("%zu: %zu x %zu x %zu, panels of %zu, add %d", n, s.rows, s.depth, s.columns, s.width, s.add);
    return s;
}

static size_t ceil_of(size_t n, size_t unit) { return (n + unit - 1) / unit; }

/* Element (k, c) of panels in groups of `together`. */
static size_t place(const shape *s, size_t together, size_t k, size_t c) {
    const size_t panel = c / s->width * ceil_of(s->depth, together) * together * s->width;
    return panel + (k / together * s->width + c % s->width) * together + k % together;
}

static size_t panel_elements(const shape *s, size_t together) {
    return ceil_of(s->columns, s->width) * s->width * ceil_of(s->depth, together) * together;
}

static attni_panels panels_of(const shape *s, attn_dtype type, const void *data, const float *scale) {
    const size_t together = attni_together(type);
    return (attni_panels){.type = type,
                          .data = data,
                          .width = s->width,
                          .ld = s->width,
                          .step = ceil_of(s->depth, together) * together * s->width,
                          .scale = scale};
}

/* Fails where c is not what it was (where `add`) plus sum · factor, or something beside it was written. */
static void check(const shape *s, const float *c, const float *was, const double *sum, const double *size) {
    for (size_t r = 0; r < s->rows; r++)
        for (size_t j = 0; j < s->ldc; j++) {
            const size_t at = r * s->ldc + j, of = r * s->columns + j;
            const double wanted = j < s->columns ? sum[of] + (s->add ? (double)was[at] : 0) : (double)was[at];
            const double bound = j < s->columns ? 3e-6 * size[of] + 1e-6 * fabs(wanted) + 1e-30 : 0;
            if (!(fabs((double)c[at] - wanted) <= bound))
                fail_msg("row %zu, column %zu: %g for %g", r, j, (double)c[at], wanted);
        }
}

static double *new_zeros(size_t n) {
    double *x = new_doubles(n);
    for (size_t i = 0; i < n; i++)
        x[i] = 0;
    return x;
}

/* ---- bf16 ---- */

static float bf16_number(uint16_t bits) { return (float)read_number(ATTN_BF16, &bits); }

static void random_pairs(size_t n, uint16_t *y) {
    for (size_t i = 0; i < n; i++) {
        const float x = (float)random_normal();
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        y[i] = (uint16_t)(bits >> 16);
    }
}

static void bf16_case(const attni_bf16 *table, const shape *s) {
    const size_t panels = panel_elements(s, 2);
    float *x = new_floats(s->rows * s->depth), *a = new_floats(s->rows * s->lda), *c = new_floats(s->rows * s->ldc);
    float *was = new_floats(s->rows * s->ldc);
    uint16_t *b = (uint16_t *)(void *)new_floats((panels + 1) / 2);
    double *sum = new_zeros(s->rows * s->columns), *size = new_zeros(s->rows * s->columns);
    const float factor = 0.375F;
    random_pairs(panels, b);
    for (size_t j = 0; j < s->columns && s->depth % 2; j++)
        b[place(s, 2, s->depth, j)] = 0x7FC0; /* NaN, beyond the depth */
    for (size_t i = 0; i < s->rows * s->depth; i++)
        x[i] = (float)random_normal();
    for (size_t i = 0; i < s->rows * s->ldc; i++)
        c[i] = was[i] = (float)random_normal();
    for (size_t r = 0; r < s->rows; r++)
        for (size_t j = 0; j < s->columns; j++)
            for (size_t k = 0; k < s->depth; k++) {
                const double p = (double)factor * rounded_to(ATTN_BF16, (double)x[r * s->depth + k]) *
                                 (double)bf16_number(b[place(s, 2, k, j)]);
                sum[r * s->columns + j] += p;
                size[r * s->columns + j] += fabs(p);
            }
    const attni_panels from = panels_of(s, ATTN_BF16, b, NULL);
    table->round(s->rows, s->depth, x, s->depth, a, s->lda);
    table->multiply(s->rows, s->columns, s->depth, factor, a, s->lda, &from, s->add, c, s->ldc);
    check(s, c, was, sum, size);
    end_case();
}

static void products_of_bf16(void **state) {
    (void)state;
    seed(1);
    for (size_t n = 0; n < 60 * TABLES; n += every()) {
        const shape s = random_shape(n / TABLES);
        bf16_case(bf16_table(n % TABLES), &s);
    }
}

/* Of every exponent, and what has none. */
static float any_number(size_t n) {
    static const float odd[] = {FLT_MAX, -FLT_MAX, 0x1.FFFFFEp-100F, INFINITY, -INFINITY, NAN, 0.0F, FLT_MIN};
    return n % 3 ? (float)ldexp(random_normal(), (int)random_below(240) - 120) : odd[n / 3 % COUNT(odd)];
}

static float element_of_part(const float *y, size_t ldy, size_t part, size_t at) {
    return bf16_number(((const uint16_t *)(const void *)y)[2 * (ldy / ATTNI_PARTS) * part + at]);
}

/* Parts sum to x; zeros after an odd row, and no row in the next one's place. */
static void check_parts(size_t rows, size_t depth, const float *x, size_t ldx, const float *y, size_t ldy) {
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < depth + depth % 2; k++) {
            const float of = k < depth ? x[r * ldx + k] : 0.0F;
            double sum = 0;
            for (size_t part = 0; part < ATTNI_PARTS; part++)
                sum += (double)element_of_part(y + r * ldy, ldy, part, k);
            if (!(isnan(of) ? isnan(sum) : sum == (double)of || fabs(sum - (double)of) <= 0x1p-126))
                fail_msg("row %zu, %zu: %a for %a", r, k, sum, (double)of);
        }
}

static void parts_of_f32(void **state) {
    (void)state;
    seed(3);
    for (size_t n = 0; n < 20 * TABLES; n += every()) {
        const attni_bf16 *table = bf16_table(n % TABLES);
        const size_t rows = 1 + random_below(5), depth = 1 + random_below(150), ldx = depth + random_below(3);
        const size_t ldy = ATTNI_PARTS * 16 * (ceil_of(depth, 32) + random_below(2));
        float *x = new_floats(rows * ldx), *y = new_floats(rows * ldy);
        for (size_t i = 0; i < rows * ldx; i++)
            x[i] = any_number(i);
        if (table->split) {
            table->split(rows, depth, x, ldx, y, ldy);
            check_parts(rows, depth, x, ldx, y, ldy);
        }
        end_case();
    }
    assert_non_null(attni_bf16_tiles.split);
}

/* ---- int8 ---- */

static void int8_case(const attni_int8 *table, const shape *s) {
    const size_t panels = panel_elements(s, 4), lda = s->lda * table->size;
    float *x = new_floats(s->rows * s->depth), *c = new_floats(s->rows * s->ldc), *was = new_floats(s->rows * s->ldc);
    float *a_scale = new_floats(s->rows), *b_scale = new_floats(ceil_of(s->columns, 16) * 16);
    uint8_t *b = (uint8_t *)new_floats((panels + 3) / 4), *a = (uint8_t *)new_floats(s->rows * lda / 4);
    double *sum = new_zeros(s->rows * s->columns), *size = new_zeros(s->rows * s->columns);
    for (size_t i = 0; i < panels; i++)
        b[i] = (uint8_t)random_below(256);
    for (size_t j = 0; j < s->columns; j++)
        b_scale[j] = (float)(1 + random_below(100)) / 64;
    for (size_t i = 0; i < s->rows * s->depth; i++)
        x[i] = (float)((int)random_below(255) - 127);
    for (size_t i = 0; i < s->rows * s->ldc; i++)
        c[i] = was[i] = (float)random_normal();
    for (size_t r = 0; r < s->rows; r++) {
        x[r * s->depth] = 127; /* so that the scale is 1 and the numbers are the integers */
        for (size_t j = 0; j < s->columns; j++)
            for (size_t k = 0; k < s->depth; k++) {
                const double p = (double)b_scale[j] * (double)x[r * s->depth + k] * (b[place(s, 4, k, j)] - 128);
                sum[r * s->columns + j] += p;
                size[r * s->columns + j] += fabs(p) / 64; /* the sum is exact */
            }
        a_scale[r] = table->quantize(s->depth, x + r * s->depth, a + r * lda);
    }
    const attni_panels from = panels_of(s, ATTN_INT8, b, b_scale);
    table->multiply(s->rows, s->columns, s->depth, a, lda, a_scale, &from, s->add, c, s->ldc);
    check(s, c, was, sum, size);
    end_case();
}

static void products_of_int8(void **state) {
    (void)state;
    seed(2);
    for (size_t n = 0; n < 60 * TABLES; n += every()) {
        const shape s = random_shape(n / TABLES);
        int8_case(int8_table(n % TABLES), &s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(products_of_bf16, end_test),
        cmocka_unit_test_teardown(parts_of_f32, end_test),
        cmocka_unit_test_teardown(products_of_int8, end_test),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Products by int4 panels as they lie, over the operations of an int4_f32.h or int4_int8_*.h included before. A group
 * is summed in registers, in numbers of 0 to 15; then its scale and offset join the sums of a row. */
#include <string.h>

#include "attn/context.h"

#include "kernels/basics.h"
#include "kernels/int4.h"

/* Sums that the registers hold at once: up to so many rows of up to so many vectors. */
enum { MOST_ROWS = 6, MOST_VECTORS = VL == 1 ? 2 : 4, WORDS = 4, WORD = 4 };

/* So many parts of a word are one turn of the loop; sanitizers' and plain C's compilations would take minutes. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { TURN = 1 };
#else
enum { TURN = VL == 1 ? 1 : PARTS };
#endif

/* So many bytes ahead of what is read are fetched meanwhile. */
enum { AHEAD = 32768 };

/* A group of WIDE vectors of columns, whose numbers are taken out of their words once for many rows. So many groups
 * stay in the L1. */
enum { WIDE = 2, MANY_ROWS = 12, MOST_GROUPS = 12 };
typedef struct wide_group {
    Q numbers[WORDS][PARTS][WIDE];
    V scale[WIDE], offset[WIDE];
} wide_group;

/* Rows by some columns of a panel, and where they go. */
typedef struct task {
    size_t rows, groups;
    size_t numbers; /* of a group */
    const part *a;
    size_t lda; /* groups from row to row */
    const char *b;
    size_t width, step; /* columns of the panel, bytes of its groups */
    size_t scale;       /* bytes of one */
    bool add;
    float *c;
    size_t ldc;
    const wide_group *wide; /* [groups], of some columns, or NULL */
} task;

/* Where the numbers of a column begin. */
static inline __attribute__((always_inline)) const uint8_t *numbers_at(const task *x, size_t column) {
    return (const uint8_t *)x->b + 2 * x->width * x->scale + column * WORD;
}

/* VL scales or offsets. */
static inline __attribute__((always_inline)) V load_scale(size_t bytes, const char *p) {
    return bytes == sizeof(float) ? v_load((const float *)(const void *)p)
                                  : v_load_f16((const uint16_t *)(const void *)p);
}

static inline __attribute__((always_inline)) void fetch_columns(const char *p, size_t bytes) {
#pragma GCC unroll 4
    for (size_t at = 0; at < bytes; at += 64)
        fetch(p, at + AHEAD);
}

/* sum [U·R, N] of the numbers of U groups, R rows and N vectors. U, R and N are constants wherever this is inlined. */
static inline __attribute__((always_inline)) void sum_groups(size_t U, size_t R, size_t N, const task *x, const part *a,
                                                             const uint8_t *numbers, S sum[MOST_ROWS][MOST_VECTORS]) {
#pragma GCC unroll 6
    for (size_t r = 0; r < U * R; r++)
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            sum[r][j] = g_zero();
#pragma GCC unroll 1
    for (size_t d = 0; d < WORDS; d++, numbers += x->width * WORD) {
#pragma GCC unroll 2
        for (size_t u = 0; u < U; u++)
            fetch_columns((const char *)numbers + u * x->step, N * VL * WORD);
#pragma GCC unroll TURN
        for (int at = 0; at < PARTS; at++)
#pragma GCC unroll 2
            for (size_t u = 0; u < U; u++) {
                Q v[MOST_VECTORS];
#pragma GCC unroll 4
                for (size_t j = 0; j < N; j++)
                    v[j] = g_numbers(numbers + u * x->step + j * VL * WORD, at);
#pragma GCC unroll 6
                for (size_t r = 0; r < R; r++) {
                    const Q row = g_spread(a + r * x->lda + u, d, at);
#pragma GCC unroll 4
                    for (size_t j = 0; j < N; j++)
                        g_add(&sum[u * R + r][j], v[j], row);
                }
            }
    }
}

/* The same of a wide group. If gcc 12 knew how many numbers there are, it would not unroll the loop, and keep the sums
 * in memory. */
static inline __attribute__((always_inline)) void sum_wide(size_t R, const task *x, const part *a, const Q *numbers,
                                                           S sum[MOST_ROWS][MOST_VECTORS]) {
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 2
        for (size_t j = 0; j < WIDE; j++)
            sum[r][j] = g_zero();
#pragma GCC unroll 4
    for (size_t k = 0; k < x->numbers; k++) {
        Q v[WIDE];
#pragma GCC unroll 2
        for (size_t j = 0; j < WIDE; j++)
            v[j] = numbers[k * WIDE + j];
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++) {
            const Q row = g_spread(a + r * x->lda, k / PARTS, (int)(k % PARTS));
#pragma GCC unroll 2
            for (size_t j = 0; j < WIDE; j++)
                g_add(&sum[r][j], v[j], row);
        }
    }
}

/* total += scale · sum + offset · the row's own sum, of group g. */
static inline __attribute__((always_inline)) void add_group(size_t R, size_t N, bool wide, const task *x, size_t g,
                                                            const part *a, const char *scales,
                                                            S sum[MOST_ROWS][MOST_VECTORS],
                                                            V total[MOST_ROWS][MOST_VECTORS]) {
    const char *offsets = scales + x->width * x->scale;
    if (!wide)
        fetch_columns(scales, N * VL * WORD);
#pragma GCC unroll 4
    for (size_t j = 0; j < N; j++) {
        const V scale = wide ? x->wide[g].scale[j] : load_scale(x->scale, scales + j * VL * x->scale);
        const V offset = wide ? x->wide[g].offset[j] : load_scale(x->scale, offsets + j * VL * x->scale);
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++) {
            const part *row = a + r * x->lda;
            total[r][j] = v_fma(scale, g_value(sum[r][j], row), v_fma(offset, v_set(row->sum), total[r][j]));
        }
    }
}

/* c = total (+ c), of which `columns` are there. */
static inline __attribute__((always_inline)) void store_total(size_t R, size_t N, const task *x, float *c,
                                                              size_t columns, V total[MOST_ROWS][MOST_VECTORS]) {
    const V zero = v_set(0.0F);
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++, c += x->ldc)
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++) {
            const size_t at = j * VL;
            if (at < columns)
                store_up_to(c + at, columns - at,
                            v_fma(total[r][j], v_set(UNIT), x->add ? load_up_to(c + at, columns - at, zero) : zero));
        }
}

/* R rows from `row` on and N vectors of columns from `column` on, of which `columns` are there. */
static inline __attribute__((always_inline)) void group_tile(size_t R, size_t N, bool wide, const task *of, size_t row,
                                                             size_t column, size_t columns) {
    const task x = *of; /* in registers */
    const size_t together = R == 1 ? TOGETHER : 1;
    const part *a = x.a + row * x.lda;
    const char *scales = x.b + column * x.scale;
    const uint8_t *numbers = numbers_at(&x, column);
    S sum[MOST_ROWS][MOST_VECTORS];
    V total[MOST_ROWS][MOST_VECTORS];
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            total[r][j] = v_set(0.0F);
    size_t g = 0;
    for (; g + together <= x.groups; g += together, a += together) {
        if (wide)
            sum_wide(R, &x, a, x.wide[g].numbers[0][0], sum);
        else
            sum_groups(together, R, N, &x, a, numbers + g * x.step, sum);
#pragma GCC unroll 2
        for (size_t u = 0; u < together; u++)
            add_group(R, N, wide, &x, g + u, a + u, scales + (g + u) * x.step, sum + u * R, total);
    }
    if (together > 1 && g < x.groups) {
        sum_groups(1, R, N, &x, a, numbers + g * x.step, sum);
        add_group(R, N, false, &x, g, a, scales + g * x.step, sum, total);
    }
    store_total(R, N, &x, x.c + row * x.ldc + column, columns, total);
}

/* All rows, as evenly cut as can be, by N vectors of columns. */
static inline __attribute__((always_inline)) void group_stripe(size_t N, bool wide, const task *x, size_t column,
                                                               size_t columns) {
    const size_t passes = (x->rows + MOST_ROWS - 1) / MOST_ROWS;
    for (size_t pass = 0, row = 0, some; pass < passes; pass++, row += some) {
        some = (x->rows - 1 - pass) / passes + 1;
        switch (some) {
        case 1:
            if (!wide)
                group_tile(1, N, false, x, row, column, columns);
            break;
        case 2:
            if (!wide)
                group_tile(2, N, false, x, row, column, columns);
            break;
        case 3:
            if (!wide)
                group_tile(3, N, false, x, row, column, columns);
            break;
        case 4:
            group_tile(4, N, wide, x, row, column, columns);
            break;
        case 5:
            group_tile(5, N, wide, x, row, column, columns);
            break;
        default:
            group_tile(MOST_ROWS, N, wide, x, row, column, columns);
            break;
        }
    }
}

/* One or two rows take as many vectors as there are registers for. */
static void few_rows(const task *x, size_t column, size_t columns) {
    if (x->rows == 1)
        group_tile(1, MOST_VECTORS, false, x, 0, column, columns);
    else
        group_tile(2, MOST_VECTORS, false, x, 0, column, columns);
}

static void some_rows(const task *x, size_t column, size_t columns) { group_stripe(2, false, x, column, columns); }
static void one_vector(const task *x, size_t column, size_t columns) { group_stripe(1, false, x, column, columns); }

/* Group g of some columns. */
static void widen(const task *x, size_t g, size_t column, wide_group *to) {
    const char *scales = x->b + g * x->step + column * x->scale, *offsets = scales + x->width * x->scale;
    const uint8_t *numbers = numbers_at(x, column) + g * x->step;
    for (size_t d = 0; d < WORDS; d++, numbers += x->width * WORD)
#pragma GCC unroll TURN
        for (int at = 0; at < PARTS; at++)
            for (size_t j = 0; j < WIDE; j++)
                to->numbers[d][at][j] = g_numbers(numbers + j * VL * WORD, at);
    for (size_t j = 0; j < WIDE; j++) {
        to->scale[j] = load_scale(x->scale, scales + j * VL * x->scale);
        to->offset[j] = load_scale(x->scale, offsets + j * VL * x->scale);
    }
}

static void many_rows(const task *of, size_t column, size_t columns) {
    wide_group wide[MOST_GROUPS];
    task x = *of;
    for (size_t g = 0; g < x.groups; g++)
        widen(&x, g, column, &wide[g]);
    x.wide = wide;
    group_stripe(WIDE, true, &x, column, columns);
}

/* The columns of a panel, whose width is that of whole vectors. */
static void multiply_panel(const task *x, size_t columns) {
    for (size_t j = 0, n; j < columns; j += n) {
        const size_t vectors = (x->width - j) / VL;
        const bool few = vectors >= MOST_VECTORS && x->rows <= 2;
        n = few ? MOST_VECTORS * VL : vectors >= 2 ? 2 * VL : VL;
        if (few)
            few_rows(x, j, columns - j);
        else if (WIDENS && x->rows >= MANY_ROWS && x->groups <= MOST_GROUPS)
            many_rows(x, j, columns - j);
        else if (VL < 16 || n == 2 * VL)
            some_rows(x, j, columns - j);
        else
            one_vector(x, j, columns - j);
    }
}

static void multiply(size_t rows, size_t columns, size_t depth, const void *a, size_t lda, const attni_panels *b,
                     bool add, float *c, size_t ldc) {
    task x = {.rows = rows,
              .groups = (depth + ATTNI_GROUP - 1) / ATTNI_GROUP,
              .a = a,
              .numbers = WORDS * PARTS,
              .lda = lda / sizeof(part),
              .width = b->ld,
              .step = b->ld * attni_group_bytes(b->half),
              .scale = b->half ? sizeof(uint16_t) : sizeof(float),
              .add = add,
              .ldc = ldc};
    for (size_t j = 0; j < columns; j += b->width) {
        x.b = b->data + j / b->width * b->step;
        x.c = c + j;
        multiply_panel(&x, columns - j < b->width ? columns - j : b->width);
    }
}

static void prepare(size_t n, const float *x, void *y) {
    part *to = y;
    size_t k = 0;
    for (; k + ATTNI_GROUP <= n; k += ATTNI_GROUP)
        prepare_group(x + k, to++);
    if (k < n) {
        float last[ATTNI_GROUP] = {0};
        memcpy(last, x + k, (n - k) * sizeof *x);
        prepare_group(last, to);
    }
}

const attni_int4 GROUP_TABLE = {GROUP_ISA, VL > 4 ? 4 * VL : 16, sizeof(part) / ATTNI_GROUP, prepare, multiply};
